"""A write sent again is answered again and not done again."""

import threading
from datetime import timedelta
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from sqlalchemy import Engine, func, select

from cloud.errors import ProblemError
from cloud.kit.auth import Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.events import NewEvent, append
from cloud.kit.idempotency import KEPT, WriteRequest, answer_once, write_request
from cloud.kit.problems import NOT_FOUND
from cloud.kit.tables import event, idempotency_key
from shared.ids import TenantId
from tests.cloud.service import NOW, Client, bearer, create_client, create_gate, standing_clock


class Shout(BaseModel):
    text: str


class Heard(BaseModel):
    number: int


def _count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(event)).scalar_one()


def _client(engine: Engine) -> Client:
    router = APIRouter()
    caller = write_request(create_gate(engine).requires(Scope.POS), standing_clock)

    @router.post("/shouts")
    @router.post("/other")
    def shout(call: Annotated[WriteRequest, Depends(caller)], said: Shout) -> Response:
        with writing(engine) as connection:

            def write() -> Heard:
                append(
                    connection, [NewEvent(topic="t", tenant=TenantId("x"), body=said.text.encode())], recorded_at=NOW
                )
                if said.text == "fail":
                    raise ProblemError(NOT_FOUND)
                return Heard(number=connection.execute(select(func.count()).select_from(event)).scalar_one())

            return answer_once(connection, call, write, status=201)

    return create_client([router])


def test_the_same_request_is_done_once(engine: Engine) -> None:
    headers = bearer(engine, Scope.POS) | {"Idempotency-Key": "k-1"}
    client = _client(engine)
    first, again = (client.post("/shouts", json={"text": "a"}, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, {"number": 1})
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert _count(engine) == 1


def test_without_a_key_each_request_is_done(engine: Engine) -> None:
    headers = bearer(engine, Scope.POS)
    client = _client(engine)
    answers = [client.post("/shouts", json={"text": "a"}, headers=headers).json()["number"] for _ in range(2)]
    assert answers == [1, 2]


@pytest.mark.parametrize(("path", "said"), [("/shouts", "b"), ("/other", "a"), ("/shouts?x=1", "a")])
def test_a_key_serves_one_request(engine: Engine, path: str, said: str) -> None:
    headers = bearer(engine, Scope.POS) | {"Idempotency-Key": "k-1"}
    client = _client(engine)
    client.post("/shouts", json={"text": "a"}, headers=headers)
    answer = client.post(path, json={"text": said}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:doorstep:problem:idempotency-key-reused")
    assert _count(engine) == 1


def test_keys_of_two_callers_do_not_meet(engine: Engine) -> None:
    client = _client(engine)
    for number in (1, 2):
        headers = bearer(engine, Scope.POS, number=number) | {"Idempotency-Key": "k-1"}
        assert client.post("/shouts", json={"text": f"{number}"}, headers=headers).json() == {"number": number}


def test_a_write_that_failed_may_be_tried_again(engine: Engine) -> None:
    headers = bearer(engine, Scope.POS) | {"Idempotency-Key": "k-1"}
    client = _client(engine)
    assert client.post("/shouts", json={"text": "fail"}, headers=headers).status_code == 404
    assert client.post("/shouts", json={"text": "a"}, headers=headers).json() == {"number": 1}


@pytest.mark.parametrize("key", ["", "x" * 129, "two words"])
def test_a_key_that_is_none_is_refused(engine: Engine, key: str) -> None:
    headers = bearer(engine, Scope.POS) | {"Idempotency-Key": key}
    client = _client(engine)
    answer = client.post("/shouts", json={"text": "a"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["field"].lower() == "header.idempotency-key"


def test_the_same_request_at_the_same_time_is_done_once(engine: Engine) -> None:
    headers = bearer(engine, Scope.POS) | {"Idempotency-Key": "k-1"}
    answers: list[tuple[int, object]] = []
    start = threading.Barrier(6)
    client = _client(engine)

    def send() -> None:
        start.wait()
        answer = client.post("/shouts", json={"text": "a"}, headers=headers)
        answers.append((answer.status_code, answer.json()))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(201, {"number": 1})] * 6
    assert _count(engine) == 1


def test_old_answers_are_forgotten(engine: Engine) -> None:
    principal = Principal(token_id="t", name="n", scopes=frozenset(), tenant=None)

    def call(key: str, after: timedelta) -> None:
        request = WriteRequest(principal=principal, key=key, digest=b"d", at=NOW + after)
        with writing(engine) as connection:
            answer_once(connection, request, lambda: Heard(number=1))

    call("old", timedelta(0))
    call("kept", timedelta(seconds=1))
    call("new", KEPT + timedelta(seconds=1))
    with reading(engine) as connection:
        kept = connection.execute(select(idempotency_key.c.key)).scalars().all()
    assert sorted(kept) == ["kept", "new"]

"""Whatever goes wrong, the answer is a problem document that names no value and shows no stack."""

import io
import json

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Engine, text

from cloud.errors import EntryMalformed, ProblemError, ProblemKind
from cloud.kit.database import reading
from cloud.kit.problems import FAULTS_MAX, document
from tests.cloud.service import Client, create_client

TEAPOT = ProblemKind(name="teapot", status=418, title="No coffee here")


class Order(BaseModel):
    cups: int
    names: list[int] = []


def _client() -> Client:
    router = APIRouter(responses=document(TEAPOT))

    @router.post("/order")
    def order(order: Order) -> int:
        return order.cups

    @router.get("/coffee")
    def coffee() -> None:
        raise ProblemError(TEAPOT, "Try tea.", headers={"Retry-After": "5"})

    @router.get("/entry")
    def entry() -> None:
        raise EntryMalformed("an entry id has 16 bytes", "id")

    @router.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError("a secret value")

    return create_client([router])


def test_a_problem_is_what_was_raised() -> None:
    client = _client()
    answer = client.get("/coffee")
    assert (answer.status_code, answer.headers["retry-after"]) == (418, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:doorstep:problem:teapot",
        "title": "No coffee here",
        "status": 418,
        "detail": "Try tea.",
    }


def test_an_invalid_request_names_the_field_and_not_the_value() -> None:
    client = _client()
    answer = client.post("/order", json={"cups": "anna@example.org"})
    broken = client.post("/order", content=b"{nonsense")
    assert answer.status_code == broken.status_code == 422
    assert [fault["field"] for fault in answer.json()["faults"]] == ["body.cups"]
    assert "anna" not in answer.text
    assert broken.json()["type"] == "urn:doorstep:problem:invalid-request"


def test_many_faults_are_told_a_bounded_number_of_times() -> None:
    client = _client()
    answer = client.post("/order", json={"cups": 1, "names": ["x"] * 5000})
    assert len(answer.json()["faults"]) == FAULTS_MAX


def test_a_malformed_entry_is_the_callers_fault() -> None:
    client = _client()
    answer = client.get("/entry")
    assert answer.json()["faults"] == [{"field": "id", "reason": "an entry id has 16 bytes"}]


def test_the_frameworks_own_refusals_are_problems_too() -> None:
    client = _client()
    missing, wrong = client.get("/nowhere"), client.request("DELETE", "/order")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:doorstep:problem:not-found")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "urn:doorstep:problem:method-not-allowed")


def test_a_bug_shows_no_stack_and_no_value(lines: io.StringIO) -> None:
    client = _client()
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:doorstep:problem:internal",
        "title": "The service failed; nothing was changed",
        "status": 500,
    }
    logged = json.loads(lines.getvalue().splitlines()[0])
    assert (logged["event"], logged["level"]) == ("request failed", "error")
    assert "ZeroDivisionError" in logged["exception"]


def test_a_text_no_column_can_hold_is_the_callers_fault(engine: Engine) -> None:
    router = APIRouter()

    @router.get("/find/{name}")
    def find(name: str) -> int:
        with reading(engine) as connection:
            return len(connection.execute(text("SELECT 1 FROM event WHERE topic = :name"), {"name": name}).all())

    client = create_client([router])
    answer = client.get("/find/%00")
    assert answer.status_code == (422 if engine.dialect.name == "postgresql" else 200)


def test_the_description_of_the_api_names_its_problems() -> None:
    client = _client()
    responses = client.get("/openapi.json").json()["paths"]["/coffee"]["get"]["responses"]
    assert "application/problem+json" in responses["418"]["content"]

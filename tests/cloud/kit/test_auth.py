"""Tokens let in whom they should, and every refused credential reads the same."""

from datetime import timedelta
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends
from httpx import Response
from sqlalchemy import Engine, text

from cloud.errors import ProblemError
from cloud.kit.auth import Principal, Scope, authenticate, issue_token, list_tokens, revoke_token
from cloud.kit.database import reading, writing
from shared.ids import TenantId
from tests.cloud.service import NOW, Client, bearer, create_client, create_gate


def _client(engine: Engine) -> Client:
    router = APIRouter()
    gate = create_gate(engine)

    @router.get("/books")
    def read_books(
        principal: Annotated[Principal, Depends(gate.requires(Scope.AUDITOR, Scope.ADMIN))],
    ) -> dict[str, str]:
        return {"reader": principal.name}

    return create_client([router])


def _get(engine: Engine, headers: dict[str, str]) -> Response:
    client = _client(engine)
    return client.get("/books", headers=headers)


def test_either_scope_opens_the_door(engine: Engine) -> None:
    assert _get(engine, bearer(engine, Scope.AUDITOR, number=1)).json() == {"reader": "token 1"}
    assert _get(engine, bearer(engine, Scope.ADMIN, number=2)).status_code == 200


def test_another_scope_does_not(engine: Engine) -> None:
    answer = _get(engine, bearer(engine, Scope.POS, Scope.METRICS))
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:doorstep:problem:missing-scope"


def test_every_refused_credential_reads_the_same(engine: Engine) -> None:
    good = bearer(engine, Scope.ADMIN)
    with writing(engine) as connection:
        revoke_token(connection, list_tokens(connection)[0].id, NOW)
    refused = [
        {},
        good,
        {"Authorization": "Bearer dst_unknown"},
        {"Authorization": "Bearer " + "dst_" + "x" * 5000},
        {"Authorization": "Bearer something"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
    ]
    answers = [_get(engine, headers) for headers in refused]
    assert {(answer.status_code, answer.text, answer.headers["www-authenticate"]) for answer in answers} == {
        (401, answers[0].text, "Bearer")
    }
    assert answers[0].headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("after", "is_good"), [(timedelta(seconds=-1), False), (timedelta(0), True), (timedelta(days=1), False)]
)
def test_a_token_is_good_from_its_issue_until_it_expires(engine: Engine, after: timedelta, is_good: bool) -> None:
    secret = bearer(engine, Scope.ADMIN)["Authorization"].removeprefix("Bearer ")
    with reading(engine) as connection:
        assert (authenticate(connection, secret, NOW + after) is not None) is is_good


def test_a_token_is_revoked_once(engine: Engine) -> None:
    bearer(engine, Scope.ADMIN, tenant="bakers")
    with writing(engine) as connection:
        (before,) = list_tokens(connection)
        assert revoke_token(connection, before.id, NOW) is True
        assert revoke_token(connection, before.id, NOW) is False
        assert revoke_token(connection, "nobody", NOW) is False
        (after,) = list_tokens(connection)
    assert (before.revoked_at, after.revoked_at, after.tenant) == (None, NOW, "bakers")


def test_the_secret_is_nowhere_in_the_database_or_in_a_repr(engine: Engine) -> None:
    with writing(engine) as connection:
        token = issue_token(
            connection,
            entropy=b"e" * 32,
            name="n",
            scopes=frozenset({Scope.ADMIN}),
            tenant=None,
            now=NOW,
            lifetime=timedelta(days=1),
        )
        row = connection.execute(text("SELECT * FROM api_token")).one()
    assert token.secret.startswith("dst_")
    assert token.secret not in repr(token)
    assert not any(str(value) in token.secret for value in row if isinstance(value, str) and len(value) > 5)


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        (None, "bakers", "bakers"),
        ("bakers", None, "bakers"),
        ("bakers", "bakers", "bakers"),
        ("bakers", "butchers", None),
        (None, None, None),
    ],
)
def test_a_tenants_token_names_no_other_tenant(own: str | None, asked: str | None, expected: str | None) -> None:
    principal = Principal(token_id="t", name="n", scopes=frozenset(), tenant=None if own is None else TenantId(own))
    if expected is None:
        with pytest.raises(ProblemError):
            principal.tenant_or(asked)
    else:
        assert principal.tenant_or(asked) == expected

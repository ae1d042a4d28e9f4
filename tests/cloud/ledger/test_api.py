"""The ledger over HTTP: what auditors read, page by page, and what others do not."""

import pytest
from sqlalchemy import Engine

from cloud.kit.auth import Scope
from cloud.kit.database import writing
from cloud.kit.pagination import encode_cursor
from cloud.ledger.actions import post
from cloud.ledger.api import create_router
from shared.ids import TenantId
from tests.cloud.ledger.world import BRUNO, NOON, allotment, grant, mint
from tests.cloud.service import Client, bearer, create_client, create_gate

WALLET = "/v1/ledger/accounts/2110/PT:consumption/mfxg4yjngaydambr"


@pytest.fixture
def client(engine: Engine) -> Client:
    """A client of a service whose bakers granted Anna five points ten times, Bruno once."""
    drafts = [mint(1, 1000), allotment(1, 500), *(grant(10 + n, 5) for n in range(10)), grant(30, 5, BRUNO)]
    with writing(engine) as connection:
        post(connection, [*drafts, mint(1, 7, TenantId("butchers"))], recorded_at=NOON)
    client = create_client([create_router(engine, create_gate(engine))])
    client.headers.update(bearer(engine, Scope.AUDITOR, tenant="bakers"))
    return client


def test_a_balance(client: Client) -> None:
    assert client.get(f"{WALLET}/balance").json() == {
        "account": {"code": 2110, "unit": "PT:consumption", "subject": "mfxg4yjngaydambr", "side": "credit"},
        "balance": 50,
        "version": 10,
    }


def test_the_tenants_own_account_and_its_normal_side(client: Client) -> None:
    answer = client.get("/v1/ledger/accounts/1000/PT:consumption/-/balance").json()
    assert (answer["account"]["side"], answer["balance"]) == ("debit", 1000)


def test_an_account_nothing_was_posted_to(client: Client) -> None:
    answer = client.get("/v1/ledger/accounts/2110/PT:guide/mfxg4yjngaydambr/balance")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:doorstep:problem:not-found")
    assert client.get("/v1/ledger/accounts/2110/PT:guide/x/statement").json() == {"items": [], "next": None}


def test_a_statement_page_by_page(client: Client) -> None:
    versions, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        answer = client.get(f"{WALLET}/statement", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        versions += [(line["version"], line["amount"], line["balance"]) for line in answer["items"]]
        cursor, pages = answer["next"], pages + 1
    assert pages == 3
    assert versions == [(version, 5, 5 * version) for version in range(10, 0, -1)]
    first = client.get(f"{WALLET}/statement", params={"limit": 1}).json()["items"][0]
    assert (first["kind"], first["effective_at"], len(first["entry"])) == ("grant_daily", "2026-03-01T12:00:00Z", 32)


def test_the_journal_page_by_page(client: Client) -> None:
    first = client.get("/v1/ledger/entries", params={"limit": 12}).json()
    last = client.get("/v1/ledger/entries", params={"limit": 12, "cursor": first["next"]}).json()
    assert [entry["sequence"] for entry in first["items"] + last["items"]] == list(range(1, 14))
    assert (last["next"], len(last["items"])) == (None, 1)
    assert [leg["amount"] for leg in first["items"][0]["postings"]] == [-1000, 1000]


def test_the_trial_balance(client: Client) -> None:
    totals = client.get("/v1/ledger/totals").json()
    assert [(t["code"], t["side"], t["accounts"], t["balance"]) for t in totals] == [
        (1000, "debit", 1, 1000),
        (2010, "credit", 1, 500),
        (2030, "credit", 1, 445),
        (2110, "credit", 2, 55),
    ]


def test_who_runs_the_installation_names_the_tenant(client: Client, engine: Engine) -> None:
    headers = bearer(engine, Scope.ADMIN, number=2)
    named = client.get("/v1/ledger/totals", params={"tenant": "butchers"}, headers=headers)
    assert named.json()[0]["balance"] == 7
    assert client.get("/v1/ledger/totals", headers=headers).status_code == 403


def test_nobody_reads_another_tenants_ledger(client: Client) -> None:
    for path in (f"{WALLET}/balance", f"{WALLET}/statement", "/v1/ledger/entries", "/v1/ledger/totals"):
        assert client.get(path, params={"tenant": "butchers"}).status_code == 403


def test_scope_and_token_are_needed(client: Client, engine: Engine) -> None:
    assert client.get("/v1/ledger/totals", headers=bearer(engine, Scope.POS, number=3)).status_code == 403
    assert client.get("/v1/ledger/totals", headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("cursor", ["x", encode_cursor("a"), encode_cursor(-1), encode_cursor(2**63)])
def test_a_bad_cursor(client: Client, cursor: str) -> None:
    for path in (f"{WALLET}/statement", "/v1/ledger/entries"):
        answer = client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:doorstep:problem:bad-cursor")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/ledger/accounts/7/PT:x/y/balance", "path.code"),
        ("/v1/ledger/accounts/x/PT:x/y/balance", "path.code"),
        (f"/v1/ledger/accounts/2110/{'u' * 65}/y/balance", "path.unit"),
        (f"/v1/ledger/accounts/2110/u/{'s' * 201}/balance", "path.subject"),
        ("/v1/ledger/entries?limit=0", "query.limit"),
        ("/v1/ledger/entries?limit=201", "query.limit"),
        (f"/v1/ledger/entries?cursor={'c' * 513}", "query.cursor"),
        ("/v1/ledger/totals?tenant=", "query.tenant"),
    ],
)
def test_wrong_requests_name_the_field(client: Client, path: str, field: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, field)

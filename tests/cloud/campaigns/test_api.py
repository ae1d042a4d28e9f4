"""Campaigns over HTTP."""

import hashlib
from pathlib import Path

import pytest

from cloud.campaigns.api import router
from cloud.kit.auth import Scope
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.services import Services
from tests.cloud.claims.world import NOON, World
from tests.cloud.service import Client, bearer, create_client, standing_clock

SUMMER = {
    "id": "summer",
    "tenant": "rossi",
    "name": "Summer",
    "unit": "PT:consumption",
    "budget": 500,
    "allotment_points": 50,
}


@pytest.fixture(scope="module")
def keyring(memory_folder: Path) -> Keyring:
    """The cloud's keys."""
    return create_keyring(memory_folder / "campaign-keys", ["localhost"], NOON)


@pytest.fixture
def client(world: World, keyring: Keyring) -> Client:
    """An administrator's client."""
    services = Services(
        engine=world.engine,
        keyring=keyring,
        clock=standing_clock,
        random=lambda length: hashlib.shake_128(b"seed").digest(length),
    )
    client = create_client([router(services)])
    client.headers = bearer(world.engine, Scope.ADMIN)
    return client


def test_campaign_is_made_once_and_shown_with_its_funds(client: Client) -> None:
    answers = [client.post("/v1/campaigns", json=SUMMER) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    shown = client.get("/v1/campaigns/summer", params={"tenant": "rossi"}).json()
    assert (shown["minted"], shown["budget"], shown["held"], shown["granted"], shown["epochs"]) == (500, 500, 0, 0, 0)


def test_contingency_is_set_with_the_campaign_and_added_to_later(client: Client) -> None:
    client.post("/v1/campaigns", json=SUMMER | {"contingency": 100})
    path, key = "/v1/campaigns/summer/contingency?tenant=rossi", {"Idempotency-Key": "one"}

    answers = [client.post(path, json={"points": 40}, headers=key) for _ in range(2)]

    assert [(answer.json()["budget"], answer.json()["contingency"]) for answer in answers] == [(360, 140)] * 2
    assert client.post("/v1/campaigns/none/contingency?tenant=rossi", json={"points": 1}).status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": "spring"}, 409),
        ({"tenant": "nobody"}, 404),
        ({"unit": "points"}, 422),
        ({"budget": -1}, 422),
        ({"budget": "many"}, 422),
        ({"contingency": 501}, 422),
        ({"allotment_points": 0}, 422),
        ({"name": "  "}, 422),
        ({"surprise": 1}, 422),
    ],
    ids=str,
)
def test_campaign_that_cannot_be_is_a_problem(client: Client, change: dict[str, object], status: int) -> None:
    answer = client.post("/v1/campaigns", json=SUMMER | change)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_budget_is_minted_once_an_idempotency_key(client: Client) -> None:
    path, key = "/v1/campaigns/spring/budget?tenant=rossi", {"Idempotency-Key": "one"}

    answers = [client.post(path, json={"points": 40}, headers=key) for _ in range(2)]

    assert [answer.json()["minted"] for answer in answers] == [290, 290]
    assert client.post(path, json={"points": 41}, headers=key).status_code == 422
    assert client.post("/v1/campaigns/none/budget?tenant=rossi", json={"points": 1}).status_code == 404


def test_lists_go_page_by_page(client: Client, world: World) -> None:
    client.post("/v1/campaigns", json=SUMMER)
    for number in range(3):
        world.add_kiosk(f"door{number}", with_allotment=number < 2)

    first = client.get("/v1/campaigns", params={"tenant": "rossi", "limit": 1}).json()
    second = client.get("/v1/campaigns", params={"tenant": "rossi", "limit": 1, "cursor": first["next"]}).json()
    assert [page["items"][0]["id"] for page in (first, second)] == ["spring", "summer"]
    assert second["next"] is None

    path = "/v1/campaigns/spring/allotments"
    first = client.get(path, params={"tenant": "rossi", "limit": 1}).json()
    second = client.get(path, params={"tenant": "rossi", "limit": 1, "cursor": first["next"]}).json()
    assert [page["items"][0]["device"] for page in (first, second)] == ["door0", "door1"]
    assert (first["items"][0]["total"], second["next"]) == (100, None)
    assert client.get(path, params={"tenant": "rossi", "cursor": "nonsense"}).status_code == 400
    assert client.get("/v1/campaigns/none/allotments", params={"tenant": "rossi"}).status_code == 404


def test_who_may_do_what(client: Client, world: World) -> None:
    merchant = bearer(world.engine, Scope.MERCHANT, tenant="rossi", number=2)
    stranger = bearer(world.engine, Scope.ADMIN, tenant="bianchi", number=3)

    assert client.get("/v1/campaigns/spring", headers=merchant).status_code == 200
    assert client.post("/v1/campaigns", json=SUMMER, headers=merchant).status_code == 403
    assert client.post("/v1/campaigns", json=SUMMER, headers=stranger).status_code == 403
    assert client.get("/v1/campaigns/spring", headers=stranger).status_code == 404
    assert client.get("/v1/campaigns", headers={"Authorization": "Bearer no"}).status_code == 401

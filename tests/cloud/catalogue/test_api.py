"""The catalogue over HTTP, on both databases."""

import httpx
import pytest
from sqlalchemy import Engine

from cloud.catalogue.api import router
from cloud.kit.auth import Scope
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.services import Services
from tests.cloud.devices.conftest import counting_random
from tests.cloud.service import NOW, Client, bearer, create_client, standing_clock

TENANT = {"id": "nord", "name": "Nord"}
MERCHANT = {"id": "caffe", "tenant": "nord", "name": "Caffè"}
PROGRAMME = {"id": "club", "tenant": "nord", "name": "Club", "unit": "PT:consumption"}
STORE: dict[str, object] = {
    "id": "milano-1",
    "tenant": "nord",
    "merchant": "caffe",
    "programme": "club",
    "name": "Milano",
    "zone": "Europe/Rome",
    "cutoff_hour": 4,
}
TERMS: dict[str, object] = {"campaign": "spring", "points": 10, "reduced_points": 5}
REWARD = "/v1/stores/milano-1/daily-reward"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Keys, which the catalogue does not use."""
    return create_keyring(tmp_path_factory.mktemp("cloud") / "keys", ["localhost"], NOW)


@pytest.fixture
def client(engine: Engine, keyring: Keyring) -> Client:
    """An administrator's client of a service with one store."""
    services = Services(engine=engine, keyring=keyring, clock=standing_clock, random=counting_random())
    client = create_client([router(services)])
    client.headers.update(bearer(engine, Scope.ADMIN))
    entries = (("tenants", TENANT), ("merchants", MERCHANT), ("programmes", PROGRAMME), ("stores", STORE))
    for path, body in entries:
        answer = client.post(f"/v1/{path}", json=body)
        assert (answer.status_code, answer.json()) == (201, body)
        assert client.post(f"/v1/{path}", json=body).json() == body, "the same again is the same"
    return client


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:doorstep:problem:")


def test_terms_become_the_policy_in_force(client: Client) -> None:
    assert problem(client.get("/v1/stores/milano-1/policy")) == (404, "not-found")
    answer = client.request("PUT", REWARD, json=TERMS)
    assert answer.status_code == 200
    assert answer.json() == client.get("/v1/stores/milano-1/policy").json()
    shown = {"version": 1, "campaign": "spring", "points": 10, "unit": "PT:consumption", "rule": "daily"}
    assert shown.items() <= answer.json().items()
    assert "naming_key" not in answer.json()
    assert client.request("PUT", REWARD, json=TERMS | {"points": 20}).json()["version"] == 2


def test_stores_are_listed_and_shown(client: Client) -> None:
    client.post("/v1/stores", json=STORE | {"id": "milano-2"})
    first = client.get("/v1/stores", params={"limit": 1}).json()
    second = client.get("/v1/stores", params={"limit": 1, "cursor": first["next"]}).json()
    assert [store["id"] for page in (first, second) for store in page["items"]] == ["milano-1", "milano-2"]
    assert client.get("/v1/stores/milano-1").json() == STORE
    assert problem(client.get("/v1/stores/roma-1")) == (404, "not-found")
    assert problem(client.get("/v1/stores", params={"cursor": "!"})) == (400, "bad-cursor")


def test_an_id_that_is_taken_or_leads_nowhere(client: Client) -> None:
    assert problem(client.post("/v1/tenants", json=TENANT | {"name": "Sud"})) == (409, "id-taken")
    assert problem(client.post("/v1/stores", json=STORE | {"id": "x", "merchant": "bar"})) == (404, "not-found")
    answer = client.post("/v1/stores", json=STORE | {"id": "x", "zone": "Mars/Olympus"})
    assert (problem(answer), answer.json()["detail"]) == ((422, "invalid-request"), "unknown_zone")
    assert problem(client.request("PUT", "/v1/stores/roma-1/daily-reward", json=TERMS)) == (404, "not-found")
    answer = client.request("PUT", REWARD, json=TERMS | {"reduced_points": 11})
    assert (problem(answer), answer.json()["detail"]) == ((422, "invalid-request"), "unusable_terms")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cutoff_hour", "4"),
        ("cutoff_hour", 4.5),
        ("cutoff_hour", 13),
        ("cutoff_hour", True),
        ("name", 5),
        ("name", ""),
        ("id", "A"),
        ("id", ["milano-1"]),
        ("zone", None),
        ("surprise", 1),
    ],
)
def test_a_wrong_field_is_named_and_not_repeated(client: Client, field: str, value: object) -> None:
    answer = client.post("/v1/stores", json=STORE | {field: value})
    assert problem(answer) == (422, "invalid-request")
    assert [fault["field"] for fault in answer.json()["faults"]] == [f"body.{field}"]


@pytest.mark.parametrize("points", ["10", 10.0, 0, -1, 10**12, None])
def test_points_are_whole_and_bounded(client: Client, points: object) -> None:
    answer = client.request("PUT", REWARD, json=TERMS | {"points": points})
    assert [fault["field"] for fault in answer.json()["faults"]] == ["body.points"]


def test_who_may_not(client: Client, engine: Engine) -> None:
    for headers, expected in (
        ({"Authorization": "Bearer dst_wrong"}, (401, "unauthenticated")),
        (bearer(engine, Scope.MERCHANT, number=2), (403, "missing-scope")),
        (bearer(engine, Scope.ADMIN, tenant="sud", number=3), (403, "missing-scope")),
    ):
        assert problem(client.post("/v1/stores", json=STORE, headers=headers)) == expected
    stranger = bearer(engine, Scope.MERCHANT, tenant="sud", number=4)
    assert problem(client.get("/v1/stores/milano-1", headers=stranger)) == (404, "not-found")
    assert problem(client.request("PUT", REWARD, json=TERMS, headers=stranger)) == (404, "not-found")
    assert client.get("/v1/stores", headers=stranger).json() == {"items": [], "next": None}


def test_a_replayed_key_with_another_body(client: Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.request("PUT", REWARD, json=TERMS, headers=key)
    replayed = client.request("PUT", REWARD, json=TERMS, headers=key)
    assert (replayed.json(), replayed.headers["idempotency-replayed"]) == (first.json(), "true")
    changed = client.request("PUT", REWARD, json=TERMS | {"points": 99}, headers=key)
    assert problem(changed) == (422, "idempotency-key-reused")
    assert client.get("/v1/stores/milano-1/policy").json()["points"] == 10


def test_faces_are_off_unless_the_terms_turn_them_on(client: Client) -> None:
    plain = client.request("PUT", REWARD, json=TERMS).json()
    assert (plain["faces"], plain["face_false_positives_ppm"], plain["liveness"]) == (False, 3000, "passive")
    wanted = TERMS | {"faces": True, "face_false_positives_ppm": 100, "liveness": "turn"}
    seen = client.request("PUT", REWARD, json=wanted).json()
    assert (seen["faces"], seen["face_false_positives_ppm"], seen["liveness"]) == (True, 100, "turn")
    assert seen["version"] == plain["version"] + 1
    assert client.request("PUT", REWARD, json=TERMS).json()["faces"] is False, "terms are set whole"


@pytest.mark.parametrize(
    ("field", "value"),
    [("faces", "yes"), ("face_false_positives_ppm", 0), ("face_false_positives_ppm", 100_001), ("liveness", "blood")],
)
def test_terms_of_faces_that_make_no_sense(client: Client, field: str, value: object) -> None:
    answer = client.request("PUT", REWARD, json=TERMS | {field: value})
    assert [fault["field"] for fault in answer.json()["faults"]] == [f"body.{field}"]


COUPON = {"mode": "hub", "series": "espresso", "label": "A free espresso", "a_day": 200}


def test_a_coupon_comes_with_the_reward_only_where_the_terms_say_so(client: Client) -> None:
    assert client.request("PUT", REWARD, json=TERMS).json()["instant"] is None
    assert client.request("PUT", REWARD, json=TERMS | {"instant": COUPON}).json()["instant"] == COUPON
    assert client.get("/v1/stores/milano-1/policy").json()["instant"] == COUPON


@pytest.mark.parametrize(
    ("field", "value"),
    [("mode", "lottery"), ("series", "A B"), ("label", ""), ("a_day", 0), ("a_day", 10_001), ("surprise", 1)],
)
def test_terms_of_a_coupon_that_make_no_sense(client: Client, field: str, value: object) -> None:
    answer = client.request("PUT", REWARD, json=TERMS | {"instant": COUPON | {field: value}})
    assert [fault["field"] for fault in answer.json()["faults"]] == [f"body.instant.{field}"]

"""Claims over HTTP."""

import hashlib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cloud.claims.api import receipts_router, router
from cloud.claims.tables import instant_right
from cloud.devices.actions import quarantine_epoch
from cloud.kit.auth import Scope
from cloud.kit.database import writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.services import Services
from cloud.members.tables import member_bearer
from shared.ids import format_member
from tests.cloud.claims.faces import disputed
from tests.cloud.claims.test_receipts import receipt_of
from tests.cloud.claims.world import NOON, World
from tests.cloud.service import Client, bearer, create_client, standing_clock
from tests.support.kiosk import member_of

CLAIMS, REFUSED = "/v1/stores/centro/claims", "/v1/stores/centro/refused-envelopes"
DISPUTES = "/v1/stores/centro/face-disputes"


@pytest.fixture(scope="module")
def keyring(memory_folder: Path) -> Keyring:
    """The cloud's keys."""
    return create_keyring(memory_folder / "claim-keys", ["localhost"], NOON)


@pytest.fixture
def client(world: World, keyring: Keyring) -> Client:
    """A merchant's client, after a day on which one claim was good, one bad, one forged and one visit noted."""
    services = Services(engine=world.engine, keyring=keyring, clock=standing_clock, random=bytes)
    client = create_client([router(services), receipts_router(services)])
    client.headers = bearer(world.engine, Scope.MERCHANT, tenant="rossi")
    kiosk = world.add_kiosk("door1")
    world.tell(
        kiosk,
        kiosk.claim(member_of(1), NOON),
        kiosk.claim(member_of(99), NOON),
        kiosk.visit(member_of(2)),
        kiosk.claim(member_of(3), NOON, header={"wall_ms": None}, business_day="some day"),
        kiosk.claim(member_of(4), NOON + timedelta(days=1)),
        msgspec.structs.replace(kiosk.claim(member_of(5), NOON), signature=bytes(64)),
        msgspec.structs.replace(kiosk.claim(member_of(6), NOON), signature=bytes(64)),
    )
    return client


def test_disputes_go_page_by_page(client: Client, world: World) -> None:
    kiosk = world.add_kiosk("door2")
    world.tell(kiosk, disputed(kiosk, member_of(1), claim=bytes(16)), disputed(kiosk, member_of(2)))

    first = client.get(DISPUTES, params={"limit": 1}).json()
    rest = client.get(DISPUTES, params={"limit": 1, "cursor": first["next"]}).json()
    assert first["items"] == [
        {
            "device": "door2",
            "epoch": 1,
            "seq": 1,
            "member": format_member(member_of(1)),
            "claim": "00" * 16,
            "said_at": "2026-03-02T11:00:00Z",
            "recorded_at": "2026-03-02T11:00:00Z",
        }
    ]
    assert [(item["claim"], rest["next"]) for item in rest["items"]] == [(None, None)]


def test_claims_of_a_day_with_their_verdicts(client: Client) -> None:
    shown = client.get(CLAIMS, params={"day": "2026-03-02"}).json()["items"]

    assert [(claim["seq"], claim["outcome"], claim["reason"]) for claim in shown] == [
        (1, "posted", None),
        (2, "rejected", "unknown_member"),
    ]
    assert shown[0]["member"] == format_member(member_of(1))
    assert (shown[0]["amount"], shown[0]["made_at"]) == (10, "2026-03-02T11:00:00Z")


def test_rejected_claims_of_all_days_even_of_none(client: Client) -> None:
    shown = client.get(CLAIMS, params={"outcome": "rejected"}).json()["items"]

    assert [(claim["seq"], claim["reason"], claim["business_day"], claim["made_at"]) for claim in shown] == [
        (4, "wrong_day", None, None),
        (2, "unknown_member", "2026-03-02", "2026-03-02T11:00:00Z"),
    ]


@pytest.mark.parametrize(("path", "seqs"), [(CLAIMS, [4, 1, 2, 5]), (REFUSED, [6, 7])])
def test_lists_go_page_by_page(client: Client, path: str, seqs: list[int]) -> None:
    seen: list[int] = []
    page = client.get(path, params={"limit": 1}).json()
    while True:
        seen += [item["seq"] for item in page["items"]]
        if page["next"] is None:
            break
        page = client.get(path, params={"limit": 1, "cursor": page["next"]}).json()
    assert seen == seqs if path == CLAIMS else sorted(seen) == seqs


def test_refused_envelopes_name_their_reason(client: Client) -> None:
    assert {item["reason"] for item in client.get(REFUSED).json()["items"]} == {"bad_signature"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{CLAIMS}?day=yesterday", 422),
        (f"{CLAIMS}?outcome=lost", 422),
        (f"{CLAIMS}?cursor=nonsense", 400),
        (f"{REFUSED}?cursor=InoxIg", 400),
        ("/v1/stores/porto/claims", 404),
        ("/v1/stores/porto/refused-envelopes", 404),
    ],
)
def test_what_cannot_be_is_a_problem(client: Client, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_another_tenants_store_is_as_good_as_none(client: Client, world: World) -> None:
    stranger = bearer(world.engine, Scope.ADMIN, tenant="bianchi", number=2)
    pos = bearer(world.engine, Scope.POS, tenant="rossi", number=3)

    assert client.get(CLAIMS, headers=stranger).status_code == 404
    assert client.get(CLAIMS, headers=pos).status_code == 403


def test_quarantine_is_listed_and_decided_by_the_stores_own_people(client: Client, world: World) -> None:
    kiosk = world.add_kiosk("door2")
    kiosk.previous = bytes(32)
    world.tell(kiosk, *(kiosk.claim(member_of(number), NOON) for number in (11, 12, 13)))
    path, waits = "/v1/stores/centro/quarantine", "/v1/stores/centro/quarantine/door2/1"

    first = client.get(path, params={"limit": 2}).json()
    second = client.get(path, params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["seq"] for page in (first, second) for one in page["items"]] == [1, 2, 3]
    assert (first["items"][0]["reason"], first["items"][0]["kind"], second["next"]) == ("broken_chain", "claim", None)

    key = {"Idempotency-Key": "one"}
    told = [client.post(f"{waits}/1", json={"release": True, "note": "seen"}, headers=key) for _ in range(2)]
    assert [one.json() for one in told] == [{"outcome": "posted", "reason": None, "balance": 10}] * 2
    assert client.post(f"{waits}/1", json={"release": False, "note": "no"}).status_code == 409
    assert client.post(f"{waits}/2", json={"release": False, "note": "copied"}).json()["outcome"] == "rejected"
    assert client.post(f"{waits}/3", json={"release": True, "note": " "}).status_code == 422
    assert client.post(f"{waits}/9", json={"release": True, "note": "x"}).status_code == 404

    shown = client.get(CLAIMS, params={"device": "door2"}).json()["items"]
    assert [one["review"] and one["review"]["note"] for one in shown] == ["seen", "copied", None]

    auditor = bearer(world.engine, Scope.AUDITOR, tenant="rossi", number=8)
    stranger = bearer(world.engine, Scope.MERCHANT, tenant="bianchi", number=9)
    said = {"release": True, "note": "x"}
    assert client.post(f"{waits}/3", json=said, headers=auditor).status_code == 403
    assert client.post(f"{waits}/3", json=said, headers=stranger).status_code == 404


def test_only_a_claim_is_released(client: Client, world: World) -> None:
    kiosk = world.add_kiosk("door2")
    kiosk.previous = bytes(32)
    world.tell(kiosk, kiosk.visit(member_of(11)))

    told = client.post("/v1/stores/centro/quarantine/door2/1/1", json={"release": True, "note": "x"})

    assert (told.status_code, told.json()["title"]) == (409, "Only a claim can be released")


def test_receipt_is_handed_in_by_staff_and_decided_when_it_waits(client: Client, world: World) -> None:
    kiosk = world.add_kiosk("door2")
    path = f"/v1/members/{format_member(member_of(11))}/claim-receipts"
    said = {"text": receipt_of(kiosk, 11)}

    assert client.post(path, json=said).json()["outcome"] == "posted"
    assert client.post(path, json={"text": "DS1:"}).json()["detail"] == "unreadable"
    assert client.post("/v1/members/nobody/claim-receipts", json=said).status_code == 404
    with writing(world.engine) as connection:
        quarantine_epoch(connection, kiosk.device, 1, NOON)
    other = f"/v1/members/{format_member(member_of(12))}/claim-receipts"
    waits = client.post(other, json={"text": receipt_of(kiosk, 12)}).json()
    assert (waits["outcome"], waits["reason"]) == ("quarantined", "epoch_quarantined")

    store = "/v1/stores/centro/claim-receipts"
    first = client.get(store, params={"limit": 1}).json()
    second = client.get(store, params={"limit": 1, "cursor": first["next"]}).json()
    assert second["next"] is None
    assert {page["items"][0]["outcome"] for page in (first, second)} == {"posted", "quarantined"}
    (waiting,) = client.get(store, params={"outcome": "quarantined"}).json()["items"]
    decision = {"release": True, "note": "seen"}
    assert client.post(f"{store}/{waiting['id']}", json=decision).json()["outcome"] == "posted"
    assert client.post(f"{store}/{waiting['id']}", json=decision).status_code == 409
    assert client.post(f"{store}/{'0' * 32}", json=decision).status_code == 404


def test_member_hands_in_their_own_receipt(client: Client, world: World) -> None:
    kiosk = world.add_kiosk("door2")
    secret = "dsm_" + "a" * 43
    with writing(world.engine) as connection:
        connection.execute(
            member_bearer.insert().values(
                digest=hashlib.sha256(secret.encode()).digest(), tenant="rossi", member=member_of(11), created_at=NOON
            )
        )
    said, mine = {"text": receipt_of(kiosk, 11)}, {"Authorization": f"Bearer {secret}"}

    assert client.post("/v1/me/claim-receipts", json=said, headers=mine).json()["balance"] == 10
    assert client.post("/v1/me/claim-receipts", json={"text": receipt_of(kiosk, 12)}, headers=mine).status_code == 422
    assert client.post("/v1/me/claim-receipts", json=said, headers={"Authorization": "Bearer no"}).status_code == 401


def test_coupons_are_counted_by_campaign_and_series(client: Client, world: World) -> None:
    assert client.get("/v1/stores/centro/coupons").json() == []
    rows = [(bytes(16), 2, 0), (b"b" * 16, 0, 1)]
    with writing(world.engine) as connection:
        for claim, shown, deferred in rows:
            connection.execute(
                instant_right.insert().values(
                    claim=claim,
                    tenant="rossi",
                    store="centro",
                    campaign="spring",
                    series="espresso",
                    label="A free espresso",
                    business_day="2026-03-02",
                    shown=shown,
                    deferred=deferred,
                )
            )
    assert client.get("/v1/stores/centro/coupons").json() == [
        {"campaign": "spring", "series": "espresso", "given": 1, "waiting": 1, "lost": 1}
    ]
    assert client.get("/v1/stores/nowhere/coupons").status_code == 404

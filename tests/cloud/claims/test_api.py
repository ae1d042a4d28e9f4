"""Claims over HTTP."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cloud.claims.api import router
from cloud.claims.tables import instant_right
from cloud.kit.auth import Scope
from cloud.kit.database import writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.services import Services
from shared.ids import format_member
from tests.cloud.claims.faces import disputed
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
    client = create_client([router(services)])
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

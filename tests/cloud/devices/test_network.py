"""The kiosks of a store on their own network: who owns, who leads, and that owners change only when all have heard."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import msgspec
import pytest

from cloud.devices.actions import answer_state, leap_feeds, revoke_device
from cloud.devices.queries import network_of
from cloud.devices.rules import (
    FORGOTTEN_AFTER,
    HUB_LEASE,
    SILENT_AFTER,
    KioskSeen,
    StoreNetwork,
    advance_network,
    lan_of,
)
from cloud.kit.database import reading, writing
from edge.core.feeds import HeldFeed, PageVerdict, judge_page
from shared.answers import HubLease, StoreKiosk, StorePage
from shared.biometrics import KIOSKS_MAX
from shared.business_day import milliseconds
from shared.envelope import DeviceState, FeedVersions
from shared.ids import DeviceId
from tests.cloud.devices.conftest import NOW, STORE, Registry
from tests.cloud.devices.kiosk import Kiosk

DAY = date(2026, 3, 1)
NEXT = "2026-03-02"


def seen(name: str, *, version: int = 0, ago: timedelta | None = timedelta(0), lan: str | None = None) -> KioskSeen:
    return KioskSeen(
        kiosk=StoreKiosk(device=name, public=bytes(32), lan=lan),
        is_online=ago is not None,
        seen_at=None if ago is None else NOW - ago,
        version=version,
    )


def advance(held: StoreNetwork, version: int, *kiosks: KioskSeen, day: date = DAY) -> StoreNetwork:
    return advance_network(held, version, kiosks, day, NOW)


def test_the_first_kiosks_own_at_once_and_by_id() -> None:
    made = advance(StoreNetwork(), 1, seen("b"), seen("a"), seen("never", ago=None))
    assert made.owners == ("a", "b")
    assert [kiosk.device for kiosk in made.kiosks] == ["a", "b", "never"]
    assert advance(made, 2, seen("a"), seen("b"), seen("never", ago=None)) == made


def test_a_newcomer_owns_from_the_day_after_all_have_heard() -> None:
    held = StoreNetwork(owners=("a", "b"))
    told = advance(held, 5, seen("a"), seen("b"), seen("c"))
    assert (told.owners, told.following, told.following_from, told.announced) == (("a", "b"), ("a", "b", "c"), None, 5)
    half = advance(told, 6, seen("a", version=5), seen("b", version=4), seen("c"))
    assert half.following_from is None
    dated = advance(half, 6, seen("a", version=5), seen("b", version=6), seen("c"))
    assert dated.following_from == NEXT
    assert advance(dated, 7, seen("a"), seen("b"), seen("c"), day=date(2026, 3, 2)).owners == ("a", "b"), (
        "its first day"
    )
    after = advance(dated, 7, seen("a"), seen("b"), seen("c"), day=date(2026, 3, 3))
    assert (after.owners, after.following, after.following_from) == (("a", "b", "c"), None, None)


def test_who_is_revoked_or_silent_for_a_month_need_not_hear() -> None:
    told = StoreNetwork(owners=("a", "gone", "old"), following=("a", "old"), announced=5)
    long_ago = seen("old", ago=FORGOTTEN_AFTER + timedelta(seconds=1))
    assert advance(told, 6, seen("a", version=5), long_ago).following_from == NEXT
    assert advance(told, 6, seen("a", version=5), seen("old", ago=FORGOTTEN_AFTER)).following_from is None
    never = KioskSeen(kiosk=StoreKiosk(device="old", public=bytes(32)), is_online=False, seen_at=None, version=0)
    assert advance(replaced(told, following=("a",)), 6, seen("a", version=5), never).following_from is None


def replaced(network: StoreNetwork, **changes: object) -> StoreNetwork:
    return msgspec.structs.replace(network, **changes)


def test_a_change_of_mind_is_told_anew() -> None:
    told = StoreNetwork(owners=("a",), following=("a", "b"), announced=5)
    more = advance(told, 6, seen("a", version=5), seen("b"), seen("c"))
    assert (more.following, more.announced, more.following_from) == (("a", "b", "c"), 6, None)
    back = advance(told, 6, seen("a", version=5))
    assert (back.owners, back.following) == (("a",), None)
    dated = replaced(told, following_from=NEXT)
    assert advance(dated, 6, seen("a"), seen("b"), seen("c")).following == ("a", "b"), "a day once named stays"


def test_after_a_restore_nobody_owns_until_all_have_heard() -> None:
    lost = StoreNetwork(announced=1000)
    assert advance(lost, 1001, seen("a", version=1000), seen("b", version=7)).owners == ()
    assert advance(lost, 1001, seen("a", version=1000), seen("b", version=1000)).owners == ("a", "b")


def test_no_more_kiosks_take_part_than_a_page_holds() -> None:
    many = tuple(seen(f"k{number:03}") for number in range(KIOSKS_MAX + 1))
    made = advance(StoreNetwork(), 1, *many)
    assert len(made.kiosks) == len(made.owners) == KIOSKS_MAX


LAN = "10.0.0.1:8446"
FRESH = milliseconds(NOW + HUB_LEASE)


def lease(device: str, ends_ms: int = FRESH) -> HubLease:
    return HubLease(device=device, ends_ms=ends_ms)


@pytest.mark.parametrize(
    ("held", "kiosks", "hub"),
    [
        (None, [seen("a")], None),
        (None, [seen("b", lan=LAN), seen("c", lan=LAN)], lease("b")),
        (lease("c", FRESH - 1), [seen("b", lan=LAN), seen("c", lan=LAN)], lease("c", FRESH - 1)),
        (lease("c", FRESH // 2), [seen("b", lan=LAN), seen("c", lan=LAN)], lease("c")),
        (lease("c"), [seen("b", lan=LAN), seen("c", lan=LAN, ago=SILENT_AFTER * 2)], lease("b")),
        (lease("c"), [seen("b"), seen("c", lan=LAN, ago=SILENT_AFTER * 2)], lease("c")),
        (lease("gone"), [seen("b", lan=LAN)], lease("b")),
        (lease("gone"), [seen("b")], None),
        (lease("b"), [replace(seen("b", lan=LAN), is_online=False), seen("c", lan=LAN)], lease("c")),
    ],
)
def test_who_has_the_lease(held: HubLease | None, kiosks: list[KioskSeen], hub: HubLease | None) -> None:
    assert advance(StoreNetwork(hub=held), 1, *kiosks).hub == hub


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("192.168.1.20:8446", True),
        ("door.local:1", True),
        ("[fe80::1]:8446", True),
        (None, False),
        ("", False),
        ("8446", False),
        (":8446", False),
        ("a:0", False),
        ("a:65536", False),
        ("a:x", False),
        ("a:²", False),
        ("a" * 80 + ":1", False),
    ],
)
def test_an_address_on_the_stores_network(text: str | None, is_one: bool) -> None:
    assert lan_of(text) == (text if is_one else None)


def show(registry: Registry, device: DeviceId, *, held: int = 0, at: datetime = NOW) -> StorePage | None:
    """The page that the kiosk is told when it shows itself."""
    state = DeviceState(
        device=device,
        session=1,
        online=True,
        database=device.encode().ljust(16, b".")[:16],
        epoch=0,
        head=0,
        settled=0,
        feeds=FeedVersions(store=held),
        allotment=0,
        software="0.1",
        lan=f"{device}.local:8446",
    )
    with writing(registry.engine) as connection:
        answers = answer_state(connection, registry.keyring, device, state, at)
    return next((answer for answer in answers if isinstance(answer, StorePage)), None)


def test_kiosks_are_told_of_each_other_and_once(registry: Registry) -> None:
    one, two = registry.certified(Kiosk()), registry.certified(Kiosk())
    first = show(registry, one)
    assert first is not None
    assert (first.version, first.owners, first.hub) == (1, (one,), HubLease(device=one, ends_ms=FRESH))
    assert show(registry, one, held=1) is None
    second = show(registry, two)
    assert second is not None
    assert {kiosk.device: kiosk.lan for kiosk in second.kiosks} == {one: f"{one}.local:8446", two: f"{two}.local:8446"}
    assert (second.owners, second.following, second.following_from) == ((one,), tuple(sorted((one, two))), None)
    show(registry, one, held=second.version)
    third = show(registry, one, held=second.version)
    assert third is not None
    assert third.following_from == "2026-03-02"
    assert judge_page(third, HeldFeed(version=2, issued_ms=0)) is PageVerdict.APPLY


def test_a_revoked_kiosk_leads_no_more_and_others_hear_of_it(registry: Registry) -> None:
    one, two = registry.certified(Kiosk()), registry.certified(Kiosk())
    for device in (one, two):
        show(registry, device)
    with writing(registry.engine) as connection:
        revoke_device(connection, one, NOW)
    page = show(registry, two, held=2)
    assert page is not None
    assert [kiosk.device for kiosk in page.kiosks] == [two]
    assert page.hub is not None
    assert page.hub.device == two
    assert show(registry, one) is None


def test_a_restored_cloud_names_no_owner_until_all_were_heard(registry: Registry) -> None:
    one = registry.certified(Kiosk())
    show(registry, one)
    with writing(registry.engine) as connection:
        leap_feeds(connection, NOW)
    told = show(registry, one, held=7)
    assert told is not None
    assert told.owners == ()
    heard = show(registry, one, held=told.version)
    assert heard is not None
    assert heard.owners == (one,)
    with reading(registry.engine) as connection:
        assert network_of(connection, STORE)[0] == heard.version

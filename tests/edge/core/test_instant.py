"""Who may show the coupon of a claim: every mode, everything that can be known, and that there is one owner."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.instant import (
    HELD_MAX,
    HUB_SEEN_WITHIN,
    AskKiosks,
    DeferCoupon,
    InstantStanding,
    Lease,
    Rosters,
    ShowCoupon,
    decide_instant,
    leads,
    owner_of,
)
from shared.ids import DeviceId, MemberId
from shared.instants import Deferral
from shared.policy import InstantMode

A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
DAY = date(2026, 11, 20)
SHOP = (A, B, C)


def owned_by(device: DeviceId) -> MemberId:
    """A member whose coupon of the day is the device's."""
    for number in range(10_000):
        member = MemberId(number.to_bytes(10, "big"))
        if owner_of(member, DAY, SHOP) == device:
            return member
    raise AssertionError("one in three is")


def standing(device: DeviceId = A, /, **changes: object) -> InstantStanding:
    """A kiosk that knows the time and the store, has a hub and coupons left, and has asked nobody."""
    known = InstantStanding(
        device=device,
        rosters=(SHOP,),
        hub=C,
        hub_seen_ago=timedelta(seconds=20),
        told_ago=timedelta(minutes=5),
        left=1,
        right=None,
        said=None,
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # values of a test, for the fields it names


def decide(mode: InstantMode, owner: DeviceId, known: InstantStanding) -> ShowCoupon | AskKiosks | DeferCoupon:
    return decide_instant(mode, owned_by(owner), DAY, known)


@pytest.mark.parametrize("mode", list(InstantMode))
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"told_ago": None}, Deferral.TIME),
        ({"told_ago": HELD_MAX + timedelta(seconds=1)}, Deferral.TIME),
        ({"left": 0}, Deferral.EXHAUSTED),
    ],
)
def test_nobody_shows_without_the_time_or_beyond_the_limit(
    mode: InstantMode, changes: Mapping[str, object], why: Deferral
) -> None:
    assert decide(mode, A, standing(**changes)) == DeferCoupon(why=why)


def test_free_kiosks_know_nobody_and_always_show() -> None:
    lonely = standing(rosters=(), hub=None, hub_seen_ago=None, right=B, told_ago=HELD_MAX)
    assert decide(InstantMode.FREE, B, lonely) == ShowCoupon()


@pytest.mark.parametrize("mode", [InstantMode.OWNER, InstantMode.HUB])
@pytest.mark.parametrize("rosters", [(), ((),), (SHOP, ())])
def test_without_a_roster_there_is_no_owner(mode: InstantMode, rosters: tuple[tuple[DeviceId, ...], ...]) -> None:
    assert decide(mode, A, standing(rosters=rosters)) == DeferCoupon(why=Deferral.NO_ROSTER)


@pytest.mark.parametrize("mode", [InstantMode.OWNER, InstantMode.HUB])
def test_what_was_given_away_is_not_shown(mode: InstantMode) -> None:
    assert decide(mode, A, standing(right=B)) == DeferCoupon(why=Deferral.GIVEN)


@pytest.mark.parametrize(
    ("owner", "known", "decision"),
    [
        (A, standing(), ShowCoupon()),
        (A, standing(right=A), ShowCoupon()),
        (B, standing(), DeferCoupon(why=Deferral.NOT_OWNER)),
        (A, standing(rosters=(SHOP, (B,))), DeferCoupon(why=Deferral.NOT_OWNER)),
        (A, standing(rosters=(SHOP, (A,))), ShowCoupon()),
    ],
)
def test_the_owner_shows_and_others_defer(
    owner: DeviceId, known: InstantStanding, decision: ShowCoupon | DeferCoupon
) -> None:
    assert decide(InstantMode.OWNER, owner, known) == decision


@pytest.mark.parametrize(
    ("owner", "known", "decision"),
    [
        # the hub first, then the owner
        (B, standing(), AskKiosks(kiosks=(C, B), keeps=False)),
        (A, standing(), AskKiosks(kiosks=(C,), keeps=True)),
        (C, standing(), AskKiosks(kiosks=(C,), keeps=False)),
        (B, standing(said={C: A, B: A}), ShowCoupon()),
        (A, standing(said={C: A}), ShowCoupon()),
        (A, standing(said={C: B}), DeferCoupon(why=Deferral.GIVEN)),
        (B, standing(said={C: A, B: B}), DeferCoupon(why=Deferral.GIVEN)),
        (B, standing(said={C: A}), DeferCoupon(why=Deferral.UNREACHED)),
        # the hub said nothing after all: the owner rule
        (A, standing(said={}), ShowCoupon()),
        (B, standing(said={}), DeferCoupon(why=Deferral.NOT_OWNER)),
        # the hub itself asks owners only
        (A, standing(hub=A, hub_seen_ago=None), ShowCoupon()),
        (B, standing(hub=A, hub_seen_ago=None), AskKiosks(kiosks=(B,), keeps=True)),
        (B, standing(hub=A, said={B: A}), ShowCoupon()),
        (B, standing(hub=A, said={}), DeferCoupon(why=Deferral.UNREACHED)),
        # no hub, or one that is not heard: the owner rule
        (A, standing(hub=None), ShowCoupon()),
        (B, standing(hub=None), DeferCoupon(why=Deferral.NOT_OWNER)),
        (A, standing(hub_seen_ago=None), ShowCoupon()),
        (A, standing(hub_seen_ago=HUB_SEEN_WITHIN + timedelta(seconds=1)), ShowCoupon()),
        (A, standing(hub_seen_ago=HUB_SEEN_WITHIN), AskKiosks(kiosks=(C,), keeps=True)),
        # two rosters may hold: both owners are asked
        (A, standing(rosters=(SHOP, (B,))), AskKiosks(kiosks=(C, B), keeps=True)),
        (A, standing(rosters=(SHOP, (B,)), said={C: A, B: A}), ShowCoupon()),
    ],
)
def test_the_hub_is_asked_and_the_owner_agrees(
    owner: DeviceId, known: InstantStanding, decision: ShowCoupon | AskKiosks | DeferCoupon
) -> None:
    assert decide(InstantMode.HUB, owner, known) == decision


devices = st.text("abcdefghij0123456789", min_size=1, max_size=16).map(DeviceId)
rosters = st.lists(devices, min_size=1, max_size=8, unique=True).map(tuple)
members = st.binary(min_size=10, max_size=10).map(MemberId)
days = st.dates(date(2026, 1, 1), date(2030, 1, 1))


@given(rosters, members, days)
def test_every_roster_has_exactly_one_owner(roster: tuple[DeviceId, ...], member: MemberId, day: date) -> None:
    shows = [
        device
        for device in roster
        if decide_instant(InstantMode.OWNER, member, day, standing(device, rosters=(roster,), hub=None)) == ShowCoupon()
    ]
    assert shows == [owner_of(member, day, roster)]
    assert owner_of(member, day, tuple(reversed(roster))) == shows[0], "the order of a roster does not matter"


@given(rosters, members, days, devices)
def test_a_kiosk_that_comes_takes_members_and_moves_no_other(
    roster: tuple[DeviceId, ...], member: MemberId, day: date, newcomer: DeviceId
) -> None:
    assert owner_of(member, day, (*roster, newcomer)) in (newcomer, owner_of(member, day, roster))


@given(rosters, rosters, members, days)
def test_kiosks_that_know_different_things_of_a_change_never_name_two_owners(
    before: tuple[DeviceId, ...], after: tuple[DeviceId, ...], member: MemberId, day: date
) -> None:
    """Who knows the old roster alone and who knows the new one alone are never there at once; all others are."""
    announced = Rosters(present=before, following=after)
    dated = Rosters(present=before, following=after, following_from=day)
    for together in (
        (Rosters(present=before), announced),
        (announced, dated, Rosters(present=after)),
        (announced, replace(dated, following_from=day + timedelta(days=1))),
    ):
        shows = {
            device
            for known in together
            for device in {*before, *after}
            if decide_instant(InstantMode.OWNER, member, day, standing(device, rosters=known.on(day))) == ShowCoupon()
        }
        assert len(shows) <= 1


def test_rosters_change_at_a_business_day() -> None:
    known = Rosters(present=(A,), following=(A, B), following_from=date(2026, 11, 21))
    assert known.on(date(2026, 11, 20)) == ((A,),)
    assert known.on(date(2026, 11, 21)) == ((A, B),)


@pytest.mark.parametrize(
    ("lease", "kiosks", "live", "now_ms", "hub"),
    [
        (Lease(device=B, ends_ms=10), SHOP, {A, B}, 9, B),
        (Lease(device=B, ends_ms=10), SHOP, {A, B}, None, B),
        (Lease(device=B, ends_ms=10), SHOP, {A, B}, 10, A),
        (Lease(device=B, ends_ms=10), SHOP, {B, C}, 10, B),
        (Lease(device=DeviceId("gone"), ends_ms=10), SHOP, {C}, 1, C),
        (None, SHOP, {C, B}, 1, B),
        (None, SHOP, set(), 1, None),
        (None, (), {A}, 1, None),
    ],
)
def test_who_leads(
    lease: Lease | None, kiosks: tuple[DeviceId, ...], live: set[DeviceId], now_ms: int | None, hub: DeviceId | None
) -> None:
    assert leads(lease, kiosks, frozenset(live), now_ms) == hub

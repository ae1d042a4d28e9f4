"""Coupons that came with claims: counted once, lost when given twice, confirmed when nobody can have shown them."""

from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select

from cloud.catalogue.actions import set_daily_reward
from cloud.claims.actions import confirm_coupons
from cloud.claims.queries import CouponTotals, coupon_totals
from cloud.claims.rules import CONFIRM_AFTER, CONFIRM_AT_LATEST, KioskHeard, coupons_lost, is_day_told
from cloud.claims.tables import instant_said
from cloud.devices.actions import record_state
from cloud.kit.database import reading, writing
from cloud.members.queries import roster_page
from shared.answers import Outcome, Reason
from shared.envelope import InstantSaid
from shared.ids import StoreId
from shared.instants import Deferral, InstantOutcome
from shared.policy import InstantMode, InstantTerms, Policy
from tests.cloud.claims.world import CAMPAIGN, NOON, STORE, World
from tests.support.kiosk import VirtualKiosk, member_of

TERMS = InstantTerms(mode=InstantMode.OWNER, series="espresso", label="A free espresso", a_day=50)
SHOWN = InstantSaid(series="espresso", outcome=InstantOutcome.SHOWN, code=bytes(32))
DEFERRED = InstantSaid(series="espresso", outcome=InstantOutcome.DEFERRED, why=Deferral.NOT_OWNER)
DAY_OVER = datetime.fromisoformat("2026-03-03T03:00:00+00:00")  # four in the morning in Rome


@pytest.fixture
def shop(world: World) -> World:
    """The store's terms bring a coupon."""
    with writing(world.engine) as connection:
        made = set_daily_reward(
            connection,
            STORE,
            points=10,
            reduced_points=1,
            campaign=CAMPAIGN,
            cards_reduced=False,
            instant=TERMS,
            now=NOON,
        )
    assert isinstance(made, Policy)
    world.policy = made
    return world


def totals(world: World) -> tuple[int, int, int]:
    """Given, waiting and lost of the one series."""
    with reading(world.engine) as connection:
        found = coupon_totals(connection, STORE)
    (one,) = found or (CouponTotals(campaign=CAMPAIGN, series="espresso", given=0, waiting=0, lost=0),)
    assert (one.campaign, one.series) == (CAMPAIGN, "espresso")
    return one.given, one.waiting, one.lost


def show_state(world: World, kiosk: VirtualKiosk, at: datetime, *, settled: int | None = None) -> int:
    """The kiosk shows itself; how many coupons were confirmed by it."""
    state = msgspec.structs.replace(kiosk.state(), settled=kiosk.seq if settled is None else settled)
    with writing(world.engine) as connection:
        record_state(connection, kiosk.device, state, at)
        return confirm_coupons(connection, STORE, at)


def told(world: World) -> list[str | None]:
    """What kiosks are told of members' confirmed coupons."""
    with reading(world.engine) as connection:
        return [entry.coupon for entry in roster_page(connection, STORE, 0, 10, NOON).entries]


def test_a_coupon_counts_once_however_often_its_envelope_comes(shop: World) -> None:
    kiosk = shop.add_kiosk("door1")
    said = kiosk.claim(member_of(1), NOON, instant=SHOWN)
    for _ in range(2):
        assert shop.judge_one(kiosk, said) == (Outcome.POSTED, None)
    assert totals(shop) == (1, 0, 0)
    with reading(shop.engine) as connection:
        rows = connection.execute(select(instant_said)).all()
    assert [(row.device, row.outcome, row.why, row.code) for row in rows] == [("door1", "shown", None, bytes(32))]


def test_two_kiosks_that_showed_one_claims_coupon_lost_one(shop: World) -> None:
    one, other = shop.add_kiosk("door1"), shop.add_kiosk("door2")
    said = [(kiosk.device, [kiosk.claim(member_of(1), NOON, instant=SHOWN)]) for kiosk in (one, other)]
    verdicts = shop.send(*said).verdicts
    assert [verdict.outcome for verdict in verdicts] == [Outcome.POSTED, Outcome.EXISTS]
    assert totals(shop) == (1, 0, 1)
    third = shop.add_kiosk("door3")
    shop.tell(third, third.claim(member_of(1), NOON, instant=SHOWN))
    assert totals(shop) == (1, 0, 2)


def test_a_deferred_coupon_waits_until_every_kiosk_told_its_day(shop: World) -> None:
    one, other = shop.add_kiosk("door1"), shop.add_kiosk("door2")
    shop.tell(one, one.claim(member_of(1), NOON, instant=DEFERRED))
    assert totals(shop) == (0, 1, 0)
    after = DAY_OVER + CONFIRM_AFTER
    show_state(shop, other, NOON)
    assert show_state(shop, one, after) == 0, "the other was last heard at noon"
    assert show_state(shop, other, after, settled=-1) == 0, "the other has not told everything"
    assert show_state(shop, other, after) == 1
    assert totals(shop) == (1, 0, 0)
    assert told(shop) == ["A free espresso"]
    assert show_state(shop, other, after) == 0


def test_who_comes_again_was_told(shop: World) -> None:
    kiosk = shop.add_kiosk("door1")
    shop.tell(kiosk, kiosk.claim(member_of(1), NOON, instant=DEFERRED))
    next_day = NOON + timedelta(days=1)
    assert show_state(shop, kiosk, next_day) == 1
    shop.tell(kiosk, kiosk.claim(member_of(1), next_day, instant=SHOWN), now=next_day)
    assert told(shop) == [None]


def test_what_was_shown_elsewhere_is_not_confirmed(shop: World) -> None:
    one, other = shop.add_kiosk("door1"), shop.add_kiosk("door2")
    shop.tell(one, one.claim(member_of(1), NOON, instant=DEFERRED))
    shop.tell(other, other.claim(member_of(1), NOON, instant=SHOWN))
    assert show_state(shop, one, NOON + CONFIRM_AT_LATEST * 2) == 0
    assert totals(shop) == (1, 0, 0)


def test_a_coupon_that_turns_up_after_it_was_confirmed_is_lost(shop: World) -> None:
    one, other = shop.add_kiosk("door1"), shop.add_kiosk("door2")
    shop.tell(one, one.claim(member_of(1), NOON, instant=DEFERRED))
    late = NOON + CONFIRM_AT_LATEST * 2
    assert show_state(shop, one, late) == 1
    shop.tell(other, other.claim(member_of(1), NOON, instant=SHOWN), now=late)
    assert totals(shop) == (1, 0, 1)


@pytest.mark.parametrize(
    "instant",
    [
        msgspec.structs.replace(SHOWN, series="lunch"),
        msgspec.structs.replace(SHOWN, code=None),
        msgspec.structs.replace(SHOWN, code=bytes(31)),
        msgspec.structs.replace(SHOWN, why=Deferral.TIME),
        msgspec.structs.replace(DEFERRED, code=bytes(32)),
        msgspec.structs.replace(DEFERRED, why=None),
    ],
)
def test_a_claim_whose_coupon_is_not_the_terms_is_rejected(shop: World, instant: InstantSaid) -> None:
    kiosk = shop.add_kiosk("door1")
    said = kiosk.claim(member_of(1), NOON, instant=instant)
    assert shop.judge_one(kiosk, said) == (Outcome.REJECTED, Reason.WRONG_TERMS)


def test_terms_without_a_coupon_bring_none(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    assert world.judge_one(kiosk, kiosk.claim(member_of(1), NOON, instant=SHOWN)) == (
        Outcome.REJECTED,
        Reason.WRONG_TERMS,
    )
    assert world.judge_one(kiosk, kiosk.claim(member_of(2), NOON)) == (Outcome.POSTED, None)


def test_what_was_shown_counts_though_its_claim_does_not_stand(shop: World) -> None:
    kiosk = shop.add_kiosk("door1")
    nobody = member_of(900)
    assert shop.judge_one(kiosk, kiosk.claim(nobody, NOON, instant=SHOWN)) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)
    assert shop.judge_one(kiosk, kiosk.claim(nobody, NOON, instant=DEFERRED)) == (
        Outcome.REJECTED,
        Reason.UNKNOWN_MEMBER,
    )
    assert totals(shop) == (1, 0, 0)


def test_nothing_is_confirmed_where_there_is_nothing(shop: World) -> None:
    kiosk = shop.add_kiosk("door1")
    assert show_state(shop, kiosk, NOON) == 0
    with writing(shop.engine) as connection:
        assert confirm_coupons(connection, StoreId("nowhere"), NOON) == 0


LATER = DAY_OVER + CONFIRM_AFTER


@pytest.mark.parametrize(
    ("heard", "now", "told"),
    [
        ([], LATER, True),
        ([], LATER - timedelta(seconds=1), False),
        ([KioskHeard(seen_at=LATER, is_settled=True)], LATER, True),
        ([KioskHeard(seen_at=LATER - timedelta(seconds=1), is_settled=True)], LATER, False),
        ([KioskHeard(seen_at=LATER, is_settled=False)], LATER, False),
        ([KioskHeard(seen_at=DAY_OVER, is_settled=False)], DAY_OVER + CONFIRM_AT_LATEST, True),
    ],
)
def test_when_a_day_is_told(heard: list[KioskHeard], now: datetime, told: bool) -> None:
    assert is_day_told(DAY_OVER, heard, now) is told


@pytest.mark.parametrize(
    ("shown", "confirmed", "lost"), [(0, False, 0), (0, True, 0), (1, False, 0), (1, True, 1), (3, False, 2)]
)
def test_what_is_lost(shown: int, confirmed: bool, lost: int) -> None:
    assert coupons_lost(shown, is_confirmed=confirmed) == lost

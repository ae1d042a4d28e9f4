"""When an allotment is filled, by how much, and what the kiosk is told."""

import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cloud.campaigns.rules import (
    ALLOTMENT_POINTS_MAX,
    OFFLINE_MAX,
    RETURN_AFTER,
    Allotment,
    AllotmentKey,
    Campaign,
    CampaignRefusal,
    Drawn,
    Pace,
    TopUp,
    campaign_fault,
    count,
    draw,
    full_size,
    is_over,
    issue,
    needs_top_up,
    plan_top_up,
    poisson_quantile,
    renew,
    take_back,
    tell,
    visits_expected,
)
from shared.answers import AllotmentIssued
from shared.business_day import milliseconds
from shared.ids import DeviceId
from shared.policy import ALLOTMENT_AGE_MAX
from tests.cloud.claims.world import CAMPAIGN, NOON, TENANT, UNIT

KEY = AllotmentKey(tenant=TENANT, campaign=CAMPAIGN, device=DeviceId("door1"), epoch=1)
NEW = Pace(since=NOON)
DAY = timedelta(days=1)


def held(*, total: int = 100, spent: int = 0, serial: int = 1, returned_at: datetime | None = None) -> Allotment:
    """An allotment issued at NOON."""
    return Allotment(
        key=KEY,
        serial=serial,
        total=total,
        spent=spent,
        ends_at=NOON + ALLOTMENT_AGE_MAX,
        issued_at=NOON,
        size=100,
        pace=NEW,
        returned_at=returned_at,
    )


@pytest.mark.parametrize(
    ("allotment", "needs"),
    [
        (None, True),
        (held(), False),
        (held(spent=75), False),
        (held(spent=76), True),
        (held(spent=130), True),
        (held(returned_at=NOON), True),
    ],
)
def test_top_up_below_a_quarter(allotment: Allotment | None, needs: bool) -> None:
    assert needs_top_up(allotment, 100, 5) is needs


def test_a_quarter_that_is_too_little_for_anybody_is_topped_up_too() -> None:
    assert not needs_top_up(held(spent=60), 100, 40)
    assert needs_top_up(held(spent=61), 100, 40)  # seed 228: one visitor after the other was sent away


@pytest.mark.parametrize(
    ("allotment", "funds", "plan"),
    [
        (None, 0, TopUp(points=100)),
        (held(spent=10), 90, None),
        (held(spent=80), 20, TopUp(points=80)),
        (held(spent=80), 60, TopUp(points=40)),  # half of the claims had been posted for another kiosk
        (held(spent=80), 120, TopUp(points=0)),
        # Taken back: what the kiosk still believes in is the least that must be there again.
        (held(spent=30, returned_at=NOON), 0, TopUp(points=100, points_min=70)),
        (held(total=300, spent=30, returned_at=NOON), 20, TopUp(points=250, points_min=250)),
        (held(spent=130, returned_at=NOON), 0, TopUp(points=100)),
    ],
)
def test_plan_fills_the_account_and_not_more(allotment: Allotment | None, funds: int, plan: TopUp | None) -> None:
    assert plan_top_up(allotment, 100, funds, 5) == plan


@pytest.mark.parametrize(
    ("before", "funds", "total", "serial"),
    [(None, 100, 100, 1), (held(spent=80), 100, 180, 2), (held(spent=80), 10, 100, 2), (held(spent=30), 50, 100, 2)],
)
def test_total_is_what_was_drawn_and_what_is_there_and_never_shrinks(
    before: Allotment | None, funds: int, total: int, serial: int
) -> None:
    later = NOON + timedelta(hours=1)
    issued = issue(KEY, before, funds=funds, size=100, pace=NEW, now=later)

    assert (issued.total, issued.serial, issued.ends_at) == (total, serial, later + ALLOTMENT_AGE_MAX)


def test_end_and_size_are_renewed_once_a_day() -> None:
    assert renew(held(), 90, NOON + timedelta(hours=23)) == held()
    later = NOON + DAY
    assert renew(held(), 90, later) == replace(
        held(), serial=2, ends_at=later + ALLOTMENT_AGE_MAX, issued_at=later, size=90
    )


def test_what_was_taken_back_is_not_renewed() -> None:
    gone = held(returned_at=NOON)
    assert renew(gone, 100, NOON + 2 * DAY) == gone


def test_allotment_is_over_when_nothing_made_under_it_can_arrive() -> None:
    over_at = NOON + ALLOTMENT_AGE_MAX + RETURN_AFTER
    assert not is_over(held(), over_at - timedelta(microseconds=1))
    assert is_over(held(), over_at)
    back = take_back(held(), 40, over_at)
    assert (back.returned, back.returned_at, back.total) == (40, over_at, 100)
    assert not is_over(back, over_at)
    again = issue(KEY, back, funds=100, size=100, pace=NEW, now=over_at)
    assert (again.returned, again.returned_at) == (40, None)


# --- how much a full allotment is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "claims", "pace"),
    [
        (0, 3, Pace(since=NOON, claims=8)),
        (13, 3, Pace(since=NOON, claims=8)),
        (14, 3, Pace(since=NOON + 14 * DAY, claims=3, before=5)),
        (28, 3, Pace(since=NOON + 28 * DAY, claims=3, before=0)),
        (-1, 3, Pace(since=NOON, claims=8)),
    ],
)
def test_visits_are_counted_in_windows_of_two_weeks(days: int, claims: int, pace: Pace) -> None:
    assert count(Pace(since=NOON, claims=5), claims, NOON + days * DAY) == pace


def test_too_little_history_expects_nothing_and_a_quiet_kiosk_one_visit() -> None:
    assert visits_expected(NEW, OFFLINE_MAX, NOON + 6 * DAY) is None
    assert visits_expected(NEW, OFFLINE_MAX, NOON + 7 * DAY) == 2
    both = Pace(since=NOON, claims=13, before=14)
    assert visits_expected(both, OFFLINE_MAX, NOON + 7 * DAY) == pytest.approx(28 * 14 / 21)


@pytest.mark.parametrize(
    ("mean", "quantile"),
    # The smallest k with P(X <= k) >= 0.99, summed up from zero in 60 decimal digits.
    [(1e-12, 0), (0.01, 0), (0.1, 1), (1, 4), (2.5, 7), (10, 18), (100, 124), (1400, 1488), (1e6, 1_002_327)],
)
def test_quantile_is_that_of_the_tables(mean: float, quantile: int) -> None:
    assert poisson_quantile(mean, 1) == quantile


@pytest.mark.parametrize("mean", [0.3, 3.7, 29.0, 61.5])
def test_quantile_is_the_smallest_that_leaves_one_in_a_hundred(mean: float) -> None:
    def below(number: int) -> float:
        return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(number + 1))

    quantile = poisson_quantile(mean, 1)
    assert below(quantile) >= 0.99 > below(quantile - 1)


@pytest.mark.parametrize(
    ("claims", "days", "points_max", "size"),
    [
        (0, 6, 5000, 5000),  # no history: all that the campaign allows
        (0, 10, 5000, 200),  # a quiet door: twenty visits of ten points
        (0, 10, 150, 150),
        (99, 14, 5000, 1240),  # a hundred in two weeks: 124 in the worst of a hundred
        (99, 14, 1000, 1000),
        (10**9, 14, 5000, 5000),
    ],
)
def test_full_allotment_lasts_two_weeks_in_99_of_100(claims: int, days: int, points_max: int, size: int) -> None:
    pace = Pace(since=NOON, claims=claims)
    assert full_size(pace, 10, points_max, NOON + days * DAY - timedelta(microseconds=days == 14)) == size


def test_draw_and_tell() -> None:
    drawn = draw(held(), Drawn(claims=3, points=30), NOON)

    assert (drawn.spent, drawn.left, drawn.pace.claims) == (30, 70, 3)
    assert tell(drawn, UNIT) == AllotmentIssued(
        device="door1",
        campaign="spring",
        epoch=1,
        serial=1,
        unit=UNIT,
        total=100,
        ends_ms=milliseconds(NOON + timedelta(days=14)),
    )


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        (0, CampaignRefusal.UNUSABLE_ALLOTMENT),
        (1, None),
        (ALLOTMENT_POINTS_MAX, None),
        (ALLOTMENT_POINTS_MAX + 1, CampaignRefusal.UNUSABLE_ALLOTMENT),
    ],
)
def test_allotment_has_a_size(points: int, fault: CampaignRefusal | None) -> None:
    campaign = Campaign(tenant=TENANT, id=CAMPAIGN, name="Spring", unit=UNIT, allotment_points=points)
    assert campaign_fault(campaign) is fault

"""When an allotment is filled, by how much, and what the kiosk is told."""

from datetime import timedelta

import pytest

from cloud.campaigns.rules import (
    ALLOTMENT_POINTS_MAX,
    Allotment,
    AllotmentKey,
    Campaign,
    CampaignRefusal,
    TopUp,
    campaign_fault,
    draw,
    issue,
    needs_top_up,
    plan_top_up,
    renew,
    tell,
)
from shared.answers import AllotmentIssued
from shared.business_day import milliseconds
from shared.ids import DeviceId
from shared.policy import ALLOTMENT_AGE_MAX
from tests.cloud.claims.world import CAMPAIGN, NOON, TENANT, UNIT

KEY = AllotmentKey(tenant=TENANT, campaign=CAMPAIGN, device=DeviceId("door1"), epoch=1)


def held(*, total: int = 100, spent: int = 0, serial: int = 1) -> Allotment:
    """An allotment issued at NOON."""
    return Allotment(key=KEY, serial=serial, total=total, spent=spent, ends_at=NOON + ALLOTMENT_AGE_MAX, issued_at=NOON)


@pytest.mark.parametrize(
    ("allotment", "needs"),
    [(None, True), (held(), False), (held(spent=75), False), (held(spent=76), True), (held(spent=130), True)],
)
def test_top_up_below_a_quarter(allotment: Allotment | None, needs: bool) -> None:
    assert needs_top_up(allotment, 100) is needs


@pytest.mark.parametrize(
    ("allotment", "funds", "plan"),
    [
        (None, 0, TopUp(points=100)),
        (held(spent=10), 90, None),
        (held(spent=80), 20, TopUp(points=80)),
        (held(spent=80), 60, TopUp(points=40)),  # half of the claims had been posted for another kiosk
        (held(spent=80), 120, TopUp(points=0)),
    ],
)
def test_plan_fills_the_account_and_not_more(allotment: Allotment | None, funds: int, plan: TopUp | None) -> None:
    assert plan_top_up(allotment, 100, funds) == plan


@pytest.mark.parametrize(
    ("before", "funds", "total", "serial"),
    [(None, 100, 100, 1), (held(spent=80), 100, 180, 2), (held(spent=80), 10, 100, 2), (held(spent=30), 50, 100, 2)],
)
def test_total_is_what_was_drawn_and_what_is_there_and_never_shrinks(
    before: Allotment | None, funds: int, total: int, serial: int
) -> None:
    later = NOON + timedelta(hours=1)
    issued = issue(KEY, before, funds, later)

    assert (issued.total, issued.serial, issued.ends_at) == (total, serial, later + ALLOTMENT_AGE_MAX)


def test_end_is_renewed_once_a_day() -> None:
    assert renew(held(), NOON + timedelta(hours=23)) == held()
    later = NOON + timedelta(days=1)
    assert renew(held(), later) == Allotment(
        key=KEY, serial=2, total=100, spent=0, ends_at=later + ALLOTMENT_AGE_MAX, issued_at=later
    )


def test_draw_and_tell() -> None:
    drawn = draw(held(), 30)

    assert (drawn.spent, drawn.left) == (30, 70)
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

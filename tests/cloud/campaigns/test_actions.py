"""Budgets and allotments in the database: given once, filled in time, renewed, and never more than there is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cloud.campaigns.actions import add_budget, allot, create_campaign
from cloud.campaigns.queries import campaign_by_id, funds_of
from cloud.campaigns.rules import Campaign, CampaignRefusal
from cloud.kit.database import reading, writing
from shared.answers import AllotmentIssued, Outcome, Reason
from shared.ids import CampaignId, DeviceId, TenantId
from tests.cloud.claims.world import CAMPAIGN, NOON, TENANT, UNIT, World
from tests.support.kiosk import VirtualKiosk, member_of

SUMMER = Campaign(tenant=TENANT, id=CampaignId("summer"), name="Summer", unit=UNIT, allotment_points=50)


def ask(world: World, kiosk: VirtualKiosk, *, hours: int = 0) -> AllotmentIssued:
    """What the kiosk is told when it shows itself."""
    with writing(world.engine) as connection:
        told = allot(
            connection, tenant=TENANT, id=CAMPAIGN, device=kiosk.device, epoch=1, now=NOON + timedelta(hours=hours)
        )
    assert told is not None
    return told


def test_first_sight_gives_a_full_allotment_once(world: World) -> None:
    kiosk = world.add_kiosk("door1", with_allotment=False)

    first = ask(world, kiosk)

    assert (first.serial, first.total, first.unit) == (1, 100, UNIT)
    assert ask(world, kiosk, hours=1) == first
    assert _funds(world) == (250, 150, 100, 0)


def test_end_is_renewed_the_next_day(world: World) -> None:
    kiosk = world.add_kiosk("door1")

    told = ask(world, kiosk, hours=24)

    assert (told.serial, told.total) == (2, 100)
    assert told.ends_ms - ask(world, kiosk, hours=47).ends_ms == 0
    assert _funds(world) == (250, 150, 100, 0)


def test_unknown_campaign_allots_nothing(world: World) -> None:
    kiosk = world.add_kiosk("door1", with_allotment=False)
    with writing(world.engine) as connection:
        told = allot(connection, tenant=TENANT, id=CampaignId("none"), device=kiosk.device, epoch=1, now=NOON)
    assert told is None


def test_claims_that_use_up_three_quarters_are_answered_with_a_top_up(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    said = [kiosk.claim(member_of(number), NOON) for number in range(1, 9)]

    assert world.send((kiosk.device, said[:7])).allotments == ()
    (told,) = world.send((kiosk.device, said[7:])).allotments

    assert (told.serial, told.total) == (2, 180)
    assert _funds(world) == (250, 70, 100, 80)
    assert ask(world, kiosk) == told
    world.assert_sound()


def test_claims_made_elsewhere_first_cost_the_budget_nothing(world: World) -> None:
    """The kiosk drew eighty points, forty were not posted: forty are moved, eighty may be granted again."""
    one, other = world.add_kiosk("door1"), world.add_kiosk("door2")
    world.send((one.device, [one.claim(member_of(number), NOON) for number in range(1, 5)]))

    said = [other.claim(member_of(number), NOON) for number in range(1, 9)]
    (told,) = world.send((other.device, said)).allotments

    assert told.total == 180
    assert _funds(world) == (250, 10, 160, 80)
    world.assert_sound()


def test_last_points_of_a_budget_are_allotted_and_then_no_more(world: World) -> None:
    kiosks = [world.add_kiosk(f"door{number}", with_allotment=False) for number in range(4)]

    assert [ask(world, kiosk).total for kiosk in kiosks] == [100, 100, 50, 0]
    assert _funds(world) == (250, 0, 250, 0)
    assert ask(world, kiosks[3], hours=1).serial == 1


def test_claims_beyond_an_empty_budget_are_rejected_and_cost_nothing(world: World) -> None:
    kiosks = [world.add_kiosk(f"door{number}") for number in range(3)]
    last = kiosks[2]
    said = [last.claim(member_of(number), NOON) for number in range(1, 7)]

    told = world.send((last.device, said))

    assert [verdict.outcome for verdict in told.verdicts] == [Outcome.POSTED] * 5 + [Outcome.REJECTED]
    assert told.verdicts[5].reason is Reason.NO_BUDGET
    assert [issued.total for issued in told.allotments] == [60]  # what it drew: nothing is left to grant
    world.assert_sound()


def test_more_budget_lets_the_next_claim_be_topped_up(world: World) -> None:
    kiosks = [world.add_kiosk(f"door{number}") for number in range(3)]
    last = kiosks[2]
    world.send((last.device, [last.claim(member_of(number), NOON) for number in range(1, 6)]))
    with writing(world.engine) as connection:
        assert isinstance(add_budget(connection, TENANT, CAMPAIGN, 500, key="more", now=NOON), Campaign)

    assert ask(world, last).total == 150


def test_campaign_made_twice_is_funded_once(world: World) -> None:
    for _ in range(2):
        with writing(world.engine) as connection:
            assert create_campaign(connection, SUMMER, budget=70, now=NOON) == SUMMER
    with reading(world.engine) as connection:
        assert campaign_by_id(connection, TENANT, SUMMER.id) == SUMMER
        assert funds_of(connection, SUMMER).budget == 70


def test_budget_is_minted_once_a_key(world: World) -> None:
    with writing(world.engine) as connection:
        assert isinstance(add_budget(connection, TENANT, CAMPAIGN, 50, key="a", now=NOON), Campaign)
        assert isinstance(add_budget(connection, TENANT, CAMPAIGN, 50, key="a", now=NOON), Campaign)
        assert add_budget(connection, TENANT, CAMPAIGN, 51, key="a", now=NOON) is CampaignRefusal.TAKEN
    assert _funds(world) == (300, 300, 0, 0)


@pytest.mark.parametrize(
    ("wanted", "budget", "refusal"),
    [
        (replace(SUMMER, id=CampaignId("Summer!")), 0, CampaignRefusal.UNUSABLE_ID),
        (replace(SUMMER, name=" "), 0, CampaignRefusal.UNUSABLE_NAME),
        (replace(SUMMER, unit="points"), 0, CampaignRefusal.UNUSABLE_UNIT),
        (replace(SUMMER, allotment_points=0), 0, CampaignRefusal.UNUSABLE_ALLOTMENT),
        (SUMMER, -1, CampaignRefusal.UNUSABLE_BUDGET),
        (SUMMER, 10**15 + 1, CampaignRefusal.UNUSABLE_BUDGET),
        (replace(SUMMER, tenant=TenantId("nobody")), 0, CampaignRefusal.UNKNOWN_TENANT),
        (replace(SUMMER, id=CAMPAIGN), 0, CampaignRefusal.TAKEN),
    ],
)
def test_campaign_is_refused_with_a_reason(
    world: World, wanted: Campaign, budget: int, refusal: CampaignRefusal
) -> None:
    with writing(world.engine) as connection:
        assert create_campaign(connection, wanted, budget=budget, now=NOON) is refusal


@pytest.mark.parametrize(
    ("id", "points", "refusal"),
    [
        ("none", 1, CampaignRefusal.UNKNOWN_CAMPAIGN),
        (CAMPAIGN, 0, CampaignRefusal.UNUSABLE_BUDGET),
        (CAMPAIGN, 10**15 + 1, CampaignRefusal.UNUSABLE_BUDGET),
    ],
)
def test_budget_is_refused_with_a_reason(world: World, id: str, points: int, refusal: CampaignRefusal) -> None:
    with writing(world.engine) as connection:
        assert add_budget(connection, TENANT, CampaignId(id), points, key="k", now=NOON) is refusal


def test_draws_on_what_was_never_allotted_are_left_out(world: World) -> None:
    kiosk = world.add_kiosk("door1", with_allotment=False)

    told = world.send((kiosk.device, [kiosk.claim(member_of(1), NOON)]))

    assert (told.verdicts[0].reason, told.allotments) == (Reason.NO_BUDGET, ())


def test_every_epoch_has_an_allotment_of_its_own(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        told = allot(connection, tenant=TENANT, id=CAMPAIGN, device=DeviceId(kiosk.device), epoch=2, now=NOON)
    assert told is not None
    assert (told.epoch, told.serial, told.total) == (2, 1, 100)


def _funds(world: World) -> tuple[int, int, int, int]:
    """Minted, in the budget, at kiosks, granted."""
    with reading(world.engine) as connection:
        campaign = campaign_by_id(connection, TENANT, CAMPAIGN)
        assert campaign is not None
        funds = funds_of(connection, campaign)
    return funds.minted, funds.budget, funds.held, funds.granted

"""Budgets and allotments in the database: given once, filled in time, renewed, and never more than there is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from cloud.campaigns.actions import add_budget, add_contingency, allot, create_campaign, return_ended
from cloud.campaigns.queries import Funds, allotments_after, campaign_by_id, funds_of
from cloud.campaigns.rules import RETURN_AFTER, Campaign, CampaignRefusal, Pace
from cloud.devices.actions import issue_epoch, revoke_device
from cloud.kit.database import reading, writing
from shared.answers import AllotmentIssued, Outcome, Reason
from shared.business_day import milliseconds
from shared.ids import CampaignId, TenantId
from shared.policy import ALLOTMENT_AGE_MAX
from tests.cloud.claims.world import CAMPAIGN, NOON, TENANT, UNIT, World, create_world
from tests.support.kiosk import VirtualKiosk, member_of

SUMMER = Campaign(tenant=TENANT, id=CampaignId("summer"), name="Summer", unit=UNIT, allotment_points=50)


def ask(world: World, kiosk: VirtualKiosk, *, hours: int = 0) -> AllotmentIssued:
    """What the kiosk is told when it shows itself."""
    with writing(world.engine) as connection:
        told = world.allot(connection, kiosk.device, now=NOON + timedelta(hours=hours))
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
        told = allot(
            connection,
            tenant=TENANT,
            id=CampaignId("none"),
            device=kiosk.device,
            epoch=1,
            points_a_claim=10,
            is_settled=True,
            now=NOON,
        )
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
        told = world.allot(connection, kiosk.device, epoch=2)
    assert told is not None
    assert (told.epoch, told.serial, told.total) == (2, 1, 100)


def _funds(world: World) -> tuple[int, int, int, int]:
    """Minted, in the budget, at kiosks, granted."""
    with reading(world.engine) as connection:
        campaign = campaign_by_id(connection, TENANT, CAMPAIGN)
        assert campaign is not None
        funds = funds_of(connection, campaign)
    return funds.minted, funds.budget, funds.held, funds.granted


# --- what is over goes back, what comes late is paid from the contingency ---------------------------------------------

OVER = NOON + ALLOTMENT_AGE_MAX + RETURN_AFTER


def test_rest_of_an_allotment_that_is_over_goes_back_once(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))

    assert return_ended(world.engine, OVER - timedelta(microseconds=1)) == 0
    assert [return_ended(world.engine, OVER) for _ in range(3)] == [90, 0, 0]

    assert _funds(world) == (250, 240, 0, 10)
    assert _all_funds(world).returned == 90
    world.assert_sound()


def test_many_that_are_over_go_back_in_parts(world: World) -> None:
    """Two in a part and three kiosks, one of which had spent all: its row is closed without an entry."""
    kiosks = [world.add_kiosk(f"door{number}") for number in range(3)]
    last = kiosks[2]
    world.send((last.device, [last.claim(member_of(number), NOON) for number in range(1, 6)]))

    assert return_ended(world.engine, OVER, at_once=2) == 200
    assert _funds(world) == (250, 200, 0, 50)
    with reading(world.engine) as connection:
        rows = allotments_after(connection, TENANT, CAMPAIGN, ("", 0), 9)
    assert [(row.returned, row.returned_at) for row in rows] == [(100, OVER), (100, OVER), (0, OVER)]


def test_kiosk_of_a_replaced_database_and_one_that_was_revoked_give_back_like_others(world: World) -> None:
    one, other = world.add_kiosk("door1"), world.add_kiosk("door2")
    with writing(world.engine) as connection:
        assert issue_epoch(connection, one.device, bytes(15) + b"2", NOON) is not None
        revoke_device(connection, other.device, NOON)

    assert return_ended(world.engine, OVER) == 200


def test_late_claim_is_paid_from_the_contingency_up_to_its_cap(reserve: World) -> None:
    kiosk = reserve.add_kiosk("door1")
    said = [kiosk.claim(member_of(number), NOON) for number in range(1, 5)]
    return_ended(reserve.engine, OVER)

    told = reserve.send((kiosk.device, said), now=OVER)

    assert [verdict.outcome for verdict in told.verdicts] == [Outcome.POSTED] * 3 + [Outcome.REJECTED]
    assert told.verdicts[3].reason is Reason.NO_BUDGET
    assert told.allotments == ()
    funds = _all_funds(reserve)
    assert (funds.contingency, funds.granted_late, funds.granted, funds.budget) == (0, 30, 30, 220)
    assert [reserve.balance(number) for number in range(1, 5)] == [10, 10, 10, 0]
    reserve.assert_sound()


def test_late_claim_said_again_or_at_another_door_is_the_same_claim(reserve: World) -> None:
    one, other = reserve.add_kiosk("door1"), reserve.add_kiosk("door2", now=OVER)
    late = one.claim(member_of(1), NOON)
    return_ended(reserve.engine, OVER)

    first = reserve.tell(one, late, now=OVER)
    second = reserve.tell(other, other.claim(member_of(1), NOON), now=OVER)

    assert reserve.tell(one, late, now=OVER).verdicts == first.verdicts
    assert [verdict.outcome for verdict in second.verdicts] == [Outcome.EXISTS]
    assert _all_funds(reserve).granted == 10
    reserve.assert_sound()


def test_claims_beyond_the_allotment_are_paid_from_the_contingency(reserve: World) -> None:
    kiosks = [reserve.add_kiosk(f"door{number}") for number in range(3)]
    last = kiosks[2]  # was given the last twenty points of the budget

    told = reserve.send((last.device, [last.claim(member_of(number), NOON) for number in range(1, 4)]))

    assert [verdict.outcome for verdict in told.verdicts] == [Outcome.POSTED] * 3
    assert _all_funds(reserve).granted_late == 10
    reserve.assert_sound()


def test_kiosk_that_comes_back_says_what_it_has_and_is_covered_anew(reserve: World) -> None:
    kiosk = reserve.add_kiosk("door1")
    late = kiosk.claim(member_of(1), NOON)
    return_ended(reserve.engine, OVER)

    assert _ask(reserve, kiosk, is_settled=False).serial == 1
    reserve.tell(kiosk, late, now=OVER)
    told = _ask(reserve, kiosk, is_settled=True)

    assert (told.serial, told.total, told.ends_ms) == (2, 110, milliseconds(OVER + ALLOTMENT_AGE_MAX))
    assert reserve.judge_one(kiosk, kiosk.claim(member_of(2), OVER), now=OVER) == (Outcome.POSTED, None)
    funds = _all_funds(reserve)
    assert (funds.held, funds.contingency, funds.granted_late) == (90, 20, 10)
    assert return_ended(reserve.engine, OVER + ALLOTMENT_AGE_MAX + RETURN_AFTER) == 90
    reserve.assert_sound()


def test_kiosk_whose_total_cannot_be_covered_again_stays_as_it_is(reserve: World) -> None:
    kiosk = reserve.add_kiosk("door1")
    return_ended(reserve.engine, OVER)
    others = [reserve.add_kiosk(f"late{number}", now=OVER) for number in range(2)]

    assert len(others) == 2
    assert _ask(reserve, kiosk, is_settled=True).serial == 1  # it believes in a hundred, twenty are there
    assert _all_funds(reserve).budget == 20
    with writing(reserve.engine) as connection:
        assert isinstance(add_budget(connection, TENANT, CAMPAIGN, 80, key="more", now=OVER), Campaign)
    assert _ask(reserve, kiosk, is_settled=True).serial == 2
    reserve.assert_sound()


def test_claims_of_a_replaced_database_do_not_fill_its_allotment_again(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        assert issue_epoch(connection, kiosk.device, bytes(15) + b"2", NOON) is not None

    told = world.send((kiosk.device, [kiosk.claim(member_of(number), NOON) for number in range(1, 9)]))

    assert told.allotments == ()
    assert _funds(world) == (250, 150, 20, 80)


def test_allotment_follows_the_visits_the_kiosk_had(engine: Engine) -> None:
    """Forty first visits in eight days: 71 in two weeks, 92 of ten points in the worst of a hundred such weeks."""
    world = create_world(engine, allotment_points=5000)
    kiosk = world.add_kiosk("door1")
    world.send((kiosk.device, [kiosk.claim(member_of(number), NOON) for number in range(1, 41)]))

    with writing(world.engine) as connection:
        world.allot(connection, kiosk.device, now=NOON + timedelta(days=8))
    with reading(world.engine) as connection:
        (row,) = allotments_after(connection, TENANT, CAMPAIGN, ("", 0), 9)
    assert (row.size, row.pace) == (920, Pace(since=NOON, claims=40))

    with writing(world.engine) as connection:
        told = world.allot(connection, kiosk.device, epoch=2, now=NOON + timedelta(days=8))
    assert told is not None
    assert told.total == 920  # the door has a new database and the visitors of before


def test_contingency_comes_out_of_the_budget_once_a_key(world: World) -> None:
    with writing(world.engine) as connection:
        for _ in range(2):
            assert isinstance(add_contingency(connection, TENANT, CAMPAIGN, 50, key="a", now=NOON), Campaign)
        assert add_contingency(connection, TENANT, CAMPAIGN, 51, key="a", now=NOON) is CampaignRefusal.TAKEN
    funds = _all_funds(world)
    assert (funds.minted, funds.budget, funds.contingency) == (250, 200, 50)
    world.assert_sound()


@pytest.mark.parametrize(
    ("id", "points", "refusal"),
    [
        ("none", 1, CampaignRefusal.UNKNOWN_CAMPAIGN),
        (CAMPAIGN, 0, CampaignRefusal.UNUSABLE_CONTINGENCY),
        (CAMPAIGN, 10**15 + 1, CampaignRefusal.UNUSABLE_CONTINGENCY),
        (CAMPAIGN, 251, CampaignRefusal.UNUSABLE_CONTINGENCY),
    ],
)
def test_contingency_is_refused_with_a_reason(world: World, id: str, points: int, refusal: CampaignRefusal) -> None:
    with writing(world.engine) as connection:
        assert add_contingency(connection, TENANT, CampaignId(id), points, key="k", now=NOON) is refusal


@pytest.mark.parametrize("contingency", [-1, 71])
def test_contingency_of_a_new_campaign_is_part_of_its_budget(world: World, contingency: int) -> None:
    with writing(world.engine) as connection:
        refused = create_campaign(connection, SUMMER, budget=70, contingency=contingency, now=NOON)
        assert refused is CampaignRefusal.UNUSABLE_CONTINGENCY
        assert create_campaign(connection, SUMMER, budget=70, contingency=70, now=NOON) == SUMMER


def _ask(world: World, kiosk: VirtualKiosk, *, is_settled: bool) -> AllotmentIssued:
    """What the kiosk is told when it shows itself after everything was over."""
    with writing(world.engine) as connection:
        told = world.allot(connection, kiosk.device, is_settled=is_settled, now=OVER)
    assert told is not None
    return told


def _all_funds(world: World) -> Funds:
    with reading(world.engine) as connection:
        campaign = campaign_by_id(connection, TENANT, CAMPAIGN)
        assert campaign is not None
        return funds_of(connection, campaign)

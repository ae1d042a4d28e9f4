"""Who gets what: every refusal at its edge, the reduced amount, and days that are not 24 hours long."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.reward import Allotment, Grant, Refusal, RefusalReason, Standing, claim_of, decide_reward
from shared.business_day import ClockReading, ClockTrust
from shared.ids import MemberId
from shared.points import Points
from shared.policy import Means
from tests.support.entrances import NOON, UNIT, policy

ANNA = MemberId(b"anna000000")
TERMS = policy()
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
GOOD = Standing(
    means=Means.PHONE,
    epoch=1,
    revoked=False,
    collected=None,
    allotment=Allotment(serial=3, left=10, ends=NOON + 14 * DAY),
    deny_list_as_of=NOON,
    policy_as_of=NOON,
)
TEN = Points(amount=10, unit=UNIT)


def at(instant: datetime = NOON) -> ClockReading:
    return ClockReading(instant=instant, trust=ClockTrust.HELD)


def granted(decision: Grant | Refusal) -> Grant:
    assert isinstance(decision, Grant)
    return decision


def test_the_grant_says_what_was_given_and_under_which_id() -> None:
    day = date(2026, 11, 20)
    assert decide_reward(ANNA, TERMS, GOOD, at()) == Grant(
        claim=claim_of(ANNA, TERMS, day), member=ANNA, business_day=day, points=TEN, reduced=False, allotment=3
    )


@pytest.mark.parametrize(
    ("standing", "now", "reason"),
    [
        (replace(GOOD, revoked=True), at(), RefusalReason.REVOKED),
        (replace(GOOD, epoch=0), at(), RefusalReason.NO_EPOCH),
        (GOOD, ClockReading.unknown(), RefusalReason.TIME_UNKNOWN),
        (replace(GOOD, collected=TEN), at(), RefusalReason.COLLECTED),
        (
            replace(GOOD, policy_as_of=NOON - 30 * DAY - SECOND, deny_list_as_of=None),
            at(),
            RefusalReason.POLICY_OVER_AGE,
        ),
        (replace(GOOD, allotment=None), at(), RefusalReason.NO_ALLOTMENT),
        (replace(GOOD, policy_as_of=NOON + 14 * DAY), at(NOON + 14 * DAY), RefusalReason.ALLOTMENT_ENDED),
        (
            replace(GOOD, allotment=Allotment(serial=3, left=9, ends=NOON + DAY)),
            at(),
            RefusalReason.EXHAUSTED,
        ),
    ],
)
def test_a_refusal_names_its_reason(standing: Standing, now: ClockReading, reason: RefusalReason) -> None:
    decision = decide_reward(ANNA, TERMS, standing, now)
    assert isinstance(decision, Refusal)
    assert decision.reason is reason
    assert decision.collected == (TEN if reason is RefusalReason.COLLECTED else None)


def test_the_first_reason_is_the_one_that_counts() -> None:
    worst = replace(
        GOOD, revoked=True, epoch=0, collected=TEN, allotment=None, deny_list_as_of=None, policy_as_of=NOON - 90 * DAY
    )
    steps = (
        (worst, ClockReading.unknown(), RefusalReason.REVOKED),
        (replace(worst, revoked=False), ClockReading.unknown(), RefusalReason.NO_EPOCH),
        (replace(worst, revoked=False, epoch=1), ClockReading.unknown(), RefusalReason.TIME_UNKNOWN),
        (replace(worst, revoked=False, epoch=1), at(), RefusalReason.COLLECTED),
        (replace(worst, revoked=False, epoch=1, collected=None), at(), RefusalReason.POLICY_OVER_AGE),
    )
    for standing, now, reason in steps:
        assert isinstance(decision := decide_reward(ANNA, TERMS, standing, now), Refusal)
        assert decision.reason is reason


def test_at_each_limit_itself_there_is_still_a_grant() -> None:
    oldest = replace(GOOD, policy_as_of=NOON - 30 * DAY, deny_list_as_of=NOON - 7 * DAY)
    assert granted(decide_reward(ANNA, TERMS, oldest, at())).points == TEN
    last_moment = at(NOON + 14 * DAY - SECOND)
    assert isinstance(decide_reward(ANNA, TERMS, replace(GOOD, deny_list_as_of=NOON + 10 * DAY), last_moment), Grant)


@pytest.mark.parametrize(
    ("cards_reduced", "means", "deny_list_as_of", "is_reduced"),
    [
        (False, Means.CARD, NOON, False),
        (False, Means.CARD, NOON - 7 * DAY, False),
        (False, Means.CARD, NOON - 7 * DAY - SECOND, True),
        (False, Means.PHONE, NOON - 7 * DAY - SECOND, True),
        (False, Means.PHONE, None, True),
        (True, Means.CARD, NOON, True),
        (True, Means.PHONE, NOON, False),
    ],
)
def test_when_the_reduced_amount_applies(
    cards_reduced: bool, means: Means, deny_list_as_of: datetime | None, is_reduced: bool
) -> None:
    standing = replace(GOOD, means=means, deny_list_as_of=deny_list_as_of)
    grant = granted(decide_reward(ANNA, policy(cards_reduced=cards_reduced), standing, at()))
    assert (grant.reduced, grant.points.amount) == (is_reduced, 4 if is_reduced else 10)


def test_what_is_left_may_cover_the_reduced_amount_alone() -> None:
    standing = replace(GOOD, deny_list_as_of=None, allotment=Allotment(serial=1, left=4, ends=NOON + DAY))
    assert granted(decide_reward(ANNA, TERMS, standing, at())).points.amount == 4


def test_a_reduced_amount_of_nothing_is_no_grant() -> None:
    standing = replace(GOOD, deny_list_as_of=None)
    decision = decide_reward(ANNA, policy(reduced_points=0), standing, at())
    assert decision == Refusal(reason=RefusalReason.EXHAUSTED)


@pytest.mark.parametrize(
    ("first", "second", "same_day"),
    [
        # 29 March 2026: the day has 23 hours, from 04:00 to 04:00 the date before has.
        ("2026-03-28T04:00+01:00", "2026-03-29T03:59+02:00", True),
        ("2026-03-28T04:00+01:00", "2026-03-29T04:00+02:00", False),
        # 25 October 2026: 25 hours; an hour that comes twice lies in one day.
        ("2026-10-24T04:00+02:00", "2026-10-25T02:30+02:00", True),
        ("2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", True),
        ("2026-10-24T04:00+02:00", "2026-10-25T03:59+01:00", True),
        ("2026-10-24T04:00+02:00", "2026-10-25T04:00+01:00", False),
    ],
)
def test_one_claim_a_business_day_however_long_it_is(first: str, second: str, same_day: bool) -> None:
    claims = [
        granted(
            decide_reward(
                ANNA,
                TERMS,
                replace(
                    GOOD,
                    policy_as_of=instant,
                    deny_list_as_of=instant,
                    allotment=Allotment(serial=1, left=10, ends=instant + DAY),
                ),
                at(instant),
            )
        ).claim
        for instant in (datetime.fromisoformat(text).astimezone(UTC) for text in (first, second))
    ]
    assert (claims[0] == claims[1]) is same_day


@given(
    left=st.integers(-5, 30),
    points=st.integers(1, 20),
    reduced=st.integers(0, 20),
    means=st.sampled_from(Means),
    list_age=st.none() | st.timedeltas(timedelta(0), 20 * DAY),
    policy_age=st.timedeltas(timedelta(0), 60 * DAY),
)
def test_a_grant_is_always_covered_and_never_nothing(
    left: int, points: int, reduced: int, means: Means, list_age: timedelta | None, policy_age: timedelta
) -> None:
    standing = replace(
        GOOD,
        means=means,
        allotment=Allotment(serial=1, left=left, ends=NOON + DAY),
        deny_list_as_of=None if list_age is None else NOON - list_age,
        policy_as_of=NOON - policy_age,
    )
    decision = decide_reward(ANNA, policy(points=points, reduced_points=min(points, reduced)), standing, at())
    if isinstance(decision, Grant):
        assert 0 < decision.points.amount <= min(left, points)
        assert policy_age <= 30 * DAY

"""When faces are looked at, and the first reason why not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.core.readiness import FaceStanding, Readiness, judge_readiness
from shared.policy import DENY_LIST_AGE_MAX, LEASE_AGE_MAX, POLICY_AGE_MAX

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
GOOD = FaceStanding(
    wanted=True,
    revoked=False,
    vision=True,
    models=True,
    group=True,
    policy_as_of=NOW - POLICY_AGE_MAX,
    deny_list_as_of=NOW - DENY_LIST_AGE_MAX,
    roster_as_of=NOW - LEASE_AGE_MAX,
    templates_as_of=NOW - LEASE_AGE_MAX,
)
SECOND = timedelta(seconds=1)


def test_everything_at_its_limit_is_on() -> None:
    assert judge_readiness(GOOD, NOW) is Readiness.ON


@pytest.mark.parametrize(
    ("standing", "instant", "readiness"),
    [
        (replace(GOOD, wanted=None), NOW, Readiness.NO_POLICY),
        (replace(GOOD, wanted=False), NOW, Readiness.NOT_WANTED),
        (replace(GOOD, revoked=True), NOW, Readiness.REVOKED),
        (replace(GOOD, vision=False, models=False, group=False), NOW, Readiness.NO_VISION),
        (replace(GOOD, models=False), NOW, Readiness.NO_MODELS),
        (GOOD, None, Readiness.TIME_UNKNOWN),
        (replace(GOOD, policy_as_of=NOW - POLICY_AGE_MAX - SECOND), NOW, Readiness.POLICY_OVER_AGE),
        (replace(GOOD, policy_as_of=None), NOW, Readiness.POLICY_OVER_AGE),
        (replace(GOOD, deny_list_as_of=NOW - DENY_LIST_AGE_MAX - SECOND), NOW, Readiness.DENY_LIST_OVER_AGE),
        (replace(GOOD, deny_list_as_of=None), NOW, Readiness.DENY_LIST_OVER_AGE),
        (replace(GOOD, roster_as_of=NOW - LEASE_AGE_MAX - SECOND), NOW, Readiness.ROSTER_OVER_AGE),
        (replace(GOOD, templates_as_of=NOW - LEASE_AGE_MAX - SECOND), NOW, Readiness.TEMPLATES_OVER_AGE),
        (replace(GOOD, templates_as_of=None), NOW, Readiness.TEMPLATES_OVER_AGE),
        (replace(GOOD, group=False), NOW, Readiness.NO_GROUP),
        (replace(GOOD, wanted=False, revoked=True), NOW, Readiness.NOT_WANTED),
    ],
)
def test_the_first_reason_is_named(standing: FaceStanding, instant: datetime | None, readiness: Readiness) -> None:
    assert judge_readiness(standing, instant) is readiness

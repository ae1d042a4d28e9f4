"""Whether faces may be looked at now, and if not, the first reason.

The camera path is the one that may stop: codes go on. It stops when the policy says so and when what was told about
members has grown too old to vouch that nobody has withdrawn since.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared.policy import DENY_LIST_AGE_MAX, LEASE_AGE_MAX, POLICY_AGE_MAX


class Readiness(StrEnum):
    """ON, or why not. The words stand in `doorstep-edge status`."""

    ON = "on"
    NO_POLICY = "no policy yet"
    NOT_WANTED = "off by policy"
    REVOKED = "this kiosk is revoked"
    NO_VISION = "vision does not run"
    NO_MODELS = "no models"
    TIME_UNKNOWN = "time unknown"
    POLICY_OVER_AGE = "policy too old"
    DENY_LIST_OVER_AGE = "deny list too old"
    ROSTER_OVER_AGE = "roster too old"
    TEMPLATES_OVER_AGE = "templates too old"
    NO_GROUP = "no group secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceStanding:
    """What the answer depends on. `…_as_of` is when the cloud last vouched for a feed, None for never.

    `wanted` is the policy's word, None without a policy. `models` when `vision` has the networks, `group` when it
    holds the secret of the store's group.
    """

    wanted: bool | None
    revoked: bool
    vision: bool
    models: bool
    group: bool
    policy_as_of: datetime | None
    deny_list_as_of: datetime | None
    roster_as_of: datetime | None
    templates_as_of: datetime | None


def judge_readiness(standing: FaceStanding, instant: datetime | None) -> Readiness:
    """The first reason against looking at faces at this instant (None: unknown), or ON."""
    reasons = (
        (standing.wanted is None, Readiness.NO_POLICY),
        (standing.wanted is False, Readiness.NOT_WANTED),
        (standing.revoked, Readiness.REVOKED),
        (not standing.vision, Readiness.NO_VISION),
        (not standing.models, Readiness.NO_MODELS),
        (instant is None, Readiness.TIME_UNKNOWN),
        (_is_over(standing.policy_as_of, instant, POLICY_AGE_MAX), Readiness.POLICY_OVER_AGE),
        (_is_over(standing.deny_list_as_of, instant, DENY_LIST_AGE_MAX), Readiness.DENY_LIST_OVER_AGE),
        (_is_over(standing.roster_as_of, instant, LEASE_AGE_MAX), Readiness.ROSTER_OVER_AGE),
        (_is_over(standing.templates_as_of, instant, LEASE_AGE_MAX), Readiness.TEMPLATES_OVER_AGE),
        (not standing.group, Readiness.NO_GROUP),
    )
    return next((reason for applies, reason in reasons if applies), Readiness.ON)


def _is_over(as_of: datetime | None, instant: datetime | None, age_max: timedelta) -> bool:
    return as_of is None or instant is None or instant - as_of > age_max

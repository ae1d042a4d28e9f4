"""Who gets what: the daily reward at the first entry of the business day.

One pure function. What it must know comes in as a `Standing`; what the day is follows from the policy's calendar and
the clock reading. It never grants on a clock that nothing vouches for: the caller notes the visit and asks again
once the time is known.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from shared.business_day import ClockReading
from shared.ids import ClaimId, MemberId, RuleId, StoreId, TenantId, derive_claim_id
from shared.points import Points
from shared.policy import DENY_LIST_AGE_MAX, POLICY_AGE_MAX, Means, Policy


class RefusalReason(StrEnum):
    """Why nothing was granted."""

    TIME_UNKNOWN = "time_unknown"
    COLLECTED = "collected"
    REPEATED = "repeated"
    NO_EPOCH = "no_epoch"
    REVOKED = "revoked"
    POLICY_OVER_AGE = "policy_over_age"
    NO_ALLOTMENT = "no_allotment"
    ALLOTMENT_ENDED = "allotment_ended"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What this kiosk may still grant of the policy's campaign in this epoch, and until when."""

    serial: int
    left: int
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the kiosk knows before it decides.

    `means` is how the member was recognised. `collected` are the points of the claim with this member's id for
    the day, None when there is none; it is looked
    up by `claim_of`. `deny_list_as_of` and `policy_as_of` say as of when the cloud last vouched for them.
    """

    means: Means
    epoch: int
    revoked: bool
    collected: Points | None
    allotment: Allotment | None
    deny_list_as_of: datetime | None
    policy_as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The decision to give. `reduced` when the policy's reduced amount applied; `allotment` the serial it draws on."""

    claim: ClaimId
    member: MemberId
    business_day: date
    points: Points
    reduced: bool
    allotment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The decision not to give. `collected` is what was granted earlier today, on COLLECTED alone."""

    reason: RefusalReason
    collected: Points | None = None


def claim_of(member: MemberId, policy: Policy, business_day: date) -> ClaimId:
    """The id that a claim of this member under this policy has on that day."""
    return derive_claim_id(
        policy.naming_key,
        tenant=TenantId(policy.tenant),
        rule=RuleId(policy.rule),
        store=StoreId(policy.store),
        business_day=business_day,
        member=member,
    )


def decide_reward(member: MemberId, policy: Policy, standing: Standing, now: ClockReading) -> Grant | Refusal:
    """A grant of the daily reward, or the first reason against it."""
    if standing.revoked:
        return Refusal(reason=RefusalReason.REVOKED)
    if standing.epoch == 0:
        return Refusal(reason=RefusalReason.NO_EPOCH)
    if now.instant is None:
        return Refusal(reason=RefusalReason.TIME_UNKNOWN)
    if standing.collected is not None:
        return Refusal(reason=RefusalReason.COLLECTED, collected=standing.collected)
    if now.instant - standing.policy_as_of > POLICY_AGE_MAX:
        return Refusal(reason=RefusalReason.POLICY_OVER_AGE)
    reduced = _is_reduced(policy, standing, now.instant)
    points = Points(amount=policy.reduced_points if reduced else policy.points, unit=policy.unit)
    allotment = standing.allotment
    if allotment is None:
        return Refusal(reason=RefusalReason.NO_ALLOTMENT)
    if now.instant >= allotment.ends:
        return Refusal(reason=RefusalReason.ALLOTMENT_ENDED)
    if points.amount == 0 or allotment.left < points.amount:
        return Refusal(reason=RefusalReason.EXHAUSTED)
    day = policy.calendar.business_day(now.instant)
    return Grant(
        claim=claim_of(member, policy, day),
        member=member,
        business_day=day,
        points=points,
        reduced=reduced,
        allotment=allotment.serial,
    )


def _is_reduced(policy: Policy, standing: Standing, instant: datetime) -> bool:
    list_is_old = standing.deny_list_as_of is None or instant - standing.deny_list_as_of > DENY_LIST_AGE_MAX
    return list_is_old or (standing.means is Means.CARD and policy.cards_reduced)

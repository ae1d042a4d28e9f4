"""How much a kiosk may grant while nobody can ask, when it gets more, and until when. Pure.

A kiosk is told a total since its epoch began, never a difference, so that a message that is late, lost or doubled
cannot change what it may give. Behind the total stands money in the kiosk's own account: the total is never more than
what its claims have drawn so far plus what that account still holds. A claim that was not posted (somebody else's
came first) drew from the total but not from the account, so its points are told to the kiosk again without a second
draw on the budget.

How large a full allotment is follows from the visits that the kiosk itself had. When it is over and nothing made under
it can arrive any more, what is left goes back into the budget; a claim that arrives even later is paid from the
campaign's contingency. A kiosk that shows itself after that is told a total which is covered again, or nothing new.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.answers import AllotmentIssued
from shared.business_day import milliseconds
from shared.ids import CampaignId, DeviceId, TenantId
from shared.policy import ALLOTMENT_AGE_MAX

TOP_UP_BELOW_PERCENT: Final = 25
RENEW_AFTER: Final = timedelta(days=1)  # a kiosk that shows itself hourly is not told a new end every hour
ALLOTMENT_POINTS_MAX: Final = 10**9
CLOCK_ERROR_MAX: Final = timedelta(hours=36)
"""How far a clock that was believed may be off: a day entered wrongly, and a zone on top of it."""

OFFLINE_MAX: Final = ALLOTMENT_AGE_MAX
"""How long a kiosk may still be silent after its allotment ended: as long again as it could grant without a word."""

RETURN_AFTER: Final = OFFLINE_MAX + CLOCK_ERROR_MAX
"""After an allotment's end, when what is left of it goes back. It holds for revoked kiosks and replaced databases, too:
nobody renews those, and what they granted before may still be proved by a member or let through by a person."""

WINDOW: Final = timedelta(days=14)  # of counting: two weeks, so that every weekday is in it twice
HISTORY_MIN: Final = timedelta(days=7)  # with less behind it a kiosk is given all that the campaign allows
VISITS_MIN: Final = 20  # of a full allotment: the first coach that stops at a quiet shop
TAIL_PERCENT: Final = 1  # of stretches offline that may see more visits than a full allotment holds
VISITS_MEAN_MAX: Final = 1e6  # in OFFLINE_MAX: 71,000 a day, more than a door lets in
BUDGET_POINTS_MAX: Final = 10**15  # of one mint; the ledger takes no more in one posting


class CampaignRefusal(StrEnum):
    """Why a campaign was not made or funded."""

    UNUSABLE_ID = "unusable_id"
    UNUSABLE_NAME = "unusable_name"
    UNUSABLE_UNIT = "unusable_unit"
    UNUSABLE_ALLOTMENT = "unusable_allotment"
    UNUSABLE_BUDGET = "unusable_budget"
    UNUSABLE_CONTINGENCY = "unusable_contingency"
    UNKNOWN_TENANT = "unknown_tenant"
    UNKNOWN_CAMPAIGN = "unknown_campaign"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign of a tenant. `allotment_points` is how much a kiosk holds when its allotment is full."""

    tenant: TenantId
    id: CampaignId
    name: str
    unit: str
    allotment_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllotmentKey:
    """What names an allotment: one life of one kiosk's database, and the campaign."""

    tenant: TenantId
    campaign: CampaignId
    device: DeviceId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many first visits a kiosk had: `claims` since `since`, and `before` in the window before that.

    `before` is None when the kiosk was not there then.
    """

    since: datetime
    claims: int = 0
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What the kiosk was told it may grant in all, what its claims have drawn so far, and until when it may grant.

    `size` is how much it holds when it is full. `returned` is what was taken back of it in all; `returned_at` is since
    when nothing covers the rest of the total, or None.
    """

    key: AllotmentKey
    serial: int
    total: int
    spent: int
    ends_at: datetime
    issued_at: datetime
    size: int
    pace: Pace
    returned: int = 0
    returned_at: datetime | None = None

    @property
    def left(self) -> int:
        """What the kiosk may still grant as far as we have heard; below zero when it drew what it was not told."""
        return self.total - self.spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What claims drew from an allotment, posted or not: that many, for so many points in all."""

    claims: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """How much has to move from the budget into the kiosk's account before the allotment is full again.

    With less than `points_min` the total that the kiosk was told would not be covered, and nothing must move.
    """

    points: int
    points_min: int = 0


def campaign_fault(campaign: Campaign) -> CampaignRefusal | None:
    """What is wrong with the campaign's own numbers, or None; names are the catalogue's rules."""
    if not 0 < campaign.allotment_points <= ALLOTMENT_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_ALLOTMENT
    return None


# -- how much a full allotment is --------------------------------------------------------------------------------


def count(pace: Pace, claims: int, now: datetime) -> Pace:
    """The pace with so many more first visits, in windows that are up to date."""
    current = _in_window(pace, now)
    return replace(current, claims=current.claims + claims)


def visits_expected(pace: Pace, span: timedelta, now: datetime) -> float | None:
    """How many first visits to expect in the span, or None when too little was seen yet.

    One visit more than were seen, so that a kiosk that saw nobody is not expected to see nobody for ever.
    """
    current = _in_window(pace, now)
    seen, past = current.claims, now - current.since
    if current.before is not None:
        seen, past = seen + current.before, past + WINDOW
    return None if past < HISTORY_MIN else (seen + 1) * (span / past)


def poisson_quantile(mean: float, tail_percent: int) -> int:
    """The smallest number that a Poisson variable of that mean exceeds in at most so many of 100 cases. Exact.

    The upper tail is summed from where it is below 1e-20 (ten deviations up, Bernstein's bound) down to the number
    sought, by p(k-1) = p(k) * k / mean: some ten deviations long, whatever the mean.
    Limits: 0 < mean <= VISITS_MEAN_MAX; the logarithm's error there is 1e-9 of a probability.
    """
    number = math.ceil(mean + 10 * math.sqrt(mean)) + 50
    chance = math.exp(number * math.log(mean) - mean - math.lgamma(number + 1))
    tail = 0.0
    while number > 0 and tail + chance <= tail_percent / 100:  # until P(more than number - 1) would be too much
        tail += chance
        chance *= number / mean
        number -= 1
    return number


def full_size(pace: Pace, points_a_claim: int, points_max: int, now: datetime) -> int:
    """How many points a full allotment holds: enough for the first visits of OFFLINE_MAX in 99 of 100 cases.

    A Poisson bound on the kiosk's own pace, of at least VISITS_MIN visits and at most the campaign's `points_max`; a
    kiosk without a history is given those. It is filled again at TOP_UP_BELOW_PERCENT, so a line that goes at the
    worst moment leaves a quarter: half a week's visits.
    """
    expected = visits_expected(pace, OFFLINE_MAX, now)
    if expected is None:
        return points_max
    visits = max(poisson_quantile(min(expected, VISITS_MEAN_MAX), TAIL_PERCENT), VISITS_MIN)
    return min(visits * points_a_claim, points_max)


def _in_window(pace: Pace, now: datetime) -> Pace:
    """The pace with a present window that began less than WINDOW ago; what is older than two windows is forgotten."""
    windows = (now - pace.since) // WINDOW
    if windows <= 0:
        return pace
    return Pace(since=pace.since + windows * WINDOW, claims=0, before=pace.claims if windows == 1 else 0)


# -- giving and taking back --------------------------------------------------------------------------------------


def needs_top_up(held: Allotment | None, size: int, points_a_claim: int) -> bool:
    """True when there is no allotment, nothing covers it any more, or less than a quarter of a full one is left, or
    less than one more claim takes: of a small allotment a quarter may be too little for anybody."""
    if held is None or held.returned_at is not None:
        return True
    return held.left * 100 < size * TOP_UP_BELOW_PERCENT or held.left < points_a_claim


def plan_top_up(held: Allotment | None, size: int, funds: int, points_a_claim: int) -> TopUp | None:
    """What to move into the account that holds `funds`, or None when the allotment will do as it is.

    The kiosk may still believe in all that it was told: after a return that has to be covered again, or it gets
    nothing.
    """
    if not needs_top_up(held, size, points_a_claim):
        return None
    believed = 0 if held is None or held.returned_at is None else max(held.left, 0)
    return TopUp(points=max(max(size, believed) - funds, 0), points_min=max(believed - funds, 0))


def issue(key: AllotmentKey, held: Allotment | None, *, funds: int, size: int, pace: Pace, now: datetime) -> Allotment:
    """The allotment once the kiosk's account holds `funds`: all of it may be granted. The total never shrinks."""
    spent = 0 if held is None else held.spent
    return Allotment(
        key=key,
        serial=1 if held is None else held.serial + 1,
        total=max(0 if held is None else held.total, spent + funds),
        spent=spent,
        ends_at=now + ALLOTMENT_AGE_MAX,
        issued_at=now,
        size=size,
        pace=pace,
        returned=0 if held is None else held.returned,
    )


def renew(held: Allotment, size: int, now: datetime) -> Allotment:
    """The allotment with a new end and size; as it is when the end was set within the last day or nothing covers it."""
    if now - held.issued_at < RENEW_AFTER or held.returned_at is not None:
        return held
    return replace(held, serial=held.serial + 1, ends_at=now + ALLOTMENT_AGE_MAX, issued_at=now, size=size)


def draw(held: Allotment, drawn: Drawn, now: datetime) -> Allotment:
    """The allotment after claims arrived."""
    return replace(held, spent=held.spent + drawn.points, pace=count(held.pace, drawn.claims, now))


def is_over(held: Allotment, now: datetime) -> bool:
    """True when no claim made under the allotment can be on its way any more, and it was not taken back yet."""
    return held.returned_at is None and held.ends_at + RETURN_AFTER <= now


def take_back(held: Allotment, funds: int, now: datetime) -> Allotment:
    """The allotment once the rest in the kiosk's account went back into the budget."""
    return replace(held, returned=held.returned + funds, returned_at=now)


def tell(held: Allotment, unit: str) -> AllotmentIssued:
    """What the kiosk is told."""
    return AllotmentIssued(
        device=held.key.device,
        campaign=held.key.campaign,
        epoch=held.key.epoch,
        serial=held.serial,
        unit=unit,
        total=held.total,
        ends_ms=milliseconds(held.ends_at),
    )

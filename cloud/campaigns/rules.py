"""How much a kiosk may grant while nobody can ask, when it gets more, and until when. Pure.

A kiosk is told a total since its epoch began, never a difference, so that a message that is late, lost or doubled
cannot change what it may give. Behind the total stands money in the kiosk's own account: the total is never more than
what its claims have drawn so far plus what that account still holds. A claim that was not posted (somebody else's
came first) drew from the total but not from the account, so its points are told to the kiosk again without a second
draw on the budget.
"""

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
BUDGET_POINTS_MAX: Final = 10**15  # of one mint; the ledger takes no more in one posting


class CampaignRefusal(StrEnum):
    """Why a campaign was not made or funded."""

    UNUSABLE_ID = "unusable_id"
    UNUSABLE_NAME = "unusable_name"
    UNUSABLE_UNIT = "unusable_unit"
    UNUSABLE_ALLOTMENT = "unusable_allotment"
    UNUSABLE_BUDGET = "unusable_budget"
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
class Allotment:
    """What the kiosk was told it may grant in all, what its claims have drawn so far, and until when it may grant."""

    key: AllotmentKey
    serial: int
    total: int
    spent: int
    ends_at: datetime
    issued_at: datetime

    @property
    def left(self) -> int:
        """What the kiosk may still grant as far as we have heard; below zero when it drew what it was not told."""
        return self.total - self.spent


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """How much has to move from the budget into the kiosk's account before the allotment is full again."""

    points: int


def campaign_fault(campaign: Campaign) -> CampaignRefusal | None:
    """What is wrong with the campaign's own numbers, or None; names are the catalogue's rules."""
    if not 0 < campaign.allotment_points <= ALLOTMENT_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_ALLOTMENT
    return None


def needs_top_up(held: Allotment | None, size: int) -> bool:
    """True when there is no allotment yet or less than a quarter of a full one is left."""
    return held is None or held.left * 100 < size * TOP_UP_BELOW_PERCENT


def plan_top_up(held: Allotment | None, size: int, funds: int) -> TopUp | None:
    """What to move into the account that holds `funds`, or None when the allotment will do as it is."""
    return TopUp(points=max(size - funds, 0)) if needs_top_up(held, size) else None


def issue(key: AllotmentKey, held: Allotment | None, funds: int, now: datetime) -> Allotment:
    """The allotment once the kiosk's account holds `funds`: all of it may be granted. The total never shrinks."""
    spent = 0 if held is None else held.spent
    total = max(0 if held is None else held.total, spent + funds)
    serial = 1 if held is None else held.serial + 1
    return Allotment(key=key, serial=serial, total=total, spent=spent, ends_at=now + ALLOTMENT_AGE_MAX, issued_at=now)


def renew(held: Allotment, now: datetime) -> Allotment:
    """The allotment with a new end, or as it is when the end was set within the last day."""
    if now - held.issued_at < RENEW_AFTER:
        return held
    return replace(held, serial=held.serial + 1, ends_at=now + ALLOTMENT_AGE_MAX, issued_at=now)


def draw(held: Allotment, points: int) -> Allotment:
    """The allotment after claims for that many points arrived."""
    return replace(held, spent=held.spent + points)


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

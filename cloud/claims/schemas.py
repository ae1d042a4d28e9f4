"""Claims as the API shows them. Ids are hex, members base32 pseudonyms, instants RFC 3339."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from cloud.claims.queries import CouponTotals, DisputedFace, HeardEnvelope, RefusedEnvelope
from shared.answers import Outcome, Reason
from shared.ids import format_member

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A business day of the store: 2026-11-22.")]


class ClaimView(BaseModel):
    """A claim and what became of it.

    `member` is None once it was erased, `made_at` when the kiosk's clock was unknown.
    """

    device: str
    epoch: int
    seq: int
    claim: str | None
    member: str | None
    business_day: str | None
    made_at: datetime | None
    amount: int | None
    outcome: Outcome
    reason: Reason | None
    recorded_at: datetime

    @classmethod
    def of(cls, heard: HeardEnvelope) -> "ClaimView":
        """The claim for the wire."""
        return cls(
            device=heard.device,
            epoch=heard.epoch,
            seq=heard.seq,
            claim=None if heard.claim is None else heard.claim.hex(),
            member=None if heard.member is None else format_member(heard.member),
            business_day=heard.business_day,
            made_at=heard.made_at,
            amount=heard.amount,
            outcome=heard.outcome,
            reason=heard.reason,
            recorded_at=heard.recorded_at,
        )


class RefusedView(BaseModel):
    """An envelope that did not prove to be its device's word, or not its only one under this number."""

    id: str
    device: str
    epoch: int | None
    seq: int | None
    outcome: Outcome
    reason: Reason
    recorded_at: datetime

    @classmethod
    def of(cls, refused: RefusedEnvelope) -> "RefusedView":
        """The refused envelope for the wire."""
        return cls(
            id=refused.id.hex(),
            device=refused.device,
            epoch=refused.epoch,
            seq=refused.seq,
            outcome=refused.outcome,
            reason=refused.reason,
            recorded_at=refused.recorded_at,
        )


class DisputeView(BaseModel):
    """Somebody at a door said that they were not the member they were greeted as; a claim that was granted stands."""

    device: str
    epoch: int
    seq: int
    member: str
    claim: str | None
    said_at: datetime | None
    recorded_at: datetime

    @classmethod
    def of(cls, dispute: DisputedFace) -> "DisputeView":
        """The dispute for the wire."""
        return cls(
            device=dispute.device,
            epoch=dispute.epoch,
            seq=dispute.seq,
            member=format_member(dispute.member),
            claim=None if dispute.claim is None else dispute.claim.hex(),
            said_at=dispute.said_at,
            recorded_at=dispute.recorded_at,
        )


class CouponTotalsView(BaseModel):
    """What became of the coupons of a series: given once, waiting to be confirmed, and lost to given twice."""

    campaign: str
    series: str
    given: int
    waiting: int
    lost: int

    @classmethod
    def of(cls, totals: CouponTotals) -> "CouponTotalsView":
        """The totals for the wire."""
        return cls(
            campaign=totals.campaign,
            series=totals.series,
            given=totals.given,
            waiting=totals.waiting,
            lost=totals.lost,
        )

"""Claims as the API shows them. Ids are hex, members base32 pseudonyms, instants RFC 3339."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cloud.claims.queries import CouponTotals, DisputedFace, HandedIn, HeardEnvelope, RefusedEnvelope, Review
from cloud.claims.rules import NOTE_LENGTH_MAX
from shared.answers import Outcome, Reason, Verdict
from shared.ids import format_member
from shared.tokens import TEXT_LENGTH_MAX

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A business day of the store: 2026-11-22.")]


class ReviewView(BaseModel):
    """What a person decided about an envelope that was in quarantine, why, and what followed."""

    reviewer: str
    note: str
    outcome: Outcome
    reason: Reason | None
    reviewed_at: datetime

    @classmethod
    def of(cls, review: Review) -> "ReviewView":
        """The review for the wire."""
        return cls(
            reviewer=review.reviewer,
            note=review.note,
            outcome=review.outcome,
            reason=review.reason,
            reviewed_at=review.reviewed_at,
        )


class NewReview(BaseModel):
    """A decision about an envelope in quarantine: `release` lets it count, and `note` says why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    release: bool
    note: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH_MAX)]


class HandedText(BaseModel):
    """The text of the code that a kiosk showed, as a photograph of it reads."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX, examples=["DS1:..."])]


class ReceiptView(BaseModel):
    """A receipt that a member handed in, and what became of it. `reviewer` and `note` once a person has decided."""

    id: str
    device: str
    epoch: int
    seq: int
    member: str
    claim: str
    amount: int
    outcome: Outcome
    reason: Reason | None
    handed_in_at: datetime
    reviewer: str | None
    note: str | None

    @classmethod
    def of(cls, handed: HandedIn) -> "ReceiptView":
        """The receipt for the wire."""
        return cls(
            id=handed.id.hex(),
            device=handed.device,
            epoch=handed.epoch,
            seq=handed.seq,
            member=format_member(handed.member),
            claim=handed.claim.hex(),
            amount=handed.amount,
            outcome=handed.outcome,
            reason=handed.reason,
            handed_in_at=handed.handed_in_at,
            reviewer=handed.reviewer,
            note=handed.note,
        )


class VerdictView(BaseModel):
    """What became of an envelope. `balance` is the member's after it, when it is known."""

    outcome: Outcome
    reason: Reason | None
    balance: int | None

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictView":
        """The verdict for the wire."""
        return cls(outcome=verdict.outcome, reason=verdict.reason, balance=verdict.balance)


class ClaimView(BaseModel):
    """A claim, or another envelope by its `kind`, and what became of it. `review` is what a person decided since.

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
    kind: str
    review: ReviewView | None

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
            kind=heard.kind,
            review=None if heard.review is None else ReviewView.of(heard.review),
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

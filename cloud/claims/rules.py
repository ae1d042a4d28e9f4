"""What becomes of what a kiosk says. Pure: the same envelope and the same facts bring the same judgement.

The kiosk decided already; here the cloud judges with other code and from the envelope's own bytes. Nothing the kiosk
concluded is taken over: the day is computed again, the claim's id derived again, the terms compared with those the
catalogue compiled. An envelope is first placed (is it this device's word, the only one under its number, linked to
its neighbours?) and only then is its fact judged. What is not the device's word takes no number and so cannot keep
the true one from being heard.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import assert_never

from cloud.campaigns.rules import CLOCK_ERROR_MAX, RETURN_AFTER
from cloud.devices.rules import Wrapping
from cloud.ledger.rules import EntryDraft, grant_daily, grant_late
from cloud.members.rules import Channel, ConsentWords, Enrolment, FaceProof, Language, Origin, SpokenConsent
from shared.answers import Outcome, Reason, Verdict
from shared.business_day import ClockTrust, instant_of
from shared.consent import Purpose
from shared.envelope import (
    ENVELOPE_VERSION,
    PAYLOAD_BYTES_MAX,
    SALT_BYTES,
    ClaimMade,
    ClockStepped,
    ConsentSaid,
    Envelope,
    EnvelopeFault,
    FaceDisputed,
    Fact,
    Header,
    InstantSaid,
    Opened,
    SecretWrapped,
    TemplateEnrolled,
    TemplateForgotten,
    TemplateShared,
    VisitNoted,
    genesis,
)
from shared.ids import (
    CLAIM_ID_BYTES,
    MEMBER_ID_BYTES,
    CampaignId,
    ClaimId,
    DeviceId,
    MemberId,
    RuleId,
    StoreId,
    TenantId,
    derive_claim_id,
)
from shared.instants import InstantOutcome
from shared.points import Points
from shared.policy import ALLOTMENT_AGE_MAX, POLICY_AGE_MAX, Means, Policy
from shared.receipts import MemberReceipt

NUMBER_MAX = 2**53  # sequence numbers, epochs and versions; what a database and JSON both hold exactly
HEADER_BYTES_MAX = 2048  # a header is about 250 bytes
SIGNATURE_BYTES_MAX = 64
DIGEST_BYTES = 32
CLOCK_SLACK_MS = CLOCK_ERROR_MAX // timedelta(milliseconds=1)

GAP_ASKED_AFTER = timedelta(seconds=5)
MISSING_MAX = 100  # numbers asked for in one receipt: one message of the kiosk's
AHEAD_MAX = 1000  # stored numbers looked at beyond a gap: five windows of a kiosk


# -- what is known -----------------------------------------------------------------------------------------------


class EpochState(StrEnum):
    """What the registry says of an epoch of a device."""

    UNKNOWN = "unknown"
    OPEN = "open"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A registered device: whose it is, where it stands, and which epochs it was issued."""

    device: DeviceId
    tenant: TenantId
    store: StoreId
    public_key: bytes
    revoked: bool
    epochs: frozenset[int]
    quarantined: frozenset[int]

    def epoch_state(self, epoch: int) -> EpochState:
        """The epoch's state."""
        if epoch in self.quarantined:
            return EpochState.QUARANTINED
        return EpochState.OPEN if epoch in self.epochs else EpochState.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What is stored around a sequence number, each None when it is not there (yet).

    `same` is the chain digest stored under the number itself, `before` the one under the number before (the genesis
    for the first), `named_by_next` what the next envelope names as its previous.
    """

    same: bytes | None = None
    before: bytes | None = None
    named_by_next: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A policy the catalogue compiled for the device's store. `superseded_ms` is when the next one was, or None."""

    policy: Policy
    superseded_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """The member a claim names, after aliases.

    Cards below `serial_floor` are denied, each since when `denied_cards` says (always, when it does not speak of it);
    phones since `phones_denied_ms`, or not when that is None.
    """

    member: MemberId
    erased: bool = False
    serial_floor: int = 0
    denied_cards: Mapping[int, int] = field(default_factory=dict)
    phones_denied_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a judgement may rest on. `claimant` is whom the fact names; `now_ms` is the cloud's clock."""

    speaker: Speaker
    epoch: EpochState
    neighbours: Neighbours
    terms: Terms | None
    claimant: Claimant | None
    now_ms: int


# -- what becomes of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """The claim is good: this entry is to be posted. Whether it was before, or the budget lacks, the ledger says."""

    draft: EntryDraft
    campaign: CampaignId
    member: MemberId
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """Somebody said that they are not the member they were greeted as. `claim` was granted so, or None."""

    store: StoreId
    tenant: TenantId
    member: MemberId
    claim: bytes | None
    wall_ms: int | None
    origin: Origin


Effect = SpokenConsent | Enrolment | FaceProof | Wrapping | Dispute
"""What other tables learn from a fact that posts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Recorded; nothing to post. `effect` is what follows from it elsewhere, None for nothing."""

    effect: Effect | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Final. `amount` is what the kiosk drew for it from `campaign`'s allotment, 0 when its terms were not ours."""

    reason: Reason
    campaign: CampaignId | None = None
    amount: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Kept until a person has looked. With `whole_epoch` the epoch's history has forked and all of it waits.

    `effect` is a withdrawal: that is followed even where nothing else is believed.
    """

    reason: Reason
    whole_epoch: bool = False
    effect: Effect | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """The very envelope that is stored under this number: the same verdict again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAway:
    """Kept aside without a number: another envelope may still come under it. `whole_epoch` as in Quarantine."""

    outcome: Outcome
    reason: Reason
    whole_epoch: bool = False


Judgement = Post | Noted | Reject | Quarantine | Repeat | TurnAway


def judge(opened: Opened, facts: Facts) -> Judgement:
    """What becomes of an envelope that proved to be the device's word."""
    placed = _judge_place(opened, facts)
    if placed is None:
        return _judge_fact(opened.header, opened.fact, facts)
    if isinstance(placed, Quarantine) and isinstance(opened.fact, ConsentSaid) and not opened.fact.given:
        withdrawn = judge_face(opened.header, opened.fact, facts)
        return replace(placed, effect=withdrawn.effect if isinstance(withdrawn, Noted) else None)
    return placed


def turn_away(fault: EnvelopeFault) -> TurnAway:
    """What becomes of bytes that did not prove to be the device's word."""
    # A later version is the device's honest word in a language we do not read yet: it waits for one who does.
    kept = fault is EnvelopeFault.UNKNOWN_VERSION
    return TurnAway(outcome=Outcome.QUARANTINED if kept else Outcome.REJECTED, reason=Reason(fault.value))


def size_fault(envelope: Envelope) -> EnvelopeFault | None:
    """MALFORMED when a part is not of the size it must have: looked at before anything is computed over it."""
    salt, payload = envelope.salt, envelope.payload
    fits = (
        len(envelope.header) <= HEADER_BYTES_MAX
        and len(envelope.signature) <= SIGNATURE_BYTES_MAX
        and (salt is None or len(salt) == SALT_BYTES)
        and (payload is None or len(payload) <= PAYLOAD_BYTES_MAX)
    )
    return None if fits else EnvelopeFault.MALFORMED


def number_fault(header: Header) -> EnvelopeFault | None:
    """MALFORMED when a number of the header is none that a device can have reached."""
    fits = (
        1 <= header.seq <= NUMBER_MAX
        and 0 <= header.epoch <= NUMBER_MAX
        and 0 <= header.policy_version <= NUMBER_MAX
        and 0 <= header.monotonic_ms <= NUMBER_MAX
        and (header.wall_ms is None or 0 <= header.wall_ms <= NUMBER_MAX)
    )
    return None if fits else EnvelopeFault.MALFORMED


def _judge_place(opened: Opened, facts: Facts) -> Judgement | None:
    """What ends the matter before the fact is looked at, or None."""
    around = facts.neighbours
    if facts.epoch is EpochState.UNKNOWN:
        return TurnAway(outcome=Outcome.QUARANTINED, reason=Reason.UNKNOWN_EPOCH)
    if around.same == opened.chain:
        return Repeat()
    if around.same is not None:
        return TurnAway(outcome=Outcome.QUARANTINED, reason=Reason.CHANGED_BODY, whole_epoch=True)
    if facts.speaker.revoked:
        return Reject(reason=Reason.DEVICE_REVOKED)
    if facts.epoch is EpochState.QUARANTINED:
        return Quarantine(reason=Reason.EPOCH_QUARANTINED)
    follows = around.before is None or around.before == opened.header.previous
    precedes = around.named_by_next is None or around.named_by_next == opened.chain
    if not (follows and precedes):
        return Quarantine(reason=Reason.BROKEN_CHAIN, whole_epoch=True)
    return None


def _judge_fact(header: Header, fact: Fact | None, facts: Facts) -> Judgement:
    match fact:
        case None if header.business_day is not None:
            # A device sends its claims whole. Whoever took payload and salt off on the way must not make one vanish.
            return TurnAway(outcome=Outcome.REJECTED, reason=Reason.BAD_DIGEST)
        case None | VisitNoted() | ClockStepped():
            return Noted()
        case ClaimMade():
            return judge_claim(header, fact, facts)
        case (
            ConsentSaid()
            | TemplateEnrolled()
            | TemplateShared()
            | TemplateForgotten()
            | SecretWrapped()
            | FaceDisputed()
        ):
            return judge_face(header, fact, facts)
        case _:
            assert_never(fact)


def draft_late(claim: Post) -> EntryDraft:
    """The claim's entry once the kiosk's allotment does not pay for it: the campaign's contingency does."""
    member = claim.draft.postings[1].account
    return grant_late(
        claim=ClaimId(claim.draft.id),
        tenant=claim.draft.tenant,
        campaign=claim.campaign,
        member=claim.member,
        points=Points(amount=claim.amount, unit=member.unit),
        effective_at=claim.draft.effective_at,
    )


NOTE_LENGTH_MAX = 500  # of what a person writes to a decision: a paragraph


class ReviewRefusal(StrEnum):
    """Why a person's decision about an envelope was not taken."""

    UNKNOWN_ENVELOPE = "unknown_envelope"
    NOT_QUARANTINED = "not_quarantined"
    NOT_A_CLAIM = "not_a_claim"
    DECIDED = "decided"
    UNUSABLE_NOTE = "unusable_note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person says of a quarantined envelope: whether it counts, who says so, and why."""

    is_released: bool
    reviewer: str
    note: str


def is_note(text: str) -> bool:
    """True when the text says something, and not too much."""
    return 0 < len(text.strip()) <= NOTE_LENGTH_MAX


def review_fault(decision: Decision, waits: Verdict, fact: Fact | None) -> ReviewRefusal | None:
    """What is wrong with deciding so about an envelope on which this was the verdict, or None.

    Only a claim can be released: consents and templates are said anew, at the door.
    """
    if not is_note(decision.note):
        return ReviewRefusal.UNUSABLE_NOTE
    if waits.outcome is not Outcome.QUARANTINED:
        return ReviewRefusal.NOT_QUARANTINED
    if decision.is_released and not isinstance(fact, ClaimMade):
        return ReviewRefusal.NOT_A_CLAIM
    return None


RECEIPT_AGE_MAX = ALLOTMENT_AGE_MAX + RETURN_AFTER
"""How old a claim may be whose receipt a member hands in: until what its allotment held has gone back at the latest."""


class ReceiptRefusal(StrEnum):
    """Why a member's receipt was not taken at all; nothing of it is kept."""

    UNREADABLE = "unreadable"
    UNKNOWN_DEVICE = "unknown_device"
    FORGED = "forged"
    OVER_AGE = "over_age"
    ANOTHERS = "anothers"


def read_receipt(receipt: MemberReceipt, member: MemberId, policy: Policy) -> tuple[Header, ClaimMade]:
    """The claim that the receipt stands for, as its envelope would say it.

    A kiosk makes a claim only under a time that was vouched for, and the receipt's is that time.
    """
    day = policy.calendar.business_day(instant_of(receipt.wall_ms)).isoformat()
    header = Header(
        version=ENVELOPE_VERSION,
        device=receipt.device,
        epoch=receipt.epoch,
        seq=receipt.seq,
        previous=b"",
        digest=b"",
        boot="",
        monotonic_ms=0,
        wall_ms=receipt.wall_ms,
        trust=ClockTrust.HELD,
        business_day=day,
        policy_version=receipt.policy_version,
    )
    claim = ClaimMade(
        claim=receipt.claim,
        tenant=policy.tenant,
        store=policy.store,
        campaign=policy.campaign,
        rule=policy.rule,
        member=member,
        business_day=day,
        unit=policy.unit,
        amount=receipt.amount,
        reduced=receipt.reduced,
        means=receipt.means,
        evidence=b"",
        step=None,
        serial=receipt.serial,
        allotment=0,
        zone=policy.zone,
        cutoff_hour=policy.cutoff_hour,
    )
    return header, claim


def receipt_fault(receipt: MemberReceipt, now_ms: int) -> ReceiptRefusal | None:
    """OVER_AGE when the claim was made too long ago, or at no time at all; None when it may be looked at."""
    oldest_ms = now_ms - RECEIPT_AGE_MAX // timedelta(milliseconds=1)
    return None if oldest_ms <= receipt.wall_ms <= now_ms + CLOCK_SLACK_MS else ReceiptRefusal.OVER_AGE


def receipt_doubt(speaker: Speaker, epoch: int) -> Reason | None:
    """Why a person has to look at the device's receipts of this epoch first, or None."""
    if speaker.revoked:
        return Reason.DEVICE_REVOKED
    state = speaker.epoch_state(epoch)
    match state:
        case EpochState.UNKNOWN:
            return Reason.UNKNOWN_EPOCH
        case EpochState.QUARANTINED:
            return Reason.EPOCH_QUARANTINED
        case EpochState.OPEN:
            return None
        case _:
            assert_never(state)


def iso_day(text: str) -> str | None:
    """The text when it is a day as we write it (2026-11-22), else None."""
    try:
        return text if date.fromisoformat(text).isoformat() == text else None
    except ValueError:
        return None


def judge_claim(header: Header, claim: ClaimMade, facts: Facts) -> Post | Reject:
    """Whether a claim in its place is to be posted, or the first reason why not."""
    if len(claim.member) != MEMBER_ID_BYTES or len(claim.claim) != CLAIM_ID_BYTES:
        return Reject(reason=Reason.MALFORMED)
    if facts.terms is None:
        return Reject(reason=Reason.UNKNOWN_POLICY)
    policy = facts.terms.policy
    if not _has_terms(claim, policy, facts.speaker) or _is_outdated(header, facts.terms):
        return Reject(reason=Reason.WRONG_TERMS)
    judged = _judge_visitor(header, claim, policy, facts)
    if isinstance(judged, Reason):
        return Reject(reason=judged, campaign=CampaignId(policy.campaign), amount=claim.amount)
    return judged


def _judge_visitor(header: Header, claim: ClaimMade, policy: Policy, facts: Facts) -> Post | Reason:
    """Who came on which day, under terms that were found right."""
    day = _day_of(header, policy, facts.now_ms)
    if header.wall_ms is None or day is None or not day.isoformat() == claim.business_day == header.business_day:
        return Reason.WRONG_DAY
    name = _name(policy, day, MemberId(claim.member))
    if claim.claim != name:
        return Reason.WRONG_CLAIM_ID
    claimant = facts.claimant
    if claimant is None or claimant.erased:
        return Reason.UNKNOWN_MEMBER
    if _is_denied(claim, claimant, header.wall_ms):
        return Reason.DENIED_CREDENTIAL
    draft = grant_daily(
        claim=name if claimant.member == claim.member else _name(policy, day, claimant.member),
        tenant=facts.speaker.tenant,
        campaign=CampaignId(policy.campaign),
        device=facts.speaker.device,
        epoch=header.epoch,
        member=claimant.member,
        points=Points(amount=claim.amount, unit=policy.unit),
        effective_at=instant_of(header.wall_ms),
    )
    return Post(draft=draft, campaign=CampaignId(policy.campaign), member=claimant.member, amount=claim.amount)


def _has_terms(claim: ClaimMade, policy: Policy, speaker: Speaker) -> bool:
    """True when the claim says what the policy says, in all that the policy decides."""
    said = (claim.tenant, claim.store, claim.campaign, claim.rule, claim.unit, claim.zone, claim.cutoff_hour)
    ours = (policy.tenant, policy.store, policy.campaign, policy.rule, policy.unit, policy.zone, policy.cutoff_hour)
    must_reduce = policy.cards_reduced and claim.means is Means.CARD
    return (
        said == ours
        and (policy.tenant, policy.store) == (speaker.tenant, speaker.store)
        and claim.amount == (policy.reduced_points if claim.reduced else policy.points)
        and claim.amount > 0
        and (claim.reduced or not must_reduce)
        and (claim.means is not Means.FACE or policy.faces)
        and (claim.instant is None or _has_coupon(claim.instant, policy))
    )


def _has_coupon(said: InstantSaid, policy: Policy) -> bool:
    """True when the coupon is one of the policy's series, and is said to be shown exactly when it has a code."""
    if policy.instant is None or said.series != policy.instant.series:
        return False
    is_shown = said.outcome is InstantOutcome.SHOWN
    return is_shown == (said.code is not None and len(said.code) == DIGEST_BYTES) == (said.why is None)


def _is_outdated(header: Header, terms: Terms) -> bool:
    """True when the kiosk acted on terms that were replaced longer ago than it may go without asking."""
    if header.wall_ms is None or terms.superseded_ms is None:
        return False
    return header.wall_ms > terms.superseded_ms + POLICY_AGE_MAX // timedelta(milliseconds=1) + CLOCK_SLACK_MS


def _day_of(header: Header, policy: Policy, now_ms: int) -> date | None:
    """The business day of the header's time, or None when that time cannot be believed."""
    if header.wall_ms is None or header.trust is ClockTrust.UNKNOWN:
        return None
    if not 0 < header.wall_ms <= now_ms + CLOCK_SLACK_MS:
        return None
    return policy.calendar.business_day(instant_of(header.wall_ms))


def _name(policy: Policy, day: date, member: MemberId) -> ClaimId:
    return derive_claim_id(
        policy.naming_key,
        tenant=TenantId(policy.tenant),
        rule=RuleId(policy.rule),
        store=StoreId(policy.store),
        business_day=day,
        member=member,
    )


def _is_denied(claim: ClaimMade, claimant: Claimant, wall_ms: int) -> bool:
    """True when the credential had been denied before it was shown; what was shown before that stays granted."""
    match claim.means:
        case Means.CARD:
            serial = claim.serial or 0
            return serial < claimant.serial_floor and claimant.denied_cards.get(serial, 0) <= wall_ms
        case Means.PHONE:
            return claimant.phones_denied_ms is not None and claimant.phones_denied_ms <= wall_ms
        case Means.FACE | Means.STAFF:
            return False
        case _:
            assert_never(claim.means)


# -- coupons -----------------------------------------------------------------------------------------------------

CONFIRM_AFTER = timedelta(hours=1)  # of the business day's end: no kiosk's believed clock is behind by more
CONFIRM_AT_LATEST = ALLOTMENT_AGE_MAX  # a kiosk that was silent for so long may grant nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class KioskHeard:
    """When a kiosk of the store last showed itself, and whether all that it had written by then was here."""

    seen_at: datetime
    is_settled: bool


def is_day_told(ended: datetime, kiosks: Iterable[KioskHeard], now: datetime) -> bool:
    """True when nobody can have shown a coupon of the day that ended then without our knowing it.

    A deferred coupon is confirmed no sooner: its owner may have shown it meanwhile, with its line down.
    """
    told_by = ended + CONFIRM_AFTER
    if now >= ended + CONFIRM_AT_LATEST:
        return True
    return now >= told_by and all(kiosk.is_settled and kiosk.seen_at >= told_by for kiosk in kiosks)


def coupons_lost(shown: int, *, is_confirmed: bool) -> int:
    """How many coupons of one claim were given beyond the one that was due."""
    return max(0, shown + is_confirmed - 1)


# -- faces -------------------------------------------------------------------------------------------------------

CARRIED = frozenset({"template", "shared", "secret"})
"""Kinds of facts that the cloud hands on and must be able to forget: they are not kept with their envelopes."""

FaceFact = ConsentSaid | TemplateEnrolled | TemplateShared | TemplateForgotten | SecretWrapped | FaceDisputed


def member_named(fact: Fact | None) -> bytes | None:
    """The member whom the fact is about, None when it is about nobody."""
    match fact:
        case TemplateEnrolled() | TemplateShared():
            return fact.template.member
        case ClaimMade() | VisitNoted() | ConsentSaid() | TemplateForgotten() | FaceDisputed():
            return fact.member
        case ClockStepped() | SecretWrapped() | None:
            return None
        case _:
            assert_never(fact)


def is_carried_only(fact: Fact | None) -> bool:
    """True for a fact of the kinds in CARRIED."""
    return isinstance(fact, TemplateEnrolled | TemplateShared | SecretWrapped)


def judge_face(header: Header, fact: FaceFact, facts: Facts) -> Noted | Reject:
    """Whether what a kiosk says of faces is taken, and what follows from it.

    A fact that cannot stand is WRONG_TERMS: a kiosk would take MALFORMED for damage on the way and say it again.
    """
    speaker, claimant = facts.speaker, facts.claimant
    if (fact.tenant, fact.store) != (speaker.tenant, speaker.store):
        return Reject(reason=Reason.WRONG_TERMS)
    origin = Origin(device=speaker.device, epoch=header.epoch, seq=header.seq)
    if isinstance(fact, SecretWrapped):
        return Noted(effect=_wrapping(header, fact, facts, origin))
    if claimant is None:
        return Reject(reason=Reason.UNKNOWN_MEMBER)
    match fact:
        case ConsentSaid():
            return _judge_consent(header, fact, facts, claimant, origin)
        case TemplateEnrolled():
            return _judge_enrolment(header, fact, facts, claimant)
        case TemplateShared():
            return _judge_shared(header, fact, facts, claimant)
        case TemplateForgotten():
            member = claimant.member
            return Noted(
                effect=FaceProof(tenant=speaker.tenant, store=speaker.store, member=member, why=fact.why, origin=origin)
            )
        case FaceDisputed():
            if fact.claim is not None and len(fact.claim) != CLAIM_ID_BYTES:
                return Reject(reason=Reason.WRONG_TERMS)
            return Noted(
                effect=Dispute(
                    tenant=speaker.tenant,
                    store=speaker.store,
                    member=claimant.member,
                    claim=fact.claim,
                    wall_ms=header.wall_ms,
                    origin=origin,
                )
            )
        case _:
            assert_never(fact)


def _judge_consent(
    header: Header, said: ConsentSaid, facts: Facts, claimant: Claimant, origin: Origin
) -> Noted | Reject:
    """A withdrawal is taken whatever the clock; a consent needs a time that can be believed and a code.

    Who has left withdrew everything with it.
    """
    if said.purpose is not Purpose.BIOMETRIC or said.language not in set(Language) or not _is_number(said.text_version):
        return Reject(reason=Reason.WRONG_TERMS)
    if claimant.erased:
        return Reject(reason=Reason.UNKNOWN_MEMBER) if said.given else Noted()
    if said.given and said.means not in (Means.CARD, Means.PHONE):
        return Reject(reason=Reason.WRONG_TERMS)
    said_ms = _believed_ms(header, facts.now_ms)
    if said.given and said_ms is None:
        return Reject(reason=Reason.WRONG_DAY)
    if not said.given and header.trust is not ClockTrust.SYNCED:
        said_ms = None  # a clock that may be slow must not put a withdrawal before a consent
    words = ConsentWords(text_version=said.text_version, language=Language(said.language), channel=Channel.KIOSK)
    return Noted(
        effect=SpokenConsent(
            tenant=facts.speaker.tenant,
            member=claimant.member,
            given=said.given,
            words=words,
            said_at=instant_of(facts.now_ms if said_ms is None else said_ms),
            origin=origin,
        )
    )


def _judge_enrolment(header: Header, enrolled: TemplateEnrolled, facts: Facts, claimant: Claimant) -> Noted | Reject:
    """A template without a time that can be believed counts as older than any withdrawal."""
    if claimant.erased:
        return Reject(reason=Reason.UNKNOWN_MEMBER)
    if not (_is_number(enrolled.text_version) and _is_number(enrolled.frames)):
        return Reject(reason=Reason.WRONG_TERMS)
    template = enrolled.template
    return Noted(
        effect=Enrolment(
            tenant=facts.speaker.tenant,
            store=facts.speaker.store,
            member=claimant.member,
            key=template.key,
            embedder=template.embedder,
            sealed=template.sealed,
            text_version=enrolled.text_version,
            device=facts.speaker.device,
            frames=enrolled.frames,
            resealed=enrolled.resealed,
            enrolled_at=instant_of(_believed_ms(header, facts.now_ms) or 0),
        )
    )


def _judge_shared(header: Header, shared: TemplateShared, facts: Facts, claimant: Claimant) -> Noted | Reject:
    """A template for another store. Whether a consent names that store is seen where consents are locked."""
    if claimant.erased:
        return Reject(reason=Reason.UNKNOWN_MEMBER)
    if not _is_number(shared.text_version) or shared.for_store == facts.speaker.store:
        return Reject(reason=Reason.WRONG_TERMS)
    template = shared.template
    return Noted(
        effect=Enrolment(
            tenant=facts.speaker.tenant,
            store=StoreId(shared.for_store),
            member=claimant.member,
            key=template.key,
            embedder=template.embedder,
            sealed=template.sealed,
            text_version=shared.text_version,
            device=facts.speaker.device,
            frames=0,
            resealed=False,
            enrolled_at=instant_of(_believed_ms(header, facts.now_ms) or 0),
            given_by=facts.speaker.store,
        )
    )


def _wrapping(header: Header, said: SecretWrapped, facts: Facts, origin: Origin) -> Wrapping:
    believed_ms = _believed_ms(header, facts.now_ms)
    return Wrapping(
        store=facts.speaker.store,
        key=said.key,
        previous=said.previous,
        device=DeviceId(said.wrap.device),
        sealed=said.wrap.sealed,
        said_at=instant_of(facts.now_ms if believed_ms is None else believed_ms),
        origin=origin,
    )


def _believed_ms(header: Header, now_ms: int) -> int | None:
    """The header's time, never later than now, or None when it cannot be believed."""
    if header.wall_ms is None or header.trust is ClockTrust.UNKNOWN:
        return None
    return min(header.wall_ms, now_ms) if 0 < header.wall_ms <= now_ms + CLOCK_SLACK_MS else None


def _is_number(value: int) -> bool:
    return 0 <= value <= NUMBER_MAX


# -- one epoch's envelopes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An envelope's place in the chain: its own digest and the one it names as its previous."""

    chain: bytes
    previous: bytes


@dataclass(slots=True, kw_only=True)
class Stream:
    """One epoch of one device while a batch goes on: what is stored, and how far it is gapless.

    All up to `contiguous` is stored and `head` is the chain digest there; `highest` is the highest number stored.
    `gap_since_us` is when something was first missing below `highest`, or last asked for; None without a gap.
    `links` holds the places that the batch has to do with, and all that are stored beyond `contiguous` up to
    `read_until`.
    """

    device: DeviceId
    epoch: int
    contiguous: int
    head: bytes
    highest: int
    gap_since_us: int | None
    read_until: int
    links: dict[int, Link] = field(default_factory=dict)

    def neighbours(self, seq: int) -> Neighbours:
        """What is known around the number."""
        same, before, following = self.links.get(seq), self.links.get(seq - 1), self.links.get(seq + 1)
        return Neighbours(
            same=None if same is None else same.chain,
            before=self.head if seq == self.contiguous + 1 else None if before is None else before.chain,
            named_by_next=None if following is None else following.previous,
        )

    def unread(self, seq: int) -> tuple[int, ...]:
        """The numbers whose links must be read before the envelope under this one can be placed."""
        if seq > self.highest:
            return (seq - 1,) if self.contiguous + 1 < seq == self.highest + 1 else ()
        return (seq - 1, seq, seq + 1)

    def holds(self, seq: int) -> bool:
        """True when an envelope is known to be stored under the number."""
        return seq <= self.contiguous or seq in self.links

    def place(self, seq: int, link: Link) -> None:
        """The envelope is stored under its number, and what is gapless now counts as such."""
        self.links[seq] = link
        self.highest = max(self.highest, seq)
        while (following := self.links.get(self.contiguous + 1)) is not None:
            self.contiguous += 1
            self.head = following.chain

    def missing(self, now_us: int) -> tuple[int, ...]:
        """The numbers to ask for now: those below `highest` that are not among the links, once a gap is old enough.

        Remembers when it asked, so that a number nobody has any more is asked for once in a while and not always.
        """
        if self.contiguous == self.highest:
            self.gap_since_us = None
            return ()
        if self.gap_since_us is None:
            self.gap_since_us = now_us
            return ()
        if now_us - self.gap_since_us < GAP_ASKED_AFTER // timedelta(microseconds=1):
            return ()
        self.gap_since_us = now_us
        until = min(self.highest, self.read_until)
        absent = (seq for seq in range(self.contiguous + 1, until) if seq not in self.links)
        return tuple(islice(absent, MISSING_MAX))


def open_stream(device: DeviceId, epoch: int) -> Stream:
    """The stream of an epoch of which nothing was heard."""
    start = genesis(device, epoch)
    return Stream(
        device=device, epoch=epoch, contiguous=0, head=start, highest=0, gap_since_us=None, read_until=AHEAD_MAX
    )

"""Codes in view, or a recognised face, become a screen: judge, decide, save, and only then say what to show."""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta

from edge.core.credential import Admitted, NotAdmitted, judge_credential
from edge.core.reward import Grant, Refusal, RefusalReason, Standing, claim_of, decide_reward
from edge.core.screen import Screen, ScreenName
from edge.db import claims, instants, knowledge
from edge.db.database import Connection
from edge.flow.entrance import Entrance, Moment
from edge.flow.instants import Said, Wanted, settle_instant
from edge.flow.write import append_fact
from shared.answers import FeedName
from shared.business_day import ClockReading, instant_of, milliseconds
from shared.envelope import ClaimMade, VisitNoted
from shared.ids import ClaimId, MemberId
from shared.points import Points
from shared.policy import Means, Policy
from shared.receipts import MemberReceipt, write_receipt
from shared.tokens import TokenFault, parse_token

NOTE_AGAIN_AFTER = timedelta(hours=1)
"""Two visits of one member within an hour of unknown time are one: they would fall on the same day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A credential or a face that was accepted, with the digest of what it rested on."""

    admitted: Admitted
    evidence: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What came of a code or a face: the screen to show, whose it is (None: nobody's), and the envelope number if one
    was written. `shown` is what the member was known by, `receipt` the text that proves a claim just granted."""

    screen: Screen
    member: MemberId | None = None
    seq: int | None = None
    shown: Shown | None = None
    receipt: str | None = None


def admit_shown(entrance: Entrance, shown: Shown, moment: Moment, said: Said | None = None) -> Admission:
    """What an accepted credential leads to. Everything that is to be kept is committed when this returns.

    `said` is what the store's other kiosks said of the coupon, None when they were not asked.
    Raises: StorageFull, StorageDamaged.
    """
    with entrance.database.transaction() as connection:
        return replace(serve_member(connection, entrance, shown, moment, said=said), shown=shown)


def wanted_of(policy: Policy, grant: Grant) -> Wanted | None:
    """The coupon that comes with the grant, None under terms without one."""
    if policy.instant is None:
        return None
    return Wanted(terms=policy.instant, claim=grant.claim, member=grant.member, day=grant.business_day)


def judge_texts(entrance: Entrance, texts: tuple[str, ...], reading: ClockReading) -> Shown | Screen:
    """The one accepted credential among the texts, or the screen that says why there is none."""
    accepted: dict[MemberId, Shown] = {}
    phone_ahead_s: int | None = None
    for text in texts:
        match _judge_text(entrance, text, reading):
            case Shown() as shown:
                other = accepted.get(shown.admitted.member)
                if other is None or shown.admitted.means is Means.PHONE:
                    accepted[shown.admitted.member] = shown
            case NotAdmitted(fault=TokenFault.WRONG_TIME, phone_ahead_s=ahead):
                phone_ahead_s = ahead
            case NotAdmitted():
                pass
    if len(accepted) > 1:
        return Screen(name=ScreenName.ONE_CODE)
    if accepted:
        return next(iter(accepted.values()))
    if phone_ahead_s is not None:
        return Screen(name=ScreenName.WRONG_TIME, phone_ahead_s=phone_ahead_s)
    # A new kiosk has no keys to judge by until its first word with the cloud: a good code is not to be called invalid.
    return Screen(name=ScreenName.INVALID if entrance.issuers() else ScreenName.PAUSED)


def _judge_text(entrance: Entrance, text: str, reading: ClockReading) -> Shown | NotAdmitted:
    token = parse_token(text)
    if isinstance(token, TokenFault):
        return NotAdmitted(fault=token)
    facts = claims.credential_facts(entrance.database.connection, token.member)
    judged = judge_credential(token, entrance.issuers(), facts, reading)
    if isinstance(judged, NotAdmitted):
        return judged
    return Shown(admitted=judged, evidence=hashlib.sha256(text.encode()).digest())


def serve_member(
    connection: Connection,
    entrance: Entrance,
    shown: Shown,
    moment: Moment,
    *,
    noted_seq: int | None = None,
    said: Said | None = None,
) -> Admission:
    """Decides for a recognised member and writes what follows, inside the caller's transaction.

    `noted_seq` is the envelope of the visit being dated, when this is not a member at the door but one who was.
    `said` is what the store's other kiosks said of the coupon, None when they were not asked.
    """
    member = shown.admitted.member
    policy = knowledge.policy(connection)
    if policy is None:
        return Admission(screen=Screen(name=ScreenName.PAUSED), member=member)
    standing = load_standing(connection, entrance, policy, member, shown.admitted.means, moment.reading)
    decision = decide_reward(member, policy, standing, moment.reading)
    if isinstance(decision, Grant) and shown.admitted.repeated:
        # A copy of a phone's last step: good enough to say "collected", never good enough to be given.
        decision = Refusal(reason=RefusalReason.REPEATED)
    match decision:
        case Grant():
            seq = _save_grant(connection, entrance, shown, policy, standing.epoch, decision, moment, noted_seq, said)
            screen = _personal(connection, ScreenName.GREETING, member, decision.points, claim=decision.claim)
            receipt = _write_receipt(entrance, shown, policy, standing.epoch, decision, moment, seq)
            return Admission(screen=screen, member=member, seq=seq, receipt=receipt)
        case Refusal(reason=RefusalReason.TIME_UNKNOWN):
            return _admit_undated(connection, entrance, shown, policy, standing.epoch, moment)
        case Refusal():
            return Admission(screen=_refusal_screen(connection, decision, member, policy, moment), member=member)


def load_standing(
    connection: Connection,
    entrance: Entrance,
    policy: Policy,
    member: MemberId,
    means: Means,
    reading: ClockReading,
) -> Standing:
    """What this kiosk knows of the member and of its own right to grant."""
    epoch = knowledge.life(connection).epoch
    day = None if reading.instant is None else policy.calendar.business_day(reading.instant)
    deny_ms = knowledge.current_ms(connection, FeedName.DENY)
    policy_ms = knowledge.current_ms(connection, FeedName.POLICY)
    return Standing(
        means=means,
        epoch=epoch,
        revoked=knowledge.is_revoked(connection, entrance.device),
        collected=None if day is None else claims.collected(connection, claim_of(member, policy, day)),
        allotment=claims.allotment_of(connection, policy.campaign, epoch),
        deny_list_as_of=None if deny_ms is None else instant_of(deny_ms),
        policy_as_of=instant_of(policy.issued_ms if policy_ms is None else policy_ms),
    )


def _save_grant(
    connection: Connection,
    entrance: Entrance,
    shown: Shown,
    policy: Policy,
    epoch: int,
    grant: Grant,
    moment: Moment,
    noted_seq: int | None,
    said: Said | None,
) -> int:
    """Claim, coupon, allotment, outbox and credential step, in the caller's one transaction."""
    assert moment.reading.instant is not None
    wanted = wanted_of(policy, grant)
    is_dated = noted_seq is not None
    instant = (
        None if wanted is None else settle_instant(connection, entrance, wanted, moment, is_dated=is_dated, said=said)
    )
    fact = ClaimMade(
        claim=grant.claim,
        tenant=policy.tenant,
        store=policy.store,
        campaign=policy.campaign,
        rule=policy.rule,
        member=grant.member,
        business_day=grant.business_day.isoformat(),
        unit=grant.points.unit,
        amount=grant.points.amount,
        reduced=grant.reduced,
        means=shown.admitted.means,
        evidence=shown.evidence,
        step=shown.admitted.step,
        serial=shown.admitted.serial,
        allotment=grant.allotment,
        zone=policy.zone,
        cutoff_hour=policy.cutoff_hour,
        noted_seq=noted_seq,
        instant=instant,
    )
    seq = append_fact(
        connection,
        entrance,
        epoch,
        fact,
        moment,
        business_day=grant.business_day,
        policy_version=policy.version,
    )
    granted_ms = milliseconds(moment.reading.instant)
    claims.save_grant(connection, grant, policy.campaign, shown.admitted.means, granted_ms, epoch, seq)
    knowledge.raise_high_water(connection, granted_ms)
    if shown.admitted.step is not None and noted_seq is None:  # a visit's step was saved when it was noted
        claims.save_step(connection, grant.member, shown.admitted.step)
    return seq


def _write_receipt(
    entrance: Entrance, shown: Shown, policy: Policy, epoch: int, grant: Grant, moment: Moment, seq: int
) -> str:
    """The text with which the member proves the claim, should this kiosk never deliver it."""
    assert moment.reading.instant is not None
    receipt = MemberReceipt(
        device=entrance.device,
        epoch=epoch,
        seq=seq,
        policy_version=policy.version,
        wall_ms=milliseconds(moment.reading.instant),
        amount=grant.points.amount,
        reduced=grant.reduced,
        means=shown.admitted.means,
        serial=shown.admitted.serial or 0,
        claim=grant.claim,
    )
    return write_receipt(entrance.signing_key, receipt)


def _admit_undated(
    connection: Connection, entrance: Entrance, shown: Shown, policy: Policy, epoch: int, moment: Moment
) -> Admission:
    """Notes the visit unless this member's last one was within the hour, or the code is a copy of one that counted."""
    raw, admitted = moment.raw, shown.admitted
    noted_screen = _personal(connection, ScreenName.NOTED, admitted.member, None)
    last_ns = claims.last_noted_ns(connection, raw.boot, admitted.member)
    if last_ns is not None and raw.monotonic_ns - last_ns < NOTE_AGAIN_AFTER // timedelta(microseconds=1) * 1000:
        return Admission(screen=noted_screen, member=admitted.member)
    if admitted.repeated:
        return Admission(screen=Screen(name=ScreenName.INVALID), member=admitted.member)
    seq = _note_visit(connection, entrance, shown, policy, epoch, moment)
    return Admission(screen=noted_screen, member=admitted.member, seq=seq)


def _note_visit(
    connection: Connection, entrance: Entrance, shown: Shown, policy: Policy, epoch: int, moment: Moment
) -> int:
    """Writes the visit and returns its number."""
    raw, admitted = moment.raw, shown.admitted
    fact = VisitNoted(
        tenant=policy.tenant,
        store=policy.store,
        member=admitted.member,
        means=admitted.means,
        evidence=shown.evidence,
        step=admitted.step,
        serial=admitted.serial,
    )
    seq = append_fact(connection, entrance, epoch, fact, moment, business_day=None, policy_version=policy.version)
    claims.save_visit(
        connection,
        member=admitted.member,
        boot=raw.boot,
        monotonic_ns=raw.monotonic_ns,
        means=admitted.means,
        evidence=shown.evidence,
        step=admitted.step,
        serial=admitted.serial,
        epoch=epoch,
        seq=seq,
    )
    if admitted.step is not None:
        claims.save_step(connection, admitted.member, admitted.step)
    return seq


def _refusal_screen(
    connection: Connection, refusal: Refusal, member: MemberId, policy: Policy, moment: Moment
) -> Screen:
    match refusal.reason:
        case RefusalReason.COLLECTED:
            assert moment.reading.instant is not None
            claim = claim_of(member, policy, policy.calendar.business_day(moment.reading.instant))
            return _personal(connection, ScreenName.COLLECTED, member, refusal.collected, claim=claim)
        case RefusalReason.REPEATED:
            return Screen(name=ScreenName.INVALID)
        case RefusalReason.REVOKED | RefusalReason.NO_EPOCH | RefusalReason.POLICY_OVER_AGE:
            return Screen(name=ScreenName.PAUSED)
        case RefusalReason.NO_ALLOTMENT | RefusalReason.ALLOTMENT_ENDED | RefusalReason.EXHAUSTED:
            return _personal(connection, ScreenName.EXHAUSTED, member, None)
        case RefusalReason.TIME_UNKNOWN:
            raise AssertionError("a visit was to be noted")


def _personal(
    connection: Connection, name: ScreenName, member: MemberId, points: Points | None, claim: ClaimId | None = None
) -> Screen:
    """A screen with what the roster and the claim tell; a member the roster does not know is served without a name."""
    known = knowledge.known_member(connection, member)
    instant = None if claim is None else instants.instant_of(connection, claim)
    return Screen(
        name=name,
        nickname=None if known is None else known.nickname,
        language=None if known is None else known.language,
        points=None if points is None else points.amount,
        unit=None if points is None else points.unit,
        balance=None if known is None else known.balance + claims.unconfirmed_points(connection, member),
        claim=None if claim is None else claim.hex(),
        coupon=None if instant is None else instant.outcome,
        label=None if instant is None else instant.label,
        code=None if instant is None else instant.code,
        confirmed=None if known is None else known.coupon,
    )

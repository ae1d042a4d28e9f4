"""The path from bytes to a receipt: everything that kiosks said in a batch, judged and stored in one transaction.

The number of statements does not grow with the batch. Order of locks, so that workers wait and never deadlock: the
epochs' streams, allotments, what `lock_faces` locks (members, rosters, templates), groups of kiosks, rosters by store,
the ledger's head. The registry is read after the streams are locked, so an epoch that another worker has just set
aside is seen to be.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, assert_never

import msgspec
from sqlalchemy import Connection, func, select

from cloud.campaigns.actions import note_draws, record_draws
from cloud.campaigns.queries import lock_allotments
from cloud.campaigns.rules import AllotmentKey, Drawn
from cloud.claims.queries import (
    CLAIM,
    EnvelopeKey,
    MemberKey,
    StreamKey,
    TermsKey,
    claimants_of,
    coupons_due,
    find_envelopes,
    find_reviews,
    is_posted,
    lock_streams,
    read_links_ahead,
    read_streams,
    receipt_by_id,
    signing_key,
    speakers_of,
    stored_envelope,
    terms_of,
)
from cloud.claims.rules import (
    CARRIED,
    NUMBER_MAX,
    Claimant,
    Decision,
    Dispute,
    EpochState,
    Facts,
    Judgement,
    Link,
    Neighbours,
    Noted,
    Post,
    Quarantine,
    ReceiptRefusal,
    Reject,
    Repeat,
    ReviewRefusal,
    Speaker,
    Stream,
    Terms,
    TurnAway,
    draft_late,
    is_carried_only,
    is_note,
    iso_day,
    judge,
    judge_claim,
    member_named,
    number_fault,
    open_stream,
    read_receipt,
    receipt_doubt,
    receipt_fault,
    review_fault,
    size_fault,
    turn_away,
)
from cloud.claims.tables import (
    claim_receipt,
    envelope,
    envelope_review,
    envelope_stream,
    face_dispute,
    instant_right,
    instant_said,
    refused_envelope,
)
from cloud.devices.actions import keep_wraps, quarantine_epoch
from cloud.devices.rules import Wrapping
from cloud.kit.bulk import BulkInsert, InsertNew, Values
from cloud.kit.events import NewEvent, append
from cloud.kit.instants import to_microseconds
from cloud.ledger.actions import post
from cloud.ledger.queries import balances_of
from cloud.ledger.rules import AccountKey, Code, Conflict, Exists, LimitExceeded, Posted
from cloud.ledger.rules import Outcome as LedgerOutcome
from cloud.members.actions import (
    hold_roster,
    keep_face_proofs,
    keep_templates,
    lock_faces,
    mark_seen,
    note_coupons,
    record_spoken_consents,
)
from cloud.members.queries import store_words
from cloud.members.rules import Enrolment, FaceProof, SpokenConsent, StoreWord
from shared.answers import AllotmentIssued, Outcome, Reason, Receipt, Verdict
from shared.business_day import milliseconds
from shared.decoding import UNREADABLE
from shared.envelope import (
    Batch,
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
    encode,
    open_envelope,
)
from shared.ids import CLAIM_ID_BYTES, MEMBER_ID_BYTES, DeviceId, MemberId, StoreId, TenantId
from shared.instants import InstantOutcome
from shared.receipts import MemberReceipt, is_genuine, parse_receipt

RECEIPT_ID_BYTES = 16
REFUSED_KEPT_MAX = 10_000  # of one device: some 7 MB; a device that is turned away so often has been looked at

_s = envelope_stream.c
_new_streams = InsertNew(envelope_stream, list(_s))
_save_streams = BulkInsert(envelope_stream, list(_s), update=[_s.contiguous, _s.head, _s.highest, _s.gap_since_us])
_save_envelopes = BulkInsert(envelope, list(envelope.c))
_save_refused = InsertNew(refused_envelope, list(refused_envelope.c))
_new_receipts = InsertNew(claim_receipt, list(claim_receipt.c))
_save_said = BulkInsert(instant_said, list(instant_said.c))
_count_rights = BulkInsert(instant_right, list(instant_right.c), add=[instant_right.c.shown, instant_right.c.deferred])
_save_disputes = InsertNew(face_dispute, list(face_dispute.c))

Kind = TypeVar("Kind")


def apply_batches(
    connection: Connection, inbound: Sequence[tuple[DeviceId, Batch]], now: datetime
) -> tuple[tuple[DeviceId, Receipt | AllotmentIssued], ...]:
    """What to tell whom once the caller's writing transaction is committed: a receipt an epoch, then new allotments.

    What an unknown device says is dropped. Envelopes may come in any order and as often as they like.
    """
    said = [_read_place(device, one) for device, batch in inbound for one in batch.envelopes]
    streams = lock_streams(connection, {one.key[:2] for one in said if one.key is not None})
    speakers = speakers_of(connection, {device for device, _ in inbound})
    heard = [_open(one, speakers[one.device]) for one in said if one.device in speakers]
    _add_streams(connection, streams, heard)
    work = _Work(streams=streams, found=_read_places(connection, streams, heard), now=now)
    terms, claimants = _read_terms(connection, heard), _read_claimants(connection, heard)
    for one in heard:
        work.take(one, _judge(one, work, terms, claimants))
    told = _carry_out(connection, work, terms)
    return (*_receipts(connection, work), *told)


# -- what was said -----------------------------------------------------------------------------------------------


class _Place(msgspec.Struct, frozen=True):
    """Where a header says it belongs; read from headers of versions we do not know, too, so that they are answered."""

    epoch: int
    seq: int


class _FactKind(msgspec.Struct, frozen=True):
    """What a payload says it is; read from payloads that did not prove to be a device's word, too."""

    type: str


_place_decoder = msgspec.msgpack.Decoder(_Place)
_kind_decoder = msgspec.msgpack.Decoder(_FactKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """An envelope from a device, and where it says it belongs; None when that cannot be read or be true."""

    device: DeviceId
    envelope: Envelope
    key: EnvelopeKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """An envelope of a registered device, opened or found wanting. `key` as in _Said."""

    speaker: Speaker
    envelope: Envelope
    read: Opened | EnvelopeFault
    key: EnvelopeKey | None


def _read_place(device: DeviceId, said: Envelope) -> _Said:
    try:
        place = _place_decoder.decode(said.header)
    except msgspec.DecodeError:
        return _Said(device=device, envelope=said, key=None)
    fits = 0 <= place.epoch <= NUMBER_MAX and 1 <= place.seq <= NUMBER_MAX
    return _Said(device=device, envelope=said, key=(device, place.epoch, place.seq) if fits else None)


def _open(said: _Said, speaker: Speaker) -> _Heard:
    read = size_fault(said.envelope) or open_envelope(said.envelope, said.device, signing_key(speaker.public_key))
    if isinstance(read, Opened):
        read = number_fault(read.header) or read
    return _Heard(speaker=speaker, envelope=said.envelope, read=read, key=said.key)


# -- what is known -----------------------------------------------------------------------------------------------


def _opened(heard: Iterable[_Heard]) -> Iterable[tuple[_Heard, Opened]]:
    return ((one, one.read) for one in heard if isinstance(one.read, Opened))


def _claims(heard: Iterable[_Heard]) -> Iterable[tuple[_Heard, Header, ClaimMade]]:
    for one, opened in _opened(heard):
        if isinstance(opened.fact, ClaimMade):
            yield one, opened.header, opened.fact


def _add_streams(connection: Connection, streams: dict[StreamKey, Stream], heard: Sequence[_Heard]) -> None:
    """Opens and locks the streams of issued epochs that speak for the first time."""
    epochs = {
        (one.speaker.device, opened.header.epoch)
        for one, opened in _opened(heard)
        if one.speaker.epoch_state(opened.header.epoch) is not EpochState.UNKNOWN
    }
    missing = sorted(epochs - streams.keys())
    if missing:
        _new_streams.run(connection, [_stream_row(open_stream(*key)) for key in missing])
        streams.update(lock_streams(connection, missing))


def _read_places(
    connection: Connection, streams: Mapping[StreamKey, Stream], heard: Sequence[_Heard]
) -> dict[EnvelopeKey, Verdict]:
    """The verdicts on what is stored already of this batch; the streams learn the links around it."""
    wanted = {
        (stream.device, stream.epoch, seq)
        for one, opened in _opened(heard)
        if (stream := streams.get((one.speaker.device, opened.header.epoch))) is not None
        for seq in stream.unread(opened.header.seq)
    }
    read_links_ahead(connection, [stream for stream in streams.values() if stream.contiguous < stream.highest])
    found = find_envelopes(connection, wanted)
    for (device, epoch, seq), place in found.items():
        streams[device, epoch].links[seq] = place.link
    return {key: place.verdict for key, place in found.items()}


def _read_terms(connection: Connection, heard: Sequence[_Heard]) -> dict[TermsKey, Terms]:
    return terms_of(connection, {(one.speaker.store, header.policy_version) for one, header, _ in _claims(heard)})


def _read_claimants(connection: Connection, heard: Sequence[_Heard]) -> dict[MemberKey, Claimant]:
    named = ((one.speaker.tenant, member_named(opened.fact)) for one, opened in _opened(heard) if _needs_member(opened))
    keys = {(tenant, MemberId(id)) for tenant, id in named if id is not None and len(id) == MEMBER_ID_BYTES}
    return claimants_of(connection, keys)


def _needs_member(opened: Opened) -> bool:
    """True for facts that are judged by whom they name; a visit is noted without looking."""
    return not isinstance(opened.fact, VisitNoted)


# -- judging, one after the other --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """An envelope that is to be stored under its number, with the judgement on it."""

    heard: _Heard
    opened: Opened
    judgement: Post | Noted | Reject | Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """An envelope that is to be kept aside."""

    heard: _Heard
    judgement: TurnAway


@dataclass(slots=True, kw_only=True)
class _Work:
    """A batch under way: what was judged so far, and what is to be told of each epoch.

    `found` are the verdicts of earlier batches; `verdicts` what goes into the receipts, by epoch and number.
    """

    streams: Mapping[StreamKey, Stream]
    found: Mapping[EnvelopeKey, Verdict]
    now: datetime
    judged: list[_Judged] = field(default_factory=list)
    refused: list[_Refused] = field(default_factory=list)
    quarantined: set[StreamKey] = field(default_factory=set)
    verdicts: dict[StreamKey, dict[int, Verdict]] = field(default_factory=dict)

    def epoch_state(self, speaker: Speaker, epoch: int) -> EpochState:
        """The registry's word, and what this batch has found out since."""
        if (speaker.device, epoch) in self.quarantined:
            return EpochState.QUARANTINED
        return speaker.epoch_state(epoch)

    def take(self, heard: _Heard, judgement: Judgement) -> None:
        """Notes what is to be done about the envelope."""
        match judgement:
            case TurnAway():
                self.refused.append(_Refused(heard=heard, judgement=judgement))
                self._answer_refused(heard, judgement)
            case Repeat():
                self._repeat(heard)
            case _:
                self._place(heard, judgement)
        if isinstance(judgement, TurnAway | Quarantine) and judgement.whole_epoch:
            assert heard.key is not None
            self.quarantined.add(heard.key[:2])

    def tell(self, stream: StreamKey, verdict: Verdict) -> None:
        """The verdict goes into the epoch's receipt."""
        self.verdicts.setdefault(stream, {})[verdict.seq] = verdict

    def _answer_refused(self, heard: _Heard, judgement: TurnAway) -> None:
        """What did not prove to be the device's word is answered, but never speaks over a number that is taken."""
        if heard.key is None:
            return
        device, epoch, seq = heard.key
        stream = self.streams.get((device, epoch))
        told = self.verdicts.setdefault((device, epoch), {})
        if isinstance(heard.read, Opened) or stream is None or not stream.holds(seq):
            told[seq] = Verdict(seq=seq, outcome=judgement.outcome, reason=judgement.reason)

    def _repeat(self, heard: _Heard) -> None:
        """The verdict of before; a twin in the same batch is told of once, when the first is carried out."""
        assert heard.key is not None
        earlier = self.found.get(heard.key)
        if earlier is not None:
            self.tell(heard.key[:2], earlier)

    def _place(self, heard: _Heard, judgement: Post | Noted | Reject | Quarantine) -> None:
        assert isinstance(heard.read, Opened)
        header = heard.read.header
        stream = self.streams[heard.speaker.device, header.epoch]
        stream.place(header.seq, Link(chain=heard.read.chain, previous=header.previous))
        self.judged.append(_Judged(heard=heard, opened=heard.read, judgement=judgement))


def _judge(
    heard: _Heard, work: _Work, terms: Mapping[TermsKey, Terms], claimants: Mapping[MemberKey, Claimant]
) -> Judgement:
    """The judgement on one envelope, with what this batch has placed before it."""
    speaker, read = heard.speaker, heard.read
    if isinstance(read, EnvelopeFault):
        return turn_away(read)
    named = member_named(read.fact)
    claimant = None if named is None else claimants.get((speaker.tenant, MemberId(named)))
    header = read.header
    stream = work.streams.get((speaker.device, header.epoch))
    return judge(
        read,
        Facts(
            speaker=speaker,
            epoch=work.epoch_state(speaker, header.epoch),
            neighbours=Neighbours() if stream is None else stream.neighbours(header.seq),
            terms=terms.get((speaker.store, header.policy_version)),
            claimant=claimant,
            now_ms=milliseconds(work.now),
        ),
    )


# -- carrying it out ---------------------------------------------------------------------------------------------


def _carry_out(
    connection: Connection, work: _Work, terms: Mapping[TermsKey, Terms]
) -> tuple[tuple[DeviceId, AllotmentIssued], ...]:
    """Stores and posts all that was judged; the allotments that kiosks have to be told of."""
    drawn = _sum_draws((one.heard.speaker, one.opened.header.epoch, one.judgement) for one in work.judged)
    allotments = lock_allotments(connection, drawn.keys())
    _follow_faces(connection, work)
    _mark_seen(connection, work)
    for device, epoch in sorted(work.quarantined):
        quarantine_epoch(connection, device, epoch, work.now)
    verdicts = _settle(connection, work)
    _record_coupons(connection, work, terms)
    recorded_us = to_microseconds(work.now)
    rows = zip(work.judged, verdicts, strict=True)
    _save_envelopes.run(connection, [_envelope_row(one, verdict, recorded_us) for one, verdict in rows])
    _keep_aside(connection, work.refused, recorded_us)
    told = record_draws(connection, allotments, drawn, work.now)
    return tuple((DeviceId(issued.device), issued) for issued in told)


def _sum_draws(judged: Iterable[tuple[Speaker, int, Judgement]]) -> dict[AllotmentKey, Drawn]:
    """What the kiosks drew from their allotments, posted or not: who spoke in which epoch, and what became of it."""
    drawn: dict[AllotmentKey, Drawn] = {}
    for speaker, epoch, judgement in judged:
        if isinstance(judgement, Post | Reject) and judgement.campaign is not None:
            campaign = judgement.campaign
            key = AllotmentKey(tenant=speaker.tenant, campaign=campaign, device=speaker.device, epoch=epoch)
            before = drawn.get(key, Drawn(claims=0, points=0))
            drawn[key] = Drawn(claims=before.claims + 1, points=before.points + judgement.amount)
    return drawn


def _mark_seen(connection: Connection, work: _Work) -> None:
    seen = _sightings(work)
    for store in sorted(seen):
        mark_seen(connection, store, seen[store], work.now)


def _sightings(work: _Work) -> dict[StoreId, list[MemberId]]:
    """Who was seen where: whose claim is good, and who let the store's kiosks learn their face."""
    seen: dict[StoreId, list[MemberId]] = {}
    for one in work.judged:
        store = one.heard.speaker.store
        match one.judgement:
            case Post(member=member) | Noted(effect=SpokenConsent(member=member, given=True)):
                seen.setdefault(store, []).append(member)
            case _:
                continue
    return seen


def _follow_faces(connection: Connection, work: _Work) -> None:
    """Consents, secrets, templates, proofs and disputes go where they belong. Without any of them nothing is asked.

    Consents and secrets first, whatever order they came in: templates rest on both.
    """
    said = (one.judgement.effect for one in work.judged if isinstance(one.judgement, Noted | Quarantine))
    effects = [effect for effect in said if effect is not None]
    if not effects:
        return
    consents, wraps = _of(effects, SpokenConsent), _of(effects, Wrapping)
    enrolments = _allowed(connection, _of(effects, Enrolment))
    named = {(one.tenant, one.member) for one in consents} | {(one.tenant, one.member) for one in enrolments}
    lock_faces(
        connection,
        named,
        rosters=_sightings(work).keys(),
        templates={one.store for one in wraps} | {one.store for one in enrolments},
    )
    keep_wraps(connection, wraps, work.now)
    record_spoken_consents(connection, consents, work.now)
    keep_templates(connection, enrolments, work.now)
    keep_face_proofs(connection, _of(effects, FaceProof), work.now)
    _save_disputes.run(connection, [_dispute_row(one, work.now) for one in _of(effects, Dispute)])


def _allowed(connection: Connection, enrolments: Sequence[Enrolment]) -> list[Enrolment]:
    """Those of the templates that may be taken at all: for another store only where the member's consent names it."""
    given = {one.member for one in enrolments if one.given_by is not None}
    words = store_words(connection, given) if given else {}
    return [
        one for one in enrolments if one.given_by is None or words.get((one.member, one.store)) is StoreWord.ALLOWED
    ]


def _of(effects: Iterable[object], kind: type[Kind]) -> list[Kind]:
    return [effect for effect in effects if isinstance(effect, kind)]


def _dispute_row(one: Dispute, now: datetime) -> Values:
    place = (one.origin.device, one.origin.epoch, one.origin.seq, one.tenant, one.store)
    return (*place, one.member, one.claim, one.wall_ms, to_microseconds(now))


def _settle(connection: Connection, work: _Work) -> list[Verdict]:
    """The verdict on each judged envelope, the good claims posted; all are to be told."""
    posts = [one.judgement for one in work.judged if isinstance(one.judgement, Post)]
    outcomes = _post(connection, posts, work.now)
    balances = _balances_of_repeated(connection, posts, outcomes)
    settled = iter(zip(posts, outcomes, strict=True))
    verdicts = []
    for one in work.judged:
        seq = one.opened.header.seq
        match one.judgement:
            case Post():
                posted, outcome = next(settled)
                verdict = _verdict_of(seq, outcome, balances.get(posted.draft.postings[1].account))
            case Noted():
                verdict = Verdict(seq=seq, outcome=Outcome.NOTED)
            case Reject(reason=reason):
                verdict = Verdict(seq=seq, outcome=Outcome.REJECTED, reason=reason)
            case Quarantine(reason=reason):
                verdict = Verdict(seq=seq, outcome=Outcome.QUARANTINED, reason=reason)
            case _:
                assert_never(one.judgement)
        work.tell((one.heard.speaker.device, one.opened.header.epoch), verdict)
        verdicts.append(verdict)
    return verdicts


def _post(connection: Connection, posts: Sequence[Post], now: datetime) -> list[LedgerOutcome]:
    """What the ledger says of each claim. Where the kiosk's allotment does not pay, the contingency is asked."""
    outcomes = list(post(connection, [one.draft for one in posts], recorded_at=now))
    unpaid = [number for number, outcome in enumerate(outcomes) if _is_unallotted(outcome)]
    late = post(connection, [draft_late(posts[number]) for number in unpaid], recorded_at=now)
    for number, outcome in zip(unpaid, late, strict=True):
        outcomes[number] = outcome
    return outcomes


def _is_unallotted(outcome: LedgerOutcome) -> bool:
    return isinstance(outcome, LimitExceeded) and outcome.account.code is Code.KIOSK_BUDGET


def _balances_of_repeated(
    connection: Connection, posts: Sequence[Post], outcomes: Sequence[LedgerOutcome]
) -> dict[AccountKey, int]:
    """What the members of claims that had been posted before hold now."""
    repeated = {
        one.draft.postings[1].account
        for one, outcome in zip(posts, outcomes, strict=True)
        if isinstance(outcome, Exists | Conflict)
    }
    held = balances_of(connection, list(repeated)) if repeated else {}
    return {key: balance.amount for key, balance in held.items()}


def _verdict_of(seq: int, outcome: LedgerOutcome, held: int | None) -> Verdict:
    """What the ledger's answer means for a claim. `held` is the member's balance when the claim was posted before."""
    match outcome:
        case Posted(balances=(_, member)):
            return Verdict(seq=seq, outcome=Outcome.POSTED, balance=member.amount)
        case Exists() | Conflict():  # the other entry under this id is the same claim, made at another door
            return Verdict(seq=seq, outcome=Outcome.EXISTS, balance=held)
        case LimitExceeded():
            return Verdict(seq=seq, outcome=Outcome.REJECTED, reason=Reason.NO_BUDGET)
        case _:
            raise AssertionError("a grant has two legs")


def _envelope_row(one: _Judged, verdict: Verdict, recorded_us: int) -> Values:
    header, fact, said, speaker = one.opened.header, one.opened.fact, one.heard.envelope, one.heard.speaker
    claim = fact if isinstance(fact, ClaimMade) else None
    salt, payload = (None, None) if is_carried_only(fact) else (said.salt, said.payload)
    return (
        header.device,
        header.epoch,
        header.seq,
        speaker.tenant,
        speaker.store,
        _kind_of(fact),
        None if claim is None else iso_day(claim.business_day),
        header.wall_ms,
        member_named(fact),
        None if claim is None else claim.claim,
        claim.amount if claim is not None and abs(claim.amount) <= NUMBER_MAX else None,
        verdict.outcome.value,
        None if verdict.reason is None else verdict.reason.value,
        verdict.balance,
        said.header,
        said.signature,
        salt if payload is not None else None,
        payload if salt is not None else None,
        one.opened.chain,
        recorded_us,
    )


def _kind_of(fact: Fact | None) -> str:
    match fact:
        case ClaimMade():
            return CLAIM
        case VisitNoted():
            return "visit"
        case ClockStepped():
            return "clock"
        case ConsentSaid():
            return "consent"
        case TemplateEnrolled():
            return "template"
        case TemplateShared():
            return "shared"
        case TemplateForgotten():
            return "forgotten"
        case SecretWrapped():
            return "secret"
        case FaceDisputed():
            return "disputed"
        case None:
            return "erased"
        case _:
            assert_never(fact)


def _keep_aside(connection: Connection, refused: Sequence[_Refused], recorded_us: int) -> None:
    """Keeps what was turned away whole, the same bytes once, and no more of one device than anybody will read."""
    if not refused:
        return
    c = refused_envelope.c
    devices = sorted({one.heard.speaker.device for one in refused})
    counts = connection.execute(select(c.device, func.count()).where(c.device.in_(devices)).group_by(c.device))
    room = {device: REFUSED_KEPT_MAX - count for device, count in counts}
    rows = []
    for one in refused:
        device = one.heard.speaker.device
        room[device] = room.get(device, REFUSED_KEPT_MAX) - 1
        if room[device] >= 0:
            rows.append(_refused_row(one, recorded_us))
    _save_refused.run(connection, rows)


def _refused_row(one: _Refused, recorded_us: int) -> Values:
    speaker, key, said = one.heard.speaker, one.heard.key, encode(_without_carried(one.heard.envelope))
    return (
        hashlib.sha256(b"DSR1" + speaker.device.encode() + b"\0" + said).digest(),
        speaker.device,
        speaker.tenant,
        speaker.store,
        None if key is None else key[1],
        None if key is None else key[2],
        one.judgement.outcome.value,
        one.judgement.reason.value,
        said,
        recorded_us,
    )


def _without_carried(said: Envelope) -> Envelope:
    """The envelope, without its payload when that may be a template or a secret: neither is ever kept aside."""
    if said.payload is None:
        return said
    try:
        kind = _kind_decoder.decode(said.payload).type
    except UNREADABLE:
        return said
    return msgspec.structs.replace(said, salt=None, payload=None) if kind in CARRIED else said


# -- what a person decides ---------------------------------------------------------------------------------------

REVIEWED = "claims.reviewed"  # the body is the envelope's device, epoch and number, and the outcome, as JSON
REVIEWS_TOLD_MAX = 200  # in one transaction; the others are next


def review_envelope(
    connection: Connection, key: EnvelopeKey, decision: Decision, now: datetime
) -> Verdict | ReviewRefusal:
    """The verdict that follows from a person's decision about a quarantined envelope: final, and told to its kiosk.

    A released claim is judged as if it stood in its place, and posts or is rejected for what is wrong with it. What is
    not released is rejected for the reason that it waited for.
    """
    device, epoch, seq = key
    streams = lock_streams(connection, [(device, epoch)])
    speaker = speakers_of(connection, [device]).get(device)
    said, found = stored_envelope(connection, key), find_envelopes(connection, [key]).get(key)
    if speaker is None or said is None or found is None or not streams:
        return ReviewRefusal.UNKNOWN_ENVELOPE
    if find_reviews(connection, [key]):
        return ReviewRefusal.DECIDED
    opened = open_envelope(said, device, signing_key(speaker.public_key))
    assert isinstance(opened, Opened), "only what could be opened was given a number"
    fault = review_fault(decision, found.verdict, opened.fact)
    if fault is not None:
        return fault
    if decision.is_released and isinstance(opened.fact, ClaimMade):
        verdict = _release(connection, speaker, opened.header, opened.fact, now)
    else:
        verdict = Verdict(seq=seq, outcome=Outcome.REJECTED, reason=found.verdict.reason)
    place = {"device": device, "epoch": epoch, "seq": seq}
    connection.execute(
        envelope_review.insert().values(
            **place,
            tenant=speaker.tenant,
            store=speaker.store,
            reviewer=decision.reviewer,
            note=decision.note.strip(),
            outcome=verdict.outcome.value,
            reason=None if verdict.reason is None else verdict.reason.value,
            balance=verdict.balance,
            reviewed_at=now,
        )
    )
    body = msgspec.json.encode(place | {"outcome": verdict.outcome.value, "by": decision.reviewer})
    append(connection, [NewEvent(topic=REVIEWED, tenant=speaker.tenant, body=body)], recorded_at=now)
    return verdict


def tell_reviews(connection: Connection, now: datetime) -> tuple[tuple[DeviceId, Receipt], ...]:
    """The receipts of decisions that no kiosk was told yet; from now on they count as told.

    One that is lost on the way is not sent again by itself; whoever repeats the envelope is told.
    """
    c = envelope_review.c
    query = select(c.device, c.epoch, c.seq).where(c.told_at.is_(None)).order_by(c.device, c.epoch, c.seq)
    rows = connection.execute(query.limit(REVIEWS_TOLD_MAX).with_for_update(skip_locked=True)).all()
    keys = [(DeviceId(row.device), row.epoch, row.seq) for row in rows]
    found = find_envelopes(connection, keys)
    streams = read_streams(connection, {key[:2] for key in keys})
    told: dict[StreamKey, dict[int, Verdict]] = {}
    for key in keys:
        told.setdefault(key[:2], {})[key[2]] = found[key].verdict
        of_key = (c.device == key[0]) & (c.epoch == key[1]) & (c.seq == key[2])
        connection.execute(envelope_review.update().where(of_key).values(told_at=now))
    return tuple(
        (
            stream[0],
            Receipt(
                device=stream[0],
                epoch=stream[1],
                contiguous=streams[stream].contiguous,
                head=streams[stream].head,
                verdicts=tuple(verdicts[seq] for seq in sorted(verdicts)),
            ),
        )
        for stream, verdicts in told.items()
    )


def hand_in_receipt(
    connection: Connection, tenant: TenantId, member: MemberId, text: str, now: datetime
) -> Verdict | ReceiptRefusal:
    """What becomes of a kiosk's receipt that the member hands in: posted unless the kiosk delivered the claim before.

    The claim's id is the same either way, so it posts once, whichever comes first. Of a revoked kiosk or a set aside
    epoch it waits for a person. The kiosk's draw is not counted here but when its envelope comes: until then less is
    allotted, never more. Handed in again it is what it was.
    """
    read = parse_receipt(text.strip())
    if read is None:
        return ReceiptRefusal.UNREADABLE
    receipt = read.receipt
    speaker = speakers_of(connection, [receipt.device]).get(receipt.device)
    if speaker is None or speaker.tenant != tenant:
        return ReceiptRefusal.UNKNOWN_DEVICE
    if not is_genuine(read, signing_key(speaker.public_key)):
        return ReceiptRefusal.FORGED
    id = hashlib.sha256(b"DSR2" + member + text.strip().encode()).digest()[:RECEIPT_ID_BYTES]
    known = receipt_by_id(connection, id)
    if known is not None:
        return known.verdict
    fault = receipt_fault(receipt, milliseconds(now))
    if fault is not None:
        return fault
    judged = _judge_receipt(connection, speaker, receipt, member, now)
    if isinstance(judged, Reject) and judged.reason is Reason.WRONG_CLAIM_ID:
        return ReceiptRefusal.ANOTHERS
    doubt = receipt_doubt(speaker, receipt.epoch)
    if doubt is not None and isinstance(judged, Post) and not is_posted(connection, tenant, judged.draft.id):
        verdict = Verdict(seq=receipt.seq, outcome=Outcome.QUARANTINED, reason=doubt)
    else:
        verdict = _conclude(connection, speaker, receipt.seq, judged, now)
    _new_receipts.run(
        connection,
        [
            (
                id,
                tenant,
                speaker.store,
                receipt.device,
                receipt.epoch,
                receipt.seq,
                member,
                receipt.claim,
                receipt.amount,
                text.strip(),
                verdict.outcome.value,
                None if verdict.reason is None else verdict.reason.value,
                verdict.balance,
                to_microseconds(now),
                None,
                None,
            )
        ],
    )
    return verdict


def review_receipt(connection: Connection, id: bytes, decision: Decision, now: datetime) -> Verdict | ReviewRefusal:
    """The verdict that follows from a person's decision about a receipt in quarantine: final."""
    known = receipt_by_id(connection, id)
    if known is None:
        return ReviewRefusal.UNKNOWN_ENVELOPE
    if known.outcome is not Outcome.QUARANTINED:
        return ReviewRefusal.DECIDED if known.reviewer else ReviewRefusal.NOT_QUARANTINED
    if not is_note(decision.note):
        return ReviewRefusal.UNUSABLE_NOTE
    read, speaker = parse_receipt(known.text), speakers_of(connection, [known.device]).get(known.device)
    assert read is not None, "only what could be read was kept"
    assert speaker is not None, "a device that was confirmed stays so"
    if decision.is_released:
        judged = _judge_receipt(connection, speaker, read.receipt, known.member, now)
        verdict = _conclude(connection, speaker, known.seq, judged, now)
    else:
        verdict = Verdict(seq=known.seq, outcome=Outcome.REJECTED, reason=known.reason)
    connection.execute(
        claim_receipt.update()
        .where(claim_receipt.c.id == id)
        .values(
            outcome=verdict.outcome.value,
            reason=None if verdict.reason is None else verdict.reason.value,
            balance=verdict.balance,
            reviewer=decision.reviewer,
            note=decision.note.strip(),
        )
    )
    body = msgspec.json.encode({"receipt": id.hex(), "outcome": verdict.outcome.value, "by": decision.reviewer})
    append(connection, [NewEvent(topic=REVIEWED, tenant=known.tenant, body=body)], recorded_at=now)
    return verdict


def _judge_receipt(
    connection: Connection, speaker: Speaker, receipt: MemberReceipt, member: MemberId, now: datetime
) -> Post | Reject:
    key = (speaker.store, receipt.policy_version)
    terms = terms_of(connection, [key]).get(key)
    if terms is None:
        return Reject(reason=Reason.UNKNOWN_POLICY)
    header, claim = read_receipt(receipt, member, terms.policy)
    return _judge_released(connection, speaker, header, claim, now)


def _release(connection: Connection, speaker: Speaker, header: Header, claim: ClaimMade, now: datetime) -> Verdict:
    """The verdict on a claim that a person lets through, posted when it is good."""
    judged = _judge_released(connection, speaker, header, claim, now)
    drawn = _sum_draws([(speaker, header.epoch, judged)])
    held = lock_allotments(connection, drawn.keys())
    verdict = _conclude(connection, speaker, header.seq, judged, now)
    note_draws(connection, held, drawn, now)
    return verdict


def _judge_released(
    connection: Connection, speaker: Speaker, header: Header, claim: ClaimMade, now: datetime
) -> Post | Reject:
    """The judgement on a claim by what it says, wherever it stands."""
    terms_key, member_key = (speaker.store, header.policy_version), (speaker.tenant, MemberId(claim.member))
    is_id = len(claim.member) == MEMBER_ID_BYTES
    facts = Facts(
        speaker=speaker,
        epoch=EpochState.OPEN,
        neighbours=Neighbours(),
        terms=terms_of(connection, [terms_key]).get(terms_key),
        claimant=claimants_of(connection, [member_key]).get(member_key) if is_id else None,
        now_ms=milliseconds(now),
    )
    return judge_claim(header, claim, facts)


def _conclude(connection: Connection, speaker: Speaker, seq: int, judged: Post | Reject, now: datetime) -> Verdict:
    """The verdict on a claim that comes alone, posted when it is good."""
    if isinstance(judged, Reject):
        return Verdict(seq=seq, outcome=Outcome.REJECTED, reason=judged.reason)
    mark_seen(connection, speaker.store, [judged.member], now)
    outcomes = _post(connection, [judged], now)
    balances = _balances_of_repeated(connection, [judged], outcomes)
    return _verdict_of(seq, outcomes[0], balances.get(judged.draft.postings[1].account))


# -- coupons -----------------------------------------------------------------------------------------------------


def _record_coupons(connection: Connection, work: _Work, terms: Mapping[TermsKey, Terms]) -> None:
    """What kiosks said of coupons is kept, and counted by claim.

    A coupon that was shown counts whatever became of its claim; a deferred one only where the claim stands.
    """
    said = [
        (one, fact, fact.instant)
        for one in work.judged
        if isinstance(fact := one.opened.fact, ClaimMade) and fact.instant is not None and _counts(one, fact)
    ]
    if not said:
        return
    recorded_us = to_microseconds(work.now)
    _save_said.run(connection, [_said_row(one, instant, recorded_us) for one, _, instant in said])
    rights: dict[bytes, Values] = {}
    shown: Counter[bytes] = Counter()
    deferred: Counter[bytes] = Counter()
    for one, fact, instant in said:
        claim = _claim_counted(one, fact)
        rights[claim] = _right_row(one, fact, instant, terms)
        (shown if instant.outcome is InstantOutcome.SHOWN else deferred)[claim] += 1
    rows = [(claim, *rights[claim], shown[claim], deferred[claim], None) for claim in sorted(rights)]
    _count_rights.run(connection, rows)


def _counts(one: _Judged, fact: ClaimMade) -> bool:
    if isinstance(one.judgement, Post):
        return True
    is_shown = fact.instant is not None and fact.instant.outcome is InstantOutcome.SHOWN
    return is_shown and len(fact.claim) == CLAIM_ID_BYTES


def _claim_counted(one: _Judged, fact: ClaimMade) -> bytes:
    """The claim as the ledger names it: two pseudonyms that were merged are one person."""
    return one.judgement.draft.id if isinstance(one.judgement, Post) else fact.claim


def _said_row(one: _Judged, instant: InstantSaid, recorded_us: int) -> Values:
    header, fact = one.opened.header, one.opened.fact
    assert isinstance(fact, ClaimMade)
    why = None if instant.why is None else instant.why.value
    place = (header.device, header.epoch, header.seq, _claim_counted(one, fact))
    return (*place, instant.outcome.value, why, instant.code, recorded_us)


def _right_row(one: _Judged, fact: ClaimMade, instant: InstantSaid, terms: Mapping[TermsKey, Terms]) -> Values:
    """All that the right holds besides its counts."""
    speaker = one.heard.speaker
    known = terms.get((speaker.store, one.opened.header.policy_version))
    label = instant.series if known is None or known.policy.instant is None else known.policy.instant.label
    member = one.judgement.member if isinstance(one.judgement, Post) else None
    day = iso_day(fact.business_day) or ""
    return (speaker.tenant, speaker.store, fact.campaign, instant.series, label, day, member)


def confirm_coupons(connection: Connection, store: StoreId, now: datetime) -> int:
    """Confirms the store's deferred coupons that nobody can have shown any more; returns how many.

    COUPONS_AT_ONCE at most, the oldest days first. Locks the store's roster, then the coupons: the order of batches.
    """
    hold_roster(connection, store)
    due = coupons_due(connection, store, now, is_locked=True)
    if due:
        ids = [coupon.claim for coupon in due]
        confirmed = instant_right.update().where(instant_right.c.claim.in_(ids))
        connection.execute(confirmed.values(confirmed_us=to_microseconds(now)))
        note_coupons(connection, store, {coupon.member: coupon.label for coupon in due})
    return len(due)


# -- receipts ----------------------------------------------------------------------------------------------------


def _receipts(connection: Connection, work: _Work) -> list[tuple[DeviceId, Receipt]]:
    """A receipt for each epoch that was heard; how far it was heard is stored."""
    now_us = to_microseconds(work.now)
    told = [_receipt(key, verdicts, work.streams.get(key), now_us) for key, verdicts in sorted(work.verdicts.items())]
    moved = (work.streams[key] for key in sorted(work.verdicts) if key in work.streams)
    _save_streams.run(connection, [_stream_row(stream) for stream in moved])
    return told


def _receipt(
    key: StreamKey, verdicts: Mapping[int, Verdict], stream: Stream | None, now_us: int
) -> tuple[DeviceId, Receipt]:
    """The receipt of one epoch. An epoch that was never issued is told that nothing of it is stored."""
    device, epoch = key
    heard = open_stream(device, epoch) if stream is None else stream
    receipt = Receipt(
        device=device,
        epoch=epoch,
        contiguous=heard.contiguous,
        head=heard.head,
        verdicts=tuple(verdicts[seq] for seq in sorted(verdicts)),
        missing=heard.missing(now_us),
    )
    return device, receipt


def _stream_row(stream: Stream) -> Values:
    return (stream.device, stream.epoch, stream.contiguous, stream.head, stream.highest, stream.gap_since_us)

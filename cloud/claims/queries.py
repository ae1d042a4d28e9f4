"""The facts that judging a batch needs, each kind in a fixed number of statements, and the lists people read."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row, Select, func, select, tuple_

from cloud.catalogue.queries import store_by_id
from cloud.catalogue.tables import policy
from cloud.claims.rules import AHEAD_MAX, Claimant, KioskHeard, Link, Speaker, Stream, Terms, coupons_lost, is_day_told
from cloud.claims.tables import (
    WAITING_RIGHT,
    claim_receipt,
    envelope,
    envelope_review,
    envelope_stream,
    face_dispute,
    instant_right,
    refused_envelope,
)
from cloud.devices.queries import device_for_ingest, kiosks_of, statuses_of
from cloud.kit.bulk import KeyedSelect
from cloud.kit.instants import from_microseconds
from cloud.ledger.tables import journal_entry
from cloud.members.queries import member_facts
from cloud.members.tables import member_card, member_phone
from shared.answers import Outcome, Reason, Verdict
from shared.business_day import instant_of, milliseconds
from shared.envelope import Envelope, EnvelopeFault, read_header
from shared.ids import DeviceId, MemberId, StoreId, TenantId
from shared.policy import Policy
from shared.signing import load_public_key

StreamKey = tuple[DeviceId, int]
EnvelopeKey = tuple[DeviceId, int, int]
ListPlace = tuple[str, DeviceId, int, int]
TermsKey = tuple[StoreId, int]
MemberKey = tuple[TenantId, MemberId]

COUPONS_AT_ONCE = 200  # of one store in one transaction: some milliseconds
CLAIM = "claim"  # the kind of envelope that proposes an entry
WALL_SHOWN_MAX_MS = 253_402_300_799_000  # the last second of the year 9999: no calendar of ours goes on

_e = envelope.c
_find_envelopes = KeyedSelect(
    envelope,
    [_e.device, _e.epoch, _e.seq],
    [_e.device, _e.epoch, _e.seq, _e.chain, _e.header, _e.outcome, _e.reason, _e.balance],
)
_r = envelope_review.c
_find_reviews = KeyedSelect(
    envelope_review, [_r.device, _r.epoch, _r.seq], [_r.device, _r.epoch, _r.seq, _r.outcome, _r.reason, _r.balance]
)
_find_policies = KeyedSelect(
    policy, [policy.c.store, policy.c.version], [policy.c.store, policy.c.version, policy.c.body]
)
_find_cards = KeyedSelect(
    member_card,
    [member_card.c.tenant, member_card.c.member],
    [member_card.c.tenant, member_card.c.member, member_card.c.serial, member_card.c.denied_at],
)
_policy_decoder = msgspec.msgpack.Decoder(Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An envelope that was stored before: its place and the verdict on it."""

    link: Link
    verdict: Verdict


def speakers_of(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, Speaker]:
    """Those of the ids that are devices somebody confirmed."""
    return {
        id: Speaker(
            device=id,
            tenant=facts.tenant,
            store=facts.store,
            public_key=facts.signing_public,
            revoked=facts.revoked,
            epochs=facts.epochs,
            quarantined=facts.quarantined,
        )
        for id, facts in device_for_ingest(connection, ids).items()
        if facts.confirmed
    }


@lru_cache(maxsize=16_384)  # devices whose keys are kept ready: a large chain's, about 3 MB
def signing_key(raw: bytes) -> Ed25519PublicKey:
    """The key in the registry's 32 bytes."""
    key = load_public_key(raw)
    assert key is not None, "the registry keeps keys of the right length only"
    return key


def lock_streams(connection: Connection, keys: Iterable[StreamKey]) -> dict[StreamKey, Stream]:
    """Those of the streams that were ever heard, their rows locked in key order until the transaction ends."""
    c = envelope_stream.c
    return _streams(connection, keys, _all_streams.order_by(c.device, c.epoch).with_for_update())


def read_streams(connection: Connection, keys: Iterable[StreamKey]) -> dict[StreamKey, Stream]:
    """Those of the streams that were ever heard, as they are at the moment."""
    return _streams(connection, keys, _all_streams)


_all_streams = select(envelope_stream)


def _streams(
    connection: Connection,
    keys: Iterable[StreamKey],
    query: Select[*tuple[Any, ...]],  # Any: the table's columns
) -> dict[StreamKey, Stream]:
    wanted = sorted(keys)
    if not wanted:
        return {}
    c = envelope_stream.c
    rows = connection.execute(query.where(tuple_(c.device, c.epoch).in_(wanted)))
    return {
        (DeviceId(row.device), row.epoch): Stream(
            device=DeviceId(row.device),
            epoch=row.epoch,
            contiguous=row.contiguous,
            head=row.head,
            highest=row.highest,
            gap_since_us=row.gap_since_us,
            read_until=row.contiguous + AHEAD_MAX,
        )
        for row in rows
    }


def find_envelopes(connection: Connection, keys: Collection[EnvelopeKey]) -> dict[EnvelopeKey, Found]:
    """Those of the envelopes that are stored. Of one that a person decided about, the verdict is that decision."""
    rows = _find_envelopes.fetch(connection, list(set(keys)))
    found = {
        (DeviceId(device), epoch, seq): Found(
            link=Link(chain=chain, previous=previous_of(header)),
            verdict=Verdict(
                seq=seq,
                outcome=Outcome(outcome),
                reason=None if reason is None else Reason(reason),
                balance=balance,
            ),
        )
        for device, epoch, seq, chain, header, outcome, reason, balance in rows
    }
    waited = [key for key, one in found.items() if one.verdict.outcome is Outcome.QUARANTINED]
    for key, verdict in find_reviews(connection, waited).items():
        found[key] = replace(found[key], verdict=verdict)
    return found


def find_reviews(connection: Connection, keys: Collection[EnvelopeKey]) -> dict[EnvelopeKey, Verdict]:
    """The verdicts that people decided on, of those of the envelopes that were in quarantine and are no more."""
    return {
        (DeviceId(device), epoch, seq): Verdict(
            seq=seq, outcome=Outcome(outcome), reason=None if reason is None else Reason(reason), balance=balance
        )
        for device, epoch, seq, outcome, reason, balance in _find_reviews.fetch(connection, list(keys))
    }


def reviews_wait(connection: Connection) -> bool:
    """True when a kiosk is to be told of a decision."""
    return connection.execute(select(_r.seq).where(_r.told_at.is_(None)).limit(1)).first() is not None


def read_links_ahead(connection: Connection, streams: Collection[Stream]) -> None:
    """Gives the streams what is stored of them beyond a gap, as far as they want to know."""
    if not streams:
        return
    s = envelope_stream.c
    query = (
        select(_e.device, _e.epoch, _e.seq, _e.chain, _e.header)
        .join(envelope_stream, (s.device == _e.device) & (s.epoch == _e.epoch))
        .where(tuple_(s.device, s.epoch).in_(sorted((stream.device, stream.epoch) for stream in streams)))
        .where(_e.seq > s.contiguous, _e.seq <= s.contiguous + AHEAD_MAX)
    )
    by_key = {(stream.device, stream.epoch): stream for stream in streams}
    for device, epoch, seq, chain, header in connection.execute(query):
        by_key[device, epoch].links[seq] = Link(chain=chain, previous=previous_of(header))


def previous_of(header: bytes) -> bytes:
    """The digest that a stored header names as its previous."""
    read = read_header(header)
    assert not isinstance(read, EnvelopeFault), "only what could be read was given a number"
    return read.previous


def terms_of(connection: Connection, keys: Collection[TermsKey]) -> dict[TermsKey, Terms]:
    """Those of the policies that the catalogue compiled, by store and version, each with its successor's date."""
    wanted = {(store, version + more) for store, version in keys for more in (0, 1)}
    rows = _find_policies.fetch(connection, list(wanted))
    policies = {(StoreId(store), version): _read_policy(body) for store, version, body in rows}
    return {
        key: Terms(policy=policies[key], superseded_ms=_issued_ms(policies.get((key[0], key[1] + 1))))
        for key in keys
        if key in policies
    }


@lru_cache(maxsize=4096)  # policies acted on these days, a few a store: about 4 MB
def _read_policy(body: bytes) -> Policy:
    return _policy_decoder.decode(body)


def _issued_ms(successor: Policy | None) -> int | None:
    return None if successor is None else successor.issued_ms


def claimants_of(connection: Connection, keys: Collection[MemberKey]) -> dict[MemberKey, Claimant]:
    """Those of the keys that are members, with what was denied of their credentials and since when."""
    found: dict[MemberKey, Claimant] = {}
    for tenant in sorted({tenant for tenant, _ in keys}):
        members = member_facts(connection, tenant, [member for owner, member in keys if owner == tenant])
        with_cards = [asked for asked, facts in members.items() if facts.serial_floor]
        with_phones = [asked for asked, facts in members.items() if facts.phones_denied]
        cards, phones = _denied_cards(connection, tenant, with_cards), _denied_phones(connection, tenant, with_phones)
        for asked, facts in members.items():
            found[tenant, asked] = Claimant(
                member=facts.id,
                erased=facts.erased,
                serial_floor=facts.serial_floor,
                denied_cards=cards.get(asked, {}),
                phones_denied_ms=phones.get(asked, 0) if facts.phones_denied else None,
            )
    return found


def _denied_cards(
    connection: Connection, tenant: TenantId, members: Sequence[MemberId]
) -> dict[MemberId, dict[int, int]]:
    """When each card that was denied was, by member and serial number."""
    denied: dict[MemberId, dict[int, int]] = {}
    for _, member, serial, since_us in _find_cards.fetch(connection, [(tenant, member) for member in members]):
        if since_us is not None:
            denied.setdefault(MemberId(member), {})[serial] = since_us // 1000
    return denied


def _denied_phones(connection: Connection, tenant: TenantId, members: Sequence[MemberId]) -> dict[MemberId, int]:
    """When the last of the member's phones was denied."""
    if not members:
        return {}
    c = member_phone.c
    query = select(c.member, func.max(c.revoked_at)).where(c.tenant == tenant, c.member.in_(members))
    rows = connection.execute(query.group_by(c.member))
    return {MemberId(member): milliseconds(since) for member, since in rows if since is not None}


def stored_envelope(connection: Connection, key: EnvelopeKey) -> Envelope | None:
    """The envelope as it is stored under its number, or None."""
    device, epoch, seq = key
    query = select(_e.header, _e.signature, _e.salt, _e.payload)
    row = connection.execute(query.where(_e.device == device, _e.epoch == epoch, _e.seq == seq)).one_or_none()
    if row is None:
        return None
    return Envelope(header=row.header, signature=row.signature, salt=row.salt, payload=row.payload)


def stands_in(connection: Connection, store: StoreId, key: EnvelopeKey) -> bool:
    """True when the envelope is stored and was said at the store."""
    device, epoch, seq = key
    query = select(_e.seq).where(_e.device == device, _e.epoch == epoch, _e.seq == seq, _e.store == store)
    return connection.execute(query).first() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """A receipt that a member handed in, and what became of it. `reviewer` and `note` once a person has decided."""

    id: bytes
    tenant: TenantId
    store: StoreId
    device: DeviceId
    epoch: int
    seq: int
    member: MemberId
    claim: bytes
    amount: int
    text: str
    outcome: Outcome
    reason: Reason | None
    balance: int | None
    handed_in_at: datetime
    reviewer: str | None
    note: str | None

    @property
    def verdict(self) -> Verdict:
        """What became of it, as a verdict on its number."""
        return Verdict(seq=self.seq, outcome=self.outcome, reason=self.reason, balance=self.balance)


def receipt_by_id(connection: Connection, id: bytes) -> HandedIn | None:
    """The receipt, its row locked until the transaction ends; or None."""
    row = connection.execute(select(claim_receipt).where(claim_receipt.c.id == id).with_for_update()).one_or_none()
    return None if row is None else _handed_in(row)


def receipts_of_store(
    connection: Connection, store: StoreId, *, outcome: Outcome | None, after: bytes, limit: int
) -> tuple[HandedIn, ...]:
    """At most `limit` receipts of the store's kiosks, those whose id comes after the one given, in id order."""
    c = claim_receipt.c
    query = select(claim_receipt).where(c.store == store, c.id > after)
    if outcome is not None:
        query = query.where(c.outcome == outcome.value)
    return tuple(_handed_in(row) for row in connection.execute(query.order_by(c.id).limit(limit)))


def is_posted(connection: Connection, tenant: TenantId, claim: bytes) -> bool:
    """True when the claim is in the ledger."""
    c = journal_entry.c
    return connection.execute(select(c.sequence).where(c.tenant == tenant, c.id == claim)).first() is not None


def _handed_in(row: Row[Any]) -> HandedIn:  # Any: a row of the table's own columns
    return HandedIn(
        id=row.id,
        tenant=TenantId(row.tenant),
        store=StoreId(row.store),
        device=DeviceId(row.device),
        epoch=row.epoch,
        seq=row.seq,
        member=MemberId(row.member),
        claim=row.claim,
        amount=row.amount,
        text=row.text,
        outcome=Outcome(row.outcome),
        reason=None if row.reason is None else Reason(row.reason),
        balance=row.balance,
        handed_in_at=row.handed_in_at,
        reviewer=row.reviewer,
        note=row.note,
    )


def kiosks_heard(connection: Connection, store: StoreId) -> tuple[KioskHeard, ...]:
    """How the store's kiosks that ever showed themselves last did."""
    return tuple(
        KioskHeard(seen_at=status.seen_at, is_settled=status.settled == status.head)
        for status in statuses_of(connection, kiosks_of(connection, store)).values()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCoupon:
    """A deferred coupon that may be confirmed."""

    claim: bytes
    member: MemberId
    label: str


def coupons_due(
    connection: Connection, store: StoreId, now: datetime, *, is_locked: bool = False
) -> tuple[DueCoupon, ...]:
    """The store's deferred coupons that nobody can have shown any more, COUPONS_AT_ONCE at most, the oldest days first.

    With `is_locked` their rows stay locked until the transaction ends.
    """
    place = store_by_id(connection, store)
    if place is None:
        return ()
    r = instant_right.c
    waiting = select(r.claim, r.member, r.label, r.business_day).where(r.store == store, WAITING_RIGHT)
    query = waiting.where(r.member.is_not(None)).order_by(r.business_day, r.claim).limit(COUPONS_AT_ONCE)
    rows = connection.execute(query.with_for_update() if is_locked else query).all()
    heard = kiosks_heard(connection, store) if rows else ()
    told = {
        day: is_day_told(place.calendar.bounds(date.fromisoformat(day))[1], heard, now)
        for day in {row.business_day for row in rows}
    }
    return tuple(
        DueCoupon(claim=row.claim, member=MemberId(row.member), label=row.label)
        for row in rows
        if told[row.business_day]
    )


# -- what people read --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a person decided about an envelope, and what followed from it."""

    reviewer: str
    note: str
    outcome: Outcome
    reason: Reason | None
    reviewed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardEnvelope:
    """An envelope as people are shown it: who said what when, and what became of it. Mostly a claim, see `kind`.

    `business_day` is the day it named, None when it named none; `made_at` None when the kiosk's clock was unknown.
    """

    device: DeviceId
    epoch: int
    seq: int
    business_day: str | None
    made_at: datetime | None
    member: MemberId | None
    claim: bytes | None
    amount: int | None
    outcome: Outcome
    reason: Reason | None
    recorded_at: datetime
    kind: str
    review: Review | None

    @property
    def key(self) -> EnvelopeKey:
        """Where it stands among all of the store's kiosks."""
        return self.device, self.epoch, self.seq

    @property
    def place(self) -> ListPlace:
        """Where it stands in a store's list."""
        return self.business_day or "", self.device, self.epoch, self.seq


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEnvelope:
    """What was turned away without a number. `epoch` and `seq` are None when nothing could be read."""

    id: bytes
    device: DeviceId
    epoch: int | None
    seq: int | None
    outcome: Outcome
    reason: Reason
    recorded_at: datetime


def claims_of_store(
    connection: Connection,
    store: StoreId,
    *,
    day: str | None,
    outcome: Outcome | None,
    device: DeviceId | None = None,
    after: ListPlace | None,
    limit: int,
) -> tuple[HeardEnvelope, ...]:
    """At most `limit` claims made at the store, those after the place given, by day, device, epoch and number.

    `day`, `outcome` and `device` narrow the list. Claims that name no day come first.
    """
    named = func.coalesce(_e.business_day, "")
    order = (named, _e.device, _e.epoch, _e.seq)
    query = _heard_rows.where(_e.store == store, _e.kind == CLAIM)
    if day is not None:
        query = query.where(_e.business_day == day)
    if outcome is not None:
        query = query.where(_e.outcome == outcome.value)
    if device is not None:
        query = query.where(_e.device == device)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after))
    return tuple(_heard(row) for row in connection.execute(query.order_by(*order).limit(limit)))


def quarantine_of_store(
    connection: Connection, store: StoreId, *, after: EnvelopeKey | None, limit: int
) -> tuple[HeardEnvelope, ...]:
    """At most `limit` envelopes of the store, of any kind, that wait for a person, by device, epoch and number."""
    order = (_e.device, _e.epoch, _e.seq)
    query = _heard_rows.where(_e.store == store, _e.outcome == Outcome.QUARANTINED.value, _r.outcome.is_(None))
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after))
    return tuple(_heard(row) for row in connection.execute(query.order_by(*order).limit(limit)))


def refused_of_store(
    connection: Connection, store: StoreId, *, after: bytes, limit: int
) -> tuple[RefusedEnvelope, ...]:
    """At most `limit` envelopes turned away at the store, those whose id comes after the one given, in id order."""
    c = refused_envelope.c
    rows = connection.execute(
        select(refused_envelope).where(c.store == store, c.id > after).order_by(c.id).limit(limit)
    )
    return tuple(
        RefusedEnvelope(
            id=row.id,
            device=DeviceId(row.device),
            epoch=row.epoch,
            seq=row.seq,
            outcome=Outcome(row.outcome),
            reason=Reason(row.reason),
            recorded_at=from_microseconds(row.recorded_us),
        )
        for row in rows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputedFace:
    """Somebody at a door said that they were not the member they were greeted as.

    `claim` was granted so, None when none was; `said_at` is None when the kiosk's clock was unknown.
    """

    device: DeviceId
    epoch: int
    seq: int
    member: MemberId
    claim: bytes | None
    said_at: datetime | None
    recorded_at: datetime

    @property
    def place(self) -> EnvelopeKey:
        """Where it stands in a store's list."""
        return self.device, self.epoch, self.seq


def disputes_of_store(
    connection: Connection, store: StoreId, *, after: EnvelopeKey | None, limit: int
) -> tuple[DisputedFace, ...]:
    """At most `limit` disputes of the store, those after the place given, by device, epoch and number."""
    c = face_dispute.c
    order = (c.device, c.epoch, c.seq)
    query = select(face_dispute).where(c.store == store)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after))
    return tuple(
        DisputedFace(
            device=DeviceId(row.device),
            epoch=row.epoch,
            seq=row.seq,
            member=MemberId(row.member),
            claim=row.claim,
            said_at=None if row.wall_ms is None else instant_of(min(row.wall_ms, WALL_SHOWN_MAX_MS)),
            recorded_at=from_microseconds(row.recorded_us),
        )
        for row in connection.execute(query.order_by(*order).limit(limit))
    )


def _heard(row: Row[Any]) -> HeardEnvelope:  # Any: a row of the table's own columns
    return HeardEnvelope(
        device=DeviceId(row.device),
        epoch=row.epoch,
        seq=row.seq,
        business_day=row.business_day,
        made_at=None if row.wall_ms is None else instant_of(min(row.wall_ms, WALL_SHOWN_MAX_MS)),
        member=None if row.member is None else MemberId(row.member),
        claim=row.claim,
        amount=row.amount,
        outcome=Outcome(row.outcome),
        reason=None if row.reason is None else Reason(row.reason),
        recorded_at=from_microseconds(row.recorded_us),
        kind=row.kind,
        review=None if row.review_outcome is None else _review(row),
    )


def _review(row: Row[Any]) -> Review:  # Any: as above
    return Review(
        reviewer=row.reviewer,
        note=row.note,
        outcome=Outcome(row.review_outcome),
        reason=None if row.review_reason is None else Reason(row.review_reason),
        reviewed_at=row.reviewed_at,
    )


_heard_rows = select(
    envelope,
    _r.reviewer,
    _r.note,
    _r.outcome.label("review_outcome"),
    _r.reason.label("review_reason"),
    _r.reviewed_at,
).outerjoin(envelope_review, (_r.device == _e.device) & (_r.epoch == _e.epoch) & (_r.seq == _e.seq))


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponTotals:
    """What became of the coupons of a campaign's series at a store.

    `given` claims had theirs shown or confirmed, `waiting` have a deferred one, `lost` coupons were given beyond one a
    claim: by kiosks that could not hear each other.
    """

    campaign: str
    series: str
    given: int
    waiting: int
    lost: int


def coupon_totals(connection: Connection, store: StoreId) -> tuple[CouponTotals, ...]:
    """The totals of the store, by campaign and series."""
    r = instant_right.c
    query = select(r.campaign, r.series, r.shown, r.confirmed_us.is_not(None).label("confirmed"), func.count())
    grouped = query.where(r.store == store).group_by(r.campaign, r.series, r.shown, r.confirmed_us.is_not(None))
    totals: dict[tuple[str, str], CouponTotals] = {}
    for campaign, series, shown, confirmed, count in connection.execute(grouped):
        key = (campaign, series)
        held = totals.get(key, CouponTotals(campaign=campaign, series=series, given=0, waiting=0, lost=0))
        is_given = shown > 0 or bool(confirmed)
        totals[key] = CouponTotals(
            campaign=campaign,
            series=series,
            given=held.given + count * is_given,
            waiting=held.waiting + count * (not is_given),
            lost=held.lost + count * coupons_lost(shown, is_confirmed=bool(confirmed)),
        )
    return tuple(totals[key] for key in sorted(totals))

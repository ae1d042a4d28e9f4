"""Making members and changing what is known of them, their credentials and their consents.

Every function works inside the caller's writing transaction unless it says otherwise. Order of locks, so that no two
transactions wait for each other: the member's row, the tenant's deny head, roster heads by store, template heads by
store, the groups of kiosks, the ledger. Whoever works on several members' faces at once takes all of these first, with
`lock_faces`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, Row, Update, delete, func, select, text, tuple_, update

from cloud.kit.bulk import BulkInsert, InsertNew
from cloud.kit.database import reading, writing
from cloud.kit.events import NewEvent, append
from cloud.kit.instants import to_microseconds
from cloud.members.queries import consents_of, member_of_bearer, phones_of, read_member, store_words
from cloud.members.rules import (
    CARD_DAYS,
    CARD_SERIAL_MAX,
    PHONE_DAYS,
    ROSTER_AGE_MAX,
    ROSTER_MEMBERS_MAX,
    WAITING_AGE_MAX,
    CardRefusal,
    Channel,
    ConsentRecord,
    ConsentWords,
    Enrolment,
    FaceProof,
    HeldTemplate,
    JoinRefusal,
    Language,
    Member,
    MemberGone,
    Origin,
    PhoneRefusal,
    SpokenConsent,
    StoreWord,
    TemplateFate,
    day_number,
    face_consent,
    face_consent_at,
    may_be_given,
    named_stores,
    phone_refusal,
    store_word,
    template_fate,
)
from cloud.members.tables import (
    face_deletion,
    face_forgotten,
    face_store,
    member,
    member_bearer,
    member_card,
    member_consent,
    member_phone,
    roster_entry,
    roster_head,
    sealed_template,
    template_head,
    template_reader,
    template_waiting,
)
from shared import tokens
from shared.consent import DataLevel, Purpose
from shared.ids import DeviceId, MemberId, StoreId, TenantId
from shared.policy import LEASE_AGE_MAX

_number_denials = text(
    "INSERT INTO deny_head (tenant, version) VALUES (:tenant, 1)"
    " ON CONFLICT (tenant) DO UPDATE SET version = deny_head.version + 1 RETURNING version"
)
_number_sightings = text(
    "INSERT INTO roster_head (store, version) VALUES (:store, :count)"
    " ON CONFLICT (store) DO UPDATE SET version = roster_head.version + excluded.version RETURNING version"
)
_e = roster_entry.c
_save_sightings = BulkInsert(
    roster_entry,
    [_e.member, _e.store, _e.seen_at, _e.version, _e.removed, _e.coupon],
    update=[_e.seen_at, _e.version, _e.removed, _e.coupon],
)
_p = member_phone.c
_save_phone = BulkInsert(
    member_phone,
    [_p.tenant, _p.member, _p.public_key, _p.expiry_day, _p.certified_at],
    update=[_p.expiry_day, _p.certified_at],
)
_number_templates = text("UPDATE template_head SET version = version + 1 WHERE store = :store RETURNING version")
_t = sealed_template.c
_save_template = BulkInsert(
    sealed_template, list(_t), update=[column for column in _t if column.name not in ("member", "store", "tenant")]
)
_w = template_waiting.c
_save_waiting = BulkInsert(
    template_waiting, list(_w), update=[c for c in _w if c.name not in ("member", "store", "key", "tenant")]
)
_h = template_head.c
_new_template_heads = InsertNew(template_head, [_h.store, _h.version, _h.floor])
_r = template_reader.c
_save_reader = BulkInsert(template_reader, [_r.store, _r.device, _r.version], update=[_r.version])
_save_store_words = BulkInsert(face_store, list(face_store.c), update=[face_store.c.allowed, face_store.c.waits])
_new_deletions = InsertNew(face_deletion, list(face_deletion.c))
_new_proofs = InsertNew(face_forgotten, list(face_forgotten.c))
LEFT: Final = "member.left"  # the event's topic; its body is the pseudonym
REMOVALS_MAX: Final = 1000  # entries a transaction takes off a roster, so that claims wait milliseconds for its head


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The key that signs member credentials and the id under which kiosks know it."""

    id: int
    key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What somebody says who joins. `store` is where they stand, when they said so; `nickname` is tidied."""

    tenant: TenantId
    programme: str
    store: StoreId | None
    nickname: str | None
    language: Language
    level: DataLevel
    words: ConsentWords


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCard:
    """A card to print: the text of its code, its serial number and its last good day."""

    text: str
    serial: int
    expiry_day: int


def join(
    connection: Connection, joining: Joining, *, id: MemberId, secret_digest: bytes, now: datetime
) -> Member | JoinRefusal:
    """The new member under the fresh pseudonym; whoever holds the secret is them.

    The same secret again gives the member it made, so a join whose answer was lost can be sent again.
    """
    known = member_of_bearer(connection, secret_digest)
    if known is not None:
        return known
    if connection.execute(select(member_bearer.c.digest).where(member_bearer.c.digest == secret_digest)).first():
        return JoinRefusal.SECRET_SPENT
    connection.execute(
        member.insert().values(
            tenant=joining.tenant,
            id=id,
            programme=joining.programme,
            nickname=joining.nickname,
            language=joining.language.value,
            level=int(joining.level),
            joined_at=now,
            card_serial=0,
            serial_floor=0,
            phones_denied=0,
        )
    )
    connection.execute(
        member_bearer.insert().values(digest=secret_digest, tenant=joining.tenant, member=id, created_at=now)
    )
    held = _hold(connection, joining.tenant, id)
    _record(connection, held, Purpose.PROGRAMME, given=True, words=joining.words, now=now)
    if joining.store is not None:
        mark_seen(connection, joining.store, [id], now)
    return held


def set_profile(
    connection: Connection, tenant: TenantId, id: MemberId, *, nickname: str | None, language: Language
) -> Member:
    """The member under the tidied nickname (or none) and language, which kiosks will learn. Raises: MemberGone."""
    _hold(connection, tenant, id)
    connection.execute(_row(tenant, id).values(nickname=nickname, language=language.value))
    _renumber_rosters(connection, id)
    return _hold(connection, tenant, id)


def set_level(
    connection: Connection, tenant: TenantId, id: MemberId, *, level: DataLevel, words: ConsentWords, now: datetime
) -> Member:
    """The member at the data level, with the consent on record. Raises: MemberGone."""
    held = _hold(connection, tenant, id)
    if held.level is level:
        return held
    connection.execute(_row(tenant, id).values(level=int(level)))
    changed = _hold(connection, tenant, id)
    _record(connection, changed, Purpose.PROGRAMME, given=True, words=words, now=now)
    return changed


def set_marketing(
    connection: Connection, tenant: TenantId, id: MemberId, *, given: bool, words: ConsentWords, now: datetime
) -> None:
    """The consent to marketing, given or withdrawn, is on record. Raises: MemberGone."""
    _record(connection, _hold(connection, tenant, id), Purpose.MARKETING, given=given, words=words, now=now)


def set_biometric(
    connection: Connection, tenant: TenantId, id: MemberId, *, given: bool, words: ConsentWords, now: datetime
) -> None:
    """The biometric consent, given or withdrawn, is on record and kiosks will learn it; withdrawn, they must forget.

    Raises: MemberGone.
    """
    held = _hold(connection, tenant, id)
    _record(connection, held, Purpose.BIOMETRIC, given=given, words=words, now=now)
    _follow_face_consent(connection, held, now)


def set_biometric_at(
    connection: Connection,
    tenant: TenantId,
    id: MemberId,
    store: StoreId,
    *,
    given: bool,
    words: ConsentWords,
    now: datetime,
) -> None:
    """A store that the member names may know a face that was learnt elsewhere, or may not know it any more.

    Given, the member is on the store's roster, and a kiosk that knows the face is asked for the template. Withdrawn,
    the store's kiosks must forget, and other stores keep what they have. Raises: MemberGone.
    """
    lock_faces(connection, [(tenant, id)], rosters={store}, templates={store})
    held = _hold(connection, tenant, id)
    _record(connection, held, Purpose.BIOMETRIC, given=given, words=words, now=now, store=store)
    if given:
        mark_seen(connection, store, [id], now)
    _follow_face_consent(connection, held, now)


def leave(connection: Connection, tenant: TenantId, id: MemberId, *, words: ConsentWords, now: datetime) -> None:
    """The member is gone: consents withdrawn, name and templates erased, every credential denied, off every roster.

    The pseudonym stays, as ledger and claims name it; upper domains are told under LEFT to erase what they hold.
    Raises: MemberGone.
    """
    held = _hold(connection, tenant, id)
    _record(connection, held, Purpose.PROGRAMME, given=False, words=words, now=now)
    connection.execute(
        _row(tenant, id).values(
            nickname=None,
            level=int(DataLevel.PSEUDONYM),
            erased_at=now,
            serial_floor=held.card_serial + 1,
            phones_denied=1,
            deny_version=_next_denial(connection, tenant),
        )
    )
    b = member_bearer.c
    connection.execute(update(member_bearer).where(b.tenant == tenant, b.member == id).values(revoked_at=now))
    _revoke_phones(connection, tenant, id, now)
    _deny_cards(connection, tenant, id, now)
    connection.execute(update(roster_entry).where(_e.member == id).values(removed=1, seen_at=now))
    _renumber_rosters(connection, id)
    if held.face_text is not None:
        face_words = ConsentWords(text_version=held.face_text, language=words.language, channel=words.channel)
        _record(connection, held, Purpose.BIOMETRIC, given=False, words=face_words, now=now)
    _follow_face_consent(connection, held, now)
    append(connection, [NewEvent(topic=LEFT, tenant=tenant, body=id)], recorded_at=now)


def certify_phone(
    connection: Connection, issuer: Issuer, tenant: TenantId, id: MemberId, *, public_key: bytes, now: datetime
) -> bytes | PhoneRefusal:
    """111 bytes that vouch for the phone's key (32 raw bytes) for 60 days. Raises: MemberGone.

    A denial of phones is lifted here once every certificate from before it has ended.
    """
    held = _hold(connection, tenant, id)
    today = day_number(now)
    phones = phones_of(connection, tenant, id)
    refusal = phone_refusal(phones, public_key, today=today, phones_denied=held.phones_denied)
    if refusal is not None:
        return refusal
    if held.phones_denied:
        denial = _next_denial(connection, tenant)
        connection.execute(_row(tenant, id).values(phones_denied=0, deny_version=denial))
    expiry_day = today + PHONE_DAYS
    _save_phone.run(connection, [(tenant, id, public_key, expiry_day, to_microseconds(now))])
    return tokens.certify_phone(issuer.key, issuer=issuer.id, member=id, expiry_day=expiry_day, public_key=public_key)


def deny_phones(connection: Connection, tenant: TenantId, id: MemberId, *, now: datetime) -> None:
    """Every phone of the member is denied, at kiosks as soon as they read it. Raises: MemberGone."""
    held = _hold(connection, tenant, id)
    _revoke_phones(connection, tenant, id, now)
    if not held.phones_denied:
        denial = _next_denial(connection, tenant)
        connection.execute(_row(tenant, id).values(phones_denied=1, deny_version=denial))


def issue_card(
    connection: Connection, issuer: Issuer, tenant: TenantId, id: MemberId, *, now: datetime
) -> PrintedCard | CardRefusal:
    """A new card for the member; the ones before it are denied. Raises: MemberGone."""
    held = _hold(connection, tenant, id)
    serial = held.card_serial + 1
    if serial > CARD_SERIAL_MAX:
        return CardRefusal.SERIALS_USED_UP
    if held.card_serial >= held.serial_floor and held.card_serial > 0:
        _raise_floor(connection, held, serial, now)
    expiry_day = day_number(now) + CARD_DAYS
    connection.execute(
        member_card.insert().values(tenant=tenant, member=id, serial=serial, expiry_day=expiry_day, issued_at=now)
    )
    connection.execute(_row(tenant, id).values(card_serial=serial))
    return print_card(issuer, id, serial=serial, expiry_day=expiry_day)


def print_card(issuer: Issuer, id: MemberId, *, serial: int, expiry_day: int) -> PrintedCard:
    """The card as it was issued: the same numbers give the same text."""
    code = tokens.issue_card(issuer.key, issuer=issuer.id, member=id, serial=serial, expiry_day=expiry_day)
    return PrintedCard(text=code, serial=serial, expiry_day=expiry_day)


def deny_cards(connection: Connection, tenant: TenantId, id: MemberId, *, now: datetime) -> None:
    """Every card of the member is denied, at kiosks as soon as they read it. Raises: MemberGone."""
    held = _hold(connection, tenant, id)
    if held.card_serial >= held.serial_floor and held.card_serial > 0:
        _raise_floor(connection, held, held.card_serial + 1, now)


def mark_seen(connection: Connection, store: StoreId, members: Sequence[MemberId], now: datetime) -> None:
    """The members are on the store's roster, and kiosks will learn what is new of them.

    Two statements however many they are; give stores in the order of their names, since the head's row stays locked
    until the transaction ends.
    """
    ids = list(dict.fromkeys(members))
    if not ids:
        return
    last = connection.execute(_number_sightings, {"store": store, "count": len(ids)}).scalar_one()
    seen_us, first = to_microseconds(now), last - len(ids) + 1
    _save_sightings.run(connection, [(id, store, seen_us, first + place, 0, None) for place, id in enumerate(ids)])


def hold_roster(connection: Connection, store: StoreId) -> None:
    """Nobody else changes the store's roster until the transaction ends."""
    connection.execute(select(roster_head.c.store).where(roster_head.c.store == store).with_for_update())


def note_coupons(connection: Connection, store: StoreId, confirmed: Mapping[MemberId, str]) -> None:
    """Kiosks of the store learn that these members' deferred coupons are confirmed, by label; until they come again."""
    for id in sorted(confirmed):
        entry = update(roster_entry).where(_e.member == id, _e.store == store, _e.removed == 0)
        version = connection.execute(_number_sightings, {"store": store, "count": 1}).scalar_one()
        connection.execute(entry.values(coupon=confirmed[id], version=version))


def sweep_rosters(
    engine: Engine, now: datetime, *, members_max: int = ROSTER_MEMBERS_MAX, at_once: int = REMOVALS_MAX
) -> int:
    """How many entries were taken off: members not seen for 180 days, and the longest absent above 100,000 a store.

    Opens its own transactions, a thousand entries each. Meant for once a day.
    """
    with reading(engine) as connection:
        stores = list(connection.execute(select(roster_head.c.store).order_by(roster_head.c.store)).scalars())
    return sum(_sweep(engine, StoreId(store), now, members_max, at_once) for store in stores)


def _sweep(engine: Engine, store: StoreId, now: datetime, members_max: int, at_once: int) -> int:
    removed = 0
    while True:
        with writing(engine) as connection:
            absent = _absent(connection, store, now, members_max, at_once)
            _remove(connection, store, absent)
        removed += len(absent)
        if len(absent) < at_once:
            return removed


def _absent(
    connection: Connection, store: StoreId, now: datetime, members_max: int, at_once: int
) -> list[tuple[MemberId, int]]:
    """At most `at_once` of those who must go, the longest absent first, with when they were seen."""
    present = (_e.store == store) & (_e.removed == 0)
    count = connection.execute(select(func.count()).select_from(roster_entry).where(present)).scalar_one()
    longest_absent = select(_e.member, _e.seen_at).where(present).order_by(_e.seen_at, _e.member).limit(at_once)
    over = count - members_max
    return [
        (MemberId(row.member), to_microseconds(row.seen_at))
        for place, row in enumerate(connection.execute(longest_absent))
        if place < over or row.seen_at < now - ROSTER_AGE_MAX
    ]


def _remove(connection: Connection, store: StoreId, absent: Sequence[tuple[MemberId, int]]) -> None:
    if not absent:
        return
    last = connection.execute(_number_sightings, {"store": store, "count": len(absent)}).scalar_one()
    first = last - len(absent) + 1
    rows = [(id, store, seen_us, first + place, 1, None) for place, (id, seen_us) in enumerate(absent)]
    _save_sightings.run(connection, rows)


def _hold(connection: Connection, tenant: TenantId, id: MemberId) -> Member:
    """The member, their row locked until the transaction ends. Raises: MemberGone."""
    query = select(member).where(member.c.tenant == tenant, member.c.id == id, member.c.erased_at.is_(None))
    row: Row[Any] | None = connection.execute(query.with_for_update()).one_or_none()  # Any: all columns
    if row is None:
        raise MemberGone(id)
    return read_member(row)


def _row(tenant: TenantId, id: MemberId) -> Update:
    return update(member).where(member.c.tenant == tenant, member.c.id == id)


def _record(
    connection: Connection,
    held: Member,
    purpose: Purpose,
    *,
    given: bool,
    words: ConsentWords,
    now: datetime,
    said_at: datetime | None = None,
    origin: Origin | None = None,
    store: StoreId | None = None,
) -> None:
    """The next line of the consent history; the member's row is locked, so numbers have no gap and no twin.

    `said_at` and `origin` are for what a kiosk reported, `store` for what is about one store only.
    """
    c = member_consent.c
    mine = (c.tenant == held.tenant) & (c.member == held.id)
    last = connection.execute(select(func.max(c.number)).where(mine)).scalar() or 0
    connection.execute(
        member_consent.insert().values(
            tenant=held.tenant,
            member=held.id,
            number=last + 1,
            purpose=purpose.value,
            level=int(held.level),
            given=int(given),
            text_version=words.text_version,
            language=words.language.value,
            channel=words.channel.value,
            recorded_at=now,
            said_at=said_at,
            device=None if origin is None else origin.device,
            epoch=None if origin is None else origin.epoch,
            seq=None if origin is None else origin.seq,
            store=store,
        )
    )


def _next_denial(connection: Connection, tenant: TenantId) -> int:
    """The next version of the tenant's deny list, its head locked until the transaction ends."""
    version: int = connection.execute(_number_denials, {"tenant": tenant}).scalar_one()
    return version


def _raise_floor(connection: Connection, held: Member, floor: int, now: datetime) -> None:
    denial = _next_denial(connection, held.tenant)
    connection.execute(_row(held.tenant, held.id).values(serial_floor=floor, deny_version=denial))
    _deny_cards(connection, held.tenant, held.id, now)


def _deny_cards(connection: Connection, tenant: TenantId, id: MemberId, now: datetime) -> None:
    c = member_card.c
    good = (c.tenant == tenant) & (c.member == id) & c.denied_at.is_(None)
    connection.execute(update(member_card).where(good).values(denied_at=now))


def _revoke_phones(connection: Connection, tenant: TenantId, id: MemberId, now: datetime) -> None:
    good = (_p.tenant == tenant) & (_p.member == id) & _p.revoked_at.is_(None)
    connection.execute(update(member_phone).where(good).values(revoked_at=now))


def _renumber_rosters(connection: Connection, id: MemberId) -> None:
    """Every roster that names the member has a new version for it."""
    stores = connection.execute(select(_e.store).where(_e.member == id).order_by(_e.store)).scalars().all()
    for store in stores:
        version = connection.execute(_number_sightings, {"store": store, "count": 1}).scalar_one()
        entry = update(roster_entry).where(_e.member == id, _e.store == store)
        connection.execute(entry.values(version=version))


# -- faces -------------------------------------------------------------------------------------------------------


def lock_faces(
    connection: Connection,
    members: Collection[tuple[TenantId, MemberId]],
    *,
    rosters: Collection[StoreId],
    templates: Collection[StoreId],
) -> None:
    """Locks, in the order that everybody keeps, all that these members' faces may change, and these stores' heads."""
    m = member.c
    own = tuple_(m.tenant, m.id).in_(sorted(members))
    connection.execute(select(m.id).where(own).order_by(m.tenant, m.id).with_for_update())
    ids = {id for _, id in members}
    seen_in = connection.execute(select(_e.store).where(_e.member.in_(ids)).distinct()).scalars()
    wanted = sorted({*rosters, *seen_in})
    connection.execute(
        select(roster_head.c.store)
        .where(roster_head.c.store.in_(wanted))
        .order_by(roster_head.c.store)
        .with_for_update()
    )
    _lock_heads(connection, {*templates, *_face_stores(connection, ids)})


def record_spoken_consents(connection: Connection, spoken: Sequence[SpokenConsent], now: datetime) -> None:
    """What kiosks heard is on record, each with its envelope, and what was said last anywhere is in force.

    A member who has left in the meantime has withdrawn everything already. Wants `lock_faces`.
    """
    for one in spoken:
        try:
            held = _hold(connection, one.tenant, one.member)
        except MemberGone:
            continue
        _record(
            connection,
            held,
            Purpose.BIOMETRIC,
            given=one.given,
            words=one.words,
            now=now,
            said_at=one.said_at,
            origin=one.origin,
        )
        _follow_face_consent(connection, held, now)


def keep_templates(connection: Connection, enrolments: Sequence[Enrolment], now: datetime) -> None:
    """Each template is given to its store's kiosks, waits, or is not kept, as `template_fate` says.

    Of those that another store gave `may_be_given` says it. Wants `lock_faces`.
    """
    keys = _lock_heads(connection, {one.store for one in enrolments})
    for one in enrolments:
        records = consents_of(connection, one.tenant, one.member)
        if one.given_by is None:
            _take_in(connection, one, records, keys[one.store], now)
        else:
            _take_given(connection, one, records, keys[one.store], now)


def set_template_key(connection: Connection, store: StoreId, key: bytes, now: datetime) -> None:
    """Templates of the store must be sealed to this secret; those that waited for it are given to its kiosks."""
    _lock_heads(connection, {store})
    connection.execute(update(template_head).where(_h.store == store).values(key=key))
    connection.execute(update(face_store).where(face_store.c.store == store).values(waits=1))
    rows = connection.execute(select(template_waiting).where(_w.store == store, _w.key == key)).all()
    for one in sorted(map(_read_waiting, rows), key=lambda one: (one.tenant, one.member)):
        _take_in(connection, one, consents_of(connection, one.tenant, one.member), key, now)


def keep_face_proofs(connection: Connection, proofs: Sequence[FaceProof], now: datetime) -> None:
    """The proofs are on record, each once."""
    recorded_us = to_microseconds(now)
    rows = [
        (
            one.origin.device,
            one.origin.epoch,
            one.origin.seq,
            one.tenant,
            one.store,
            one.member,
            one.why.value,
            recorded_us,
        )
        for one in proofs
    ]
    _new_proofs.run(connection, rows)


def hold_templates(connection: Connection, store: StoreId) -> None:
    """Nobody takes a template out of the store's feed until the transaction ends; for who tells a kiosk of them."""
    connection.execute(select(_h.store).where(_h.store == store).with_for_update())


def note_templates_told(
    connection: Connection, store: StoreId, device: DeviceId, *, version: int, whole: bool, now: datetime
) -> None:
    """The kiosk is told of the store's templates up to the version; with `whole` its leases begin anew."""
    _save_reader.run(connection, [(store, device, version)])
    if whole:
        connection.execute(update(template_reader).where(_r.store == store, _r.device == device).values(told_at=now))


def sweep_waiting_templates(engine: Engine, now: datetime) -> int:
    """How many templates are no longer waited with: their consent or secret never came. Meant for once a day."""
    with writing(engine) as connection:
        done = connection.execute(delete(template_waiting).where(_w.recorded_at < now - WAITING_AGE_MAX))
    return done.rowcount


def restart_faces(connection: Connection, stores: Iterable[StoreId], *, ahead: int, now: datetime) -> None:
    """No template is left, every kiosk is told to forget all of them, and every biometric consent is asked for again.

    For a database that was brought back from a copy: who withdrew in the lost time is not known here any more.
    """
    for table in (sealed_template, template_waiting, template_reader):
        connection.execute(delete(table))
    _lock_heads(connection, set(stores))
    connection.execute(update(template_head).values(version=_h.version + ahead, floor=_h.version + ahead, key=None))
    m = member.c
    rows = connection.execute(select(member).where(m.face_text.is_not(None)).order_by(m.tenant, m.id)).all()
    for held in map(read_member, rows):
        assert held.face_text is not None
        words = ConsentWords(text_version=held.face_text, language=held.language, channel=Channel.RESTORE)
        _record(connection, held, Purpose.BIOMETRIC, given=False, words=words, now=now)
        _follow_face_consent(connection, held, now)


def _follow_face_consent(connection: Connection, held: Member, now: datetime) -> None:
    """Rosters, templates and those that wait are as the history now has it; `held` is the member as before."""
    records = consents_of(connection, held.tenant, held.id)
    consent, words_changed = face_consent(records), _follow_store_words(connection, held, records)
    if consent.text_version != held.face_text or words_changed:
        connection.execute(_row(held.tenant, held.id).values(face_text=consent.text_version))
        _renumber_rosters(connection, held.id)
    keys = _lock_heads(connection, _face_stores(connection, [held.id]))
    for store, key in keys.items():
        kept = _read_held(connection, store, held.id)
        if kept.enrolment is not None and not _stands(kept.enrolment, records):
            _forget(connection, kept.enrolment, kept, now)
        elif words_changed:
            _tell_anew(connection, store, held.id)
        waiting = connection.execute(select(template_waiting).where(_w.store == store, _w.member == held.id)).all()
        for row in waiting:
            _take_in(connection, _read_waiting(row), records, key, now)


def _follow_store_words(connection: Connection, held: Member, records: Sequence[ConsentRecord]) -> bool:
    """What is in force for single stores is as the history has it; True when it was another before."""
    said = {(held.id, store): store_word(records, store) for store in named_stores(records)}
    in_force = {key: word for key, word in said.items() if word is not StoreWord.NOTHING}
    if store_words(connection, [held.id]) == in_force:
        return False
    connection.execute(delete(face_store).where(face_store.c.member == held.id))
    rows = [(held.id, store, held.tenant, int(word is StoreWord.ALLOWED), 1) for (_, store), word in in_force.items()]
    _save_store_words.run(connection, rows)
    return True


def _tell_anew(connection: Connection, store: StoreId, id: MemberId) -> None:
    """The store's kiosks are given the template they have once more, and with it what is wanted of them now."""
    mine = (_t.member == id) & (_t.store == store) & (_t.removed == 0) & _t.given_by.is_(None)
    if connection.execute(select(_t.version).where(mine)).first() is not None:
        connection.execute(update(sealed_template).where(mine).values(version=_next_template(connection, store)))


def _stands(one: Enrolment, records: Sequence[ConsentRecord]) -> bool:
    """True when a consent is in force at its store that was not withdrawn since the face was learnt."""
    consent = face_consent_at(records, one.store, given=one.given_by is not None)
    is_later = consent.withdrawn_at is None or one.enrolled_at > consent.withdrawn_at
    return consent.text_version is not None and is_later


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What the feed has of a member at a store. `version` is the first that gave the face, `recorded_at` the last's."""

    state: HeldTemplate
    enrolment: Enrolment | None = None
    since_version: int = 0
    recorded_at: datetime | None = None


def _read_held(connection: Connection, store: StoreId, id: MemberId) -> _Held:
    row = connection.execute(select(sealed_template).where(_t.member == id, _t.store == store)).one_or_none()
    if row is None:
        return _Held(state=HeldTemplate.NONE)
    if row.removed:
        return _Held(state=HeldTemplate.REMOVED)
    return _Held(
        state=HeldTemplate.KEPT,
        enrolment=replace(_read_waiting(row), given_by=None if row.given_by is None else StoreId(row.given_by)),
        since_version=row.since_version,
        recorded_at=row.recorded_at,
    )


def _read_waiting(row: Row[Any]) -> Enrolment:  # Any: a row of template_waiting, or of sealed_template, which has more
    return Enrolment(
        tenant=TenantId(row.tenant),
        store=StoreId(row.store),
        member=MemberId(row.member),
        key=row.key,
        embedder=row.embedder,
        sealed=row.sealed,
        text_version=row.text_version,
        device=DeviceId(row.device),
        frames=row.frames,
        resealed=bool(row.resealed),
        enrolled_at=row.enrolled_at,
    )


def _take_in(
    connection: Connection, one: Enrolment, records: Sequence[ConsentRecord], key: bytes | None, now: datetime
) -> None:
    """The template goes where it belongs; the store's head is locked."""
    held = _read_held(connection, one.store, one.member)
    if one.resealed and held.enrolment is not None:  # the same face: it came from where it came from
        one = replace(one, given_by=held.enrolment.given_by)
    consent = face_consent_at(records, one.store, given=one.given_by is not None)
    fate = template_fate(one, consent, key=key, holds=held.state, held=held.enrolment)
    if fate is TemplateFate.WAIT:
        _let_wait(connection, one, now)
        return
    connection.execute(
        delete(template_waiting).where(_w.store == one.store, _w.member == one.member, _w.key == one.key)
    )
    match fate:
        case TemplateFate.KEEP:
            _keep(connection, one, held, now)
        case TemplateFate.FORGET:
            _forget(connection, one, held, now)
        case TemplateFate.IGNORE:
            return
        case _:
            assert_never(fate)


def _take_given(
    connection: Connection, one: Enrolment, records: Sequence[ConsentRecord], key: bytes | None, now: datetime
) -> None:
    """What another store gave is kept, if it may be; both stores' heads are locked."""
    assert one.given_by is not None
    source, held = _read_held(connection, one.given_by, one.member), _read_held(connection, one.store, one.member)
    is_learnt_there = source.enrolment is not None and source.enrolment.given_by is None
    consent = face_consent_at(records, one.store, given=True)
    if is_learnt_there and may_be_given(one, consent, key=key, held=held.enrolment):
        _keep(connection, one, held, now)
        _tell_anew(connection, one.given_by, one.member)


def _let_wait(connection: Connection, one: Enrolment, now: datetime) -> None:
    same = (_w.store == one.store) & (_w.member == one.member) & (_w.key == one.key)
    row = connection.execute(select(template_waiting).where(same)).one_or_none()
    if row is not None and _read_waiting(row).rank >= one.rank:
        return
    place = (one.member, one.store, one.key, one.tenant, one.embedder, one.sealed, one.text_version)
    made = (one.device, one.frames, int(one.resealed), to_microseconds(one.enrolled_at), to_microseconds(now))
    _save_waiting.run(connection, [place + made])


def _keep(connection: Connection, one: Enrolment, held: _Held, now: datetime) -> None:
    version = _next_template(connection, one.store)
    since = held.since_version if held.state is HeldTemplate.KEPT else version
    place = (one.member, one.store, one.tenant, version, since, 0)
    template = (one.key, one.embedder, one.sealed, one.text_version)
    made = (one.device, one.frames, int(one.resealed), to_microseconds(one.enrolled_at), to_microseconds(now))
    _save_template.run(connection, [place + template + made + (one.given_by,)])
    here = (face_store.c.member == one.member) & (face_store.c.store == one.store)
    connection.execute(update(face_store).where(here).values(waits=0))


def _forget(connection: Connection, one: Enrolment, held: _Held, now: datetime) -> None:
    """Nothing is left of the member's template at the store but the word that it must go, and who owes a proof.

    That is every kiosk that was told of it and the one of the store that made it.
    """
    version = _next_template(connection, one.store)
    nothing = (None,) * 8
    place = (one.member, one.store, one.tenant, version, version, 1)
    _save_template.run(connection, [place + nothing + (to_microseconds(now), None)])
    readers = connection.execute(select(template_reader).where(_r.store == one.store)).all()
    told = {
        reader.device: reader.told_at
        for reader in readers
        if held.state is HeldTemplate.KEPT and reader.version >= held.since_version
    }
    stored_at = held.recorded_at or now
    makers = () if one.is_unopened else (one.device,)
    owing = dict.fromkeys(makers, stored_at)
    owing |= {device: max(told_at or stored_at, stored_at) for device, told_at in told.items()}
    rows = [
        (
            one.tenant,
            one.member,
            one.store,
            device,
            to_microseconds(now),
            to_microseconds(stored_at),
            to_microseconds(last_at + LEASE_AGE_MAX),
        )
        for device, last_at in owing.items()
    ]
    _new_deletions.run(connection, rows)


def _lock_heads(connection: Connection, stores: Collection[StoreId]) -> Mapping[StoreId, bytes | None]:
    """The secrets' names by store in the order of stores, the heads locked until the transaction ends."""
    if not stores:
        return {}
    _new_template_heads.run(connection, [(store, 0, 0) for store in sorted(stores)])
    rows = connection.execute(select(_h.store, _h.key).where(_h.store.in_(stores)).order_by(_h.store).with_for_update())
    return {StoreId(row.store): row.key for row in rows}


def _face_stores(connection: Connection, ids: Collection[MemberId]) -> set[StoreId]:
    """The stores at which there is, was or waits a template of these members."""
    kept = connection.execute(select(_t.store).where(_t.member.in_(ids)).distinct()).scalars()
    waiting = connection.execute(select(_w.store).where(_w.member.in_(ids)).distinct()).scalars()
    return {StoreId(store) for store in (*kept, *waiting)}


def _next_template(connection: Connection, store: StoreId) -> int:
    """The next version of the store's templates, whose head is locked."""
    version: int = connection.execute(_number_templates, {"store": store}).scalar_one()
    return version

"""Reading members, their credentials, consents and sealed templates, and cutting the feeds that tell kiosks of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from cloud.catalogue.queries import store_by_id, unit_of
from cloud.kit.bulk import KeyedSelect
from cloud.ledger.queries import balances_of
from cloud.ledger.rules import member_account
from cloud.members.rules import (
    ROSTER_AGE_MAX,
    CardIssue,
    Channel,
    ConsentRecord,
    ConsentWords,
    FaceDeletion,
    FeedCut,
    Language,
    Member,
    MemberFacts,
    Origin,
    Phone,
    RecordedProof,
    StoreWord,
    cut_feed,
)
from cloud.members.tables import (
    deny_head,
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
)
from shared.answers import DenyEntry, RosterEntry, TemplateEntry, TemplateWanted
from shared.biometrics import Forgetting, SealedTemplate
from shared.business_day import milliseconds
from shared.consent import DataLevel, Purpose
from shared.ids import DeviceId, MemberId, StoreId, TenantId

DELETIONS_SHOWN_MAX = 200  # forty kiosks and five stores: more than one person reads

_find_facts = KeyedSelect(
    member,
    [member.c.tenant, member.c.id],
    [
        member.c.id,
        member.c.nickname,
        member.c.language,
        member.c.level,
        member.c.serial_floor,
        member.c.phones_denied,
        member.c.erased_at,
        member.c.face_text,
    ],
)


def member_facts(connection: Connection, tenant: TenantId, ids: Collection[MemberId]) -> Mapping[MemberId, MemberFacts]:
    """What judging claims needs of those ids that are the tenant's members, in one statement."""
    rows = _find_facts.fetch(connection, [(tenant, id) for id in set(ids)])
    return {
        MemberId(id): MemberFacts(
            id=MemberId(id),
            nickname=nickname,
            language=Language(language),
            level=DataLevel(level),
            serial_floor=serial_floor,
            phones_denied=bool(phones_denied),
            erased=erased_us is not None,
            face_text=face_text,
        )
        for id, nickname, language, level, serial_floor, phones_denied, erased_us, face_text in rows
    }


def member_by_id(connection: Connection, tenant: TenantId, id: MemberId) -> Member | None:
    """The member, erased or not, or None."""
    row = connection.execute(select(member).where(member.c.tenant == tenant, member.c.id == id)).one_or_none()
    return None if row is None else read_member(row)


def member_of_bearer(connection: Connection, digest: bytes) -> Member | None:
    """The member whose bearer secret has this digest, or None when it is nobody's any more."""
    b = member_bearer.c
    same = (member.c.tenant == b.tenant) & (member.c.id == b.member)
    query = select(member).join(member_bearer, same).where(b.digest == digest, b.revoked_at.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else read_member(row)


def members_after(connection: Connection, tenant: TenantId, after: MemberId | None, limit: int) -> tuple[Member, ...]:
    """At most `limit` members of the tenant in the order of their pseudonyms, those after the one given."""
    query = select(member).where(member.c.tenant == tenant).order_by(member.c.id).limit(limit)
    rows = connection.execute(query if after is None else query.where(member.c.id > after))
    return tuple(read_member(row) for row in rows)


def phones_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[Phone, ...]:
    """Every phone key that was ever certified for the member, in the order of time."""
    c = member_phone.c
    rows = connection.execute(
        select(member_phone).where(c.tenant == tenant, c.member == id).order_by(c.certified_at, c.public_key)
    )
    return tuple(
        Phone(public_key=row.public_key, expiry_day=row.expiry_day, revoked=row.revoked_at is not None) for row in rows
    )


def cards_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[CardIssue, ...]:
    """Every card that was ever issued to the member, oldest first."""
    c = member_card.c
    rows = connection.execute(select(member_card).where(c.tenant == tenant, c.member == id).order_by(c.serial))
    return tuple(
        CardIssue(serial=row.serial, expiry_day=row.expiry_day, denied=row.denied_at is not None) for row in rows
    )


def card_in_hand(connection: Connection, tenant: TenantId, id: MemberId) -> CardIssue | None:
    """The member's last card unless it was denied, or None."""
    cards = cards_of(connection, tenant, id)
    return cards[-1] if cards and not cards[-1].denied else None


def consents_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[ConsentRecord, ...]:
    """The member's consent history, oldest first; the last line of a purpose is in force."""
    c = member_consent.c
    rows = connection.execute(select(member_consent).where(c.tenant == tenant, c.member == id).order_by(c.number))
    return tuple(map(read_consent, rows))


def read_consent(row: Row[Any]) -> ConsentRecord:  # Any: a row of the table's own columns
    """The line in a row of all columns of the consent history."""
    return ConsentRecord(
        number=row.number,
        purpose=Purpose(row.purpose),
        level=DataLevel(row.level),
        given=bool(row.given),
        words=ConsentWords(
            text_version=row.text_version, language=Language(row.language), channel=Channel(row.channel)
        ),
        recorded_at=row.recorded_at,
        said_at=row.said_at or row.recorded_at,
        origin=None if row.device is None else Origin(device=DeviceId(row.device), epoch=row.epoch, seq=row.seq),
        store=None if row.store is None else StoreId(row.store),
    )


def deny_page(connection: Connection, tenant: TenantId, base: int, limit: int) -> FeedCut[DenyEntry]:
    """The tenant's deny list from version `base` on, at most `limit` changes."""
    head = connection.execute(select(deny_head.c.version).where(deny_head.c.tenant == tenant)).scalar() or 0
    reset = base > head
    start = 0 if reset else base
    rows = connection.execute(_denials(tenant, start).limit(limit + 1))
    numbered = [(row.deny_version, _deny_entry(row)) for row in rows]
    return cut_feed(start, head, numbered, limit=limit, reset=reset)


def roster_page(connection: Connection, store: StoreId, base: int, limit: int, now: datetime) -> FeedCut[RosterEntry]:
    """The store's roster from version `base` on, at most `limit` changes, with balances as of `now`."""
    head = connection.execute(select(roster_head.c.version).where(roster_head.c.store == store)).scalar() or 0
    reset = base > head
    start = 0 if reset else base
    rows = connection.execute(_sightings(store, start).limit(limit + 1)).all()
    entries = _roster_entries(connection, store, rows, now)
    numbered = [(row.version, entry) for row, entry in zip(rows, entries, strict=True)]
    return cut_feed(start, head, numbered, limit=limit, reset=reset)


def template_page(connection: Connection, store: StoreId, base: int, limit: int) -> FeedCut[TemplateEntry]:
    """The store's sealed templates from version `base` on, at most `limit` changes.

    Templates sealed to an older secret are left out: who has the new one cannot open them, and they are sealed anew.
    """
    h = template_head.c
    row = connection.execute(select(h.version, h.floor, h.key).where(h.store == store)).one_or_none()
    head, floor, key = (0, 0, None) if row is None else row
    reset = base > head or base < floor
    start = 0 if reset else base
    rows = connection.execute(_templates(store, start, key).limit(limit + 1))
    numbered = [(row.version, _template_entry(row)) for row in rows]
    return cut_feed(start, head, numbered, limit=limit, reset=reset)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTemplate:
    """That there is a sealed template of a member at a store, and since when.

    `given_by` is the store at which the face was learnt, None when that is the same. `is_opened` once a kiosk of the
    store itself has it open, be it learnt there or given.
    """

    store: StoreId
    device: DeviceId
    enrolled_at: datetime
    given_by: StoreId | None
    is_opened: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReader:
    """How far a kiosk was told of its store's templates, and when it was last told all of them, None for never."""

    device: DeviceId
    version: int
    told_at: datetime | None


def templates_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[KeptTemplate, ...]:
    """Where the member's face is known, by store."""
    c = sealed_template.c
    mine = (c.tenant == tenant) & (c.member == id) & (c.removed == 0)
    columns = (c.store, c.device, c.enrolled_at, c.given_by, c.resealed)
    rows = connection.execute(select(*columns).where(mine).order_by(c.store))
    return tuple(
        KeptTemplate(
            store=StoreId(row.store),
            device=DeviceId(row.device),
            enrolled_at=row.enrolled_at,
            given_by=None if row.given_by is None else StoreId(row.given_by),
            is_opened=row.given_by is None or bool(row.resealed),
        )
        for row in rows
    )


def store_words(connection: Connection, ids: Collection[MemberId]) -> Mapping[tuple[MemberId, StoreId], StoreWord]:
    """What these members said of single stores, where it is in force."""
    c = face_store.c
    rows = connection.execute(select(c.member, c.store, c.allowed).where(c.member.in_(ids)))
    words = {False: StoreWord.BARRED, True: StoreWord.ALLOWED}
    return {(MemberId(row.member), StoreId(row.store)): words[bool(row.allowed)] for row in rows}


def wanted_templates(connection: Connection, store: StoreId, limit: int) -> tuple[TemplateWanted, ...]:
    """Templates of faces that were learnt at the store, for others that their members name and that have none yet.

    One that another store gave and that is sealed to an older secret than that store's is as good as none. The first of
    every store come first: what cannot be given, because two stores were not introduced, hides no other store's.
    """
    f, own, theirs = face_store.c, sealed_template.alias("own"), sealed_template.alias("theirs")
    head, other = template_head.alias("head"), template_head.alias("other")
    is_held = (theirs.c.member == f.member) & (theirs.c.store == f.store) & (theirs.c.removed == 0)
    place = func.row_number().over(partition_by=f.store, order_by=f.member).label("place")
    query = (
        select(f.member, f.store, other.c.key, place)
        .join(own, (own.c.member == f.member) & (own.c.store == store))
        .join(head, (head.c.store == own.c.store) & (head.c.key == own.c.key))
        .join(other, other.c.store == f.store)
        .outerjoin(theirs, is_held)
        .where(f.waits == 1, f.allowed == 1, f.store != store, own.c.removed == 0, own.c.given_by.is_(None))
        .where(other.c.key.is_not(None))
        .where(theirs.c.member.is_(None) | (theirs.c.given_by.is_not(None) & (theirs.c.key != other.c.key)))
        .order_by(place, f.store)
        .limit(limit)
    )
    return tuple(TemplateWanted(member=row.member, store=row.store, key=row.key) for row in connection.execute(query))


def face_deletions_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[FaceDeletion, ...]:
    """The deletions that kiosks were asked for, the newest first, DELETIONS_SHOWN_MAX at most."""
    c = face_deletion.c
    rows = connection.execute(
        select(face_deletion)
        .where(c.tenant == tenant, c.member == id)
        .order_by(c.asked_at.desc(), c.store, c.device)
        .limit(DELETIONS_SHOWN_MAX)
    )
    return tuple(
        FaceDeletion(
            store=StoreId(row.store),
            device=DeviceId(row.device),
            asked_at=row.asked_at,
            stored_at=row.stored_at,
            ends_at=row.ends_at,
        )
        for row in rows
    )


def face_proofs_of(connection: Connection, tenant: TenantId, id: MemberId) -> tuple[RecordedProof, ...]:
    """Every proof that a kiosk holds no template of the member, oldest first."""
    c = face_forgotten.c
    rows = connection.execute(_proofs().where(c.tenant == tenant, c.member == id).order_by(c.recorded_at))
    return tuple(map(_proof, rows))


def face_proofs_at(connection: Connection, store: StoreId, limit: int) -> tuple[RecordedProof, ...]:
    """The last proofs of the store's kiosks, the newest first. Of whom is not said."""
    c = face_forgotten.c
    rows = connection.execute(
        _proofs().where(c.store == store).order_by(c.recorded_at.desc(), c.device, c.epoch, c.seq).limit(limit)
    )
    return tuple(map(_proof, rows))


def count_templates(connection: Connection, store: StoreId) -> int:
    """How many templates the store's kiosks can be given today."""
    c, h = sealed_template.c, template_head.c
    query = select(func.count()).select_from(
        sealed_template.join(template_head, (h.store == c.store) & (h.key == c.key))
    )
    count: int = connection.execute(query.where(c.store == store, c.removed == 0)).scalar_one()
    return count


def template_readers(connection: Connection, store: StoreId) -> tuple[TemplateReader, ...]:
    """The kiosks that were ever told of the store's templates, revoked ones too, by id."""
    c = template_reader.c
    rows = connection.execute(select(template_reader).where(c.store == store).order_by(c.device))
    return tuple(TemplateReader(device=DeviceId(row.device), version=row.version, told_at=row.told_at) for row in rows)


def _proofs() -> Select[Any]:  # Any: a row of several columns
    c = face_forgotten.c
    return select(c.device, c.store, c.why, c.recorded_at)


def _proof(row: Row[Any]) -> RecordedProof:  # Any: a row of _proofs
    return RecordedProof(
        device=DeviceId(row.device), store=StoreId(row.store), why=Forgetting(row.why), recorded_at=row.recorded_at
    )


def _templates(store: StoreId, start: int, key: bytes | None) -> Select[Any]:  # Any: a row of several columns
    c = sealed_template.c
    query = (
        select(c.member, c.version, c.removed, c.key, c.embedder, c.sealed)
        .where(c.store == store, c.version > start)
        .order_by(c.version)
    )
    is_readable = (c.removed == 0) & (c.key == key)
    return query.where(is_readable | (c.removed == 1)) if start else query.where(is_readable)


def _template_entry(row: Row[Any]) -> TemplateEntry:  # Any: a row of _templates
    if row.removed:
        return TemplateEntry(member=row.member, template=None)
    sealed = SealedTemplate(member=row.member, key=row.key, embedder=row.embedder, sealed=row.sealed)
    return TemplateEntry(member=row.member, template=sealed)


def _denials(tenant: TenantId, start: int) -> Select[Any]:  # Any: a row of several columns
    c = member.c
    query = (
        select(c.id, c.serial_floor, c.phones_denied, c.deny_version)
        .where(c.tenant == tenant, c.deny_version > start)
        .order_by(c.deny_version)
    )
    nothing_denied = (c.serial_floor == 0) & (c.phones_denied == 0)
    return query if start else query.where(~nothing_denied)  # who starts from nothing has nothing to take off


def _deny_entry(row: Row[Any]) -> DenyEntry:  # Any: a row of _denials
    return DenyEntry(
        member=row.id,
        serial_floor=row.serial_floor,
        phones=bool(row.phones_denied),
        removed=row.serial_floor == 0 and not row.phones_denied,
    )


def _sightings(store: StoreId, start: int) -> Select[Any]:  # Any: a row of several columns
    c = roster_entry.c
    query = (
        select(c.member, c.seen_at, c.version, c.removed, c.coupon)
        .where(c.store == store, c.version > start)
        .order_by(c.version)
    )
    return query if start else query.where(c.removed == 0)


def _roster_entries(
    connection: Connection,
    store: StoreId,
    rows: Collection[Row[Any]],
    now: datetime,  # Any: rows of _sightings
) -> list[RosterEntry]:
    place, unit = store_by_id(connection, store), unit_of(connection, store)
    assert place is not None, "a kiosk belongs to a store"
    assert unit is not None, "a store belongs to a programme"
    ids = [MemberId(row.member) for row in rows if not row.removed and row.seen_at >= now - ROSTER_AGE_MAX]
    facts = {id: known for id, known in member_facts(connection, place.tenant, ids).items() if not known.erased}
    barred = {id for (id, at), word in store_words(connection, ids).items() if at == store and word is StoreWord.BARRED}
    accounts = {id: member_account(place.tenant, id, unit) for id in facts}
    balances = balances_of(connection, list(accounts.values()))
    entries = []
    for row in rows:
        known = facts.get(MemberId(row.member))
        if known is None:
            entries.append(RosterEntry(member=row.member, removed=True))
            continue
        balance = balances.get(accounts[MemberId(row.member)])
        entries.append(
            RosterEntry(
                member=known.id,
                nickname=known.nickname,
                language=known.language.value,
                balance=0 if balance is None else balance.amount,
                balance_ms=milliseconds(now),
                face_text=None if known.id in barred else known.face_text,
                coupon=row.coupon,
            )
        )
    return entries


def read_member(row: Row[Any]) -> Member:  # Any: a row of the table's own columns
    """The member in a row of all columns of the table."""
    return Member(
        id=MemberId(row.id),
        tenant=TenantId(row.tenant),
        programme=row.programme,
        nickname=row.nickname,
        language=Language(row.language),
        level=DataLevel(row.level),
        joined_at=row.joined_at,
        erased_at=row.erased_at,
        card_serial=row.card_serial,
        serial_floor=row.serial_floor,
        phones_denied=bool(row.phones_denied),
        face_text=row.face_text,
    )

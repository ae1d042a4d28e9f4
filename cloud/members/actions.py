"""Making members and changing what is known of them, their credentials and their consents.

Every function works inside the caller's writing transaction unless it says otherwise. Order of locks, so that no two
transactions wait for each other: the member's row, the tenant's deny head, roster heads by store, the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, Row, Update, func, select, text, update

from cloud.kit.bulk import BulkInsert
from cloud.kit.database import reading, writing
from cloud.kit.events import NewEvent, append
from cloud.kit.instants import to_microseconds
from cloud.members.queries import member_of_bearer, phones_of, read_member
from cloud.members.rules import (
    CARD_DAYS,
    CARD_SERIAL_MAX,
    PHONE_DAYS,
    ROSTER_AGE_MAX,
    ROSTER_MEMBERS_MAX,
    CardRefusal,
    ConsentWords,
    JoinRefusal,
    Language,
    Member,
    MemberGone,
    PhoneRefusal,
    day_number,
    phone_refusal,
)
from cloud.members.tables import (
    member,
    member_bearer,
    member_card,
    member_consent,
    member_phone,
    roster_entry,
    roster_head,
)
from shared import tokens
from shared.consent import DataLevel, Purpose
from shared.ids import MemberId, StoreId, TenantId

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
    roster_entry, [_e.member, _e.store, _e.seen_at, _e.version, _e.removed], update=[_e.seen_at, _e.version, _e.removed]
)
_p = member_phone.c
_save_phone = BulkInsert(
    member_phone,
    [_p.tenant, _p.member, _p.public_key, _p.expiry_day, _p.certified_at],
    update=[_p.expiry_day, _p.certified_at],
)
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


def leave(connection: Connection, tenant: TenantId, id: MemberId, *, words: ConsentWords, now: datetime) -> None:
    """The member is gone: consent withdrawn, name erased, every credential denied, off every roster.

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
    _save_sightings.run(connection, [(id, store, seen_us, first + place, 0) for place, id in enumerate(ids)])


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
    rows = [(id, store, seen_us, first + place, 1) for place, (id, seen_us) in enumerate(absent)]
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
    connection: Connection, held: Member, purpose: Purpose, *, given: bool, words: ConsentWords, now: datetime
) -> None:
    """The next line of the consent history; the member's row is locked, so numbers have no gap and no twin."""
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

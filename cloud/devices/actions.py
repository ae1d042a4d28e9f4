"""Claiming, confirming, renewing and revoking devices, their epochs, and what a device that shows up is told.

Every function works inside the caller's writing transaction and locks the device's row before it decides. Order of
locks: the device's row, the tenant's, its store's network, the head of its store's templates, the group of its store.
"""

import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from sqlalchemy import Column, Connection, Table, delete, func, select, text

from cloud.catalogue.actions import reissue_policies
from cloud.catalogue.queries import policy_in_force, store_by_id
from cloud.catalogue.tables import store as store_table
from cloud.catalogue.tables import tenant as tenant_table
from cloud.devices.queries import (
    Certificate,
    count_certificates,
    device_by_id,
    group_of,
    kiosks_of,
    kiosks_seen,
    network_of,
    newest_certificate,
    read_device,
    revocation_page,
    wrap_for,
    wraps_of,
)
from cloud.devices.rules import (
    CERTIFICATES_MAX,
    CODE_LIFE,
    CONFIRM_WITHIN,
    DATABASE_ID_BYTES,
    EPOCHS_MAX,
    WRAPS_WAITING_AGE_MAX,
    WRAPS_WAITING_MAX,
    Device,
    DeviceRefusal,
    Request,
    StoreNetwork,
    WrapFate,
    Wrapping,
    advance_network,
    digest_of,
    lan_of,
    new_device_id,
    read_request,
    wrap_fate,
)
from cloud.devices.tables import (
    claim_code,
    device,
    device_certificate,
    device_epoch,
    device_revocation,
    device_status,
    face_group,
    face_wrap,
    store_network,
)
from cloud.kit.bulk import BulkInsert, InsertNew
from cloud.kit.events import NewEvent, append
from cloud.kit.instants import to_microseconds
from cloud.kit.keyring import Keyring, issue_client_certificate
from cloud.members.actions import hold_templates, note_templates_told, restart_faces, set_template_key
from cloud.members.queries import deny_page, roster_page, template_page, wanted_templates
from cloud.members.rules import FeedCut
from cloud.members.tables import deny_head, roster_head
from shared.answers import (
    PAGE_ENTRIES_MAX,
    TEMPLATE_ENTRIES_MAX,
    WANTED_MAX,
    Answer,
    DenyPage,
    EpochIssued,
    GroupPage,
    KeyPage,
    Page,
    PolicyPage,
    RevocationPage,
    RosterPage,
    StorePage,
    TemplatePage,
    TimeTold,
)
from shared.business_day import milliseconds
from shared.envelope import DeviceState, FeedVersions, TimeAsked
from shared.ids import DeviceId, StoreId, TenantId
from shared.policy import CERTIFICATE_AGE_MAX
from shared.provisioning import (
    SECRET_BYTES,
    ClaimCode,
    fingerprint_of,
    is_claim_proved,
    is_renewal_proved,
    poll_token_of,
    same_fingerprint,
)
from shared.signing import PUBLIC_KEY_BYTES

log = logging.getLogger(__name__)

FEED_LEAP: Final = 10**9  # more changes than a store sees between two backups, far below what a version may be
PAGES_A_FEED: Final = 3  # in one answer: 270 kB of roster, 450 kB of templates; who is further behind asks again
CONFIRMED: Final = "devices.confirmed"  # the body of both events is the device's id
REVOKED: Final = "devices.revoked"
SET_ASIDE: Final = "devices.epoch_set_aside"  # the body is {"device","epoch"}: its history forked

Entry = TypeVar("Entry")

_change_group = text(
    "INSERT INTO face_group (store, version) VALUES (:store, 1)"
    " ON CONFLICT (store) DO UPDATE SET version = face_group.version + 1"
)
_g, _f = face_group.c, face_wrap.c
_new_networks = InsertNew(store_network, list(store_network.c))
_save_wrap = BulkInsert(face_wrap, list(_f), update=list(_f)[3:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A device that waits for its confirmation, and the token with which it asks for its certificate."""

    device: Device
    poll_token: str


# -- from a code to a certificate --------------------------------------------------------------------------------


def issue_claim_code(
    connection: Connection, keyring: Keyring, store: StoreId, now: datetime, random: Callable[[int], bytes]
) -> ClaimCode | DeviceRefusal:
    """A code with which one kiosk of the store can be claimed within the hour. Only its hash is kept."""
    place = store_by_id(connection, store)
    if place is None:
        return DeviceRefusal.UNKNOWN_STORE
    secret = random(SECRET_BYTES)
    connection.execute(
        claim_code.insert().values(
            digest=digest_of(secret), tenant=place.tenant, store=store, created_at=now, expires_at=now + CODE_LIFE
        )
    )
    return ClaimCode(secret=secret, ca_pin=keyring.ca_pin)


def claim_device(
    connection: Connection,
    *,
    secret: bytes,
    csr_pem: str,
    signing_public: bytes,
    proof: bytes,
    now: datetime,
    random: Callable[[int], bytes],
) -> Claimed | DeviceRefusal:
    """The claimed device, to be confirmed. The same keys under the same code are the same device, however often."""
    request = read_request(csr_pem)
    if request is None or len(signing_public) != PUBLIC_KEY_BYTES:
        return DeviceRefusal.BAD_REQUEST
    digest = digest_of(secret)
    code = connection.execute(select(claim_code).where(claim_code.c.digest == digest).with_for_update()).one_or_none()
    if code is None:
        return DeviceRefusal.UNKNOWN_CODE
    if not is_claim_proved(signing_public, proof, secret, request.der):
        return DeviceRefusal.BAD_PROOF
    if code.device is not None:
        return _claimed_again(connection, DeviceId(code.device), secret, request, signing_public)
    if now >= code.expires_at:
        return DeviceRefusal.CODE_EXPIRED
    made = Device(
        id=new_device_id(random(SECRET_BYTES)),
        tenant=TenantId(code.tenant),
        store=StoreId(code.store),
        tls_public=request.public,
        signing_public=signing_public,
        fingerprint=fingerprint_of(request.public, signing_public),
        claimed_at=now,
        confirmed_at=None,
        revoked_at=None,
    )
    token = poll_token_of(secret, made.id)
    _save_device(connection, made, poll_token=token)
    connection.execute(claim_code.update().where(claim_code.c.digest == digest).values(device=made.id))
    return Claimed(device=made, poll_token=token)


def confirm_device(
    connection: Connection,
    keyring: Keyring,
    id: DeviceId,
    fingerprint: str,
    now: datetime,
    life: timedelta = CERTIFICATE_AGE_MAX,
) -> Certificate | DeviceRefusal:
    """The certificate of the device whose screen shows this fingerprint; the same one when asked again."""
    known = _locked(connection, id)
    if known is None:
        return DeviceRefusal.UNKNOWN_DEVICE
    if known.revoked_at is not None:
        return DeviceRefusal.REVOKED
    if not same_fingerprint(known.fingerprint, fingerprint):
        return DeviceRefusal.WRONG_FINGERPRINT
    held = newest_certificate(connection, id)
    if held is not None:
        return held
    if now - known.claimed_at > CONFIRM_WITHIN:
        return DeviceRefusal.CLAIM_EXPIRED
    connection.execute(device.update().where(device.c.id == id).values(confirmed_at=now))
    _regroup(connection, known.store)
    append(connection, [NewEvent(topic=CONFIRMED, tenant=known.tenant, body=id.encode())], recorded_at=now)
    return _certify(connection, keyring, id, known.tls_public, now, life)


def collect_claim(connection: Connection, id: DeviceId, poll_token: str) -> Device | None:
    """The device that this token was given to, or None. Whether it has a certificate yet is for the caller to see."""
    row = connection.execute(select(device).where(device.c.id == id)).one_or_none()
    if row is None or not hmac.compare_digest(row.poll_digest, digest_of(poll_token.encode())):
        return None
    return read_device(row)


def renew_certificate(
    connection: Connection,
    keyring: Keyring,
    id: DeviceId,
    *,
    serial: str,
    csr_pem: str,
    proof: bytes,
    now: datetime,
    life: timedelta = CERTIFICATE_AGE_MAX,
) -> Certificate | DeviceRefusal:
    """The device's next certificate, proved with its signing key; expired or not, `serial` must be its newest.

    A store may have been closed for months, so the end of the old certificate does not matter. The same key again is
    given the same certificate, and another once that has ended as well. The old one stays good until its end, so that
    nothing is lost when the answer is; revoking a device voids every certificate that it was ever given.
    """
    request = read_request(csr_pem)
    if request is None:
        return DeviceRefusal.BAD_REQUEST
    known = _locked(connection, id)
    if known is None or known.confirmed_at is None:
        return DeviceRefusal.UNKNOWN_DEVICE
    if not is_renewal_proved(known.signing_public, proof, id, serial, request.der):
        return DeviceRefusal.BAD_PROOF
    if known.revoked_at is not None:
        return DeviceRefusal.REVOKED
    held = newest_certificate(connection, id)
    assert held is not None, "a confirmed device has a certificate"
    if held.serial != serial:
        if held.tls_public != request.public:
            return DeviceRefusal.UNKNOWN_CERTIFICATE
        if now < held.expires_at:
            return held
    if count_certificates(connection, id, now) >= CERTIFICATES_MAX:
        return DeviceRefusal.TOO_MANY_CERTIFICATES
    return _certify(connection, keyring, id, request.public, now, life)


def revoke_device(connection: Connection, id: DeviceId, now: datetime) -> Device | DeviceRefusal:
    """The device, from now on shut out and named in its tenant's revocations feed. Again changes nothing.

    Its store's group learns that one is missing; the secret that was wrapped for it is gone.
    """
    known = _locked(connection, id)
    if known is None:
        return DeviceRefusal.UNKNOWN_DEVICE
    if known.revoked_at is not None:
        return known
    connection.execute(device.update().where(device.c.id == id).values(revoked_at=now))
    # The tenant's row is the lock under which the feed's numbers are given out.
    connection.execute(select(tenant_table.c.id).where(tenant_table.c.id == known.tenant).with_for_update())
    c = device_revocation.c
    head = connection.execute(
        select(func.coalesce(func.max(c.version), 0)).where(c.tenant == known.tenant)
    ).scalar_one()
    connection.execute(device_revocation.insert().values(tenant=known.tenant, version=head + 1, device=id, since=now))
    refresh_network(connection, known.store, now)
    connection.execute(delete(face_wrap).where(_f.store == known.store, _f.device == id))
    _regroup(connection, known.store)
    append(connection, [NewEvent(topic=REVOKED, tenant=known.tenant, body=id.encode())], recorded_at=now)
    revoked = device_by_id(connection, id)
    assert revoked is not None
    return revoked


# -- epochs ------------------------------------------------------------------------------------------------------


def issue_epoch(connection: Connection, id: DeviceId, database: bytes, now: datetime) -> EpochIssued | None:
    """The epoch of that database of the device; a new database has the next. None past EPOCHS_MAX or for no device."""
    if _locked(connection, id) is None or len(database) != DATABASE_ID_BYTES:
        return None
    c = device_epoch.c
    held = connection.execute(select(c.epoch, c.issued_at).where(c.device == id, c.database == database)).one_or_none()
    if held is not None:
        epoch, issued_at = held
        return EpochIssued(device=id, database=database, epoch=epoch, issued_ms=milliseconds(issued_at))
    newest = connection.execute(select(func.coalesce(func.max(c.epoch), 0)).where(c.device == id)).scalar_one()
    if newest >= EPOCHS_MAX:
        return None
    connection.execute(device_epoch.insert().values(device=id, epoch=newest + 1, database=database, issued_at=now))
    if newest:  # a kiosk that was damaged, set back or set up again
        log.warning("a device began another life", extra={"device": id, "epoch": newest + 1})
    return EpochIssued(device=id, database=database, epoch=newest + 1, issued_ms=milliseconds(now))


def quarantine_epoch(connection: Connection, id: DeviceId, epoch: int, now: datetime) -> None:
    """Sets the epoch aside: its claims wait for a person. The first instant stays."""
    c = device_epoch.c
    changed = connection.execute(
        device_epoch.update()
        .where(c.device == id, c.epoch == epoch, c.quarantined_at.is_(None))
        .values(quarantined_at=now)
    ).rowcount
    known = device_by_id(connection, id) if changed else None
    if known is not None:
        log.warning("an epoch was set aside: a clone or a restored image", extra={"device": id, "epoch": epoch})
        body = msgspec.json.encode({"device": id, "epoch": epoch})
        append(connection, [NewEvent(topic=SET_ASIDE, tenant=known.tenant, body=body)], recorded_at=now)


# -- what a device is told ---------------------------------------------------------------------------------------


def record_state(connection: Connection, id: DeviceId, state: DeviceState, now: datetime) -> None:
    """Keeps how the device showed itself, unless a newer session did since: a late will hides no newer birth.

    A new life of its database may count sessions from the beginning again; its epoch is a later one.
    """
    if _locked(connection, id) is None:
        return
    seen = {
        "session": state.session,
        "is_online": int(state.online),
        "seen_at": now,
        "epoch": state.epoch,
        "head": state.head,
        "settled": state.settled,
        "software": state.software[:80],
        "lan": lan_of(state.lan),
        "network_version": state.feeds.store,
    }
    c = device_status.c
    held = connection.execute(select(c.session, c.epoch).where(c.device == id)).one_or_none()
    if held is None:
        connection.execute(device_status.insert().values(device=id, **seen))
    elif state.epoch > held.epoch or (state.session >= held.session and state.epoch in (0, held.epoch)):
        connection.execute(device_status.update().where(c.device == id).values(**seen))


def answer_state(
    connection: Connection, keyring: Keyring, id: DeviceId, state: DeviceState, now: datetime
) -> tuple[Answer, ...]:
    """What `catch_up` has for the device that showed itself just now; how it did is kept."""
    record_state(connection, id, state, now)
    known = device_by_id(connection, id)
    if known is not None and known.confirmed_at is not None and known.revoked_at is None:
        refresh_network(connection, known.store, now)
    return catch_up(connection, keyring, id, state, now)


def catch_up(
    connection: Connection, keyring: Keyring, id: DeviceId, state: DeviceState, now: datetime
) -> tuple[Answer, ...]:
    """What the device must be told: its epoch when it does not name the right one, then pages of each feed.

    A feed that is up to date has its age renewed; one that is behind gets PAGES_A_FEED pages at most and the device
    asks again. A revoked device is told of that and nothing else; a stranger nothing at all.
    """
    known = device_by_id(connection, id)
    if known is None or known.confirmed_at is None or not state.online:
        return ()
    pages = _pages_for(connection, keyring, known, state.feeds, now)
    if known.revoked_at is not None:
        return tuple(page for page in pages if isinstance(page, KeyPage | RevocationPage))
    epoch = issue_epoch(connection, id, state.database, now)
    if epoch is None or epoch.epoch == state.epoch:
        return pages
    keys = tuple(page for page in pages if isinstance(page, KeyPage))
    return (*keys, epoch, *pages[len(keys) :])  # a new device can check no signature before it has the keys


def tell_time(asked: TimeAsked, now: datetime) -> TimeTold:
    """The cloud's time for the question, to be signed at once."""
    return TimeTold(nonce=asked.nonce, instant_ms=milliseconds(now))


def _pages_for(
    connection: Connection, keyring: Keyring, known: Device, held: FeedVersions, now: datetime
) -> tuple[Page, ...]:
    """The pages of every feed, in the order in which a device must be able to read them."""
    keys = (keyring.key_page,) if held.keys < keyring.key_page.version else ()
    return (
        *keys,
        *_policy_pages(connection, known.store, held.policy, now),
        *_deny_pages(connection, known.tenant, held.deny, now),
        *_revocation_pages(connection, known.tenant, held.revocations, now),
        *_roster_pages(connection, known.store, held.roster, now),
        *_group_pages(connection, known, held.group, now),
        *_template_pages(connection, known, held.templates, now),
        *_store_pages(connection, known.store, held.store, now),
    )


def _policy_pages(connection: Connection, store: StoreId, held: int, now: datetime) -> tuple[PolicyPage, ...]:
    policy = policy_in_force(connection, store)
    if policy is None or policy.version < held:
        return ()
    page = PolicyPage(
        base=held,
        version=policy.version,
        more=False,
        issued_ms=milliseconds(now),
        policy=None if policy.version == held else policy,
    )
    return (page,)


def _deny_pages(connection: Connection, tenant: TenantId, held: int, now: datetime) -> tuple[DenyPage, ...]:
    cuts = _cuts_after(lambda base: deny_page(connection, tenant, base, PAGE_ENTRIES_MAX), held)
    return tuple(
        DenyPage(
            base=cut.base,
            version=cut.version,
            more=cut.more,
            issued_ms=milliseconds(now),
            reset=cut.reset,
            entries=cut.entries,
        )
        for cut in cuts
    )


def _revocation_pages(connection: Connection, tenant: TenantId, held: int, now: datetime) -> tuple[RevocationPage, ...]:
    cuts = _cuts_after(lambda base: revocation_page(connection, tenant, base, PAGE_ENTRIES_MAX), held)
    return tuple(
        RevocationPage(
            base=cut.base,
            version=cut.version,
            more=cut.more,
            issued_ms=milliseconds(now),
            reset=cut.reset,
            entries=cut.entries,
        )
        for cut in cuts
    )


def _roster_pages(connection: Connection, store: StoreId, held: int, now: datetime) -> tuple[RosterPage, ...]:
    cuts = _cuts_after(lambda base: roster_page(connection, store, base, PAGE_ENTRIES_MAX, now), held)
    return tuple(
        RosterPage(
            base=cut.base,
            version=cut.version,
            more=cut.more,
            issued_ms=milliseconds(now),
            reset=cut.reset,
            entries=cut.entries,
        )
        for cut in cuts
    )


def _group_pages(connection: Connection, known: Device, held: int, now: datetime) -> tuple[GroupPage, ...]:
    """The group as it is; none for a reader that is ahead of us (a restored cloud)."""
    group = group_of(connection, known.store)
    if group.version < held:
        return ()
    wraps = {} if group.key is None else wraps_of(connection, known.store, group.key)
    page = GroupPage(
        base=held,
        version=group.version,
        more=False,
        issued_ms=milliseconds(now),
        key=group.key,
        kiosks=kiosks_of(connection, known.store),
        wrap=wraps.get(known.id),
    )
    return (page,)


def _template_pages(connection: Connection, known: Device, held: int, now: datetime) -> tuple[TemplatePage, ...]:
    """The store's templates, and which of them are wanted for other stores; what the kiosk was told is noted, so that a
    withdrawal knows who must prove it.

    A revoked kiosk is told nothing, and so its leases end.
    """
    if known.revoked_at is not None:
        return ()
    hold_templates(connection, known.store)
    cuts = _cuts_after(lambda base: template_page(connection, known.store, base, TEMPLATE_ENTRIES_MAX), held)
    for cut in cuts[-1:]:
        note_templates_told(connection, known.store, known.id, version=cut.version, whole=not cut.more, now=now)
    return tuple(
        TemplatePage(
            base=cut.base,
            version=cut.version,
            more=cut.more,
            issued_ms=milliseconds(now),
            reset=cut.reset,
            entries=cut.entries,
            wanted=() if cut.more else wanted_templates(connection, known.store, WANTED_MAX),
        )
        for cut in cuts
    )


def _store_pages(connection: Connection, store: StoreId, held: int, now: datetime) -> tuple[StorePage, ...]:
    """The store's own network as it is, when the reader knows an older one."""
    version, network = network_of(connection, store)
    if version <= held:
        return ()
    page = StorePage(
        base=held,
        version=version,
        more=False,
        issued_ms=milliseconds(now),
        kiosks=network.kiosks,
        owners=network.owners,
        following=network.following,
        following_from=network.following_from,
        hub=network.hub,
    )
    return (page,)


def refresh_network(connection: Connection, store: StoreId, now: datetime) -> None:
    """The store's feed tells of its kiosks, its owners and its hub as they are now; a new version when that is news.

    Locks the store's network.
    """
    n = store_network.c
    _new_networks.run(connection, [(store, 0, msgspec.msgpack.encode(StoreNetwork()))])
    connection.execute(select(n.version).where(n.store == store).with_for_update())
    place = store_by_id(connection, store)
    assert place is not None, "a kiosk belongs to a store"
    version, held = network_of(connection, store)
    day = place.calendar.business_day(now)
    moved = advance_network(held, version + 1, kiosks_seen(connection, store), day, now)
    if moved != held or version == 0:
        body = msgspec.msgpack.encode(moved)
        connection.execute(store_network.update().where(n.store == store).values(version=version + 1, body=body))


def _cuts_after(read: Callable[[int], FeedCut[Entry]], held: int) -> list[FeedCut[Entry]]:
    """The next pieces of a feed for a reader that holds a version; none when it is ahead of us (a restored cloud)."""
    cuts: list[FeedCut[Entry]] = []
    base = held
    while len(cuts) < PAGES_A_FEED:
        cut = read(base)
        if cut.version < base:
            break
        cuts.append(cut)
        if not cut.more:
            break
        base = cut.version
    return cuts


def leap_feeds(connection: Connection, now: datetime) -> None:
    """Every feed's versions continue far above those that kiosks may hold.

    For a database that was brought back from a copy: what was numbered since is lost here and not there, and a kiosk
    reads no page below what it holds. It keeps what it read in the lost time and learns what is new, but for faces:
    every template is forgotten, since one may have been withdrawn in the lost time, and members are recognised again
    once they consent and enrol again. Kiosks that hold a secret wrap it anew; the copy has none.
    """
    stores = connection.execute(select(store_table.c.id)).scalars().all()
    for place in stores:
        _leap(connection, roster_head, roster_head.c.store, place)
        _leap(connection, face_group, _g.store, place)
        _leap_network(connection, place)
    connection.execute(face_group.update().values(key=None, device=None, made_at=None))
    connection.execute(delete(face_wrap))
    restart_faces(connection, map(StoreId, stores), ahead=FEED_LEAP, now=now)
    for owner in connection.execute(select(tenant_table.c.id)).scalars().all():
        _leap(connection, deny_head, deny_head.c.tenant, owner)
    connection.execute(device_revocation.update().values(version=device_revocation.c.version + FEED_LEAP))
    reissue_policies(connection, ahead=FEED_LEAP, now=now)


def _leap(connection: Connection, head: Table, key: Column[str], owner: str) -> None:
    moved = connection.execute(head.update().where(key == owner).values(version=head.c.version + FEED_LEAP))
    if moved.rowcount == 0:
        connection.execute(head.insert().values({key: owner, head.c.version: FEED_LEAP}))


def _leap_network(connection: Connection, place: str) -> None:
    """What was told of owners in the lost time is not known, and kiosks go by it until they hear of this.

    So there are no owners until every kiosk has said that it holds the new version.
    """
    n = store_network.c
    version, held = network_of(connection, StoreId(place))
    ahead = version + FEED_LEAP
    again = msgspec.structs.replace(held, owners=(), following=None, following_from=None, announced=ahead)
    body = msgspec.msgpack.encode(again)
    connection.execute(store_network.update().where(n.store == place).values(version=ahead, body=body))


# -- groups of kiosks --------------------------------------------------------------------------------------------


def keep_wraps(connection: Connection, wrappings: Sequence[Wrapping], now: datetime) -> None:
    """Each wrapped secret is added to its store's group, becomes it, waits or is ignored, as `wrap_fate` says.

    Only kiosks of the store that are not revoked can be wrapped for. A secret that is replaced is dropped with all
    that was wrapped and sealed under it; templates sealed to the new one are given out as they come.
    """
    for store in sorted({one.store for one in wrappings}):
        _regroup(connection, store)
        kiosks = kiosks_of(connection, store)
        for one in wrappings:
            if one.store == store and one.device in kiosks:
                _take_wrap(connection, one, now)
        _bound_waiting(connection, store, now)


def _take_wrap(connection: Connection, one: Wrapping, now: datetime) -> None:
    fate = wrap_fate(one, group_of(connection, one.store).key, wrap_for(connection, one.store, one.device, one.key))
    if fate is WrapFate.IGNORE:
        return
    place = (one.store, one.device, one.key, one.previous, one.sealed)
    said = (one.origin.device, one.origin.epoch, one.origin.seq, to_microseconds(one.said_at))
    _save_wrap.run(connection, [place + said])
    if fate is WrapFate.TURN:
        _turn(connection, one.store, one.key, one.origin.device, now)


def _turn(connection: Connection, store: StoreId, key: bytes, by: DeviceId, now: datetime) -> None:
    """The group's secret is another from now on, and the one after that when its change came first."""
    old = group_of(connection, store).key
    connection.execute(face_group.update().where(_g.store == store).values(key=key, device=by, made_at=now))
    connection.execute(delete(face_wrap).where(_f.store == store, _f.key == old))
    following = (
        select(_f.key, _f.wrapped_by)
        .where(_f.store == store, _f.previous == key, _f.key != key)
        .order_by(_f.said_at, _f.key)
        .limit(1)
    )
    after = connection.execute(following).one_or_none()
    if after is None:
        set_template_key(connection, store, key, now)
    else:
        _turn(connection, store, after.key, DeviceId(after.wrapped_by), now)


def _bound_waiting(connection: Connection, store: StoreId, now: datetime) -> None:
    """No more waits of the store than may, and nothing for longer than it may."""
    key = group_of(connection, store).key
    others = (_f.store == store) & (_f.key != key)
    rows = connection.execute(select(_f.device, _f.key, _f.said_at).where(others).order_by(_f.said_at.desc()))
    for place, row in enumerate(rows.all()):
        if place >= WRAPS_WAITING_MAX or row.said_at < now - WRAPS_WAITING_AGE_MAX:
            connection.execute(delete(face_wrap).where(_f.store == store, _f.device == row.device, _f.key == row.key))


def _regroup(connection: Connection, store: StoreId) -> None:
    """The kiosks of the store are told of their group again; its row is locked until the transaction ends."""
    connection.execute(_change_group, {"store": store})


# -- rows --------------------------------------------------------------------------------------------------------


def _locked(connection: Connection, id: DeviceId) -> Device | None:
    row = connection.execute(select(device).where(device.c.id == id).with_for_update()).one_or_none()
    return None if row is None else read_device(row)


def _claimed_again(
    connection: Connection, id: DeviceId, secret: bytes, request: Request, signing_public: bytes
) -> Claimed | DeviceRefusal:
    held = device_by_id(connection, id)
    assert held is not None, "foreign keys hold"
    if (held.tls_public, held.signing_public) != (request.public, signing_public):
        return DeviceRefusal.CODE_USED
    return Claimed(device=held, poll_token=poll_token_of(secret, id))


def _save_device(connection: Connection, made: Device, *, poll_token: str) -> None:
    connection.execute(
        device.insert().values(
            id=made.id,
            tenant=made.tenant,
            store=made.store,
            tls_public=made.tls_public,
            signing_public=made.signing_public,
            fingerprint=made.fingerprint,
            poll_digest=digest_of(poll_token.encode()),
            claimed_at=made.claimed_at,
        )
    )


def _certify(
    connection: Connection, keyring: Keyring, id: DeviceId, tls_public: bytes, now: datetime, life: timedelta
) -> Certificate:
    key = load_der_public_key(tls_public)
    assert isinstance(key, ec.EllipticCurvePublicKey), "read_request let nothing else in"
    issued = issue_client_certificate(keyring, id, key, now, life)
    made = Certificate(
        serial=f"{issued.serial_number:x}",
        device=id,
        issued_at=now,
        expires_at=issued.not_valid_after_utc,
        tls_public=tls_public,
        pem=issued.public_bytes(Encoding.PEM).decode(),
    )
    connection.execute(
        device_certificate.insert().values(
            serial=made.serial,
            device=id,
            issued_at=now,
            expires_at=made.expires_at,
            tls_public=tls_public,
            pem=made.pem,
        )
    )
    return made

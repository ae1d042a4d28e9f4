"""Reading the registry of devices, in whatever transaction the caller is in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from cloud.devices.rules import Device, KioskSeen, StoreNetwork, Wrapping
from cloud.devices.tables import (
    device,
    device_certificate,
    device_epoch,
    device_revocation,
    device_status,
    face_group,
    face_wrap,
    store_network,
)
from cloud.kit.bulk import KeyedSelect
from cloud.members.queries import count_templates, face_proofs_at, template_readers
from cloud.members.rules import FeedCut, Origin, RecordedProof, cut_feed
from shared.answers import RevokedDevice, StoreKiosk
from shared.business_day import milliseconds
from shared.ids import DeviceId, StoreId, TenantId

PROOFS_SHOWN_MAX = 20  # the last ones say whether kiosks answer; each member sees their own

_find_facts = KeyedSelect(
    device,
    [device.c.id],
    [device.c.id, device.c.tenant, device.c.store, device.c.signing_public, device.c.confirmed_at, device.c.revoked_at],
)
_epochs = select(device_epoch.c.device, device_epoch.c.epoch, device_epoch.c.quarantined_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What judging a device's claims needs. `epochs` are all that were issued to it, `quarantined` those set aside."""

    id: DeviceId
    tenant: TenantId
    store: StoreId
    signing_public: bytes
    confirmed: bool
    revoked: bool
    epochs: frozenset[int]
    quarantined: frozenset[int]

    @property
    def epoch(self) -> int:
        """The epoch of the device's newest database, 0 when it has none."""
        return max(self.epochs, default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that was issued to a device; `serial` in lower-case hexadecimal."""

    serial: str
    device: DeviceId
    issued_at: datetime
    expires_at: datetime
    tls_public: bytes
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An epoch whose history forked: two devices with one identity, or one that was set back by hand."""

    epoch: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """How a device last showed itself. `head` is its newest envelope, `settled` up to where all is settled."""

    is_online: bool
    seen_at: datetime
    epoch: int
    head: int
    settled: int
    software: str


def device_for_ingest(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, DeviceFacts]:
    """The facts of those ids that are devices, in two statements however many."""
    wanted = sorted(set(ids))
    epochs: dict[str, set[int]] = {}
    quarantined: dict[str, set[int]] = {}
    for owner, epoch, since in connection.execute(_epochs.where(device_epoch.c.device.in_(wanted))):
        epochs.setdefault(owner, set()).add(epoch)
        if since is not None:
            quarantined.setdefault(owner, set()).add(epoch)
    rows = _find_facts.fetch(connection, [(id,) for id in wanted])
    return {
        DeviceId(id): DeviceFacts(
            id=DeviceId(id),
            tenant=TenantId(tenant),
            store=StoreId(store),
            signing_public=signing_public,
            confirmed=confirmed_at is not None,
            revoked=revoked_at is not None,
            epochs=frozenset(epochs.get(id, ())),
            quarantined=frozenset(quarantined.get(id, ())),
        )
        for id, tenant, store, signing_public, confirmed_at, revoked_at in rows
    }


def device_by_id(connection: Connection, id: DeviceId) -> Device | None:
    """The device, or None."""
    row = connection.execute(select(device).where(device.c.id == id)).one_or_none()
    return None if row is None else read_device(row)


def devices_after(connection: Connection, after: str, limit: int, of: TenantId | None) -> Sequence[Device]:
    """At most `limit` devices whose id comes after the one given, in id order; of one tenant, or of all when None."""
    query = select(device).where(device.c.id > after).order_by(device.c.id).limit(limit)
    rows = connection.execute(query if of is None else query.where(device.c.tenant == of))
    return [read_device(row) for row in rows]


def statuses_of(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, DeviceStatus]:
    """How those of the devices that ever showed themselves last did."""
    rows = connection.execute(select(device_status).where(device_status.c.device.in_(sorted(ids))))
    return {
        DeviceId(row.device): DeviceStatus(
            is_online=bool(row.is_online),
            seen_at=row.seen_at,
            epoch=row.epoch,
            head=row.head,
            settled=row.settled,
            software=row.software,
        )
        for row in rows
    }


def newest_epochs(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, int]:
    """The newest epoch of each of the devices that has one."""
    c = device_epoch.c
    query = select(c.device, func.max(c.epoch)).where(c.device.in_(sorted(ids))).group_by(c.device)
    return {DeviceId(device): epoch for device, epoch in connection.execute(query)}


def set_aside_of(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, tuple[SetAside, ...]]:
    """The epochs of those devices that were set aside, for a person to look into, in order."""
    c = device_epoch.c
    rows = connection.execute(
        select(c.device, c.epoch, c.quarantined_at)
        .where(c.device.in_(sorted(ids)), c.quarantined_at.is_not(None))
        .order_by(c.device, c.epoch)
    )
    found: dict[DeviceId, tuple[SetAside, ...]] = {}
    for owner, epoch, since in rows:
        found[DeviceId(owner)] = (*found.get(DeviceId(owner), ()), SetAside(epoch=epoch, since=since))
    return found


def newest_certificate(connection: Connection, id: DeviceId) -> Certificate | None:
    """The certificate issued to the device last, or None before its confirmation."""
    c = device_certificate.c
    query = select(device_certificate).where(c.device == id).order_by(c.issued_at.desc(), c.serial).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else read_certificate(row)


def certificate_ends(connection: Connection, ids: Collection[DeviceId]) -> Mapping[DeviceId, datetime]:
    """Until when those of the devices that were certified can connect."""
    c = device_certificate.c
    query = select(c.device, func.max(c.expires_at)).where(c.device.in_(sorted(ids))).group_by(c.device)
    return {DeviceId(id): end for id, end in connection.execute(query)}


def count_certificates(connection: Connection, id: DeviceId, now: datetime) -> int:
    """How many certificates of the device are in force."""
    c = device_certificate.c
    query = select(func.count()).select_from(device_certificate).where(c.device == id, c.expires_at > now)
    return connection.execute(query).scalar_one()


def active_devices(connection: Connection) -> tuple[DeviceId, ...]:
    """The devices that the broker may listen to: confirmed and not revoked."""
    c = device.c
    rows = connection.execute(select(c.id).where(c.confirmed_at.is_not(None), c.revoked_at.is_(None)).order_by(c.id))
    return tuple(DeviceId(id) for id in rows.scalars())


def revoked_serials(connection: Connection, now: datetime) -> tuple[tuple[int, datetime], ...]:
    """Certificate numbers that a revocation list must name, each with the instant of the revocation."""
    c = device_certificate.c
    rows = connection.execute(
        select(c.serial, device.c.revoked_at)
        .join(device, device.c.id == c.device)
        .where(device.c.revoked_at.is_not(None), c.expires_at > now)
        .order_by(c.serial)
    )
    return tuple((int(serial, 16), since) for serial, since in rows)


def revocation_page(connection: Connection, tenant: TenantId, base: int, limit: int) -> FeedCut[RevokedDevice]:
    """The tenant's revocations from version `base` on, at most `limit` of them."""
    c = device_revocation.c
    newest = select(c.version).where(c.tenant == tenant).order_by(c.version.desc()).limit(1)
    head = connection.execute(newest).scalar() or 0
    reset = base > head
    start = 0 if reset else base
    query = select(c.version, c.device, c.since).where(c.tenant == tenant, c.version > start)
    rows = connection.execute(query.order_by(c.version).limit(limit + 1))
    numbered = [(version, RevokedDevice(device=id, since_ms=milliseconds(since))) for version, id, since in rows]
    return cut_feed(start, head, numbered, limit=limit, reset=reset)


def kiosks_of(connection: Connection, store: StoreId) -> tuple[DeviceId, ...]:
    """The kiosks of the store that were confirmed and not revoked, by id."""
    c = device.c
    good = (c.store == store) & c.confirmed_at.is_not(None) & c.revoked_at.is_(None)
    return tuple(DeviceId(id) for id in connection.execute(select(c.id).where(good).order_by(c.id)).scalars())


def kiosks_seen(connection: Connection, store: StoreId) -> tuple[KioskSeen, ...]:
    """The kiosks of the store that were confirmed and not revoked, as each last showed itself."""
    c, s = device.c, device_status.c
    good = (c.store == store) & c.confirmed_at.is_not(None) & c.revoked_at.is_(None)
    query = select(c.id, c.signing_public, s.lan, s.is_online, s.seen_at, s.network_version)
    rows = connection.execute(query.outerjoin(device_status, s.device == c.id).where(good).order_by(c.id))
    return tuple(
        KioskSeen(
            kiosk=StoreKiosk(device=row.id, public=row.signing_public, lan=row.lan),
            is_online=bool(row.is_online),
            seen_at=row.seen_at,
            version=row.network_version or 0,
        )
        for row in rows
    )


def network_of(connection: Connection, store: StoreId) -> tuple[int, StoreNetwork]:
    """The newest version of the store's feed and what it tells; 0 and nothing before the first."""
    row = connection.execute(select(store_network).where(store_network.c.store == store)).one_or_none()
    if row is None:
        return 0, StoreNetwork()
    return row.version, msgspec.msgpack.decode(row.body, type=StoreNetwork)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The kiosks of a store that share a secret. `key` names it, None while there is none.

    `made_by` is the kiosk that made it, at `made_at` as the cloud heard it.
    """

    version: int = 0
    key: bytes | None = None
    made_by: DeviceId | None = None
    made_at: datetime | None = None


def group_of(connection: Connection, store: StoreId) -> Group:
    """The store's group."""
    row = connection.execute(select(face_group).where(face_group.c.store == store)).one_or_none()
    if row is None:
        return Group()
    maker = None if row.device is None else DeviceId(row.device)
    return Group(version=row.version, key=row.key, made_by=maker, made_at=row.made_at)


def wraps_of(connection: Connection, store: StoreId, key: bytes) -> Mapping[DeviceId, bytes]:
    """The secret of that name as it was wrapped, by the kiosk that can open it."""
    c = face_wrap.c
    rows = connection.execute(select(c.device, c.sealed).where(c.store == store, c.key == key).order_by(c.device))
    return {DeviceId(row.device): row.sealed for row in rows}


def wrap_for(connection: Connection, store: StoreId, device: DeviceId, key: bytes) -> Wrapping | None:
    """The secret of that name as it is wrapped for the kiosk, or None."""
    c = face_wrap.c
    row = connection.execute(select(face_wrap).where(c.store == store, c.device == device, c.key == key)).one_or_none()
    if row is None:
        return None
    return Wrapping(
        store=store,
        key=key,
        previous=row.previous,
        device=device,
        sealed=row.sealed,
        said_at=row.said_at,
        origin=Origin(device=DeviceId(row.wrapped_by), epoch=row.epoch, seq=row.seq),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """The group of a store as people look at it.

    `holders` are the kiosks for which the secret is wrapped and the one that made it; `told` when each was last told of
    all templates, None for never; `proofs` the last words of kiosks that they deleted one.
    """

    store: StoreId
    group: Group
    kiosks: tuple[DeviceId, ...]
    holders: frozenset[DeviceId]
    told: Mapping[DeviceId, datetime | None]
    templates: int
    proofs: tuple[RecordedProof, ...]


def _holders(connection: Connection, store: StoreId, group: Group) -> frozenset[DeviceId]:
    wrapped = () if group.key is None else wraps_of(connection, store, group.key).keys()
    return frozenset({*wrapped, *(() if group.made_by is None else (group.made_by,))})


def group_state(connection: Connection, store: StoreId) -> GroupState:
    """How the store's group is."""
    group = group_of(connection, store)
    return GroupState(
        store=store,
        group=group,
        kiosks=kiosks_of(connection, store),
        holders=_holders(connection, store, group),
        told={reader.device: reader.told_at for reader in template_readers(connection, store)},
        templates=count_templates(connection, store),
        proofs=face_proofs_at(connection, store, PROOFS_SHOWN_MAX),
    )


def read_device(row: Row[Any]) -> Device:  # Any: a row of the table's own columns
    """The device in a row of all columns of the table."""
    return Device(
        id=DeviceId(row.id),
        tenant=TenantId(row.tenant),
        store=StoreId(row.store),
        tls_public=row.tls_public,
        signing_public=row.signing_public,
        fingerprint=row.fingerprint,
        claimed_at=row.claimed_at,
        confirmed_at=row.confirmed_at,
        revoked_at=row.revoked_at,
    )


def read_certificate(row: Row[Any]) -> Certificate:  # Any: a row of the table's own columns
    """The certificate in a row of all columns of the table."""
    return Certificate(
        serial=row.serial,
        device=DeviceId(row.device),
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        tls_public=row.tls_public,
        pem=row.pem,
    )

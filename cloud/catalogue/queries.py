"""What the catalogue holds, read in whatever transaction the caller is in."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, select

from cloud.catalogue.rules import Merchant, Programme, Store, Tenant
from cloud.catalogue.tables import merchant, policy, programme, store, tenant
from shared.ids import StoreId, TenantId
from shared.policy import Policy

_decoder = msgspec.msgpack.Decoder(Policy)
_bodies = select(policy.c.body)


def tenant_by_id(connection: Connection, id: TenantId) -> Tenant | None:
    """The tenant, or None."""
    row = connection.execute(select(tenant).where(tenant.c.id == id)).one_or_none()
    return None if row is None else Tenant(id=TenantId(row.id), name=row.name, naming_key=row.naming_key)


def merchant_by_id(connection: Connection, id: str) -> Merchant | None:
    """The merchant, or None."""
    row = connection.execute(select(merchant).where(merchant.c.id == id)).one_or_none()
    return None if row is None else Merchant(id=row.id, tenant=TenantId(row.tenant), name=row.name)


def programme_by_id(connection: Connection, id: str) -> Programme | None:
    """The programme, or None."""
    row = connection.execute(select(programme).where(programme.c.id == id)).one_or_none()
    return None if row is None else Programme(id=row.id, tenant=TenantId(row.tenant), name=row.name, unit=row.unit)


def store_by_id(connection: Connection, id: StoreId) -> Store | None:
    """The store, or None."""
    row = connection.execute(select(store).where(store.c.id == id)).one_or_none()
    return None if row is None else _store(row)


def stores_after(connection: Connection, after: str, limit: int, of: TenantId | None) -> Sequence[Store]:
    """At most `limit` stores whose id comes after the one given, in id order; of one tenant, or of all when None."""
    query = select(store).where(store.c.id > after).order_by(store.c.id).limit(limit)
    rows = connection.execute(query if of is None else query.where(store.c.tenant == of))
    return [_store(row) for row in rows]


def stores_of_programme(connection: Connection, programme: str, limit: int) -> Sequence[Store]:
    """At most `limit` stores that take part in the programme, in id order."""
    rows = connection.execute(select(store).where(store.c.programme == programme).order_by(store.c.id).limit(limit))
    return [_store(row) for row in rows]


def unit_of(connection: Connection, id: StoreId) -> str | None:
    """The unit in which the store's programme gives points, or None for an unknown store."""
    joined = store.join(programme, store.c.programme == programme.c.id)
    return connection.execute(select(programme.c.unit).select_from(joined).where(store.c.id == id)).scalar()


def policy_in_force(connection: Connection, id: StoreId) -> Policy | None:
    """The newest policy of the store, or None when it never had one."""
    return _policy(connection, _bodies.where(policy.c.store == id).order_by(policy.c.version.desc()).limit(1))


def policy_at(connection: Connection, id: StoreId, version: int) -> Policy | None:
    """That version of the store's policy, or None."""
    return _policy(connection, _bodies.where(policy.c.store == id, policy.c.version == version))


def _policy(connection: Connection, query: Select[bytes]) -> Policy | None:
    body = connection.execute(query).scalar()
    return None if body is None else _decoder.decode(body)


def _store(row: Row[Any]) -> Store:  # Any: a row of the table's own columns
    return Store(
        id=StoreId(row.id),
        tenant=TenantId(row.tenant),
        merchant=row.merchant,
        programme=row.programme,
        name=row.name,
        zone=row.zone,
        cutoff_hour=row.cutoff_hour,
    )

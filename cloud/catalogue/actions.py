"""Making catalogue entries and setting terms. Every function works inside the caller's writing transaction.

Making an entry again with the same content is a success, so a set-up that was cut off can simply run again.
"""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from cloud.catalogue.queries import (
    merchant_by_id,
    policy_in_force,
    programme_by_id,
    store_by_id,
    stores_after,
    tenant_by_id,
)
from cloud.catalogue.rules import (
    CatalogueRefusal,
    DailyReward,
    FaceRules,
    Merchant,
    Programme,
    Store,
    Tenant,
    compile_policy,
    entry_fault,
    programme_fault,
    say_the_same,
    store_fault,
)
from cloud.catalogue.tables import merchant, policy, programme, store, tenant
from cloud.kit.bulk import InsertNew
from cloud.kit.events import NewEvent, append
from cloud.kit.instants import to_microseconds
from shared.business_day import milliseconds
from shared.ids import CampaignId, StoreId, TenantId
from shared.policy import InstantTerms, Policy

POLICY_SET: Final = "catalogue.policy-set"  # the body is the store's id

STORES_MAX: Final = 1_000_000  # read at once when all terms are issued again
WITHOUT_FACES: Final = FaceRules()

_new_tenant = InsertNew(tenant, list(tenant.c))
_new_merchant = InsertNew(merchant, list(merchant.c))
_new_programme = InsertNew(programme, list(programme.c))
_new_store = InsertNew(store, list(store.c))


def create_tenant(
    connection: Connection, id: TenantId, name: str, naming_key: bytes, now: datetime
) -> Tenant | CatalogueRefusal:
    """The tenant of that id and name, made unless it was there; `naming_key` (32 random bytes) is for a new one."""
    fault = entry_fault(id, name)
    if fault is not None:
        return fault
    _new_tenant.run(connection, [(id, name, naming_key, to_microseconds(now))])
    held = tenant_by_id(connection, id)
    return held if held is not None and held.name == name else CatalogueRefusal.TAKEN


def create_merchant(connection: Connection, wanted: Merchant, now: datetime) -> Merchant | CatalogueRefusal:
    """The merchant, made unless it was there."""
    fault = entry_fault(wanted.id, wanted.name) or _tenant_fault(connection, wanted.tenant)
    if fault is not None:
        return fault
    _new_merchant.run(connection, [(wanted.id, wanted.tenant, wanted.name, to_microseconds(now))])
    return wanted if merchant_by_id(connection, wanted.id) == wanted else CatalogueRefusal.TAKEN


def create_programme(connection: Connection, wanted: Programme, now: datetime) -> Programme | CatalogueRefusal:
    """The programme, made unless it was there."""
    fault = programme_fault(wanted) or _tenant_fault(connection, wanted.tenant)
    if fault is not None:
        return fault
    _new_programme.run(connection, [(wanted.id, wanted.tenant, wanted.name, wanted.unit, to_microseconds(now))])
    return wanted if programme_by_id(connection, wanted.id) == wanted else CatalogueRefusal.TAKEN


def create_store(connection: Connection, wanted: Store, now: datetime) -> Store | CatalogueRefusal:
    """The store, made unless it was there; its merchant and its programme must be the tenant's."""
    fault = store_fault(wanted) or _owner_fault(connection, wanted)
    if fault is not None:
        return fault
    place = (wanted.id, wanted.tenant, wanted.merchant, wanted.programme)
    terms = (wanted.name, wanted.zone, wanted.cutoff_hour, to_microseconds(now))
    _new_store.run(connection, [place + terms])
    return wanted if store_by_id(connection, wanted.id) == wanted else CatalogueRefusal.TAKEN


def set_daily_reward(
    connection: Connection,
    id: StoreId,
    *,
    points: int,
    reduced_points: int,
    campaign: CampaignId,
    cards_reduced: bool,
    faces: FaceRules = WITHOUT_FACES,
    instant: InstantTerms | None = None,
    now: datetime,
) -> Policy | CatalogueRefusal:
    """The policy in force from now on: the held one when it says the same, else the next version."""
    connection.execute(select(store.c.id).where(store.c.id == id).with_for_update())
    place = store_by_id(connection, id)
    if place is None:
        return CatalogueRefusal.UNKNOWN_STORE
    owner, scheme = tenant_by_id(connection, place.tenant), programme_by_id(connection, place.programme)
    assert owner is not None, "foreign keys hold"
    assert scheme is not None, "foreign keys hold"
    held = policy_in_force(connection, id)
    reward = DailyReward(
        campaign=campaign,
        points=points,
        reduced_points=reduced_points,
        cards_reduced=cards_reduced,
        faces=faces,
        instant=instant,
    )
    wanted = compile_policy(owner, scheme, place, reward, version=1 if held is None else held.version + 1, now=now)
    if isinstance(wanted, CatalogueRefusal):
        return wanted
    if held is not None and say_the_same(held, wanted):
        return held
    body = msgspec.msgpack.encode(wanted)
    connection.execute(policy.insert().values(store=id, version=wanted.version, issued_at=now, body=body))
    append(connection, [NewEvent(topic=POLICY_SET, tenant=owner.id, body=id.encode())], recorded_at=now)
    return wanted


def _tenant_fault(connection: Connection, id: TenantId) -> CatalogueRefusal | None:
    return None if tenant_by_id(connection, id) is not None else CatalogueRefusal.UNKNOWN_TENANT


def _owner_fault(connection: Connection, wanted: Store) -> CatalogueRefusal | None:
    runs, scheme = merchant_by_id(connection, wanted.merchant), programme_by_id(connection, wanted.programme)
    if runs is None:
        return CatalogueRefusal.UNKNOWN_MERCHANT
    if scheme is None:
        return CatalogueRefusal.UNKNOWN_PROGRAMME
    if {runs.tenant, scheme.tenant} != {wanted.tenant}:
        return CatalogueRefusal.OTHER_TENANT
    return None


def reissue_policies(connection: Connection, *, ahead: int, now: datetime) -> None:
    """Every store's terms are issued again under a version `ahead` of its last.

    For a database that was brought back from a copy: kiosks may hold versions that are lost.
    """
    for place in stores_after(connection, "", STORES_MAX, None):
        held = policy_in_force(connection, place.id)
        if held is not None:
            again = msgspec.structs.replace(held, version=held.version + ahead, issued_ms=milliseconds(now))
            body = msgspec.msgpack.encode(again)
            connection.execute(policy.insert().values(store=place.id, version=again.version, issued_at=now, body=body))

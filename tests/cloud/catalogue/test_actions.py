"""Making entries and setting terms, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant, set_daily_reward
from cloud.catalogue.queries import policy_at, policy_in_force, store_by_id, stores_after, tenant_by_id, unit_of
from cloud.catalogue.rules import CatalogueRefusal, Merchant, Programme, Store, Tenant
from cloud.catalogue.tables import policy
from cloud.kit.database import reading, writing
from cloud.kit.events import drain
from shared.ids import CampaignId, StoreId, TenantId
from shared.policy import Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
NORD = TenantId("nord")
MERCHANT = Merchant(id="caffe", tenant=NORD, name="Caffè")
PROGRAMME = Programme(id="club", tenant=NORD, name="Club", unit="PT:consumption")
STORE = Store(
    id=StoreId("milano-1"),
    tenant=NORD,
    merchant="caffe",
    programme="club",
    name="Milano",
    zone="Europe/Rome",
    cutoff_hour=4,
)


@pytest.fixture
def shop(engine: Engine) -> Engine:
    """A database with one tenant and its store."""
    with writing(engine) as connection:
        assert isinstance(create_tenant(connection, NORD, "Nord", b"k" * 32, NOW), Tenant)
        assert create_merchant(connection, MERCHANT, NOW) == MERCHANT
        assert create_programme(connection, PROGRAMME, NOW) == PROGRAMME
        assert create_store(connection, STORE, NOW) == STORE
    return engine


def _set(engine: Engine, *, points: int = 10, store: str = "milano-1", at: datetime = NOW) -> Policy | CatalogueRefusal:
    with writing(engine) as connection:
        return set_daily_reward(
            connection,
            StoreId(store),
            points=points,
            reduced_points=5,
            campaign=CampaignId("spring"),
            cards_reduced=False,
            now=at,
        )


def test_making_the_same_again_changes_nothing(shop: Engine) -> None:
    with writing(shop) as connection:
        again = create_tenant(connection, NORD, "Nord", b"x" * 32, LATER)
        assert isinstance(again, Tenant)
        assert again.naming_key == b"k" * 32
        assert create_merchant(connection, MERCHANT, LATER) == MERCHANT
        assert create_programme(connection, PROGRAMME, LATER) == PROGRAMME
        assert create_store(connection, STORE, LATER) == STORE


def test_an_id_means_one_thing(shop: Engine) -> None:
    with writing(shop) as connection:
        assert create_tenant(connection, NORD, "Sud", b"x" * 32, NOW) is CatalogueRefusal.TAKEN
        assert create_merchant(connection, replace(MERCHANT, name="Bar"), NOW) is CatalogueRefusal.TAKEN
        assert create_programme(connection, replace(PROGRAMME, unit="PT:guide"), NOW) is CatalogueRefusal.TAKEN
        assert create_store(connection, replace(STORE, cutoff_hour=5), NOW) is CatalogueRefusal.TAKEN


def test_owners_must_exist_and_be_the_same_tenants(shop: Engine) -> None:
    sud, other = TenantId("sud"), StoreId("roma-1")
    with writing(shop) as connection:
        assert create_merchant(connection, replace(MERCHANT, id="bar", tenant=sud), NOW) is (
            CatalogueRefusal.UNKNOWN_TENANT
        )
        assert create_programme(connection, replace(PROGRAMME, id="bar", tenant=sud), NOW) is (
            CatalogueRefusal.UNKNOWN_TENANT
        )
        create_tenant(connection, sud, "Sud", b"s" * 32, NOW)
        for change, refusal in (
            (replace(STORE, id=other, merchant="bar"), CatalogueRefusal.UNKNOWN_MERCHANT),
            (replace(STORE, id=other, programme="bar"), CatalogueRefusal.UNKNOWN_PROGRAMME),
            (replace(STORE, id=other, tenant=sud), CatalogueRefusal.OTHER_TENANT),
            (replace(STORE, id=other, zone="Mars/Olympus"), CatalogueRefusal.UNKNOWN_ZONE),
        ):
            assert create_store(connection, change, NOW) is refusal
        assert store_by_id(connection, other) is None
        assert create_tenant(connection, TenantId("A"), "A", b"a" * 32, NOW) is CatalogueRefusal.UNUSABLE_ID
        assert create_merchant(connection, replace(MERCHANT, id="A"), NOW) is CatalogueRefusal.UNUSABLE_ID
        assert create_programme(connection, replace(PROGRAMME, unit="x"), NOW) is CatalogueRefusal.UNUSABLE_UNIT


def test_each_change_of_terms_is_the_next_version(shop: Engine) -> None:
    first, again, second = _set(shop), _set(shop, at=LATER), _set(shop, points=20, at=LATER)
    assert isinstance(first, Policy)
    assert isinstance(second, Policy)
    assert again == first
    assert (first.version, second.version) == (1, 2)
    assert first.naming_key == b"k" * 32
    with reading(shop) as connection:
        assert policy_in_force(connection, STORE.id) == second
        assert policy_at(connection, STORE.id, 1) == first
        assert policy_at(connection, STORE.id, 3) is None
        assert unit_of(connection, STORE.id) == "PT:consumption"


def test_no_terms_for_a_store_that_is_none_or_cannot_have_them(shop: Engine) -> None:
    assert _set(shop, store="roma-1") is CatalogueRefusal.UNKNOWN_STORE
    assert _set(shop, points=4) is CatalogueRefusal.UNUSABLE_TERMS
    with reading(shop) as connection:
        assert policy_in_force(connection, STORE.id) is None
        assert unit_of(connection, StoreId("roma-1")) is None
        assert tenant_by_id(connection, TenantId("sud")) is None


def test_a_change_of_terms_is_told_once(shop: Engine) -> None:
    _set(shop)
    _set(shop)
    told: list[bytes] = []
    drain(shop, "test", ["catalogue.policy-set"], lambda _, events: told.extend(event.body for event in events))
    assert told == [b"milano-1"]


@pytest.mark.parametrize("statement", [policy.update().values(version=9), policy.delete()])
def test_a_policy_that_claims_may_name_is_never_changed(shop: Engine, statement: object) -> None:
    _set(shop)
    with pytest.raises(DBAPIError, match="insert-only"), writing(shop) as connection:
        connection.execute(statement)  # type: ignore[call-overload]  # both are executable


def test_stores_come_in_pages_and_by_tenant(shop: Engine) -> None:
    with writing(shop) as connection:
        create_store(connection, replace(STORE, id=StoreId("milano-2")), NOW)
    with reading(shop) as connection:
        assert [store.id for store in stores_after(connection, "", 1, None)] == ["milano-1"]
        assert [store.id for store in stores_after(connection, "milano-1", 9, NORD)] == ["milano-2"]
        assert stores_after(connection, "", 9, TenantId("sud")) == []

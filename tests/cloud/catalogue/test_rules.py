"""What a catalogue entry may be, and the policy that comes of a store and its terms."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.catalogue.rules import (
    CatalogueRefusal,
    DailyReward,
    Programme,
    Store,
    Tenant,
    compile_policy,
    entry_fault,
    is_usable_id,
    is_usable_name,
    programme_fault,
    say_the_same,
    store_fault,
)
from shared.ids import CampaignId, StoreId, TenantId
from shared.policy import Policy, policy_fault

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANT = Tenant(id=TenantId("nord"), name="Nord", naming_key=bytes(32))
PROGRAMME = Programme(id="club", tenant=TENANT.id, name="Club", unit="PT:consumption")
STORE = Store(
    id=StoreId("milano-1"),
    tenant=TENANT.id,
    merchant="caffe",
    programme="club",
    name="Caffè Milano",
    zone="Europe/Rome",
    cutoff_hour=4,
)
REWARD = DailyReward(campaign=CampaignId("spring"), points=10, reduced_points=5)


@pytest.mark.parametrize("text", ["a", "a-b", "milano-1", "0", "a" * 40])
def test_usable_ids(text: str) -> None:
    assert is_usable_id(text)


@pytest.mark.parametrize("text", ["", "A", "a_b", "-a", "a-", "a--b", "a:b", "a/b", "é", "a\n", "a" * 41])
def test_unusable_ids(text: str) -> None:
    assert not is_usable_id(text)
    assert entry_fault(text, "name") is CatalogueRefusal.UNUSABLE_ID


@pytest.mark.parametrize("text", ["", " a", "a ", "a\tb", "a\u202eb", "x" * 81])
def test_unusable_names(text: str) -> None:
    assert not is_usable_name(text)
    assert entry_fault("a", text) is CatalogueRefusal.UNUSABLE_NAME


@pytest.mark.parametrize("unit", ["", "PT", "pt:x", "PT:", "PT:X", "PT:a b", "PT:" + "x" * 33])
def test_unusable_units(unit: str) -> None:
    assert programme_fault(replace(PROGRAMME, unit=unit)) is CatalogueRefusal.UNUSABLE_UNIT
    assert programme_fault(PROGRAMME) is None


@pytest.mark.parametrize("zone", ["", "Europe", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe/Rome\0"])
def test_unknown_zones(zone: str) -> None:
    assert store_fault(replace(STORE, zone=zone)) is CatalogueRefusal.UNKNOWN_ZONE


def test_cutoff_hours() -> None:
    assert [store_fault(replace(STORE, cutoff_hour=hour)) for hour in (0, 12)] == [None, None]
    assert [store_fault(replace(STORE, cutoff_hour=hour)) for hour in (-1, 13)] == [
        CatalogueRefusal.UNUSABLE_CUTOFF
    ] * 2
    assert store_fault(replace(STORE, id=StoreId("A"))) is CatalogueRefusal.UNUSABLE_ID


def test_the_policy_says_what_was_set() -> None:
    policy = compile_policy(TENANT, PROGRAMME, STORE, REWARD, version=3, now=NOW)
    assert isinstance(policy, Policy)
    assert policy_fault(policy) is None
    assert (policy.version, policy.points, policy.reduced_points, policy.unit) == (3, 10, 5, "PT:consumption")
    assert (policy.calendar, policy.store_name) == (STORE.calendar, "Caffè Milano")


@pytest.mark.parametrize(
    "reward",
    [
        replace(REWARD, points=0),
        replace(REWARD, points=-1),
        replace(REWARD, reduced_points=11),
        replace(REWARD, reduced_points=-1),
        replace(REWARD, campaign=CampaignId("")),
        replace(REWARD, campaign=CampaignId("a:b")),
    ],
)
def test_unusable_terms(reward: DailyReward) -> None:
    assert compile_policy(TENANT, PROGRAMME, STORE, reward, version=1, now=NOW) is CatalogueRefusal.UNUSABLE_TERMS


def test_number_and_date_alone_make_no_difference() -> None:
    one = compile_policy(TENANT, PROGRAMME, STORE, REWARD, version=1, now=NOW)
    two = compile_policy(TENANT, PROGRAMME, STORE, REWARD, version=2, now=datetime(2027, 1, 1, tzinfo=UTC))
    more = compile_policy(TENANT, PROGRAMME, STORE, replace(REWARD, points=11), version=1, now=NOW)
    assert isinstance(one, Policy)
    assert isinstance(two, Policy)
    assert isinstance(more, Policy)
    assert say_the_same(one, two)
    assert not say_the_same(one, more)


@given(points=st.integers(-5, 50), reduced=st.integers(-5, 50))
def test_no_compiled_policy_is_one_a_kiosk_would_refuse(points: int, reduced: int) -> None:
    reward = replace(REWARD, points=points, reduced_points=reduced)
    policy = compile_policy(TENANT, PROGRAMME, STORE, reward, version=1, now=NOW)
    assert isinstance(policy, CatalogueRefusal) or policy_fault(policy) is None

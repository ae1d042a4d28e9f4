"""The verifier finds each kind of damage in a ledger broken by hand, and names it."""

import pytest
from sqlalchemy import Connection, Engine, text

from cloud.kit.database import reading, writing
from cloud.ledger.actions import post
from cloud.ledger.verify import BREACHES_MAX, Breach, Invariant, verify
from shared.ids import TenantId
from tests.cloud.ledger.world import ANNA, BRUNO, KIOSK, NOON, allotment, grant, late_grant, mint, reserve, wallet

SQLITE_UNLOCKED = """
CREATE TABLE {table}_copy AS SELECT * FROM {table};
DROP TABLE {table};
ALTER TABLE {table}_copy RENAME TO {table}
"""


def _unlock(connection: Connection) -> None:
    """Takes triggers, keys and checks away, as somebody with the file and an editor would."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table in ("posting", "journal_entry", "account", "ledger_chain"):
            for statement in SQLITE_UNLOCKED.format(table=table).split(";"):
                connection.exec_driver_sql(statement)
    else:
        for table in ("posting", "journal_entry", "account", "ledger_chain"):
            connection.exec_driver_sql(f"CREATE TABLE {table}_copy AS TABLE {table}")
            connection.exec_driver_sql(f"DROP TABLE {table} CASCADE")
            connection.exec_driver_sql(f"ALTER TABLE {table}_copy RENAME TO {table}")


def _broken(engine: Engine, *statements: str) -> tuple[Breach, ...]:
    """What the verifier says of a small sound ledger after the statements."""
    with writing(engine) as connection:
        drafts = [mint(1, 100), allotment(1, 60), grant(2, 5), grant(3, 7, BRUNO), grant(4, 5)]
        post(connection, drafts, recorded_at=NOON)
        _unlock(connection)
    with writing(engine) as connection:
        for statement in statements:
            values = {"anna": wallet(ANNA).id, "bruno": wallet(BRUNO).id, "kiosk": KIOSK.id}
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            assert connection.execute(text(statement), used).rowcount > 0
    with reading(engine) as connection:
        return verify(connection)


def _kinds(breaches: tuple[Breach, ...]) -> set[Invariant]:
    return {breach.invariant for breach in breaches}


def test_a_sound_ledger_has_no_breach(engine: Engine) -> None:
    assert _broken(engine) == ()


def test_an_empty_ledger_is_sound(engine: Engine) -> None:
    with reading(engine) as connection:
        assert verify(connection) == ()


@pytest.mark.parametrize(
    ("expected", "statement"),
    [
        ({Invariant.L3_CHAIN}, "UPDATE journal_entry SET reason = 'gift' WHERE sequence = 3"),
        ({Invariant.L3_CHAIN}, "UPDATE journal_entry SET effective_us = effective_us + 1 WHERE sequence = 3"),
        ({Invariant.L3_CHAIN}, "UPDATE journal_entry SET recorded_us = recorded_us + 1 WHERE sequence = 3"),
        ({Invariant.L3_CHAIN}, "UPDATE journal_entry SET digest = body_digest WHERE sequence = 3"),
        ({Invariant.L3_CHAIN}, "UPDATE ledger_chain SET sequence = 4"),
        ({Invariant.L3_CHAIN}, "DELETE FROM ledger_chain"),
        ({Invariant.L3_CHAIN}, "INSERT INTO ledger_chain SELECT 'nobody', 1, digest FROM ledger_chain"),
        ({Invariant.L3_CHAIN, Invariant.L17_TENANT}, "DELETE FROM journal_entry WHERE sequence = 5"),
        ({Invariant.L3_CHAIN, Invariant.L17_TENANT}, "DELETE FROM journal_entry WHERE sequence = 3"),
        (
            {Invariant.L1_BALANCED, Invariant.L3_CHAIN, Invariant.L5_STEPS, Invariant.L6_CACHE},
            "UPDATE posting SET amount = 50 WHERE sequence = 3 AND leg = 1",
        ),
        (
            {Invariant.L1_BALANCED, Invariant.L3_CHAIN, Invariant.L5_STEPS, Invariant.L6_CACHE},
            "DELETE FROM posting WHERE sequence = 3",
        ),
        ({Invariant.L5_STEPS}, "UPDATE posting SET balance = balance + 1 WHERE sequence = 3 AND leg = 1"),
        ({Invariant.L5_STEPS}, "UPDATE posting SET version = 9 WHERE sequence = 4 AND leg = 1"),
        ({Invariant.L2_LIMIT, Invariant.L5_STEPS}, "UPDATE posting SET balance = -1 WHERE sequence = 3 AND leg = 1"),
        ({Invariant.L6_CACHE}, "UPDATE account SET balance = 500 WHERE id = :anna"),
        ({Invariant.L6_CACHE}, "UPDATE account SET version = 7 WHERE id = :anna"),
        ({Invariant.L2_LIMIT, Invariant.L6_CACHE}, "UPDATE account SET balance = -1 WHERE id = :anna"),
        ({Invariant.L3_CHAIN, Invariant.L17_TENANT}, "UPDATE account SET subject = 'other' WHERE id = :anna"),
        ({Invariant.L3_CHAIN, Invariant.L17_TENANT}, "UPDATE account SET code = 7 WHERE id = :anna"),
        (
            {Invariant.L1_BALANCED, Invariant.L3_CHAIN, Invariant.L17_TENANT},
            "UPDATE account SET unit = 'MONEY:EUR' WHERE id = :anna",
        ),
        (
            {Invariant.L3_CHAIN, Invariant.L1_BALANCED, Invariant.L17_TENANT, Invariant.L6_CACHE},
            "UPDATE account SET tenant = 'butchers' WHERE id = :bruno",
        ),
        (
            {Invariant.L3_CHAIN, Invariant.L14_GRANT_ONCE},
            "UPDATE journal_entry SET id = (SELECT id FROM journal_entry WHERE sequence = 3) WHERE sequence = 5",
        ),
        (
            {Invariant.L3_CHAIN, Invariant.L4_ONCE},
            "UPDATE journal_entry SET id = (SELECT id FROM journal_entry WHERE sequence = 1) WHERE sequence = 2",
        ),
    ],
)
def test_each_kind_of_damage_is_named(engine: Engine, expected: set[Invariant], statement: str) -> None:
    breaches = _broken(engine, statement)
    assert _kinds(breaches) == expected
    assert all(breach.where and breach.found for breach in breaches)


def test_an_epoch_that_granted_more_than_its_allotment_is_named(engine: Engine) -> None:
    breaches = _broken(engine, "UPDATE posting SET amount = 16 WHERE sequence = 2 AND leg = 1")
    assert [breach.found for breach in breaches if breach.invariant is Invariant.L15_ALLOTMENT] == ["granted 17 of 16"]


def test_a_campaign_whose_points_went_elsewhere_is_named(engine: Engine) -> None:
    with writing(engine) as connection:
        drafts = [mint(1, 100), allotment(1, 60), reserve(5, 20), late_grant(6, 5)]
        post(connection, drafts, recorded_at=NOON)
        _unlock(connection)
    with reading(engine) as connection:
        assert verify(connection) == ()
    with writing(engine) as connection:
        connection.execute(text("UPDATE posting SET amount = 15 WHERE sequence = 3 AND leg = 1"))
        connection.execute(text("UPDATE posting SET amount = 5 WHERE sequence = 4 AND leg = 0"))
    with reading(engine) as connection:
        found = [(one.where, one.found) for one in verify(connection) if one.invariant is Invariant.L19_ESCROW]
    assert found == [
        ("campaign spring PT:consumption", "1 entries go the wrong way"),
        ("campaign spring PT:consumption", "moves between its accounts sum to -5"),
    ]


def test_a_claim_granted_in_time_and_late_is_named(engine: Engine) -> None:
    with writing(engine) as connection:
        post(connection, [mint(1, 100), reserve(5, 20), late_grant(6, 5), late_grant(7, 5)], recorded_at=NOON)
        _unlock(connection)
        connection.execute(text("UPDATE journal_entry SET id = :id WHERE sequence = 4"), {"id": late_grant(6, 5).id})
    with reading(engine) as connection:
        assert Invariant.L14_GRANT_ONCE in {one.invariant for one in verify(connection)}


def test_a_breach_says_where(engine: Engine) -> None:
    breaches = _broken(engine, "UPDATE account SET balance = 500 WHERE id = :anna")
    assert breaches == (
        Breach(
            invariant=Invariant.L6_CACHE,
            tenant="bakers",
            where="account 2110 PT:consumption mfxg4yjngaydambr",
            found="cached 500 after 2, postings sum to 10 after 2",
        ),
    )


def test_a_broken_tenant_does_not_hide_another(engine: Engine) -> None:
    with writing(engine) as connection:
        post(connection, [mint(1, 10, TenantId("zoo")), mint(1, 10, TenantId("ark"))], recorded_at=NOON)
        _unlock(connection)
        connection.execute(text("UPDATE journal_entry SET reason = 'x'"))
    with reading(engine) as connection:
        assert {breach.tenant for breach in verify(connection)} == {"ark", "zoo"}


def test_much_damage_is_told_a_bounded_number_of_times(engine: Engine) -> None:
    with writing(engine) as connection:
        post(connection, [mint(number, 1) for number in range(BREACHES_MAX + 20)], recorded_at=NOON)
        _unlock(connection)
        connection.execute(text("UPDATE journal_entry SET reason = 'x'"))
    with reading(engine) as connection:
        assert len(verify(connection)) == BREACHES_MAX

"""Both databases keep the promises of `open_engine`, and bulk statements do what single ones would."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from cloud.errors import DatabaseRefused
from cloud.kit import bulk
from cloud.kit.bulk import BulkInsert, InsertNew, KeyedSelect
from cloud.kit.database import open_engine, reading, writing
from cloud.kit.instants import from_microseconds, to_microseconds
from cloud.kit.tables import api_token, event_reader

COLUMNS = list(event_reader.c)


def _positions(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {row.consumer: row.position for row in connection.execute(select(event_reader))}


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql+pymysql://somewhere/x", "mongodb://somewhere"]
)
def test_an_address_that_cannot_hold_the_ledger_is_refused(url: str) -> None:
    with pytest.raises(DatabaseRefused):
        open_engine(url)


def test_sqlite_is_opened_for_durability(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with writing(engine) as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
        ]
    engine.dispose()
    assert pragmas == ["wal", 2, 1, 1, 30_000]


def test_a_reading_transaction_cannot_write_and_the_next_one_can(engine: Engine) -> None:
    row = {"consumer": "a", "position": 1}
    with pytest.raises(DBAPIError), reading(engine) as connection:
        connection.execute(insert(event_reader), row)
    with writing(engine) as connection:
        connection.execute(insert(event_reader), row)
    assert _positions(engine) == {"a": 1}


def test_a_reading_transaction_sees_one_moment(engine: Engine) -> None:
    with reading(engine) as connection:
        before = connection.execute(select(event_reader)).all()
        with writing(engine) as other:
            other.execute(insert(event_reader), {"consumer": "a", "position": 1})
        assert connection.execute(select(event_reader)).all() == before == []


def test_a_transaction_that_raises_is_rolled_back(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(event_reader), {"consumer": "a", "position": 1})
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert _positions(engine) == {}


def test_read_then_write_loses_no_update(engine: Engine) -> None:
    """Eight threads read a number, add one and write it back, under the lock each database offers for that."""
    with writing(engine) as connection:
        connection.execute(insert(event_reader), {"consumer": "a", "position": 0})

    def count() -> None:
        for _ in range(10):
            with writing(engine) as connection:
                position = connection.execute(select(event_reader.c.position).with_for_update()).scalar_one()
                connection.execute(event_reader.update().values(position=position + 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _positions(engine) == {"a": 80}


def test_instants_keep_their_microseconds(engine: Engine) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
    row = {"id": "t", "digest": b"d", "name": "", "scopes": "", "created_at": moment, "expires_at": moment}
    with writing(engine) as connection:
        connection.execute(insert(api_token), row)
        stored = connection.execute(text("SELECT created_at FROM api_token")).scalar_one()
        read = connection.execute(select(api_token.c.created_at, api_token.c.revoked_at)).one()
    assert stored == to_microseconds(moment) == 1_774_747_800_123_456
    assert tuple(read) == (moment, None)
    assert from_microseconds(-1) == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_bulk_insert_and_replace(engine: Engine) -> None:
    plain, replacing = BulkInsert(event_reader, COLUMNS), BulkInsert(event_reader, COLUMNS, update=COLUMNS[1:])
    with writing(engine) as connection:
        plain.run(connection, [])
        plain.run(connection, [("a", 1), ("b", 2**62)])
        replacing.run(connection, [("b", -3), ("ç'\"\\{}", 4)])
    assert _positions(engine) == {"a": 1, "b": -3, "ç'\"\\{}": 4}
    with pytest.raises(DBAPIError), writing(engine) as connection:
        plain.run(connection, [("c", 1), ("a", 1)])
    assert "c" not in _positions(engine)


def test_bulk_values_keep_null_and_bytes(engine: Engine) -> None:
    columns = [api_token.c[name] for name in ("id", "digest", "name", "scopes", "tenant", "created_at", "expires_at")]
    rows: list[bulk.Values] = [
        ("a", b"\x00\xff", "", "s", None, 1, 2),
        ("b", b"", "n\n", "s", "t", 1, 2),
    ]
    with writing(engine) as connection:
        BulkInsert(api_token, columns).run(connection, rows)
        found = KeyedSelect(api_token, columns[:1], columns).fetch(connection, [("a",), ("b",), ("c",)])
    assert sorted(tuple(row) for row in found) == rows


def test_insert_new_says_which_were_new(engine: Engine) -> None:
    insert_new = InsertNew(event_reader, COLUMNS)
    with writing(engine) as connection:
        assert insert_new.run(connection, []) == frozenset()
        assert insert_new.run(connection, [("a", 1), ("b", 1), ("a", 9)]) == {("a",), ("b",)}
        assert insert_new.run(connection, [("b", 2), ("c", 2)]) == {("c",)}
        assert insert_new.run(connection, [("b", 3)]) == frozenset()
    assert _positions(engine) == {"a": 1, "b": 1, "c": 2}


def test_more_keys_than_a_statement_holds(engine: Engine) -> None:
    rows: list[bulk.Values] = [(f"c{n}", n) for n in range(bulk.SQLITE_VARIABLES_MAX + 5)]
    with writing(engine) as connection:
        BulkInsert(event_reader, COLUMNS).run(connection, rows)
        found = KeyedSelect(event_reader, COLUMNS[:1], COLUMNS).fetch(connection, [row[:1] for row in rows])
    assert len(found) == len(rows)

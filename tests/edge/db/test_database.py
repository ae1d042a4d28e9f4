"""Opening, closing and committing: one writer, readers that cannot write, and faults with a name."""

import sqlite3
from pathlib import Path

import pytest

from edge.db import knowledge
from edge.db.database import Database
from edge.errors import StorageDamaged, StorageFault, StorageFull

NAME, OTHER = b"d" * 16, b"e" * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Database(tmp_path / "device.db") as database:
        database.open(NAME)
    return tmp_path / "device.db"


def pragma(database: Database, name: str) -> object:
    value: object = database.connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def test_the_settings_that_keep_a_grant_safe(path: Path) -> None:
    with Database(path) as database:
        database.open(OTHER)
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys", "trusted_schema", "busy_timeout")
        assert [pragma(database, name) for name in names] == ["wal", 2, 0, 1, 0, 10_000]


def test_a_database_keeps_the_name_of_its_first_life(path: Path) -> None:
    with Database(path) as database:
        database.open(OTHER)
        assert knowledge.life(database.connection).database == NAME


def test_a_reader_cannot_write(path: Path) -> None:
    with Database(path, read_only=True) as reader:
        reader.open()
        with pytest.raises(sqlite3.OperationalError):
            reader.connection.execute("UPDATE device SET epoch = 9")
        assert knowledge.life(reader.connection).epoch == 0


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    with Database(tmp_path / "none.db", read_only=True) as reader, pytest.raises(StorageFault):
        reader.open()
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_damaged_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    path.write_bytes(b"this is no database" * 100)
    with Database(path) as database, pytest.raises(StorageDamaged):
        database.open(NAME)
    assert path.read_bytes() == b"this is no database" * 100


def test_a_folder_that_is_not_there_takes_no_commits(tmp_path: Path) -> None:
    with Database(tmp_path / "nowhere" / "device.db") as database, pytest.raises(StorageFull):
        database.open(NAME)


def test_closing_twice_is_harmless_and_a_closed_database_is_not_open(path: Path) -> None:
    database = Database(path)
    database.open(NAME)
    database.close()
    database.close()
    with pytest.raises(AssertionError):
        _ = database.connection


def damage_pages(path: Path, table: str) -> None:
    """Overwrites the table's root page."""
    with Database(path) as database:
        database.open(NAME)
        root = database.connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        size = pragma(database, "page_size")
        assert isinstance(size, int)
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)


def spend(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE allotment SET spent = 0")


def test_a_damaged_page_is_a_damaged_database_and_not_a_full_disk(path: Path) -> None:
    damage_pages(path, "allotment")
    with Database(path) as database:
        database.open(NAME)
        with pytest.raises(StorageDamaged):
            spend(database)
        assert not database.connection.in_transaction


def insert_twice(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO revoked_device VALUES ('a', 1)")
        connection.execute("INSERT INTO revoked_device VALUES ('a', 1)")


def ask_for_nothing(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("SELECT ?", ())


def test_a_bug_of_the_caller_is_not_dressed_up_as_a_fault_of_the_disk(path: Path) -> None:
    with Database(path) as database:
        database.open(NAME)
        with pytest.raises(sqlite3.IntegrityError):
            insert_twice(database)
        with pytest.raises(sqlite3.ProgrammingError):
            ask_for_nothing(database)
        assert database.connection.execute("SELECT count(*) FROM revoked_device").fetchone()[0] == 0


def touch(database: Database) -> None:
    with database.transaction() as connection:
        knowledge.touch(connection)


def test_a_touch_is_a_commit_that_changes_nothing(path: Path) -> None:
    log = Path(f"{path}-wal")
    with Database(path) as database:
        database.open(NAME)
        before = knowledge.life(database.connection)
        touch(database)
        assert log.stat().st_size > 4096
        assert knowledge.life(database.connection) == before


def test_a_short_log_is_not_worth_a_checkpoint(path: Path) -> None:
    log = Path(f"{path}-wal")
    with Database(path) as database:
        database.open(NAME)
        log.unlink()
        database.checkpoint()  # not even a log
    with Database(path) as database:
        database.open(NAME)
        touch(database)
        before = log.stat().st_size
        database.checkpoint()
        assert log.stat().st_size == before


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("outbox", "UPDATE outbox SET header = x'00'"),
        ("outbox", "UPDATE outbox SET seq = 9"),
        ("claim", "UPDATE claim SET amount = 99"),
        ("claim", "UPDATE claim SET member = x'00'"),
    ],
)
def test_what_was_written_is_final(path: Path, table: str, statement: str) -> None:
    with Database(path) as database:
        database.open(NAME)
        connection = database.connection
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO outbox (epoch, seq, header, signature, chain) VALUES (1, 1, x'01', x'02', zeroblob(32))"
        )
        connection.execute(
            "INSERT INTO claim (claim, member, business_day, campaign, unit, amount, reduced, means, granted_ms,"
            " epoch, seq) VALUES (zeroblob(16), x'01', '2026-11-20', 'c', 'u', 1, 0, 'card', 0, 1, 1)"
        )
        connection.execute("COMMIT")
        with pytest.raises(sqlite3.IntegrityError, match="final"):
            connection.execute(statement)
        connection.execute("UPDATE outbox SET settled = 1, salt = NULL, payload = NULL")
        connection.execute("UPDATE claim SET outcome = 'posted'")
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO allotment VALUES ('c', 1, 1, 'u', 10, 11, 0)",
        "INSERT INTO allotment VALUES ('c', 1, 1, 'u', -1, 0, 0)",
        "INSERT INTO public_key VALUES ('issuer', 1, x'00')",
        "INSERT INTO public_key VALUES ('nobody', 1, zeroblob(32))",
        "INSERT INTO device VALUES (2, zeroblob(16), 0, 0)",
        "INSERT INTO roster VALUES (x'00', NULL, NULL, 'many', 0, NULL, NULL)",
    ],
)
def test_the_schema_refuses_what_can_only_be_a_mistake(path: Path, statement: str) -> None:
    with Database(path) as database:
        database.open(NAME)
        with pytest.raises(sqlite3.IntegrityError):
            database.connection.execute(statement)

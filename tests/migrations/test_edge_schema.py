"""The device's schema: what all migrations come to, and that each is applied whole, once, and as released.

`python -m tests.migrations.test_edge_schema` writes the golden file anew, for a new migration. The digests in it hold
the released files: a device that applied one refuses another under its number.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.db.database import Database, Migration, load_migrations, migrate, split_statements
from edge.errors import StorageDamaged

GOLDEN = Path(__file__).parent / "edge_schema.sql"
ONE = Migration(number=1, name="0001_one.sql", sql="CREATE TABLE one (a INTEGER) STRICT;\n", digest="1")
TWO = Migration(
    number=2,
    name="0002_two.sql",
    sql="CREATE TABLE two (b INTEGER) STRICT;\nINSERT INTO two VALUES (1);\nALTER TABLE one ADD COLUMN c TEXT;\n",
    digest="2",
)
BROKEN = Migration(
    number=2,
    name="0002_two.sql",
    sql="CREATE TABLE two (b INTEGER) STRICT;\nINSERT INTO two VALUES (1);\nINSERT INTO two VALUES ('text');\n",
    digest="3",
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def names(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def applied(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    return [(row[0], row[1]) for row in connection.execute("SELECT number, digest FROM migration ORDER BY number")]


def present_schema() -> str:
    """The golden file's text as it should be now."""
    released = "".join(f"-- {migration.name} {migration.digest}\n" for migration in load_migrations())
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, load_migrations())
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
        return released + "".join(f"\n{row[0]};\n" for row in rows)


def test_all_migrations_come_to_the_reviewed_schema() -> None:
    assert present_schema() == GOLDEN.read_text(encoding="utf-8")


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_a_migration_is_recorded_and_not_applied_again(connection: sqlite3.Connection) -> None:
    for _ in range(2):
        migrate(connection, (ONE, TWO))
    assert applied(connection) == [(1, "1"), (2, "2")]
    assert connection.execute("SELECT count(*) FROM two").fetchone()[0] == 1


def test_a_later_release_applies_what_is_new(connection: sqlite3.Connection) -> None:
    migrate(connection, (ONE,))
    migrate(connection, (ONE, TWO))
    assert applied(connection) == [(1, "1"), (2, "2")]


def test_a_migration_that_breaks_in_the_middle_leaves_nothing_behind(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        migrate(connection, (ONE, BROKEN))
    assert not connection.in_transaction
    assert applied(connection) == [(1, "1")]
    assert names(connection) == {"migration", "one"}
    migrate(connection, (ONE, TWO))
    assert applied(connection) == [(1, "1"), (2, "2")]


def test_power_cut_between_migrations_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as cut:
        cut.execute("BEGIN IMMEDIATE")
        cut.execute("CREATE TABLE one (a INTEGER) STRICT")  # and no more: the connection closes without a commit
    with closing(sqlite3.connect(path, isolation_level=None)) as again:
        migrate(again, (ONE, TWO))
        assert applied(again) == [(1, "1"), (2, "2")]


@pytest.mark.parametrize("released", [(ONE, BROKEN), (ONE,), ()])
def test_a_database_of_another_release_is_refused(
    connection: sqlite3.Connection, released: tuple[Migration, ...]
) -> None:
    migrate(connection, (ONE, TWO))
    with pytest.raises(StorageDamaged):
        migrate(connection, released)
    assert applied(connection) == [(1, "1"), (2, "2")]


def test_a_device_whose_applied_migration_was_altered_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    with Database(path) as database:
        database.open(b"d" * 16)
        database.connection.execute("UPDATE migration SET digest = 'another'")
    with Database(path) as database:
        with pytest.raises(StorageDamaged):
            database.open(b"e" * 16)
        with pytest.raises(AssertionError):
            _ = database.connection  # it is closed again


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        ("-- nothing\n", ["-- nothing\n"]),
        ("A;\nB;\n", ["A;\n", "B;\n"]),
        ("A\n(b);\n", ["A\n(b);\n"]),
        ("SELECT 'a;b';\nC;", ["SELECT 'a;b';\n", "C;"]),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON a\nBEGIN\n SELECT 1;\nEND;\nB;\n",
            ["CREATE TRIGGER t BEFORE UPDATE ON a\nBEGIN\n SELECT 1;\nEND;\n", "B;\n"],
        ),
        ("A;\nB", ["A;\n", "B"]),
    ],
)
def test_a_script_falls_into_its_statements(script: str, statements: list[str]) -> None:
    assert list(split_statements(script)) == statements


if __name__ == "__main__":
    GOLDEN.write_text(present_schema(), encoding="utf-8")

"""Statements over many rows whose count does not grow with the rows: the ledger and the claims post in batches.

PostgreSQL is sent one array a column (binary, 0.5 µs a value with psycopg 3.3, a tenth of what its text lists cost
for bytes); SQLite runs one prepared statement over the rows. Both go past SQLAlchemy's per-row parameter handling.
The SQL is put together from the names of declared tables and columns; values are parameters, always.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table
from sqlalchemy.dialects.postgresql.base import PGDialect

from cloud.kit.database import is_postgresql

SQLITE_VARIABLES_MAX = 30_000  # SQLite's own limit is 32,766 a statement

AnyColumn = Column[Any]  # Any: of whatever type the table declares
Found = tuple[Any, ...]  # Any: which columns a row holds is chosen at run time
Value = int | str | bytes | None
Values = tuple[Value, ...]

_dialect = PGDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves this constructor untyped


class BulkInsert:
    """Inserts rows given as tuples in the order of `columns`; on a known primary key sets the `update` columns.

    Columns in `add` are counters: what is given is added to what is there; a key may then come once a call only.
    Without either a known key is an error, as it is for a single insert.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[AnyColumn],
        update: Sequence[AnyColumn] = (),
        add: Sequence[AnyColumn] = (),
    ) -> None:
        into = f"INSERT INTO {table.name} ({_names(columns)})"
        changes = ", ".join(filter(None, (_replacements(update), _additions(table, add))))
        conflict = f" ON CONFLICT ({_names(table.primary_key)}) DO UPDATE SET {changes}" if changes else ""
        self._postgresql = f"{into} SELECT * FROM unnest({_arrays(columns)}){conflict}"  # noqa: S608
        self._sqlite = f"{into} VALUES ({_marks(columns)}){conflict}"

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Makes the rows part of the transaction."""
        if not rows:
            return
        if is_postgresql(connection):
            connection.exec_driver_sql(self._postgresql, _transposed(rows))
        else:
            connection.exec_driver_sql(self._sqlite, list(rows))


class KeyedSelect:
    """Reads `columns` of the rows whose `key` columns equal one of the tuples given."""

    def __init__(self, table: Table, key: Sequence[AnyColumn], columns: Sequence[AnyColumn]) -> None:
        wanted = ", ".join(f"{table.name}.{column.name}" for column in columns)
        self._postgresql = (
            f"SELECT {wanted} FROM {table.name}"  # noqa: S608
            f" JOIN unnest({_arrays(key)}) AS wanted ({_names(key)}) USING ({_names(key)})"
        )
        # CROSS JOIN keeps SQLite's planner from turning the join round. A row-value IN costs 5 µs a key, this 1 µs.
        self._sqlite = (
            f"WITH wanted ({_names(key)}) AS (VALUES %s)"  # noqa: S608
            f" SELECT {wanted} FROM wanted CROSS JOIN {table.name} USING ({_names(key)})"
        )
        self._tuple = f"({_marks(key)})"
        self._chunk = SQLITE_VARIABLES_MAX // len(key)

    def fetch(self, connection: Connection, keys: Sequence[Values]) -> list[Found]:
        """The rows found, in no order; a key given twice brings its row twice."""
        if not keys:
            return []
        if is_postgresql(connection):
            return list(connection.exec_driver_sql(self._postgresql, _transposed(keys)))
        return [row for start in range(0, len(keys), self._chunk) for row in self._fetch_chunk(connection, keys, start)]

    def _fetch_chunk(self, connection: Connection, keys: Sequence[Values], start: int) -> Iterable[Found]:

        chunk = keys[start : start + self._chunk]
        sql = self._sqlite % ", ".join([self._tuple] * len(chunk))
        return connection.exec_driver_sql(sql, tuple(value for key in chunk for value in key))


class InsertNew:
    """Inserts the rows whose primary key is not there yet and says which those were.

    Exact under concurrency: PostgreSQL decides in the insert itself, SQLite has one writer. The primary key must be
    the first columns.
    """

    def __init__(self, table: Table, columns: Sequence[AnyColumn]) -> None:
        key = list(table.primary_key)
        assert list(columns[: len(key)]) == key
        self._width = len(key)
        self._known = KeyedSelect(table, key, key)
        self._insert = BulkInsert(table, columns)
        self._postgresql = (
            f"INSERT INTO {table.name} ({_names(columns)}) SELECT * FROM unnest({_arrays(columns)})"  # noqa: S608
            f" ON CONFLICT ({_names(key)}) DO NOTHING RETURNING {_names(key)}"
        )

    def run(self, connection: Connection, rows: Sequence[Values]) -> frozenset[Values]:
        """The keys that were new. Of two rows with one key the first counts."""
        first = {row[: self._width]: row for row in reversed(rows)}
        if not first:
            return frozenset()
        if is_postgresql(connection):
            inserted = connection.exec_driver_sql(self._postgresql, _transposed(list(first.values())))
            return frozenset(tuple(row) for row in inserted)
        known = {tuple(row) for row in self._known.fetch(connection, list(first))}
        fresh = {key: row for key, row in first.items() if key not in known}
        self._insert.run(connection, list(fresh.values()))
        return frozenset(fresh)


def _names(columns: Iterable[AnyColumn]) -> str:
    return ", ".join(column.name for column in columns)


def _marks(columns: Sequence[AnyColumn]) -> str:
    return ", ".join("?" * len(columns))


def _arrays(columns: Sequence[AnyColumn]) -> str:
    """One binary array parameter a column, cast to the column's type."""
    return ", ".join(f"%b::{column.type.compile(dialect=_dialect)}[]" for column in columns)


def _replacements(columns: Sequence[AnyColumn]) -> str:
    return ", ".join(f"{column.name} = excluded.{column.name}" for column in columns)


def _additions(table: Table, columns: Sequence[AnyColumn]) -> str:
    return ", ".join(f"{column.name} = {table.name}.{column.name} + excluded.{column.name}" for column in columns)


def _transposed(rows: Sequence[Values]) -> tuple[list[Value], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))

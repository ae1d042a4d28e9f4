"""One way to open, read and write the database, so that SQLite and PostgreSQL keep the same promises.

A writing transaction sees and holds its rows alone: SQLite takes its one write lock at BEGIN, PostgreSQL runs READ
COMMITTED and the code locks rows in key order. A reading transaction is one consistent snapshot and cannot write.
Domain tables are declared with `define_table` on the one `metadata`; no domain is known here.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeDecorator, TypeEngine

from cloud.errors import DatabaseRefused
from cloud.kit.instants import from_microseconds, to_microseconds

LOCK_WAIT_S = 30  # longer than any batch; a writer that waits more is told so instead of hanging
WAL_RETRY_S = 0.01
IDLE_TRANSACTION_S = 120  # PostgreSQL ends a transaction whose worker went away with its locks

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The four column types that both databases store alike. STRICT tables of SQLite know no BIGINT and no BOOLEAN.
INT64: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")
TEXT: Final[TypeEngine[str]] = Text()
BYTES: Final[TypeEngine[bytes]] = LargeBinary()


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970-01-01 UTC: SQLite has no type for it, and integers sort."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """The integer type of the database."""
        return dialect.type_descriptor(INT64)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds for the database."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The instant in UTC."""
        return None if value is None else from_microseconds(value)


def define_table(
    name: str, *items: Column[Any] | SchemaItem, with_rowid: bool = True, never_reuse_key: bool = False
) -> Table:  # Any: a column of any type
    """The table on the common metadata, STRICT on SQLite.

    `with_rowid=False` clusters it by its primary key there; `never_reuse_key` keeps a numbered key from being given
    again after its row was removed, as PostgreSQL's sequences do.
    """
    return Table(
        name,
        metadata,
        *items,
        sqlite_strict=True,
        sqlite_with_rowid=with_rowid,
        sqlite_autoincrement=never_reuse_key,
    )


def open_engine(url: str) -> Engine:
    """An engine that keeps this module's promises. Raises: DatabaseRefused."""
    address = _parse(url)
    match address.get_backend_name():
        case "sqlite":
            return _open_sqlite(address)
        case "postgresql":
            return _open_postgresql(address)
        case _:
            raise DatabaseRefused("only sqlite and postgresql are supported")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write; committed at the end of the block, rolled back when it raises."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent snapshot of the database that refuses to write."""
    with engine.connect() as plain:
        connection = plain.execution_options(**_READING[plain.dialect.name])
        with connection.begin():
            yield connection


def is_postgresql(connection: Connection) -> bool:
    """True when the connection speaks to PostgreSQL, False for SQLite."""
    return connection.dialect.name == "postgresql"


_READING: dict[str, dict[str, bool | str]] = {
    "sqlite": {"doorstep_reading": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


class _SqliteCursor(Protocol):
    def execute(self, sql: str, /) -> object: ...
    def close(self) -> None: ...


class _SqliteConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> _SqliteCursor: ...


def _parse(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise DatabaseRefused("not a database address") from error
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise DatabaseRefused("an in-memory database has no second connection; name a file")
    return address


def _open_sqlite(address: URL) -> Engine:
    engine = create_engine(
        address.set(drivername="sqlite+pysqlite"), connect_args={"timeout": LOCK_WAIT_S}, hide_parameters=True
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(address: URL) -> Engine:
    limits = f"-c lock_timeout={LOCK_WAIT_S}s -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_S}s"
    return create_engine(
        address.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,  # what is in a row does not go into a log
        connect_args={"options": limits, "application_name": "doorstep"},
    )


def _prepare_sqlite(connection: _SqliteConnection, _entry: ConnectionPoolEntry) -> None:
    """Leaves BEGIN to us and sets what SQLite forgets with each connection.

    `recursive_triggers` makes INSERT OR REPLACE run delete triggers; without it an insert-only table can be rewritten.
    `secure_delete` overwrites what is deleted with zeros: a withdrawn template lies in no free page, so in no copy.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        "recursive_triggers = ON",
        "trusted_schema = OFF",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: _SqliteCursor) -> None:
    """Write-ahead logging is on, from now on and in the file.

    SQLite does not wait for its lock here as it does elsewhere: of eight first connections to a new file about one in
    a hundred was told "database is locked" (3.40.1). On a file that is in this mode already there is nothing to lock.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """IMMEDIATE, so that a writer waits here and not at its first write, where SQLite could only refuse."""
    is_reading = connection.get_execution_options().get("doorstep_reading", False)
    connection.exec_driver_sql(f"PRAGMA query_only = {int(is_reading)}")
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

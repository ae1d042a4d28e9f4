"""Opens the device's database, brings its schema up to date, and commits.

The rules that keep a grant safe live here: WAL, `synchronous=FULL`, one explicit BEGIN IMMEDIATE a transaction.
sqlite-utils serves schema, migrations and reading at the command line; its inserts commit by themselves and its
context manager does not make two of them atomic, so grants never go through it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final

from edge.core.bounds import LOG_BYTES_MAX, ROOM_BYTES
from edge.db.log import PAGE_BYTES
from edge.db.sums import PageGuard
from edge.errors import StorageDamaged, StorageFull

Connection = sqlite3.Connection
"""What a use case is handed inside a transaction; the use cases themselves do not speak sqlite3."""

BUSY_MS: Final = 10_000
"""How long a commit waits for a process that still ends; nobody but the agent writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One forward-only step of the schema: its number, its SQL and the SQL's SHA-256."""

    number: int
    name: str
    sql: str
    digest: str


class Database:
    """The device's database, opened by the one process that writes it or read-only by the others."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._guard: PageGuard | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        assert self._connection is not None, "the database is not open"
        return self._connection

    def open(self, new_database: bytes = b"") -> None:
        """Opens and migrates; `new_database` (16 random bytes) names the file if it is new.

        Raises: StorageDamaged when a migration that was applied has changed since, or the file is not a database.
        """
        try:
            self._open(new_database)
        except sqlite3.DatabaseError as error:
            self.close()
            raise _translated(error) from error
        except OSError as error:
            self.close()
            raise StorageFull(str(error)) from error
        except StorageDamaged:
            self.close()
            raise

    def close(self) -> None:
        """Closes; closing twice is harmless."""
        if self._connection is not None:
            with self._log_kept_unless_summed():
                self._connection.close()
            self._connection = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    @contextmanager
    def _log_kept_unless_summed(self) -> Iterator[None]:
        """SQLite moves the log when the last connection closes: the sums must be there first, or it must not.

        A second connection that only reads keeps it from moving anything; it closes last and may not write.
        """
        with ExitStack() as kept:
            try:
                if self._guard is not None:
                    self._guard.before_move()
            except OSError:
                with suppress(sqlite3.DatabaseError):  # a folder that is gone has no log to keep either
                    keeper = kept.enter_context(closing(sqlite3.connect(self._address("ro"), uri=True)))
                    keeper.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # takes its lock
            yield

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its first statement; commits, or leaves no trace.

        Raises: StorageFull when there was no room; nothing was changed then.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # bugs of the caller, both
        except sqlite3.DatabaseError as error:
            raise _translated(error) from error

    def checkpoint(self) -> None:
        """Moves the log into the file when it has grown; called between visitors, never inside a grant.

        Raises: StorageFull when there was no room, StorageDamaged when log or file do not hold what was committed.
        """
        assert self._guard is not None, "the database is not open for writing"
        self._guard.follow()
        log = Path(f"{self.path}-wal")
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            self.move_log()

    def move_log(self) -> None:
        """Moves the log into the file, however short it is. While another process reads, the log stays for this time:
        a visitor must not wait for a reader.

        Raises: as `checkpoint`.
        """
        assert self._guard is not None, "the database is not open for writing"
        try:
            self._move_log(self._guard)
        except sqlite3.DatabaseError as error:
            raise _translated(error) from error
        except OSError as error:
            raise StorageFull(str(error)) from error

    def _move_log(self, guard: PageGuard) -> None:
        guard.before_move()
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            frames = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
            if frames != guard.frames:
                raise StorageDamaged(f"the log verifies up to frame {guard.frames} of {frames}")
            is_busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        if not is_busy and (bad := guard.after_move()):
            raise StorageDamaged(f"pages {bad} of the file are not what was written")

    def check_pages(self) -> None:
        """Every page of the file is as it was written, or the log holds another form of it; 6 ms for 18 MB here.

        Raises: StorageDamaged, StorageFull when the file could not be read.
        """
        assert self._guard is not None, "the database is not open for writing"
        try:
            bad = self._guard.bad_pages()
        except OSError as error:
            raise StorageFull(str(error)) from error
        if bad:
            raise StorageDamaged(f"{len(bad)} pages of the file are not what was written, the first is {bad[0]}")

    def has_room(self) -> bool:
        """True when the disk has room for many more commits."""
        free = os.statvfs(self.path.parent)
        return free.f_bavail * free.f_frsize >= ROOM_BYTES

    def _open(self, new_database: bytes) -> None:
        address = self._address("ro" if self._read_only else "rwc")
        self._connection = sqlite3.connect(address, uri=True, isolation_level=None)
        self._prepare(self._connection)
        if not self._read_only:
            self._guard = PageGuard(self.path)
            migrate(self._connection, load_migrations())
            self._connection.execute("INSERT OR IGNORE INTO device (id, database) VALUES (1, ?)", (new_database,))

    def _address(self, mode: str) -> str:
        return f"{self.path.absolute().as_uri()}?mode={mode}"

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        if self._read_only:
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = FAST")  # what is erased is zeroed where its page is written anyway


def load_migrations() -> tuple[Migration, ...]:
    """All migrations, in order."""
    folder = resources.files("edge.db") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(_migration(entry.name, entry.read_text(encoding="utf-8")) for entry in files)


def _migration(name: str, sql: str) -> Migration:
    return Migration(number=int(name.split("_")[0]), name=name, sql=sql, digest=sha256(sql.encode()).hexdigest())


def migrate(connection: sqlite3.Connection, migrations: tuple[Migration, ...]) -> None:
    """Applies what is missing, each in one transaction together with its record.

    Raises: StorageDamaged when the record names a migration that is unknown here or reads differently.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migration"
        " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT"
    )
    applied = {row[0]: row[1] for row in connection.execute("SELECT number, digest FROM migration")}
    known = {migration.number: migration.digest for migration in migrations}
    for number, digest in applied.items():
        if known.get(number) != digest:
            raise StorageDamaged(f"migration {number} is not the one that was applied")
    missing = tuple(migration for migration in migrations if migration.number not in applied)
    if missing:
        _apply(connection, missing)


def _apply(connection: sqlite3.Connection, migrations: tuple[Migration, ...]) -> None:
    # Loaded only when there is something to do: it costs a third of a second and 30 MB, and the agent needs neither.
    import sqlite_utils

    schema = sqlite_utils.Database(connection)
    for migration in migrations:
        with schema.atomic():
            for statement in split_statements(migration.sql):
                schema.execute(statement)
            record = {"number": migration.number, "name": migration.name, "digest": migration.digest}
            schema.table("migration").insert(record, pk="number")


def split_statements(sql: str) -> Iterator[str]:
    """The statements of a script. `executescript` would commit first, and a migration must not."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement  # one whose semicolon is missing, or a closing comment, which does nothing


def _translated(error: sqlite3.DatabaseError) -> StorageFull | StorageDamaged:
    code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StorageFull(str(error))
    return StorageDamaged(str(error))

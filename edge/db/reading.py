"""Reading the database for people, through sqlite-utils: lists, schema, and what is damaged."""

import sqlite3
from pathlib import Path

import sqlite_utils

from edge.db import knowledge, outbox
from edge.db.database import Database
from shared.envelope import EnvelopeFault, read_header


def open_for_reading(path: Path) -> sqlite_utils.Database:
    """The database, refusing every write."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.execute("PRAGMA query_only = ON")
    return sqlite_utils.Database(connection)


def find_damage(path: Path) -> tuple[str, ...]:
    """One line a fault: what SQLite's own check sees, and the first broken link of the chain it cannot see."""
    with Database(path, read_only=True) as database:
        database.open()
        try:
            found = [row[0] for row in database.connection.execute("PRAGMA quick_check") if row[0] != "ok"]
            return (*found, *_broken_chain(database.connection))
        except sqlite3.DatabaseError as error:
            return (f"the file cannot be read to its end: {error}",)


def _broken_chain(connection: sqlite3.Connection) -> tuple[str, ...]:
    epoch = knowledge.life(connection).epoch
    device = _device_of(connection, epoch)
    broken = None if device is None else outbox.first_broken_link(connection, device, epoch)
    return () if broken is None else (f"the chain of epoch {epoch} breaks at envelope {broken}",)


def _device_of(connection: sqlite3.Connection, epoch: int) -> str | None:
    row = connection.execute("SELECT header FROM outbox WHERE epoch = ? ORDER BY seq LIMIT 1", (epoch,)).fetchone()
    header = None if row is None else read_header(row["header"])
    if header is None or isinstance(header, EnvelopeFault):
        return None if header is None else ""
    return header.device

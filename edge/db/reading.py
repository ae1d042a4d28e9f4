"""Reading the database for people and before it is trusted: lists, schema, and what is damaged."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.db import outbox
from edge.db.database import Database
from edge.db.log import LogReader, has_lost_commits
from edge.db.sums import SUMS_END, load_sums
from edge.errors import StorageDamaged, StorageFull
from shared.envelope import EnvelopeFault, read_header

if TYPE_CHECKING:
    import sqlite_utils

PAGES_NAMED_MAX = 8
"""Bad pages that a line of damage names; a file that was cut off has thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found: `damage` of the content, one line each, and whether the log lost commits behind a sound state."""

    damage: tuple[str, ...]
    lost_commits: bool

    @property
    def is_sound(self) -> bool:
        """True when the database holds every commit as it was made, as far as anybody can tell."""
        return not self.damage and not self.lost_commits

    @property
    def lines(self) -> tuple[str, ...]:
        """One line a fault."""
        return (*self.damage, *(["the log lost commits behind a damaged one"] if self.lost_commits else ()))


def open_for_reading(path: Path) -> "sqlite_utils.Database":
    """The database, refusing every write."""
    import sqlite_utils  # a third of a second, which the agent's start does not have

    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.execute("PRAGMA query_only = ON")
    return sqlite_utils.Database(connection)


def find_damage(path: Path) -> tuple[str, ...]:
    """One line a fault, as `examine` finds them; while the agent works as well."""
    return examine(path).lines


def examine(path: Path) -> Health:
    """How the database is: sums of all pages, the log, SQLite's own check, the chain, and claims against envelopes.

    Raises: StorageFull when there is no room to read it.
    """
    log = LogReader(path=Path(f"{path}-wal"))
    has_lost = has_lost_commits(log.path)
    pages = _bad_pages(path, log)
    return Health(damage=(*_page_lines(pages), *_content(path)), lost_commits=has_lost)


def _bad_pages(path: Path, log: LogReader) -> tuple[int, ...]:
    """Pages that are not as they were written. Looked at twice, as the agent may move its log meanwhile."""
    bad: tuple[int, ...] = ()
    for _ in range(2):
        log.follow()
        sums = load_sums(Path(f"{path}{SUMS_END}"))
        try:
            bad = () if sums is None else sums.bad_pages(path, log.sums)
        except FileNotFoundError:
            return ()
        if not bad:
            return ()
    return bad


def _page_lines(pages: tuple[int, ...]) -> Iterator[str]:
    if pages:
        named = ", ".join(str(page) for page in pages[:PAGES_NAMED_MAX])
        more = "" if len(pages) <= PAGES_NAMED_MAX else f" and {len(pages) - PAGES_NAMED_MAX} more"
        yield f"pages {named}{more} are not as they were written"


def _content(path: Path) -> tuple[str, ...]:
    with Database(path, read_only=True) as database:
        try:
            database.open()
            return tuple(content_faults(database.connection))
        except StorageFull as error:
            if path.exists() and not database.has_room():
                raise  # to read a log takes a little room: without it, nothing is known
            return (f"the file cannot be read: {error}",)
        except (sqlite3.DatabaseError, StorageDamaged, UnicodeDecodeError) as error:  # rot in a text, too
            return (f"the file cannot be read to its end: {error}",)


def content_faults(connection: sqlite3.Connection) -> Iterator[str]:
    """What SQLite's own check finds, every epoch's first broken link, and the first claim that was altered."""
    found = [row[0] for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
    yield from found
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'outbox_anchor'").fetchone() is None:
        return  # of an older release, whose migrations are yet to come
    for epoch in outbox.epochs(connection):
        device = _device_of(connection, epoch)
        broken = outbox.first_broken_link(connection, device, epoch)
        if broken is not None:
            found.append(f"the chain of epoch {epoch} breaks at envelope {broken}")
            yield found[-1]
    altered = None if found else outbox.first_claim_altered(connection)
    if altered is not None:
        yield f"the claim of envelope {altered[1]} of epoch {altered[0]} is not what the envelope says"


def _device_of(connection: sqlite3.Connection, epoch: int) -> str:
    row = connection.execute("SELECT header FROM outbox WHERE epoch = ? ORDER BY seq LIMIT 1", (epoch,)).fetchone()
    header = read_header(row["header"])
    return "" if isinstance(header, EnvelopeFault) else header.device


def is_missing(path: Path) -> bool:
    """True when there is no database: neither a file that anything was written to, nor a log or sums of one."""
    if any(Path(f"{path}{end}").exists() for end in ("-wal", SUMS_END)):
        return False
    return not path.exists() or path.stat().st_size == 0


def head_of_all(path: Path) -> tuple[int, int]:
    """Epoch and number of the newest envelope of a database that was found sound; (0, 0) without any."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT epoch, seq FROM outbox ORDER BY epoch DESC, seq DESC LIMIT 1").fetchone()
    return (0, 0) if row is None else (row[0], row[1])

"""Device events, in a file of their own that may be lost: WAL with synchronous=NORMAL, no sync an event.

Nothing depends on it. A file that is damaged or in the way is thrown away, and an event that cannot be written is
only logged: the main database must never wait or fail for this one.
"""

import contextlib
import logging
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

from edge.core.bounds import EVENT_AGE_MAX, EVENT_DETAIL_MAX, EVENTS_KEPT, MIB
from edge.core.device_events import DeviceEvent, DeviceEventKind

log = logging.getLogger(__name__)

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ms INTEGER, boot TEXT NOT NULL,"
    " uptime_ms INTEGER NOT NULL, detail TEXT NOT NULL) STRICT"
)
_COLUMNS: Final = "kind, at_ms, boot, uptime_ms, detail"
_FILES: Final = ("-wal", "-shm", "-journal", "")


class DeviceEvents:
    """The file of device events, opened by the agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Opens it, or a new one where the old one cannot be used; without room, none."""
        try:
            self._open()
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("device events are begun anew", extra={"reason": str(error)})
            self.throw_away()
            with contextlib.suppress(sqlite3.DatabaseError, OSError):  # add() says so, when there is something to say
                self._open()

    def close(self) -> None:
        """Closes; closing twice is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, event: DeviceEvent) -> None:
        """Keeps it, and of its kind the newest EVENTS_KEPT."""
        if self._connection is None:
            self.open()
        if self._connection is None:
            return
        values = (event.kind, event.at_ms, event.boot, event.uptime_ms, event.detail[:EVENT_DETAIL_MAX])
        try:
            self._connection.execute(f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", values)  # noqa: S608
            self._connection.execute(
                "DELETE FROM event WHERE kind = ? AND id <="
                " (SELECT id FROM event WHERE kind = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (event.kind, event.kind, EVENTS_KEPT),
            )
        except sqlite3.DatabaseError as error:
            log.warning("a device event was not kept", extra={"kind": event.kind.value, "reason": str(error)})

    def forget_old(self, now_ms: int) -> None:
        """Drops what is older than EVENT_AGE_MAX."""
        before_ms = now_ms - EVENT_AGE_MAX // timedelta(milliseconds=1)
        if self._connection is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._connection.execute("DELETE FROM event WHERE at_ms < ?", (before_ms,))

    def throw_away(self) -> None:
        """Makes room: no event is kept."""
        self.close()
        for end in _FILES:
            with contextlib.suppress(OSError):
                Path(f"{self.path}{end}").unlink(missing_ok=True)

    def _open(self) -> None:
        self.path.touch(mode=0o640)
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for setting in ("journal_mode = WAL", "synchronous = NORMAL", f"journal_size_limit = {MIB}"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        self._connection = connection


def newest_events(path: Path, limit: int) -> tuple[DeviceEvent, ...]:
    """So many of the events in the file, oldest first; none when there is no file. For the command line."""
    if not path.exists():
        return ()
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM event ORDER BY id DESC LIMIT ?", (limit,)).fetchall()  # noqa: S608
    return tuple(
        DeviceEvent(kind=DeviceEventKind(kind), at_ms=at_ms, boot=boot, uptime_ms=uptime_ms, detail=detail)
        for kind, at_ms, boot, uptime_ms, detail in reversed(rows)
    )

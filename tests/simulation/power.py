"""The moments at which a kiosk's power may go, and a disk that may be full.

A `Fuse` counts the operations that reach outside (a transaction begins, is about to commit, is committed; a message
leaves; a screen changes) and burns at the one that was drawn. What was not committed is then gone with the process.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.db.database import Database


class PowerCut(Exception):
    """The machine, or the agent's process, is gone at this point of its work."""

    def __init__(self, point: str) -> None:
        super().__init__(point)
        self.point = point


class Fuse:
    """Burns at the operation it was armed for. `disk_full` makes every commit fail as a full disk does."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.disk_full = False

    def arm(self, operations: int) -> None:
        """The power goes at the operation after so many."""
        self._left = operations

    def disarm(self) -> None:
        """Nothing burns any more."""
        self._left = None

    def touch(self, point: str) -> None:
        """An operation happens here. Raises: PowerCut."""
        if self._left is None:
            return
        if self._left == 0:
            self._left = None
            raise PowerCut(point)
        self._left -= 1


class FusedDatabase(Database):
    """The product's database on a machine whose power may go around every commit."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self.fuse = fuse

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The product's transaction."""
        self.fuse.touch("before BEGIN")
        with super().transaction() as connection:
            yield connection
            self.fuse.touch("before COMMIT")
            if self.fuse.disk_full:
                raise _full_disk()
        self.fuse.touch("after COMMIT")

    def has_room(self) -> bool:
        """True unless the disk is full."""
        return not self.fuse.disk_full


def _full_disk() -> sqlite3.OperationalError:
    """What SQLite raises when the file system has no room for the log."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error

"""Copies of the main database for the day its file is damaged: two generations, each verified before it counts.

SQLite's online backup makes them, so a grant never waits. No copy holds a sealed template: a face that is withdrawn
later must not come back with it, so payloads that carry one are erased in the copy, and the copy is written anew
without free pages. Templates themselves are in another database, of which there is no copy.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.core.bounds import SNAPSHOTS_KEPT
from edge.db import faces
from edge.db.reading import content_faults
from edge.db.sums import SUMS_END, sums_now, sync_folder
from edge.errors import StorageDamaged, StorageFull

_PREFIX: Final = "doorstep-"
_PART: Final = "part"
_BESIDE: Final = ("-wal", "-shm", "-journal", SUMS_END, f"{SUMS_END}.part", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy and when it was made, as the machine's clock said."""

    path: Path
    taken_ms: int


class Snapshots:
    """The folder of copies; on another partition when the settings say so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest_first(self) -> tuple[Snapshot, ...]:
        """All copies kept."""
        found = (path for path in self.folder.glob(f"{_PREFIX}*.db") if path.stem.removeprefix(_PREFIX).isdigit())
        kept = (Snapshot(path=path, taken_ms=int(path.stem.removeprefix(_PREFIX))) for path in found)
        return tuple(sorted(kept, key=lambda one: one.taken_ms, reverse=True))

    def take(self, source: Path, taken_ms: int) -> Snapshot:
        """Copies the database as it is now; an older generation goes only when the copy proved to be good.

        Raises: StorageFull, StorageDamaged when the copy does not hold what a sound database would.
        """
        part = self.folder / f"{_PREFIX}{_PART}"
        # Never older than those kept: a clock that went back must not make the newest the first to go.
        taken_ms = max([taken_ms, *(kept.taken_ms + 1 for kept in self.newest_first())])
        final = self.folder / f"{_PREFIX}{taken_ms}.db"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove(part)
            _copy(source, part)
            with part.open("rb") as file:
                sums_now(file).save(Path(f"{final}{SUMS_END}"))
                os.fsync(file.fileno())
            part.replace(final)
            sync_folder(self.folder)
            self._drop_beyond(SNAPSHOTS_KEPT)
        except OSError as error:
            _remove(part)
            raise StorageFull(str(error)) from error
        except (sqlite3.DatabaseError, StorageDamaged) as error:
            _remove(part)
            raise StorageDamaged(f"a copy was not good: {error}") from error
        return Snapshot(path=final, taken_ms=taken_ms)

    def bring_back(self, snapshot: Snapshot, path: Path) -> None:
        """The copy is in the database's place. Raises: OSError."""
        part = Path(f"{path}.{_PART}")
        with snapshot.path.open("rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        part.replace(path)
        sync_folder(path.parent)

    def size_bytes(self) -> int:
        """What the copies take."""
        return sum(snapshot.path.stat().st_size for snapshot in self.newest_first())

    def drop_oldest(self) -> bool:
        """Makes room; True when there was one to drop."""
        kept = len(self.newest_first())
        self._drop_beyond(kept - 1)
        return kept > 0

    def _drop_beyond(self, count: int) -> None:
        for old in self.newest_first()[max(0, count) :]:
            _remove(old.path)


def _copy(source: Path, part: Path) -> None:
    part.touch(mode=0o600)
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        live.backup(copy)
        copy.row_factory = sqlite3.Row
        copy.execute("PRAGMA journal_mode = DELETE")
        faces.erase_all(copy)
        copy.execute("VACUUM")
        faults = tuple(content_faults(copy))
    if faults:
        raise StorageDamaged("; ".join(faults))


def _remove(path: Path) -> None:
    for end in _BESIDE:
        Path(f"{path}{end}").unlink(missing_ok=True)

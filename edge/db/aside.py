"""Where files of a damaged database go: moved, never deleted at once, and the newest two kept for who looks into it.

A marker beside the database says that a recovery is under way, so that a power cut in the middle of one does not leave
an empty database that looks as if it had always been empty.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge.core.bounds import ASIDE_KEPT
from edge.db.sums import SUMS_END, sync_folder, write_whole

_MOVED: Final = ("-wal", SUMS_END, "")  # the main file last: as long as it is there, all of it can be moved again
_DROPPED: Final = ("-shm", "-journal")
_FOLDER_MAX: Final = 16  # characters of a folder's name


class Aside:
    """The folder of what was moved aside, and the marker beside the database."""

    def __init__(self, database: Path, folder: Path) -> None:
        self._database = database
        self.folder = folder
        self._marker = Path(f"{database}-recovering")

    def under_way(self) -> str | None:
        """What was found when the recovery that did not end began, None when there is none."""
        try:
            return self._marker.read_text(encoding="utf-8", errors="replace").partition("\n")[2]
        except FileNotFoundError:
            return None

    def take(self, found: str, at_ms: int) -> Path:
        """Moves the database's files away; returns where the main file is then, if there was one. Raises: OSError.

        Of a recovery that was interrupted the first move counts: what came after it was half made by ourselves.
        """
        if self.under_way() is None:
            name = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
            write_whole(self._marker, f"{name}\n{found}".encode())
        name = self._marker.read_text(encoding="utf-8").partition("\n")[0][:_FOLDER_MAX]
        into = self.folder / name
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        for end in _DROPPED:
            Path(f"{self._database}{end}").unlink(missing_ok=True)
        is_moved = (into / self._database.name).exists()
        for end in _MOVED:
            file = Path(f"{self._database}{end}")
            if file.exists() and not is_moved:
                file.replace(into / file.name)
            file.unlink(missing_ok=True)
        sync_folder(into)
        sync_folder(self._database.parent)
        return into / self._database.name

    def done(self) -> None:
        """The recovery is over; of older ones the newest are kept. Raises: OSError."""
        self._marker.unlink(missing_ok=True)
        sync_folder(self._marker.parent)
        self._drop_beyond(ASIDE_KEPT)

    def drop_oldest(self) -> bool:
        """Makes room; True when there was something to drop."""
        kept = len(self._folders())
        self._drop_beyond(kept - 1)
        return kept > 0

    def _drop_beyond(self, count: int) -> None:
        for old in self._folders()[max(0, count) :]:
            shutil.rmtree(old)

    def _folders(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("*Z") if path.is_dir()), reverse=True)

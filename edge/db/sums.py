"""A checksum of every page of the main file, beside it: what finds the one flipped bit that SQLite reads as a value.

The main file changes only when the agent moves its log into it. What the log holds has been verified by then, so a
page's sum is known before the page is written, and a grant costs nothing more. While a page may be on the card in its
old or in its new form (a power cut in the middle of the move), both sums count; after the move only the new one does.

CRC-32 finds every single flipped bit and every burst of up to 32; of anything else it misses one in 2^32. It is
against rot, not against people: whoever can write the file can write the sums. Envelopes are signed for that.
"""

import contextlib
import os
from array import array
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from zlib import crc32

from edge.db.log import PAGE_BYTES, LogReader

SUMS_END: Final = "-sums"
_MAGIC: Final = b"DSPS0001"
_CHUNK_PAGES: Final = 256  # read at a time: 1 MiB
_SUM_BYTES: Final = 4


@dataclass(slots=True, kw_only=True)
class PageSums:
    """The sums of a file's pages, the first page's first. `fresh` are sums of pages that are about to be written."""

    held: "array[int]" = field(default_factory=lambda: array("I"))
    fresh: dict[int, int] = field(default_factory=dict)

    def written(self) -> None:
        """What was about to be written is in the file."""
        for page, total in sorted(self.fresh.items()):
            while len(self.held) < page:
                self.held.append(0)  # a page that never was in a commit cannot be in the file either
            self.held[page - 1] = total
        self.fresh.clear()

    def accepts(self, page: int, total: int) -> bool:
        """True when the page may have this sum."""
        return self.fresh.get(page) == total or (page <= len(self.held) and self.held[page - 1] == total)

    def bad_pages(self, path: Path, but: Container[int]) -> tuple[int, ...]:
        """Pages of the file, except those in the log, whose bytes are not what was written there."""
        with path.open("rb") as file:
            return self.bad_pages_of(file, but)

    def bad_pages_of(self, file: BinaryIO, but: Container[int]) -> tuple[int, ...]:
        """As `bad_pages`, of a file that is open already."""
        seen, bad = 0, []
        for page, total in _sums_of(file):
            seen = page
            if page not in but and not self.accepts(page, total):
                bad.append(page)
        cut_off = (page for page in range(seen + 1, len(self.held) + 1) if page not in but)
        return (*bad, *cut_off)

    def save(self, path: Path) -> None:
        """Puts the sums in their place, whole or not at all. Raises: OSError."""
        fresh = array("I", (number for pair in sorted(self.fresh.items()) for number in pair))
        counts = array("I", (len(self.held), len(self.fresh)))
        body = _MAGIC + b"".join(part.tobytes() for part in (counts, self.held, fresh))
        write_whole(path, body + crc32(body).to_bytes(_SUM_BYTES, "big"))


def load_sums(path: Path) -> PageSums | None:
    """The sums kept there, None when there are none or they are damaged themselves."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    body, total = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if not body.startswith(_MAGIC) or crc32(body).to_bytes(_SUM_BYTES, "big") != total:
        return None
    numbers = array("I", body[len(_MAGIC) :])
    held_end = 2 + numbers[0]
    fresh = numbers[held_end:]
    return PageSums(held=numbers[2:held_end], fresh=dict(zip(fresh[::2], fresh[1::2], strict=True)))


def sums_now(file: BinaryIO) -> PageSums:
    """The sums of a file as it is: of one that was looked at otherwise, or is new."""
    return PageSums(held=array("I", (total for _, total in _sums_of(file))))


def _sums_of(file: BinaryIO) -> Iterable[tuple[int, int]]:
    page = 0
    file.seek(0)
    while chunk := file.read(_CHUNK_PAGES * PAGE_BYTES):
        for at in range(0, len(chunk), PAGE_BYTES):
            page += 1
            yield page, crc32(chunk[at : at + PAGE_BYTES])


class PageGuard:
    """Keeps the sums of an open database: follows its log, and knows them before and after the log is moved.

    The main file stays open here until the database is closed: closing it would drop the locks that SQLite holds in
    this process on the same file (POSIX locks belong to a process, not to a descriptor).
    """

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}{SUMS_END}")
        self._file = database.open("rb", buffering=0)
        self._log = LogReader(path=Path(f"{database}-wal"))
        kept = load_sums(self._path)
        self._sums = sums_now(self._file) if kept is None else kept
        if kept is None:
            self._sums.save(self._path)

    @property
    def frames(self) -> int:
        """Frames of the log that were verified."""
        return self._log.frames

    def follow(self) -> None:
        """Learns the sums of what was committed since."""
        self._sums.fresh |= self._log.follow()

    def before_move(self) -> None:
        """The sums of all that is in the log are on the card. Raises: OSError."""
        self.follow()
        if self._sums.fresh:
            self._sums.save(self._path)

    def after_move(self) -> tuple[int, ...]:
        """The log is in the file: its pages' old sums are forgotten. Returns the pages that did not arrive as written.

        Raises: OSError.
        """
        bad = tuple(page for page, total in sorted(self._sums.fresh.items()) if self._sum_of(page) != total)
        if self._sums.fresh and not bad:
            self._sums.written()
            self._sums.save(self._path)
        return bad

    def bad_pages(self) -> tuple[int, ...]:
        """Pages of the file that are not as they were written. Raises: OSError."""
        self.follow()
        return self._sums.bad_pages_of(self._file, self._log.sums)

    def close(self) -> None:
        """Lets go of the file; called when SQLite has."""
        self._file.close()

    def _sum_of(self, page: int) -> int:
        return crc32(os.pread(self._file.fileno(), PAGE_BYTES, (page - 1) * PAGE_BYTES))


def write_whole(path: Path, data: bytes) -> None:
    """The file with this content, on the card under its name, or the one that was there. Raises: OSError."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names in the folder are on the card. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

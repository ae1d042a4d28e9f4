"""SQLite's write-ahead log, read for what SQLite does not say: which page it holds in which form, and what it lost.

SQLite verifies the log when it opens a database, and reads it up to the first frame that does not verify. That is right
after a power cut and silent about rot: every commit behind a flipped bit is gone without a word. Frames verify one
after the other, so those behind a bad one can still be seen to be whole; with `synchronous=FULL` a commit is on the
card before the next one is written, so whole frames of a *later* transaction prove that something kept was lost.
Format: https://www.sqlite.org/fileformat2.html, section 4 (2026-11-22).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

PAGE_BYTES: Final = 4096
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_BIG_ENDIAN: Final = 0x377F0683
_LITTLE_ENDIAN: Final = 0x377F0682
_MASK: Final = 0xFFFFFFFF
_STEP: Final = _FRAME.size + PAGE_BYTES

Checksum = tuple[int, int]


class _Frame(NamedTuple):
    """A page in the log. `size` is the database's in pages when the frame ends a transaction, else 0."""

    page: int
    size: int
    salt: tuple[int, int]
    stored: Checksum
    computed_over: bytes
    data: bytes


@dataclass(slots=True, kw_only=True)
class LogReader:
    """Follows the log of one open database, or reads that of a closed one.

    `sums` are those of the pages in the present log as of its last whole commit, `size` the database's size in pages
    then (0: no commit).
    """

    path: Path
    sums: dict[int, int] = field(default_factory=dict)
    size: int = 0
    _salt: tuple[int, int] = (0, 0)
    _order: str = "<"
    _offset: int = 0
    _sum: Checksum = (0, 0)

    def follow(self) -> dict[int, int]:
        """Reads the whole commits that were added since the last time; returns the sums of their pages.

        A log that SQLite began anew is read from its beginning.
        """
        try:
            with self.path.open("rb") as file:
                header = file.read(_HEADER.size)
                if not self._is_same(header) and not self._begin(header):
                    return {}
                file.seek(self._offset)
                return self._read(file.read())
        except FileNotFoundError:
            return {}

    def _is_same(self, header: bytes) -> bool:
        return self._offset > 0 and len(header) == _HEADER.size and _HEADER.unpack(header)[4:6] == self._salt

    def _begin(self, header: bytes) -> bool:
        """True when this is the header of a log that SQLite would read."""
        self._offset = 0
        self.sums.clear()
        if len(header) < _HEADER.size:
            return False
        magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(header)
        if magic not in (_LITTLE_ENDIAN, _BIG_ENDIAN) or page_bytes != PAGE_BYTES:
            return False
        self._order = _order_of(magic)
        if _checksum(self._order, header[:24], (0, 0)) != (sum_1, sum_2):
            return False
        self._salt, self._sum, self._offset = (salt_1, salt_2), (sum_1, sum_2), _HEADER.size
        return True

    @property
    def frames(self) -> int:
        """Frames read of the present log, up to its last whole commit."""
        return max(0, self._offset - _HEADER.size) // _STEP

    def _read(self, data: bytes) -> dict[int, int]:
        fresh: dict[int, int] = {}
        transaction: dict[int, int] = {}
        begin, running = self._offset, self._sum
        for number, frame in enumerate(_frames(data), start=1):
            running = _checksum(self._order, frame.computed_over, running)
            if frame.salt != self._salt or running != frame.stored:
                break
            transaction[frame.page] = crc32(frame.data)
            if frame.size:
                fresh |= transaction
                transaction = {}
                self._offset, self._sum, self.size = begin + number * _STEP, running, frame.size
        self.sums |= fresh
        return fresh


def has_lost_commits(path: Path) -> bool:
    """True when a commit that was kept can no longer be read: whole frames of a later one follow a bad one.

    Of the newest commit nobody can tell whether it rotted or was cut off by a power loss. A bad header in front of a
    whole commit counts as rot: the header is on the card before the first frame is written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    if len(data) < _HEADER.size + _STEP:
        return False
    magic, _, _, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(data[: _HEADER.size])
    order, running = _order_of(magic), (sum_1, sum_2)
    is_bad = not LogReader(path=path)._begin(data[: _HEADER.size])
    salt = None if is_bad else (salt_1, salt_2)  # of a bad header, the first frame is asked
    has_ended = is_bad  # a transaction that was kept ended at or after what is bad
    for frame in _frames(data[_HEADER.size :]):
        salt = salt or frame.salt
        is_whole = _checksum(order, frame.computed_over, running) == frame.stored and frame.salt == salt
        if is_whole and is_bad and has_ended:
            return True
        is_bad = is_bad or not is_whole
        has_ended = has_ended or (is_bad and frame.size > 0)
        running = frame.stored
    return False


def _frames(data: bytes) -> Iterator[_Frame]:
    for at in range(0, len(data) - _STEP + 1, _STEP):
        page, size, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _STEP]
        yield _Frame(page, size, (salt_1, salt_2), (sum_1, sum_2), data[at : at + 8] + body, body)


def _order_of(magic: int) -> str:
    """The byte order of the checksum's words; one that cannot be read is taken for that of the devices we run on."""
    return ">" if magic == _BIG_ENDIAN else "<"


def _checksum(order: str, data: bytes, running: Checksum) -> Checksum:
    """SQLite's checksum of the log, continued over `data`, whose length is a multiple of 8."""
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    first, second = running
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second

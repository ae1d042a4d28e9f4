"""The newest picture of the door, from `capture` to `vision`, through a file in memory with room for one.

A reader that falls behind misses pictures and never delays the camera. The writer maps the file; the reader does not:
it copies with pread, because a file cut short under a mapping kills the process that touches it, while a short read
is a value. The header is believed no further than the file is long. Two slots take turns, each behind a counter that
is odd while it is written (a sequence lock), so a writer killed half way leaves the picture before it whole.

A socket beside the file is the doorbell: one byte a picture to whoever listens, never waited for. A new writer brings
a new file and binds the socket again; readers find both by themselves.
"""

import mmap
import os
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import ChannelBroken
from edge.ports import Frame

CAPACITY_BYTES_MAX = 64 << 20  # a 20-megapixel picture; no header may talk a reader into more
LISTENERS_MAX = 8  # vision, and a person looking into a problem
RECONNECT_S = 0.1
SILENCE_MAX_NS = 5_000_000_000  # the capture loop beats at least every two seconds, whatever the camera does
TRIES = 4  # a slot changes under a reader once in hundreds of reads; four in a row means the writer is not sane

_MAGIC: Final = int.from_bytes(b"DSFRAMES", "little")
_VERSION: Final = 1
_PAGE: Final = 4096
_NO_SLOT: Final = 2


class _Word(IntEnum):
    """Where each number of the header is, in words of 8 bytes and the machine's own order."""

    MAGIC = 0
    VERSION = 1
    CAPACITY = 2
    CONDITION = 3
    HEARTBEAT_NS = 4
    LATEST = 5
    SLOT_0 = 8
    SLOT_1 = 16
    END = 24


class _SlotWord(IntEnum):
    """Where each number of a slot is, behind its first word."""

    LOCK = 0
    SEQUENCE = 1
    CAPTURED_NS = 2
    WIDTH = 3
    HEIGHT = 4


_HEADER = struct.Struct(f"={int(_Word.END)}Q")


class CameraState(IntEnum):
    """What the camera behind the mailbox is doing. OFF: capture has ended. ENDED: a finite recording is over."""

    OPENING = 1
    LIVE = 2
    LOST = 3
    ENDED = 4
    OFF = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxStatus:
    """The camera's state, the attempts to open it since it was last live, and when the writer last gave a sign."""

    state: CameraState
    attempts: int
    heartbeat_ns: int

    def is_current(self, now_ns: int) -> bool:
        """True when the writer gave a sign of late: what else is here is old news once it has died."""
        return now_ns - self.heartbeat_ns <= SILENCE_MAX_NS


class FrameWriter:
    """The only writer of a mailbox. Pictures may have up to `capacity_bytes`; each slot reserves that much.

    `is_shared_with_group` lets another user of the file's group read (0640) instead of nobody (0600).
    Not for more than one thread.
    """

    def __init__(
        self,
        path: Path,
        capacity_bytes: int,
        *,
        is_shared_with_group: bool = False,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        assert 0 < capacity_bytes <= CAPACITY_BYTES_MAX
        self._path = path
        self._capacity = capacity_bytes
        self._file_mode, self._bell_mode = (0o640, 0o660) if is_shared_with_group else (0o600, 0o600)
        self._monotonic_ns = monotonic_ns
        self._fence = _Fence()
        self._file = -1
        self._map: mmap.mmap | None = None
        self._words: NDArray[np.uint64] = np.zeros(_Word.END, dtype=np.uint64)
        self._slots: list[NDArray[np.uint8]] = []
        self._bell: _Bell | None = None

    def open(self) -> None:
        """Puts an empty mailbox and its doorbell in place of what was there. Raises: OSError."""
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        self._file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._file_mode)
        os.fchmod(self._file, self._file_mode)
        room = _slot_room(self._capacity)
        # Memory is claimed now: a page that cannot be had later, under the map, would kill the process.
        os.posix_fallocate(self._file, 0, _PAGE + 2 * room)
        self._map = mmap.mmap(self._file, 0)
        self._words = np.frombuffer(self._map, dtype=np.uint64, count=_Word.END)
        self._slots = [
            np.frombuffer(self._map, dtype=np.uint8, count=self._capacity, offset=_PAGE + slot * room)
            for slot in range(2)
        ]
        self._words[_Word.VERSION] = _VERSION
        self._words[_Word.CAPACITY] = self._capacity
        self._words[_Word.LATEST] = _NO_SLOT
        self._words[_Word.MAGIC] = _MAGIC
        self.opening(0)
        fresh.replace(self._path)
        self._bell = _Bell(bell_path(self._path), self._bell_mode)

    def publish(self, frame: Frame) -> None:
        """The frame is the newest and the camera live. Raises: ChannelBroken when it is too large for the mailbox."""
        height, width = frame.pixels.shape[:2]
        if frame.pixels.nbytes > self._capacity:
            raise ChannelBroken(f"a picture of {width} x {height} does not fit into the mailbox")
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.shape == (height, width, 3)
        slot = 1 if self._words[_Word.LATEST] == 0 else 0
        words = self._words[_Word.SLOT_1 if slot else _Word.SLOT_0 :]
        words[_SlotWord.LOCK] += 1
        self._fence.pass_through()
        target = self._slots[slot][: frame.pixels.nbytes].reshape(frame.pixels.shape)
        np.copyto(target, frame.pixels)
        words[_SlotWord.SEQUENCE] = frame.sequence
        words[_SlotWord.CAPTURED_NS] = frame.captured_ns
        words[_SlotWord.WIDTH] = width
        words[_SlotWord.HEIGHT] = height
        self._fence.pass_through()
        words[_SlotWord.LOCK] += 1
        self._fence.pass_through()
        self._words[_Word.LATEST] = slot
        self._show(CameraState.LIVE, 0)

    def opening(self, attempts: int) -> None:
        """The camera is being opened, for so many times since it was last live."""
        self._show(CameraState.OPENING, attempts)

    def lost(self, attempts: int) -> None:
        """The camera gave no picture or could not be opened, so many times in a row."""
        self._show(CameraState.LOST, attempts)

    def ended(self) -> None:
        """The recording is over."""
        self._show(CameraState.ENDED, 0)

    def beat(self) -> None:
        """The writer is alive."""
        self._words[_Word.HEARTBEAT_NS] = self._monotonic_ns()

    def _show(self, state: CameraState, attempts: int) -> None:
        self.beat()
        self._words[_Word.CONDITION] = state | attempts << 8
        if self._bell is not None:
            self._bell.ring()

    def close(self) -> None:
        """Wipes the pictures, keeps the state for who looks later, and takes the doorbell down."""
        if self._map is None:
            return
        if self._words[_Word.CONDITION] != CameraState.ENDED:
            self._show(CameraState.OFF, 0)
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._slots = []
        self._words = np.zeros(_Word.END, dtype=np.uint64)  # the map cannot be closed while an array looks into it
        self._map.close()
        self._map = None
        os.ftruncate(self._file, _PAGE)
        os.close(self._file)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FrameReader:
    """A reader of a mailbox that may not exist yet. Not for more than one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _MailboxFile | None = None
        self._is_replaced = False
        self._bell: socket.socket | None = None
        self._poll = select.epoll()

    def read_latest(self, after_sequence: int, into: NDArray[np.uint8] | None = None) -> Frame | None:
        """The newest frame, or None when there is none with a higher number.

        The first frame of a new writer is always newer: its numbers start again. `into` (flat, contiguous, uint8)
        takes the pixels when it is large enough, overwriting the frame before; else they get an array of their own.
        """
        file = self._current_file()
        if file is None:
            return None
        frame = file.read_latest(0 if self._is_replaced else after_sequence, into)
        if frame is not None:
            self._is_replaced = False
        return frame

    def read_status(self) -> MailboxStatus | None:
        """What the camera is doing, or None when there is no mailbox."""
        file = self._current_file()
        return None if file is None else file.read_status()

    def wait(self, timeout_s: float) -> bool:
        """True when there may be something new: the bell rang, or was connected or lost. False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._bell is None and self._connect():
                return True
            remaining_s = max(0.0, deadline - time.monotonic())
            if self._bell is not None:
                return bool(self._poll.poll(remaining_s)) and self._has_rung()
            if remaining_s == 0.0:
                return False
            time.sleep(min(RECONNECT_S, remaining_s))

    def fileno(self) -> int:
        """A descriptor that is readable when `wait(0)` has something to say; it stays the same over reconnections.

        Whoever selects on it calls `wait(0)` now and then all the same: that is what connects to a new writer.
        """
        return self._poll.fileno()

    def close(self) -> None:
        """Lets go of the file and the doorbell."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._hang_up()
        self._poll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _current_file(self) -> "_MailboxFile | None":
        """The file now at the path: a new writer puts another one there."""
        try:
            there = self._path.stat()
        except OSError:
            return self._file
        if self._file is None or self._file.identity != (there.st_dev, there.st_ino):
            replacement = _MailboxFile.open(self._path)
            if replacement is not None:
                if self._file is not None:
                    self._file.close()
                    self._is_replaced = True
                self._file = replacement
        return self._file

    def _connect(self) -> bool:
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            bell.connect(str(bell_path(self._path)))
        except OSError:  # no writer yet, or one whose queue of new listeners is full
            bell.close()
            return False
        self._poll.register(bell, select.EPOLLIN)
        self._bell = bell
        return True

    def _has_rung(self) -> bool:
        assert self._bell is not None
        try:
            is_open = self._bell.recv(4096) != b""
        except BlockingIOError:
            return False
        except OSError:
            is_open = False
        if not is_open:
            self._hang_up()
        return True

    def _hang_up(self) -> None:
        if self._bell is not None:
            self._poll.unregister(self._bell)
            self._bell.close()
            self._bell = None


def bell_path(path: Path) -> Path:
    """Where the doorbell of the mailbox at the path is."""
    return path.with_name(path.name + ".bell")


class _MailboxFile:
    """One mailbox file opened for reading, and the size it had when it was opened."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)
        self._descriptor = descriptor
        self._capacity = capacity

    @classmethod
    def open(cls, path: Path) -> "_MailboxFile | None":
        """The mailbox at the path, or None when what is there is not one."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return None
        capacity = _checked_capacity(descriptor)
        if capacity is None:
            os.close(descriptor)
            return None
        return cls(descriptor, capacity)

    def read_latest(self, after_sequence: int, into: NDArray[np.uint8] | None) -> Frame | None:
        for _ in range(TRIES):
            words = _read_header(self._descriptor)
            if words is None or words[_Word.LATEST] not in (0, 1):
                return None
            slot = words[_Word.LATEST]
            before = _slot_words(words, slot)
            if before[_SlotWord.SEQUENCE] <= after_sequence:
                return None
            pixels = self._copy(slot, before, into)
            words = _read_header(self._descriptor)
            if pixels is None or words is None:
                return None
            if before[_SlotWord.LOCK] % 2 == 0 and _slot_words(words, slot) == before:
                return Frame(
                    pixels=pixels, captured_ns=before[_SlotWord.CAPTURED_NS], sequence=before[_SlotWord.SEQUENCE]
                )
        return None

    def _copy(self, slot: int, words: tuple[int, ...], into: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """The slot's pixels, or None when the header asks for more than the file holds."""
        width, height = words[_SlotWord.WIDTH], words[_SlotWord.HEIGHT]
        size = width * height * 3
        if not 0 < size <= self._capacity:
            return None
        flat = into[:size] if into is not None and into.size >= size else np.empty(size, dtype=np.uint8)
        offset = _PAGE + slot * _slot_room(self._capacity)
        if os.preadv(self._descriptor, [flat.data], offset) != size:
            return None
        return flat.reshape(height, width, 3)

    def read_status(self) -> MailboxStatus | None:
        words = _read_header(self._descriptor)
        if words is None:
            return None
        attempts, state = divmod(words[_Word.CONDITION], 1 << 8)
        if state not in set(CameraState):
            return None
        return MailboxStatus(state=CameraState(state), attempts=attempts, heartbeat_ns=words[_Word.HEARTBEAT_NS])

    def close(self) -> None:
        os.close(self._descriptor)


def _checked_capacity(descriptor: int) -> int | None:
    """The room of a slot, or None when this is no mailbox or its header promises more than the file holds.

    A mailbox whose writer has closed it is one page long: its state can be read, its slots cannot.
    """
    words = _read_header(descriptor)
    status = os.fstat(descriptor)
    if words is None or not stat.S_ISREG(status.st_mode):
        return None
    if words[_Word.MAGIC] != _MAGIC or words[_Word.VERSION] != _VERSION:
        return None
    capacity = words[_Word.CAPACITY]
    if not 0 < capacity <= CAPACITY_BYTES_MAX or status.st_size not in (_PAGE, _PAGE + 2 * _slot_room(capacity)):
        return None
    return capacity


def _read_header(descriptor: int) -> tuple[int, ...] | None:
    try:
        data = os.pread(descriptor, _HEADER.size, 0)
    except OSError:
        return None
    return _HEADER.unpack(data) if len(data) == _HEADER.size else None


def _slot_words(words: tuple[int, ...], slot: int) -> tuple[int, ...]:
    start = _Word.SLOT_1 if slot else _Word.SLOT_0
    return words[start : start + len(_SlotWord)]


def _slot_room(capacity: int) -> int:
    """The capacity in whole pages."""
    return -(-capacity // _PAGE) * _PAGE


class _Fence:
    """A memory barrier, which Python has no name for.

    Releasing a lock makes the stores before it visible first, taking it keeps the stores after it behind: on ARM,
    where a Raspberry Pi's cores may otherwise show the counter before the pixels.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def pass_through(self) -> None:
        """What was stored before is visible before what is stored after."""
        self._lock.release()
        self._lock.acquire()


class _Bell:
    """The writer's end of the doorbell."""

    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._listeners: list[socket.socket] = []
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        path.unlink(missing_ok=True)
        self._door.bind(str(path))
        path.chmod(mode)
        self._door.listen(LISTENERS_MAX)

    def ring(self) -> None:
        """One byte to every listener that has room for it; one that has none was rung already."""
        self._let_in()
        for listener in list(self._listeners):
            try:
                listener.send(b".", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                continue
            except OSError:
                self._listeners.remove(listener)
                listener.close()

    def _let_in(self) -> None:
        while True:
            try:
                listener, _ = self._door.accept()
            except BlockingIOError:
                return
            if len(self._listeners) == LISTENERS_MAX:
                listener.close()
            else:
                self._listeners.append(listener)

    def close(self) -> None:
        for listener in (*self._listeners, self._door):
            listener.close()
        self._listeners = []
        self._path.unlink(missing_ok=True)

"""Runs the QR reader in a child process that may crash, hang or be taken over without harm to its parent.

What a camera sees is chosen by strangers and parsed by C and C++ libraries, so the parsing happens in a process that
has one socket, one read-only frame and nothing else: no key, no template, no ledger, no other descriptor.

The child is a fresh interpreter, not a fork. A fork shares more pages, but one made when a stalled child is replaced
would copy whatever its parent holds by then, templates and the group secret included, and would be taken while other
threads hold locks. PSS of both processes together, parent with numpy and OpenCV, after full passes over 720p frames
(x86-64, Python 3.11): 42 MiB without a child, 70 MiB with a fresh one, 60 MiB with a fork.

The parent's half; the child's is decoder_child.py.
"""

import fcntl
import mmap
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.vision.codes import Code, Effort
from edge.vision.decoder_wire import ANSWER_BYTES_MAX, READY, SLOT_BYTES, Answer, Request

READER: Final = "edge.vision.qr:read_codes"
DECODE_LIMIT_S: Final = 0.5
"""Wall time for one frame. A full pass over a dark, noisy 720p frame takes up to 90 ms here, and a Raspberry Pi 4 is
taken for four to five times slower (issue pyzbar #137 against our figures)."""
START_LIMIT_S: Final = 10.0
"""Importing numpy, OpenCV and zxing-cpp: 0.3 s here, some seconds from a cold SD card."""
START_PAUSE_S: Final = 1.0
"""A child that ends before it is ready is not started again sooner: a missing library must not become a busy loop."""
SEAL_FUTURE_WRITE: Final = 0x0010
"""F_SEAL_FUTURE_WRITE of linux/fcntl.h, which Python 3.11 does not name: later mappings are read-only."""


class StallReason(StrEnum):
    """Why a frame has no answer."""

    TIMEOUT = "timeout"
    """The child took longer than the limit and was killed."""
    DIED = "died"
    """The child ended while it had the frame."""
    GARBLED = "garbled"
    """The child's answer was not one; it was killed."""
    NOT_STARTED = "not started"
    """No child could be started, or the pause after a failed start is not over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The codes of one frame."""

    codes: tuple[Code, ...]
    elapsed_ms: float
    """From the call to the answer, the copy of the frame included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStalled:
    """The frame was given up; the next one finds a new child."""

    reason: StallReason


class Decoder:
    """A QR reader in a child process, replaced whenever it stalls or dies.

    `wanted` is passed to the reader: retries go on until a text that begins with it was read. `reader` names the
    function the child runs, as "module:function".

    Limits: one frame at a time, from one thread. The child dies with the thread that started it (PR_SET_PDEATHSIG),
    so start it from the main thread.
    """

    def __init__(self, *, wanted: str = "", decode_limit_s: float = DECODE_LIMIT_S, reader: str = READER) -> None:
        self._wanted = wanted
        self._decode_limit_s = decode_limit_s
        self._reader = reader
        self._slot: _Slot | None = None
        self._child: _Child | None = None
        self._start_not_before_s = 0.0
        self._sequence = 0
        self._restarts = 0

    @property
    def restarts(self) -> int:
        """How many children were lost so far."""
        return self._restarts

    @property
    def process_id(self) -> int | None:
        """The child's, or None when there is none at the moment."""
        return None if self._child is None else self._child.process_id

    def start(self) -> None:
        """A child is on its way; the first frame waits for it to be ready."""
        assert self._slot is None, "started twice"
        self._slot = _Slot()
        self._child = self._new_child(self._slot)

    def close(self) -> None:
        """No child is left and the frame is gone; closing twice is harmless."""
        if self._child is not None:
            self._child.end()
            self._child = None
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    def __enter__(self) -> Self:
        """Starts it."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes it."""
        self.close()

    def decode(self, gray: NDArray[np.uint8], effort: Effort) -> Decoded | DecoderStalled:
        """The codes of the frame, or why there is no answer; by then the child at fault has been killed.

        Shape and dtype: (H, W) uint8. A frame larger than the slot is made smaller, its codes are in pixels of `gray`.
        """
        assert self._slot is not None, "not started"
        began_s = time.perf_counter()
        child = self._ready_child(self._slot)
        if child is None:
            return DecoderStalled(reason=StallReason.NOT_STARTED)
        self._sequence += 1
        scale, height, width = self._slot.put(gray)
        request = Request(sequence=self._sequence, height=height, width=width, effort=effort)
        answer = child.ask(request, self._decode_limit_s)
        if not isinstance(answer, Answer):
            self._lose_child()
            return DecoderStalled(reason=answer)
        codes = tuple(code.scaled(1 / scale) for code in answer.codes)
        return Decoded(codes=codes, elapsed_ms=(time.perf_counter() - began_s) * 1e3)

    def _ready_child(self, slot: "_Slot") -> "_Child | None":
        """A child that waits for a frame, or None while none can be had."""
        if self._child is not None and self._child.has_ended():
            self._lose_child()  # killed between two frames
        if self._child is None:
            if time.monotonic() < self._start_not_before_s:
                return None
            self._child = self._new_child(slot)
        if not self._child.wait_until_ready(START_LIMIT_S):
            self._lose_child()
            return None
        return self._child

    def _new_child(self, slot: "_Slot") -> "_Child":
        """A child that has been started and may not be ready yet."""
        return _Child(slot.descriptor, reader=self._reader, wanted=self._wanted)

    def _lose_child(self) -> None:
        """The child is gone and counted."""
        assert self._child is not None
        if not self._child.was_ready:
            self._start_not_before_s = time.monotonic() + START_PAUSE_S
        self._child.end()
        self._child = None
        self._restarts += 1


class _Slot:
    """Memory for one frame that the child can read and neither write nor resize.

    Without the seals a child could shorten the file under its parent's mapping, and the parent would die of SIGBUS.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("doorstep-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, SLOT_BYTES)
        self._memory = mmap.mmap(self.descriptor, SLOT_BYTES)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)

    def put(self, gray: NDArray[np.uint8]) -> tuple[float, int, int]:
        """Scale, height and width of the frame that now lies in the slot."""
        scale = 1.0
        if gray.size > SLOT_BYTES:
            import cv2  # only a camera of more than 4K comes here

            scale = (SLOT_BYTES / gray.size) ** 0.5
            height, width = (max(1, int(side * scale)) for side in gray.shape)
            gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        height, width = gray.shape
        # A view made for this copy and dropped with it: one kept would hold the mapping open.
        np.frombuffer(self._memory, dtype=np.uint8, count=gray.size).reshape(height, width)[:] = gray
        return scale, height, width

    def close(self) -> None:
        """The memory is given back."""
        self._memory.close()
        os.close(self.descriptor)


class _Child:
    """One child process and the parent's end of its socket."""

    def __init__(self, slot: int, *, reader: str, wanted: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answers = msgspec.msgpack.Decoder(Answer)
        self.was_ready = False
        root = Path(__file__).parents[2]
        command = [sys.executable, "-P", "-s", "-m", "edge.vision.decoder_child"]
        arguments = [str(theirs.fileno()), str(slot), str(os.getpid()), reader, wanted]
        with theirs:
            self._process = subprocess.Popen(
                command + arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), slot),
                # Nothing of the parent's environment, where a token may lie. One BLAS thread: the child multiplies
                # no matrices, and each thread of the pool costs address space.
                env={"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
            )

    @property
    def process_id(self) -> int:
        """The child's."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    def wait_until_ready(self, limit_s: float) -> bool:
        """Whether the child can take a frame."""
        if not self.was_ready:
            self.was_ready = self._receive(limit_s) == READY
        return self.was_ready

    def ask(self, request: Request, limit_s: float) -> Answer | StallReason:
        """The answer to this request, or why there is none."""
        try:
            self._socket.send(msgspec.msgpack.encode(request))
        except OSError:  # the child ended since it was last looked at
            return StallReason.DIED
        match self._receive(limit_s):
            case None:
                return StallReason.TIMEOUT
            case b"":
                return StallReason.DIED
            case answer:
                return self._parsed(answer, request.sequence)

    def end(self) -> None:
        """The process is over and waited for, the socket closed."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _parsed(self, data: bytes, sequence: int) -> Answer | StallReason:
        """The answer, when it is one and belongs to this frame."""
        try:
            answer = self._answers.decode(data)
        except msgspec.DecodeError:
            return StallReason.GARBLED
        return answer if answer.sequence == sequence else StallReason.GARBLED

    def _receive(self, limit_s: float) -> bytes | None:
        """The next packet, empty when the child is gone, None when the limit was reached."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(limit_s * 1e3):
            return None
        try:
            return self._socket.recv(ANSWER_BYTES_MAX)
        except ConnectionResetError:
            return b""

"""Cameras whose library blocks as long as it likes: read on a thread of their own, so that a wait has an end.

The thread keeps the newest picture only. A library that never comes back costs its thread and its handle, not the
caller: a second line of defence in `capture` then ends the process.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.backend import Backend
from edge.camera.fit import fit
from edge.camera.options import CameraClock, CameraOptions
from edge.errors import CameraLost, CameraUnavailable

CLOSING_S = 2.0  # a healthy read ends within a frame's time; one that takes longer is left behind

log = logging.getLogger(__name__)


class Source(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """True when pictures can be read."""
        ...

    def read(self) -> tuple[bool, cv2.typing.MatLike | None]:
        """Whether there is a picture, and the picture."""
        ...

    def release(self) -> None:
        """Closes the device."""
        ...


class _Slot:
    """The newest picture, handed from the reading thread to the caller."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._picture: tuple[NDArray[np.uint8], int] | None = None
        self._is_over = False

    def put(self, picture: NDArray[np.uint8], captured_ns: int) -> None:
        with self._changed:
            self._picture = (picture, captured_ns)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int] | None:
        """The picture not yet taken, or None when none came in time or none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._picture is not None or self._is_over, timeout_s)
            picture, self._picture = self._picture, None
            return picture

    @property
    def is_over(self) -> bool:
        return self._is_over


class Pump(Backend):
    """A live camera behind a library that blocks."""

    def __init__(self, address: str, connect: Callable[[], Source], options: CameraOptions, clock: CameraClock) -> None:
        super().__init__(address)
        self._connect = connect
        self._options = options
        self._clock = clock
        self._slot = _Slot()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        source = self._connect()
        if not source.isOpened():
            source.release()
            raise CameraUnavailable(self._address, "does not answer")
        self._slot, self._stopping = _Slot(), threading.Event()
        self._thread = threading.Thread(
            target=_pump, args=(source, self._slot, self._stopping, self._clock), name="camera", daemon=True
        )
        self._thread.start()

    def _take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        taken = self._slot.take(timeout_s)
        if taken is None:
            raise CameraLost(self._address, "the stream ended" if self._slot.is_over else "no picture in time")
        picture, captured_ns = taken
        return fit(picture, self._options), captured_ns

    def _stop(self) -> None:
        assert self._thread is not None
        self._stopping.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            log.warning("camera library does not return; left behind", extra={"address": self._address})
        self._thread = None


def _pump(source: Source, slot: _Slot, stopping: threading.Event, clock: CameraClock) -> None:
    """Reads until told to stop or the source gives up, then closes it."""
    try:
        while not stopping.is_set():
            is_read, picture = source.read()
            if not is_read or picture is None:
                return
            slot.put(np.asarray(picture, dtype=np.uint8), clock.monotonic_ns())
    finally:
        source.release()
        slot.end()

"""What all cameras have in common: opened and closed once, gapless numbers, timestamps that only grow."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraUnavailable
from edge.ports import Frame


class Backend(ABC):
    """A camera less the part that knows its library. Not for more than one thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._is_open = False
        self._sequence = 0
        self._captured_ns = 0

    @property
    def address(self) -> str:
        """The address it was opened by, without credentials."""
        return self._address

    def open(self) -> None:
        """Makes the source ready, its numbers starting at 1 again. Raises: CameraUnavailable."""
        self.close()
        self._start()
        self._is_open = True
        self._sequence = 0

    def read(self, timeout_s: float) -> Frame:
        """The next frame. Raises: CameraLost, EndOfStream; CameraUnavailable when it is not open."""
        if not self._is_open:
            raise CameraUnavailable(self._address, "not open")
        pixels, captured_ns = self._take(timeout_s)
        self._sequence += 1
        self._captured_ns = max(captured_ns, self._captured_ns + 1)
        return Frame(pixels=pixels, captured_ns=self._captured_ns, sequence=self._sequence)

    def close(self) -> None:
        """Lets go of the device; closing twice is harmless."""
        if self._is_open:
            self._is_open = False
            self._stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def _start(self) -> None:
        """Opens the device. Raises: CameraUnavailable, having let go of everything."""

    @abstractmethod
    def _take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        """The next picture, (H, W, 3) uint8 BGR and owned by the caller, and its monotonic time in ns."""

    @abstractmethod
    def _stop(self) -> None:
        """Lets go of the device."""

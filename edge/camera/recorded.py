"""Sources that could give their next picture at any time and are slowed down to their own rate."""

from abc import abstractmethod
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge.camera.backend import Backend
from edge.camera.options import NS, CameraClock
from edge.errors import CameraLost

LATENESS_MAX_S = 1.0  # a reader that fell further behind than this is not owed the pictures it missed


class Pace(StrEnum):
    """REAL plays at the recording's rate. FAST gives pictures as they are read, dated by the recording's rate."""

    REAL = "real"
    FAST = "fast"


class Recorded(Backend):
    """A camera whose pictures are made or decoded on request."""

    def __init__(self, address: str, *, pace: Pace, clock: CameraClock) -> None:
        super().__init__(address)
        self._pace = pace
        self._clock = clock
        self._due_ns = 0
        self._period_ns = NS

    def _begin(self, rate_fps: float) -> None:
        """The first picture is due now, and one each period after it."""
        self._period_ns = round(NS / rate_fps)
        self._due_ns = self._clock.monotonic_ns()

    def _take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        due_ns = self._due_ns
        if self._pace is Pace.REAL:
            due_ns = self._wait_until_due(timeout_s)
        pixels = self._next_picture()
        self._due_ns = due_ns + self._period_ns
        return pixels, due_ns

    def _wait_until_due(self, timeout_s: float) -> int:
        """The time of the picture that is due, once it is; a schedule that fell far behind starts anew."""
        now_ns = self._clock.monotonic_ns()
        wait_s = (self._due_ns - now_ns) / NS
        if wait_s > timeout_s:
            self._clock.sleep(timeout_s)
            raise CameraLost(self._address, "no picture in time")
        if wait_s > 0:
            self._clock.sleep(wait_s)
        return now_ns if -wait_s > LATENESS_MAX_S else self._due_ns

    @abstractmethod
    def _next_picture(self) -> NDArray[np.uint8]:
        """The next picture. Raises: EndOfStream."""

"""Decides which frames are worth decoding, so that an empty door costs next to nothing.

A frame is worth it when something in view changed, for a second after a code was read (a code held still must go on
being seen, or the visit would look over), and otherwise now and then, so that a code lying still is found as well.

Pure: the frame's own timestamp is the only clock.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.codes import Effort

CELLS_ACROSS: Final = 80
"""A 50 mm code at 50 cm fills 6 x 6 cells of a camera with 66 degrees of view."""
SAMPLES_A_SIDE: Final = 4
"""Pixels looked at along each side of a cell: their mean has a quarter of the sensor's noise, and the rest of the frame
is never read."""
CHANGE_GREY: Final = 10.0
"""Grey levels, mean over a cell and its neighbours. A sensor's noise of 16 levels leaves 4, paper before cloth makes 50
and more."""
CHANGED_CELLS_MIN: Final = 12
"""A third of the smallest code that can be read. A fly of one cell changes itself and its neighbours: nine."""
REFERENCE_WEIGHT: Final = 0.2
"""How fast the view becomes the new normal: two thirds in five frames, so that a hand that stopped is still in a
second, and slow daylight never counts as motion."""
FULL_INTERVAL_NS: Final = 250_000_000
"""Between two frames that are given all retries. A failing full pass takes 20 to 60 quick ones (45 to 90 ms): given to
every frame of somebody walking in, it would hold back the frame in which the code comes into view."""
AFTER_CODE_NS: Final = 1_000_000_000
STILL_INTERVAL_NS: Final = 400_000_000
"""Between two frames decoded at a still door. With one frame more at 15 frames a second a code is found in 0.47 s."""


class MotionGate:
    """Remembers what the view looked like and when it was last decoded. One camera, frames in order."""

    def __init__(self) -> None:
        self._reference: NDArray[np.float32] | None = None
        self._decoded_ns: int | None = None
        self._code_ns: int | None = None
        self._full_ns: int | None = None

    def changed(self, gray: NDArray[np.uint8], captured_ns: int) -> bool:
        """Whether this frame is worth decoding. Every frame is shown to the gate, in order, exactly once.

        Shape and dtype: (H, W) uint8.
        """
        cells = thumbnail(gray)
        moved = self._has_moved(cells)
        self._learn(cells)
        if not (moved or self._is_recent(self._code_ns, captured_ns, AFTER_CODE_NS)) and self._is_recent(
            self._decoded_ns, captured_ns, STILL_INTERVAL_NS
        ):
            return False
        self._decoded_ns = captured_ns
        return True

    def effort(self, captured_ns: int) -> Effort:
        """How hard to look at a frame that is worth decoding: with all retries four times a second, else quickly."""
        if self._is_recent(self._full_ns, captured_ns, FULL_INTERVAL_NS):
            return Effort.QUICK
        self._full_ns = captured_ns
        return Effort.FULL

    def code_read(self, captured_ns: int) -> None:
        """The frame taken at this time held a code."""
        self._code_ns = captured_ns

    def _has_moved(self, cells: NDArray[np.float32]) -> bool:
        """Whether enough cells differ from the reference; the first frame and one of another size always do."""
        if self._reference is None or self._reference.shape != cells.shape:
            return True
        difference = cells - self._reference
        # Auto-exposure lifts the whole picture at once: what all cells share is not motion.
        difference -= np.median(difference)
        change = cv2.blur(np.abs(difference), (3, 3))
        return int(np.count_nonzero(change > CHANGE_GREY)) >= CHANGED_CELLS_MIN

    def _learn(self, cells: NDArray[np.float32]) -> None:
        """The view is a little more the normal one."""
        if self._reference is None or self._reference.shape != cells.shape:
            self._reference = cells
        else:
            self._reference += REFERENCE_WEIGHT * (cells - self._reference)

    @staticmethod
    def _is_recent(then_ns: int | None, now_ns: int, within_ns: int) -> bool:
        """Whether `then` lies less than `within` before now."""
        return then_ns is not None and now_ns - then_ns < within_ns


def thumbnail(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean grey of each cell, CELLS_ACROSS of them in a row of a wide picture.

    Shape and dtype: (rows, columns) float32.
    """
    step = max(1, gray.shape[1] // (CELLS_ACROSS * SAMPLES_A_SIDE))
    samples = np.ascontiguousarray(gray[::step, ::step])
    height, width = (max(1, side // SAMPLES_A_SIDE) for side in samples.shape)
    cells = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    return cells.astype(np.float32)

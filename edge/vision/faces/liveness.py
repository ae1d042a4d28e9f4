"""Tells a face from a picture of one, as far as two small networks can: a deterrent, not security.

MiniFASNet V2 looks at the face with a rim around it, V1SE with more of the scene; their mean is the answer. Only their
makers know what they were trained on, and no set of real attacks was at hand to test them on; models/minifasnet.md says
what was measured instead.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.face import Box

SIDE: Final = 80
NEAR_SCALE: Final = 2.7
FAR_SCALE: Final = 4.0
"""Times the face's box. Source: minivision-ai/Silent-Face-Anti-Spoofing, in the names of the two weight files."""
LIVE: Final = 1
"""The class that means a live face; 0 and 2 are attacks. Source: the same."""


class SpoofCheck:
    """Both networks and their buffers. Not for several threads at once."""

    def __init__(self, near_onnx: bytes, far_onnx: bytes) -> None:
        self._near = _Network(near_onnx, NEAR_SCALE)
        self._far = _Network(far_onnx, FAR_SCALE)

    def live(self, pixels: NDArray[np.uint8], box: Box) -> float:
        """How sure both are, on average, that a live person stands there: from 0 to 1.

        Shape and dtype: pixels (H, W, 3) uint8 BGR, the whole frame; the scene around the face is half of the answer.
        """
        return (self._near.live(pixels, box) + self._far.live(pixels, box)) / 2

    def wipe(self) -> None:
        """Leaves nothing of the last face in the buffers or in the networks' own memory."""
        self._near.wipe()
        self._far.wipe()


class _Network:
    """One MiniFASNet with its input."""

    def __init__(self, onnx: bytes, scale: float) -> None:
        self._net = cv2.dnn.readNetFromONNX(np.frombuffer(onnx, np.uint8))
        self._scale = scale
        self._small = np.zeros((SIDE, SIDE, 3), np.uint8)
        self._input = np.zeros((1, 3, SIDE, SIDE), np.float32)

    def live(self, pixels: NDArray[np.uint8], box: Box) -> float:
        """The softmax of the class that means a live face."""
        left, top, right, bottom = surroundings(box, self._scale, (pixels.shape[1], pixels.shape[0]))
        cv2.resize(pixels[top:bottom, left:right], (SIDE, SIDE), dst=self._small, interpolation=cv2.INTER_LINEAR)
        self._input[0] = self._small.transpose(2, 0, 1)  # BGR, 0 to 255: the scaling is inside the network
        logits = self._forward()
        powers = np.exp(logits - logits.max())
        return float(powers[LIVE] / powers.sum())

    def wipe(self) -> None:
        """Zeros in the buffers and, by a run on them, in every layer."""
        self._small.fill(0)
        self._input.fill(0)
        self._forward()

    def _forward(self) -> NDArray[np.float64]:
        self._net.setInput(self._input)
        return np.asarray(self._net.forward()[0], np.float64)


def surroundings(box: Box, scale: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box grown about its middle and moved into the picture: left, top, right, bottom, the last two exclusive.

    `size` is the picture's width and height. A box that would not fit is grown less, so that its shape is kept. Source:
    how the networks' makers cut their own patches, minivision-ai/Silent-Face-Anti-Spoofing.
    """
    width, height = size
    grown = min(scale, (width - 1) / box.width, (height - 1) / box.height)
    across, down = box.width * grown, box.height * grown
    centre_x, centre_y = box.centre
    left = min(max(centre_x - across / 2, 0.0), width - 1 - across)
    top = min(max(centre_y - down / 2, 0.0), height - 1 - down)
    return int(left), int(top), int(left + across) + 1, int(top + down) + 1

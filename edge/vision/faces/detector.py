"""Finds faces and their five points with YuNet, on a reduced picture."""

from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.face import Box, Face
from edge.vision.quiet import quiet_stderr

WIDTH: Final = 640
"""Detector width for a 1280 x 720 capture: the same recall as at full width for a third of the time; 320 lost half the
faces of a two-person clip (measured 2026-11)."""
SCORE_MIN: Final = 0.7
NMS: Final = 0.3
FACES_MAX: Final = 8
"""Faces followed at once. A door shows three or four people; more only cost time."""


class Detector:
    """YuNet on pictures reduced to a width. Not for several threads at once."""

    def __init__(self, onnx: bytes, *, width: int = WIDTH, score_min: float = SCORE_MIN) -> None:
        self._width = width
        with quiet_stderr():  # OpenCV warns of a setting that its new engine does not have and we do not use
            self._net = cv2.FaceDetectorYN.create(
                "onnx", np.frombuffer(onnx, np.uint8), np.empty(0, np.uint8), (width, width), score_min, NMS, 64
            )
        self._small: NDArray[np.uint8] | None = None

    def detect(self, pixels: NDArray[np.uint8]) -> tuple[Face, ...]:
        """The faces in view, largest first, at most FACES_MAX.

        Shape and dtype of `pixels`: (H, W, 3) uint8 BGR. Faces are in its pixels, however small it was searched.
        """
        height, width = pixels.shape[:2]
        factor = min(1.0, self._width / width)
        if factor < 1.0:
            size = (self._width, max(1, round(height * factor)))
            self._small = np.asarray(
                cv2.resize(pixels, size, dst=self._small, interpolation=cv2.INTER_LINEAR), np.uint8
            )
            searched = self._small
        else:
            searched = pixels
        self._net.setInputSize((searched.shape[1], searched.shape[0]))
        # The stubs promise an array; without a face there is None.
        rows = cast("NDArray[np.float32] | None", self._net.detect(searched)[1])
        if rows is None:
            return ()
        faces = [_face(np.asarray(row, np.float32), 1 / factor) for row in rows]
        return tuple(sorted(faces, key=lambda face: -face.box.width * face.box.height)[:FACES_MAX])

    def wipe(self) -> None:
        """Leaves nothing of the last picture in the detector's own buffer."""
        if self._small is not None:
            self._small.fill(0)


def _face(row: NDArray[np.float32], scale: float) -> Face:
    x, y, width, height = (float(value) * scale for value in row[:4])
    points = (row[4:14].reshape(5, 2) * scale).astype(np.float32)
    return Face(box=Box(x=x, y=y, width=width, height=height), points=points, score=float(row[14]))

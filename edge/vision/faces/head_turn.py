"""How far a head is turned, from 468 landmarks in space: what the active challenge asks for.

The landmark model judges depth from what it sees of a face, so a turned photograph hardly changes its answer: a flat
print turned by 45 degrees moved it by 6 degrees on average, a drawn head that turns by 29 (bench `liveness`, 2026-11).
The degrees are the model's own and were not checked against a measured head.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.face import Face
from edge.vision.quiet import quiet_stderr

SIDE: Final = 192
POINTS: Final = 468
GROWN: Final = 1.5
"""Times the longer side of the face's box. Source: MediaPipe's face_landmark_front graph, like the square that the eyes
turn upright and the border that repeats the frame's edge."""
PRESENCE_LOGIT_MIN: Final = 0.0
"""Half sure that it is a face at all, MediaPipe's own default. All of 200 portraits have more than 0.99."""
MIRRORED: Final = np.array(
    [(33, 263), (133, 362), (61, 291), (234, 454), (172, 397), (58, 288), (127, 356), (98, 327), (70, 300)]
)
"""Pairs of landmarks that face each other across the nose: corners of eyes and mouth, cheeks, jaw, temples, nostrils,
brows. First at the picture's left. Source: MediaPipe's canonical face mesh."""


class HeadTurn:
    """One interpreter with one thread and its crop. Not for several threads at once."""

    def __init__(self, landmarks_tflite: bytes) -> None:
        with quiet_stderr():  # LiteRT announces the library it computes with
            from ai_edge_litert.interpreter import Interpreter  # see embedder.py

            self._net = Interpreter(model_content=landmarks_tflite, num_threads=1)
            self._net.allocate_tensors()
        self._input: int = self._net.get_input_details()[0]["index"]
        by_size = {int(np.prod(output["shape"])): int(output["index"]) for output in self._net.get_output_details()}
        self._points, self._presence = by_size[3 * POINTS], by_size[1]
        self._crop = np.zeros((SIDE, SIDE, 3), np.uint8)

    def yaw_deg(self, pixels: NDArray[np.uint8], face: Face) -> float | None:
        """The head's turn, positive towards the picture's right; None when the landmarks find no face there.

        Shape and dtype: pixels (H, W, 3) uint8 BGR, the whole frame.
        """
        points = self.landmarks(pixels, face)
        return None if points is None else turn_deg(points)

    def landmarks(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.float32] | None:
        """The mesh in pixels of the frame, depth growing away from the camera in the same unit; None for no face.

        Shape and dtype: pixels (H, W, 3) uint8 BGR; returns (468, 3) float32.
        """
        onto = _upright(face)
        cv2.warpAffine(pixels, onto, (SIDE, SIDE), dst=self._crop, borderMode=cv2.BORDER_REPLICATE)
        np.multiply(self._crop[:, :, ::-1], np.float32(1 / 255), out=self._net.tensor(self._input)()[0])
        self._net.invoke()
        if self._net.tensor(self._presence)().item() < PRESENCE_LOGIT_MIN:
            return None
        found = np.array(self._net.tensor(self._points)(), np.float32).reshape(POINTS, 3)
        back = cv2.invertAffineTransform(onto)
        scale = float(np.hypot(back[0, 0], back[1, 0]))
        flat = found[:, :2] @ back[:, :2].T + back[:, 2]
        return np.column_stack([flat, found[:, 2] * scale]).astype(np.float32)

    def wipe(self) -> None:
        """Zeros in the crop and in the interpreter's input and, by a run on them, in its layers."""
        self._crop.fill(0)
        self._net.tensor(self._input)()[:] = 0
        self._net.invoke()


def turn_deg(points: NDArray[np.float32]) -> float:
    """The angle between the picture's plane and the line from the head's one side to its other.

    Shape: points (468, 3), depth growing away from the camera.
    """
    across = points[MIRRORED[:, 1]] - points[MIRRORED[:, 0]]
    x, y, depth = (across / np.linalg.norm(across, axis=1, keepdims=True)).mean(axis=0)
    return float(np.degrees(np.arctan2(depth, np.hypot(x, y))))


def _upright(face: Face) -> NDArray[np.float64]:
    """The turn, scale and shift (2, 3) from the frame to the model's square: eyes level, the box grown to GROWN."""
    (left_x, left_y), (right_x, right_y) = face.points[:2].astype(float)
    roll = float(np.arctan2(right_y - left_y, right_x - left_x))
    scale = SIDE / (GROWN * max(face.box.width, face.box.height))
    onto = np.asarray(cv2.getRotationMatrix2D(face.box.centre, np.degrees(roll), scale), np.float64)
    onto[:, 2] += SIDE / 2 - np.array(face.box.centre)
    return onto

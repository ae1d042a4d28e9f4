"""Says whether a face in a frame is good enough to be recognised by, and how good it is beside others.

What is measured: how large the face is, how sharp its aligned crop, how far it is turned or tilted, how it is lit. The
limits are loose: they keep out what carries nothing. Which of two passable frames is better matters less than having
several.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.alignment import SIDE, similarity
from edge.vision.faces.face import Face

SHARP_SIDE: Final = 64
"""Sharpness is measured on a crop reduced to half: 24 px between the eyes, near the least that is accepted, so that a
far face is not called blurred for being small."""
DARK_GREY, BRIGHT_GREY = 16, 245
"""Beyond these a pixel says nothing of the face any more."""


class QualityFault(StrEnum):
    """Why a face is not good enough; the first that applies."""

    SMALL = "small"
    TURNED = "turned"
    LIGHT = "light"
    BLURRED = "blurred"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What a frame must reach.

    `eyes_px_min`: pixels between the eyes; at 18 LFW's genuine pairs score as at 44, at 11 a quarter of them is lost
    (measured 2026-11). `turn_max`: how far the nose stands beside the middle of eyes and mouth, in eye distances; 98 %
    of LFW stay below 0.35. `tilt_min`, `tilt_max`: how far down from the eyes to the mouth the nose stands; all of LFW
    lies from 0.47 to 0.67. `grey_min`, `grey_max`: mean grey of the crop; 60 portraits darkened to 24, with a sensor's
    noise, lose 0.10 of their cosine and strangers score as before, at 18 the detector loses a face in twelve.
    `lost_share_max`: pixels too dark or too bright to say anything. `sharpness_min`: variance of the Laplacian over the
    variance of the crop; 99 % of LFW have more than 0.05, blurred by 2.5 px (44 between the eyes) half of them have
    less than 0.03, by 4 px nearly all.
    Source: 250 LFW portraits (measured 2026-11).
    """

    eyes_px_min: float = 18.0
    turn_max: float = 0.35
    tilt_min: float = 0.40
    tilt_max: float = 0.75
    grey_min: float = 24.0
    grey_max: float = 210.0
    lost_share_max: float = 0.40
    sharpness_min: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What was measured of one face; for the meanings see QualityLimits."""

    eyes_px: float
    turn: float
    tilt: float
    grey: float
    lost_share: float
    sharpness: float

    def fault(self, limits: QualityLimits) -> QualityFault | None:
        """The first thing that is not good enough, or None."""
        if self.eyes_px < limits.eyes_px_min:
            return QualityFault.SMALL
        if self.turn > limits.turn_max or not limits.tilt_min <= self.tilt <= limits.tilt_max:
            return QualityFault.TURNED
        if not limits.grey_min <= self.grey <= limits.grey_max or self.lost_share > limits.lost_share_max:
            return QualityFault.LIGHT
        if self.sharpness < limits.sharpness_min:
            return QualityFault.BLURRED
        return None


class QualityGauge:
    """Measures faces with two small grey pictures of its own. Not for several threads at once."""

    def __init__(self) -> None:
        self._gray = np.zeros((SIDE, SIDE), np.uint8)
        self._half = np.zeros((SHARP_SIDE, SHARP_SIDE), np.uint8)
        self._edges = np.zeros((SHARP_SIDE, SHARP_SIDE), np.float32)

    def measure(self, face: Face, crop: NDArray[np.uint8]) -> Quality:
        """The quality of the face. Shape and dtype: crop (128, 128, 3) uint8 BGR, aligned."""
        turn, tilt = pose(face.points)
        cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY, dst=self._gray)
        cv2.resize(self._gray, (SHARP_SIDE, SHARP_SIDE), dst=self._half, interpolation=cv2.INTER_AREA)
        cv2.Laplacian(self._half, cv2.CV_32F, dst=self._edges)
        mean, deviation = cv2.meanStdDev(self._half)
        lost = np.count_nonzero(self._half < DARK_GREY) + np.count_nonzero(self._half > BRIGHT_GREY)
        return Quality(
            eyes_px=face.eye_distance,
            turn=abs(turn),
            tilt=tilt,
            grey=float(mean[0, 0]),
            lost_share=lost / self._half.size,
            sharpness=float(self._edges.var()) / max(1.0, float(deviation[0, 0]) ** 2),
        )

    def wipe(self) -> None:
        """Nothing of the last face is left here."""
        for buffer in (self._gray, self._half, self._edges):
            buffer.fill(0)


def pose(points: NDArray[np.float32]) -> tuple[float, float]:
    """How far the head is turned and how far it is tilted, by where the nose stands among eyes and mouth.

    The turn is 0 from the front and grows towards the picture's right, in eye distances; the tilt is the nose's way
    from the eyes (0) to the mouth (1), about 0.57 upright. Shape: (5, 2) as in Face.
    """
    onto = similarity(points)
    left_eye, right_eye, nose, left_mouth, right_mouth = (points @ onto[:, :2].T + onto[:, 2]).astype(float)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    apart = max(1e-6, float(np.hypot(*(right_eye - left_eye))))
    turn = float(nose[0] - (eyes[0] + mouth[0]) / 2) / apart
    tilt = float(nose[1] - eyes[1]) / max(1e-6, float(mouth[1] - eyes[1]))
    return turn, tilt

"""What a face is searched with: embeddings of several frames of one track, fused, in memory that is wiped.

Crop, numbers and probes are biometric data of people most of whom never agreed to anything. They lie in arrays that are
made once and written over; nothing here returns a copy.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.alignment import SIDE, align
from edge.vision.faces.embedder import SIZE, Embedder
from edge.vision.faces.face import Face
from edge.vision.faces.quality import Quality, QualityGauge

SAME_FACE_MIN: Final = 0.35
"""Cosine below which two frames do not show the same face. Of LFW's pairs of one person, taken years apart, 0.2 % fall
below, of two people's 0.1 % reach it (measured 2026-11); frames of one visit have 0.6 and more."""

SMOOTHED_BELOW_GREY: Final = 60.0
SMOOTHING_PX: Final = 1.5
"""A crop darker than this is smoothed by so much (standard deviation of a Gaussian, in its pixels) before it is
embedded: what a sensor adds in the dusk is finer than what tells people apart. Source: 160 people of LFW at the door's
distance, darkened to a mean grey of 26, 36 and 47 with noise of 7 levels: genuine scores rise by 0.33, 0.22 and 0.13
deviations; brighter, or without noise, nothing is gained (0.05 lost at the most). Measured 2026-11."""


class Workbench:
    """The embedder with the one aligned crop that is worked on. Not for several threads at once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._gauge = QualityGauge()
        self._crop = np.zeros((SIDE, SIDE, 3), np.uint8)
        self._embedding = np.zeros(SIZE, np.float32)

    def align(self, pixels: NDArray[np.uint8], face: Face) -> Quality:
        """Cuts the face out of the frame and says how good it is.

        Shape and dtype: pixels (H, W, 3) uint8 BGR, the whole frame.
        """
        align(pixels, face.points, into=self._crop)
        quality = self._gauge.measure(face, self._crop)
        if quality.grey < SMOOTHED_BELOW_GREY:
            cv2.GaussianBlur(self._crop, (0, 0), SMOOTHING_PX, dst=self._crop)
        return quality

    def embed(self) -> NDArray[np.float32]:
        """The direction of the face that was cut out last, in a buffer that the next call writes over.

        Shape and dtype: (256,) float32, of length 1.
        """
        return self._embedder.embed(self._crop, into=self._embedding)

    def wipe(self) -> None:
        """Zeros in the crop, in the numbers and, by a run on zeros, in the network."""
        self._crop.fill(0)
        self._gauge.wipe()
        self.embed()
        self._embedding.fill(0)


class Probe:
    """The fused embeddings of one track: their mean, of length 1."""

    def __init__(self) -> None:
        self._sum = np.zeros(SIZE, np.float32)
        self._fused = np.zeros(SIZE, np.float32)
        self.count = 0

    @property
    def fused(self) -> NDArray[np.float32]:
        """The direction so far, in a buffer of the probe. Shape and dtype: (256,) float32, of length 1; zeros before
        the first."""
        return self._fused

    def add(self, embedding: NDArray[np.float32]) -> None:
        """Fuses one more. Shape and dtype: (256,) float32, of length 1."""
        self._sum += embedding
        self.count += 1
        np.divide(self._sum, max(float(np.sqrt(self._sum @ self._sum)), 1e-9), out=self._fused)

    def is_same_face(self, embedding: NDArray[np.float32]) -> bool:
        """Whether it can be of the face that is fused here; of nobody's, anybody's can."""
        return self.count == 0 or float(self._fused @ embedding) >= SAME_FACE_MIN

    def wipe(self) -> None:
        """Zeros, as before the first."""
        self._sum.fill(0)
        self._fused.fill(0)
        self.count = 0

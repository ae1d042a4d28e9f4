"""One face in one frame: where it is and where its five points are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels of the whole frame; it may reach over the frame's edge."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle, in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    def overlap(self, other: "Box") -> float:
        """Intersection over union, from 0 to 1."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.width * self.height + other.width * other.height - shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A detected face.

    `points` are, as the picture shows them, left eye, right eye, nose, left and right corner of the mouth.
    Shape and dtype: (5, 2) float32, pixels of the whole frame. `score` is the detector's, from 0 to 1.
    """

    box: Box
    points: NDArray[np.float32]
    score: float

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.hypot(*(self.points[1] - self.points[0])))

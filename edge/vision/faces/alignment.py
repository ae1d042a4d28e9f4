"""Turns a face upright and to the one size the embedder was trained on."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE: Final = 128
REFERENCE: Final = SIDE * np.array(
    [
        [0.31556875, 0.46157411],
        [0.68262292, 0.46157411],
        [0.50026250, 0.64050536],
        [0.34947188, 0.82469196],
        [0.65343646, 0.82469196],
    ],
    np.float32,
)
"""Where the five points lie in the embedder's input. Source: face-reidentification-retail-0095, Open Model Zoo."""


def similarity(points: NDArray[np.float32], reference: NDArray[np.float32] = REFERENCE) -> NDArray[np.float32]:
    """The turn, scale and shift that bring the points closest to the reference (least squares, no mirror).

    Shape and dtype: points (5, 2) float32; returns (2, 3) float32. Source: Umeyama 1991, in the complex plane.
    """
    source = points.astype(np.float64) @ np.array([1, 1j])
    target = reference.astype(np.float64) @ np.array([1, 1j])
    source_mean, target_mean = source.mean(), target.mean()
    centred = source - source_mean
    spread = float(np.sum(np.abs(centred) ** 2)) or 1.0
    factor = np.sum(np.conj(centred) * (target - target_mean)) / spread
    shift = target_mean - factor * source_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], dtype=np.float32)


def align(
    pixels: NDArray[np.uint8], points: NDArray[np.float32], into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The face upright, in `into` when it is given.

    Shape and dtype: pixels (H, W, 3) uint8 BGR; returns (SIDE, SIDE, 3) uint8 BGR.
    """
    turned = cv2.warpAffine(
        pixels, similarity(points), (SIDE, SIDE), dst=into, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(turned, np.uint8)

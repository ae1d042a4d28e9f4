"""Pictures brought to the one form that the rest of the kiosk knows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.options import CameraOptions


def fit(picture: NDArray[np.uint8], options: CameraOptions) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR within the options' width and height, proportions kept; never enlarged."""
    if picture.ndim == 2:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    height, width = picture.shape[:2]
    scale = min(options.width / width, options.height / height)
    if scale >= 1.0:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

"""Grey pictures with codes in them, rendered here so that no photo need be committed."""

import cv2
import numpy as np
import segno
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
QUIET_ZONE = 4  # modules, ISO/IEC 18004


def qr_picture(text: str | bytes, *, module: int = 6, error: str = "q", mask: int | None = None) -> Gray:
    """One code with its quiet zone, `module` pixels a module."""
    return rendered(segno.make(text, error=error, mask=mask, micro=False, boost_error=False), module=module)


def rendered(symbol: segno.QRCode, *, module: int = 6) -> Gray:
    """The symbol with its quiet zone, `module` pixels a module."""
    dark = np.array([list(row) for row in symbol.matrix_iter(scale=module, border=QUIET_ZONE)], dtype=np.uint8)
    picture: Gray = np.where(dark > 0, 0, 255).astype(np.uint8)
    return picture


def on_canvas(*pictures: Gray, height: int = 720, width: int = 1280, level: int = 110) -> Gray:
    """The pictures side by side on an even ground."""
    canvas = np.full((height, width), level, dtype=np.uint8)
    left = 40
    for picture in pictures:
        rows, columns = picture.shape
        canvas[40 : 40 + rows, left : left + columns] = picture
        left += columns + 40
    return canvas


def turned(picture: Gray, degrees: float) -> Gray:
    """The picture turned about its centre, on a white ground large enough for it."""
    side = int(np.hypot(*picture.shape)) + 2
    centred = np.full((side, side), 255, dtype=np.uint8)
    top, left = ((side - length) // 2 for length in picture.shape)
    centred[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
    return cv2.warpAffine(centred, matrix, (side, side), borderValue=255.0).astype(np.uint8)


def blurred(picture: Gray, sigma: float) -> Gray:
    """The picture out of focus by `sigma` pixels."""
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.uint8)


def noisy(picture: Gray, sigma: float, *, seed: int = 1) -> Gray:
    """The picture with a sensor's noise of `sigma` grey levels; the same seed gives the same noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def tilted(picture: Gray, share: float) -> Gray:
    """The picture leaning back: its upper edge is shorter by `share`."""
    height, width = picture.shape
    inset = width * share / 2
    before = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    after = np.array([[inset, 0], [width - inset, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(before, after)
    return cv2.warpPerspective(picture, matrix, (width, height), borderValue=255.0).astype(np.uint8)

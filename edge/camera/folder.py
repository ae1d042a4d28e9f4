"""`dir:PATH`: the JPEG and PNG pictures of a folder in the order of their names."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.fit import fit
from edge.camera.options import CameraClock, CameraOptions
from edge.camera.recorded import Pace, Recorded
from edge.errors import CameraLost, CameraUnavailable, EndOfStream

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
PICTURES_MAX = 100_000  # names are kept in memory; a day at a door fits


class Folder(Recorded):
    """A folder of pictures, once or in a loop. What is no picture is passed over."""

    def __init__(
        self,
        address: str,
        path: Path,
        options: CameraOptions,
        clock: CameraClock,
        *,
        pace: Pace,
        is_looped: bool,
        rate_fps: float,
    ) -> None:
        super().__init__(address, pace=pace, clock=clock)
        self._path = path
        self._options = options
        self._is_looped = is_looped
        self._rate_fps = rate_fps
        self._pictures: list[Path] = []
        self._next = 0

    def _start(self) -> None:
        try:
            names = sorted(entry for entry in self._path.iterdir() if entry.suffix.lower() in SUFFIXES)
        except OSError as fault:
            raise CameraUnavailable(self._address, "no such folder") from fault
        if not names or len(names) > PICTURES_MAX:
            raise CameraUnavailable(
                self._address, f"holds {len(names)} pictures; from 1 to {PICTURES_MAX} can be shown"
            )
        self._pictures = names
        self._next = 0
        self._begin(self._rate_fps)

    def _next_picture(self) -> NDArray[np.uint8]:
        for _ in range(len(self._pictures)):
            picture = _load(self._next_path())
            if picture is not None:
                return fit(picture, self._options)
        raise CameraLost(self._address, "no file in it is a picture")

    def _next_path(self) -> Path:
        if self._next == len(self._pictures):
            if not self._is_looped:
                raise EndOfStream(self._address)
            self._next = 0
        self._next += 1
        return self._pictures[self._next - 1]

    def _stop(self) -> None:
        self._pictures = []


def _load(path: Path) -> NDArray[np.uint8] | None:
    """The picture as BGR, or None when the file is not one or its dimensions are absurd (then cv2 raises)."""
    try:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if picture is None else np.asarray(picture, dtype=np.uint8)

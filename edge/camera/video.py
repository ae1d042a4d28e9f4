"""`file:PATH`: a video file, at its own rate or as fast as it is read."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.fit import fit
from edge.camera.options import CameraClock, CameraOptions
from edge.camera.recorded import Pace, Recorded
from edge.errors import CameraUnavailable, EndOfStream

RATE_MIN_FPS, RATE_MAX_FPS = 1.0, 240.0  # outside this a container's claim is taken for nonsense


class Video(Recorded):
    """A film, once or in a loop."""

    def __init__(
        self, address: str, path: Path, options: CameraOptions, clock: CameraClock, *, pace: Pace, is_looped: bool
    ) -> None:
        super().__init__(address, pace=pace, clock=clock)
        self._path = path
        self._options = options
        self._is_looped = is_looped
        self._film: cv2.VideoCapture | None = None

    def _start(self) -> None:
        if not self._path.is_file():
            raise CameraUnavailable(self._address, "no such file")
        self._film = self._open_film()
        rate_fps = self._film.get(cv2.CAP_PROP_FPS)
        self._begin(rate_fps if RATE_MIN_FPS <= rate_fps <= RATE_MAX_FPS else self._options.rate_fps)

    def _open_film(self) -> cv2.VideoCapture:
        film = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not film.isOpened():
            raise CameraUnavailable(self._address, "not a video this machine can play")
        return film

    def _next_picture(self) -> NDArray[np.uint8]:
        assert self._film is not None
        is_read, picture = self._film.read()
        if not is_read and self._is_looped:
            self._film.release()
            self._film = self._open_film()
            is_read, picture = self._film.read()
        if not is_read:
            raise EndOfStream(self._address)
        return fit(np.asarray(picture, dtype=np.uint8), self._options)

    def _stop(self) -> None:
        if self._film is not None:
            self._film.release()
            self._film = None

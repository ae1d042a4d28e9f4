"""Stands in for cv2.VideoCapture on a live camera: gives the pictures put into it and blocks when there are none."""

import queue
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class BlockingSource:
    """`put(None)` unplugs it. `is_found` says whether it opened. Reading or releasing what is released is a fault."""

    def __init__(self, *, is_found: bool = True) -> None:
        self._is_found = is_found
        self._pictures: queue.Queue[NDArray[np.uint8] | None] = queue.Queue()
        self.is_released = False

    def put(self, picture: NDArray[np.uint8] | None) -> None:
        self._pictures.put(picture)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._is_found and not self.is_released

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        assert not self.is_released
        picture = self._pictures.get()
        return picture is not None, picture

    def release(self) -> None:
        assert not self.is_released
        self.is_released = True


class EndlessSource(BlockingSource):
    """Gives the same picture again and again, at once, until it is stalled."""

    def __init__(self, picture: NDArray[np.uint8], is_stalled: Callable[[], bool]) -> None:
        super().__init__()
        self._picture = picture
        self._is_stalled = is_stalled

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        return super().read() if self._is_stalled() else (True, self._picture.copy())

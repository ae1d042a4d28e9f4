"""What every camera is told, whatever its kind. Plain values and clocks; numpy and cv2 stay out of here."""

import time
from collections.abc import Callable
from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """The picture asked for. A source with larger pictures shrinks them to fit; `open_timeout_s` is for networks."""

    width: int = 1280
    height: int = 720
    rate_fps: float = 15.0
    open_timeout_s: float = 5.0

    @property
    def frame_bytes_max(self) -> int:
        """The size of the largest picture these options allow, for whoever keeps room for it."""
        return self.width * self.height * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraClock:
    """The clocks a camera lives by. `wall_s` (seconds since 1970) serves only what a rendered phone shows."""

    wall_s: Callable[[], float]
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], None] = time.sleep

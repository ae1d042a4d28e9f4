"""`picamera2:`: the Raspberry Pi's own camera, under the system Python with the distribution's picamera2.

Standard library and numpy only: the distribution's picamera2 breaks beside a newer numpy, so this process has none of
our environment (raspberrypi/picamera2 issues 1088, 1170, 1211). Read against picamera2 0.3.36; reads that time out
need 0.3.19 or newer (2024-07). No part of this was run on a Raspberry Pi.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.camera.backend import Backend
from edge.camera.options import NS, CameraClock, CameraOptions
from edge.errors import CameraLost, CameraUnavailable

# libcamera lists colours from the least significant byte of a little-endian word: its "RGB888" is B, G, R in memory.
FORMAT = "RGB888"
BUFFERS = 4  # one being exposed, one in the ISP, one waiting, one with us; six is picamera2's default for encoders
STAMP_AGE_MAX_S = 5.0  # an older or a future stamp was taken by another clock and is not used


class Request(Protocol):
    """The part of picamera2's CompletedRequest that is used."""

    def make_array(self, name: str) -> NDArray[np.uint8]:
        """A copy of the named stream's picture."""
        ...

    def get_metadata(self) -> Mapping[str, object]:
        """What the sensor said about it."""
        ...

    def release(self) -> None:
        """Gives the buffer back; without it the camera starves (raspberrypi/picamera2#1090)."""
        ...


class Device(Protocol):
    """The part of picamera2's Picamera2 that is used."""

    def create_video_configuration(
        self, main: dict[str, object], *, buffer_count: int, controls: dict[str, object]
    ) -> Mapping[str, object]:
        """A configuration with these settings and the rest by default."""
        ...

    def configure(self, camera_config: Mapping[str, object]) -> None:
        """Applies a configuration."""
        ...

    def start(self) -> None:
        """Starts the stream and an event loop of its own."""
        ...

    def capture_request(self, wait: float) -> Request:
        """The next picture. Raises: TimeoutError after so many seconds."""
        ...

    def cancel_all_and_flush(self) -> None:
        """Forgets captures that were asked for and will not come."""
        ...

    def stop(self) -> None:
        """Stops the stream."""
        ...

    def close(self) -> None:
        """Lets go of the camera."""
        ...


class Module(Protocol):
    """The part of the picamera2 module that is used."""

    def Picamera2(self, camera_num: int) -> Device:  # noqa: N802 - picamera2's name
        """The camera with this number. Raises: IndexError when there is none, RuntimeError when it is busy."""
        ...


class RaspberryCamera(Backend):
    """One camera module. `module` stands for the installed picamera2, which is looked for when opened."""

    def __init__(
        self, address: str, number: int, options: CameraOptions, clock: CameraClock, module: Module | None = None
    ) -> None:
        super().__init__(address)
        self._number = number
        self._options = options
        self._clock = clock
        self._module = module
        self._device: Device | None = None

    def _start(self) -> None:
        module = self._module or self._installed()
        try:
            device = module.Picamera2(self._number)
        except (IndexError, RuntimeError) as fault:
            raise CameraUnavailable(self._address, "no such camera, or it is in use") from fault
        try:
            self._run(device)
        except (RuntimeError, OSError) as fault:
            device.close()
            raise CameraUnavailable(self._address, "would not start") from fault
        self._device = device

    def _installed(self) -> Module:
        try:
            import picamera2
        except ImportError as fault:
            raise CameraUnavailable(self._address, "this Python has no picamera2 (apt: python3-picamera2)") from fault
        module: Module = picamera2
        return module

    def _run(self, device: Device) -> None:
        frame_us = round(1_000_000 / self._options.rate_fps)
        configuration = device.create_video_configuration(
            {"size": (self._options.width, self._options.height), "format": FORMAT},
            buffer_count=BUFFERS,
            controls={"FrameDurationLimits": (frame_us, frame_us)},
        )
        device.configure(configuration)
        device.start()

    def _take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        assert self._device is not None
        try:
            request = self._device.capture_request(wait=timeout_s)
        except TimeoutError as fault:
            self._device.cancel_all_and_flush()
            raise CameraLost(self._address, "no picture in time") from fault
        except (RuntimeError, OSError) as fault:
            raise CameraLost(self._address, "the camera system failed") from fault
        try:
            return request.make_array("main"), self._stamp(request.get_metadata())
        finally:
            request.release()

    def _stamp(self, metadata: Mapping[str, object]) -> int:
        """When the sensor began the exposure, or now when its stamp is missing or of another clock."""
        now_ns = self._clock.monotonic_ns()
        stamp_ns = metadata.get("SensorTimestamp")
        if isinstance(stamp_ns, int) and 0 <= now_ns - stamp_ns <= STAMP_AGE_MAX_S * NS:
            return stamp_ns
        return now_ns

    def _stop(self) -> None:
        device, self._device = self._device, None
        assert device is not None
        try:
            device.stop()
        finally:
            device.close()

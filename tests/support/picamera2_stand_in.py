"""Stands in for the picamera2 module: the calls our camera makes, with the answers picamera2 0.3.36 gives to them.

Recorded from its source, not from a Raspberry Pi: a missing number is an IndexError, a busy camera a RuntimeError, a
late picture a TimeoutError; a request that is not released keeps its buffer, and without a free buffer no picture
comes; after `close` nothing works; calls out of order are RuntimeErrors.
"""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.support.step_clock import StepClock


class StandInRequest:
    """A completed request that holds a buffer until it is released."""

    def __init__(self, device: "StandInDevice", picture: NDArray[np.uint8], metadata: Mapping[str, object]) -> None:
        self._device = device
        self._picture = picture
        self._metadata = metadata
        self._is_released = False

    def make_array(self, name: str) -> NDArray[np.uint8]:
        if self._is_released or name != "main":
            raise RuntimeError(f"Stream {name!r} is not defined")
        return self._picture.copy()

    def get_metadata(self) -> Mapping[str, object]:
        assert not self._is_released
        return self._metadata

    def release(self) -> None:
        if self._is_released:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        self._is_released = True
        self._device.free_buffers += 1


class StandInDevice:
    """One opened camera."""

    def __init__(self, module: "PicameraStandIn") -> None:
        self._module = module
        self._configuration: Mapping[str, object] | None = None
        self._size = (0, 0)
        self._frame_us = 0
        self.free_buffers = 0
        self.calls: list[str] = []

    def create_video_configuration(
        self, main: dict[str, object], *, buffer_count: int, controls: dict[str, object]
    ) -> Mapping[str, object]:
        unknown = main.keys() - {"format", "size", "stride", "preserve_ar"}
        if unknown:
            raise ValueError(f"Bad key {unknown!r}")
        return {"main": main, "buffer_count": buffer_count, "controls": controls}

    def configure(self, camera_config: Mapping[str, object]) -> None:
        self.calls.append("configure")
        main, controls = camera_config["main"], camera_config["controls"]
        buffers = camera_config["buffer_count"]
        assert isinstance(main, dict)
        assert isinstance(controls, dict)
        assert isinstance(buffers, int)
        # "RGB888" is B, G, R in memory and "BGR888" is R, G, B; ours must ask for the first.
        assert main["format"] == "RGB888"
        self._size = main["size"]
        self._frame_us = controls["FrameDurationLimits"][0]
        self.free_buffers = buffers
        self._configuration = camera_config

    def start(self) -> None:
        self.calls.append("start")
        if self._configuration is None:
            raise RuntimeError("Camera has not been configured")
        if self._module.is_start_refused:
            raise RuntimeError("Failed to start camera")

    def capture_request(self, wait: float) -> StandInRequest:
        clock = self._module.clock
        if self._module.stuck is not None:
            self._module.stuck.wait()
        if self._module.is_failing:
            raise RuntimeError("Camera frontend has failed")
        if self._module.is_stalled or self.free_buffers == 0:
            clock.sleep(wait)
            raise TimeoutError
        clock.sleep(self._frame_us / 1_000_000)
        self.free_buffers -= 1
        stamp: dict[str, object] = {"SensorTimestamp": clock.now_ns + self._module.stamp_offset_ns}
        return StandInRequest(self, self._module.picture(*self._size), stamp if self._module.is_stamped else {})

    def cancel_all_and_flush(self) -> None:
        self.calls.append("cancel_all_and_flush")

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")
        self._module.in_use = False


class PicameraStandIn:
    """The module. Its attributes are the world: what is plugged in and what is wrong with it.

    `is_stalled` makes captures time out as picamera2 does; `stuck` makes them ignore the timeout, as a driver might.
    """

    def __init__(self, clock: StepClock, cameras: int = 1) -> None:
        self.clock = clock
        self.cameras = cameras
        self.in_use = False
        self.is_start_refused = False
        self.is_stalled = False
        self.is_failing = False
        self.is_stamped = True
        self.is_frozen = False
        self.is_dark = False
        self.stamp_offset_ns = -20_000_000
        self.stuck: threading.Event | None = None
        self._pictures = 0
        self.devices: list[StandInDevice] = []

    def Picamera2(self, camera_num: int) -> StandInDevice:  # noqa: N802 - picamera2's name
        if camera_num >= self.cameras:
            raise IndexError("list index out of range")
        if self.in_use:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.in_use = True
        self.devices.append(StandInDevice(self))
        return self.devices[-1]

    def picture(self, width: int, height: int) -> NDArray[np.uint8]:
        """Blue on the left, red on the right, as B, G, R, and one pixel that flickers as a sensor's do."""
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        if self.is_dark:
            return picture
        if not self.is_frozen:
            self._pictures += 1
        picture[0, 0, 1] = self._pictures % 256
        picture[:, : width // 2, 0] = 200
        picture[:, width // 2 :, 2] = 200
        return picture

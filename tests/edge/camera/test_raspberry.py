"""The Raspberry Pi's camera beyond the common contract: buffers, stamps and the order of calls."""

import pytest

from edge.camera.options import NS, CameraOptions
from edge.camera.raspberry import BUFFERS, RaspberryCamera
from edge.errors import CameraLost, CameraUnavailable
from tests.support.picamera2_stand_in import PicameraStandIn
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions(width=64, height=48, rate_fps=20.0)


def camera_on(module: PicameraStandIn) -> RaspberryCamera:
    return RaspberryCamera("picamera2:", 0, OPTIONS, module.clock.for_camera, module)


def test_every_buffer_goes_back() -> None:
    module = PicameraStandIn(StepClock())
    with camera_on(module) as camera:
        for _ in range(3 * BUFFERS):
            camera.read(1.0)
        assert module.devices[0].free_buffers == BUFFERS


def test_a_frame_is_dated_by_the_sensor() -> None:
    module = PicameraStandIn(StepClock())
    with camera_on(module) as camera:
        assert camera.read(1.0).captured_ns == module.clock.now_ns - 20_000_000


@pytest.mark.parametrize("offset_ns", [1, 3_600 * NS, -5 * NS - 1])
def test_a_stamp_of_another_clock_is_not_believed(offset_ns: int) -> None:
    module = PicameraStandIn(StepClock())
    module.stamp_offset_ns = offset_ns
    with camera_on(module) as camera:
        assert camera.read(1.0).captured_ns == module.clock.now_ns


def test_a_missing_stamp_is_now() -> None:
    module = PicameraStandIn(StepClock())
    module.is_stamped = False
    with camera_on(module) as camera:
        assert camera.read(1.0).captured_ns == module.clock.now_ns


def test_a_late_picture_leaves_no_capture_waiting() -> None:
    module = PicameraStandIn(StepClock())
    with camera_on(module) as camera:
        module.is_stalled = True
        with pytest.raises(CameraLost):
            camera.read(1.0)
    assert module.devices[0].calls == ["configure", "start", "cancel_all_and_flush", "stop", "close"]


def test_a_failing_camera_system_is_a_loss() -> None:
    module = PicameraStandIn(StepClock())
    with camera_on(module) as camera:
        module.is_failing = True
        with pytest.raises(CameraLost):
            camera.read(1.0)


def test_a_camera_that_does_not_start_is_let_go() -> None:
    module = PicameraStandIn(StepClock())
    module.is_start_refused = True
    with pytest.raises(CameraUnavailable):
        camera_on(module).open()
    module.is_start_refused = False
    with camera_on(module) as camera:
        assert camera.read(1.0).sequence == 1


def test_a_camera_in_use_is_unavailable() -> None:
    module = PicameraStandIn(StepClock())
    with camera_on(module), pytest.raises(CameraUnavailable):
        camera_on(module).open()

"""What every camera promises, whatever it is made of.

The USB camera runs where /dev/video0 is; the Raspberry Pi's own runs here against a stand-in for its module.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.camera.address import open_camera
from edge.camera.options import CameraClock, CameraOptions
from edge.camera.pump import Pump
from edge.camera.raspberry import RaspberryCamera
from edge.errors import CameraLost, CameraUnavailable, EndOfStream
from edge.ports import Camera, Frame
from tests.support.blocking_source import BlockingSource, EndlessSource
from tests.support.picamera2_stand_in import PicameraStandIn
from tests.support.rtsp_server import RtspServer
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions(width=320, height=240, rate_fps=15.0)
PATIENCE_S = 5.0
IMPATIENCE_S = 0.01  # less than a frame's time at every rate here


def blue_and_red() -> NDArray[np.uint8]:
    """Blue on the left, red on the right: a wrong order of colours cannot hide."""
    picture = np.zeros((240, 320, 3), dtype=np.uint8)
    picture[:, :160, 0] = 200
    picture[:, 160:, 2] = 200
    return picture


class Bench(ABC):
    """One kind of camera and the means to make it misbehave."""

    shows_test_picture = True
    is_finite = False

    @abstractmethod
    def camera(self) -> Camera:
        """A camera that is there."""

    @abstractmethod
    def missing(self) -> Camera:
        """One of the same kind that is not."""

    def stall(self) -> None:  # noqa: B027 - most kinds need nothing done
        """From now on reads of less than a frame's time find nothing; recordings are like that by nature."""

    def close(self) -> None:  # noqa: B027 - most kinds need nothing done
        """Takes the bench apart."""


class FileBench(Bench):
    is_finite = True

    def __init__(self, folder: Path) -> None:
        self._clock = StepClock().for_camera
        self._path = folder / "film.avi"
        film = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (320, 240))
        for _ in range(6):
            film.write(blue_and_red())
        film.release()

    def camera(self) -> Camera:
        return open_camera(f"file:{self._path}", OPTIONS, self._clock)

    def missing(self) -> Camera:
        return open_camera(f"file:{self._path}.gone", OPTIONS, self._clock)


class FolderBench(Bench):
    is_finite = True

    def __init__(self, folder: Path) -> None:
        self._clock = StepClock().for_camera
        self._path = folder
        for number in range(6):
            cv2.imwrite(str(folder / f"{number}.png"), blue_and_red())

    def camera(self) -> Camera:
        return open_camera(f"dir:{self._path}?rate=15", OPTIONS, self._clock)

    def missing(self) -> Camera:
        return open_camera(f"dir:{self._path}/gone", OPTIONS, self._clock)


class SyntheticBench(Bench):
    shows_test_picture = False
    is_finite = True

    def __init__(self, folder: Path) -> None:
        self._clock = StepClock().for_camera
        self._path = folder / "scene.json"
        self._path.write_text('{"acts": [{"kind": "visitor", "seconds": 0.4}], "loop": false}')

    def camera(self) -> Camera:
        return open_camera(f"synthetic:{self._path}", OPTIONS, self._clock)

    def missing(self) -> Camera:
        return open_camera(f"synthetic:{self._path}.gone", OPTIONS, self._clock)


class RaspberryBench(Bench):
    def __init__(self) -> None:
        self._clock = StepClock()
        self._module = PicameraStandIn(self._clock)

    def camera(self) -> Camera:
        return RaspberryCamera("picamera2:", 0, OPTIONS, self._clock.for_camera, self._module)

    def missing(self) -> Camera:
        return RaspberryCamera("picamera2:7", 7, OPTIONS, self._clock.for_camera, self._module)

    def stall(self) -> None:
        self._module.is_stalled = True


class PumpBench(Bench):
    """What stands behind v4l2: and rtsp:, on a source that blocks for ever when it has nothing."""

    def __init__(self) -> None:
        self._clock = CameraClock(wall_s=time.time)
        self._is_stalled = False
        self._sources: list[BlockingSource] = []

    def camera(self) -> Camera:
        return Pump("v4l2:0", self._connect, OPTIONS, self._clock)

    def _connect(self) -> BlockingSource:
        self._sources.append(EndlessSource(blue_and_red(), lambda: self._is_stalled))
        return self._sources[-1]

    def missing(self) -> Camera:
        return Pump("v4l2:7", lambda: BlockingSource(is_found=False), OPTIONS, self._clock)

    def stall(self) -> None:
        self._is_stalled = True

    def close(self) -> None:
        for source in self._sources:
            source.put(None)  # lets the thread go that a test left blocked


class RtspBench(Bench):
    def __init__(self) -> None:
        self._clock = CameraClock(wall_s=time.time)
        self._server = RtspServer(blue_and_red())
        self._server.__enter__()

    def camera(self) -> Camera:
        return open_camera(self._server.url, OPTIONS, self._clock)

    def missing(self) -> Camera:
        return open_camera("rtsp://127.0.0.1:1/door", OPTIONS, self._clock)

    def stall(self) -> None:
        self._server.stall()

    def close(self) -> None:
        self._server.__exit__()


class UsbBench(Bench):
    shows_test_picture = False

    def __init__(self) -> None:
        if not Path("/dev/video0").exists():
            pytest.skip("no camera at /dev/video0")
        self._clock = CameraClock(wall_s=time.time)

    def camera(self) -> Camera:
        return open_camera("v4l2:0", OPTIONS, self._clock)

    def missing(self) -> Camera:
        return open_camera("v4l2:/dev/video99", OPTIONS, self._clock)


KINDS = ("file", "dir", "synthetic", "picamera2", "pump", "rtsp", "v4l2")


def bench_of(kind: str, folder: Path) -> Bench:
    match kind:
        case "file":
            return FileBench(folder)
        case "dir":
            return FolderBench(folder)
        case "synthetic":
            return SyntheticBench(folder)
        case "picamera2":
            return RaspberryBench()
        case "pump":
            return PumpBench()
        case "rtsp":
            return RtspBench()
        case _:
            return UsbBench()


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = bench_of(request.param, tmp_path)
    yield made
    made.close()


def read(camera: Camera, count: int) -> list[Frame]:
    return [camera.read(PATIENCE_S) for _ in range(count)]


def read_impatiently(camera: Camera) -> None:
    """Reads with less patience than a frame takes; what was already on its way still comes."""
    for _ in range(100):
        camera.read(IMPATIENCE_S)


def test_numbers_are_gapless_from_one_and_time_only_grows(bench: Bench) -> None:
    with bench.camera() as camera:
        frames = read(camera, 5)
    assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
    assert all(before.captured_ns < after.captured_ns for before, after in pairwise(frames))


def test_pictures_are_blue_green_red_bytes(bench: Bench) -> None:
    with bench.camera() as camera:
        pixels = camera.read(PATIENCE_S).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == (240, 320, 3)
    if bench.shows_test_picture:
        left, right = pixels[:, :140].mean(axis=(0, 1)), pixels[:, 180:].mean(axis=(0, 1))
        assert left.argmax() == 0, left
        assert right.argmax() == 2, right


def test_a_picture_belongs_to_who_read_it(bench: Bench) -> None:
    with bench.camera() as camera:
        first = camera.read(PATIENCE_S)
        before = first.pixels.copy()
        first.pixels[0, 0] ^= 0xFF  # it may also be drawn on
        first.pixels[0, 0] ^= 0xFF
        read(camera, 3)
    assert np.array_equal(first.pixels, before)


def test_it_is_read_while_open_only(bench: Bench) -> None:
    camera = bench.camera()
    with pytest.raises(CameraUnavailable):
        camera.read(PATIENCE_S)
    camera.open()
    camera.read(PATIENCE_S)
    camera.close()
    camera.close()
    with pytest.raises(CameraUnavailable):
        camera.read(PATIENCE_S)


def test_opened_again_it_counts_from_one_again_and_time_goes_on(bench: Bench) -> None:
    camera = bench.camera()
    with camera:
        last = read(camera, 3)[-1]
    with camera:
        again = read(camera, 2)
    assert [frame.sequence for frame in again] == [1, 2]
    assert again[0].captured_ns > last.captured_ns


def test_a_picture_that_does_not_come_is_a_loss(bench: Bench) -> None:
    with bench.camera() as camera:
        camera.read(PATIENCE_S)
        bench.stall()
        with pytest.raises(CameraLost) as loss:
            read_impatiently(camera)
    assert loss.value.address == camera.address


def test_what_is_not_there_is_unavailable(bench: Bench) -> None:
    camera = bench.missing()
    with pytest.raises(CameraUnavailable):
        camera.open()
    camera.close()


def test_a_recording_ends_and_can_be_played_again(bench: Bench) -> None:
    if not bench.is_finite:
        pytest.skip("never ends")
    with bench.camera() as camera:
        assert len(read(camera, 6)) == 6
        with pytest.raises(EndOfStream):
            camera.read(PATIENCE_S)
        camera.open()
        assert camera.read(PATIENCE_S).sequence == 1

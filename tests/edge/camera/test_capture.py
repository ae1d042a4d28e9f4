"""The capture loop keeps one camera running: real cameras (rendered, or on a stand-in module) on a clock that steps."""

import json
import logging
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge.camera.address import open_camera
from edge.camera.capture import STUCK_EXIT, CaptureOptions, backoff_s, run_capture
from edge.camera.options import NS, CameraClock, CameraOptions
from edge.camera.raspberry import RaspberryCamera
from edge.channel.frames import CameraState, FrameReader, FrameWriter
from edge.ports import Camera, Frame
from tests.support.picamera2_stand_in import PicameraStandIn
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions(width=320, height=240, rate_fps=10.0)
RECORDING = CaptureOptions(has_sensor=False)
SENSOR = CaptureOptions(has_sensor=True)
ROOT = Path(__file__).parents[3]


class Seen(StrEnum):
    OPENING = "opening"
    FRAME = "frame"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing the loop showed, when, and with which attempt or frame number."""

    seen: Seen
    at_s: float
    number: int = 0


class Recorder:
    """A frame sink that remembers what came and stops the loop after so many signs."""

    def __init__(self, clock: StepClock, stop: threading.Event, stop_after: int) -> None:
        self._clock = clock
        self._stop = stop
        self._stop_after = stop_after
        self.signs: list[Sign] = []
        self.frames: list[Frame] = []
        self.beats_ns: list[int] = []

    def publish(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._note(Seen.FRAME, frame.sequence)

    def opening(self, attempts: int) -> None:
        self._note(Seen.OPENING, attempts)

    def lost(self, attempts: int) -> None:
        self._note(Seen.LOST, attempts)

    def ended(self) -> None:
        self._note(Seen.ENDED, 0)

    def beat(self) -> None:
        self.beats_ns.append(self._clock.now_ns)

    def _note(self, seen: Seen, number: int) -> None:
        self.signs.append(Sign(seen=seen, at_s=self._clock.now_ns / NS - 100, number=number))
        if len(self.signs) >= self._stop_after:
            self._stop.set()

    def told(self, *kinds: Seen) -> list[tuple[Seen, int]]:
        return [(sign.seen, sign.number) for sign in self.signs if sign.seen in kinds]


def play(camera: Camera, clock: StepClock, options: CaptureOptions, stop_after: int = 10_000) -> Recorder:
    """Runs the loop until the recording is over or so many signs have come."""
    stop = threading.Event()
    recorder = Recorder(clock, stop, stop_after)

    def wait(seconds: float) -> bool:
        clock.sleep(seconds)
        return stop.is_set()

    run_capture(camera, recorder, stop, options, Random(4), monotonic_ns=clock.monotonic_ns, wait=wait)
    return recorder


def scene_camera(folder: Path, clock: StepClock, *acts: dict[str, object]) -> Camera:
    path = folder / "scene.json"
    path.write_text(json.dumps({"acts": acts, "loop": False}))
    return open_camera(f"synthetic:{path}", OPTIONS, clock.for_camera)


def raspberry(module: PicameraStandIn) -> Camera:
    return RaspberryCamera("picamera2:", 0, OPTIONS, module.clock.for_camera, module)


def test_a_recording_is_published_and_its_end_ends_the_loop(tmp_path: Path) -> None:
    clock = StepClock()
    recorder = play(scene_camera(tmp_path, clock, {"kind": "empty", "seconds": 1}), clock, RECORDING)
    frames = [(Seen.FRAME, number) for number in range(1, 11)]
    assert recorder.told(*Seen) == [(Seen.OPENING, 0), *frames, (Seen.ENDED, 0)]


def test_a_frozen_camera_is_lost_after_two_seconds_and_opened_again(tmp_path: Path) -> None:
    clock = StepClock()
    empty: dict[str, object] = {"kind": "empty", "seconds": 1}
    recorder = play(scene_camera(tmp_path, clock, empty, {"kind": "freeze", "seconds": 7}, empty), clock, RECORDING)
    trouble = recorder.told(Seen.OPENING, Seen.LOST, Seen.ENDED)
    assert trouble[:4] == [(Seen.OPENING, 0), (Seen.LOST, 1), (Seen.OPENING, 1), (Seen.LOST, 2)]
    assert trouble[-1] == (Seen.ENDED, 0)
    assert recorder.signs[10].seen is Seen.FRAME
    assert recorder.signs[11].seen is Seen.LOST
    assert 2.0 <= recorder.signs[11].at_s - recorder.signs[10].at_s <= 2.2
    assert [frame.sequence for frame in recorder.frames] == list(range(1, 21))  # one series over all openings
    assert all(before.captured_ns < after.captured_ns for before, after in pairwise(recorder.frames))


def test_an_unplugged_camera_is_waited_for_longer_each_time(tmp_path: Path) -> None:
    clock = StepClock()
    empty: dict[str, object] = {"kind": "empty", "seconds": 1}
    camera = scene_camera(tmp_path, clock, empty, {"kind": "disconnect", "seconds": 20}, empty)
    recorder = play(camera, clock, RECORDING)
    losses = [sign for sign in recorder.signs if sign.seen is Seen.LOST]
    assert [sign.number for sign in losses] == list(range(1, len(losses) + 1))
    assert len(losses) in range(6, 9)
    assert recorder.told(Seen.ENDED) == [(Seen.ENDED, 0)]
    assert len(recorder.frames) == 20
    assert max(after - before for before, after in pairwise(recorder.beats_ns)) <= 1.1 * NS


def test_a_camera_that_ran_well_is_tried_soon_again(tmp_path: Path) -> None:
    clock = StepClock()
    gone: dict[str, object] = {"kind": "disconnect", "seconds": 3}
    acts = [gone, {"kind": "empty", "seconds": 11}, gone, {"kind": "empty", "seconds": 1}, gone]
    recorder = play(scene_camera(tmp_path, clock, *acts), clock, RECORDING, stop_after=150)
    attempts = [number for _, number in recorder.told(Seen.LOST)]
    fresh_starts = [at for at, number in enumerate(attempts) if number == 1]
    assert len(fresh_starts) == 2, attempts  # eleven seconds of pictures forgive, one does not
    assert attempts[-1] > attempts[fresh_starts[1]]


def test_gone_and_back_are_one_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = StepClock()
    acts: list[dict[str, object]] = [{"kind": "disconnect", "seconds": 9}, {"kind": "empty", "seconds": 0.3}]
    with caplog.at_level(logging.INFO, "edge.camera"):
        play(scene_camera(tmp_path, clock, *acts), clock, RECORDING)
    assert [record.message for record in caplog.records] == ["camera gone", "camera back", "camera recording is over"]


def test_a_sensor_that_repeats_its_picture_is_lost() -> None:
    module = PicameraStandIn(StepClock())
    module.is_frozen = True
    recorder = play(raspberry(module), module.clock, SENSOR, stop_after=40)
    first_loss = next(sign for sign in recorder.signs if sign.seen is Seen.LOST)
    assert 3.0 < first_loss.at_s <= 3.3
    assert module.devices[0].calls[-2:] == ["stop", "close"]
    assert len(module.devices) == 2


def test_a_living_sensor_a_covered_lens_and_a_still_recording_are_not_lost() -> None:
    living, dark, recording = (PicameraStandIn(StepClock()) for _ in range(3))
    dark.is_dark = True
    recording.is_frozen = True
    for module, options in ((living, SENSOR), (dark, SENSOR), (recording, RECORDING)):
        recorder = play(raspberry(module), module.clock, options, stop_after=80)
        assert recorder.told(Seen.LOST) == []


def test_old_pictures_from_a_sensor_are_a_loss() -> None:
    module = PicameraStandIn(StepClock())
    module.stamp_offset_ns = -2 * NS - 1
    recorder = play(raspberry(module), module.clock, SENSOR, stop_after=2)
    assert recorder.told(*Seen) == [(Seen.OPENING, 0), (Seen.LOST, 1)]


def test_a_stop_is_heard_while_waiting_for_the_camera(tmp_path: Path) -> None:
    clock, stop = StepClock(), threading.Event()
    recorder = Recorder(clock, stop, 10_000)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        stop.set()
        return True

    camera = open_camera(f"dir:{tmp_path}", OPTIONS, clock.for_camera)
    run_capture(camera, recorder, stop, RECORDING, Random(4), monotonic_ns=clock.monotonic_ns, wait=wait)
    assert recorder.told(*Seen) == [(Seen.OPENING, 0), (Seen.LOST, 1)]
    assert len(waits) == 1


def test_the_supervisor_hears_of_every_round(tmp_path: Path) -> None:
    clock, stop = StepClock(), threading.Event()
    rounds: list[int] = []
    camera = scene_camera(tmp_path, clock, {"kind": "empty", "seconds": 1})
    run_capture(
        camera,
        Recorder(clock, stop, 10_000),
        stop,
        RECORDING,
        Random(4),
        alive=lambda: rounds.append(clock.now_ns),
        monotonic_ns=clock.monotonic_ns,
        wait=stop.wait,
    )
    assert len(rounds) == 11


@pytest.mark.parametrize(
    ("attempt", "longest_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (100_000, 30.0)]
)
def test_the_wait_doubles_to_a_limit(attempt: int, longest_s: float) -> None:
    waits = [backoff_s(attempt, RECORDING, Random(seed)) for seed in range(200)]
    assert longest_s / 2 <= min(waits) < longest_s * 0.55
    assert longest_s * 0.95 < max(waits) <= longest_s


def test_a_driver_that_does_not_return_ends_the_process() -> None:
    """In a process of its own, with the real end: a stuck C call leaves no other way out."""
    program = textwrap.dedent("""
        import threading
        from random import Random
        from edge.camera.capture import CaptureOptions, run_capture
        from tests.edge.camera.test_capture import Recorder, raspberry
        from tests.support.picamera2_stand_in import PicameraStandIn
        from tests.support.step_clock import StepClock
        module, stop = PicameraStandIn(StepClock()), threading.Event()
        module.stuck = threading.Event()
        options = CaptureOptions(has_sensor=True, stuck_max_s=0.2)
        run_capture(raspberry(module), Recorder(module.clock, stop, 9), stop, options, Random(4))
        """)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert done.returncode == STUCK_EXIT, done.stderr


def test_what_is_published_is_what_a_reader_in_another_thread_sees(tmp_path: Path) -> None:
    """Loop, mailbox and doorbell together, in real time."""
    pictures = tmp_path / "scene.json"
    pictures.write_text('{"acts": [{"kind": "empty", "seconds": 3600}], "rate": 60}')
    camera = open_camera(f"synthetic:{pictures}", OPTIONS, CameraClock(wall_s=time.time))
    mailbox, stop = tmp_path / "frames", threading.Event()
    seen: list[int] = []
    with FrameWriter(mailbox, OPTIONS.frame_bytes_max) as writer:
        loop = threading.Thread(target=run_capture, args=(camera, writer, stop, RECORDING, Random(4)))
        loop.start()
        with FrameReader(mailbox) as reader:
            while len(seen) < 10:
                assert reader.wait(5.0)
                latest = reader.read_latest(seen[-1] if seen else 0)
                if latest is not None:
                    seen.append(latest.sequence)
                    assert latest.pixels.shape == (240, 320, 3)
                    assert latest.pixels.dtype == np.uint8
            status = reader.read_status()
        stop.set()
        loop.join()
    assert seen == sorted(set(seen))
    assert status is not None
    assert status.state is CameraState.LIVE

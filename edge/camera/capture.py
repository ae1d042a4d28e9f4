"""The capture loop: one camera kept running for ever, its newest picture and its state shown to whoever looks.

Drivers hang, cables work loose, sensors repeat their last picture. Each is noticed by time alone and answered in the
same way: close, wait, open again. A driver that never returns cannot be closed; then the process ends itself and its
supervisor starts another. Standard library and numpy only (see `raspberry`).
"""

import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraLost, CameraUnavailable, EndOfStream
from edge.ports import Camera, Frame

NS = 1_000_000_000
STUCK_EXIT = 75  # EX_TEMPFAIL of sysexits.h: start me again
SAMPLE_EVERY = 8  # pixels, both ways: 14,400 of a 720p picture, in 0.05 ms

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """When a camera counts as lost and how soon it is tried again.

    `frame_age_max_s`: no picture, or only older ones, for so long. `still_max_s`: the same picture to the last bit
    for so long, asked of sensors only (`has_sensor`). `stuck_max_s`: one call into the camera may take so long.
    `settled_s`: a camera that ran so long starts its next trouble with the shortest wait again.
    """

    has_sensor: bool
    frame_age_max_s: float = 2.0
    still_max_s: float = 3.0
    stuck_max_s: float = 10.0
    settled_s: float = 10.0
    backoff_min_s: float = 0.5
    backoff_max_s: float = 30.0


class FrameSink(Protocol):
    """Where pictures and the camera's state go; `edge.channel.frames.FrameWriter` is one."""

    def publish(self, frame: Frame) -> None:
        """The frame is the newest and the camera live."""
        ...

    def opening(self, attempts: int) -> None:
        """The camera is being opened, for so many times since it was last live."""
        ...

    def lost(self, attempts: int) -> None:
        """The camera gave no picture or could not be opened, so many times in a row."""
        ...

    def ended(self) -> None:
        """The recording is over."""
        ...

    def beat(self) -> None:
        """The loop is alive."""
        ...


def run_capture(
    camera: Camera,
    sink: FrameSink,
    stop: threading.Event,
    options: CaptureOptions,
    random: Random,
    *,
    alive: Callable[[], None] = lambda: None,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
    wait: Callable[[float], bool] | None = None,
    end_process: Callable[[int], None] = os._exit,
) -> None:
    """Returns when `stop` is set or a finite recording is over; a stuck driver ends the process with STUCK_EXIT.

    `alive` is called at least every two seconds while all is well (a supervisor's watchdog). `wait` sleeps so many
    seconds or until `stop` is set, and says whether it is.
    """
    loop = _CaptureLoop(camera, sink, stop, options, random, alive, monotonic_ns, wait or stop.wait)
    with _watched(loop, options.stuck_max_s, monotonic_ns, end_process):
        loop.run()


def backoff_s(attempt: int, options: CaptureOptions, random: Random) -> float:
    """The wait before attempt 1, 2, …: doubling up to the longest, half of it drawn by lot.

    Two kiosks on one power strip should not hit a recovering camera switch in step for ever.
    """
    doublings = min(attempt - 1, 16)  # 2^16 times any shortest wait is beyond any longest
    longest_s = min(options.backoff_max_s, options.backoff_min_s * (1 << doublings))
    return longest_s * random.uniform(0.5, 1.0)


class _CaptureLoop:
    """One run of the loop. `progress_ns` is when it last came back from a call that could hang."""

    def __init__(
        self,
        camera: Camera,
        sink: FrameSink,
        stop: threading.Event,
        options: CaptureOptions,
        random: Random,
        alive: Callable[[], None],
        monotonic_ns: Callable[[], int],
        wait: Callable[[float], bool],
    ) -> None:
        self._camera = camera
        self._sink = sink
        self._stop = stop
        self._options = options
        self._random = random
        self._alive = alive
        self._monotonic_ns = monotonic_ns
        self._wait = wait
        self._attempts = 0
        self._is_trouble_told = False
        self._sequence = 0
        self._captured_ns = 0
        self.progress_ns = monotonic_ns()

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                self._play()
            except EndOfStream:
                log.info("camera recording is over", extra={"address": self._camera.address})
                self._sink.ended()
                return
            except (CameraLost, CameraUnavailable) as fault:
                self._tell_trouble(fault)
                self._rest()

    def _play(self) -> None:
        """Publishes frames until told to stop. Raises: CameraLost, CameraUnavailable, EndOfStream."""
        self._sink.opening(self._attempts)
        self._came_round()
        with self._camera:
            opened_ns = self._monotonic_ns()
            stillness = _Stillness(self._options.still_max_s)
            while not self._stop.is_set():
                frame = self._camera.read(self._options.frame_age_max_s)
                now_ns = self._monotonic_ns()
                if self._options.has_sensor:
                    self._judge(frame, now_ns, stillness)
                self._sink.publish(self._renumbered(frame))
                self._came_round()
                self._tell_return()
                if now_ns - opened_ns > self._options.settled_s * NS:
                    self._attempts = 0

    def _judge(self, frame: Frame, now_ns: int, stillness: "_Stillness") -> None:
        """Raises CameraLost for a frame that no living sensor gives."""
        if now_ns - frame.captured_ns > self._options.frame_age_max_s * NS:
            raise CameraLost(self._camera.address, "its pictures are old")
        if stillness.is_frozen(frame.pixels, now_ns):
            raise CameraLost(self._camera.address, "it repeats one picture")

    def _renumbered(self, frame: Frame) -> Frame:
        """The frame as one of a single series: a camera that was opened again counts from 1 again."""
        self._sequence += 1
        self._captured_ns = max(frame.captured_ns, self._captured_ns + 1)
        return Frame(pixels=frame.pixels, captured_ns=self._captured_ns, sequence=self._sequence)

    def _rest(self) -> None:
        """Waits before the next attempt, in short turns so that the loop is seen to live."""
        self._attempts += 1
        self._sink.lost(self._attempts)
        remaining_s = backoff_s(self._attempts, self._options, self._random)
        while remaining_s > 0:
            self._came_round()
            turn_s = min(remaining_s, 1.0)
            if self._wait(turn_s):
                return
            remaining_s -= turn_s

    def _came_round(self) -> None:
        self.progress_ns = self._monotonic_ns()
        self._sink.beat()
        self._alive()

    def _tell_trouble(self, fault: CameraLost | CameraUnavailable) -> None:
        if not self._is_trouble_told:
            self._is_trouble_told = True
            log.warning("camera gone", extra={"address": fault.address, "reason": fault.reason})

    def _tell_return(self) -> None:
        if self._is_trouble_told:
            self._is_trouble_told = False
            log.info("camera back", extra={"address": self._camera.address, "attempts": self._attempts})


class _Stillness:
    """Notices a picture that stays the same to the last bit, which the noise of a living sensor never does."""

    def __init__(self, still_max_s: float) -> None:
        self._still_max_ns = round(still_max_s * NS)
        self._checksum: int | None = None
        self._since_ns = 0

    def is_frozen(self, pixels: NDArray[np.uint8], now_ns: int) -> bool:
        """True once the same picture came for longer than allowed. One colour throughout is a covered lens, not ice."""
        sample = pixels[::SAMPLE_EVERY, ::SAMPLE_EVERY]
        checksum = zlib.crc32(sample.tobytes())
        if checksum != self._checksum or sample.min() == sample.max():
            self._checksum, self._since_ns = checksum, now_ns
            return False
        return now_ns - self._since_ns > self._still_max_ns


@contextmanager
def _watched(
    loop: _CaptureLoop, stuck_max_s: float, monotonic_ns: Callable[[], int], end_process: Callable[[int], None]
) -> Iterator[None]:
    """While inside, a second thread ends the process when the loop has not come round for too long.

    The first thread may sit in a C call that no signal and no exception reaches; only the process can be ended.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(1.0, stuck_max_s / 4)):
            if monotonic_ns() - loop.progress_ns > stuck_max_s * NS:
                log.error("camera driver does not return; the process ends", extra={"seconds": stuck_max_s})
                end_process(STUCK_EXIT)
                return

    watcher = threading.Thread(target=watch, name="capture-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()

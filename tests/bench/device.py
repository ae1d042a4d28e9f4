"""What the device's own processes need and how quickly a member is served: `python -m tests.bench.device`.

Real processes, a rendered door, a database on the memory file system, no line to the cloud. Three figures: from the
frame in which a code first stands in view to the screen that follows the commit; from starting the processes to the
first grant; and the memory of all processes together, shared pages counted once (PSS).
"""

import asyncio
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.drawing import Held, Stage, draw_card, draw_phone
from edge.channel.frames import FrameWriter
from edge.channel.messages import FromAgent, ScreenShown, WebHello
from edge.channel.stream import Channel, connect_to_agent
from edge.core.screen import ScreenName
from edge.errors import ChannelBroken
from edge.ports import Frame
from tests.bench.table import Row, Table
from tests.support.homes import DeviceHome, make_home, write_scene, write_settings

WIDTH, HEIGHT, RATE_FPS = 1280, 720, 15
VISITS = 120
P99_MS_MAX, START_S_MAX, PSS_MIB_MAX = 60.0, 2.0, 240.0
PROCESSES = ("agent", "capture", "vision", "link", "web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured."""

    latencies_ms: tuple[float, ...]
    start_s: tuple[float, ...]
    pss_mib: dict[str, float]


def table(folder: Path) -> Table:
    """The table of all three figures."""
    latencies = measure_latencies(folder / "latency")
    start_s, pss_mib = measure_start(folder / "start")
    p50, p99 = statistics.median(latencies), sorted(latencies)[math.ceil(len(latencies) * 0.99) - 1]
    rows = (
        Row(cells=("code in view to committed and shown, p50, ms", f"{p50:.1f}")),
        _at_most("code in view to committed and shown, p99, ms", f"{p99:.1f}", p99, P99_MS_MAX),
        _at_most("start of all processes to first grant, s", f"{start_s:.2f}", start_s, START_S_MAX),
        *(Row(cells=(f"PSS of {name}, MiB", f"{mib:.1f}")) for name, mib in pss_mib.items()),
        _at_most("PSS of all, MiB", f"{sum(pss_mib.values()):.1f}", sum(pss_mib.values()), PSS_MIB_MAX),
    )
    notes = (f"{len(latencies)} visits at {RATE_FPS} frames/s of {WIDTH}x{HEIGHT}; {os.cpu_count()} cores",)
    return Table(title="The device", headers=("figure", "measured"), rows=rows, notes=notes)


def _at_most(what: str, shown: str, measured: float, most: float) -> Row:
    return Row(cells=(what, shown), bar=f"<= {most:.0f}", missed=measured > most)


# --- code in view to commit -------------------------------------------------------------------------------------------


def measure_latencies(folder: Path, visits: int = VISITS) -> list[float]:
    """Milliseconds from a frame's capture to the screen after the commit, one a visit.

    The bench is the camera: it knows which frame was the first to hold the code.
    """
    home = make_home(folder, members=visits)
    (home.folder / "run").mkdir()
    with FrameWriter(home.folder / "run" / "frames", WIDTH * HEIGHT * 3) as writer, _started(home, "agent", "vision"):
        return asyncio.run(_visits(home, writer, visits))


async def _visits(home: DeviceHome, writer: FrameWriter, visits: int) -> list[float]:
    channel = await _joined(home)
    door = _Door(writer)
    try:
        await _warm_up(door)
        return [await _visit(channel, door, home.card(number), number) for number in range(1, visits + 1)]
    finally:
        await channel.close()


class _Door:
    """A camera at 15 frames a second whose pictures are drawn before they are due."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._stage = Stage(WIDTH, HEIGHT, seed=1)
        self._number = 0
        self._due_s = time.monotonic()

    def draw(self, held: Held | None) -> NDArray[np.uint8]:
        """The next picture."""
        canvas = self._stage.empty_door()
        if held is not None:
            self._stage.add_figure(canvas, WIDTH * 0.38, 1.0, self._number // 20)
            pose = self._stage.pose_of(held, WIDTH * 0.55, HEIGHT * 0.55, self._number * 0.11)
            self._stage.add_held(canvas, held, pose)
        return self._stage.add_noise(canvas, self._number)

    async def publish(self, pixels: NDArray[np.uint8]) -> int:
        """Publishes the picture when it is due; returns when that was, in monotonic nanoseconds."""
        self._due_s = max(self._due_s + 1 / RATE_FPS, time.monotonic())
        await asyncio.sleep(max(0.0, self._due_s - time.monotonic()))
        self._number += 1
        captured_ns = time.monotonic_ns()
        self._writer.publish(Frame(pixels=pixels, captured_ns=captured_ns, sequence=self._number))
        return captured_ns


async def _warm_up(door: _Door) -> None:
    """An empty door until the vision process has its decoder."""
    for _ in range(3 * RATE_FPS):
        await door.publish(door.draw(None))


async def _visit(channel: Channel[FromAgent], door: _Door, text: str, number: int) -> float:
    """Three empty frames, then the code until the greeting; the time from its first frame to the greeting."""
    held = draw_card(text) if number % 2 else draw_phone(text)
    for _ in range(3 + number % 3):
        await door.publish(door.draw(None))
    began_ns = await door.publish(door.draw(held))
    greeting = asyncio.ensure_future(_greeting(channel))
    while not greeting.done():
        picture = door.draw(held)
        publish = asyncio.ensure_future(door.publish(picture))
        await asyncio.wait({greeting, publish}, return_when=asyncio.FIRST_COMPLETED)
        await publish
        if time.monotonic_ns() - began_ns > 5e9:
            greeting.cancel()
            raise AssertionError(f"visit {number} was never served")
    return (greeting.result() - began_ns) / 1e6


async def _greeting(channel: Channel[FromAgent]) -> int:
    """When the next greeting arrived, in monotonic nanoseconds."""
    while True:
        message = await channel.receive()
        if isinstance(message, ScreenShown) and message.screen.name is ScreenName.GREETING and message.seconds > 4.5:
            return time.monotonic_ns()


async def _joined(home: DeviceHome) -> Channel[FromAgent]:
    """A connection as `web` has it, once the agent listens."""
    for _ in range(2000):
        try:
            return await connect_to_agent(str(home.agent_socket), WebHello())
        except ChannelBroken:
            await asyncio.sleep(0.005)
    raise AssertionError("the agent did not start")


# --- start and memory ----------------------------------------------------------------------------------------------


def measure_start(folder: Path, runs: int = 3) -> tuple[float, dict[str, float]]:
    """Seconds from starting all processes to the first grant (median), and MiB of each process after a while.

    For the start a member stands at the door already: pictures of somebody who holds up a card, from a folder. The
    memory is taken with people coming and going.
    """
    times = [_measure_one_start(make_home(folder / str(run))) for run in range(runs)]
    home = make_home(folder / "memory")
    acts: list[dict[str, str | float]] = [
        {"kind": "card", "text": home.card(number), "seconds": 2.0} for number in range(1, 30)
    ]
    write_settings(home, camera=write_scene(home, acts), screen_port=8491)
    with _started(home, "all") as children:
        asyncio.run(_first_greeting(home))
        time.sleep(6)
        return statistics.median(times), _pss_of_tree(children[0].pid)


def _measure_one_start(home: DeviceHome) -> float:
    pictures = home.folder / "pictures"
    pictures.mkdir()
    stage, held = Stage(WIDTH, HEIGHT, seed=1), draw_card(home.card(1))
    for number in range(RATE_FPS):
        canvas = stage.empty_door()
        stage.add_held(canvas, held, stage.pose_of(held, WIDTH * 0.55, HEIGHT * 0.55, number * 0.11))
        cv2.imwrite(str(pictures / f"{number:02}.jpg"), stage.add_noise(canvas, number))
    write_settings(home, camera=f"dir:{pictures}?loop=1&rate={RATE_FPS}", screen_port=8491)
    began_s = time.monotonic()
    with _started(home, "all"):
        return asyncio.run(_first_greeting(home)) - began_s


async def _first_greeting(home: DeviceHome) -> float:
    channel = await _joined(home)
    try:
        return await asyncio.wait_for(_greeting(channel), 30) / 1e9
    finally:
        await channel.close()


@contextmanager
def _started(home: DeviceHome, *names: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    command: Callable[[str], list[str]] = lambda name: [  # noqa: E731 - one expression
        sys.executable, "-m", "edge.app", name, str(home.folder), str(home.folder / "run"),
    ]  # fmt: skip
    log = (home.folder / "log").open("wb")
    children = [subprocess.Popen(command(name), stderr=log) for name in names]
    try:
        yield children
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(15)
        log.close()


def _pss_of_tree(pid: int) -> dict[str, float]:
    """PSS in MiB by process name, over a process and all below it."""
    found: dict[str, float] = {}
    for process in (pid, *_descendants(pid)):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        name = "qr decoder" if b"edge.vision.decoder_child" in words else _role(words)
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        found[name] = found.get(name, 0.0) + int(pss.split()[1]) / 1024
    return found


def _role(words: list[bytes]) -> str:
    at = words.index(b"edge.app") + 1
    return "supervisor" if words[at] == b"all" else words[at].decode()


def _descendants(pid: int) -> list[int]:
    below: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            below += [int(child), *_descendants(int(child))]
    return below


def main() -> None:
    """Prints the table."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        print(table(folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""A real vision process with this program as its camera and its agent, for tests and benchmarks of what it does."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.channel.frames import FrameWriter
from edge.channel.messages import (
    EnrolEnded,
    EnrolStarts,
    FaceSeen,
    FaceTerms,
    TemplatesKept,
    TemplatesTold,
    ToAgent,
    VisionHello,
)
from edge.channel.stream import Channel, agent_side
from edge.errors import ChannelBroken
from edge.ports import Frame
from shared.biometrics import Forgetting
from shared.ids import MemberId
from shared.policy import Liveness

WIDTH, HEIGHT = 1280, 720
WITHIN_S: Final = 60.0
ENROL_TRIES: Final = 4
"""A process that gets little of a busy machine sees too few frames before its time is up."""
START_NS: Final = 1_000_000_000
Kind = TypeVar("Kind", bound=msgspec.Struct)
Picture = NDArray[np.uint8]


def terms(liveness: Liveness = Liveness.PASSIVE) -> FaceTerms:
    """Faces may be looked at."""
    return FaceTerms(on=True, liveness=liveness, device="kiosk1", store="rome-1", life=bytes(16))


class Scene:
    """The camera and the agent of one vision process."""

    def __init__(self, writer: FrameWriter, channel: Channel[ToAgent]) -> None:
        self._writer = writer
        self._channel = channel
        self._number = 0
        self._captured_ns = START_NS
        self.heard: list[ToAgent] = []

    async def listen(self) -> None:
        """Keeps what is told; runs until the process is gone."""
        with contextlib.suppress(ChannelBroken):
            while True:
                self.heard.append(await self._channel.receive())

    async def show(self, pixels: Picture, frames: int, *, step_ns: int, pace_s: float) -> None:
        """Shows the frame so often: `step_ns` apart by its own clock, `pace_s` by ours."""
        for _ in range(frames):
            self.publish(pixels, self._captured_ns + step_ns)
            await asyncio.sleep(pace_s)

    def publish(self, pixels: Picture, captured_ns: int) -> None:
        """Puts one frame into the mailbox."""
        self._number += 1
        self._captured_ns = captured_ns
        self._writer.publish(Frame(pixels=pixels, captured_ns=captured_ns, sequence=self._number))

    async def tell(self, message: msgspec.Struct) -> None:
        """Says it."""
        self._channel.send(message)
        await self._channel.flush()

    async def answered(self, kind: type[Kind], before: int = 0) -> Kind:
        """The first message of the kind since there were so many."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for message in self.heard[before:]:
                    if isinstance(message, kind):
                        return message
                await asyncio.sleep(0.02)

    async def enrol(self, pixels: Picture, member: MemberId, *, step_ns: int, pace_s: float) -> None:
        """Learns the face in the frame through the real enrolment, and gives the template back for use."""
        before, ended = len(self.heard), None
        for _ in range(ENROL_TRIES):
            ended = await self._learn(pixels, member, step_ns=step_ns, pace_s=pace_s)
            if ended.template is not None:
                break
        assert ended is not None
        assert ended.template is not None, ended
        keep = TemplatesTold(
            version=None,
            issued_ms=0,
            whole=False,
            reset=False,
            keep=(ended.template,),
            forget=(),
            why=Forgetting.REPLACED,
        )
        await self.tell(keep)
        await self.answered(TemplatesKept, before)

    async def _learn(self, pixels: Picture, member: MemberId, *, step_ns: int, pace_s: float) -> EnrolEnded:
        before = len(self.heard)
        await self.tell(EnrolStarts(member=member))
        while not any(isinstance(message, EnrolEnded) for message in self.heard[before:]):
            await self.show(pixels, 5, step_ns=step_ns, pace_s=pace_s)
        return await self.answered(EnrolEnded, before)

    def seen_tracks(self) -> set[int]:
        """Tracks that were compared."""
        return {message.track for message in self.heard if isinstance(message, FaceSeen)}


@contextlib.contextmanager
def vision_process(folder: Path, models: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The product's own vision process, its log and temporary files in the folder."""
    for name in ("home/keys", "home/run", "temporary"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    root = (
        "import logging, sys; from pathlib import Path; from edge.app import ProcessName, run_process;"
        " from edge.config import Places; logging.basicConfig(level=logging.DEBUG);"
        " home, run, models = map(Path, sys.argv[1:]);"
        " run_process(ProcessName.VISION, Places(home=home, run=run, models=models))"
    )
    home = folder / "home"
    command = [sys.executable, "-c", root, str(home), str(home / "run"), str(models)]
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


@contextlib.asynccontextmanager
async def scene_of(run: Path) -> AsyncIterator[Scene]:
    """The scene, once the process has said hello."""
    arrivals: asyncio.Queue[Channel[ToAgent]] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrivals.put(agent_side(reader, writer))

    server = await asyncio.start_unix_server(accept, run / "agent.sock")
    with FrameWriter(run / "frames", WIDTH * HEIGHT * 3) as writer:
        async with asyncio.timeout(WITHIN_S):
            channel = await arrivals.get()
        scene = Scene(writer, channel)
        listening = asyncio.create_task(scene.listen())
        try:
            await scene.answered(VisionHello)
            yield scene
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            await channel.close()
            server.close()

"""The vision process with a real mailbox and a real decoder, the agent played by hand: what it tells, and what not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.channel.frames import FrameReader, FrameWriter
from edge.channel.messages import (
    CODES_MAX,
    TEXT_LENGTH_MAX,
    CameraSeen,
    CodesSeen,
    FaceTerms,
    LeasesEnd,
    TemplatesKept,
    ToAgent,
    ViewClear,
    VisionHello,
)
from edge.channel.stream import Channel, agent_side
from edge.db.templates import TemplateDatabase
from edge.errors import ChannelBroken
from edge.ports import Frame
from edge.vision.decoder import Decoder
from edge.vision.faces.desk import FaceDesk, FaceSources
from edge.vision.faces.weights import Weights
from edge.vision.watch import WatchOptions, run_watch
from shared.biometrics import Forgetting
from shared.policy import Liveness
from shared.tokens import PREFIX
from tests.support.pictures import on_canvas, qr_picture

WITHIN_S = 20.0  # a decoder's child starts in that time on a busy machine
HEIGHT, WIDTH = 480, 640
Kind = TypeVar("Kind", bound=msgspec.Struct)


@dataclass(slots=True)
class HandWatchdog:
    """Counts signs of life."""

    signs: int = 0
    is_ready: bool = False

    def ready(self) -> None:
        """Keeps it."""
        self.is_ready = True

    def alive(self) -> None:
        """Counts it."""
        self.signs += 1


@dataclass(slots=True)
class HandAgent:
    """Accepts one process after another and hands over what each says."""

    path: Path
    arrivals: "asyncio.Queue[Channel[ToAgent]]" = field(default_factory=asyncio.Queue)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serves until left."""
        server = await asyncio.start_unix_server(self._accept, self.path)
        try:
            yield
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.arrivals.put(agent_side(reader, writer))

    @contextlib.asynccontextmanager
    async def visitor(self) -> AsyncIterator[Channel[ToAgent]]:
        """The next process that comes, once it said that it is vision."""
        async with asyncio.timeout(WITHIN_S):
            channel = await self.arrivals.get()
            assert isinstance(await channel.receive(), VisionHello)
        try:
            yield channel
        finally:
            await channel.close()


async def expect(channel: Channel[ToAgent], kind: type[Kind]) -> Kind:
    """The next message of this kind; others before it are dropped."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = await channel.receive()
            if isinstance(message, kind):
                return message


def door(*texts: str) -> NDArray[np.uint8]:
    """The door, with these codes in view."""
    gray = on_canvas(*(qr_picture(text, module=3, error="l") for text in texts), height=HEIGHT, width=WIDTH)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


@dataclass(slots=True)
class HandCamera:
    """Publishes pictures when told to."""

    writer: FrameWriter
    sequence: int = 0

    def show(self, pixels: NDArray[np.uint8]) -> int:
        """One frame; returns its number."""
        self.sequence += 1
        self.writer.publish(Frame(pixels=pixels, captured_ns=time.monotonic_ns(), sequence=self.sequence))
        return self.sequence

    async def show_until(self, pixels: NDArray[np.uint8], seen: "asyncio.Task[Kind]") -> Kind:
        """Goes on showing the picture, as a camera does, until that was seen."""
        while not seen.done():
            self.show(pixels)
            await asyncio.wait([seen], timeout=1 / 15)
        return seen.result()


def run(folder: Path, scene: Callable[[HandAgent, HandCamera, HandWatchdog], Awaitable[None]]) -> None:
    """Plays the scene before a watching process."""

    async def play() -> None:
        agent, watchdog = HandAgent(folder / "agent.sock"), HandWatchdog()
        options = WatchOptions(agent_socket=str(agent.path))
        frames = folder / "frames"
        with (
            FrameWriter(frames, HEIGHT * WIDTH * 3) as writer,
            FrameReader(frames) as reader,
            Decoder(wanted=PREFIX, decode_limit_s=5.0) as decoder,
        ):
            watching = asyncio.create_task(run_watch(reader, decoder, watchdog, options))
            try:
                async with agent.listening():
                    await scene(agent, HandCamera(writer), watchdog)
            finally:
                watching.cancel()
                await asyncio.wait([watching])
            assert watching.cancelled()

    asyncio.run(play())


def test_codes_that_come_into_view_are_told_and_so_is_that_they_left(tmp_path: Path) -> None:
    async def scene(agent: HandAgent, camera: HandCamera, watchdog: HandWatchdog) -> None:
        async with agent.visitor() as vision:
            pixels = door("DS1:ONE", "DS1:TWO")
            seen = await camera.show_until(pixels, asyncio.create_task(expect(vision, CodesSeen)))
            assert sorted(seen.texts) == ["DS1:ONE", "DS1:TWO"]
            assert 0 < seen.sequence <= camera.sequence
            assert seen.captured_ns <= seen.seen_ns
            clear = await camera.show_until(door(), asyncio.create_task(expect(vision, ViewClear)))
            assert clear.sequence > seen.sequence
            assert clear.captured_ns > seen.captured_ns
        assert watchdog.is_ready
        assert watchdog.signs > 0

    run(tmp_path, scene)


async def all_until_codes(channel: Channel[ToAgent]) -> CodesSeen:
    """The first codes, nothing but the camera's state before them."""
    while not isinstance(message := await channel.receive(), CodesSeen):
        assert isinstance(message, CameraSeen), message
    return message


def test_an_empty_door_is_not_worth_a_word(tmp_path: Path) -> None:
    async def scene(agent: HandAgent, camera: HandCamera, watchdog: HandWatchdog) -> None:
        async with agent.visitor() as vision:
            seen = asyncio.create_task(all_until_codes(vision))
            for _ in range(10):
                camera.show(door())
                await asyncio.wait([seen], timeout=1 / 15)
            assert not seen.done()
            assert (await camera.show_until(door("DS1:LATE"), seen)).texts == ("DS1:LATE",)

    run(tmp_path, scene)


def test_a_text_too_long_to_be_ours_is_cut_and_only_so_many_are_told(tmp_path: Path) -> None:
    async def scene(agent: HandAgent, camera: HandCamera, watchdog: HandWatchdog) -> None:
        async with agent.visitor() as vision:
            long_text = "DS1:" + "A" * 600
            seen = await camera.show_until(door(long_text), asyncio.create_task(expect(vision, CodesSeen)))
            assert seen.texts == (long_text[: TEXT_LENGTH_MAX + 1],)
            assert len(seen.texts) <= CODES_MAX

    run(tmp_path, scene)


def test_the_cameras_state_is_told_when_it_changes(tmp_path: Path) -> None:
    async def scene(agent: HandAgent, camera: HandCamera, watchdog: HandWatchdog) -> None:
        async with agent.visitor() as vision:
            assert not (await expect(vision, CameraSeen)).live
            camera.show(door())
            assert await expect(vision, CameraSeen) == CameraSeen(live=True, decoder_restarts=0)
            camera.writer.lost(1)
            assert not (await expect(vision, CameraSeen)).live

    run(tmp_path, scene)


@pytest.mark.parametrize("with_code", [False, True])
def test_an_agent_that_comes_back_is_told_everything_anew(tmp_path: Path, with_code: bool) -> None:
    async def scene(agent: HandAgent, camera: HandCamera, watchdog: HandWatchdog) -> None:
        pixels = door("DS1:STAYS") if with_code else door()
        for _ in range(2):
            async with agent.visitor() as vision:
                camera.show(pixels)
                while not (await expect(vision, CameraSeen)).live:
                    camera.show(pixels)
                if with_code:
                    seen = await camera.show_until(pixels, asyncio.create_task(expect(vision, CodesSeen)))
                    assert seen.texts == ("DS1:STAYS",)

    run(tmp_path, scene)


def test_an_agent_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async def play() -> None:
        agent, watchdog = HandAgent(tmp_path / "agent.sock"), HandWatchdog()
        options = WatchOptions(agent_socket=str(agent.path))
        with FrameReader(tmp_path / "frames") as reader, Decoder() as decoder:
            watching = asyncio.create_task(run_watch(reader, decoder, watchdog, options))
            async with asyncio.timeout(WITHIN_S):
                while watchdog.signs < 2:
                    await asyncio.sleep(0.01)
            async with agent.listening(), agent.visitor() as vision:
                assert not (await expect(vision, CameraSeen)).live
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, ChannelBroken):
                await watching

    asyncio.run(play())


def test_a_process_that_is_told_to_end_while_its_agent_leaves_does_end(tmp_path: Path) -> None:
    async def play() -> None:
        agent = HandAgent(tmp_path / "agent.sock")
        options = WatchOptions(agent_socket=str(agent.path))
        with FrameReader(tmp_path / "frames") as reader, Decoder() as decoder:
            for turns in range(12):
                async with agent.listening():
                    watching = asyncio.create_task(run_watch(reader, decoder, HandWatchdog(), options))
                    async with agent.visitor() as vision:
                        vision.abort()
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        watching.cancel()
                        await asyncio.wait([watching], timeout=WITHIN_S)
                        assert watching.cancelled(), turns

    asyncio.run(play())


def test_templates_are_kept_while_codes_are_read(tmp_path: Path) -> None:
    (tmp_path / "kiosk").mkdir()
    sources = FaceSources(
        weights=Weights(tmp_path / "no models"),
        shelf=TemplateDatabase(tmp_path / "kiosk" / "faces.db"),
        keys=tmp_path / "kiosk",
        random=bytes,
    )

    async def play() -> None:
        agent = HandAgent(tmp_path / "agent.sock")
        options = WatchOptions(agent_socket=str(agent.path))
        frames = tmp_path / "frames"
        with (
            FrameWriter(frames, HEIGHT * WIDTH * 3) as writer,
            FrameReader(frames) as reader,
            Decoder(wanted=PREFIX, decode_limit_s=5.0) as decoder,
        ):
            watching = asyncio.create_task(run_watch(reader, decoder, HandWatchdog(), options, FaceDesk(sources)))
            async with agent.listening(), agent.visitor() as vision:
                vision.send(
                    FaceTerms(on=False, liveness=Liveness.NONE, device="kiosk1", store="rome-1", life=bytes(16))
                )
                vision.send(LeasesEnd(before_ms=1))
                kept = await expect(vision, TemplatesKept)
                assert (kept.templates, kept.forgotten, kept.why) == (0, (), Forgetting.LAPSED)
                camera = HandCamera(writer)
                seen = await camera.show_until(door("DS1:ONE"), asyncio.create_task(expect(vision, CodesSeen)))
                assert seen.texts == ("DS1:ONE",)
            watching.cancel()
            await asyncio.wait([watching])
            assert watching.cancelled()

    asyncio.run(play())

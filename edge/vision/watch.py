"""The vision process: newest frame in, texts of codes and scores of faces out. Frames end here."""

import asyncio
import logging
import time
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.channel.frames import CameraState, FrameReader
from edge.channel.messages import (
    CODES_MAX,
    TEXT_LENGTH_MAX,
    CameraSeen,
    CodesSeen,
    FromAgent,
    ToVision,
    ViewClear,
    VisionHello,
)
from edge.channel.stream import Channel, connect_to_agent
from edge.errors import ChannelBroken
from edge.ports import Frame, Watchdog
from edge.vision.decoder import Decoded, Decoder
from edge.vision.faces.desk import FaceDesk
from edge.vision.motion import CELLS_ACROSS, SAMPLES_A_SIDE, MotionGate

WAIT_S = 0.5
"""How long without a frame before the camera's state is looked at again."""

AGENT_RETRY_S = 0.2
GATE_WIDTH = CELLS_ACROSS * SAMPLES_A_SIDE
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """Where the agent listens."""

    agent_socket: str


async def run_watch(
    reader: FrameReader,
    decoder: Decoder,
    watchdog: Watchdog,
    options: WatchOptions,
    desk: FaceDesk | None = None,
) -> None:
    """Watches until cancelled; a lost agent is looked for again, and told the camera's state anew.

    Without a desk codes are all that is looked for.
    """
    watchdog.ready()
    if desk is not None:
        await desk.open()
    try:
        while True:
            await _watch_for_an_agent(reader, decoder, watchdog, options, desk)
    finally:
        if desk is not None:
            await desk.close()


async def _watch_for_an_agent(
    reader: FrameReader, decoder: Decoder, watchdog: Watchdog, options: WatchOptions, desk: FaceDesk | None
) -> None:
    """Watches for as long as the agent is there; returns soon when it is not."""
    hello = VisionHello() if desk is None else desk.hello()
    try:
        channel = await connect_to_agent(options.agent_socket, hello)
    except ChannelBroken:
        watchdog.alive()
        await asyncio.sleep(AGENT_RETRY_S)
        return
    watch = _Watch(reader, decoder, watchdog, channel, desk)
    # No task group: in Python 3.11 one that ends with an error forgets that it was to be cancelled as well.
    listening = asyncio.create_task(watch.listen())
    listening.add_done_callback(lambda _: channel.abort())
    try:
        await watch.watch()
    except ChannelBroken:
        log.debug("the agent is gone")
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await channel.close()
    if not listening.cancelled():
        _raise_unless_broken(listening.exception())


class _Watch:
    """One connection to the agent's worth of watching."""

    def __init__(
        self,
        reader: FrameReader,
        decoder: Decoder,
        watchdog: Watchdog,
        channel: Channel[FromAgent],
        desk: FaceDesk | None,
    ) -> None:
        self._reader = reader
        self._decoder = decoder
        self._watchdog = watchdog
        self._channel = channel
        self._desk = desk
        self._gate = MotionGate()
        self._sequence = 0
        self._buffer: NDArray[np.uint8] | None = None
        self._in_view = False
        self._told: CameraSeen | None = None

    async def watch(self) -> None:
        """Looks at every frame. Raises: ChannelBroken when the agent is gone."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(None, self._reader.wait, WAIT_S)
            self._watchdog.alive()
            self._tell_camera()
            frame = self._reader.read_latest(self._sequence, self._buffer)
            if frame is not None:
                self._sequence, self._buffer = frame.sequence, frame.pixels
                self._look(frame)
            await self._channel.flush()

    async def listen(self) -> None:
        """Does what the agent says, one message after the other: the socket holds back what comes too fast.

        Raises: ChannelBroken when the agent is gone.
        """
        while True:
            message = await self._channel.receive()
            if self._desk is None or not isinstance(message, ToVision):
                continue
            for report in await self._desk.take(message):
                self._channel.send(report)

    def _look(self, frame: Frame) -> None:
        self._read_codes(frame)
        if self._desk is not None:
            for report in self._desk.look(frame, code_in_view=self._in_view):
                self._channel.send(report)

    def _read_codes(self, frame: Frame) -> None:
        if not self._gate.changed(glance(frame.pixels), frame.captured_ns):
            return
        decoded = self._decoder.decode(_gray(frame.pixels), self._gate.effort(frame.captured_ns))
        texts = (
            tuple(code.text[: TEXT_LENGTH_MAX + 1] for code in decoded.codes) if isinstance(decoded, Decoded) else ()
        )
        if texts:
            self._gate.code_read(frame.captured_ns)
            self._channel.send(
                CodesSeen(
                    texts=texts[:CODES_MAX],
                    sequence=frame.sequence,
                    captured_ns=frame.captured_ns,
                    seen_ns=time.monotonic_ns(),
                )
            )
        elif self._in_view:
            self._channel.send(ViewClear(sequence=frame.sequence, captured_ns=frame.captured_ns))
        self._in_view = bool(texts)

    def _tell_camera(self) -> None:
        status = self._reader.read_status()
        live = status is not None and status.state is CameraState.LIVE and status.is_current(time.monotonic_ns())
        seen = CameraSeen(live=live, decoder_restarts=self._decoder.restarts)
        if seen != self._told:
            self._told = seen
            self._channel.send(seen)


def _raise_unless_broken(fault: BaseException | None) -> None:
    if fault is not None and not isinstance(fault, ChannelBroken):
        raise fault


def glance(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Those pixels in grey that the motion gate looks at: of a frame that is not decoded no others are converted.

    Shape and dtype: (H, W, 3) uint8 BGR in; GATE_WIDTH or a little more across.
    """
    step = max(1, pixels.shape[1] // GATE_WIDTH)
    return _gray(np.ascontiguousarray(pixels[::step, ::step]))


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)

"""The vision process: newest frame in, texts of codes out. Frames end here."""

import asyncio
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
    ViewClear,
    VisionHello,
)
from edge.channel.stream import Channel, connect_to_agent
from edge.errors import ChannelBroken
from edge.ports import Frame, Watchdog
from edge.vision.decoder import Decoded, Decoder
from edge.vision.motion import MotionGate

WAIT_S = 0.5
"""How long without a frame before the camera's state is looked at again."""

AGENT_RETRY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """Where the agent listens."""

    agent_socket: str


async def run_watch(reader: FrameReader, decoder: Decoder, watchdog: Watchdog, options: WatchOptions) -> None:
    """Watches until cancelled; a lost agent is looked for again, and told the camera's state anew."""
    watchdog.ready()
    while True:
        try:
            channel = await connect_to_agent(options.agent_socket, VisionHello())
        except ChannelBroken:
            watchdog.alive()
            await asyncio.sleep(AGENT_RETRY_S)
            continue
        try:
            await _Watch(reader, decoder, watchdog, channel).run()
        except ChannelBroken:
            continue
        finally:
            await channel.close()


class _Watch:
    """One connection to the agent's worth of watching."""

    def __init__(self, reader: FrameReader, decoder: Decoder, watchdog: Watchdog, channel: Channel[FromAgent]) -> None:
        self._reader = reader
        self._decoder = decoder
        self._watchdog = watchdog
        self._channel = channel
        self._gate = MotionGate()
        self._sequence = 0
        self._buffer: NDArray[np.uint8] | None = None
        self._in_view = False
        self._told: CameraSeen | None = None

    async def run(self) -> None:
        """Raises: ChannelBroken when the agent is gone."""
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

    def _look(self, frame: Frame) -> None:
        gray = np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        if not self._gate.changed(gray, frame.captured_ns):
            return
        decoded = self._decoder.decode(gray, self._gate.effort(frame.captured_ns))
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

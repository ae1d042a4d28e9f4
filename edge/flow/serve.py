"""The agent on its Unix socket: messages of the device's processes in, screens and publishes out.

One connection a role; a newer one replaces the older. All of the agent's work happens between two waits of this
loop, so no two events ever meet half done.
"""

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import assert_never

from edge.channel.messages import (
    AdmissionAsked,
    AdmissionTold,
    CameraSeen,
    CertificateTold,
    ClockTold,
    CodesSeen,
    DistrustAsked,
    DistrustTold,
    EnrolAsked,
    Heard,
    HeardDone,
    IntroductionAsked,
    JoinAsked,
    JoinTold,
    LinkDown,
    LinkHello,
    LinkUp,
    LinkWelcome,
    PeerAsked,
    PeersHeard,
    Publish,
    RenewalProofAsked,
    RenewalProved,
    ScreenShown,
    StatusAsked,
    ToAgent,
    ToLink,
    Touched,
    ToVision,
    TrustAsked,
    ViewClear,
    VisionHello,
    WebHello,
)
from edge.channel.stream import Channel, agent_side
from edge.core.screen import Screen, Status, is_same_dialog
from edge.errors import ChannelBroken, StorageFault
from edge.flow.agent import Agent, FaceWord
from edge.flow.enrol import Tell
from edge.ports import Watchdog
from shared.ids import DeviceId
from shared.topics import Up

log = logging.getLogger(__name__)

TICK_S = 1.0
CLOCK_TOLD_AGAIN_NS = 600_000_000_000  # the link counts on by uptime; a quartz clock drifts 0.06 s in that time
CLOCK_NEWS_MS = 1000  # a correction larger than this is told at once
UNSTORED_MAX = 64  # the broker waits for an answer to 20 at most
SOCKET_MODE = 0o660


class Screens:
    """The display port: every web process hears of every screen, a new one of the present screen first."""

    def __init__(self) -> None:
        self._channels: set[Channel[ToAgent]] = set()
        self._newest: ScreenShown | None = None
        self._since = 0

    def show(self, screen: Screen, status: Status, seconds: float) -> None:
        """Replaces what is shown."""
        serial = 1 if self._newest is None else self._newest.serial + 1
        if self._newest is None or not is_same_dialog(screen, self._newest.screen):
            self._since = serial
        self._newest = ScreenShown(serial=serial, screen=screen, status=status, seconds=seconds)
        for channel in self._channels:
            channel.send(self._newest)

    def is_on(self, serial: int) -> bool:
        """True when whoever saw this serial sees the present screen: only what stands beside it changed since."""
        return self._newest is not None and self._since <= serial <= self._newest.serial

    def join(self, channel: Channel[ToAgent]) -> None:
        """Shows this channel the present screen and all that follow."""
        self._channels.add(channel)
        if self._newest is not None:
            channel.send(self._newest)

    def leave(self, channel: Channel[ToAgent]) -> None:
        """Forgets the channel."""
        self._channels.discard(channel)


class _Peer:
    """The one process of its role that is connected, if any."""

    def __init__(self) -> None:
        self._channel: Channel[ToAgent] | None = None

    def take(self, channel: Channel[ToAgent]) -> None:
        """The process speaks on this channel from now on."""
        self._channel = channel

    def is_on(self, channel: Channel[ToAgent]) -> bool:
        """True when this channel is the process's."""
        return self._channel is channel

    def lose(self) -> None:
        """The process is gone."""
        self._channel = None

    def _send(self, message: Publish | ClockTold | ToVision | ToLink) -> None:
        if self._channel is not None:
            self._channel.send(message)


class Line(_Peer):
    """The link port: whatever link process is connected."""

    def __init__(self) -> None:
        super().__init__()
        self._clock: ClockTold | None = None

    def take(self, channel: Channel[ToAgent]) -> None:
        """The process speaks on this channel from now on, and knows nothing of the time yet."""
        super().take(channel)
        self._clock = None

    def tell_clock(self, clock: ClockTold) -> None:
        """Tells the link process the time when it is news to it."""
        if self._clock is None or _is_news(self._clock, clock):
            self._clock = clock
            self._send(clock)

    def publish(self, kind: Up, data: bytes) -> None:
        """Hands the message to the link process, or drops it when there is none."""
        self._send(Publish(kind=kind, data=data))

    def tell(self, message: ToLink) -> None:
        """Hands what is for the store's other kiosks to the link process, or drops it when there is none."""
        self._send(message)


def _is_news(before: ClockTold, clock: ClockTold) -> bool:
    """True when somebody who counts on from the earlier word would be wrong, or has counted for long."""
    since_ns = clock.monotonic_ns - before.monotonic_ns
    if before.instant_ms is None or clock.instant_ms is None:
        return before.instant_ms is not clock.instant_ms
    off_ms = clock.instant_ms - before.instant_ms - since_ns // 1_000_000
    return abs(off_ms) > CLOCK_NEWS_MS or since_ns > CLOCK_TOLD_AGAIN_NS


class Sight(_Peer):
    """The line to whatever vision process is connected."""

    def tell(self, message: ToVision) -> None:
        """Says it, or drops it while there is none."""
        self._send(message)


class AgentServer:
    """Serves the agent's socket until cancelled."""

    def __init__(
        self,
        agent: Agent,
        device: DeviceId,
        line: Line,
        screens: Screens,
        watchdog: Watchdog,
        path: Path,
        sight: Sight | None = None,
    ) -> None:
        self._agent = agent
        self._device = device
        self._line = line
        self._screens = screens
        self._sight = sight or Sight()
        self._enrolments: dict[Channel[ToAgent], Tell] = {}
        self._watchdog = watchdog
        self._path = path
        self._handlers: set[asyncio.Task[None]] = set()
        self._channels: set[Channel[ToAgent]] = set()
        self._unstored: deque[tuple[Channel[ToAgent], Heard]] = deque(maxlen=UNSTORED_MAX)

    async def serve(self) -> None:
        """Listens, ticks, and feeds the watchdog from the same loop."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(SOCKET_MODE)
        self._agent.start()
        self._watchdog.ready()
        try:
            while True:
                self._agent.tick()
                self._line.tell_clock(self._agent.clock_told())
                self._hear_again()
                self._watchdog.alive()
                await asyncio.sleep(TICK_S)
        finally:
            server.close()
            # Not cancelled: a handler that is just closing would pass it on, and Python 3.11's streams report that.
            for channel in self._channels:
                channel.abort()
            await asyncio.gather(*self._handlers, return_exceptions=True)
            self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        channel = agent_side(reader, writer)
        self._channels.add(channel)
        try:
            while True:
                self._handle(channel, await channel.receive())
        except ChannelBroken:
            log.debug("a process disconnected")
        except StorageFault as fault:
            log.error("a process was sent away: %s", fault)
        finally:
            self._left(channel)
            await channel.close()
            self._channels.discard(channel)
            self._handlers.discard(handler)

    def _left(self, channel: Channel[ToAgent]) -> None:
        self._screens.leave(channel)
        if self._line.is_on(channel):
            self._line.lose()
            self._agent.line_down()
            self._agent.hear_certificate(None)
        if self._sight.is_on(channel):
            self._sight.lose()
            self._agent.vision_leaves()
        tell = self._enrolments.pop(channel, None)
        if tell is not None:
            self._agent.stop_enrol(tell)

    def _welcome(self, channel: Channel[ToAgent]) -> None:
        """A newer link takes the older one's place. Raises: StorageFull when its session could not be counted."""
        will = self._agent.link_starts()
        if self._agent.online:
            self._agent.line_down()
        self._line.take(channel)
        channel.send(LinkWelcome(device=self._device, will=will))
        self._line.tell_clock(self._agent.clock_told())

    def _hear(self, channel: Channel[ToAgent], message: Heard) -> None:
        if self._agent.hear(message.kind, message.data):
            channel.send(HeardDone(number=message.number))
        else:
            self._unstored.append((channel, message))

    def _hear_again(self) -> None:
        """What found no room on the disk: the broker does not say it again while the connection stands."""
        if self._agent.storage_full:
            return
        for _ in range(len(self._unstored)):
            channel, message = self._unstored.popleft()
            if self._line.is_on(channel):
                self._hear(channel, message)

    def _handle(self, channel: Channel[ToAgent], message: ToAgent) -> None:
        match message:
            case CodesSeen():
                self._agent.see_codes(message.texts, message.seen_ns)
            case CameraSeen():
                self._agent.see_camera(live=message.live, decoder_restarts=message.decoder_restarts)
            case WebHello():
                self._screens.join(channel)
            case Touched():
                if self._screens.is_on(message.serial):
                    self._agent.touch(message.offer, message.choice)
            case VisionHello():
                self._sight.take(channel)
                self._agent.vision_arrives(message)
            case ViewClear():
                pass
            case (
                LinkHello()
                | Heard()
                | LinkUp()
                | LinkDown()
                | CertificateTold()
                | RenewalProofAsked()
                | PeerAsked()
                | PeersHeard()
            ):
                self._handle_link(channel, message)
            case StatusAsked() | EnrolAsked():
                self._answer(channel, message)
            case AdmissionAsked() | JoinAsked() | IntroductionAsked() | TrustAsked() | DistrustAsked():
                channel.send(self._answer_about_groups(message))
            case _:
                self._hear_vision(channel, message)

    def _handle_link(
        self,
        channel: Channel[ToAgent],
        message: LinkHello | Heard | LinkUp | LinkDown | CertificateTold | RenewalProofAsked | PeerAsked | PeersHeard,
    ) -> None:
        match message:
            case LinkHello():
                self._welcome(channel)
            case _ if not self._line.is_on(channel):
                log.debug("a link that was replaced still speaks")
            case Heard():
                self._hear(channel, message)
            case LinkUp():
                self._agent.line_up()
            case LinkDown():
                self._agent.line_down()
            case CertificateTold():
                self._agent.hear_certificate(message)
            case RenewalProofAsked():
                proof = self._agent.prove_renewal(message.serial, message.csr)
                channel.send(RenewalProved(number=message.number, proof=proof))
            case PeerAsked():
                channel.send(self._agent.answer_peer(message))
            case PeersHeard():
                self._agent.hear_peers(message)
            case _:
                assert_never(message)

    def _answer(self, channel: Channel[ToAgent], message: StatusAsked | EnrolAsked) -> None:
        """What a command line asks for."""
        match message:
            case StatusAsked():
                channel.send(self._agent.status())
            case EnrolAsked():
                self._enrolments[channel] = channel.send
                self._agent.ask_enrol(message.member, self._enrolments[channel])
            case _:
                assert_never(message)

    def _answer_about_groups(
        self, message: AdmissionAsked | JoinAsked | IntroductionAsked | TrustAsked | DistrustAsked
    ) -> AdmissionTold | JoinTold | DistrustTold:
        """What a command line asks for about this store's group, or another's."""
        match message:
            case AdmissionAsked():
                return self._agent.ask_admission()
            case JoinAsked():
                return self._agent.ask_join()
            case IntroductionAsked():
                return self._agent.ask_introduction()
            case TrustAsked():
                return self._agent.ask_trust()
            case DistrustAsked():
                return self._agent.ask_distrust(message.store)
            case _:
                assert_never(message)

    def _hear_vision(self, channel: Channel[ToAgent], word: FaceWord) -> None:
        if self._sight.is_on(channel):
            self._agent.hear_vision(word)
        else:
            log.debug("a vision process that was replaced still speaks")

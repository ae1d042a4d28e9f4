"""The body of the `link` process: a thin pipe between the agent's socket and the broker, with no memory of its own.

What waits and what is asked again is decided by the agent alone. The line lives only while the agent does: when the
agent is gone the broker is left without goodbye, tells the cloud our will, and keeps what was not acknowledged.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NoReturn, assert_never

from edge.channel.messages import (
    CertificateTold,
    ClockTold,
    FromAgent,
    Heard,
    HeardDone,
    LinkDown,
    LinkHello,
    LinkUp,
    LinkWelcome,
    PeerAnswered,
    PeersAsked,
    PeersTold,
    Publish,
    RenewalProofAsked,
    RenewalProved,
)
from edge.channel.stream import Channel, connect_to_agent
from edge.errors import ChannelBroken
from edge.link.cloud import RenewalCloud
from edge.link.credentials import Credentials, Pair
from edge.link.lan import LanOptions, LanStation
from edge.link.line import Arrived, Line, WentDown, WentUp
from edge.link.mqtt import LinkOptions
from edge.link.renewal import Renewal
from edge.link.told_clock import ToldClock
from edge.ports import Watchdog
from shared.ids import DeviceId, parse_device

RETRY_MIN_S, RETRY_MAX_S = 0.1, 2.0  # a restarted agent is back within a second or two; one process asks: no jitter
WELCOME_S = 5.0
ALIVE_S = 1.0
PROOF_S = 5.0  # the agent signs within a millisecond; it may be in the middle of a checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewals:
    """Who renews certificates, and the machine's uptime, suspension included, by which told time is counted on."""

    cloud: RenewalCloud
    uptime_ns: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a link works with."""

    options: LinkOptions
    random: Random
    renewals: Renewals | None
    lan: LanOptions


async def run_link(
    agent_socket: str,
    options: LinkOptions,
    watchdog: Watchdog,
    random: Random | None = None,
    renewals: Renewals | None = None,
    lan: LanOptions | None = None,
) -> None:
    """Never returns; cancelled, it leaves the broker and the agent behind in order. `random` draws the pauses.

    Without `renewals` the certificate is used until it ends, and the broker's dates are not judged. `lan` says where
    the store's other kiosks reach this one; without it they do not.
    """
    jitter = random or Random()  # noqa: S311 - jitter, not a secret
    work = _Work(options=options, random=jitter, renewals=renewals, lan=lan or _asking_only(options))
    watchdog.ready()
    async with asyncio.TaskGroup() as tasks:  # one that fails ends the other, and the process
        tasks.create_task(_stay_alive(watchdog))
        tasks.create_task(_serve(agent_socket, work))


async def _stay_alive(watchdog: Watchdog) -> None:
    """The loop comes round; a hanging MQTT thread is the line's own matter and is replaced there."""
    while True:
        watchdog.alive()
        await asyncio.sleep(ALIVE_S)


def _asking_only(options: LinkOptions) -> LanOptions:
    return LanOptions(ca=options.ca, certificate=options.certificate, key=options.key)


async def _serve(agent_socket: str, work: _Work) -> None:
    failures = 0
    while True:
        if await _serve_once(agent_socket, work):
            failures = 0
        if failures == 0:
            log.warning("agent is away")
        await asyncio.sleep(min(RETRY_MIN_S * 2**failures, RETRY_MAX_S))
        failures = min(failures + 1, 8)


async def _serve_once(agent_socket: str, work: _Work) -> bool:
    """True when the agent was there and is gone again, False when it did not answer."""
    try:
        channel = await connect_to_agent(agent_socket, LinkHello())
    except ChannelBroken:
        return False
    has_met = False
    try:
        welcome = await _await_welcome(channel)
        device = parse_device(welcome.device)
        if device is None:
            raise ChannelBroken("the agent names no device")
        log.info("agent is there")
        has_met = True
        await _carry(channel, device, welcome.will, work)
    except ChannelBroken:
        return has_met
    finally:
        await channel.close()


async def _await_welcome(channel: Channel[FromAgent]) -> LinkWelcome:
    """The agent's first word. Raises: ChannelBroken when it is another one or none."""
    try:
        async with asyncio.timeout(WELCOME_S):
            message = await channel.receive()
    except TimeoutError as silence:
        raise ChannelBroken("the agent says nothing") from silence
    if not isinstance(message, LinkWelcome):
        raise ChannelBroken("the agent does not welcome us")
    return message


class _Signer:
    """The agent's signing key, at the other end of the channel; one proof at a time."""

    def __init__(self, channel: Channel[FromAgent]) -> None:
        self._channel = channel
        self._number = 0
        self._answer: asyncio.Future[bytes | None] | None = None

    async def prove(self, serial: str, csr: bytes) -> bytes | None:
        """The proof, None when the agent gave none in time."""
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        self._channel.send(RenewalProofAsked(number=self._number, serial=serial, csr=csr))
        try:
            async with asyncio.timeout(PROOF_S):
                return await self._answer
        except TimeoutError:
            return None

    def proved(self, message: RenewalProved) -> None:
        """The agent answered; nothing when nobody waits for this answer any more."""
        if message.number == self._number and self._answer is not None and not self._answer.done():
            self._answer.set_result(message.proof)


class _Carrier:
    """What one meeting with the agent works with: the line, the clock it told, and who renews the certificate."""

    def __init__(self, channel: Channel[FromAgent], device: DeviceId, will: bytes, work: _Work) -> None:
        options, renewals = work.options, work.renewals
        credentials = Credentials(Pair(certificate=options.certificate, key=options.key))
        self.channel = channel
        self.signer = _Signer(channel)
        self.clock = ToldClock((lambda: 0) if renewals is None else renewals.uptime_ns)
        self.line = Line(
            options,
            device=device,
            will=will,
            random=work.random,
            credentials=credentials,
            trusted_now=self.clock.now,
        )
        self.station = LanStation(work.lan, device, channel.send, credentials.current)
        self.renewal: Renewal | None = None
        if renewals is not None:
            self.renewal = Renewal(
                device=device,
                ca=options.ca,
                credentials=credentials,
                clock=self.clock,
                cloud=renewals.cloud,
                line=self.line,
                prove=self.signer.prove,
                tell=self._tell,
                random=work.random,
            )

    def _tell(self, told: CertificateTold) -> None:
        self.channel.send(told)


async def _carry(channel: Channel[FromAgent], device: DeviceId, will: bytes, work: _Work) -> NoReturn:
    """Raises: ChannelBroken when the agent is gone."""
    carrier = _Carrier(channel, device, will, work)
    errands = [carrier.line.keep_up(), carrier.station.serve(), _carry_up(carrier), _carry_down(carrier)]
    if carrier.renewal is not None:
        errands.append(carrier.renewal.keep())
    # Not a task group: in Python 3.11 a cancellation that meets a failing group is lost, and the process would stay.
    tasks = [asyncio.create_task(errand) for errand in errands]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in ended:
        task.result()
    raise AssertionError("none of them returns")


async def _carry_up(carrier: _Carrier) -> NoReturn:
    """Obeys the agent. Raises: ChannelBroken when it is gone or says what is not for us."""
    while True:
        message = await carrier.channel.receive()
        match message:
            case Publish():
                carrier.line.publish(message.kind, message.data)
            case HeardDone():
                carrier.line.acknowledge(message.number)
            case ClockTold():
                carrier.clock.take(message)
            case RenewalProved():
                carrier.signer.proved(message)
            case PeersTold():
                carrier.station.know(message)
            case PeersAsked():
                carrier.station.ask(message)
            case PeerAnswered():
                carrier.station.answer(message)
            case _:
                raise ChannelBroken("not for a link")


async def _carry_down(carrier: _Carrier) -> NoReturn:
    """Tells the agent what happens on the line."""
    channel = carrier.channel
    while True:
        event = await carrier.line.next()
        match event:
            case WentUp():
                channel.send(LinkUp())
                if carrier.renewal is not None:
                    carrier.renewal.connected(is_renewed=event.is_renewed)
            case WentDown():
                channel.send(LinkDown(reason=event.reason))
            case Arrived():
                channel.send(Heard(number=event.number, kind=event.kind, data=event.data))
            case _:
                assert_never(event)

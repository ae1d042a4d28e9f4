"""The body of the `link` process: a thin pipe between the agent's socket and the broker, with no memory of its own.

What waits and what is asked again is decided by the agent alone. The line lives only while the agent does: when the
agent is gone the broker is left without goodbye, tells the cloud our will, and keeps what was not acknowledged.
"""

import asyncio
import logging
from random import Random
from typing import NoReturn, assert_never

from edge.channel.messages import (
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
)
from edge.channel.stream import Channel, connect_to_agent
from edge.errors import ChannelBroken
from edge.link.lan import LanOptions, LanStation
from edge.link.line import Arrived, Line, WentDown, WentUp
from edge.link.mqtt import LinkOptions
from edge.ports import Watchdog
from shared.ids import parse_device

RETRY_MIN_S, RETRY_MAX_S = 0.1, 2.0  # a restarted agent is back within a second or two; one process asks: no jitter
WELCOME_S = 5.0
ALIVE_S = 1.0

log = logging.getLogger(__name__)


async def run_link(
    agent_socket: str,
    options: LinkOptions,
    watchdog: Watchdog,
    random: Random | None = None,
    lan: LanOptions | None = None,
) -> None:
    """Never returns; cancelled, it leaves the broker and the agent behind in order.

    `random` draws the pauses. `lan` says where the store's other kiosks reach this one; without it they do not.
    """
    jitter = random or Random()  # noqa: S311 - jitter, not a secret
    watchdog.ready()
    async with asyncio.TaskGroup() as tasks:  # one that fails ends the other, and the process
        tasks.create_task(_stay_alive(watchdog))
        tasks.create_task(_serve(agent_socket, options, lan or _asking_only(options), jitter))


async def _stay_alive(watchdog: Watchdog) -> None:
    """The loop comes round; a hanging MQTT thread is the line's own matter and is replaced there."""
    while True:
        watchdog.alive()
        await asyncio.sleep(ALIVE_S)


def _asking_only(options: LinkOptions) -> LanOptions:
    return LanOptions(ca=options.ca, certificate=options.certificate, key=options.key)


async def _serve(agent_socket: str, options: LinkOptions, lan: LanOptions, random: Random) -> None:
    failures = 0
    while True:
        if await _serve_once(agent_socket, options, lan, random):
            failures = 0
        if failures == 0:
            log.warning("agent is away")
        await asyncio.sleep(min(RETRY_MIN_S * 2**failures, RETRY_MAX_S))
        failures = min(failures + 1, 8)


async def _serve_once(agent_socket: str, options: LinkOptions, lan: LanOptions, random: Random) -> bool:
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
        station = LanStation(lan, device, channel.send)
        await _carry(channel, Line(options, device=device, will=welcome.will, random=random), station)
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


async def _carry(channel: Channel[FromAgent], line: Line, station: LanStation) -> NoReturn:
    """Raises: ChannelBroken when the agent is gone."""
    # Not a task group: in Python 3.11 a cancellation that meets a failing group is lost, and the process would stay.
    works = (line.keep_up(), station.serve(), _carry_up(channel, line, station), _carry_down(line, channel))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in ended:
        task.result()
    raise AssertionError("none of the four returns")


async def _carry_up(channel: Channel[FromAgent], line: Line, station: LanStation) -> NoReturn:
    """Obeys the agent. Raises: ChannelBroken when it is gone or says what is not for us."""
    while True:
        message = await channel.receive()
        match message:
            case Publish():
                line.publish(message.kind, message.data)
            case HeardDone():
                line.acknowledge(message.number)
            case PeersTold():
                station.know(message)
            case PeersAsked():
                station.ask(message)
            case PeerAnswered():
                station.answer(message)
            case _:
                raise ChannelBroken("not for a link")


async def _carry_down(line: Line, channel: Channel[FromAgent]) -> NoReturn:
    """Tells the agent what happens on the line."""
    while True:
        event = await line.next()
        match event:
            case WentUp():
                channel.send(LinkUp())
            case WentDown():
                channel.send(LinkDown(reason=event.reason))
            case Arrived():
                channel.send(Heard(number=event.number, kind=event.kind, data=event.data))
            case _:
                assert_never(event)

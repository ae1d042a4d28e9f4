"""Keeps the screen the agent's, for as long as the process runs."""

import asyncio
import logging

from edge.channel.messages import FromAgent, ScreenShown, WebHello
from edge.channel.stream import Channel, connect_to_agent
from edge.errors import ChannelBroken
from edge.kiosk.hub import ScreenHub

RETRY_MIN_S = 0.1  # a restarted agent is back within a second or two
RETRY_MAX_S = 2.0  # one process asks on this socket: there is no herd to spread

log = logging.getLogger(__name__)


async def follow_agent(hub: ScreenHub, agent_socket: str) -> None:
    """Never returns: shows what the agent sends, and "one moment, please" while it is away."""
    failures = 0
    while True:
        if await _follow_once(hub, agent_socket):
            failures = 0
        hub.agent_away()
        if failures == 0:
            log.warning("agent is away")
        await asyncio.sleep(min(RETRY_MIN_S * 2**failures, RETRY_MAX_S))
        failures = min(failures + 1, 8)


async def _follow_once(hub: ScreenHub, agent_socket: str) -> bool:
    """True when the agent was there and is gone again, False when it showed nothing."""
    try:
        channel = await connect_to_agent(agent_socket, WebHello())
    except ChannelBroken:
        return False
    try:
        hub.show(await _next_screen(channel))
        log.info("agent is there")
        with hub.telling(channel.send):
            while True:
                hub.show(await _next_screen(channel))
    except ChannelBroken:
        return hub.has_agent
    finally:
        await channel.close()


async def _next_screen(channel: Channel[FromAgent]) -> ScreenShown:
    """The next screen. Raises: ChannelBroken when the peer is gone or says what no screen is told."""
    message = await channel.receive()
    match message:
        case ScreenShown():
            return message
        case _:
            raise ChannelBroken("not for a screen")

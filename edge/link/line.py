"""The line to the broker as asyncio sees it: kept up by itself, telling what happens through one queue.

Each connection lives on a thread of its own (paho blocks). A thread that ends, however it ends, and a thread that
hangs are the same to this keeper: the client is given up, a pause with full jitter passes, a new one is made.
"""

import asyncio
import contextlib
import itertools
import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import NoReturn

from edge.link.credentials import Credentials, Pair
from edge.link.mqtt import Connection, LinkOptions
from edge.link.tls import PeerDatesWrong
from shared.ids import DeviceId
from shared.topics import Down, Up

WATCH_S = 1.0  # how often the thread's pulse is felt
CLOSING_S = 2.0  # a thread that does not end within it is left behind; it is a daemon
STEADY_S = 10.0  # a connection that lasted so long was a good one: the next pause starts small again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WentUp:
    """Connected and subscribed; `is_renewed` when it was with a pair that had not connected before."""

    is_renewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WentDown:
    """The connection is gone, or the first attempts failed; told once for each reason, not once a try."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message for this device; to be acknowledged under its number."""

    number: int
    kind: Down
    data: bytes


LineEvent = WentUp | WentDown | Arrived


class Line:
    """The line of one device, there as long as somebody runs `keep_up`.

    `trusted_now` gives the time we believe, None while it is not known. `refused` is the pair of which the broker said
    last that its certificate has ended, None when it took one since.
    """

    def __init__(
        self,
        options: LinkOptions,
        *,
        device: DeviceId,
        will: bytes,
        random: Random,
        credentials: Credentials | None = None,
        trusted_now: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._options = options
        provisioned = Pair(certificate=options.certificate, key=options.key)
        self._credentials = credentials or Credentials(provisioned)
        self._trusted_now = trusted_now
        self._tries_with_renewed = 0
        self._again = asyncio.Event()
        self.refused: Pair | None = None
        self._device = device
        self._will = will
        self._random = random
        self._numbers = itertools.count(1)
        # Bounded by what is told: a connection reads no more than receive_maximum unacknowledged messages.
        self._events: asyncio.Queue[LineEvent] = asyncio.Queue()
        self._connection: Connection | None = None

    async def next(self) -> LineEvent:
        """The next thing that happened."""
        return await self._events.get()

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends, or drops when there is no connection."""
        if self._connection is not None:
            self._connection.publish(kind, data)

    def acknowledge(self, number: int) -> None:
        """The broker may forget this message; nothing when it came over a connection that is gone."""
        if self._connection is not None:
            self._connection.acknowledge(number)

    def reconnect(self) -> None:
        """Connects anew at once, with the newest pair."""
        self._tries_with_renewed = 0
        self.refused = None
        self._again.set()
        if self._connection is not None:
            self._connection.close("the certificate is renewed")

    async def keep_up(self) -> NoReturn:
        """Never returns; cancelled, it closes the connection and waits for its thread."""
        loop = asyncio.get_running_loop()
        attempt, node, told = 0, 0, ""
        while True:
            began_s = loop.time()
            pair = self._choose()
            connection = Connection(
                self._options.at(node),
                device=self._device,
                will=self._will,
                listener=_Notes(loop, self._events, is_renewed=pair.is_renewed),
                numbers=self._numbers,
                pair=pair,
                trusted_now=self._trusted_now,
            )
            self._connection = connection
            try:
                reason = await _watch(connection, self._options.stuck_s)
            finally:
                self._connection = None
            if connection.is_refused_as_ended:
                self.refused = pair
            elif connection.was_up:
                self.refused = None
            node += (
                not connection.was_up
            )  # where we were our session is; a node that is not there has its turn again later
            if connection.was_up or reason != told:
                self._events.put_nowait(WentDown(reason=reason))
                log.warning("the line is down", extra={"reason": reason})
                told = reason
            attempt = 0 if connection.was_up and loop.time() - began_s > STEADY_S else attempt + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(draw_pause_s(self._options, attempt, self._random)):
                    await self._again.wait()
            self._again.clear()

    def _choose(self) -> Pair:
        """The pair to try next: a renewed one and, in turn with it, the one that worked before."""
        renewed = self._credentials.renewed()
        if renewed is None:
            return self._credentials.current()
        self._tries_with_renewed += 1
        return renewed if self._tries_with_renewed % 2 else self._credentials.current()


def draw_pause_s(options: LinkOptions, attempt: int, random: Random) -> float:
    """Seconds until the next attempt: anything from nothing to the ceiling, so that a chain does not come as one.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    return random.uniform(0.0, min(options.retry_max_s, options.retry_min_s * 2 ** min(attempt, 16)))


class _Notes:
    """Carries what happens from the connection's thread to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: asyncio.Queue[LineEvent], *, is_renewed: bool) -> None:
        self._loop = loop
        self._events = events
        self._is_renewed = is_renewed

    def up(self) -> None:
        log.info("the line is up")
        self._note(WentUp(is_renewed=self._is_renewed))

    def heard(self, number: int, kind: Down, data: bytes) -> None:
        self._note(Arrived(number=number, kind=kind, data=data))

    def _note(self, event: LineEvent) -> None:
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)


async def _watch(connection: Connection, stuck_s: float) -> str:
    """Why the connection ended. Its thread is given up when it hangs, and waited for when we are cancelled."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()

    def tell(reason: str) -> None:
        if not ended.done():
            ended.set_result(reason)

    def body() -> None:
        reason = run_to_its_end(connection)
        with contextlib.suppress(RuntimeError):  # a thread that was left behind may outlive the loop
            loop.call_soon_threadsafe(tell, reason)

    threading.Thread(target=body, name="mqtt", daemon=True).start()
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=WATCH_S)
            if not ended.done() and connection.silent_s > stuck_s:
                log.error("the MQTT thread hangs and is left behind")
                tell("the MQTT thread hangs")
        return ended.result()
    finally:
        connection.close()
        if not ended.done():
            await asyncio.wait({ended}, timeout=CLOSING_S)


def run_to_its_end(connection: Connection) -> str:
    """Why the connection ended, for a person; no exception leaves the thread."""
    try:
        return connection.run()
    except PeerDatesWrong as wrong:
        return f"the broker's certificate {wrong.fault}"
    except ssl.SSLError as error:
        return f"TLS: {error.reason or type(error).__name__}"
    except TimeoutError:
        return "the broker does not answer"
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception:  # the top of the thread: the connection is lost, the link must not be
        log.exception("a connection ended by a fault of ours")
        return "a fault of ours"

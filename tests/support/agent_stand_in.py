"""An agent for tests of `link`: a Unix socket that welcomes whoever says LinkHello and records what it is told."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.channel.messages import (
    CertificateTold,
    ClockTold,
    Heard,
    HeardDone,
    LinkDown,
    LinkHello,
    LinkUp,
    LinkWelcome,
    Publish,
    RenewalProofAsked,
    RenewalProved,
    ToAgent,
)
from edge.channel.stream import Channel, agent_side
from edge.errors import ChannelBroken
from shared.business_day import milliseconds
from shared.ids import DeviceId
from shared.provisioning import prove_renewal
from shared.topics import Up


class AgentStandIn:
    """Serves inside its `async with` block. `heard` is what arrived; each is settled at once, unless `settles` is
    False: then the test says when. `instant` is the time it knows from the start; `signs` if it proves renewals."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "k1",
        will: bytes = b"gone",
        settles: bool = True,
        instant: datetime | None = None,
        signs: bool = True,
    ) -> None:
        self._instant = instant
        self._signs = signs
        self.signing_key = Ed25519PrivateKey.generate()
        self.certificates: list[CertificateTold] = []
        self._path = path
        self._device = device
        self._will = will
        self._settles = settles
        self._server: asyncio.Server | None = None
        self._channel: Channel[ToAgent] | None = None
        self._handlers: dict[asyncio.Task[None], Channel[ToAgent]] = {}
        self.greeted = 0
        self.is_up = False
        self.ups = 0
        self.reasons: list[str] = []
        self.heard: list[Heard] = []

    @property
    def texts(self) -> list[bytes]:
        """The data of what was heard, in order."""
        return [heard.data for heard in self.heard]

    def publish(self, kind: Up, data: bytes) -> None:
        """Asks the link to send."""
        self.say(Publish(kind=kind, data=data))

    def tell_clock(self, instant: datetime | None) -> None:
        """The time is this, at uptime 0."""
        self.say(ClockTold(instant_ms=None if instant is None else milliseconds(instant), monotonic_ns=0))

    def settle(self, number: int) -> None:
        """What was heard under this number is stored."""
        self.say(HeardDone(number=number))

    def say(self, message: msgspec.Struct) -> None:
        """Any message, fitting or not."""
        assert self._channel is not None
        self._channel.send(message)

    async def hang_up(self) -> None:
        """The connection is closed; the socket still listens."""
        assert self._channel is not None
        await self._channel.close()

    async def __aenter__(self) -> "AgentStandIn":
        """Listens."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Gone, the socket's file with it."""
        assert self._server is not None
        self._server.close()
        handlers = dict(self._handlers)
        for channel in handlers.values():
            await channel.close()
        await asyncio.gather(*handlers)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        channel = agent_side(reader, writer)
        self._handlers[handler] = channel
        try:
            while True:
                self._take(channel, await channel.receive())
        except ChannelBroken:
            self.is_up = False
        finally:
            del self._handlers[handler]
            await channel.close()

    def _take(self, channel: Channel[ToAgent], message: ToAgent) -> None:
        match message:
            case LinkHello():
                self._channel = channel
                self.greeted += 1
                channel.send(LinkWelcome(device=self._device, will=self._will))
                self.tell_clock(self._instant)
            case LinkUp():
                self.is_up = True
                self.ups += 1
            case LinkDown():
                self.is_up = False
                self.reasons.append(message.reason)
            case Heard():
                self.heard.append(message)
                if self._settles:
                    channel.send(HeardDone(number=message.number))
            case CertificateTold():
                self.certificates.append(message)
            case RenewalProofAsked():
                proof = prove_renewal(self.signing_key, DeviceId(self._device), message.serial, message.csr)
                channel.send(RenewalProved(number=message.number, proof=proof if self._signs else None))
            case _:
                raise AssertionError(f"a link does not say {type(message).__name__}")


async def eventually(condition: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Returns as soon as the condition holds, the loop running on; fails the test, naming it, when that takes long."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        await asyncio.sleep(0.005)

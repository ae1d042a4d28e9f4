"""Kiosks of one store on a real network with real TLS: who is answered, and everybody who is not."""

import asyncio
import contextlib
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.channel.messages import LanPeer, PeerAnswered, PeerAsked, PeersAsked, PeersHeard, PeersTold, PeerWord
from edge.core.lan import LanAnswer, LanQuestion, PresenceAsked, Present, RightAsked, RightTold
from edge.link.lan import ASKS_MAX, CONNECTIONS_MAX, LanOptions, LanStation, certified_device
from shared.ids import DeviceId
from tests.support.agent_stand_in import eventually
from tests.support.certificates import Authority, Identity

pytestmark = pytest.mark.timeout(30)

QUESTION = RightAsked(claim=bytes(16), business_day="2026-11-20")
HUB, DOOR, OTHER = DeviceId("hub"), DeviceId("door"), DeviceId("other")


@dataclass(eq=False)
class Kiosk:
    """A station whose agent answers what the test says, or nothing."""

    device: DeviceId
    options: LanOptions
    answers: Callable[[PeerAsked], LanAnswer | None] | None = None
    asked: list[PeerAsked] = field(default_factory=list)
    heard: list[PeersHeard] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: listening())
    station: LanStation = field(init=False)

    def __post_init__(self) -> None:
        self.station = LanStation(self.options, self.device, self._tell)
        weakref.finalize(self, self.listener.close)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def know(self, *others: "Kiosk", at: str | None = None) -> None:
        """These are its neighbours."""
        self.station.know(
            PeersTold(peers=tuple(LanPeer(device=one.device, address=at or one.address) for one in others))
        )

    async def ask(self, *devices: DeviceId, question: LanQuestion = QUESTION) -> tuple[PeerWord, ...]:
        """What the kiosks answer."""
        number = len(self.heard) + 1
        self.station.ask(PeersAsked(number=number, peers=devices, question=question))
        await eventually(lambda: len(self.heard) == number, "the agent hears")
        assert self.heard[-1].number == number
        return self.heard[-1].words

    def _tell(self, message: PeerAsked | PeersHeard) -> None:
        match message:
            case PeersHeard():
                self.heard.append(message)
            case PeerAsked():
                self.asked.append(message)
                if self.answers is not None:
                    self.station.answer(PeerAnswered(number=message.number, answer=self.answers(message)))


def listening() -> socket.socket:
    door = socket.create_server(("127.0.0.1", 0))
    door.setblocking(False)
    return door


def options(authority: Authority, identity: Identity, *, serve_s: float = 2.0) -> LanOptions:
    return LanOptions(ca=authority.certificate, certificate=identity.certificate, key=identity.key, serve_s=serve_s)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def hub(authority: Authority) -> Kiosk:
    made = options(authority, authority.issue_client(HUB), serve_s=0.5)
    return Kiosk(HUB, made, answers=lambda asked: RightTold(holder=asked.device))


@pytest.fixture
def door(authority: Authority) -> Kiosk:
    return Kiosk(DOOR, options(authority, authority.issue_client(DOOR)))


@contextlib.asynccontextmanager
async def serving(*kiosks: Kiosk) -> AsyncIterator[None]:
    """All of them listen inside the block."""
    tasks = [asyncio.create_task(kiosk.station.serve(kiosk.listener)) for kiosk in kiosks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(story)


def test_a_kiosk_of_the_store_is_answered(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        hub.know(door)
        door.know(hub)
        async with serving(hub):
            assert await door.ask(HUB) == (PeerWord(device=HUB, answer=RightTold(holder=DOOR)),)
            hub.answers = lambda asked: Present()
            assert await door.ask(HUB, question=PresenceAsked(boot="b", monotonic_ms=1)) == (
                PeerWord(device=HUB, answer=Present()),
            )
        assert [(asked.device, asked.question) for asked in hub.asked] == [
            (DOOR, QUESTION),
            (DOOR, PresenceAsked(boot="b", monotonic_ms=1)),
        ]

    run(story())


def test_kiosks_are_asked_in_order_until_one_does_not_agree(hub: Kiosk, door: Kiosk, authority: Authority) -> None:
    other = Kiosk(
        OTHER, options(authority, authority.issue_client(OTHER)), answers=lambda asked: RightTold(holder=OTHER)
    )

    async def story() -> None:
        for one in (hub, other):
            one.know(door)
        door.know(hub, other)
        async with serving(hub, other):
            words = await door.ask(HUB, OTHER)
            assert [word.device for word in words] == [HUB, OTHER]
            hub.answers = lambda asked: RightTold(holder=OTHER)
            assert [word.device for word in await door.ask(HUB, OTHER)] == [HUB]
            hub.answers = lambda asked: None
            assert await door.ask(HUB, OTHER) == ()

    run(story())


def test_a_stranger_is_not_asked_and_not_answered(hub: Kiosk, authority: Authority, tmp_path: Path) -> None:
    strangers = Authority(tmp_path / "strange")
    forged = strangers.issue_client(DOOR)
    knows_us = Kiosk(DOOR, LanOptions(ca=authority.certificate, certificate=forged.certificate, key=forged.key))
    as_hub = Kiosk(HUB, LanOptions(ca=authority.certificate, certificate=forged.certificate, key=forged.key))
    door = Kiosk(DOOR, options(authority, authority.issue_client(DOOR)))

    async def story() -> None:
        hub.know(knows_us)
        knows_us.know(hub)
        async with serving(hub):
            assert await knows_us.ask(HUB) == ()
        as_hub.know(door)
        door.know(as_hub)
        async with serving(as_hub):
            assert await door.ask(HUB) == ()
        assert hub.asked == as_hub.asked == []

    run(story())


def test_who_was_revoked_or_is_of_another_store_is_not_answered(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        door.know(hub)
        async with serving(hub):
            assert await door.ask(HUB) == ()
            hub.know(door)
            assert len(await door.ask(HUB)) == 1
            hub.know()
            assert await door.ask(HUB) == ()
        assert len(hub.asked) == 1

    run(story())


def test_another_kiosk_at_the_hubs_address_is_not_the_hub(hub: Kiosk, door: Kiosk, authority: Authority) -> None:
    other = Kiosk(OTHER, options(authority, authority.issue_client(OTHER)), answers=lambda asked: Present())

    async def story() -> None:
        other.know(door)
        door.know(hub, at=other.address)
        async with serving(other):
            assert await door.ask(HUB) == ()
        assert other.asked == []

    run(story())


def test_a_servers_certificate_is_no_kiosks(authority: Authority) -> None:
    ca = x509.load_pem_x509_certificate(authority.certificate.read_bytes())

    def named(pem: Path) -> DeviceId | None:
        read = x509.load_pem_x509_certificate(pem.read_bytes())
        return certified_device(read.public_bytes(Encoding.DER), ca)

    assert named(authority.issue_client("door").certificate) == DOOR
    assert named(authority.issue_server().certificate) is None
    assert named(authority.certificate) is None
    assert named(authority.issue_client("Not a device").certificate) is None
    assert certified_device(b"nonsense", ca) is None


@pytest.mark.parametrize(
    "said",
    [
        (1025).to_bytes(2, "big") + bytes(1025),
        (5).to_bytes(2, "big") + b"hello",
        b"\xff",
        b"",
    ],
)
def test_who_says_too_much_or_nonsense_or_too_little_is_hung_up_on(hub: Kiosk, door: Kiosk, said: bytes) -> None:
    async def story() -> None:
        hub.know(door)
        async with serving(hub):
            reader, writer = await connected(hub, door)
            writer.write(said)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.transport.abort()
        assert hub.asked == []

    run(story())


async def connected(hub: Kiosk, door: Kiosk) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(door.options.certificate, door.options.key)
    host, _, port = hub.address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=context)


def test_who_connects_and_says_nothing_keeps_nobody_else_out_for_long(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        hub.know(door)
        door.know(hub)
        loop = asyncio.get_running_loop()
        host, _, port = hub.address.rpartition(":")
        async with serving(hub):
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS_MAX)]
            began_s = loop.time()
            while not await door.ask(HUB):
                assert loop.time() - began_s < 5, "the idle ones have their half second"
            for _, writer in idle:
                writer.transport.abort()

    run(story())


def test_a_kiosk_whose_agent_is_silent_is_given_up(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        hub.know(door)
        door.know(hub)
        hub.answers = None
        async with serving(hub):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            assert await door.ask(HUB) == ()
            assert loop.time() - began_s < 2
            hub.station.answer(PeerAnswered(number=hub.asked[0].number, answer=Present()))

    run(story())


def test_nobody_is_there(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        assert await door.ask(HUB) == (), "not known"
        door.know(hub, at="127.0.0.1:1")
        assert await door.ask(HUB) == (), "nobody listens"
        door.station.know(PeersTold(peers=(LanPeer(device=HUB, address=None), LanPeer(device="no/id", address="a:1"))))
        assert await door.ask(HUB) == (), "cannot be reached"

    run(story())


def test_no_more_is_asked_at_once_than_a_store_can_need(hub: Kiosk, door: Kiosk) -> None:
    async def story() -> None:
        for number in range(ASKS_MAX + 5):
            door.station.ask(PeersAsked(number=number, peers=(), question=QUESTION))
        await eventually(lambda: len(door.heard) == ASKS_MAX, "the first are answered")

    run(story())


def test_a_kiosk_that_only_asks_listens_nowhere(door: Kiosk) -> None:
    async def story() -> None:
        task = asyncio.create_task(door.station.serve())
        done, _ = await asyncio.wait({task}, timeout=timedelta(milliseconds=50).total_seconds())
        assert not done
        task.cancel()
        await asyncio.wait({task})

    run(story())

"""Three agents and the bodies of three `link` processes, over real sockets: the hub decides, and then it dies."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from edge.core.instant import owner_of
from edge.core.screen import Screen, ScreenName
from edge.flow.serve import AgentServer, Line, Screens
from edge.link.lan import LanOptions
from edge.link.mqtt import LinkOptions
from edge.link.pump import run_link
from shared.answers import HubLease, StoreKiosk, StorePage
from shared.business_day import milliseconds
from shared.ids import DeviceId, MemberId
from shared.instants import InstantOutcome
from shared.policy import InstantMode, InstantTerms
from tests.support.agent_stand_in import eventually
from tests.support.certificates import Authority
from tests.support.entrances import NOON, Kiosk, card, member_id, policy

pytestmark = pytest.mark.timeout(60)

A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
TERMS = policy(instant=InstantTerms(mode=InstantMode.HUB, series="espresso", label="A free espresso", a_day=9))
DAY = TERMS.calendar.business_day(NOON)


class Quiet:
    """A watchdog that nobody looks at."""

    def ready(self) -> None:
        """Nothing."""

    def alive(self) -> None:
        """Nothing."""


class Door:
    """One kiosk: the product's agent on its socket, and the body of `link` beside it. There is no broker."""

    def __init__(self, device: DeviceId, folder: Path, authority: Authority, port: int) -> None:
        self.port = port
        self._line = Line()
        self.kiosk = Kiosk(folder, device=device, seed=ord(device), lan=self._line)
        self.kiosk.ready(terms=TERMS)
        identity = authority.issue_client(device)
        ca, certificate, key = authority.certificate, identity.certificate, identity.key
        self._link = LinkOptions(host="127.0.0.1", port=1, ca=ca, certificate=certificate, key=key, retry_min_s=5.0)
        self._lan = LanOptions(host="127.0.0.1", port=port, ca=ca, certificate=certificate, key=key)
        self._socket = folder / f"{device}.sock"
        server = AgentServer(self.kiosk.agent, device, self._line, Screens(), Quiet(), self._socket)
        self._tasks = [
            asyncio.create_task(server.serve()),
            asyncio.create_task(run_link(str(self._socket), self._link, Quiet(), Random(1), lan=self._lan)),
        ]

    async def stop(self) -> None:
        """Both are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def show(self, member: MemberId) -> Screen:
        """What the member sees in the end."""
        kiosk = self.kiosk
        kiosk.clock.advance(timedelta(seconds=40))
        kiosk.agent.see_codes((), kiosk.clock.uptime_ns)
        before = len(kiosk.display.shown)
        kiosk.agent.see_codes((card(kiosk.keys, member),), kiosk.clock.uptime_ns)
        await eventually(
            lambda: any(one.name is ScreenName.GREETING for one in kiosk.display.shown[before:]),
            "the member is greeted",
        )
        return next(one for one in reversed(kiosk.display.shown) if one.name is ScreenName.GREETING)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        doors = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [door.getsockname()[1] for door in doors]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[dict[DeviceId, Door]]:
    authority = Authority(folder / "keys")
    ports = free_ports(3)
    doors = {device: Door(device, folder, authority, port) for device, port in zip((A, B, C), ports, strict=True)}
    page = StorePage(
        base=0,
        version=1,
        more=False,
        issued_ms=milliseconds(NOON),
        kiosks=tuple(
            StoreKiosk(
                device=name,
                public=door.kiosk.signing_key.public_key().public_bytes_raw(),
                lan=f"127.0.0.1:{door.port}",
            )
            for name, door in doors.items()
        ),
        owners=(A, B, C),
        hub=HubLease(device=C, ends_ms=milliseconds(NOON + timedelta(days=1))),
    )
    try:
        for door in doors.values():
            door.kiosk.tell(page)
        await all_seen(doors)
        yield doors
    finally:
        for door in doors.values():
            await door.stop()


async def all_seen(doors: dict[DeviceId, Door]) -> None:
    """Every kiosk has heard every other: half a minute goes by until each has asked."""
    for door in doors.values():
        kiosk = door.kiosk

        def sees(kiosk: Kiosk = kiosk) -> bool:
            kiosk.clock.advance(timedelta(seconds=1))
            return len(kiosk.seen.at_ns) == len(doors) - 1

        await eventually(sees, "the others are there")


def owned_by(device: DeviceId, after: int = 0) -> MemberId:
    return next(
        member for number in range(after + 1, 1000) if owner_of(member := member_id(number), DAY, (A, B, C)) == device
    )


def test_the_hub_decides_and_when_it_dies_nobody_gets_a_second_one(folder: Path) -> None:
    async def story() -> None:
        async with open_shop(folder) as doors:
            given, mine, theirs = owned_by(A), owned_by(B), owned_by(C)
            assert (await doors[B].show(given)).coupon is InstantOutcome.SHOWN
            assert (await doors[C].show(given)).coupon is InstantOutcome.DEFERRED

            await doors.pop(C).stop()

            assert (await doors[A].show(given)).coupon is InstantOutcome.DEFERRED, "its owner gave it away"
            assert (await doors[A].show(mine)).coupon is InstantOutcome.DEFERRED
            assert (await doors[B].show(mine)).coupon is InstantOutcome.SHOWN
            assert (await doors[A].show(theirs)).coupon is InstantOutcome.DEFERRED, "whose owner is gone"
            assert (await doors[B].show(theirs)).coupon is InstantOutcome.DEFERRED

    asyncio.run(story())

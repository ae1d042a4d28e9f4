"""The agent on its socket, the other processes played by hand: late, replaced, silent, hostile or never reading."""

import asyncio
import contextlib
import itertools
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest

from edge.channel.messages import (
    CSR_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    AdmissionAsked,
    AdmissionTold,
    CameraSeen,
    CertificateTold,
    ClockTold,
    CodesSeen,
    DistrustAsked,
    DistrustTold,
    EnrolAsked,
    EnrolHinted,
    EnrolStarts,
    EnrolStops,
    EnrolTold,
    FaceSeen,
    FaceSettled,
    FaceTerms,
    FromAgent,
    Heard,
    HeardDone,
    IntroductionAsked,
    JoinAsked,
    JoinTold,
    LinkDown,
    LinkHello,
    LinkUp,
    LinkWelcome,
    Publish,
    RenewalProofAsked,
    RenewalProved,
    ScreenShown,
    StatusAsked,
    StatusTold,
    TemplatesKept,
    TemplatesTold,
    ToAgent,
    Touched,
    TrustAsked,
    ViewClear,
    VisionHello,
    WebHello,
)
from edge.channel.stream import Channel, connect_to_agent
from edge.core.certificate import RenewalState
from edge.core.screen import FaultName, Offer, Screen, ScreenName, StandHint, Status
from edge.db import claims
from edge.errors import ChannelBroken
from edge.flow.agent import Agent
from edge.flow.entrance import Entrance
from edge.flow.serve import AgentServer, Line, Screens, Sight
from shared.answers import DenyPage, RosterEntry, TemplatePage, sign_answer
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.envelope import decode_batch, decode_state, decode_time_asked
from shared.ids import ClaimId
from shared.provisioning import is_renewal_proved
from shared.topics import Down, Up
from tests.support.entrances import DEVICE, EMBEDDER, GROUP, NOON, Kiosk, card, compared, member_id, policy

ANNA, BERT = member_id(1), member_id(2)
WITHIN_S = 5.0
Kind = TypeVar("Kind", bound=msgspec.Struct)


@dataclass(slots=True)
class HandWatchdog:
    """Keeps what it is told."""

    said: list[str] = field(default_factory=list)

    def ready(self) -> None:
        """Keeps it."""
        self.said.append("ready")

    def alive(self) -> None:
        """Keeps it."""
        self.said.append("alive")


@dataclass(slots=True)
class Device:
    """A served agent, and the ways to reach it."""

    kiosk: Kiosk
    agent: Agent
    screens: Screens
    socket: Path
    watchdog: HandWatchdog
    serving: "asyncio.Task[None]"
    views: Iterator[int]

    async def join(self, first: msgspec.Struct, *others: msgspec.Struct) -> Channel[FromAgent]:
        """A connection on which these were said."""
        channel = await connect_to_agent(str(self.socket), first)
        for message in others:
            channel.send(message)
        return channel

    async def status(self) -> StatusTold:
        """How the agent is, once all that was sent on other connections before is handled."""
        async with joined(self, StatusAsked()) as channel:
            return await expect(channel, StatusTold)

    def codes(self, *texts: str) -> CodesSeen:
        """A frame with these codes, after the view was clear."""
        at_ns = next(self.views) * 10**10
        return CodesSeen(texts=texts, sequence=1, captured_ns=at_ns, seen_ns=at_ns)

    def page(self, base: int, version: int) -> Heard:
        """The cloud says that the deny list went from one version to another."""
        issued_ms = milliseconds(self.kiosk.clock.instant)
        page = DenyPage(base=base, version=version, more=False, issued_ms=issued_ms, reset=False, entries=())
        return Heard(number=version, kind=Down.FEED, data=sign_answer(page, 1, self.kiosk.keys.signer))


async def expect(channel: Channel[FromAgent], kind: type[Kind]) -> Kind:
    """The next message of this kind; others before it are dropped."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = await channel.receive()
            if isinstance(message, kind):
                return message


async def expect_screen(channel: Channel[FromAgent], name: ScreenName) -> ScreenShown:
    """The next screen of this name."""
    while (shown := await expect(channel, ScreenShown)).screen.name is not name:
        pass
    return shown


async def expect_publish(channel: Channel[FromAgent], kind: Up) -> bytes:
    """The next publish of this kind."""
    while (publish := await expect(channel, Publish)).kind is not kind:
        pass
    return publish.data


async def expect_end(channel: Channel[FromAgent]) -> None:
    """The agent closes the connection."""
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ChannelBroken):
            while True:
                await channel.receive()


@contextlib.asynccontextmanager
async def joined(device: Device, *said: msgspec.Struct) -> AsyncIterator[Channel[FromAgent]]:
    channel = await device.join(*said)
    try:
        yield channel
    finally:
        await channel.close()


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Device]:
    """A kiosk that was told everything, served on a socket of its own."""
    kiosk = Kiosk(folder)
    kiosk.ready()
    kiosk.agent.line_down()
    line, screens, sight, watchdog = Line(), Screens(), Sight(), HandWatchdog()
    random = Random(3)
    agent = Agent(
        Entrance(
            device=kiosk.device,
            signing_key=kiosk.signing_key,
            root_key=kiosk.keys.root.public_key(),
            database=kiosk.database,
            clock=kiosk.clock,
            link=line,
            display=screens,
            random_bytes=random.randbytes,
            random_unit=random.random,
            software="test",
            eyes=sight,
            touch=True,
        )
    )
    path = folder / "agent.sock"
    server = AgentServer(agent, kiosk.device, line, screens, watchdog, path, sight)
    serving = asyncio.create_task(server.serve())
    device = Device(kiosk, agent, screens, path, watchdog, serving, itertools.count(1))
    try:
        async with asyncio.timeout(WITHIN_S):
            while "alive" not in watchdog.said:
                await asyncio.sleep(0)
        yield device
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        kiosk.database.close()


def run(folder: Path, scene: Callable[[Device], Awaitable[None]]) -> None:
    """Plays the scene before a served agent."""

    async def play() -> None:
        async with served(folder) as device:
            await scene(device)

    asyncio.run(play())


def test_a_socket_for_this_group_alone_and_the_manager_is_told(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        assert stat.S_IMODE(device.socket.stat().st_mode) == 0o660
        assert device.watchdog.said[:2] == ["ready", "alive"]

    run(tmp_path, scene)
    assert not (tmp_path / "agent.sock").exists()


def test_a_socket_left_behind_by_a_killed_agent_is_no_obstacle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "agent.sock"))

    async def scene(device: Device) -> None:
        assert (await device.status()).epoch == 1

    run(tmp_path, scene)


def test_a_screen_process_that_comes_late_is_shown_the_present_screen_first(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, VisionHello(), device.codes(card(device.kiosk.keys, ANNA))):
            assert (await device.status()).claims_today == 1
            async with joined(device, WebHello()) as late, joined(device, WebHello()) as later:
                one, other = await expect(late, ScreenShown), await expect(later, ScreenShown)
                assert one == other
                assert (one.screen.name, one.screen.points) == (ScreenName.GREETING, 10)
                assert one.seconds == 12  # without a line there is a receipt to photograph

    run(tmp_path, scene)


def test_every_screen_process_sees_every_screen_and_serials_grow(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with (
            joined(device, WebHello()) as one,
            joined(device, WebHello()) as other,
            joined(device, VisionHello()) as vision,
        ):
            first = await expect(one, ScreenShown)
            await expect(other, ScreenShown)
            vision.send(device.codes(card(device.kiosk.keys, ANNA)))
            greeting = await expect(one, ScreenShown)
            assert await expect(other, ScreenShown) == greeting
            assert greeting.screen.claim is not None
            claim = ClaimId(bytes.fromhex(greeting.screen.claim))
            assert claims.collected(device.kiosk.database.connection, claim) is not None
            assert greeting.serial > first.serial

    run(tmp_path, scene)


def test_a_lost_camera_is_shown_until_it_is_back(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, WebHello()) as web, joined(device, VisionHello()) as vision:
            await expect_screen(web, ScreenName.IDLE)
            vision.send(CameraSeen(live=False, decoder_restarts=3))
            fault = await expect_screen(web, ScreenName.FAULT)
            assert fault.screen.fault is FaultName.CAMERA
            assert not fault.status.camera_live
            status = await device.status()
            assert (status.camera_live, status.decoder_restarts, status.screen) == (False, 3, "fault")
            vision.send(CameraSeen(live=True, decoder_restarts=3))
            vision.send(ViewClear(sequence=1, captured_ns=1))
            await expect_screen(web, ScreenName.IDLE)

    run(tmp_path, scene)


def test_a_link_is_welcomed_with_its_will_and_told_what_to_send_once_it_is_up(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, LinkHello()) as link, joined(device, VisionHello()) as vision:
            welcome = await expect(link, LinkWelcome)
            will = decode_state(welcome.will)
            assert will is not None
            assert (welcome.device, will.online, will.session) == ("kiosk1", False, 2)
            vision.send(device.codes(card(device.kiosk.keys, ANNA)))
            assert (await device.status()).outbox_waiting == 1
            link.send(LinkUp())
            birth = decode_state(await expect_publish(link, Up.STATE))
            assert birth is not None
            assert (birth.online, birth.session, birth.head) == (True, 2, 1)
            assert decode_time_asked(await expect_publish(link, Up.TIME)) is not None
            batch = decode_batch(await expect_publish(link, Up.EVENT))
            assert batch is not None
            assert len(batch.envelopes) == 1
            assert (await device.status()).online
        async with joined(device, WebHello()) as web:  # the link is gone, and so is the line
            while (await expect(web, ScreenShown)).status.online:
                pass

    run(tmp_path, scene)


def test_what_was_heard_is_acknowledged_once_it_is_stored(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, LinkHello(), LinkUp(), device.page(1, 2)) as link:
            assert await expect(link, HeardDone) == HeardDone(number=2)
            link.send(Heard(number=77, kind=Down.FEED, data=b"of nobody we know"))
            assert await expect(link, HeardDone) == HeardDone(number=77)  # it would come for ever otherwise

    run(tmp_path, scene)


def test_what_found_no_room_is_acknowledged_when_it_is_stored_after_all(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        connection = device.kiosk.database.connection
        async with joined(device, LinkHello(), LinkUp()) as link:
            await expect_publish(link, Up.TIME)
            connection.execute("PRAGMA query_only = ON")
            link.send(device.page(1, 2))
            link.send(device.page(2, 3))
            assert (await device.status()).screen == "fault"
            connection.execute("PRAGMA query_only = OFF")
            assert [(await expect(link, HeardDone)).number for _ in range(2)] == [2, 3]
            assert (await device.status()).screen == "idle"

    run(tmp_path, scene)


def test_a_link_that_comes_without_room_is_sent_away_and_may_try_again(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        connection = device.kiosk.database.connection
        connection.execute("PRAGMA query_only = ON")
        async with joined(device, LinkHello()) as link:
            await expect_end(link)
        assert (await device.status()).screen == "fault"
        connection.execute("PRAGMA query_only = OFF")
        async with joined(device, LinkHello()) as link:
            assert (await expect(link, LinkWelcome)).device == "kiosk1"

    run(tmp_path, scene)


def test_a_link_is_told_the_time_and_again_when_it_is_news(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        clock = device.kiosk.clock
        async with joined(device, LinkHello()) as link:
            first = await expect(link, ClockTold)
            assert (first.instant_ms, first.monotonic_ns) == (milliseconds(clock.instant), clock.uptime_ns)
            clock.advance(timedelta(minutes=11))
            later = await expect(link, ClockTold)
            assert later.instant_ms == milliseconds(clock.instant)
            clock.restart("another boot")
            unknown = await expect(link, ClockTold)
            assert unknown.instant_ms is None

    run(tmp_path, scene)


def test_a_correction_of_the_time_is_told_at_once_and_drift_is_not() -> None:
    line = Line()
    sent = Sent()
    line.take(sent)
    second_ns = 1_000_000_000
    line.tell_clock(ClockTold(instant_ms=None, monotonic_ns=0))
    line.tell_clock(ClockTold(instant_ms=None, monotonic_ns=second_ns))
    line.tell_clock(ClockTold(instant_ms=5000, monotonic_ns=2 * second_ns))
    line.tell_clock(ClockTold(instant_ms=6999, monotonic_ns=3 * second_ns))
    line.tell_clock(ClockTold(instant_ms=7001, monotonic_ns=3 * second_ns))
    line.tell_clock(ClockTold(instant_ms=None, monotonic_ns=4 * second_ns))
    assert [told.instant_ms for told in sent.clocks] == [None, 5000, 7001, None]
    line.take(sent)
    line.tell_clock(ClockTold(instant_ms=None, monotonic_ns=4 * second_ns))
    assert len(sent.clocks) == 5, "a new process knows nothing"


class Sent(Channel[ToAgent]):
    """A channel that keeps the clocks it was told."""

    def __init__(self) -> None:
        self.clocks: list[ClockTold] = []

    def send(self, message: msgspec.Struct) -> None:
        assert isinstance(message, ClockTold)
        self.clocks.append(message)


def test_a_renewal_is_proved_with_the_signing_key_and_nothing_else_is(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        public = device.kiosk.signing_key.public_key().public_bytes_raw()
        async with joined(device, LinkHello()) as link:
            link.send(RenewalProofAsked(number=1, serial="a1", csr=b"request"))
            proved = await expect(link, RenewalProved)
            assert (proved.number, proved.proof is not None) == (1, True)
            assert is_renewal_proved(public, proved.proof or b"", DEVICE, "a1", b"request")
            for number, (serial, csr) in enumerate(
                (("", b"x"), ("a" * 41, b"x"), ("a:b", b"x"), ("a", b""), ("a", b"x" * (CSR_BYTES_MAX + 1))), start=2
            ):
                link.send(RenewalProofAsked(number=number, serial=serial, csr=csr))
                assert await expect(link, RenewalProved) == RenewalProved(number=number, proof=None)

    run(tmp_path, scene)


def test_the_status_says_how_the_certificate_is_while_link_is_there(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        assert (await device.status()).renewal is None
        told = CertificateTold(ends_ms=milliseconds(NOON), renewal=RenewalState.FAILED, reason="HTTP 503")
        async with joined(device, LinkHello(), told) as link:
            await expect(link, LinkWelcome)
            status = await device.status()
            assert (status.certificate_ends, status.renewal) == (NOON.isoformat(), RenewalState.FAILED)
            assert status.renewal_reason == "HTTP 503"
            link.send(CertificateTold(ends_ms=None, renewal=RenewalState.FAILED, reason="unreadable"))
            link.send(LinkUp())
            await expect_publish(link, Up.STATE)
            assert (await device.status()).certificate_ends is None
        async with joined(device, WebHello()) as web:
            while (await expect(web, ScreenShown)).status.online:
                pass
        assert (await device.status()).renewal is None

    run(tmp_path, scene)


def test_a_newer_link_takes_over_and_the_older_ones_words_count_no_more(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, LinkHello(), LinkUp()) as old:
            await expect_publish(old, Up.STATE)
            async with joined(device, LinkHello()) as new:
                await expect(new, LinkWelcome)
                assert not (await device.status()).online  # the new line is not up because the old one was
                new.send(LinkUp())
                await expect_publish(new, Up.STATE)
                old.send(LinkDown(reason="too late"))
                old.send(device.page(1, 2))
                old.send(StatusAsked())
                status = await expect(old, StatusTold)  # all the old one said was handled by now
                assert status.online
                new.send(device.page(1, 2))
                assert await expect(new, HeardDone) == HeardDone(number=2)
                await old.close()
                assert (await device.status()).online
                new.send(LinkDown(reason="the broker is gone"))
                new.send(StatusAsked())
                assert not (await expect(new, StatusTold)).online

    run(tmp_path, scene)


def raw_bytes(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"),
        raw_bytes(b""),
        raw_bytes(b"\xc1"),
        raw_bytes(b"\x81\xa4type\xa7nothing"),
        raw_bytes(b"\x81\xa4type\xa5codes"),
        raw_bytes(b"\x82\xa4type\xa6vision\xa1x" + b"\x91" * 50_000 + b"\xc0"),
        raw_bytes(b"\x81\xa4type\xa6visio\xff"),
        raw_bytes(msgspec.msgpack.encode(WebHello()), b"\xc1"),
    ],
)
def test_nonsense_on_the_socket_ends_that_connection_and_nothing_else(tmp_path: Path, said: bytes) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, WebHello()) as web:
            reader, writer = await asyncio.open_unix_connection(device.socket)
            writer.write(said)
            async with asyncio.timeout(WITHIN_S):
                await reader.read()  # to its end
            writer.close()
            await writer.wait_closed()
            await expect_screen(web, ScreenName.IDLE)
            assert (await device.status()).epoch == 1

    run(tmp_path, scene)


@pytest.mark.parametrize("said", [b"", b"\0\0", raw_bytes(b"\x81\xa4type\xa6vision")[:-3]])
def test_a_connection_that_breaks_in_the_middle_of_a_word_is_forgotten(tmp_path: Path, said: bytes) -> None:
    async def scene(device: Device) -> None:
        _, writer = await asyncio.open_unix_connection(device.socket)
        writer.write(said)
        writer.close()
        await writer.wait_closed()
        assert (await device.status()).epoch == 1

    run(tmp_path, scene)


STATUS = Status(online=False, waiting=0, store_name="", camera_live=True, clock_trusted=True)


def show_much(device: Device) -> None:
    """Shows a screen of 200 kB."""
    device.screens.show(Screen(name=ScreenName.IDLE, nickname="n" * 200_000), STATUS, 0)


def test_a_screen_process_that_never_reads_is_cut_off_and_the_others_are_not(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, WebHello()) as good:
            await expect(good, ScreenShown)
            _, silent = await asyncio.open_unix_connection(device.socket, limit=1)
            silent.write(raw_bytes(msgspec.msgpack.encode(WebHello())))
            await device.status()
            for _ in range(60):  # 12 MB: beyond the kernel's buffer and ours
                show_much(device)
                await expect(good, ScreenShown)
            async with asyncio.timeout(WITHIN_S):
                with contextlib.suppress(ConnectionError):
                    while True:  # what it says then meets nobody
                        silent.write(b"\0" * 65536)
                        await silent.drain()
            silent.close()
            with contextlib.suppress(ConnectionError):
                await silent.wait_closed()
            assert (await device.status()).epoch == 1

    run(tmp_path, scene)


def test_a_screen_process_that_never_reads_does_not_keep_the_agent_from_ending(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        _, silent = await asyncio.open_unix_connection(device.socket, limit=1)
        silent.write(raw_bytes(msgspec.msgpack.encode(WebHello())))
        await device.status()
        for _ in range(10):
            show_much(device)
        device.serving.cancel()
        await asyncio.wait([device.serving], timeout=WITHIN_S)
        assert device.serving.done()
        silent.close()
        with contextlib.suppress(ConnectionError):
            await silent.wait_closed()

    run(tmp_path, scene)


# --- faces, taps and what the command line asks -----------------------------------------------------------------------

HELLO = VisionHello(embedder=EMBEDDER, group=GROUP, kiosks=(DEVICE,), sealing_public=b"s" * 32)


async def let_look(device: Device, vision: Channel[FromAgent]) -> None:
    """The policy wants faces, Anna consented, and `vision` holds all the templates there are."""
    await expect(vision, FaceTerms)
    device.kiosk.agent = device.agent
    device.kiosk.tell_policy(policy(2, faces=True))
    device.kiosk.know(RosterEntry(member=ANNA, nickname="Anna", face_text=BIOMETRIC_TEXT_VERSION))
    page = TemplatePage(base=0, version=0, more=False, issued_ms=milliseconds(NOON), reset=False, entries=())
    device.kiosk.tell(page)
    while (told := await expect(vision, TemplatesTold)).version is None:
        pass
    kept = TemplatesKept(version=0, issued_ms=told.issued_ms, templates=1, forgotten=(), why=told.why)
    vision.send(kept)  # one for the leases, one for the page
    vision.send(kept)
    while not (await expect(vision, FaceTerms)).on:
        pass


def seen() -> FaceSeen:
    return FaceSeen(track=1, comparison=compared(ANNA), live=0.9, captured_ns=1, seen_ns=1)


def test_vision_is_told_its_terms_and_what_it_sees_is_served(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, HELLO) as vision, joined(device, WebHello()) as web:
            await let_look(device, vision)
            vision.send(seen())
            assert (await expect(vision, FaceSettled)).track == 1
            assert (await expect_screen(web, ScreenName.GREETING)).screen.nickname == "Anna"

    run(tmp_path, scene)


def test_a_vision_that_was_replaced_is_not_listened_to(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, HELLO) as old:
            await expect(old, FaceTerms)
            async with joined(device, HELLO) as new:
                await let_look(device, new)
                old.send(seen())
                old.send(StatusAsked())
                assert (await expect(old, StatusTold)).claims_today == 0
            async with asyncio.timeout(WITHIN_S):
                while (await device.status()).faces != "vision does not run":
                    pass

    run(tmp_path, scene)


def test_a_tap_counts_for_the_screen_it_was_meant_for(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, HELLO) as vision, joined(device, WebHello()) as web:
            await let_look(device, vision)
            vision.send(seen())
            greeting = await expect_screen(web, ScreenName.GREETING)
            web.send(Touched(serial=greeting.serial - 1, offer=Offer.NOT_ME))
            web.send(Touched(serial=greeting.serial + 9, offer=Offer.NOT_ME))
            web.send(Touched(serial=greeting.serial, offer=Offer.AGREE))
            web.send(StatusAsked())
            assert (await expect(web, StatusTold)).screen == "greeting"
            device.agent.line_up()  # only what stands beside the screen changes
            web.send(Touched(serial=greeting.serial, offer=Offer.NOT_ME))
            await expect_screen(web, ScreenName.SHOW_CODE)

    run(tmp_path, scene)


def test_the_command_line_opens_windows_and_shows_requests(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, AdmissionAsked()) as asking:
            assert (await expect(asking, AdmissionTold)).reason == "vision does not run"
        async with joined(device, HELLO), joined(device, JoinAsked()) as asking:
            while (told := await expect(asking, JoinTold)).reason == "vision does not run":
                asking.send(JoinAsked())
            assert told.reason == "this kiosk is of the group already"
        async with joined(device, TrustAsked()) as asking:
            assert (await expect(asking, AdmissionTold)).seconds == 0
        async with joined(device, DistrustAsked(store="porto")) as asking:
            assert (await expect(asking, DistrustTold)).reason is not None
        async with joined(device, IntroductionAsked()) as asking:
            assert (await expect(asking, JoinTold)).seconds == 0

    run(tmp_path, scene)


def test_who_asked_for_a_face_to_be_learnt_hears_how_it_goes_and_stops_it_by_leaving(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        async with joined(device, HELLO) as vision:
            await let_look(device, vision)
            async with joined(device, EnrolAsked(member=ANNA)) as asking:
                assert (await expect(vision, EnrolStarts)).member == ANNA
                vision.send(EnrolHinted(member=ANNA, hint=StandHint.CLOSER, taken=1, wanted=9))
                assert (await expect(asking, EnrolTold)).hint is StandHint.CLOSER
            await expect(vision, EnrolStops)
            async with joined(device, EnrolAsked(member=member_id(9))) as asking:
                assert (await expect(asking, EnrolTold)).reason == "no consent in force"

    run(tmp_path, scene)

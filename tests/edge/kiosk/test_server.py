"""The process `web` over a real port: who is let in, what is streamed, what happens when somebody goes or stalls."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

import httpx
import msgspec
import pytest

from edge.channel.messages import HeardDone, Touched
from edge.core.group import GroupRequest, encode_request
from edge.core.screen import Offer, Screen, ScreenName
from edge.errors import SettingsWrong
from edge.kiosk.code import draw_code
from edge.kiosk.options import KioskOptions
from edge.kiosk.server import ASSETS, listen, run_web
from shared.ids import DeviceId
from tests.support.screen_agent import OFFLINE, CountingWatchdog, ScreenAgent, socket_folder

GREETING = Screen(name=ScreenName.GREETING, nickname="Giulia", points=10, balance=1240, claim="ab" * 16)
REQUEST = encode_request(GroupRequest(device=DeviceId("kiosk2"), sealing_public=bytes(range(32))))
ROUTES = (*ASSETS, "/texts", "/healthz", "/events", "/nowhere")
PATIENCE_S = 20.0
LOOPBACK = KioskOptions(agent_socket="", port=0)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the stream as a page reads it: None for what was not in it."""

    kind: str = "message"
    id: str | None = None
    data: str = ""

    @property
    def screen(self) -> str:
        """The name of the screen in it."""
        name: str = json.loads(self.data)["screen"]["name"]
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Kiosk:
    """A running `web` and the agent it follows."""

    agent: ScreenAgent
    client: httpx.AsyncClient
    port: int
    task: asyncio.Task[None]
    watchdog: CountingWatchdog


@asynccontextmanager
async def running(options: KioskOptions = LOOPBACK) -> AsyncIterator[Kiosk]:
    """A kiosk on a free port that follows an agent."""
    with socket_folder() as folder:
        options = replace(options, agent_socket=str(folder / "agent"))
        agent, watchdog, listener = ScreenAgent(options.agent_socket), CountingWatchdog(), listen(options)
        port = listener.getsockname()[1]
        await agent.arrive()
        task = asyncio.create_task(run_web(options, watchdog, listener))
        await agent.followed()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            kiosk = Kiosk(agent=agent, client=client, port=port, task=task, watchdog=watchdog)
            await healthy(kiosk, status=200)
            try:
                yield kiosk
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await agent.leave()


async def healthy(kiosk: Kiosk, *, status: int) -> None:
    """Returns once /healthz answers so."""
    async with asyncio.timeout(PATIENCE_S):
        while (await kiosk.client.get("/healthz")).status_code != status:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def stream(kiosk: Kiosk) -> AsyncIterator[Callable[[], Awaitable[Told]]]:
    """A page's stream; what it yields gives the next event. Raises: StopAsyncIteration at the end of the stream."""
    async with kiosk.client.stream("GET", "/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer)

        async def following() -> Told:
            async with asyncio.timeout(PATIENCE_S):
                return await anext(events)

        assert (await following()).kind == "edition"
        yield following


async def _events(answer: httpx.Response) -> AsyncIterator[Told]:
    event = Told()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                event = msgspec.structs.replace(event, id=value)
            case "event":
                event = msgspec.structs.replace(event, kind=value)
            case "data":
                event = msgspec.structs.replace(event, data=value)
            case _ if line == "" and event != Told():
                yield event
                event = Told()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs the coroutine function to its end."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


# --- the stream -----------------------------------------------------------------------------------------------------


def test_the_present_screen_comes_first_and_every_newer_one_after_it() -> None:
    async def test() -> None:
        async with running() as kiosk:
            serial = kiosk.agent.show(GREETING, seconds=60.0, status=OFFLINE)
            async with stream(kiosk) as following:
                first = await following()
                while first.id != str(serial):  # the greeting may still be on its way from the agent
                    first = await following()
                body = json.loads(first.data)
                assert 59.0 < body.pop("seconds") <= 60.0
                assert body == {
                    "serial": serial,
                    "screen": json.loads(msgspec.json.encode(GREETING)),
                    "status": json.loads(msgspec.json.encode(OFFLINE)),
                }
                later = kiosk.agent.show(Screen(name=ScreenName.INVALID))
                second = await following()
                assert (second.id, second.screen) == (str(later), "invalid")

    run(test)


def test_a_silent_stream_is_kept_alive_audibly() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, heartbeat_s=0.01)) as kiosk, stream(kiosk) as following:
            assert (await following()).kind == "message"
            assert (await following()) == Told(kind="alive")

    run(test)


def test_a_page_that_reconnects_with_the_last_id_gets_the_present_screen_and_no_history() -> None:
    async def test() -> None:
        async with running() as kiosk, stream(kiosk) as following:
            last = (await following()).id
            for _ in range(5):
                await show_and_see(kiosk, GREETING, following)
            newest = await show_and_see(kiosk, GREETING, following)
            kiosk.client.headers["last-event-id"] = last or ""
            async with stream(kiosk) as again:
                assert (await again()).id == str(newest)

    run(test)


def test_a_small_event_is_not_held_back_for_the_reader_to_acknowledge_the_one_before() -> None:
    async def test() -> None:
        async with running() as kiosk, stream(kiosk) as following:
            await following()
            took_s = []
            for _ in range(30):
                started = time.perf_counter()
                await show_and_see(kiosk, GREETING, following)
                took_s.append(time.perf_counter() - started)
            assert median(took_s) < 0.02  # 0.04 s is what the kernel waits for an acknowledgement

    run(test)


def test_a_page_that_stalls_costs_little_and_sees_the_newest_screen_next() -> None:
    shows, nickname = 300, "n" * 64_000

    async def test() -> None:
        newest = 0
        async with running() as kiosk, stream(kiosk) as following:
            await following()
            stalled = await open_and_stall(kiosk)
            for _ in range(shows):
                newest = await show_and_see(kiosk, Screen(name=ScreenName.GREETING, nickname=nickname), following)
            heard = await read_until(stalled, f"id: {newest}\n".encode())
            assert len(heard) < shows * len(nickname) / 4
            numbers = [int(line[4:]) for line in heard.split(b"\n") if line.startswith(b"id: ")]
            assert numbers == sorted(set(numbers))

    run(test)


def test_a_page_that_stalls_for_good_loses_its_place() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, streams_max=1, stalled_max_s=0.2)) as kiosk:
            stalled = await open_and_stall(kiosk)
            assert (await kiosk.client.get("/events")).status_code == 503
            for _ in range(100):
                kiosk.agent.show(Screen(name=ScreenName.GREETING, nickname="n" * 64_000))
                await kiosk.client.get("/healthz")
            async with asyncio.timeout(PATIENCE_S):
                while (await kiosk.client.get("/healthz")).json()["screens"] == 1:
                    await asyncio.sleep(0.05)
            stalled.close()

    run(test)


def test_one_screen_more_than_the_limit_is_refused_until_another_leaves() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, streams_max=2)) as kiosk, stream(kiosk) as first:
            await first()
            async with stream(kiosk) as second:
                await second()
                refused = await kiosk.client.get("/events")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            async with asyncio.timeout(PATIENCE_S):
                while (await kiosk.client.get("/healthz")).json()["screens"] == 2:
                    await asyncio.sleep(0.01)
            async with stream(kiosk) as third:
                assert (await third()).kind == "message"

    run(test)


# --- the agent ------------------------------------------------------------------------------------------------------


def test_without_the_agent_no_greeting_stands_and_with_it_the_present_screen_is_back() -> None:
    async def test() -> None:
        async with running() as kiosk, stream(kiosk) as following:
            await following()
            serial = kiosk.agent.show(GREETING)
            assert (await following()).id == str(serial)
            await kiosk.agent.leave()
            away = await following()
            assert (away.id, away.screen) == (None, "fault")
            await healthy(kiosk, status=503)
            await kiosk.agent.arrive()
            back = await following()
            assert (back.id, back.screen) == (str(serial), "greeting")
            await healthy(kiosk, status=200)

    run(test)


def test_an_agent_that_talks_nonsense_is_hung_up_on_and_asked_again() -> None:
    async def test() -> None:
        async with running() as kiosk, stream(kiosk) as following:
            await following()
            kiosk.agent.say(HeardDone(number=1))
            assert (await following()).screen == "fault"
            assert (await following()).screen == "idle"

    run(test)


# --- taps ----------------------------------------------------------------------------------------------------------

CHOOSING = Screen(name=ScreenName.CHOOSE, choices=("M•••a", "B•••o"), offers=(Offer.PICK,))
TOUCH = replace(LOOPBACK, touch=True)


async def tap(kiosk: Kiosk, body: object, **headers: str) -> int:
    """The status of a tap from the page, its headers changed so."""
    usual = {"origin": f"http://127.0.0.1:{kiosk.port}", "content-type": "application/json"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await kiosk.client.post("/touch", content=content, headers=usual | named)).status_code


async def until_healthy_screen(kiosk: Kiosk, screen: Screen) -> int:
    """The serial of this screen, once a page would see it."""
    async with stream(kiosk) as following:
        return await show_and_see(kiosk, screen, following)


def test_a_tap_reaches_the_agent() -> None:
    async def test() -> None:
        async with running(TOUCH) as kiosk:
            serial = await until_healthy_screen(kiosk, CHOOSING)
            assert await tap(kiosk, {"serial": serial, "offer": "pick", "choice": 1}) == 204
            assert await tap(kiosk, {"serial": serial, "offer": "pick", "choice": None}) == 204
            async with asyncio.timeout(PATIENCE_S):
                while len(kiosk.agent.touched) < 2:
                    await asyncio.sleep(0.01)
            assert kiosk.agent.touched == [
                Touched(serial=serial, offer=Offer.PICK, choice=1),
                Touched(serial=serial, offer=Offer.PICK, choice=None),
            ]

    run(test)


def test_a_tap_on_what_is_not_shown_or_not_offered_is_refused() -> None:
    async def test() -> None:
        async with running(TOUCH) as kiosk:
            serial = await until_healthy_screen(kiosk, CHOOSING)
            for body in (
                {"serial": serial - 1, "offer": "pick", "choice": 1},
                {"serial": serial + 1, "offer": "pick", "choice": 1},
                {"serial": serial, "offer": "agree"},
            ):
                assert (body, await tap(kiosk, body)) == (body, 409)
            await kiosk.agent.leave()
            await healthy(kiosk, status=503)
            assert await tap(kiosk, {"serial": serial, "offer": "pick", "choice": 1}) == 503
            await kiosk.agent.arrive()
            assert kiosk.agent.touched == []

    run(test)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"serial": 1}',
        b'{"serial": "1", "offer": "pick"}',
        b'{"serial": -1, "offer": "pick"}',
        b'{"serial": 99999999999999999999, "offer": "pick"}',
        b'{"serial": 1, "offer": "everything"}',
        b'{"serial": 1, "offer": "pick", "choice": -1}',
        b'{"serial": 1, "offer": "pick", "choice": 1.5}',
        b'{"serial": 1, "offer": "pick", "more": 1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_tap_is_refused(body: bytes) -> None:
    async def test() -> None:
        async with running(TOUCH) as kiosk:
            assert await tap(kiosk, body) == 400

    run(test)


def test_a_tap_is_small_and_json_and_from_this_page() -> None:
    async def test() -> None:
        async with running(TOUCH) as kiosk:
            serial = await until_healthy_screen(kiosk, CHOOSING)
            good = {"serial": serial, "offer": "pick", "choice": 1}
            assert await tap(kiosk, json.dumps(good).encode() + b" " * 300) == 413
            assert await tap(kiosk, good, content_type="text/plain") == 415
            assert await tap(kiosk, good, content_type="application/x-www-form-urlencoded") == 415
            for origin in ("http://evil.example", "null", "", f"https://127.0.0.1:{kiosk.port}", "http://127.0.0.1"):
                assert (origin, await tap(kiosk, good, origin=origin)) == (origin, 403)
            assert (await kiosk.client.post("/touch", content=b"{}")).status_code == 403
            assert await tap(kiosk, good, host="evil.example") == 421
            assert (await kiosk.client.get("/touch")).status_code == 405
            for route in ROUTES:
                assert (await kiosk.client.post(route)).status_code == 405
            assert kiosk.agent.touched == []

    run(test)


def test_a_screen_nobody_can_tap_takes_no_tap() -> None:
    async def test() -> None:
        async with running() as kiosk:
            serial = await until_healthy_screen(kiosk, CHOOSING)
            assert await tap(kiosk, {"serial": serial, "offer": "pick", "choice": 1}) == 405
            assert (await kiosk.client.get("/touch")).status_code == 404

    run(test)


def test_a_request_to_join_is_drawn_as_a_code_that_reads_back() -> None:
    async def test() -> None:
        async with running() as kiosk:
            assert (await kiosk.client.get("/code.svg")).status_code == 404
            await until_healthy_screen(kiosk, Screen(name=ScreenName.JOIN_GROUP, code=REQUEST))
            answer = await kiosk.client.get("/code.svg?serial=1")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
            assert answer.content == draw_code(REQUEST)

    run(test)


# --- the door -------------------------------------------------------------------------------------------------------

KNOWN_HOSTS = (
    "localhost",
    "LocalHost:8090",
    "127.0.0.1:1",
    "127.9.9.9",
    "[::1]:8090",
    "[::1]",
    "kiosk.shop.example",
    "kiosk.shop.example:80",
)
STRANGE_HOSTS = (
    "evil.example",
    "evil.example:8090",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1:8090.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "[::1].evil.example",
    "[::1",
    "2130706433",
    "192.168.1.20",
    "",
)


def test_a_strange_host_is_refused_on_every_route() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, allowed_hosts=("kiosk.shop.example",))) as kiosk:
            for host, route in product(STRANGE_HOSTS, ROUTES):
                answer = await kiosk.client.get(route, headers={"host": host})
                assert (host, route, answer.status_code) == (host, route, 421)
                assert answer.text == "not a name of this kiosk\n"

    run(test)


def test_a_known_host_is_let_in() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, allowed_hosts=("Kiosk.Shop.example",))) as kiosk:
            for host in KNOWN_HOSTS:
                assert (host, (await kiosk.client.get("/", headers={"host": host})).status_code) == (host, 200)

    run(test)


@pytest.mark.parametrize("head", ["host: localhost\r\nhost: evil.example\r\n", ""])
def test_two_hosts_or_none_are_refused(head: str) -> None:
    async def test() -> None:
        async with running() as kiosk:
            reader, writer = await asyncio.open_connection("127.0.0.1", kiosk.port)
            writer.write(f"GET /events HTTP/1.1\r\n{head}\r\n".encode())
            status = await reader.readline()
            writer.close()
            await writer.wait_closed()
            assert status.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))

    run(test)


def test_only_get_is_answered() -> None:
    async def test() -> None:
        async with running() as kiosk:
            for method, route in product(("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"), ROUTES):
                answer = await kiosk.client.request(method, route)
                assert (method, route, answer.status_code) == (method, route, 405)
                assert answer.headers["allow"] == "GET"

    run(test)


def test_every_answer_carries_the_protective_headers() -> None:
    async def test() -> None:
        async with running(replace(LOOPBACK, streams_max=0)) as kiosk:
            answers = [await kiosk.client.get(route) for route in ROUTES]
            answers.append(await kiosk.client.post("/"))
            answers.append(await kiosk.client.get("/", headers={"host": "evil.example"}))
            assert {answer.status_code for answer in answers} == {200, 404, 405, 421, 503}
            for answer in answers:
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cache-control"] == "no-store"
                assert "access-control-allow-origin" not in answer.headers
                assert "server" not in answer.headers

    run(test)


def test_no_other_file_is_served() -> None:
    async def test() -> None:
        async with running() as kiosk:
            for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/", "/page/kiosk.js"):
                assert (path, (await kiosk.client.get(path)).status_code) == (path, 404)

    run(test)


def test_a_request_head_without_end_is_cut_off() -> None:
    async def test() -> None:
        async with running() as kiosk:
            reader, writer = await asyncio.open_connection("127.0.0.1", kiosk.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 200_000)
            status = await reader.readline()
            writer.close()
            assert status.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))

    run(test)


# --- start and end --------------------------------------------------------------------------------------------------


def test_cancelled_it_lets_every_page_go_and_frees_the_port() -> None:
    async def test() -> None:
        async with running() as kiosk, stream(kiosk) as following:
            await following()
            kiosk.task.cancel()
            with pytest.raises(StopAsyncIteration):
                await following()
            with pytest.raises(asyncio.CancelledError):
                await kiosk.task
            listen(KioskOptions(agent_socket="", port=kiosk.port)).close()
            assert kiosk.watchdog.readies == 1
            assert kiosk.watchdog.beats >= 1

    run(test)


def test_cancelled_it_does_not_wait_for_a_page_that_stalls() -> None:
    async def test() -> None:
        async with running() as kiosk:
            stalled = await open_and_stall(kiosk)
            for _ in range(100):
                kiosk.agent.show(Screen(name=ScreenName.GREETING, nickname="n" * 64_000))
                await kiosk.client.get("/healthz")
            kiosk.task.cancel()
            async with asyncio.timeout(10):
                await asyncio.gather(kiosk.task, return_exceptions=True)
            stalled.close()

    run(test)


def test_an_address_that_is_taken_says_so() -> None:
    with listen(KioskOptions(agent_socket="", port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SettingsWrong, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen(KioskOptions(agent_socket="", port=port))


@pytest.mark.parametrize("languages", [("en", "tlh"), ()])
def test_a_language_without_texts_says_so(languages: tuple[str, ...]) -> None:
    async def test() -> None:
        with pytest.raises(SettingsWrong, match="language"):
            await run_web(KioskOptions(agent_socket="", port=0, languages=languages), CountingWatchdog())

    run(test)


async def show_and_see(kiosk: Kiosk, screen: Screen, following: Callable[[], Awaitable[Told]]) -> int:
    """The serial of the screen, once the page whose stream this is has seen it."""
    serial = kiosk.agent.show(screen)
    while (await following()).id != str(serial):
        pass
    return serial


async def open_and_stall(kiosk: Kiosk) -> socket.socket:
    """A connection that asked for the stream, saw its beginning and reads no more."""
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stalled, ("127.0.0.1", kiosk.port))
    await loop.sock_sendall(stalled, b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await loop.sock_recv(stalled, 16)
    return stalled


async def read_until(stalled: socket.socket, wanted: bytes) -> bytes:
    """Everything up to and including what is wanted; closes the connection."""
    heard = bytearray()
    loop = asyncio.get_running_loop()
    with stalled:
        async with asyncio.timeout(PATIENCE_S):
            while wanted not in heard:
                heard += await loop.sock_recv(stalled, 1 << 16)
    return bytes(heard)

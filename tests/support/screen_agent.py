"""Stands in for `agent` towards `web`, and runs both in a thread for tests that must not run in an event loop."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from edge.channel.messages import ScreenShown, ToAgent, Touched, WebHello
from edge.channel.stream import Channel, agent_side
from edge.core.screen import Screen, ScreenName, Status
from edge.errors import ChannelBroken
from edge.kiosk.hub import ScreenHub
from edge.kiosk.options import KioskOptions
from edge.kiosk.server import kiosk_app, listen, run_web, serve
from edge.kiosk.texts import PageTexts

START_S = 20.0
IDLE = Screen(name=ScreenName.IDLE)
ONLINE = Status(online=True, waiting=0, store_name="Bottega Aurora", camera_live=True, clock_trusted=True)
LOOKING = replace(ONLINE, faces=True)
OFFLINE = Status(online=False, waiting=3, store_name="Bottega Aurora", camera_live=True, clock_trusted=True)


class ScreenAgent:
    """Listens on a Unix socket and tells whoever says WebHello the present screen, then every later one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._shown = ScreenShown(serial=1, screen=IDLE, status=ONLINE, seconds=0.0)
        self._channels: set[Channel[ToAgent]] = set()
        self._followed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.touched: list[Touched] = []

    async def arrive(self) -> None:
        """Listens."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def leave(self) -> None:
        """Hangs up on everybody and stops listening, as a killed agent does."""
        assert self._server is not None
        self._server.close()
        for channel in tuple(self._channels):
            await channel.close()
        Path(self.path).unlink(missing_ok=True)

    async def followed(self) -> None:
        """Returns once somebody has said WebHello and is still there."""
        async with asyncio.timeout(START_S):
            await self._followed.wait()

    def show(self, screen: Screen, *, seconds: float = 0.0, status: Status = ONLINE) -> int:
        """The serial under which the screen was sent to everybody."""
        self._shown = ScreenShown(serial=self._shown.serial + 1, screen=screen, status=status, seconds=seconds)
        self.say(self._shown)
        return self._shown.serial

    def say(self, message: msgspec.Struct) -> None:
        """Sends the message to everybody as it is."""
        for channel in self._channels:
            channel.send(message)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = agent_side(reader, writer)
        try:
            assert isinstance(await channel.receive(), WebHello)
            self._channels.add(channel)
            self._followed.set()
            channel.send(self._shown)
            while True:  # this ends when `web` goes
                said = await channel.receive()
                assert isinstance(said, Touched)
                self.touched.append(said)
        except ChannelBroken:
            self._channels.discard(channel)
            self._followed.clear()
        finally:
            await channel.close()


class CountingWatchdog:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.readies = 0
        self.beats = 0

    def ready(self) -> None:
        """Counts."""
        self.readies += 1

    def alive(self) -> None:
        """Counts."""
        self.beats += 1


class KioskStand:
    """A fake agent and the real `web` in a thread of their own; `url` is where the page is."""

    def __init__(self, options: KioskOptions, texts: PageTexts | None) -> None:
        self._options = options
        self._texts = texts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="kiosk-stand")
        self._stop = asyncio.Event()
        self._is_up = threading.Event()
        self._listener = listen(options)
        self._agent = ScreenAgent(options.agent_socket)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        """Returns once the page is served and the agent followed."""
        self._thread.start()
        assert self._is_up.wait(START_S), "the kiosk did not start"

    def stop(self) -> None:
        """Ends both and the thread; stopping twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def show(self, screen: Screen, *, seconds: float = 0.0, status: Status = ONLINE) -> int:
        """The serial under which the agent showed the screen."""
        return self._ask(lambda: self._agent.show(screen, seconds=seconds, status=status))

    @property
    def touched(self) -> list[Touched]:
        """What was tapped, as the agent heard of it."""
        return self._agent.touched

    def agent_leaves(self) -> None:
        """The agent is killed."""
        asyncio.run_coroutine_threadsafe(self._agent.leave(), self._loop).result(START_S)

    def agent_arrives(self) -> None:
        """The agent is there again."""
        asyncio.run_coroutine_threadsafe(self._agent.arrive(), self._loop).result(START_S)

    def _ask(self, question: Callable[[], int]) -> int:
        async def answer() -> int:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(START_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        await self._agent.arrive()
        web = asyncio.create_task(self._web())
        await self._agent.followed()
        self._is_up.set()
        await self._stop.wait()
        web.cancel()
        await asyncio.gather(web, return_exceptions=True)
        await self._agent.leave()

    async def _web(self) -> None:
        if self._texts is None:
            await run_web(self._options, CountingWatchdog(), self._listener)
            return
        hub = ScreenHub(self._options.streams_max, time.monotonic)
        app = kiosk_app(hub, self._options, self._texts)
        await serve(app, hub, self._options, CountingWatchdog(), self._listener)


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ds-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@contextmanager
def kiosk_stand(
    *,
    languages: tuple[str, ...] = ("en", "it"),
    texts: PageTexts | None = None,
    privacy_address: str | None = None,
    streams_max: int = 16,
    heartbeat_s: float = 15.0,
    port: int = 0,
    touch: bool = False,
) -> Iterator[KioskStand]:
    """A kiosk on loopback until the end of the block: on a free port, with the product's own texts, unless told."""
    with socket_folder() as folder:
        options = KioskOptions(
            agent_socket=str(folder / "agent"),
            port=port,
            languages=languages,
            privacy_address=privacy_address,
            streams_max=streams_max,
            heartbeat_s=heartbeat_s,
            touch=touch,
        )
        stand = KioskStand(options, texts)
        stand.start()
        try:
            yield stand
        finally:
            stand.stop()

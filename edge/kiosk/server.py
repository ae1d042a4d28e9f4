"""The process `web`: serves the kiosk's page on loopback and passes on what the agent wants shown.

Small on purpose: a handful of routes, files read once from the package, one pure-Python HTTP parser, no web framework
beyond routing. A staff dashboard, when there is one, stands beside it in `edge.dashboard`.
"""

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Annotated

import msgspec
import uvicorn
from msgspec import Meta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edge.channel.messages import Touched
from edge.core.screen import Offer
from edge.errors import SettingsWrong
from edge.kiosk.code import draw_code
from edge.kiosk.door import Door
from edge.kiosk.events import EventStream
from edge.kiosk.follow import follow_agent
from edge.kiosk.hub import ScreenHub
from edge.kiosk.options import KioskOptions
from edge.kiosk.texts import PageTexts, load_page_texts
from edge.ports import Watchdog
from shared.decoding import UNREADABLE

CONNECTIONS_MAX = 64  # idle keep-alive connections count too; a screen needs two
REQUEST_HEAD_BYTES_MAX = 16 * 1024
GOODBYE_S = 2  # streams end within a moment; a stalled one is not waited for
ALIVE_S = 2.0
TAP_PATH = "/touch"
TAP_BYTES_MAX = 256  # a serial, a word and a place
JSON = "application/json"
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/kiosk.css": ("kiosk.css", "text/css; charset=utf-8"),
    "/static/kiosk.js": ("kiosk.js", "text/javascript; charset=utf-8"),
    "/static/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}

log = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What /healthz says: whether the agent is connected and how many screens watch."""

    agent: bool
    screens: int


class Tap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page says of a tap: on which screen, on what, and for a picked nickname at which place."""

    serial: Annotated[int, Meta(ge=0, le=2**53)]
    offer: Offer
    choice: Annotated[int, Meta(ge=0, le=99)] | None = None

    @property
    def touched(self) -> Touched:
        """As the agent is told."""
        return Touched(serial=self.serial, offer=self.offer, choice=self.choice)


def kiosk_app(hub: ScreenHub, options: KioskOptions, texts: PageTexts) -> ASGIApp:
    """The page, its files, its texts, the stream and the health answer, all behind the door."""

    async def health(_: Request) -> Response:
        state = Health(agent=hub.has_agent, screens=hub.watchers)
        return Response(msgspec.json.encode(state), status_code=200 if state.agent else 503, media_type=JSON)

    async def words(_: Request) -> Response:
        return Response(encoded_texts, media_type=JSON)

    async def code(_: Request) -> Response:
        shown = hub.current().screen.code
        if shown is None:
            return Response(status_code=404)
        return Response(draw_code(shown), media_type="image/svg+xml")

    async def tap(request: Request) -> Response:
        touched = await _read_tap(request)
        if not isinstance(touched, Touched):
            return touched
        if not hub.has_agent:
            return Response("the agent is away\n", status_code=503)
        return Response(status_code=204 if hub.tap(touched) else 409)

    files_by_path = {path: _read(name) for path, (name, _) in ASSETS.items()}
    encoded_texts = msgspec.json.encode(texts)
    edition = hashlib.sha256(b"".join((*files_by_path.values(), encoded_texts))).hexdigest()
    routes = [
        *(_asset(path, body, ASSETS[path][1]) for path, body in files_by_path.items()),
        Route("/texts", words),
        Route("/healthz", health),
        Route("/events", EventStream(hub, options.heartbeat_s, edition)),
        Route("/code.svg", code),
        *((Route(TAP_PATH, tap, methods=["POST"]),) if options.touch else ()),
    ]
    hosts = (options.host, *options.allowed_hosts)
    return Door(Starlette(routes=routes), hosts, TAP_PATH if options.touch else None)


async def run_web(options: KioskOptions, watchdog: Watchdog, listener: socket.socket | None = None) -> None:
    """Serves until cancelled, then lets every page go and closes the listener.

    `listener` is a listening socket made elsewhere (a supervisor's, a test's). Raises: SettingsWrong when a language
    has no texts or the address cannot be taken.
    """
    hub = ScreenHub(options.streams_max, time.monotonic)
    texts = load_page_texts(options.languages, options.privacy_address)
    await serve(kiosk_app(hub, options, texts), hub, options, watchdog, listener or listen(options))


async def serve(
    app: ASGIApp, hub: ScreenHub, options: KioskOptions, watchdog: Watchdog, listener: socket.socket
) -> None:
    """Serves the application and follows the agent until cancelled."""
    # Accepted sockets inherit both. The kernel forgets a reader that stalls, and holds no small event back: asyncio
    # sets NODELAY only on sockets made with an explicit protocol, and without it an answer took 44 ms instead of 1.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(options.stalled_max_s * 1000))
    server = _Server(_server_settings(app))
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow_agent(hub, options.agent_socket))
        beating = tasks.create_task(_beat(watchdog))
        try:
            await _serve_until_cancelled(server, hub, listener)
        finally:
            following.cancel()
            beating.cancel()


def listen(options: KioskOptions) -> socket.socket:
    """A socket listening where the options say. Raises: SettingsWrong."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=CONNECTIONS_MAX)
    except OSError as taken:
        raise SettingsWrong(f"the kiosk page cannot listen on {options.host} port {options.port}: {taken}") from taken


class _Server(uvicorn.Server):
    """uvicorn without its own ideas about signals: the process's root owns them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_settings(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=REQUEST_HEAD_BYTES_MAX,
        timeout_graceful_shutdown=GOODBYE_S,
    )


async def _serve_until_cancelled(server: uvicorn.Server, hub: ScreenHub, listener: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        hub.close()
        server.should_exit = True
        await serving


async def _beat(watchdog: Watchdog) -> None:
    watchdog.ready()
    while True:
        watchdog.alive()
        await asyncio.sleep(ALIVE_S)


async def _read_tap(request: Request) -> Touched | Response:
    """The tap in the request, or the answer that says what is wrong with it."""
    if request.headers.get("content-type") != JSON:
        return Response("not JSON\n", status_code=415)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > TAP_BYTES_MAX:
            return Response("too much for a tap\n", status_code=413)
    try:
        return msgspec.json.decode(body, type=Tap).touched
    except UNREADABLE:
        return Response("not a tap\n", status_code=400)


def _read(name: str) -> bytes:
    return (files("edge.kiosk") / "page" / name).read_bytes()


def _asset(path: str, body: bytes, media_type: str) -> Route:
    async def asset(_: Request) -> Response:
        return Response(body, media_type=media_type)

    return Route(path, asset)

"""What every request passes before anything else: only GET, only under a name this kiosk is known by.

The host check keeps a strange web page from reading the kiosk through a name it has pointed at it (DNS rebinding);
comparing Origin with Host would not, because both carry the stranger's name then. Where the screen can be tapped, one
path takes POST, and there Origin must be Host as well: a strange page that knows the kiosk's right name taps nothing.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
)


class Door:
    """Lets through what may pass and puts the protective headers on every answer, refusals included."""

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str], post_path: str | None = None) -> None:
        self._app = app
        self._post_path = post_path
        self._allowed = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes the request on."""
        assert scope["type"] == "http", "the server speaks neither lifespan nor websocket"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(dict(HEADERS))
            await send(message)

        await self._choose(scope)(scope, receive, send_with_headers)

    def _choose(self, scope: Scope) -> ASGIApp:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._knows(hosts[0].decode("latin-1")):
            return PlainTextResponse("not a name of this kiosk\n", status_code=421)
        if self._post_path is not None and scope["path"] == self._post_path:
            return self._choose_post(scope, hosts[0])
        if scope["method"] != "GET":
            return PlainTextResponse("only GET\n", status_code=405, headers={"allow": "GET"})
        return self._app

    def _choose_post(self, scope: Scope, host: bytes) -> ASGIApp:
        if scope["method"] != "POST":
            return PlainTextResponse("only POST\n", status_code=405, headers={"allow": "POST"})
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) != 1 or origins[0].lower() != b"http://" + host.lower():
            return PlainTextResponse("not from this page\n", status_code=403)
        return self._app

    def _knows(self, host_header: str) -> bool:
        host = _without_port(host_header).lower()
        return host == "localhost" or host in self._allowed or _is_loopback(host)


def _without_port(host_header: str) -> str:
    """The host of `host`, `host:port`, `[v6]` or `[v6]:port`; an empty text for anything else."""
    if host_header.startswith("["):
        host, closed, port = host_header[1:].partition("]")
        return host if closed and _is_port(port) else ""
    host, colon, port = host_header.partition(":")
    return host if _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    digits = text.removeprefix(":")
    return text == "" or (text.startswith(":") and digits.isascii() and digits.isdecimal() and len(digits) <= 5)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""A bound on request bodies, below the framework: a body that is too large is refused before it is in memory.

A declared length is believed when it says too much; otherwise the bytes are counted as they come, since a chunked
body declares nothing and a sender may lie.
"""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.kit.problems import BODY_TOO_LARGE, describe, respond

BODY_BYTES_MAX = 1024 * 1024


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `bytes_max`; the outermost layer but for measuring."""

    def __init__(self, app: ASGIApp, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request, or refuses its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _declared_length(scope) > self._bytes_max:
            await _refuse(scope, receive, send)
        else:
            await _Counted(self._app, self._bytes_max, scope, receive, send).serve()


class _Counted:
    """One request whose body is counted. Once over the bound the app hears a disconnect and is not heard itself."""

    def __init__(self, app: ASGIApp, bytes_max: int, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._left = bytes_max
        self._scope = scope
        self._receive = receive
        self._send = send
        self._is_refused = False
        self._has_answered = False

    async def serve(self) -> None:
        """Runs the app; the disconnect it was told of is no news."""
        try:
            await self._app(self._scope, self._read, self._write)
        except ClientDisconnect:
            if not self._is_refused:
                raise

    async def _read(self) -> Message:
        if self._is_refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left >= 0:
            return message
        self._is_refused = True
        if not self._has_answered:
            await _refuse(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def _write(self, message: Message) -> None:
        if not self._is_refused:
            self._has_answered = True
            await self._send(message)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """The problem, and the end of the connection: what is still being sent is nobody's to read."""
    await respond(describe(BODY_TOO_LARGE), {"Connection": "close"})(scope, receive, send)


def _declared_length(scope: Scope) -> int:
    """The Content-Length, or 0 where there is none to believe."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0

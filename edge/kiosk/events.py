"""The stream of screens to one page, as server-sent events: `id` is the agent's serial, the data one JSON object.

Written on ASGI itself, because a stream that a slow reader holds up must still end with the process and with the
reader; a response class would hide both.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from edge.kiosk.hub import PageScreen, ScreenHub, Watch

RETRY_MS = 1000
ALIVE = b": alive\nevent: alive\ndata:\n\n"  # a comment would keep the line open, but the page could not hear it


class EventStream:
    """The ASGI application behind /events. `edition` names the page's files: a page knows by it that it is old."""

    def __init__(self, hub: ScreenHub, heartbeat_s: float, edition: str) -> None:
        self._hub = hub
        self._heartbeat_s = heartbeat_s
        self._hello = f"retry: {RETRY_MS}\nevent: edition\ndata: {edition}\n\n".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the present screen, then every newer one, until the reader goes or the hub closes."""
        with self._hub.watching() as watch:
            if watch is None:
                full = PlainTextResponse("too many screens\n", status_code=503, headers={"retry-after": "5"})
                await full(scope, receive, send)
                return
            listening = asyncio.create_task(_end_with_reader(receive, watch))
            try:
                await self._send_all(send, watch)
            finally:
                listening.cancel()

    async def _send_all(self, send: Send, watch: Watch) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for block in self._blocks(watch):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _blocks(self, watch: Watch) -> AsyncIterator[bytes]:
        yield self._hello + event_of(self._hub.current())
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await watch.wait()
            except TimeoutError:
                yield ALIVE
                continue
            if watch.is_over:
                return
            yield event_of(self._hub.current())


def event_of(shown: PageScreen) -> bytes:
    """One event. JSON has no raw line break, so the data is one line whatever a nickname holds."""
    number = b"" if shown.serial is None else b"id: %d\n" % shown.serial
    return number + b"data: " + msgspec.json.encode(shown) + b"\n\n"


async def _end_with_reader(receive: Receive, watch: Watch) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.end()

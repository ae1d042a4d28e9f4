"""A body over the bound is refused before it is in memory, however it is sent."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from cloud.kit.body_limit import BODY_BYTES_MAX, BodyLimit
from cloud.kit.problems import install_problems
from tests.cloud.service import Client


def _app() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(BodyLimit)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/parsed")
    def parsed(numbers: list[int]) -> int:
        return len(numbers)

    return app


async def _chunks(size: int) -> AsyncIterator[bytes]:
    while size > 0:
        yield b"x" * min(size, 65536)
        size -= 65536


@pytest.mark.parametrize("path", ["/length", "/parsed"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_one_byte_too_many_is_refused(path: str, is_declared: bool) -> None:
    size = BODY_BYTES_MAX + 1
    client = Client(_app())
    answer = client.post(path, content=b"x" * size if is_declared else _chunks(size))
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:doorstep:problem:body-too-large"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("is_declared", [True, False])
def test_the_bound_itself_is_accepted(is_declared: bool) -> None:
    client = Client(_app())
    answer = client.post("/length", content=b"x" * BODY_BYTES_MAX if is_declared else _chunks(BODY_BYTES_MAX))
    assert answer.json() == BODY_BYTES_MAX


@pytest.mark.parametrize("declared", [None, b"100", b"-5", b"\xb2"])
def test_a_hundred_megabytes_are_never_read(declared: bytes | None) -> None:
    """The sender keeps sending; only the first bytes over the bound are ever taken from it, whatever was declared."""
    taken = 0
    answered: list[Message] = []

    async def receive() -> Message:
        nonlocal taken
        taken += 65536
        return {"type": "http.request", "body": b"x" * 65536, "more_body": taken < 100 * 1024 * 1024}

    async def send(message: Message) -> None:
        answered.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/length",
        "raw_path": b"/length",
        "query_string": b"",
        "root_path": "",
        "headers": [] if declared is None else [(b"content-length", declared)],
        "server": ("localhost", 80),
        "client": ("localhost", 1),
    }
    asyncio.run(_app()(scope, receive, send))
    assert taken <= BODY_BYTES_MAX + 65536
    assert [message["status"] for message in answered if message["type"] == "http.response.start"] == [413]
    assert sum(message["type"] == "http.response.body" for message in answered) == 1


def test_an_answer_that_has_begun_is_cut_and_not_answered_twice() -> None:
    answered: list[Message] = []

    async def early(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] == "http.request":
            pass
        await send({"type": "http.response.body", "body": b"too late"})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(message: Message) -> None:
        answered.append(message)

    asyncio.run(BodyLimit(early)({"type": "http", "headers": []}, receive, send))
    assert [message["type"] for message in answered] == ["http.response.start"]


@pytest.mark.parametrize("size", [0, BODY_BYTES_MAX + 1])
def test_an_app_that_minds_the_disconnect_is_not_our_failure(size: int) -> None:
    """It raises in both cases: when we hung up on the sender that is the end of it, else it is the server's to know."""
    answered: list[Message] = []

    async def minding(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass
        raise ClientDisconnect

    chunks: Iterator[Message] = iter([{"type": "http.request", "body": b"x" * size}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(chunks)

    async def send(message: Message) -> None:
        answered.append(message)

    def serve() -> None:
        asyncio.run(BodyLimit(minding)({"type": "http", "headers": []}, receive, send))

    if size:
        serve()
        assert answered[0]["status"] == 413
    else:
        with pytest.raises(ClientDisconnect):
            serve()
        assert answered == []


def test_other_connections_pass() -> None:
    served: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        served.append(scope["type"])

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(_message: Message) -> None:
        return

    asyncio.run(BodyLimit(app)({"type": "lifespan"}, receive, send))
    assert served == ["lifespan"]

"""`Idempotency-Key`: a write that is sent again is answered again and not done again.

The key is remembered in the transaction of the write itself, so there is no moment at which one exists without the
other. Only answers of writes that committed are kept; one that failed may be tried again under its key. An answer
that carries a secret must not go through here: it would be kept readable.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Principal
from cloud.kit.database import is_postgresql
from cloud.kit.tables import idempotency_key

KEY_LENGTH_MAX = 128
KEPT = timedelta(days=7)  # longer than any client retries; older answers go with the next write

KEY_REUSED: Final = ProblemKind(
    name="idempotency-key-reused", status=422, title="The idempotency key was used for another request"
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=KEY_LENGTH_MAX,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of the caller's choice that is new for each write and the same for each retry of it.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """A write by whom, under which key (None: not idempotent), and the digest of method, path, query and body."""

    principal: Principal
    key: str | None
    digest: bytes
    at: datetime


def write_request(
    allowed: Callable[..., Principal], now: Callable[[], datetime]
) -> Callable[..., Awaitable[WriteRequest]]:
    """A dependency that lets in whom `allowed` (from `Gate.requires`) lets in, and reads what makes a write unique."""

    async def read(
        request: Request,
        principal: Annotated[Principal, Depends(allowed)],
        idempotency_key: IdempotencyKey = None,
    ) -> WriteRequest:
        line = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
        digest = hashlib.sha256(line + await request.body()).digest()
        return WriteRequest(principal=principal, key=idempotency_key, digest=digest, at=now())

    return read


def answer_once(
    connection: Connection, request: WriteRequest, write: Callable[[], BaseModel], *, status: int = 200
) -> Response:
    """The answer to the write: made by `write` the first time, the remembered one after that.

    Needs the writing transaction that `write` uses. A second request that arrives while the first is under way waits
    for it. Raises: ProblemError (KEY_REUSED).
    """
    if request.key is None:
        return _response(status, write().model_dump_json().encode())
    if not _claim(connection, request, request.key):
        return _remembered(connection, request, request.key)
    body = write().model_dump_json().encode()
    c = idempotency_key.c
    connection.execute(
        idempotency_key.update()
        .where(c.principal == request.principal.token_id, c.key == request.key)
        .values(status=status, body=body)
    )
    connection.execute(idempotency_key.delete().where(c.created_at < request.at - KEPT))
    return _response(status, body)


def _claim(connection: Connection, request: WriteRequest, key: str) -> bool:
    """True when the key is ours to answer; waits for another transaction that is claiming it."""
    insert = postgresql_insert if is_postgresql(connection) else sqlite_insert
    row = {
        "principal": request.principal.token_id,
        "key": key,
        "request_digest": request.digest,
        "created_at": request.at,
        "status": 0,
        "body": b"",
    }
    claim = insert(idempotency_key).values(row).on_conflict_do_nothing().returning(idempotency_key.c.key)
    return connection.execute(claim).one_or_none() is not None


def _remembered(connection: Connection, request: WriteRequest, key: str) -> Response:
    c = idempotency_key.c
    kept = connection.execute(
        select(c.request_digest, c.status, c.body).where(c.principal == request.principal.token_id, c.key == key)
    ).one()
    if kept.request_digest != request.digest:
        raise ProblemError(KEY_REUSED)
    return _response(kept.status, kept.body, {"Idempotency-Replayed": "true"})


def _response(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")

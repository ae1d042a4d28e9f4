"""A small service for tests of HTTP: an app on the given engine with problems, a clock that stands, and tokens.

The client is httpx on the app itself, one event loop a request; Starlette's own test client wants a package that is
not among our dependencies.
"""

import asyncio
from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine
from starlette.types import ASGIApp

from cloud.kit.auth import Gate, Scope, issue_token
from cloud.kit.database import writing
from cloud.kit.problems import install_problems
from shared.ids import TenantId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def standing_clock() -> datetime:
    """Always the same instant."""
    return NOW


def create_gate(engine: Engine) -> Gate:
    """A gate whose clock stands at NOW."""
    return Gate(engine, standing_clock)


class Client:
    """Sends requests to an app. A failure of the app is its answer, as over a real wire."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.headers: dict[str, str] = {}

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> httpx.Response:
        """The answer to one request."""

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://cloud") as client:
                return await client.request(
                    method, path, params=params, headers=self.headers | dict(headers or {}), json=json, content=content
                )

        return asyncio.run(send())

    def get(
        self, path: str, *, params: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer to a GET."""
        return self.request("GET", path, params=params, headers=headers)

    def post(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> httpx.Response:
        """The answer to a POST."""
        return self.request("POST", path, headers=headers, json=json, content=content)


def create_client(routers: Sequence[APIRouter]) -> Client:
    """A client of an app with these routers."""
    app = FastAPI()
    install_problems(app)
    for router in routers:
        app.include_router(router)
    return Client(app)


def bearer(engine: Engine, *scopes: Scope, tenant: str | None = None, number: int = 1) -> dict[str, str]:
    """The header of a fresh token; tokens with other numbers are other tokens."""
    with writing(engine) as connection:
        token = issue_token(
            connection,
            entropy=number.to_bytes(32, "big"),
            name=f"token {number}",
            scopes=frozenset(scopes),
            tenant=None if tenant is None else TenantId(tenant),
            now=NOW,
            lifetime=timedelta(days=1),
        )
    return {"Authorization": f"Bearer {token.secret}"}

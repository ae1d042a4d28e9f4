"""What Prometheus reads. A registry is made, not found: nothing global, so two services in one test do not mix.

Labels take values from closed sets only (routes, methods, outcomes): a label with a member or a token in it would be
both a leak and a memory leak.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.kit.auth import Gate, Principal
from cloud.kit.auth import Scope as TokenScope

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """A registry with the HTTP measures on it; a domain adds its own to `registry`."""

    registry: CollectorRegistry
    requests: Counter
    request_seconds: Histogram


def create_metrics() -> Metrics:
    """A fresh registry."""
    registry = CollectorRegistry()
    labels = ("method", "route")
    return Metrics(
        registry=registry,
        requests=Counter("doorstep_http_requests", "Answered requests.", (*labels, "status"), registry=registry),
        request_seconds=Histogram(
            "doorstep_http_request_seconds", "From request to answer.", labels, registry=registry, buckets=SECONDS
        ),
    )


def metrics_router(registry: CollectorRegistry, gate: Gate) -> APIRouter:
    """`GET /metrics`, for tokens with the metrics scope."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response)
    def read_metrics(_: Annotated[Principal, Depends(gate.requires(TokenScope.METRICS))]) -> Response:
        """The measures in Prometheus' text format."""
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


class MeasureRequests:
    """ASGI middleware that counts and times requests by their route's pattern, never by their path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._metrics = metrics
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request and takes note of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            labels = (_method(scope), _route(scope))
            self._metrics.requests.labels(*labels, str(status)).inc()
            self._metrics.request_seconds.labels(*labels).observe(self._monotonic() - began)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _route(scope: Scope) -> str:
    """The pattern of the route that was taken; one label for everything that is no route of ours."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else "unknown"

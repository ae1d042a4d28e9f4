"""What Prometheus reads: requests by route pattern, and nothing a stranger could fill it with."""

import itertools

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from cloud.kit.auth import Scope
from cloud.kit.metrics import MeasureRequests, create_metrics, metrics_router
from cloud.kit.problems import install_problems
from tests.cloud.service import Client, bearer, create_gate


def test_requests_are_counted_by_route(engine: Engine) -> None:
    metrics = create_metrics()
    ticks = itertools.count(0, 0.25)
    router = APIRouter()

    @router.get("/things/{thing}")
    def read(thing: str) -> str:
        return thing

    app = FastAPI()
    install_problems(app)
    app.include_router(router)
    app.include_router(metrics_router(metrics.registry, create_gate(engine)))
    app.add_middleware(MeasureRequests, metrics=metrics, monotonic=lambda: next(ticks))
    client = Client(app)
    for path in ("/things/1", "/things/2", "/nowhere/3", "/metrics"):
        client.get(path)
    client.request("BREW", "/things/1")
    text = client.get("/metrics", headers=bearer(engine, Scope.METRICS)).text
    assert 'doorstep_http_requests_total{method="GET",route="/things/{thing}",status="200"} 2.0' in text
    assert 'doorstep_http_requests_total{method="GET",route="unknown",status="404"} 1.0' in text
    assert 'doorstep_http_requests_total{method="GET",route="/metrics",status="401"} 1.0' in text
    assert 'method="other"' in text
    assert 'doorstep_http_request_seconds_sum{method="GET",route="/things/{thing}"} 0.5' in text
    assert "BREW" not in text


def test_two_registries_do_not_mix() -> None:
    first, second = create_metrics(), create_metrics()
    first.requests.labels("GET", "/", "200").inc()
    assert (
        second.registry.get_sample_value(
            "doorstep_http_requests_total", {"method": "GET", "route": "/", "status": "200"}
        )
        is None
    )

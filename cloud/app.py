"""Composition roots: where the clock, randomness and everything built on them come together.

Nothing is decided here. Heavy imports wait inside the functions that need them, so that asking for help is quick.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloud import VERSION
from cloud.cli.admin import admin_commands
from cloud.cli.backup import add_backup
from cloud.cli.campaigns import campaign_commands
from cloud.cli.claims import claim_commands, receipt_commands
from cloud.cli.coupons import coupon_commands
from cloud.cli.demo import DemoTools, demo_commands
from cloud.cli.devices import add_claim_code, device_commands
from cloud.cli.documents import add_documents
from cloud.cli.fleet import add_simulate_fleet
from cloud.cli.ledger import add_verify
from cloud.cli.place import Place, Tools
from cloud.cli.serve import ServeOptions, add_serve
from cloud.cli.setup import add_init
from cloud.cli.work import WorkOptions, add_work
from cloud.config import Config, SettingUnusable, child_environment, read_environment
from cloud.errors import CloudError
from shared.brokers import BrokerAddress, BrokerPlace, MqttVersion, parse_addresses
from shared.policy import CERTIFICATE_AGE_MAX

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy import Engine

    from cloud.broker.client import BrokerClient
    from cloud.broker.ingest import Ingest
    from cloud.kit.metrics import Metrics
    from cloud.kit.services import Services

NEWS_EVERY_S: Final = 2.0  # how soon a kiosk that is online hears of new terms, denials and revocations
SWEEP_EVERY: Final = timedelta(days=1)
SESSION_KEPT_S: Final = 60  # a restart of the service; what comes meanwhile waits at the broker
RETURN_EVERY: Final = timedelta(hours=1)  # points that have lain at a kiosk for a month can wait that long
GRACE_S: Final = (
    2  # for requests under way when the service is told to stop; a browser that stays connected gets no more
)

log = logging.getLogger(__name__)


def main() -> int:
    """Runs the command line; what goes wrong and has a name becomes one line and exit code 1."""
    try:
        compose(read_environment(), clock=_now, random=os.urandom)(standalone_mode=True)
    except CloudError as error:
        typer.echo(f"doorstep-cloud: {error}", err=True)
        return 1
    return 0


def compose(config: Config, *, clock: Callable[[], datetime], random: Callable[[int], bytes]) -> typer.Typer:
    """All commands, under that clock and with that randomness."""
    tools = Tools(place=config.place, clock=clock, random=random, certificate_life=config.certificate_life)
    commands = typer.Typer(help="The cloud of Doorstep.", no_args_is_help=True, pretty_exceptions_enable=False)
    add_init(commands, tools, broker_port=config.serve.broker_port)
    add_serve(commands, config.serve, lambda options: serve(tools, options))
    add_work(commands, config.serve, lambda options: work(tools, options))
    commands.add_typer(admin_commands(tools), name="admin")
    add_claim_code(commands, tools)
    commands.add_typer(campaign_commands(tools), name="campaigns")
    commands.add_typer(claim_commands(tools), name="claims")
    commands.add_typer(receipt_commands(tools), name="receipt")
    commands.add_typer(device_commands(tools), name="devices")
    commands.add_typer(coupon_commands(tools), name="coupons")
    add_verify(commands, tools)
    reached = config.serve.broker_host or "127.0.0.1"
    add_simulate_fleet(commands, tools, broker_host=reached, broker_port=config.serve.broker_port)
    add_backup(commands, tools)
    add_documents(commands, version=VERSION, describe_api=lambda: describe_api(tools))
    demo = DemoTools(home=config.demo_home, environment=child_environment, random=random)
    commands.add_typer(demo_commands(demo), name="demo")
    return commands


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerIdentity:
    """Who a process is to the broker, and how long it is waited for when it is gone.

    The service's own session outlives a restart, because it may be the only worker. A further worker's ends with its
    connection: a share that is kept for somebody who is dead is kept from those who live.
    """

    name: str
    certificate: Path
    key: Path
    session_expiry_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the API needs besides its services: where devices find the broker, whom to tell that devices changed,
    whether the broker is there (None: this service has none), and how long a device's certificate is good."""

    broker: BrokerPlace
    on_devices_changed: Callable[[], None]
    is_broker_up: Callable[[], bool | None]
    certificate_life: timedelta = CERTIFICATE_AGE_MAX


def create_app(services: Services, metrics: Metrics, surroundings: Surroundings) -> FastAPI:
    """The whole API with its pages."""
    import time

    from fastapi import FastAPI

    from cloud.campaigns import api as campaigns
    from cloud.catalogue import api as catalogue
    from cloud.claims import api as claims
    from cloud.devices import api as devices
    from cloud.kit.auth import Gate
    from cloud.kit.body_limit import BodyLimit
    from cloud.kit.docs import install_docs
    from cloud.kit.health import health_router
    from cloud.kit.metrics import MeasureRequests, metrics_router
    from cloud.kit.problems import install_problems
    from cloud.ledger.api import create_router as ledger_router
    from cloud.members import api as members
    from cloud.members import page

    app = FastAPI(title="Doorstep", version=VERSION, docs_url=None, redoc_url=None)
    gate = Gate(services.engine, services.clock)
    for router in (
        catalogue.router(services),
        members.router(services),
        campaigns.router(services),
        claims.router(services),
        claims.receipts_router(services),
        devices.router(
            services,
            broker=surroundings.broker,
            on_devices_changed=surroundings.on_devices_changed,
            certificate_life=surroundings.certificate_life,
        ),
        ledger_router(services.engine, gate),
        metrics_router(metrics.registry, gate),
        health_router(services.engine, surroundings.is_broker_up),
        page.router(),
    ):
        app.include_router(router)
    install_docs(app)
    install_problems(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(MeasureRequests, metrics=metrics, monotonic=time.monotonic)
    return app


def describe_api(tools: Tools) -> Mapping[str, object]:
    """The OpenAPI document. It needs no installation: keys and database are made up and thrown away unread."""
    from cloud.kit.database import open_engine
    from cloud.kit.keyring import create_keyring
    from cloud.kit.metrics import create_metrics
    from cloud.kit.services import Services

    with tempfile.TemporaryDirectory() as folder:
        keyring = create_keyring(Path(folder) / "keys", ["localhost"], tools.clock())
        engine = open_engine(f"sqlite:///{folder}/none.db")
        services = Services(engine=engine, keyring=keyring, clock=tools.clock, random=tools.random)
        nowhere = Surroundings(
            broker=BrokerPlace(first=BrokerAddress(host="localhost", port=8883)),
            on_devices_changed=lambda: None,
            is_broker_up=lambda: None,
            certificate_life=tools.certificate_life,
        )
        return create_app(services, create_metrics(), nowhere).openapi()


def serve(tools: Tools, options: ServeOptions) -> None:
    """Serves until SIGINT or SIGTERM: HTTPS, and the broker's messages where there is a broker."""
    from cloud.cli.access import refresh_access
    from cloud.kit.keyring import renew_servers
    from cloud.kit.logs import set_up_logs
    from cloud.kit.metrics import create_metrics
    from cloud.kit.services import Services

    reached = (
        _broker_place(options.broker_host, options.broker_port, options.mqtt_version) if options.broker_host else None
    )
    seen = _broker_place(
        options.device_broker_host or options.broker_host or options.names[0], options.broker_port, options.mqtt_version
    )
    set_up_logs(sys.stderr, options.log_level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its own plugins
    _end_on_signals()
    place = replace(tools.place, broker_pid_file=options.broker_pid_file)
    keyring = place.open_keyring()
    renew_servers(place.keys, options.names, tools.clock())
    metrics = create_metrics()
    with place.open_database() as engine:
        services = Services(engine=engine, keyring=keyring, clock=tools.clock, random=tools.random)

        def tell_broker() -> None:
            refresh_access(engine, keyring, place, tools.clock())

        tell_broker()
        with _messages(services, metrics, place, reached) as client:
            surroundings = Surroundings(
                broker=seen,
                on_devices_changed=tell_broker,
                is_broker_up=lambda: None if client is None else client.is_up,
                certificate_life=tools.certificate_life,
            )
            _listen(create_app(services, metrics, surroundings), place, options)


def work(tools: Tools, options: WorkOptions) -> None:
    """Takes a share of the broker's messages until SIGINT or SIGTERM; a worker is as good as any other."""
    from cloud.broker.mosquitto import worker_name
    from cloud.cli.access import refresh_access
    from cloud.kit.keyring import KeyFiles, renew_worker
    from cloud.kit.logs import set_up_logs
    from cloud.kit.metrics import create_metrics
    from cloud.kit.services import Services

    set_up_logs(sys.stderr, options.log_level)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _end_on_signals()
    place, name = tools.place, worker_name(options.number)
    keyring = place.open_keyring()
    is_new = renew_worker(place.keys, name, tools.clock())
    files = KeyFiles(folder=place.keys)
    client = BrokerIdentity(
        name=name,
        certificate=files.worker_certificate(name),
        key=files.worker_key(name),
        session_expiry_s=0,
    )
    with place.open_database() as engine:
        if is_new:
            refresh_access(engine, keyring, place, tools.clock())
        services = Services(engine=engine, keyring=keyring, clock=tools.clock, random=tools.random)
        broker = _broker_place(options.broker_host, options.broker_port, MqttVersion.V5)
        with _connected(services, create_metrics(), place, broker, client) as connected:
            try:
                threading.Event().wait()
            finally:
                handled = connected.counters
                log.info("the worker ends", extra={"batches": handled.batches, "failures": handled.failures})


def _broker_place(hosts: str, port: int, version: MqttVersion) -> BrokerPlace:
    """Raises: SettingUnusable when these are no addresses."""
    addresses = parse_addresses(hosts, port)
    if addresses is None:
        raise SettingUnusable(
            "the broker's host", "a name or address, or several with commas, each with a port or none"
        )
    return BrokerPlace.of(addresses, version)


def _listen(app: FastAPI, place: Place, options: ServeOptions) -> None:
    import uvicorn

    from cloud.kit.keyring import KeyFiles

    files = KeyFiles(folder=place.keys)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        ssl_certfile=files.server_certificate,
        ssl_keyfile=files.server_key,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,  # requests are counted and timed; a line each would name members
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def _messages(
    services: Services, metrics: Metrics, place: Place, broker: BrokerPlace | None
) -> AbstractContextManager[BrokerClient | None]:
    """The broker's client, up as long as the context lasts; None where there is no broker."""
    if broker is None:
        return nullcontext(None)
    from cloud.broker.mosquitto import CLOUD_NAME
    from cloud.kit.keyring import KeyFiles

    files = KeyFiles(folder=place.keys)
    own = BrokerIdentity(
        name=CLOUD_NAME,
        certificate=files.client_certificate,
        key=files.client_key,
        session_expiry_s=SESSION_KEPT_S,
    )
    return _connected(services, metrics, place, broker, own)


@contextmanager
def _connected(
    services: Services, metrics: Metrics, place: Place, broker: BrokerPlace, own: BrokerIdentity
) -> Iterator[BrokerClient]:
    from random import SystemRandom

    from cloud.broker.client import BrokerClient, BrokerOptions
    from cloud.broker.ingest import Ingest
    from cloud.broker.measures import measure_broker
    from cloud.kit.keyring import KeyFiles

    files = KeyFiles(folder=place.keys)
    ingest = Ingest(services.engine, services.keyring, clock=services.clock, registry=metrics.registry)
    reached = BrokerOptions(
        host=broker.first.host,
        port=broker.first.port,
        others=broker.others,
        protocol=broker.mqtt,
        ca=files.ca_certificate,
        certificate=own.certificate,
        key=own.key,
        client_id=own.name,
        session_expiry_s=own.session_expiry_s,
    )
    with BrokerClient(reached, ingest, random=SystemRandom()) as client:
        measure_broker(metrics.registry, client)
        with _rounds(services.engine, ingest, client, services.clock):
            yield client


@contextmanager
def _rounds(engine: Engine, ingest: Ingest, client: BrokerClient, clock: Callable[[], datetime]) -> Iterator[None]:
    """What nobody asks for: news for kiosks every few seconds, every hour what allotments that are over left goes back
    into their budgets, and once a day the rosters are swept."""
    from sqlalchemy.exc import SQLAlchemyError

    from cloud.campaigns.actions import return_ended
    from cloud.members.actions import sweep_rosters, sweep_waiting_templates

    stopping = threading.Event()

    def go_round() -> None:
        swept_at = clock()
        returned_at = swept_at - RETURN_EVERY
        while not stopping.wait(NEWS_EVERY_S):
            try:
                for message in ingest.bring_news() if client.is_up else ():
                    client.publish(message)
                if clock() - returned_at >= RETURN_EVERY:
                    returned_at = clock()
                    points = return_ended(engine, returned_at)
                    if points:
                        log.info("points went back into their budgets", extra={"points": points})
                if clock() - swept_at >= SWEEP_EVERY:
                    swept_at = clock()
                    log.info("rosters swept", extra={"removed": sweep_rosters(engine, swept_at)})
                    dropped = sweep_waiting_templates(engine, swept_at)
                    log.info("templates that waited too long swept", extra={"removed": dropped})
            except SQLAlchemyError:
                log.exception("a round failed; the next one tries again")

    thread = threading.Thread(target=go_round, name="rounds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _end_on_signals() -> None:
    """SIGTERM ends the process the way SIGINT does: through every context that is open."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _now() -> datetime:
    return datetime.now(UTC)

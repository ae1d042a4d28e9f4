"""Composition roots of the device, one a process, and of its command line.

Here and nowhere else it is decided which clock, which camera, which randomness and which folder a process works
with. Each root imports its own libraries: the agent loads no numpy, capture no MQTT. `python -m edge.app NAME` is a
process without the command line's libraries, which is how `run all` and the units start it.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from edge.config import (
    Identity,
    Places,
    find_broker,
    load_identity,
    load_places,
    load_settings,
    notify_address,
    write_identity,
)
from edge.errors import EdgeFault, SettingsWrong
from edge.hardware.parent import end_with_parent
from edge.hardware.watchdog import ServiceManager

if TYPE_CHECKING:
    from edge.camera.options import CameraOptions
    from edge.cli.group import Vault
    from edge.link.provisioning import Provisioned

SOFTWARE = "0.1.0"
ALL = "all"
SUPERVISED = "supervised"
log = logging.getLogger("edge")


class ProcessName(StrEnum):
    """The device's own processes, in the order in which `run all` starts them."""

    AGENT = "agent"
    CAPTURE = "capture"
    VISION = "vision"
    LINK = "link"
    WEB = "web"


def run_process(name: ProcessName, places: Places) -> None:
    """Runs one process until it is told to stop. Raises: EdgeFault."""
    places.run.mkdir(parents=True, exist_ok=True, mode=0o750)
    roots: dict[ProcessName, Callable[[Places], None]] = {
        ProcessName.AGENT: _run_agent,
        ProcessName.CAPTURE: _run_capture,
        ProcessName.VISION: _run_vision,
        ProcessName.LINK: _run_link,
        ProcessName.WEB: _run_web,
    }
    roots[name](places)


def _run_agent(places: Places) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge.core.device_events import DeviceEventKind
    from edge.db.aside import Aside
    from edge.db.database import Database
    from edge.db.device_events import DeviceEvents
    from edge.db.snapshots import Snapshots
    from edge.flow.agent import Agent
    from edge.flow.entrance import Cellar, Entrance
    from edge.flow.housekeeping import make_room
    from edge.flow.recover import Ladder, open_soundly
    from edge.flow.serve import AgentServer, Line, Screens, Sight
    from edge.hardware.clock import MachineClock
    from shared.ids import DeviceId
    from shared.signing import load_public_key

    identity = load_identity(places)
    try:
        root_key = load_public_key(bytes.fromhex(identity.root_public))
        signing_key = Ed25519PrivateKey.from_private_bytes((places.keys / "signing.key").read_bytes())
    except (OSError, ValueError) as unusable:
        raise SettingsWrong(f"{places.home}: a key cannot be used: {unusable}") from unusable
    if root_key is None:
        raise SettingsWrong(f"{places.identity}: root_public is not a key")
    device = DeviceId(identity.device)
    line, screens, sight = Line(), Screens(), Sight()
    settings = load_settings(places)
    clock = MachineClock()
    copies = Snapshots(places.snapshots if settings.snapshots is None else Path(settings.snapshots))
    with (
        Database(places.database) as database,
        contextlib.closing(DeviceEvents(places.device_events)) as events,
        ThreadPoolExecutor(1) as aside_work,
    ):
        aside = Aside(places.database, places.damaged)
        cellar = Cellar(snapshots=copies, aside=aside, events=events, aside_work=aside_work)
        ladder = Ladder(database=database, snapshots=copies, aside=aside, device=device, key=signing_key.public_key())
        make_room(cellar, places.home)
        recovery = open_soundly(ladder, secrets.token_bytes(16), clock.read().wall_ms)
        entrance = Entrance(
            device=device,
            signing_key=signing_key,
            root_key=root_key,
            database=database,
            clock=clock,
            link=line,
            display=screens,
            random_bytes=secrets.token_bytes,
            random_unit=Random().random,  # noqa: S311 - jitter, not a secret
            software=SOFTWARE,
            eyes=sight,
            lan=line,
            lan_address=settings.lan,
            touch=settings.touch,
            languages=settings.languages,
            cellar=cellar,
        )
        if recovery is not None:
            entrance.note(DeviceEventKind.RECOVERED, f"{recovery.how}: {recovery.damage}")
        watchdog = ServiceManager(notify_address())
        server = AgentServer(Agent(entrance), device, line, screens, watchdog, places.agent_socket, sight)
        _run_until_told(server.serve())


def _run_capture(places: Places) -> None:
    from edge.camera.address import open_camera, parse_address
    from edge.camera.capture import CaptureOptions, run_capture
    from edge.camera.options import CameraClock
    from edge.channel.frames import FrameWriter

    settings = load_settings(places)
    options = _camera_options(places)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watchdog = ServiceManager(notify_address())
    camera = open_camera(settings.camera, options, CameraClock(wall_s=time.time))
    with FrameWriter(places.frames, options.frame_bytes_max, is_shared_with_group=True) as writer:
        watchdog.ready()
        run_capture(
            camera,
            writer,
            stop,
            CaptureOptions(has_sensor=parse_address(settings.camera).has_sensor),
            Random(),  # noqa: S311 - back-off jitter
            alive=watchdog.alive,
        )


def _run_vision(places: Places) -> None:
    # One thread each: frames come at leisure, and a grant must not wait for a core that looks for faces.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded
    import cv2

    from edge.channel.frames import FrameReader
    from edge.db.templates import TemplateDatabase
    from edge.vision.decoder import Decoder
    from edge.vision.faces.desk import FaceDesk, FaceSources
    from edge.vision.faces.weights import Weights
    from edge.vision.watch import WatchOptions, run_watch
    from shared.tokens import PREFIX

    cv2.setNumThreads(1)
    watchdog = ServiceManager(notify_address())
    options = WatchOptions(agent_socket=str(places.agent_socket))
    sources = FaceSources(
        weights=Weights(places.models),
        shelf=TemplateDatabase(places.faces),
        keys=places.keys,
        random=secrets.token_bytes,
    )
    with FrameReader(places.frames) as reader, Decoder(wanted=PREFIX) as decoder:
        _run_until_told(run_watch(reader, decoder, watchdog, options, FaceDesk(sources)))


def _run_link(places: Places) -> None:
    from edge.link.cloud import HttpsCloud
    from edge.link.lan import LanOptions
    from edge.link.mqtt import LinkOptions
    from edge.link.pump import Renewals, run_link

    identity, broker = load_identity(places), find_broker(places)
    options = LinkOptions(
        host=broker.first.host,
        port=broker.first.port,
        others=broker.others,
        protocol=broker.mqtt,
        ca=places.keys / "ca.crt",
        certificate=places.keys / "tls.crt",
        key=places.keys / "tls.key",
    )
    settings = load_settings(places)
    lan = LanOptions(
        ca=options.ca,
        certificate=options.certificate,
        key=options.key,
        port=None if settings.lan is None else settings.lan_port,
    )
    renewals = Renewals(
        cloud=HttpsCloud(identity.cloud, options.ca), uptime_ns=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    )
    watchdog = ServiceManager(notify_address())
    _run_until_told(run_link(str(places.agent_socket), options, watchdog, renewals=renewals, lan=lan))


def _run_web(places: Places) -> None:
    from edge.kiosk.options import KioskOptions
    from edge.kiosk.server import run_web

    settings = load_settings(places)
    options = KioskOptions(
        host=settings.screen_host,
        port=settings.screen_port,
        languages=settings.languages,
        privacy_address=settings.privacy_address,
        agent_socket=str(places.agent_socket),
        touch=settings.touch,
    )
    _run_until_told(run_web(options, ServiceManager(notify_address())))


def _camera_options(places: Places) -> "CameraOptions":
    from edge.camera.options import CameraOptions

    settings = load_settings(places)
    return CameraOptions(width=settings.camera_width, height=settings.camera_height, rate_fps=settings.camera_fps)


def _run_until_told(work: Coroutine[object, object, None]) -> None:
    """Runs the work until it ends or SIGTERM or SIGINT asks for a clean end."""

    async def guarded() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(guarded())


# --- all of them ----------------------------------------------------------------------------------------------------

RESTART_FIRST_S = 0.2
RESTART_MAX_S = 10.0
SETTLED_S = 10.0
STOP_S = 5.0
HEAD_START_S = 0.5
"""What a grant does not wait for starts this much later: on two cores the first member is served sooner."""
SERVED_LATER = frozenset({ProcessName.LINK, ProcessName.WEB})


class Supervisor:
    """Keeps the named processes running as children, each restarted with back-off when it ends."""

    def __init__(self, names: tuple[ProcessName, ...], places: Places) -> None:
        self._names = names
        self._places = places
        self._children: dict[ProcessName, subprocess.Popen[bytes]] = {}
        self._started_s: dict[ProcessName, float] = {}
        self._pause_s: dict[ProcessName, float] = dict.fromkeys(names, RESTART_FIRST_S)
        began_s = time.monotonic()
        self._due_s = {name: began_s + (HEAD_START_S if name in SERVED_LATER else 0.0) for name in names}
        self._stop = threading.Event()

    def run(self) -> None:
        """Returns once told to stop, when no child is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._places.run.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            while not self._stop.is_set():
                for name in self._names:
                    self._tend(name, time.monotonic())
                self._stop.wait(0.1)
        finally:
            self._end_all()

    def _tend(self, name: ProcessName, now_s: float) -> None:
        child = self._children.get(name)
        if child is None:
            if now_s >= self._due_s[name]:
                self._start(name, now_s)
            return
        code = child.poll()
        if code is None:
            return
        del self._children[name]
        if now_s - self._started_s[name] > SETTLED_S:
            self._pause_s[name] = RESTART_FIRST_S
        log.warning("process ended", extra={"role": name.value, "exit_code": code})
        self._due_s[name] = now_s + self._pause_s[name]
        self._pause_s[name] = min(self._pause_s[name] * 2, RESTART_MAX_S)

    def _start(self, name: ProcessName, now_s: float) -> None:
        self._children[name] = subprocess.Popen([*_command(name.value, self._places), SUPERVISED])
        self._started_s[name] = now_s

    def _end_all(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline_s = time.monotonic() + STOP_S
        for child in self._children.values():
            try:
                child.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


_PLAIN_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _WithFields(logging.Formatter):
    """One line a record: the constant message and, behind it, its fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN_RECORD}
        return " ".join((super().format(record), *(f"{name}={value}" for name, value in fields.items())))


def _write_logs() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithFields("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def run_named(name: str, home: Path | None) -> None:
    """What `doorstep-edge run` does: one process, or all of them as children."""
    places = load_places(home)
    load_identity(places)
    # A fresh interpreter without the command line's libraries: 30 MB less for as long as it runs.
    os.execv(sys.executable, _command(name, places))  # noqa: S606 - our own module, no shell


def _command(name: str, places: Places) -> list[str]:
    return [sys.executable, "-m", "edge.app", name, str(places.home), str(places.run)]


def main() -> int:
    """The command line. Exit codes: 0 done, 1 not as it should be, 2 wrong words, 70 a fault that was named."""
    from edge.cli import (
        calibrate,
        database,
        enrol,
        events,
        faces,
        group,
        models,
        provision,
        qr,
        recognise,
        root,
        status,
    )

    app = root.commands(tuple(name.value for name in ProcessName), run_named)
    app.add_typer(qr.app, name="qr")
    app.add_typer(database.commands(lambda home: load_places(home).database), name="db")
    app.command("status")(status.command(lambda home: load_places(home).agent_socket))
    app.command("events")(events.command(lambda home: load_places(home).device_events))
    app.command("recognise")(recognise.command(time.time, _models_of))
    app.add_typer(models.commands(_models_of), name="models")
    people = faces.commands(_models_of)
    people.command("enrol")(enrol.command(_models_of, lambda home: load_places(home).agent_socket))
    people.command("calibrate")(calibrate.command(_models_of))
    app.add_typer(people, name="faces")
    app.add_typer(group.commands(lambda home: load_places(home).agent_socket, _vault_of), name="group")
    app.command("provision")(provision.command(lambda home: load_places(home).identity.exists(), _keep))
    return root.run(app)


def _models_of(home: Path | None) -> Path:
    return load_places(home).models


def _vault_of(home: Path | None) -> "Vault":
    from edge.cli.group import Vault

    places = load_places(home)
    identity = load_identity(places)
    return Vault(keys=places.keys, templates=places.faces, store=identity.store, device=identity.device)


def _keep(home: Path | None, cloud: str, provisioned: "Provisioned") -> Path:
    """Writes keys, certificates and, last, the identity that makes them a device; returns the folder."""
    places = load_places(home)
    places.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    certified = provisioned.certified
    for name, content in (
        ("tls.key", provisioned.keys.tls_pem),
        ("signing.key", provisioned.keys.signing_raw),
        ("tls.crt", certified.certificate_pem.encode()),
        ("ca.crt", certified.ca_pem.encode()),
    ):
        _write_secret(places.keys / name, content)
    identity = Identity(
        device=provisioned.device,
        tenant=certified.tenant,
        store=certified.store,
        store_name=certified.store_name,
        cloud=cloud,
        broker_host=certified.broker_host,
        broker_port=certified.broker_port,
        root_public=certified.root_public,
        broker_others=certified.broker_others,
        mqtt_version=certified.mqtt_version,
    )
    write_identity(places, identity)
    return places.home


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _run_in_place(name: str, places: Places) -> None:
    if name == ALL:
        Supervisor(tuple(ProcessName), places).run()
    else:
        run_process(ProcessName(name), places)


if __name__ == "__main__":
    _write_logs()
    os.umask(0o027)
    if sys.argv[4:] == [SUPERVISED]:
        end_with_parent()
    try:
        _run_in_place(sys.argv[1], load_places(Path(sys.argv[2]), Path(sys.argv[3])))
    except EdgeFault as fault:
        log.error("%s", fault)
        sys.exit(70)

"""A whole shop as child processes: broker, cloud and kiosks, started by their command names as a person would.

Nothing here reaches into the other programs: it starts them, speaks their command lines and HTTP, and stops them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

START_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02
HTTP_WITHIN_S = 10.0


class ShopFailed(CloudError):
    """A part of the shop did not come up; `reason` is one line for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everything listens."""

    host: str
    cloud: int
    broker: int
    screens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What the cloud is told to hold: one store of one merchant and the points it gives at the door."""

    tenant: str = "acme"
    merchant: str = "acme-shops"
    programme: str = "acme-club"
    store: str = "acme-roma"
    campaign: str = "daily"
    unit: str = "PT:consumption"
    budget: int = 1_000_000
    contingency: int = 10_000
    allotment_points: int = 2_000
    points: int = 10
    reduced_points: int = 5
    faces: bool = True
    liveness: str = "passive"

    def entries(self) -> tuple[tuple[str, dict[str, str | int]], ...]:
        """Path and body of each request that makes an entry; the same again changes nothing."""
        return (
            ("/v1/tenants", {"id": self.tenant, "name": "Acme"}),
            ("/v1/merchants", {"id": self.merchant, "tenant": self.tenant, "name": "Acme Shops"}),
            ("/v1/programmes", {"id": self.programme, "tenant": self.tenant, "name": "Acme Club", "unit": self.unit}),
            (
                "/v1/stores",
                {
                    "id": self.store, "tenant": self.tenant, "merchant": self.merchant, "programme": self.programme,
                    "name": "Acme Roma", "zone": "Europe/Rome", "cutoff_hour": 4,
                },
            ),
            (
                "/v1/campaigns",
                {
                    "id": self.campaign, "tenant": self.tenant, "name": "Welcome in", "unit": self.unit,
                    "budget": self.budget, "allotment_points": self.allotment_points, "contingency": self.contingency,
                },
            ),
        )  # fmt: skip


@dataclass(slots=True)
class Children:
    """The processes we started, newest last. Each writes its own log."""

    logs: Path
    environment: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts a program under a name of ours. Raises: ShopFailed when there is no such command."""
        assert name not in self.running, name
        if shutil.which(command[0], path=self.environment.get("PATH")) is None:
            raise ShopFailed(f"{command[0]} is not installed")
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [*_ends_with_us(), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(self.environment), start_new_session=True,
            )  # fmt: skip
        self.running[name] = child
        return child

    def ask(self, command: Sequence[str]) -> str:
        """What a command that ends by itself prints. Raises: ShopFailed with what it complained about."""
        done = subprocess.run(command, capture_output=True, text=True, env=dict(self.environment), check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ShopFailed(f"{' '.join(command[:2])}: {said[-1] if said else f'exit code {done.returncode}'}")
        return done.stdout

    def ended(self) -> str | None:
        """The name of a process that ended by itself, or None."""
        return next((name for name, child in self.running.items() if child.poll() is not None), None)

    def stop(self, *names: str) -> None:
        """Ends these; all are told at once and end side by side."""
        children = [self.running.pop(name) for name in names if name in self.running]
        for child in children:
            child.terminate()
        for child in children:
            _await_end(child)

    def kill(self, name: str) -> None:
        """Ends one process the hard way: it has no time for anything."""
        child = self.running.pop(name)
        child.kill()
        child.wait()

    def stop_all(self) -> None:
        """Ends all, the newest first."""
        self.stop(*reversed(list(self.running)))


def _ends_with_us() -> list[str]:
    """The prefix that ends a process when we are killed ourselves; none where util-linux has no setpriv."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "TERM"]


def _await_end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class Broker:
    """The shop's private Mosquitto, which can be cut off and joined again."""

    def __init__(self, children: Children, cloud_home: Path) -> None:
        self._children = children
        self._folder = cloud_home / "broker"

    @property
    def is_up(self) -> bool:
        """True while it runs."""
        return "broker" in self._children.running

    def join(self) -> None:
        """Starts it and waits until it serves. Raises: ShopFailed."""
        log = self._children.logs / "broker.log"
        before = _count_starts(log)
        child = self._children.start("broker", [find_mosquitto(), "-c", str(self._folder / "mosquitto.conf")])
        # Not the port: it listens before it has its handlers, and the first word of a new device would end it.
        _wait(lambda: _count_starts(log) > before, child, "the broker")
        self._pid_file.write_text(str(child.pid))

    def cut(self) -> None:
        """Ends it in order."""
        self._pid_file.unlink(missing_ok=True)
        self._children.stop("broker")

    def kill(self) -> None:
        """Ends it the hard way; what it had stored until then is still there."""
        self._pid_file.unlink(missing_ok=True)
        self._children.kill("broker")

    def crash(self) -> None:
        """Ends it the hard way, and whatever it stored is gone."""
        self.kill()
        shutil.rmtree(self._folder / "storage")
        (self._folder / "storage").mkdir(mode=0o700)

    @property
    def _pid_file(self) -> Path:
        return self._folder / "mosquitto.pid"


class CloudService:
    """The shop's cloud: an installation of its own, served beside its broker."""

    def __init__(self, children: Children, home: Path, ports: Ports) -> None:
        self._children = children
        self._ports = ports
        self.home = home
        self.broker = Broker(children, home)

    @property
    def address(self) -> str:
        """Where API and pages are."""
        return f"https://{self._ports.host}:{self._ports.cloud}"

    @property
    def authority(self) -> Path:
        """The certificate that its own is signed by."""
        return self.home / "keys" / "ca.pem"

    @property
    def token_file(self) -> Path:
        """Holds a token that may do everything."""
        return self.home / "admin.token"

    def start(self) -> None:
        """Makes the installation where there is none, starts broker and service. Raises: ShopFailed."""
        host, port = self._ports.host, str(self._ports.broker)
        self._children.ask(["doorstep-cloud", "init", "--name", host, "--broker-host", host, "--broker-port", port])
        self.broker.join()
        child = self._start_serving()
        if not self.token_file.exists():
            token = self._children.ask(["doorstep-cloud", "admin", "token", "--name", "shop"]).strip()
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(token)
        self._await(child)

    def serve(self) -> None:
        """Starts the service alone, after it was ended, and waits until it answers. Raises: ShopFailed."""
        self._await(self._start_serving())

    def _start_serving(self) -> subprocess.Popen[bytes]:
        host, port, broker_port = self._ports.host, self._ports.cloud, self._ports.broker
        serve = ["doorstep-cloud", "serve", "--host", host, "--port", str(port), "--name", host]
        return self._children.start("cloud", [*serve, "--broker-host", host, "--broker-port", str(broker_port)])

    def _await(self, child: subprocess.Popen[bytes]) -> None:
        _wait(lambda: _listens(self._ports.host, self._ports.cloud), child, "the cloud")

    def open_api(self, *, as_admin: bool) -> httpx.Client:
        """A client of the API, with the token that may do everything or with none. To be closed."""
        import ssl

        import httpx

        trust = ssl.create_default_context(cafile=str(self.authority))
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"} if as_admin else {}
        return httpx.Client(base_url=self.address, verify=trust, headers=headers, timeout=HTTP_WITHIN_S)


def fill_catalogue(api: httpx.Client, catalogue: Catalogue) -> None:
    """The cloud holds the catalogue and its store has terms. Raises: httpx.HTTPError."""
    for path, body in catalogue.entries():
        api.post(path, json=body).raise_for_status()
    held = api.get(f"/v1/stores/{catalogue.store}/policy")
    if held.status_code == 404 or held.json()["liveness"] != catalogue.liveness:
        terms = {
            "campaign": catalogue.campaign,
            "points": catalogue.points,
            "reduced_points": catalogue.reduced_points,
            "faces": catalogue.faces,
            "liveness": catalogue.liveness,
        }
        api.put(f"/v1/stores/{catalogue.store}/daily-reward", json=terms).raise_for_status()


def provision_kiosk(children: Children, api: httpx.Client, *, home: Path, cloud: str, store: str) -> str:
    """Makes the folder a kiosk of the store through a claim code, as a technician and an administrator would.

    Returns the device's id. The fingerprint that the administrator confirms is the one the kiosk itself shows.
    """
    code = api.post(f"/v1/stores/{store}/claim-codes").raise_for_status().json()["code"]
    command = ["doorstep-edge", "provision", "--cloud", cloud, "--code", code, "--home", str(home), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(children.environment)) as claiming:
        assert claiming.stdout is not None
        shown = json.loads(claiming.stdout.readline() or "{}")
        if "fingerprint" not in shown:
            raise ShopFailed("the kiosk could not claim its place")
        confirmation = {"fingerprint": shown["fingerprint"]}
        api.post(f"/v1/devices/{shown['device']}/confirm", json=confirmation).raise_for_status()
        if claiming.wait(START_WITHIN_S) != 0:
            raise ShopFailed("the kiosk was not certified")
    return str(shown["device"])


def find_mosquitto() -> str:
    """The command; Debian puts it where only root looks."""
    return next(
        (str(p) for p in (Path("/usr/sbin/mosquitto"), Path("/usr/local/sbin/mosquitto")) if p.exists()), "mosquitto"
    )


def need_free_ports(host: str, wanted: Sequence[int]) -> None:
    """Nothing, when all are free. Raises: ShopFailed naming the first that is taken."""
    for port in wanted:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as taken:
                raise ShopFailed(f"port {port} is taken: stop what uses it, or choose another (--help)") from taken


def _wait(condition: Callable[[], bool], child: subprocess.Popen[bytes], name: str) -> None:
    """Returns once the condition holds. Raises: ShopFailed when the process ended or time is up."""
    deadline_s = time.monotonic() + START_WITHIN_S
    while not condition():
        if child.poll() is not None:
            raise ShopFailed(f"{name} ended with code {child.returncode}; its log says why")
        if time.monotonic() >= deadline_s:
            raise ShopFailed(f"{name} did not start within {START_WITHIN_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def _count_starts(log: Path) -> int:
    """How often a broker has said that it serves."""
    return log.read_text(errors="replace").count(" running\n") if log.exists() else 0

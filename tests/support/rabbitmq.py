"""A private RabbitMQ cluster of three nodes on loopback, with an epmd, a cookie and folders of its own.

For tests of what a broker that is a cluster does to us: its nodes can be killed one by one. It runs under mutual TLS
with the certificates of an installation, and under the access rules the product writes for it. It speaks MQTT 3.1.1
only (Debian 12 has 3.10). Durable subscriptions are quorum queues: a node that dies takes no session with it.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.mosquitto import HOST, wait_until

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # not /usr/sbin: those become another user when started as root
NODES = 3
START_S = 150.0  # 20 s on an idle machine, and this one is shared
PLUGINS = "[rabbitmq_mqtt,rabbitmq_auth_mechanism_ssl].\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFiles:
    """The certificates the nodes show and trust, and who may do what (definitions in JSON)."""

    authority: Path
    certificate: Path
    key: Path
    definitions: Path


class RabbitNode:
    """One node of the cluster: `start`, `kill`."""

    def __init__(self, folder: Path, name: str, epmd_port: int) -> None:
        self.name = f"{name}@localhost"
        self.port = quiet_port()
        self._distribution = quiet_port()
        self._epmd_port = epmd_port
        self._folder = folder / name
        self._cookie_home = folder
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._files: ClusterFiles | None = None

    @property
    def files(self) -> ClusterFiles:
        """What it was configured with."""
        assert self._files is not None
        return self._files

    def configure(self, files: ClusterFiles, cluster: list[str]) -> None:
        """Writes its configuration."""
        self._files = files
        members = [f"cluster_formation.classic_config.nodes.{n} = {name}" for n, name in enumerate(cluster, 1)]
        lines = [
            "listeners.tcp = none",  # AMQP is nobody's business here
            "mqtt.listeners.tcp = none",
            f"mqtt.listeners.ssl.default = {HOST}:{self.port}",
            f"ssl_options.cacertfile = {files.authority}",
            f"ssl_options.certfile = {files.certificate}",
            f"ssl_options.keyfile = {files.key}",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = true",
            "ssl_cert_login_from = common_name",
            "mqtt.ssl_cert_login = true",
            "mqtt.allow_anonymous = false",
            "mqtt.durable_queue_type = quorum",
            "cluster_formation.peer_discovery_backend = classic_config",
            *members,
            f"load_definitions = {files.definitions}",
            "log.console = false",
            f"log.file = {self._folder / 'log'}",
        ]
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self._folder / "plugins").write_text(PLUGINS)
        (self._folder / "advanced.config").write_text("[].\n")

    def start(self) -> None:
        """Started, not up yet: `wait_until_up`."""
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [*_dies_with_us(), PROGRAMS / "rabbitmq-server"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment(),
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        """Returns once it serves MQTT and knows the others."""
        wait_until(self._is_up, f"{self.name} serves", START_S)

    def kill(self) -> None:
        """kill -9 of the whole node."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)  # the shell that started it, the machine and its helpers
            self._process.wait()
            self._process = None

    def read_log(self) -> str:
        """What it wrote so far."""
        log = self._folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            said = (self._folder / "out").read_text(errors="replace")[-2000:]
            raise AssertionError(f"{self.name} ended: {said}{self.read_log()[-2000:]}")
        return "Server startup complete" in self.read_log()

    def _environment(self) -> dict[str, str]:
        arguments = "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
        return {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin",
            "HOME": str(self._cookie_home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "generated"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
        }


class RabbitCluster:
    """Three nodes. Ports are known at once, so that others can be told of them before it serves."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._epmd_port = quiet_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        cookie = folder / ".erlang.cookie"
        cookie.write_text(os.urandom(16).hex())
        cookie.chmod(0o400)
        self.nodes = tuple(RabbitNode(folder, f"n{number}", self._epmd_port) for number in range(1, NODES + 1))

    @property
    def addresses(self) -> str:
        """All nodes as our commands take them, the first one first."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def start(self, files: ClusterFiles) -> None:
        """All nodes serve and are one cluster when this returns."""
        epmd = shutil.which("epmd")
        assert epmd is not None, "it comes with Erlang"
        self._epmd = subprocess.Popen(
            [*_dies_with_us(), epmd, "-address", HOST, "-port", str(self._epmd_port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for node in self.nodes:
            node.configure(files, [node.name for node in self.nodes])
        # The first one alone: nodes that start at once may each begin a list of clients of their own, and the one that
        # shares it with nobody but a node that dies lets no client in any more.
        first, *others = self.nodes
        first.start()
        first.wait_until_up()
        for node in others:
            node.start()
        for node in others:
            node.wait_until_up()

    def close(self) -> None:
        """Nothing of it runs any more."""
        for node in self.nodes:
            node.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()


def quiet_port() -> int:
    """A loopback port nobody listens on, outside the range from which Linux takes ports for outgoing connections: it
    is bound only after other nodes have opened many."""
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port


def why_no_rabbitmq() -> str | None:
    """The reason why no cluster can be started here, or None when one can."""
    is_there = (PROGRAMS / "rabbitmq-server").exists() and shutil.which("epmd") is not None
    return None if is_there else "RabbitMQ is not installed (apt install rabbitmq-server)"


@contextlib.contextmanager
def rabbit_cluster(folder: Path) -> Iterator[RabbitCluster]:
    """A cluster that was not started yet; nothing of it runs at the end."""
    cluster = RabbitCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]

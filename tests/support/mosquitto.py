"""A private Mosquitto on a free loopback port, with certificates of its own: for tests that need the real broker.

It runs under the configuration the product writes (cloud.broker.mosquitto), so a test of a promise about access or
limits is a test of that text. It can be killed, restarted empty or with its storage, and given a new access list.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from cloud.broker.mosquitto import CLOUD_NAME, BrokerFiles, reload, render_acl, render_configuration, write_atomically
from shared.ids import DeviceId
from tests.support.certificates import ALWAYS, Authority, Identity, Validity

HOST = "127.0.0.1"
DEADLINE_S = 10.0
LIMITS = ("max_queued_messages", "max_queued_bytes", "max_inflight_messages", "autosave_interval")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class MosquittoMissing(Exception):
    """The broker is not installed; the text says what to install."""


class PrivateMosquitto:
    """A broker in a folder of its own. `start` serves; everything it issued and stored lies in the folder."""

    def __init__(
        self,
        folder: Path,
        devices: Iterable[str] = (),
        workers: Iterable[str] = (CLOUD_NAME,),
        validity: Validity = ALWAYS,
        *,
        has_own_limits: bool = False,
    ) -> None:
        program = shutil.which("mosquitto", path=PATH)
        if program is None:
            raise MosquittoMissing("mosquitto is not installed (apt install mosquitto)")
        self._program = program
        self._workers = tuple(workers)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.authority = Authority(folder)
        self.port = free_port()
        server = self.authority.issue_server(validity)
        self.files = BrokerFiles(
            configuration=folder / "mosquitto.conf",
            access_list=folder / "acl",
            authority=self.authority.certificate,
            certificate=server.certificate,
            key=server.key,
            storage=folder / "storage",
            revocations=self.authority.revoke(),
            log=folder / "log",
        )
        self.files.storage.mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name
        text = render_configuration(self.files, host=HOST, port=self.port, user=user)
        write_atomically(self.files.configuration, without_limits(text) if has_own_limits else text)
        self._write_access(devices)

    def issue(self, name: str) -> Identity:
        """A certificate of the broker's authority; the access list is another matter."""
        return self.authority.issue_client(name)

    def start(self) -> None:
        """Serves when this returns."""
        self._process = subprocess.Popen(
            [*_die_with_us(), self._program, "-c", str(self.files.configuration)],
            stderr=subprocess.DEVNULL,  # what matters is in the log
        )
        self._starts += 1
        wait_until(self._is_running, "the broker runs")

    def allow(self, devices: Iterable[str]) -> None:
        """The access list holds these devices, and the running broker goes by it."""
        self._write_access(devices)
        self._reload()

    def revoke(self, *identities: Identity) -> None:
        """The revocation list holds these certificates, and the running broker goes by it."""
        self.authority.revoke(*identities)
        self._reload()

    def kill(self) -> None:
        """kill -9: nothing is saved."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end: sessions and queues are saved."""
        self._end(signal.SIGTERM)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside the block it neither reads nor answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Whatever was stored is gone; only while it does not run."""
        assert self._process is None
        shutil.rmtree(self.files.storage)
        self.files.storage.mkdir()

    def read_log(self) -> str:
        """What the broker wrote so far."""
        assert self.files.log is not None
        return self.files.log.read_text() if self.files.log.exists() else ""

    def _write_access(self, devices: Iterable[str]) -> None:
        names = [DeviceId(device) for device in devices]
        write_atomically(self.files.access_list, render_acl(names, workers=self._workers))

    def _reload(self) -> None:
        """Returns once the broker says it read its files again; a signal is only a wish."""
        assert self._process is not None
        before = self.read_log().count("Reloading config")
        reload(self._process.pid)
        wait_until(lambda: self.read_log().count("Reloading config") > before, "the broker reloads")

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(DEADLINE_S)
        self._process = None

    def _is_running(self) -> bool:
        """True once it says so: it listens before it has its signal handlers, and a SIGHUP then would end it."""
        assert self._process is not None
        assert self._process.poll() is None, f"the broker ended: {self.read_log()}"
        return self.read_log().count(" running\n") == self._starts


@contextlib.contextmanager
def private_mosquitto(
    devices: Iterable[str] = (),
    workers: Iterable[str] = (CLOUD_NAME,),
    validity: Validity = ALWAYS,
    *,
    has_own_limits: bool = False,
) -> Iterator[PrivateMosquitto]:
    """A broker that serves, gone with its folder at the end. Skips the test where Mosquitto is not installed.

    `validity` is its own certificate's. `has_own_limits`: it runs under Mosquitto's own limits where the product would
    set others.
    """
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        try:
            broker = PrivateMosquitto(Path(folder), devices, workers, validity, has_own_limits=has_own_limits)
        except MosquittoMissing as missing:
            pytest.skip(str(missing))
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


def without_limits(configuration: str) -> str:
    """The configuration with Mosquitto's own limits in place of the product's."""
    kept = [line for line in configuration.splitlines() if not line.startswith(LIMITS)]
    assert len(kept) == len(configuration.splitlines()) - len(LIMITS), "the product sets each of them"
    return "\n".join(kept) + "\n"


def _die_with_us() -> list[str]:
    """The prefix that ends the broker when the test run is killed; empty where util-linux has no setpriv."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Returns as soon as the condition holds; fails the test, naming it, when that takes too long."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.005)

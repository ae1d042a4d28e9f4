"""The demonstration as `make run` starts it: from nothing to members at two doors, the line cut, joined, and gone."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.mosquitto import HOST, free_port, wait_until
from tests.support.shop import MEMORY, no_shop

pytestmark = pytest.mark.timeout(420)

CLOUD = str(Path(sys.executable).with_name("doorstep-cloud"))
EDGE = str(Path(sys.executable).with_name("doorstep-edge"))
UP_S = 120.0
GRANT_S = 90.0
SETTLE_S = 120.0
END_S = 40.0


class Demonstration:
    """`doorstep-cloud demo` in a folder and on ports of its own, and what it has printed."""

    def __init__(self, home: Path, *, cloud_port: int | None = None) -> None:
        self.home = home
        self._environment = {**os.environ, "DOORSTEP_DEMO_HOME": str(home)}
        self._environment.pop("DOORSTEP_CLOUD_HOME", None)
        self.screen_port = _two_free_ports()
        ports = {
            "--port": cloud_port or free_port(),
            "--broker-port": free_port(),
            "--screen-port": self.screen_port,
        }
        self.words = [CLOUD, "demo", *(word for name, port in ports.items() for word in (name, str(port)))]
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    @property
    def printed(self) -> str:
        """All of it."""
        return "".join(self._lines)

    def start(self) -> None:
        """It is under way when this returns."""
        self._process = subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )
        self._reader.start()

    def say(self, word: str) -> subprocess.CompletedProcess[str]:
        """`doorstep-cloud demo WORD` in another terminal."""
        return subprocess.run([CLOUD, "demo", word], capture_output=True, text=True, env=self._environment, check=False)

    def status(self, number: int) -> dict[str, int]:
        """What a kiosk says of itself; nothing while it does not answer."""
        command = [EDGE, "status", "--json", "--home", str(self.home / f"kiosk-{number}")]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        told: dict[str, int] = json.loads(asked.stdout)
        return told

    def expect(self, pattern: str, within_s: float) -> "re.Match[str]":
        """What it prints, sooner or later."""

        def found() -> bool:
            assert self.is_running, f"it ended: {self.printed}"
            return re.search(pattern, self.printed, re.MULTILINE) is not None

        wait_until(found, f"{pattern!r} is printed", within_s)
        match = re.search(pattern, self.printed, re.MULTILINE)
        assert match is not None
        return match

    @property
    def is_running(self) -> bool:
        """True until it ended by itself."""
        return self._process is not None and self._process.poll() is None

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(END_S)
        self._reader.join(END_S)
        return code

    def close(self) -> None:
        """Nothing of it runs any more, whatever happened."""
        if self.is_running:
            self.interrupt()
        if self._process is not None and self._process.stdout is not None:
            self._reader.join(END_S)
            self._process.stdout.close()

    def processes(self) -> list[str]:
        """The command lines of everything that runs for it."""
        own, mark, found = str(os.getpid()), str(self.home).encode(), []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or folder.name == own:
                continue
            try:
                words = (folder / "cmdline").read_bytes()
                if mark in words or mark in (folder / "environ").read_bytes():
                    found.append(words.replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or somebody else's
                continue
        return found

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)


def _two_free_ports() -> int:
    """A port that is free together with the next one."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def home() -> Iterator[Path]:
    reason = no_shop()
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def demonstration(home: Path) -> Iterator[Demonstration]:
    demonstration = Demonstration(home)
    try:
        yield demonstration
    finally:
        demonstration.close()


def test_the_demonstration_grants_line_up_and_line_down_and_ends_clean(demonstration: Demonstration) -> None:
    assert demonstration.say("cut").returncode == 1, "there is nothing to cut yet"
    demonstration.start()
    demonstration.expect(r"^Doorstep is running after", UP_S)
    _check_addresses(demonstration)
    wait_until(lambda: all(demonstration.status(n)["claims_total"] >= 1 for n in (1, 2)), "both doors grant", GRANT_S)

    assert demonstration.say("cut").returncode == 0
    demonstration.expect(r"line DOWN", 30)
    wait_until(lambda: any(demonstration.status(n)["outbox_waiting"] >= 1 for n in (1, 2)), "granting goes on", GRANT_S)
    assert demonstration.say("join").returncode == 0
    wait_until(
        lambda: all(told["online"] and told["outbox_waiting"] == 0 for told in map(demonstration.status, (1, 2))),
        "everything settles",
        SETTLE_S,
    )
    assert all(demonstration.status(number)["rejected"] == 0 for number in (1, 2))
    second = subprocess.run(
        demonstration.words, capture_output=True, text=True, check=False,
        env={**os.environ, "DOORSTEP_DEMO_HOME": str(demonstration.home)},
    )  # fmt: skip
    assert (second.returncode, second.stderr.count("\n")) == (1, 1), second.stderr
    assert "is running" in second.stderr

    assert demonstration.interrupt() == 0, demonstration.printed
    assert demonstration.printed.endswith("stopped\n")
    assert "Traceback" not in demonstration.printed
    assert demonstration.processes() == []
    for log in demonstration.home.glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log.name
    verified = subprocess.run(
        [CLOUD, "verify"], capture_output=True, text=True, check=False,
        env={**os.environ, "DOORSTEP_CLOUD_HOME": str(demonstration.home / "cloud")},
    )  # fmt: skip
    assert verified.returncode == 0, verified.stdout


def _check_addresses(demonstration: Demonstration) -> None:
    """Every address that was printed leads somewhere."""
    printed = demonstration.printed
    authority = re.search(r"cloud's CA\s+(\S+)", printed)
    assert authority is not None
    with httpx.Client(verify=_trust(authority.group(1)), timeout=30) as client:
        for name in ("kiosk 1 screen", "kiosk 2 screen", "member page", "API docs"):
            address = re.search(rf"{name}\s+(\S+)", printed)
            assert address is not None, name
            wait_until(partial(_answers, client, address.group(1)), f"{name} answers", 30)
    token = re.search(r"admin token\s+(\S+)", printed)
    assert token is not None
    assert Path(token.group(1)).stat().st_mode & 0o077 == 0, "the token is nobody else's"


def _trust(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


def _answers(client: httpx.Client, address: str) -> bool:
    try:
        return client.get(address).status_code == 200
    except httpx.ConnectError:  # a kiosk's page comes up a moment after its address is printed
        return False


def test_a_port_that_is_taken_is_named_in_one_line(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        demonstration = Demonstration(home, cloud_port=port)
        demonstration.start()
        wait_until(lambda: not demonstration.is_running, "it gives up", 30)
        demonstration.close()
    assert f"port {port} is taken" in demonstration.printed
    assert "Traceback" not in demonstration.printed

"""Processes as they are started: the agent by itself and under its supervisor, ended, killed, and badly provisioned."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.app import ProcessName, main, run_process
from edge.channel.messages import StatusTold
from edge.config import Places
from edge.db.database import Database
from edge.errors import SettingsWrong
from tests.support.agent_peer import Doorman, ask_status
from tests.support.homes import DeviceHome, make_home

MEMORY = Path("/dev/shm")
WITHIN_S = 30.0
SUPERVISE = """
import sys
from pathlib import Path
from edge.app import ProcessName, Supervisor
from edge.config import Places
home, run = Path(sys.argv[1]), Path(sys.argv[2])
Supervisor((ProcessName.AGENT,), Places(home=home, run=run, models=home / "models")).run()
"""


@pytest.fixture
def home() -> Iterator[DeviceHome]:
    """A provisioned device in a folder whose name is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-app-"))
    try:
        yield make_home(folder, members=1)
    finally:
        shutil.rmtree(folder)


def places_of(home: DeviceHome) -> Places:
    return Places(home=home.folder, run=home.folder / "run", models=home.folder / "models")


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Waits until it holds: processes take the time they take."""
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


@contextmanager
def started(home: DeviceHome, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A child in a session of its own, of which nothing is left afterwards."""
    words = [sys.executable, *command, str(home.folder), str(home.folder / "run")]
    with (home.folder / "log").open("wb") as log:
        child = subprocess.Popen(words, stderr=log, start_new_session=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def status(home: DeviceHome) -> StatusTold | None:
    return ask_status(home.agent_socket)


def process_of_agent(home: DeviceHome) -> int | None:
    """The process id of this device's agent."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:  # it ended while we looked
            continue
        if b"edge.app" in words and b"agent" in words and str(home.folder).encode() in words:
            return int(entry.name)
    return None


def grant(home: DeviceHome, number: int) -> None:
    """A member holds up a card, and the agent stored the claim."""
    before = status(home)
    assert before is not None
    doorman = Doorman(home.agent_socket)
    assert doorman.show(home.card(number))

    def is_stored() -> bool:
        now = status(home)
        return now is not None and now.claims_total == before.claims_total + 1

    eventually(is_stored, "nothing was granted")
    doorman.close()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_an_agent_serves_until_it_is_told_to_stop_and_leaves_in_order(home: DeviceHome, told: signal.Signals) -> None:
    with started(home, "-m", "edge.app", "agent") as agent:
        eventually(lambda: status(home) is not None, "the agent does not answer")
        grant(home, 1)
        agent.send_signal(told)
        assert agent.wait(WITHIN_S) == 0
    assert not home.agent_socket.exists()
    with Database(home.database) as database:
        database.open(b"x" * 16)
        assert database.connection.execute("SELECT count(*) FROM claim").fetchone()[0] == 1


def test_a_supervisor_brings_a_killed_agent_back_and_ends_it_with_itself(home: DeviceHome) -> None:
    with started(home, "-c", SUPERVISE) as supervisor:
        eventually(lambda: status(home) is not None, "the agent does not answer")
        grant(home, 1)
        killed = process_of_agent(home)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: process_of_agent(home) not in (None, killed), "the agent was not started again")
        eventually(lambda: status(home) is not None, "the new agent does not answer")
        grant(home, 2)
        supervisor.terminate()
        assert supervisor.wait(WITHIN_S) == 0
    assert process_of_agent(home) is None


def test_an_agent_does_not_outlive_a_killed_supervisor(home: DeviceHome) -> None:
    with started(home, "-c", SUPERVISE) as supervisor:
        eventually(lambda: status(home) is not None, "the agent does not answer")
        supervisor.kill()
        supervisor.wait()
        eventually(lambda: process_of_agent(home) is None, "a second agent could have been started on the database")


def remove_identity(home: DeviceHome) -> None:
    (home.folder / "identity.toml").unlink()


def remove_key(home: DeviceHome) -> None:
    (home.folder / "keys" / "signing.key").unlink()


def cut_key(home: DeviceHome) -> None:
    (home.folder / "keys" / "signing.key").write_bytes(b"short")


def replace_root(with_text: str) -> Callable[[DeviceHome], None]:
    def act(home: DeviceHome) -> None:
        path = home.folder / "identity.toml"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("root_public")]
        path.write_text("\n".join([*lines, f'root_public = "{with_text}"']))

    return act


@pytest.mark.parametrize(
    "harm", [remove_identity, remove_key, cut_key, replace_root("not hex"), replace_root("abcd"), replace_root("")]
)
def test_a_device_that_is_not_rightly_provisioned_says_so(home: DeviceHome, harm: Callable[[DeviceHome], None]) -> None:
    harm(home)
    with pytest.raises(SettingsWrong):
        run_process(ProcessName.AGENT, places_of(home))


def test_a_named_fault_of_a_process_is_one_line_and_exit_code_seventy(home: DeviceHome) -> None:
    remove_identity(home)
    with started(home, "-m", "edge.app", "agent") as agent:
        assert agent.wait(WITHIN_S) == 70
    log = (home.folder / "log").read_text()
    assert "holds no provisioned device" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("words", "code"),
    [(("status",), 1), (("run", "agent"), 70), (("db", "verify"), 70), (("run", "butler"), 2), (("dance",), 2)],
)
def test_the_command_line_ends_with_the_codes_it_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.setenv("DOORSTEP_EDGE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["doorstep-edge", *words])
    try:
        ended = main()
    except SystemExit as exit_:
        ended = exit_.code if isinstance(exit_.code, int) else 0
    assert ended == code

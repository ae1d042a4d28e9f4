"""Starting, asking and stopping a device as an operator does: exit codes, the fields scripts rely on, no child left."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agent_peer import ask_status
from tests.support.homes import DeviceHome, make_home
from tests.support.mosquitto import free_port, wait_until
from tests.support.shop import MEMORY, PROCESSES

pytestmark = pytest.mark.timeout(120)

EDGE = str(Path(sys.executable).with_name("doorstep-edge"))
START_S = 60.0
STATUS_FIELDS = {
    "running",
    "device", "store", "epoch", "online", "clock_trust", "business_day", "policy_version", "claims_today",
    "claims_total", "visits_waiting", "outbox_waiting", "oldest_waiting_s", "rejected", "allotment_left", "roster",
    "camera_live", "decoder_restarts", "screen", "faces", "templates", "group", "no_match_today",
    "recovery", "leftovers", "snapshots", "snapshot_ms", "storage_full", "partners", "shares_waiting",
    "certificate_ends", "renewal", "renewal_reason",
    "hub", "coupons_today",
}  # fmt: skip
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def home() -> Iterator[DeviceHome]:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-start-"))
    try:
        yield make_home(folder, members=3, screen_port=free_port())
    finally:
        shutil.rmtree(folder)


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run([EDGE, *words], capture_output=True, text=True, check=False)


@contextmanager
def whole_device(home: DeviceHome) -> Iterator["subprocess.Popen[bytes]"]:
    """`doorstep-edge run all`, killed with all it started when the test ends without having ended it."""
    with (home.folder / "log").open("wb") as log:
        device = subprocess.Popen([EDGE, "run", "all", "--home", str(home.folder)], stderr=log, start_new_session=True)
    try:
        yield device
    finally:
        if device.poll() is None:
            os.killpg(device.pid, signal.SIGKILL)
            device.wait()


def processes_of(home: DeviceHome) -> dict[int, str]:
    """What runs for this device, by process id: a role, or the program for a child that has none."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):  # ended while we looked
            continue
        if str(home.folder).encode() in words and b"edge.app" in words:
            found[int(folder.name)] = words[words.index(b"edge.app") + 1].decode()
    return found


def children_of(pid: int) -> list[int]:
    """The process's own children, whichever of its threads started them."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_whole_device_ends_when_told_and_leaves_no_process(home: DeviceHome, number: signal.Signals) -> None:
    with whole_device(home) as device:
        wait_until(lambda: set(processes_of(home).values()) == {"all", *PROCESSES}, "all processes run", START_S)
        wait_until(lambda: ask_status(home.agent_socket) is not None, "the agent answers", START_S)
        wait_until(lambda: camera_lives(home), "the camera is seen", START_S)
        vision = next(pid for pid, role in processes_of(home).items() if role == "vision")
        wait_until(lambda: len(children_of(vision)) == 1, "the decoder runs", START_S)
        (decoder,) = children_of(vision)
        device.send_signal(number)
        assert device.wait(30) == 0
        assert processes_of(home) == {}
        wait_until(lambda: not Path(f"/proc/{decoder}").exists(), "the decoder is gone", 10)
        assert not home.agent_socket.exists()
    damage = edge("db", "verify", "--home", str(home.folder))
    assert damage.returncode == 0, damage.stderr


def camera_lives(home: DeviceHome) -> bool:
    told = ask_status(home.agent_socket)
    return told is not None and told.camera_live and told.screen == "idle"


def test_a_process_that_dies_is_started_again(home: DeviceHome) -> None:
    with whole_device(home) as device:
        wait_until(lambda: ask_status(home.agent_socket) is not None, "the agent answers", START_S)
        (agent,) = (pid for pid, role in processes_of(home).items() if role == "agent")
        os.kill(agent, signal.SIGKILL)
        wait_until(lambda: agent not in processes_of(home), "it is gone", 10)
        wait_until(lambda: ask_status(home.agent_socket) is not None, "another answers", START_S)
        device.terminate()
        assert device.wait(30) == 0


def test_a_kiosk_with_an_address_in_its_store_listens_there(home: DeviceHome) -> None:
    port = free_port()
    with (home.folder / "settings.toml").open("a") as settings:
        settings.write(f'lan_address = "127.0.0.1"\nlan_port = {port}\n')

    def is_listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    assert not is_listening()
    with whole_device(home) as device:
        wait_until(is_listening, "link listens in the store's network", START_S)
        device.terminate()
        assert device.wait(30) == 0
    assert not is_listening()


def test_status_tells_scripts_what_they_rely_on(home: DeviceHome) -> None:
    before = edge("status", "--json", "--home", str(home.folder))
    assert (before.returncode, json.loads(before.stdout)) == (1, {"running": False})
    with whole_device(home) as device:
        wait_until(lambda: ask_status(home.agent_socket) is not None, "the agent answers", START_S)
        told = edge("status", "--json", "--home", str(home.folder))
        assert told.returncode == 0
        assert told.stdout.count("\n") == 1, "one line"
        status = json.loads(told.stdout)
        assert set(status) == STATUS_FIELDS
        known = {
            name: status[name]
            for name in ("running", "device", "store", "epoch", "online", "claims_total", "outbox_waiting")
        }
        assert known == {
            "running": True,
            "device": "kiosk1", "store": "rome-1", "epoch": 1, "online": False, "claims_total": 0, "outbox_waiting": 0,
        }  # fmt: skip
        device.terminate()
        assert device.wait(30) == 0


@pytest.mark.parametrize("process", ["all", *PROCESSES])
def test_a_folder_without_a_device_is_refused_in_one_line(tmp_path: Path, process: str) -> None:
    refused = edge("run", process, "--home", str(tmp_path))
    assert refused.returncode == 70
    assert refused.stderr == (f"doorstep-edge: {tmp_path} holds no provisioned device: run doorstep-edge provision\n")
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_and_wrong_settings_have_their_own_exit_codes(home: DeviceHome) -> None:
    assert edge("run", "cinema", "--home", str(home.folder)).returncode == 2
    (home.folder / "settings.toml").write_text('kamera = "synthetic:"\n')
    wrong = edge("run", "capture", "--home", str(home.folder))
    assert wrong.returncode == 70
    assert "unknown setting 'kamera'" in wrong.stderr
    again = edge("provision", "--cloud", "https://127.0.0.1:9", "--code", "x", "--home", str(home.folder))
    assert again.returncode == 70
    assert "holds a provisioned device already" in again.stderr

"""The agent on a disk that fills up: it refuses with a clear screen, keeps what it had, and goes on when there is room.

A file system of its own is mounted for it, which only root may do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from edge.channel.messages import ScreenShown
from edge.core.screen import FaultName, ScreenName
from edge.db.reading import find_damage
from edge.db.snapshots import Snapshots
from tests.support.agent_peer import Doorman, Watcher, ask_status
from tests.support.homes import DeviceHome, make_home
from tests.support.mosquitto import wait_until

pytestmark = pytest.mark.timeout(180)

SIZE_MIB = 6
MEMBERS = 400
GREETED_S = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "doorstep-test", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no byte of room."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (64 * 1024, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def is_fault(shown: ScreenShown) -> bool:
    return shown.screen.name is ScreenName.FAULT and shown.screen.fault is FaultName.STORAGE


class Entrance:
    """The agent on the disk, with somebody who shows it cards and somebody who watches its screen."""

    def __init__(self, home: DeviceHome) -> None:
        self.home = home
        (home.folder / "run").mkdir()
        command = [sys.executable, "-m", "edge.app", "agent", str(home.folder), str(home.folder / "run")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.doorman = Doorman(home.agent_socket)
        self.watcher = Watcher(home.agent_socket)
        self._member = 0

    def show_next(self) -> ScreenShown:
        """The screen that the next member's card leads to: a greeting or a fault."""
        before = len(self.watcher.screens)
        self._member += 1
        assert self.doorman.show(self.home.card(self._member))

        def answers() -> list[ScreenShown]:
            return [
                shown
                for shown in self.watcher.screens[before:]
                if is_fault(shown) or (shown.screen.name is ScreenName.GREETING and shown.screen.claim not in greeted)
            ]

        greeted = {shown.screen.claim for shown in self.watcher.screens[:before]}
        wait_until(lambda: bool(answers()), f"member {self._member} is answered", GREETED_S)
        return answers()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.doorman.close()
        self.process.terminate()
        self.process.wait(20)
        self.watcher.close()


def test_a_full_disk_refuses_grants_loses_none_and_recovers(disk: Path) -> None:
    with Entrance(make_home(disk / "home", members=MEMBERS)) as entrance:
        _fill_and_free(disk, entrance)
    assert entrance.process.returncode == 0
    assert find_damage(entrance.home.database) == ()


def _fill_and_free(disk: Path, entrance: Entrance) -> None:
    wait_until(lambda: ask_status(entrance.home.agent_socket) is not None, "the agent answers", 60)
    for _ in range(5):
        assert entrance.show_next().screen.name is ScreenName.GREETING

    ballast = fill(disk)
    shown = entrance.show_next()
    for _ in range(MEMBERS // 2):  # what the log has reserved already may still be written
        if is_fault(shown):
            break
        shown = entrance.show_next()
    assert is_fault(shown), "a full disk never stopped it"
    granted = set(entrance.watcher.claims)
    told = ask_status(entrance.home.agent_socket)
    assert told is not None
    assert told.screen == ScreenName.FAULT
    assert told.claims_total == len(granted), "shown and kept are the same"

    ballast.unlink()
    seen = len(entrance.watcher.screens)
    wait_until(
        lambda: any(shown.screen.name is ScreenName.IDLE for shown in entrance.watcher.screens[seen:]),
        "the screen invites again",
        20,
    )
    assert entrance.show_next().screen.name is ScreenName.GREETING
    told = ask_status(entrance.home.agent_socket)
    assert told is not None
    assert told.claims_total == len(entrance.watcher.claims) == len(granted) + 1


def test_room_is_made_of_copies_and_events_and_never_of_rewards(disk: Path) -> None:
    home = make_home(disk / "home", members=MEMBERS)
    copies = Snapshots(home.folder / "snapshots")
    for taken_ms in (1, 2):
        copies.take(home.database, taken_ms)
    aside = home.folder / "damaged" / "20261120T120000Z"
    aside.mkdir(parents=True)
    (aside / "doorstep.db").write_bytes(bytes(200_000))
    with Entrance(home) as entrance:
        wait_until(lambda: ask_status(home.agent_socket) is not None, "the agent answers", 60)
        assert entrance.show_next().screen.name is ScreenName.GREETING
        assert len(copies.newest_first()) == 2, "with room, nothing is given up"
        ballast = fill(disk)
        for _ in range(MEMBERS // 2):
            if is_fault(entrance.show_next()):
                break
        wait_until(lambda: not copies.newest_first(), "the copies are given up", 20)
        assert not aside.exists()
        told = ask_status(home.agent_socket)
        assert told is not None
        assert told.storage_full
        assert told.claims_total == len(entrance.watcher.claims), "shown and kept are the same"
        ballast.unlink()
        wait_until(lambda: not _is_full(home), "it goes on when there is room", 20)
        assert entrance.show_next().screen.name is ScreenName.GREETING
    assert find_damage(home.database) == ()


def _is_full(home: DeviceHome) -> bool:
    told = ask_status(home.agent_socket)
    return told is None or told.storage_full

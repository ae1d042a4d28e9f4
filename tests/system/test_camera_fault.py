"""A camera that freezes, and one that is unplugged: the screen says so, and the kiosk is back when the camera is."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.channel.messages import ScreenShown
from edge.core.screen import FaultName, ScreenName
from tests.support.agent_peer import Watcher
from tests.support.homes import DeviceHome, make_home, write_scene, write_settings
from tests.support.mosquitto import free_port
from tests.support.shop import MEMORY

pytestmark = pytest.mark.timeout(180)

STEP_S = 45.0


@pytest.fixture
def home() -> Iterator[DeviceHome]:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-camera-"))
    try:
        yield make_home(folder, members=3)
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(home: DeviceHome, *roles: str) -> Iterator[Watcher]:
    """These processes of the device, and somebody who watches its screen."""
    command = [sys.executable, "-m", "edge.app"]
    places = [str(home.folder), str(home.folder / "run")]
    children = [subprocess.Popen([*command, role, *places], stderr=subprocess.DEVNULL) for role in roles]
    watcher = Watcher(home.agent_socket)
    try:
        yield watcher
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(20)
        watcher.close()


class Story:
    """What the screen shows, read from the beginning to the end."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._read = 0

    def goes_on_with_a_camera(self) -> None:
        """The first screen that invites while pictures come; before it the camera may have been looked for."""
        found = self._watcher.wait_for(_invites, "the camera is there", STEP_S)
        self._read = found.serial

    def goes_on_with(self, name: ScreenName, fault: FaultName | None = None) -> ScreenShown:
        """The next such screen after the one read last."""
        begin = self._read

        def is_next(shown: ScreenShown) -> bool:
            return shown.serial > begin and (shown.screen.name, shown.screen.fault) == (name, fault)

        found = self._watcher.wait_for(is_next, f"{name} {fault or ''}", STEP_S)
        self._read = found.serial
        return found


def _invites(shown: ScreenShown) -> bool:
    return shown.screen.name is ScreenName.IDLE and shown.status.camera_live


@pytest.mark.parametrize("failure", [{"kind": "freeze", "seconds": 5.0}, {"kind": "disconnect", "seconds": 4.0}])
def test_a_camera_that_fails_is_said_and_comes_back(home: DeviceHome, failure: dict[str, str | float]) -> None:
    acts: list[dict[str, str | float]] = [
        {"kind": "empty", "seconds": 3.0},
        failure,
        {"kind": "empty", "seconds": 1.0},
        {"kind": "card", "text": home.card(1), "seconds": 2.5},
        {"kind": "empty", "seconds": 60.0},
    ]
    write_settings(home, camera=write_scene(home, acts), screen_port=free_port())
    with running(home, "agent", "capture", "vision") as watcher:
        story = Story(watcher)
        story.goes_on_with_a_camera()
        lost = story.goes_on_with(ScreenName.FAULT, FaultName.CAMERA)
        assert not lost.status.camera_live
        assert story.goes_on_with(ScreenName.GREETING).screen.nickname == "Member 1"
        assert not lost.status.online, "there is no line here, and none is needed"

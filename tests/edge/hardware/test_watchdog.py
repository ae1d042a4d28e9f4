"""What the service manager hears, and that a manager who is not there harms nobody."""

import socket
from pathlib import Path

import pytest

from edge.hardware.watchdog import ServiceManager


def heard(listener: socket.socket) -> list[bytes]:
    listener.setblocking(False)
    found = []
    while True:
        try:
            found.append(listener.recv(256))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("is_abstract", [False, True])
def test_ready_and_alive_are_told_to_the_address_given(tmp_path: Path, is_abstract: bool) -> None:
    name = f"doorstep-test-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if is_abstract else name)
        manager = ServiceManager(f"@{name}" if is_abstract else name)
        manager.ready()
        manager.alive()
        assert heard(listener) == [b"READY=1", b"WATCHDOG=1"]


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    for address in (None, str(tmp_path / "nobody")):
        manager = ServiceManager(address)
        manager.ready()
        manager.alive()

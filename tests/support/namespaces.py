"""A small network of its own: one namespace a machine, cables between them that can be cut, each direction alone.

The broker's namespace is the middle of a star; everybody else has one cable to it. Nothing of it touches the network
of the machine it runs on. It wants root, iproute2 and a kernel with network namespaces. A direction that is dropped is
dropped in silence, as by a bad line: a token bucket too small for any packet, where the kernel has no netem.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

MIDDLE = "broker"
MIDDLE_ADDRESS = "10.77.0.1"  # the broker's, whichever cable one comes by
DROP_ALL = ("root", "tbf", "rate", "1kbit", "burst", "1", "limit", "1")


class Network:
    """The namespaces of `machines` and of the middle. `prefix` keeps several networks of one computer apart."""

    def __init__(self, prefix: str, machines: Sequence[str]) -> None:
        self._prefix = prefix
        self.machines = tuple(machines)

    def namespace(self, machine: str) -> str:
        """What the kernel calls the machine's namespace."""
        return f"{self._prefix}-{machine}"

    def inside(self, machine: str) -> tuple[str, ...]:
        """The prefix that runs a command on that machine; the process keeps its number."""
        return ("ip", "netns", "exec", self.namespace(machine))

    def lay(self) -> None:
        """All namespaces are there and reach the middle."""
        for machine in (MIDDLE, *self.machines):
            _run("ip", "netns", "add", self.namespace(machine))
            _run("ip", "-n", self.namespace(machine), "link", "set", "lo", "up")
        _run("ip", "-n", self.namespace(MIDDLE), "addr", "add", f"{MIDDLE_ADDRESS}/32", "dev", "lo")
        for number, machine in enumerate(self.machines, 1):
            self._lay_cable(machine, number)

    def remove(self) -> None:
        """Nothing of it is left."""
        for machine in (MIDDLE, *self.machines):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "del", self.namespace(machine))

    @contextlib.contextmanager
    def unplugged(self, machine: str) -> Iterator[None]:
        """Inside the block the cable is out, and both ends know that they have no carrier."""
        _run("ip", "-n", self.namespace(MIDDLE), "link", "set", machine, "down")
        try:
            yield
        finally:
            _run("ip", "-n", self.namespace(MIDDLE), "link", "set", machine, "up")

    @contextlib.contextmanager
    def dropping(self, machine: str, *, upward: bool = True, downward: bool = True) -> Iterator[None]:
        """Inside the block whatever is sent from the machine, to it, or both is gone, and nobody is told."""
        ends = [(machine, "up0")] * upward + [(MIDDLE, machine)] * downward
        for where, device in ends:
            _run("tc", "-n", self.namespace(where), "qdisc", "replace", "dev", device, *DROP_ALL)
        try:
            yield
        finally:
            for where, device in ends:
                _run("tc", "-n", self.namespace(where), "qdisc", "del", "dev", device, "root")

    def _lay_cable(self, machine: str, number: int) -> None:
        here, middle = self.namespace(machine), self.namespace(MIDDLE)
        _run(
            "ip", "link", "add", "up0", "netns", here, "type", "veth", "peer", "name", machine, "netns", middle
        )  # fmt: skip
        _run("ip", "-n", here, "addr", "add", f"10.77.{number}.2/30", "dev", "up0")
        _run("ip", "-n", middle, "addr", "add", f"10.77.{number}.1/30", "dev", machine)
        _run("ip", "-n", here, "link", "set", "up0", "up")
        _run("ip", "-n", middle, "link", "set", machine, "up")
        _run("ip", "-n", here, "route", "add", MIDDLE_ADDRESS, "via", f"10.77.{number}.1")


def why_no_namespaces() -> str | None:
    """The reason why there can be no such network here, or None."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "iproute2 is not installed (apt install iproute2)"
    network = Network(f"ds{os.getpid()}t", ["probe"])
    try:
        network.lay()
        with network.dropping("probe"):
            return None
    except subprocess.CalledProcessError as refused:
        return f"the kernel gives us no such network: {refused.stderr.strip()}"
    finally:
        network.remove()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)

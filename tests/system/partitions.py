"""A shop whose machines are apart: the lines between kiosks, broker and cloud are cut in every way while members come.

Kiosks, broker and cloud each have a network namespace. What must hold once all lines are whole again: every claim a
kiosk keeps is posted, once, and nothing else is. `python -m tests.system.partitions --rounds 3` goes through every
fault as often, in an order drawn from the seed. It wants root and iproute2.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import assert_never

from cloud.cli.shop import Children, CloudService
from tests.bench.table import Row, Table
from tests.support.agent_peer import Watcher, ask_status
from tests.support.mosquitto import wait_until
from tests.support.namespaces import MIDDLE, MIDDLE_ADDRESS, Network, why_no_namespaces
from tests.support.shop import MEMORY, Shop, ShopKiosk, no_shop, verify_all
from tests.system.kills import CODE_EVERY_S, check_posted, check_shown, members_coming

CLOUD = "cloud"
KIOSKS = ("kiosk-1", "kiosk-2")
CUT_S = (2.0, 4.0)
LONG_CUT_S = 50.0  # longer than a keep-alive and a half: both ends give the connection up
SETTLE_S = 150.0  # TCP sends again after as long as it was cut; a link pauses up to a minute
PULSES, PULSE_S = 15, 0.1
ROUND_S, RESERVE_S = 25.0, 150.0  # what a fault takes with its recovery, and what one of them may take longer


class Fault(StrEnum):
    """What happens to a line."""

    UNPLUGGED_KIOSK = "kiosk's cable out"
    UNPLUGGED_CLOUD = "cloud's cable out"
    SILENT_KIOSK = "kiosk's packets dropped both ways"
    SILENT_CLOUD = "cloud's packets dropped both ways"
    UPWARD = "kiosk's packets dropped on the way up only"
    DOWNWARD = "kiosk's packets dropped on the way down only"
    CLOUD_DEAF = "cloud's packets dropped on the way to it only"
    FLAPPING = "kiosk's packets dropped in pulses, one way then the other"
    HALF_OPEN_BROKER = "kiosk's link dies unnoticed by the broker, comes back beside its own ghost"
    HALF_OPEN_KIOSK = "broker dies unnoticed by a kiosk, comes back empty"
    LONG_SILENCE = "kiosk's packets dropped for longer than a keep-alive"


AT_THE_CLOUD = (Fault.UNPLUGGED_CLOUD, Fault.SILENT_CLOUD, Fault.CLOUD_DEAF)
QUICK = (
    Fault.UNPLUGGED_KIOSK,
    Fault.SILENT_CLOUD,
    Fault.UPWARD,
    Fault.DOWNWARD,
    Fault.HALF_OPEN_BROKER,
    Fault.HALF_OPEN_KIOSK,
)


class ScatteredChildren(Children):
    """Processes that run on the machine their name speaks of; others where we are."""

    network: Network

    def start(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Starts the program on its machine."""
        machine = next((machine for machine in (MIDDLE, *KIOSKS) if name.startswith(machine)), None)
        prefix = () if machine is None else self.network.inside(machine)
        return super().start(name, [*prefix, *command])


class ScatteredShop(Shop):
    """A shop whose broker and kiosks are on machines of their own. Cloud and test are on the cloud's."""

    def __init__(self, folder: Path, network: Network) -> None:
        super().__init__(folder, kiosks=len(KIOSKS))
        self.network = network
        scattered = ScatteredChildren(logs=folder, environment=self.children.environment)
        scattered.network = network
        self.children = scattered
        self.cloud = CloudService(scattered, self.cloud.home, self._ports)

    def open(self) -> None:
        """As ever; the broker listens on its machine's addresses and is known by one of them."""
        port = str(self._ports.broker)
        self.ask("doorstep-cloud", "init", "--name", MIDDLE_ADDRESS, "--broker-host", "0.0.0.0", "--broker-port", port)
        self.cloud.broker.join()
        self.open_beside("--name", MIDDLE_ADDRESS, "--broker-host", MIDDLE_ADDRESS, "--broker-port", port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """What was cut how often, how many claims waited and how long all took to settle at the most; what was found."""

    faults: tuple[tuple[Fault, int, int, float], ...]
    shown: int
    kept: int
    posted: int
    seconds: float

    def __str__(self) -> str:
        """A table."""
        rows = [
            Row(cells=(fault.value, str(count), str(waited), f"{settled_s:.1f}"))
            for fault, count, waited, settled_s in self.faults
        ]
        found = (("grants shown", self.shown), ("claims kept", self.kept), ("claims posted, once each", self.posted))
        return str(
            Table(
                title=f"{sum(fault[1] for fault in self.faults)} cut lines in {self.seconds:.0f} s",
                headers=("what", "count", "waiting", "settled within s"),
                rows=(*rows, *(Row(cells=(what, str(count), "", "")) for what, count in found)),
                notes=(
                    "Waiting: claims without a receipt at the end of the cut, at the most.",
                    "Settled: from the line being whole until both kiosks are online with nothing waiting.",
                    "Nothing shown was not kept, nothing kept not posted, nothing posted twice or rejected.",
                ),
            )
        )


def run_partitions(shop: ScatteredShop, faults: Sequence[Fault], random: Random) -> Healed:
    """What was found. Raises: AssertionError when a promise was broken."""
    began_s = time.monotonic()
    for kiosk in shop.kiosks:
        shop.start(kiosk, "agent", "link")
    shop.await_ready()
    known = set(shop.grants())
    healed: list[tuple[Fault, int, float]] = []
    with ExitStack() as stack:
        watchers = {kiosk.name: stack.enter_context(Watcher(kiosk.agent_socket)) for kiosk in shop.kiosks}
        with members_coming(shop.kiosks, shop.enrol(round((len(faults) * ROUND_S + RESERVE_S) / CODE_EVERY_S))):
            for fault in faults:
                waited = _cause(shop, fault, random)
                assert waited, f"nothing waited: was there a fault? {fault}"
                whole_s = time.monotonic()
                wait_until(lambda: all(map(_is_calm, shop.kiosks)), f"all settles after: {fault}", SETTLE_S)
                healed.append((fault, waited, time.monotonic() - whole_s))
        shop.settle(SETTLE_S)
    check_shown(shop.kiosks, watchers)
    posted = check_posted(shop, known)
    verify_all(shop)
    return Healed(
        faults=tuple(
            (fault, len(took), max(waited for waited, _ in took), max(settled_s for _, settled_s in took))
            for fault in Fault
            if (took := [(waited, settled_s) for caused, waited, settled_s in healed if caused is fault])
        ),
        shown=sum(len(watcher.claims) for watcher in watchers.values()),
        kept=sum(claim.claim in posted for kiosk in shop.kiosks for claim in kiosk.claims()),
        posted=len(posted),
        seconds=time.monotonic() - began_s,
    )


def _cause(shop: ScatteredShop, fault: Fault, random: Random) -> int:
    """The fault comes and goes; how many claims waited at its end, which is how one knows that it was there."""
    kiosk, network, cut_s = random.choice(shop.kiosks), shop.network, random.uniform(*CUT_S)
    machine = CLOUD if fault in AT_THE_CLOUD else kiosk.name
    match fault:
        case Fault.UNPLUGGED_KIOSK | Fault.UNPLUGGED_CLOUD:
            with network.unplugged(machine):
                return _wait_out(shop, cut_s)
        case Fault.SILENT_KIOSK | Fault.SILENT_CLOUD:
            with network.dropping(machine):
                return _wait_out(shop, cut_s)
        case Fault.UPWARD:
            with network.dropping(machine, downward=False):
                return _wait_out(shop, cut_s)
        case Fault.DOWNWARD | Fault.CLOUD_DEAF:
            with network.dropping(machine, upward=False):
                return _wait_out(shop, cut_s)
        case Fault.FLAPPING:
            return max(_pulse(shop, machine, pulse, random) for pulse in range(PULSES))
        case Fault.HALF_OPEN_BROKER:
            with network.dropping(machine):
                shop.children.kill(kiosk.process("link"))
                waited = _wait_out(shop, cut_s)
            shop.start(kiosk, "link")
            return waited
        case Fault.HALF_OPEN_KIOSK:
            with network.dropping(machine):
                shop.cloud.broker.crash()
                waited = _wait_out(shop, cut_s)
            shop.cloud.broker.join()
            return waited
        case Fault.LONG_SILENCE:
            with network.dropping(machine):
                return _wait_out(shop, LONG_CUT_S)
        case _:
            assert_never(fault)


def _pulse(shop: ScatteredShop, machine: str, pulse: int, random: Random) -> int:
    with shop.network.dropping(machine, upward=pulse % 2 == 0, downward=pulse % 2 == 1):
        waited = _wait_out(shop, PULSE_S)
    time.sleep(random.uniform(0.0, PULSE_S))
    return waited


def _wait_out(shop: ScatteredShop, seconds: float) -> int:
    """How many claims wait for a receipt after that time."""
    time.sleep(seconds)
    told = [ask_status(kiosk.agent_socket) for kiosk in shop.kiosks]
    return sum(one.outbox_waiting for one in told if one is not None)


def _is_calm(kiosk: ShopKiosk) -> bool:
    told = ask_status(kiosk.agent_socket)
    return told is not None and told.online and told.outbox_waiting == 0


def run_apart(rounds: int, seed: int, *, is_quick: bool, say: Callable[[str], None]) -> int:
    """The exit code of a campaign in a network of its own, which is gone afterwards."""
    network = Network(f"ds{os.getpid()}", [CLOUD, *KIOSKS])
    try:
        network.lay()
        words = ["--rounds", str(rounds), "--seed", str(seed), "--inside", f"ds{os.getpid()}"]
        done = subprocess.run(
            [*network.inside(CLOUD), sys.executable, "-m", "tests.system.partitions", *words, *["--quick"] * is_quick],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        say(done.stdout)
        return done.returncode
    finally:
        network.remove()


def main() -> int:
    """The exit code: 0 when all promises held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="six of the faults")
    parser.add_argument("--inside", help="the prefix of the network we are in already; for our own use")
    given = parser.parse_args()
    reason = no_shop() or why_no_namespaces() if given.inside is None else None
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    if given.inside is None:
        return run_apart(given.rounds, given.seed, is_quick=given.quick, say=print)
    network, random = Network(given.inside, [CLOUD, *KIOSKS]), Random(given.seed)
    faults = [*(QUICK if given.quick else tuple(Fault))] * given.rounds
    random.shuffle(faults)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-apart-") as folder:
        shop = ScatteredShop(Path(folder), network)
        try:
            shop.open()
            print(run_partitions(shop, faults, random))
        finally:
            shop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

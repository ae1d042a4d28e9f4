"""A shop on a clustered broker that speaks MQTT 3.1.1 only; the node that holds its sessions dies under load.

What must hold: every claim that was shown is kept and posted, once, whatever the cluster lost. `python -m
tests.system.cluster --rounds 6` kills one node after the other, each time the one everybody is connected to.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.agent_peer import Watcher, ask_status
from tests.support.mosquitto import HOST, wait_until
from tests.support.rabbitmq import ClusterFiles, RabbitCluster, RabbitNode, rabbit_cluster, why_no_rabbitmq
from tests.support.shop import MEMORY, Shop, verify_all
from tests.system.kills import CODE_EVERY_S, check_posted, check_shown, members_coming

STEADY_S = 11.0  # a connection that lasted ten seconds starts again with small pauses; a shorter one does not
AFTER_S = 3.0
BACK_S = 90.0  # a line tries its nodes at growing, random intervals
GUESTS_A_ROUND = round(110 / CODE_EVERY_S)  # more than come while a node is down


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What became of a node's death: how long until both kiosks and the cloud were back, and what was posted."""

    rounds: int
    away_s: tuple[float, ...]
    shown: int
    kept: int
    posted: int

    def __str__(self) -> str:
        """One line."""
        away = ", ".join(f"{seconds:.1f}" for seconds in self.away_s)
        return (
            f"{self.rounds} times the node with all sessions killed under load (3 nodes, MQTT 3.1.1, mutual TLS): all"
            f" claims settled again after {away} s; {self.shown} grants shown at two doors, {self.kept} kept,"
            f" {self.posted} posted once each"
        )


class ClusteredShop(Shop):
    """A shop whose cloud and kiosks are told of a cluster's nodes."""

    def __init__(self, folder: Path, cluster: RabbitCluster) -> None:
        super().__init__(folder, kiosks=2)
        self._cluster = cluster

    @property
    def nodes(self) -> tuple[RabbitNode, ...]:
        """The broker's nodes, in the order in which they are tried."""
        return self._cluster.nodes

    def open(self) -> None:
        """The cloud serves, the kiosks are provisioned, and the cluster runs under the rules the cloud wrote for it."""
        self.ask("doorstep-cloud", "init", "--name", HOST)
        self.open_beside("--broker-host", self._cluster.addresses, "--mqtt-version", "3.1.1")
        definitions = self.folder / "definitions.json"
        definitions.write_text(self.ask("doorstep-cloud", "devices", "rabbitmq"))
        keys = self.cloud.home / "keys"
        self._cluster.start(
            ClusterFiles(
                authority=self.cloud.authority,
                certificate=keys / "broker.pem",
                key=keys / "broker.key",
                definitions=definitions,
            )
        )

    def is_back(self) -> bool:
        """True when the cloud and all kiosks are on the line and nothing waits for a receipt."""
        if self.api.get("/healthz").json()["broker"] != "up":
            return False
        told = [ask_status(kiosk.agent_socket) for kiosk in self.kiosks]
        return all(one is not None and one.online and one.outbox_waiting == 0 for one in told)


def run_cluster(shop: ClusteredShop, rounds: int) -> Lost:
    """What was found. Raises: AssertionError when a promise was broken."""
    known = set(shop.grants())
    for kiosk in shop.kiosks:
        shop.start(kiosk, "agent", "link")
    shop.await_ready()
    wait_until(shop.is_back, "everybody is on the line", BACK_S)
    with ExitStack() as stack:
        watchers = {kiosk.name: stack.enter_context(Watcher(kiosk.agent_socket)) for kiosk in shop.kiosks}
        away_s = tuple(_kill_in_turn(shop, turn) for turn in range(rounds))
        shop.settle(BACK_S)
    check_shown(shop.kiosks, watchers)
    posted = check_posted(shop, known)
    verify_all(shop)
    kept = [claim for kiosk in shop.kiosks for claim in kiosk.claims() if claim.claim in posted]
    shown = sum(len(watcher.claims) for watcher in watchers.values())
    return Lost(rounds=rounds, away_s=away_s, shown=shown, kept=len(kept), posted=len(posted))


def _kill_in_turn(shop: ClusteredShop, turn: int) -> float:
    """Kills the node that holds the sessions; the seconds from then until nothing waits, while members keep coming."""
    node = shop.nodes[turn % len(shop.nodes)]
    if turn:
        shop.nodes[(turn - 1) % len(shop.nodes)].start()
        shop.nodes[(turn - 1) % len(shop.nodes)].wait_until_up()
    with members_coming(shop.kiosks, shop.enrol(GUESTS_A_ROUND)):
        time.sleep(STEADY_S)
        node.kill()
        killed_s = time.monotonic()
        wait_until(lambda: not shop.is_back(), "the node is missed", BACK_S)
        wait_until(shop.is_back, "everybody is back on another node and nothing waits", BACK_S)
        took_s = time.monotonic() - killed_s
        time.sleep(AFTER_S)
    return took_s


@contextlib.contextmanager
def open_clustered_shop() -> Iterator[ClusteredShop]:
    """A shop on a cluster that serves; gone with its folder at the end. Skips without RabbitMQ."""
    reason = why_no_rabbitmq()
    if reason is not None:
        pytest.skip(reason)
    memory = MEMORY if MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=memory, prefix="ds-cluster-") as folder,
        rabbit_cluster(Path(folder) / "rabbit") as cluster,
    ):
        shop = ClusteredShop(Path(folder), cluster)
        try:
            shop.open()
            yield shop
        finally:
            shop.close()


def main() -> None:
    """Runs the rounds in a shop of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    reason = why_no_rabbitmq()
    if reason is not None:
        print(f"skipped: {reason}")
        return
    with open_clustered_shop() as shop:
        print(run_cluster(shop, given.rounds))


if __name__ == "__main__":
    main()

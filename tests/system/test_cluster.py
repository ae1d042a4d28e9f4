"""A shop on a broker that is a cluster of three nodes and speaks MQTT 3.1.1: who hears what, and a node that dies."""

from collections.abc import Iterator

import pytest

from tests.support.certificates import Identity
from tests.support.mosquitto import wait_until
from tests.support.mqtt_peer import V311, Got, Peer, speaks
from tests.system.cluster import ClusteredShop, open_clustered_shop, run_cluster

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def clustered() -> Iterator[ClusteredShop]:
    with open_clustered_shop() as shop:
        yield shop


def test_a_node_that_dies_with_all_sessions_costs_nobody_a_point(clustered: ClusteredShop) -> None:
    lost = run_cluster(clustered, rounds=1)
    assert lost.posted >= 60, f"hardly anybody came: {lost}"


def test_the_rules_written_for_the_cluster_keep_devices_apart(clustered: ClusteredShop) -> None:
    """As in test_access_control.py: what counts is what is delivered. RabbitMQ hangs up on who oversteps."""
    node = clustered.nodes[1]  # the first one may be dead by now
    theirs = f"doorstep/v1/{clustered.kiosks[1].device}"
    first, second = (
        Identity(certificate=kiosk.home / "keys" / "tls.crt", key=kiosk.home / "keys" / "tls.key")
        for kiosk in clustered.kiosks
    )
    keys = clustered.cloud.home / "keys"
    clustered.end_kiosks()
    clustered.children.stop("cloud")
    with (
        Peer(node, "cloud", Identity(certificate=keys / "client.pem", key=keys / "client.key"), V311) as cloud,
        Peer(node, clustered.kiosks[1].device, second, V311) as victim,
    ):
        cloud.subscribe("doorstep/v1/+/up/+")
        victim.subscribe(f"{theirs}/down/+")
        for overstep in (f"{theirs}/down/+", "doorstep/v1/+/down/+", "#"):
            with Peer(node, clustered.kiosks[0].device, first, V311) as spy:
                spy.request(overstep)
                cloud.publish(f"{theirs}/down/receipt", b"for the other")
                spy.say(f"{theirs}/up/event", b"forged")
                _await_end(spy)
                assert spy.got == []
        with Peer(node, clustered.kiosks[0].device, first, V311) as liar:
            liar.say(f"{theirs}/down/receipt", b"forged")
            _await_end(liar)
        victim.publish(f"{theirs}/up/event", b"true")
        wait_until(lambda: bool(cloud.got), "the true one arrives")
        cloud.publish(f"{theirs}/down/receipt", b"last")
        wait_until(lambda: victim.got[-1:] == [Got(topic=f"{theirs}/down/receipt", data=b"last")], "the last arrives")
        assert [got.data for got in cloud.got] == [b"true"]
        assert {got.data for got in victim.got} == {b"for the other", b"last"}
    assert speaks(node, first)
    assert not speaks(node, None)


def _await_end(peer: Peer) -> None:
    wait_until(lambda: not peer.is_connected, "the broker hangs up")

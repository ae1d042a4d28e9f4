"""The node of a clustered broker that holds everybody's sessions dies under load: nothing is lost, on MQTT 3.1.1."""

from collections.abc import Iterator

import pytest

from tests.system.cluster import ClusteredShop, open_clustered_shop, run_cluster

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def clustered() -> Iterator[ClusteredShop]:
    with open_clustered_shop() as shop:
        yield shop


def test_a_node_that_dies_with_all_sessions_costs_nobody_a_point(clustered: ClusteredShop) -> None:
    lost = run_cluster(clustered, rounds=1)
    print(lost)
    assert lost.posted >= 60, f"hardly anybody came: {lost}"

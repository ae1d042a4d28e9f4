"""The checkers bite: every broken variant is found, for what is wrong with it, within its number of seeds."""

from collections.abc import Iterator

import pytest

from tests.simulation.campaign import unlogged
from tests.simulation.variants import BROKEN, Broken
from tests.simulation.world import SimulationFailed, Simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with unlogged(), Simulator() as made:
        yield made


def find(simulator: Simulator, broken: Broken) -> SimulationFailed | None:
    """The first failure within the variant's seeds."""
    for seed in range(1, broken.within + 1):
        try:
            simulator.run(seed, variant=broken.variant)
        except SimulationFailed as failed:
            return failed
    return None


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.variant.name)
def test_a_broken_variant_is_found(simulator: Simulator, broken: Broken) -> None:
    failed = find(simulator, broken)
    assert failed is not None, f"{broken.variant.name} went unnoticed for {broken.within} seeds"
    assert failed.found.partition(":")[0] in broken.promises, failed.found

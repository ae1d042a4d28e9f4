"""Twenty processes die at any moment and no promise breaks. The same with 500 is part of `make proof`."""

import pytest

from tests.support.shop import Shop
from tests.system.kills import run_kills

KILLS, SEED = 20, 20261122


@pytest.mark.timeout(600)
def test_twenty_kills_show_nothing_that_is_not_stored_and_store_nothing_twice(shop: Shop) -> None:
    found = run_kills(shop, KILLS, SEED)
    assert sum(found.kills.values()) == KILLS
    assert len(found.kills) == 7, f"somebody was spared: {found}"
    assert found.posted >= 50, f"hardly anybody came: {found}"
    assert found.by_camera >= 3, f"hardly anybody was seen: {found}"

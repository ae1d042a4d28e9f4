"""Twenty processes die at any moment and no promise breaks. The same with 500 is part of `make proof`."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import postgres_server, why_no_postgres
from tests.support.shop import Shop, open_shop
from tests.system.kills import Found, run_kills

KILLS, SEED = 20, 20261122
KILLS_ON_POSTGRESQL = 16  # two of each kind

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def shop_on_postgresql() -> Iterator[Shop]:
    reason = why_no_postgres()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server() as server:
        server.execute("CREATE DATABASE kills")
        with open_shop(database=server.url("kills")) as shop:
            yield shop


def test_twenty_kills_show_nothing_that_is_not_stored_and_store_nothing_twice(shop: Shop) -> None:
    _check(run_kills(shop, KILLS, SEED), KILLS)


@pytest.mark.long
def test_the_same_holds_when_the_cloud_keeps_its_books_in_postgresql(shop_on_postgresql: Shop) -> None:
    _check(run_kills(shop_on_postgresql, KILLS_ON_POSTGRESQL, SEED), KILLS_ON_POSTGRESQL)


def _check(found: Found, kills: int) -> None:
    assert sum(found.kills.values()) == kills
    assert len(found.kills) == 8, f"somebody was spared: {found}"
    assert found.posted >= 50, f"hardly anybody came: {found}"
    assert found.by_camera >= 3, f"hardly anybody was seen: {found}"

"""One shop for all tests of real processes: opening one takes longer than most of them."""

from collections.abc import Iterator

import pytest

from tests.support.shop import Shop, open_shop


@pytest.fixture(scope="session")
def open_for_all() -> Iterator[Shop]:
    """The shop, with two kiosks."""
    with open_shop(kiosks=2) as shop:
        yield shop


@pytest.fixture
def shop(open_for_all: Shop) -> Iterator[Shop]:
    """The shop with broker and cloud running and no kiosk started; whatever the test started is ended after it."""
    yield open_for_all
    open_for_all.end_kiosks()
    open_for_all.mend()
    for kiosk in open_for_all.kiosks:
        kiosk.set()

"""The fixture `browser`: Debian's Chromium, once a module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import chromium, why_no_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser; it ends with the module, because no `asyncio.run` works in this thread while it lives."""
    reason = why_no_chromium()
    if reason is not None:
        pytest.skip(reason)
    with chromium() as running:
        yield running

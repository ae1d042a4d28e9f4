"""The order in which the suite runs: what takes longest first, so that nobody waits for it alone at the end."""

from typing import Final

import pytest

LONG: Final = ("tests/system/", "tests/simulation/", "tests/bench/", "tests/browser/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders with long tests come first; within one, and among the rest, the order stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))

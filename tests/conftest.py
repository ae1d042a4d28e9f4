"""The order in which the suite runs: what takes longest first, so that nobody waits for it alone at the end; and what
of it waits for `--long`."""

from typing import Final

import pytest

LONG: Final = ("tests/system/", "tests/simulation/", "tests/bench/", "tests/browser/")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that runs what `make proof` runs in a longer form."""
    parser.addoption("--long", action="store_true", help="run the tests marked `long` as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Folders with long tests come first; within one, and among the rest, the order stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes: run with --long; make proof runs its campaign"))

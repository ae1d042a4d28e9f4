"""The fixture `lines`: what the process logs while a test runs."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from cloud.kit.logs import set_up_logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process logs, with logging put back as it was at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    set_up_logs(stream, "INFO")
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()

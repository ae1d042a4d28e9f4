"""Debian's Chromium, driven by Playwright: the browser that kiosks run, not one that a test tool brings along."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

PROGRAM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # tests may run as root, which Chromium's sandbox refuses
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def why_no_chromium() -> str | None:
    """The reason why no browser can be started here, or None when one can."""
    return None if Path(PROGRAM).exists() else f"{PROGRAM} is not installed"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, closed at the end of the block.

    Playwright's synchronous interface keeps an event loop running in this thread: inside the block `asyncio.run` is
    refused, so the block must not outlive the tests that need it.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()

"""Reads a kiosk's screen the way its browser does: the server-sent events of the process `web`."""

import threading
from collections.abc import Callable
from typing import Self

import httpx
import msgspec

from edge.core.screen import Screen, ScreenName
from edge.kiosk.hub import PageScreen

READ_S = 30.0
_DATA = "data: {"


class ScreenReader:
    """Everything that stood on a kiosk's page since it was opened, until closed."""

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._screens: list[Screen] = []
        self._over = threading.Event()
        self._decoder = msgspec.json.Decoder(PageScreen)
        self._address = f"http://127.0.0.1:{port}/events"
        self._thread = threading.Thread(target=self._read, name="screen", daemon=True)
        self._thread.start()

    def wait_for(self, wanted: Callable[[Screen], bool], what: str, within_s: float) -> Screen:
        """The first screen of all so far that is wanted; fails the test, naming it, when none comes."""
        with self._changed:
            screen = self._changed.wait_for(lambda: next(filter(wanted, self._screens), None), within_s)
            assert screen is not None, f"waited {within_s} s in vain: {what}; seen: {self._names()}"
            return screen

    def greetings(self) -> set[str]:
        """The claims that were greeted."""
        with self._changed:
            return {screen.claim for screen in self._screens if screen.name is ScreenName.GREETING and screen.claim}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops reading with the next line, a heartbeat at the latest."""
        self._over.set()
        self._thread.join(READ_S)

    def _read(self) -> None:
        with httpx.Client(timeout=READ_S) as client:
            while not self._over.is_set():
                try:
                    self._follow(client)
                except httpx.TransportError:  # not there yet, or gone for a moment
                    self._over.wait(0.1)

    def _follow(self, client: httpx.Client) -> None:
        with client.stream("GET", self._address) as answer:
            for line in answer.iter_lines():
                if self._over.is_set():
                    return
                if line.startswith(_DATA):
                    shown = self._decoder.decode(line.removeprefix("data: "))
                    with self._changed:
                        self._screens.append(shown.screen)
                        self._changed.notify_all()

    def _names(self) -> list[str]:
        return [screen.name.value for screen in self._screens[-20:]]

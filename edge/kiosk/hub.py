"""The newest screen and everybody who watches it.

A watcher holds one flag and no queue: whoever reads slowly skips what was replaced meanwhile and never sees an old
screen after a new one. A greeting belongs to whoever stands at the door now.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from edge.channel.messages import ScreenShown, Touched
from edge.core.screen import Screen, ScreenName, Status, is_same_dialog


class PageScreen(msgspec.Struct, frozen=True, kw_only=True):
    """What the page is told: the screen, for how many more seconds (0: until the next), and what stands beside it.

    `serial` is the agent's, None while the agent is away; `status` None until it told one.
    """

    serial: int | None
    screen: Screen
    status: Status | None
    seconds: float


class Watch:
    """One watcher's place: woken when there is something newer to see, or when the watching is over."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self.is_over = False

    async def wait(self) -> None:
        """Returns once something changed since the last time."""
        await self._woken.wait()
        self._woken.clear()

    def wake(self) -> None:
        """There is something newer."""
        self._woken.set()

    def end(self) -> None:
        """The watcher is gone, or the process ends."""
        self.is_over = True
        self._woken.set()


class ScreenHub:
    """Keeps the newest screen and wakes those who watch, at most `watchers_max` at once."""

    def __init__(self, watchers_max: int, monotonic_s: Callable[[], float]) -> None:
        self._watchers_max = watchers_max
        self._monotonic_s = monotonic_s
        self._watches: set[Watch] = set()
        self._newest = PageScreen(serial=None, screen=Screen(name=ScreenName.FAULT), status=None, seconds=0.0)
        self._since_s = monotonic_s()
        self._first_serial: int | None = None
        self._tell: Callable[[Touched], None] | None = None

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watches)

    @property
    def has_agent(self) -> bool:
        """True while the newest screen is the agent's own."""
        return self._newest.serial is not None

    def show(self, shown: ScreenShown) -> None:
        """Everybody sees the agent's screen."""
        self._replace(PageScreen(serial=shown.serial, screen=shown.screen, status=shown.status, seconds=shown.seconds))

    def agent_away(self) -> None:
        """Everybody sees "one moment, please": what the agent showed last may no longer be true."""
        if self.has_agent:
            fault = Screen(name=ScreenName.FAULT)
            self._replace(PageScreen(serial=None, screen=fault, status=self._newest.status, seconds=0.0))

    def current(self) -> PageScreen:
        """What is to be seen now: a screen whose time is over has become the idle one."""
        newest = self._newest
        if newest.seconds == 0.0:
            return newest
        left_s = newest.seconds - (self._monotonic_s() - self._since_s)
        if left_s > 0.0:
            return msgspec.structs.replace(newest, seconds=left_s)
        return msgspec.structs.replace(newest, screen=Screen(name=ScreenName.IDLE), seconds=0.0)

    def tap(self, touched: Touched) -> bool:
        """True when the tap was for what is shown and offered now, and the agent was told of it."""
        shown, first = self.current(), self._first_serial
        if shown.serial is None or first is None or self._tell is None:
            return False
        if not first <= touched.serial <= shown.serial or touched.offer not in shown.screen.offers:
            return False
        self._tell(touched)
        return True

    @contextmanager
    def telling(self, tell: Callable[[Touched], None]) -> Iterator[None]:
        """Taps go to this agent, as long as it is there."""
        self._tell = tell
        try:
            yield
        finally:
            self._tell = None

    @contextmanager
    def watching(self) -> Iterator[Watch | None]:
        """A place among the watchers, None when all are taken."""
        if self.watchers >= self._watchers_max:
            yield None
            return
        watch = Watch()
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def close(self) -> None:
        """Ends every watching."""
        for watch in self._watches:
            watch.end()

    def _replace(self, newest: PageScreen) -> None:
        if newest.serial is None or not self.has_agent or not is_same_dialog(newest.screen, self._newest.screen):
            self._first_serial = newest.serial
        self._newest = newest
        self._since_s = self._monotonic_s()
        for watch in self._watches:
            watch.wake()

"""The newest screen: what is left of its time, who may watch, and that nobody sees an old one after a new one."""

import asyncio

from edge.channel.messages import ScreenShown
from edge.core.screen import Screen, ScreenName
from edge.kiosk.hub import PageScreen, ScreenHub, Watch
from tests.support.screen_agent import IDLE, ONLINE

GREETING = Screen(name=ScreenName.GREETING, nickname="Giulia", points=10, balance=1240)


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def shown(serial: int, screen: Screen, seconds: float = 0.0) -> ScreenShown:
    return ScreenShown(serial=serial, screen=screen, status=ONLINE, seconds=seconds)


def told(serial: int | None, screen: Screen, seconds: float = 0.0) -> PageScreen:
    return PageScreen(serial=serial, screen=screen, status=ONLINE, seconds=seconds)


def test_before_the_agent_spoke_the_screen_is_a_fault() -> None:
    hub = ScreenHub(1, Seconds())
    fault = Screen(name=ScreenName.FAULT)
    assert hub.current() == PageScreen(serial=None, screen=fault, status=None, seconds=0.0)
    assert not hub.has_agent


def test_a_screen_without_a_time_stays() -> None:
    clock = Seconds()
    hub = ScreenHub(1, clock)
    hub.show(shown(1, GREETING))
    clock.now += 1e6
    assert hub.current() == told(1, GREETING)


def test_who_comes_late_gets_the_seconds_that_are_left() -> None:
    clock = Seconds()
    hub = ScreenHub(1, clock)
    hub.show(shown(7, GREETING, seconds=6.0))
    clock.now += 4.0
    assert hub.current() == told(7, GREETING, seconds=2.0)


def test_a_greeting_whose_time_is_over_is_shown_to_nobody() -> None:
    clock = Seconds()
    hub = ScreenHub(1, clock)
    hub.show(shown(7, GREETING, seconds=6.0))
    clock.now += 6.0
    assert hub.current() == told(7, IDLE)


def test_when_the_agent_goes_its_last_greeting_goes_and_the_store_stays_known() -> None:
    hub = ScreenHub(1, Seconds())
    hub.show(shown(7, GREETING, seconds=6.0))
    hub.agent_away()
    assert hub.current() == told(None, Screen(name=ScreenName.FAULT))


def test_a_watcher_sees_the_newest_of_many_changes_once() -> None:
    async def watch() -> tuple[PageScreen, bool]:
        hub = ScreenHub(1, Seconds())
        with hub.watching() as watch:
            assert watch is not None
            for serial in range(1, 1001):
                hub.show(shown(serial, GREETING))
            await watch.wait()
            seen = hub.current()
            return seen, await is_woken(watch)

    assert asyncio.run(watch()) == (told(1000, GREETING), False)


def test_the_agent_staying_away_wakes_nobody_again() -> None:
    async def watch() -> bool:
        hub = ScreenHub(1, Seconds())
        hub.show(shown(1, GREETING))
        with hub.watching() as watch:
            assert watch is not None
            hub.agent_away()
            await watch.wait()
            hub.agent_away()
            return await is_woken(watch)

    assert asyncio.run(watch()) is False


def test_one_more_than_the_limit_gets_no_place_and_a_place_is_free_again_after_use() -> None:
    hub = ScreenHub(2, Seconds())
    with hub.watching() as first, hub.watching() as second, hub.watching() as third:
        assert first is not None
        assert second is not None
        assert third is None
        assert hub.watchers == 2
    assert hub.watchers == 0


def test_closing_ends_every_watching() -> None:
    async def watch() -> bool:
        hub = ScreenHub(1, Seconds())
        with hub.watching() as watch:
            assert watch is not None
            hub.close()
            await watch.wait()
            return watch.is_over

    assert asyncio.run(watch())


async def is_woken(watch: Watch) -> bool:
    """True when another wait would return at once."""
    waiting = asyncio.create_task(watch.wait())
    await asyncio.sleep(0)
    is_done = waiting.done()
    waiting.cancel()
    return is_done

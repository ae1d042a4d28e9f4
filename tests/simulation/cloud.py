"""The cloud: the product's ingest on its own database, cut between any two statements or just after a commit."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from sqlalchemy import Engine, event

from cloud.broker.messages import Inbound, Outbound
from shared.topics import Up
from tests.simulation.clock import HOUR, MS, SECOND
from tests.simulation.network import Broker
from tests.simulation.plan import Faults
from tests.simulation.schedule import Schedule
from tests.simulation.trace import Fault

STATEMENTS_MAX = 40  # of a batch: where a cut may fall
TIME_NS = (MS, 30 * MS)
RETURN_NS = 12 * HOUR  # the product does it every hour; what is over has been so for weeks

_TIME = frozenset({Up.TIME})
_STORED = frozenset({Up.EVENT, Up.STATE})


class CloudCut(Exception):
    """The cloud's process or its database is gone at this point."""


class Worker(Protocol):
    """What handles messages: the product's Ingest."""

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """What to tell whom, now that it is stored."""
        ...

    def bring_news(self) -> Sequence[Outbound]:
        """Pages for kiosks that are online and behind."""
        ...


class EngineFuse:
    """Lets the database fail at the statement or commit it was armed for. One for the life of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._left: int | None = None
        event.listen(engine, "before_cursor_execute", self._touch)
        event.listen(engine, "commit", self._touch)

    def arm(self, statements: int) -> None:
        """The cut comes at the statement or commit after so many."""
        self._left = statements

    def disarm(self) -> bool:
        """Nothing is cut any more; True when something would still have been."""
        was_armed, self._left = self._left is not None, None
        return was_armed

    def _touch(self, *_: object) -> None:
        if self._left is None:
            return
        if self._left == 0:
            self._left = None
            raise CloudCut
        self._left -= 1


class Cloud:
    """One worker at a time. `on_change` is called whenever something may have been committed."""

    def __init__(
        self,
        schedule: Schedule,
        broker: Broker,
        random: Random,
        *,
        fuse: EngineFuse,
        make_worker: Callable[[], Worker],
        return_ended: Callable[[], int],
        wait_ns: int,
        news_wait_ns: int,
        faults: Faults,
        on_change: Callable[[], None],
    ) -> None:
        self.faults = faults
        self._schedule = schedule
        self._broker = broker
        self._random = random
        self._fuse = fuse
        self._make_worker = make_worker
        self._return_ended = return_ended
        self._wait_ns = wait_ns
        self._news_wait_ns = news_wait_ns
        self._on_change = on_change
        self._worker = make_worker()
        self._is_away = False
        self._work_planned = False
        self._time_planned = False
        self._news_planned = False
        broker.on_inbound = self._wake

    def leave(self, for_ns: int) -> None:
        """Nothing is handled for so long."""
        if not self._is_away:
            self._schedule.fault(Fault.CLOUD_AWAY, "cloud", f"for {for_ns // SECOND} s")
            self._is_away = True
            self._schedule.after(for_ns, self.come_back)

    def come_back(self) -> None:
        """A fresh worker handles what waits."""
        if self._is_away:
            self._is_away = False
            self._worker = self._make_worker()
            self._wake(Up.EVENT)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.faults = Faults()
        self.come_back()

    def bring_news_soon(self) -> None:
        """Something changed that kiosks should hear of."""
        if not self._news_planned:
            self._news_planned = True
            self._schedule.after(self._random.randint(SECOND, self._news_wait_ns), self._bring_news)

    def return_soon(self) -> None:
        """What allotments that are over left goes back, now and every few hours from now on."""
        self._schedule.after(self._random.randint(HOUR, RETURN_NS), self._return)

    def _return(self) -> None:
        self.return_soon()
        if self._is_away:
            return
        if self._random.random() < self.faults.cloud_cut:
            self._fuse.arm(self._random.randrange(STATEMENTS_MAX))
        try:
            points = self._return_ended()
        except CloudCut:
            self._schedule.fault(Fault.CLOUD_CUT_BEFORE_COMMIT, "cloud", "while points go back")
            return
        finally:
            self._fuse.disarm()
        if points:
            self._schedule.fault(Fault.TAKEN_BACK, "cloud", f"{points} points")
        self._on_change()

    def _wake(self, kind: Up) -> None:
        if kind is Up.TIME and not self._time_planned:
            self._time_planned = True
            self._schedule.after(self._random.randint(*TIME_NS), self._tell_time)
        elif kind is not Up.TIME and not self._work_planned:
            self._work_planned = True
            self._schedule.after(self._random.randint(MS, self._wait_ns), self._work)

    def _tell_time(self) -> None:
        self._time_planned = False
        if not self._is_away:
            self._tell(self._worker(self._broker.take(_TIME)))

    def _work(self) -> None:
        """One batch, handled or cut."""
        self._work_planned = False
        if self._is_away:
            return
        batch = self._broker.take(_STORED)
        if not batch:
            return
        draw = self._random.random()
        if draw < self.faults.cloud_cut:
            self._fuse.arm(self._random.randrange(STATEMENTS_MAX))
        try:
            answers = self._worker(batch)
        except CloudCut:
            self._die(Fault.CLOUD_CUT_BEFORE_COMMIT, batch)
            return
        finally:
            escaped = self._fuse.disarm()
        if escaped or self.faults.cloud_cut <= draw < 1.5 * self.faults.cloud_cut:
            self._die(Fault.CLOUD_CUT_AFTER_COMMIT, batch)
            return
        self._schedule.note("cloud", f"handled {len(batch)}, answers {len(answers)}")
        self._on_change()
        self._tell(answers)
        self.bring_news_soon()

    def _die(self, fault: Fault, batch: list[Inbound]) -> None:
        """Nothing is answered and nothing acknowledged; another worker takes over."""
        self._schedule.fault(fault, "cloud", f"with {len(batch)}")
        self._on_change()
        self._worker = self._make_worker()
        self._broker.give_back(batch)

    def _bring_news(self) -> None:
        self._news_planned = False
        if self._is_away:
            return
        self._tell(self._worker.bring_news())
        self._on_change()

    def _tell(self, answers: Sequence[Outbound]) -> None:
        for message in answers:
            self._broker.tell(message)

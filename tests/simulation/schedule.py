"""The one thread of a world: actions in the order of virtual time, each a step."""

import heapq
from collections.abc import Callable
from datetime import datetime

from tests.simulation.clock import VirtualTime
from tests.simulation.trace import Fault, Trace

Action = Callable[[], None]


class Schedule:
    """What is to happen when. Actions of the same instant happen in the order in which they were planned."""

    def __init__(self, start: datetime, trace: Trace) -> None:
        self.time = VirtualTime(start=start)
        self.trace = trace
        self.steps = 0
        self._planned = 0
        self._heap: list[tuple[int, int, Action]] = []

    def at(self, when_ns: int, action: Action) -> None:
        """The action happens then, or now if that is past."""
        self._planned += 1
        heapq.heappush(self._heap, (max(when_ns, self.time.now_ns), self._planned, action))

    def after(self, delay_ns: int, action: Action) -> None:
        """The action happens so much later."""
        self.at(self.time.now_ns + delay_ns, action)

    def run_next(self, until_ns: int) -> bool:
        """Takes the next step, unless it lies beyond `until_ns`; True when it did."""
        if not self._heap or self._heap[0][0] > until_ns:
            self.time.now_ns = max(self.time.now_ns, until_ns)
            return False
        when_ns, _, action = heapq.heappop(self._heap)
        self.time.now_ns = when_ns
        self.steps += 1
        action()
        return True

    def note(self, who: str, what: str) -> None:
        """A line for the trace."""
        self.trace.note(self.time.now_ns, who, what)

    def fault(self, fault: Fault, who: str, what: str) -> None:
        """A line for the trace, and the fault counted."""
        self.trace.count(fault)
        self.trace.note(self.time.now_ns, who, f"! {fault} {what}".rstrip())

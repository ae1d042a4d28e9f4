"""The time as the agent believes it: the link has no opinion of its own and never looks at the system clock."""

from collections.abc import Callable
from datetime import datetime

from edge.channel.messages import ClockTold
from edge.core.clock import HOLD_MAX
from shared.business_day import instant_of


class ToldClock:
    """Counts on from what the agent told last. `uptime_ns` is the machine's uptime, suspension included."""

    def __init__(self, uptime_ns: Callable[[], int]) -> None:
        self._uptime_ns = uptime_ns
        self._told: ClockTold | None = None

    def take(self, told: ClockTold) -> None:
        """The agent believes this now."""
        self._told = told

    def now(self) -> datetime | None:
        """The time, None when it is not known or was told longer ago than a clock is held."""
        if self._told is None or self._told.instant_ms is None:
            return None
        since_ms = (self._uptime_ns() - self._told.monotonic_ns) // 1_000_000
        if not 0 <= since_ms <= HOLD_MAX.total_seconds() * 1000:
            return None
        return instant_of(self._told.instant_ms + since_ms)

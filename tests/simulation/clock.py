"""Virtual time, and what the clocks of each machine make of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from edge.core.clock import RawTime
from shared.business_day import milliseconds

MS, SECOND, MINUTE, HOUR, DAY = 10**6, 10**9, 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
DRIFT_PPM_MAX = 100  # a cheap quartz in a warm shop


@dataclass(slots=True, kw_only=True)
class VirtualTime:
    """The true time of a world: nanoseconds since its start."""

    start: datetime
    now_ns: int = 0

    @property
    def instant(self) -> datetime:
        """The true instant, to the microsecond."""
        return self.start + timedelta(microseconds=self.now_ns // 1000)

    @property
    def now_ms(self) -> int:
        """The true instant in milliseconds since 1970."""
        return milliseconds(self.start) + self.now_ns // MS


class MachineClock:
    """A kiosk's clocks: uptime since its boot at a rate of its own, and a system clock that may be off by anything.

    `wall_off_ms` is how far the system clock is ahead of the true time, `ahead_ms` how far it was at most when anybody
    looked; `kernel_synced` and `battery` as in RawTime.
    """

    def __init__(self, time: VirtualTime, random: Random) -> None:
        self._time = time
        self._random = random
        self._boots = 0
        self._booted_ns = 0
        self._first_ns = 0
        self._drift_ppm = random.randint(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
        self.wall_off_ms = 0
        self.ahead_ms = 0
        self.kernel_synced = False
        self.battery = random.random() < 0.2
        self.boot()

    def boot(self) -> None:
        """Uptime begins anew. Without a battery the system clock starts wherever it was written down last."""
        self._boots += 1
        self._booted_ns = self._time.now_ns
        self._first_ns = self._random.randint(5 * SECOND, 60 * SECOND)
        self.kernel_synced = False
        if not self.battery:
            self.wall_off_ms = -self._random.randint(0, 30 * 86_400_000)

    @property
    def monotonic_ns(self) -> int:
        """Uptime in nanoseconds."""
        passed = self._time.now_ns - self._booted_ns
        return self._first_ns + passed + passed * self._drift_ppm // 1_000_000

    def read(self) -> RawTime:
        """All clocks."""
        self.ahead_ms = max(self.ahead_ms, self.wall_off_ms)
        return RawTime(
            boot=f"boot-{self._boots}",
            monotonic_ns=self.monotonic_ns,
            wall_ms=self._time.now_ms + self.wall_off_ms,
            kernel_synced=self.kernel_synced,
            battery=self.battery,
        )

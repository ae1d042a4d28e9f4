"""What day it is at a store, and how far the clock that says so can be believed.

A business day is the local date of the local wall time less a cut-off hour. Its length follows the zone: 23 or
25 hours when the clocks change. Toast's `closeoutHour` (0 to 12, restaurant's zone) is the model.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

CUTOFF_HOUR_MAX = 12


class ClockTrust(StrEnum):
    """How a reading of the clock came about.

    SYNCED: the kernel's flag, or a signed time message with a round trip of at most two seconds.
    HELD: counted on by uptime since then, or a battery clock, within seven days and never below the high-water mark.
    UNKNOWN: anything else. A kiosk then notes visits and dates them later.
    """

    SYNCED = "synced"
    HELD = "held"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """An instant (aware, UTC) and the trust it deserves. `instant` is None exactly when trust is UNKNOWN."""

    instant: datetime | None
    trust: ClockTrust

    def __post_init__(self) -> None:
        assert (self.instant is None) == (self.trust is ClockTrust.UNKNOWN)
        assert self.instant is None or self.instant.tzinfo is not None

    @classmethod
    def unknown(cls) -> "ClockReading":
        """The reading of a clock that nothing vouches for."""
        return cls(instant=None, trust=ClockTrust.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCalendar:
    """A store's zone (IANA name) and the hour, 0 to 12, at which its business day begins."""

    zone: str
    cutoff_hour: int

    def __post_init__(self) -> None:
        assert 0 <= self.cutoff_hour <= CUTOFF_HOUR_MAX

    def business_day(self, instant: datetime) -> date:
        """The business day that holds the instant."""
        local = instant.astimezone(ZoneInfo(self.zone))
        before_cutoff = local.hour < self.cutoff_hour
        return local.date() - timedelta(days=1) if before_cutoff else local.date()

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """The first instant of the business day and the first instant after it, in UTC."""
        return self._opening(day), self._opening(day + timedelta(days=1))

    def _opening(self, day: date) -> datetime:
        """The first instant of the date whose wall time is the cut-off hour or later.

        `fold=0` reads a wall time that comes twice as its first pass. One that is skipped is read an hour late by the
        offset before the change and an hour early by the one after it; the day begins between them, when the clocks
        go forward.
        """
        wall = datetime.combine(day, time(self.cutoff_hour), tzinfo=ZoneInfo(self.zone))
        opening, early = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
        while opening - early > timedelta(seconds=1):
            middle = early + (opening - early) // timedelta(seconds=2) * timedelta(seconds=1)
            early, opening = (early, middle) if self.business_day(middle) >= day else (middle, opening)
        return opening


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC, the form in which instants cross the wire."""
    assert instant.tzinfo is not None
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def instant_of(milliseconds_since_epoch: int) -> datetime:
    """The aware UTC instant written by `milliseconds`."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds_since_epoch)

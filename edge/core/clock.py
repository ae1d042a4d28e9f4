"""How far the time of day can be believed on a machine whose clock may never have been set.

The system clock is used only when the kernel vouches for it or a battery clock set it. Otherwise time is counted
on by uptime from the last moment somebody trustworthy told it. Nobody's word is taken for a jump within one boot:
a system clock that disagrees with uptime by more than STEP_MAX is set aside until the cloud's signed time decides.
"""

from dataclasses import dataclass
from datetime import timedelta

from shared.business_day import ClockReading, ClockTrust, instant_of, milliseconds

ROUND_TRIP_MAX = timedelta(seconds=2)
HOLD_MAX = timedelta(days=7)
SYNCED_FOR = timedelta(hours=1)  # a quartz clock off by 100 ppm drifts 0.4 s in that time
STEP_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTime:
    """What the machine's clocks say, unjudged.

    `boot` names the running boot; `monotonic_ns` counts since then, suspension included; `wall_ms` is the system
    clock; `kernel_synced` is the kernel's own flag; `battery` is True when a battery clock set the system clock.
    """

    boot: str
    monotonic_ns: int
    wall_ms: int
    kernel_synced: bool
    battery: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMark:
    """The last moment at which the time was known: in which boot, at what uptime, and which instant it was.

    `high_water_ms` is the latest instant this device ever acted on; a held clock below it is not believed.
    """

    boot: str
    monotonic_ns: int
    instant_ms: int
    high_water_ms: int


def read_clock(raw: RawTime, mark: ClockMark | None) -> ClockReading:
    """The time of day and the trust it deserves."""
    if is_kernel_believed(raw, mark):
        return _reading(raw.wall_ms, ClockTrust.SYNCED)
    if mark is None:
        return ClockReading.unknown()
    estimate = counted_on(mark, raw)
    if estimate is not None:
        age_ms = estimate - mark.instant_ms
        return _held(mark, estimate, ClockTrust.SYNCED if age_ms <= _ms(SYNCED_FOR) else ClockTrust.HELD)
    if raw.battery:
        return _held(mark, raw.wall_ms, ClockTrust.HELD)
    return ClockReading.unknown()


def is_kernel_believed(raw: RawTime, mark: ClockMark | None) -> bool:
    """True when the kernel vouches for the system clock and uptime does not contradict it."""
    estimate = None if mark is None else counted_on(mark, raw)
    return raw.kernel_synced and (estimate is None or abs(raw.wall_ms - estimate) <= _ms(STEP_MAX))


def set_aside_ms(raw: RawTime, mark: ClockMark | None) -> int | None:
    """How far the system clock is ahead of uptime (negative: it went back) while the kernel's word is not believed.

    None while it is believed, and while the kernel vouches for nothing.
    """
    estimate = None if mark is None else counted_on(mark, raw)
    if estimate is None or not raw.kernel_synced or is_kernel_believed(raw, mark):
        return None
    return raw.wall_ms - estimate


def counted_on(mark: ClockMark, raw: RawTime) -> int | None:
    """Milliseconds since 1970 by uptime since the mark, or None in another boot."""
    if raw.boot != mark.boot or raw.monotonic_ns < mark.monotonic_ns:
        return None
    return mark.instant_ms + (raw.monotonic_ns - mark.monotonic_ns) // 1_000_000


def _held(mark: ClockMark, instant_ms: int, trust: ClockTrust) -> ClockReading:
    """The instant, unless it is older than anything this device acted on or too far from its last sure time."""
    if instant_ms < mark.high_water_ms or instant_ms - mark.instant_ms > _ms(HOLD_MAX):
        return ClockReading.unknown()
    return _reading(instant_ms, trust)


def mark_told_time(asked: RawTime, heard: RawTime, told_ms: int) -> ClockMark | None:
    """The new mark after a signed time message, or None when the round trip was too long or crossed a boot.

    The answer's instant is taken to lie in the middle of the round trip, so it is off by at most half of it.
    """
    round_trip_ns = heard.monotonic_ns - asked.monotonic_ns
    if asked.boot != heard.boot or not 0 <= round_trip_ns <= ROUND_TRIP_MAX // timedelta(microseconds=1) * 1000:
        return None
    return _mark(heard, told_ms + round_trip_ns // 2_000_000)


def mark_kernel_time(raw: RawTime) -> ClockMark:
    """The new mark when the kernel vouches for the system clock."""
    assert raw.kernel_synced
    return _mark(raw, raw.wall_ms)


def offset_ms(mark: ClockMark, raw: RawTime, before: ClockMark | None) -> int | None:
    """How far the new mark is ahead of what was believed (negative: time went back), or None if nothing was."""
    believed = read_clock(raw, before).instant
    return None if believed is None else mark.instant_ms - milliseconds(believed)


def _mark(raw: RawTime, instant_ms: int) -> ClockMark:
    # A trustworthy source may set the high-water mark back: it had been raised by a clock that was wrong.
    return ClockMark(boot=raw.boot, monotonic_ns=raw.monotonic_ns, instant_ms=instant_ms, high_water_ms=instant_ms)


def _reading(instant_ms: int, trust: ClockTrust) -> ClockReading:
    return ClockReading(instant=instant_of(instant_ms), trust=trust)


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)

"""Which clock is believed, how far, and for how long."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.clock import (
    HOLD_MAX,
    STEP_MAX,
    ClockMark,
    RawTime,
    counted_on,
    is_kernel_believed,
    mark_kernel_time,
    mark_told_time,
    offset_ms,
    read_clock,
    set_aside_ms,
)
from shared.business_day import ClockReading, ClockTrust, milliseconds

NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
NOON_MS = milliseconds(NOON)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
UPTIME = timedelta(hours=3)


def ns(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


def ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def raw(
    *,
    later: timedelta = timedelta(0),
    wall: timedelta | None = None,
    boot: str = "one",
    kernel_synced: bool = False,
    battery: bool = False,
) -> RawTime:
    """What the clocks say so much later than the mark; `wall` is how far the system clock moved since, if not alike."""
    return RawTime(
        boot=boot,
        monotonic_ns=ns(UPTIME + later),
        wall_ms=NOON_MS + ms(later if wall is None else wall),
        kernel_synced=kernel_synced,
        battery=battery,
    )


MARK = ClockMark(boot="one", monotonic_ns=ns(UPTIME), instant_ms=NOON_MS, high_water_ms=NOON_MS)
UNKNOWN = ClockReading.unknown()


def synced(later: timedelta) -> ClockReading:
    return ClockReading(instant=NOON + later, trust=ClockTrust.SYNCED)


def held(later: timedelta) -> ClockReading:
    return ClockReading(instant=NOON + later, trust=ClockTrust.HELD)


def rebooted(later: timedelta, *, kernel_synced: bool = False, battery: bool = False) -> RawTime:
    clocks = raw(later=later, boot="two", kernel_synced=kernel_synced, battery=battery)
    return replace(clocks, monotonic_ns=ns(20 * SECOND))


@pytest.mark.parametrize(
    ("clocks", "mark", "reading"),
    [
        # Nobody ever told the time.
        (raw(), None, UNKNOWN),
        (raw(battery=True), None, UNKNOWN),
        (raw(kernel_synced=True), None, synced(timedelta(0))),
        # Counted on by uptime in the same boot.
        (raw(later=HOUR), MARK, synced(HOUR)),
        (raw(later=HOUR + SECOND), MARK, held(HOUR + SECOND)),
        (raw(later=7 * DAY), MARK, held(7 * DAY)),
        (raw(later=7 * DAY + SECOND), MARK, UNKNOWN),
        (raw(later=7 * DAY + SECOND, kernel_synced=True), MARK, synced(7 * DAY + SECOND)),
        # The system clock steps while nobody vouches for it: uptime goes on counting.
        (raw(later=MINUTE, wall=-2 * DAY), MARK, synced(MINUTE)),
        (raw(later=MINUTE, wall=DAY), MARK, synced(MINUTE)),
        # The kernel vouches for it, but uptime contradicts it.
        (raw(later=MINUTE, wall=-2 * DAY, kernel_synced=True), MARK, synced(MINUTE)),
        (raw(later=MINUTE, wall=DAY, kernel_synced=True), MARK, synced(MINUTE)),
        (raw(later=2 * HOUR, wall=2 * HOUR + DAY, kernel_synced=True), MARK, held(2 * HOUR)),
        (raw(later=2 * HOUR, wall=2 * HOUR + STEP_MAX, kernel_synced=True), MARK, synced(2 * HOUR + STEP_MAX)),
        (raw(later=2 * HOUR, wall=2 * HOUR + STEP_MAX + SECOND, kernel_synced=True), MARK, held(2 * HOUR)),
        # Another boot: uptime says nothing any more.
        (rebooted(MINUTE), MARK, UNKNOWN),
        (rebooted(-2 * DAY, kernel_synced=True), MARK, synced(-2 * DAY)),
        (rebooted(MINUTE, battery=True), MARK, held(MINUTE)),
        (rebooted(7 * DAY, battery=True), MARK, held(7 * DAY)),
        (rebooted(7 * DAY + SECOND, battery=True), MARK, UNKNOWN),
        (rebooted(-SECOND, battery=True), MARK, UNKNOWN),
    ],
)
def test_a_reading_deserves_the_trust_of_its_source(
    clocks: RawTime, mark: ClockMark | None, reading: ClockReading
) -> None:
    assert read_clock(clocks, mark) == reading


def test_a_held_clock_is_never_older_than_what_was_acted_on() -> None:
    acted_later = replace(MARK, high_water_ms=NOON_MS + ms(2 * HOUR))
    assert read_clock(raw(later=HOUR), acted_later) == UNKNOWN
    assert read_clock(rebooted(HOUR, battery=True), acted_later) == UNKNOWN
    assert read_clock(raw(later=2 * HOUR), acted_later) == held(2 * HOUR)
    assert read_clock(rebooted(2 * HOUR, battery=True), acted_later) == held(2 * HOUR)


def test_uptime_that_went_back_is_another_boot() -> None:
    assert counted_on(MARK, raw(later=-SECOND)) is None
    assert counted_on(MARK, raw(later=SECOND, boot="two")) is None
    assert counted_on(MARK, raw(later=SECOND)) == NOON_MS + 1000


def test_the_kernel_is_believed_unless_uptime_contradicts_it() -> None:
    assert is_kernel_believed(raw(kernel_synced=True), None)
    assert is_kernel_believed(rebooted(DAY, kernel_synced=True), MARK)
    assert not is_kernel_believed(raw(later=SECOND, wall=DAY, kernel_synced=True), MARK)
    assert not is_kernel_believed(raw(), None)


@pytest.mark.parametrize(
    ("clocks", "mark", "off"),
    [
        (raw(kernel_synced=True), None, None),
        (raw(later=MINUTE, kernel_synced=True), MARK, None),
        (raw(later=MINUTE, wall=DAY), MARK, None),
        (raw(later=MINUTE, wall=MINUTE - STEP_MAX, kernel_synced=True), MARK, None),
        (raw(later=MINUTE, wall=MINUTE - STEP_MAX - SECOND, kernel_synced=True), MARK, -STEP_MAX - SECOND),
        (raw(later=MINUTE, wall=MINUTE + DAY, kernel_synced=True), MARK, DAY),
        (rebooted(DAY, kernel_synced=True), MARK, None),
    ],
)
def test_a_clock_that_stepped_against_uptime_is_set_aside(
    clocks: RawTime, mark: ClockMark | None, off: timedelta | None
) -> None:
    assert set_aside_ms(clocks, mark) == (None if off is None else ms(off))


@pytest.mark.parametrize(
    ("round_trip", "is_taken"),
    [(timedelta(0), True), (2 * SECOND, True), (2 * SECOND + timedelta(milliseconds=1), False), (-SECOND, False)],
)
def test_a_told_time_counts_within_two_seconds(round_trip: timedelta, is_taken: bool) -> None:
    mark = mark_told_time(raw(), raw(later=round_trip), NOON_MS)
    assert (mark is not None) is is_taken
    if mark is not None:
        middle_ms = NOON_MS + ms(round_trip) // 2
        assert mark == ClockMark(
            boot="one", monotonic_ns=ns(UPTIME + round_trip), instant_ms=middle_ms, high_water_ms=middle_ms
        )


def test_a_time_asked_for_in_another_boot_is_not_taken() -> None:
    assert mark_told_time(raw(), raw(boot="two"), NOON_MS) is None


def test_a_trustworthy_source_sets_a_wrong_high_water_mark_back() -> None:
    wrong = replace(MARK, high_water_ms=NOON_MS + ms(365 * DAY))
    assert read_clock(raw(later=MINUTE), wrong) == UNKNOWN
    told = mark_told_time(raw(later=MINUTE), raw(later=MINUTE), NOON_MS + ms(MINUTE))
    assert read_clock(raw(later=MINUTE), told) == synced(MINUTE)
    assert mark_kernel_time(raw(kernel_synced=True)).high_water_ms == NOON_MS


def test_how_far_the_new_mark_is_from_what_was_believed() -> None:
    later = raw(later=MINUTE)
    ahead = replace(MARK, monotonic_ns=later.monotonic_ns, instant_ms=NOON_MS + ms(MINUTE) + 2500)
    assert offset_ms(ahead, later, MARK) == 2500
    assert offset_ms(ahead, later, None) is None


@given(
    later=st.timedeltas(timedelta(0), timedelta(days=10)),
    wall=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    kernel_synced=st.booleans(),
    battery=st.booleans(),
)
def test_within_one_boot_no_clock_moves_the_time_by_more_than_a_step(
    later: timedelta, wall: timedelta, kernel_synced: bool, battery: bool
) -> None:
    clocks = raw(later=later, wall=wall, kernel_synced=kernel_synced, battery=battery)
    reading = read_clock(clocks, MARK)
    if reading.instant is None:
        assert later > HOLD_MAX - SECOND
    else:
        assert abs(reading.instant - (NOON + later)) <= STEP_MAX + SECOND

"""Learns the time from somebody who may tell it, and dates the visits that were noted without it."""

from dataclasses import dataclass, replace
from datetime import timedelta

from edge.core.clock import (
    STEP_MAX,
    ClockMark,
    RawTime,
    is_kernel_believed,
    mark_kernel_time,
    mark_told_time,
    offset_ms,
    set_aside_ms,
)
from edge.core.credential import Admitted
from edge.core.device_events import DeviceEventKind
from edge.core.screen import ScreenName
from edge.db import claims, knowledge
from edge.db.claims import NotedVisit
from edge.flow.admit import Shown, serve_member
from edge.flow.entrance import Entrance, Moment
from edge.flow.write import append_fact
from shared.answers import TimeTold
from shared.business_day import ClockReading, ClockTrust, instant_of, milliseconds
from shared.envelope import ClockStepped

STEP_TOLD = timedelta(seconds=2)
"""Corrections larger than this are facts worth telling; smaller ones are drift."""

MARK_EVERY_NS = 600_000_000_000
"""How often the kernel's time is written down: ten minutes cost 2 MB of writes a day and lose nothing by uptime."""

VISITS_A_TURN = 50
"""Visits dated in one transaction, so that a member at the door never waits behind a night's backlog."""


_NOT_YET = frozenset({ScreenName.EXHAUSTED, ScreenName.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeQuestion:
    """A question for the time that is on its way."""

    nonce: bytes
    asked: RawTime


def hear_time(entrance: Entrance, question: TimeQuestion, told: TimeTold) -> bool:
    """True when the answer belongs to the question, came quickly enough and is now the device's time."""
    heard = entrance.clock.read()
    if told.nonce != question.nonce:
        return False
    mark = mark_told_time(question.asked, heard, told.instant_ms)
    if mark is None:
        return False
    _take(entrance, mark, heard, source="cloud")
    return True


def hear_hub(entrance: Entrance, question: TimeQuestion, told_ms: int) -> bool:
    """True when the store's hub, whose signature was checked, answered quickly enough: that is the time now."""
    heard = entrance.clock.read()
    mark = mark_told_time(question.asked, heard, told_ms)
    if mark is None:
        return False
    _take(entrance, mark, heard, source="hub")
    return True


def hear_kernel(entrance: Entrance) -> bool:
    """True when the system clock was taken over: the kernel vouches for it and uptime does not contradict it."""
    raw = entrance.clock.read()
    mark = knowledge.clock_mark(entrance.database.connection)
    if not is_kernel_believed(raw, mark):
        return False
    if mark is not None and mark.boot == raw.boot and raw.monotonic_ns - mark.monotonic_ns <= MARK_EVERY_NS:
        return False
    # The step is how far off the device was without the kernel: with its word, it is right by definition.
    _take(entrance, mark_kernel_time(raw), replace(raw, kernel_synced=False), source="kernel")
    return True


def hear_set_aside(entrance: Entrance, told_ms: int | None) -> int | None:
    """By how much the system clock stepped under the kernel's word and was set aside for it; None while it was not.

    It is a fact once, and again when it steps further. `told_ms` is what this returned last.
    """
    moment = entrance.now()
    off_ms = set_aside_ms(moment.raw, knowledge.clock_mark(entrance.database.connection))
    if off_ms is None or (told_ms is not None and abs(off_ms - told_ms) <= STEP_MAX // timedelta(milliseconds=1)):
        return None if off_ms is None else told_ms
    with entrance.database.transaction() as connection:
        epoch = knowledge.life(connection).epoch
        if epoch:
            fact = ClockStepped(offset_ms=off_ms, source="aside")
            append_fact(connection, entrance, epoch, fact, moment, business_day=None, policy_version=0)
    return off_ms


def _take(entrance: Entrance, mark: ClockMark, raw: RawTime, source: str) -> None:
    with entrance.database.transaction() as connection:
        before = knowledge.clock_mark(connection)
        step_ms = offset_ms(mark, raw, before)
        knowledge.save_clock_mark(connection, mark)
        epoch = knowledge.life(connection).epoch
        is_step = step_ms is not None and abs(step_ms) > STEP_TOLD // timedelta(milliseconds=1)
        if epoch and step_ms is not None and is_step:
            moment = Moment(raw=raw, reading=_synced(mark))
            fact = ClockStepped(offset_ms=step_ms, source=source)
            append_fact(connection, entrance, epoch, fact, moment, business_day=None, policy_version=0)
    if is_step:
        entrance.note(DeviceEventKind.CLOCK_STEPPED, f"{step_ms} ms, by the {source}")


def date_visits(entrance: Entrance) -> int:
    """Turns visits of this boot into claims, now that the time is known; returns how many were looked at."""
    moment = entrance.now()
    mark = knowledge.clock_mark(entrance.database.connection)
    if moment.reading.instant is None or mark is None or mark.boot != moment.raw.boot:
        return 0
    return _date(entrance, mark, moment)


def date_earlier(entrance: Entrance, mark: ClockMark) -> int:
    """Turns visits of an earlier boot into claims, by what the hub saw of it; returns how many were looked at."""
    moment = entrance.now()
    if moment.reading.instant is None or mark.instant_ms > milliseconds(moment.reading.instant):
        return 0
    return _date(entrance, mark, moment)


def _date(entrance: Entrance, mark: ClockMark, moment: Moment) -> int:
    with entrance.database.transaction() as connection:
        waiting = claims.waiting_visits(connection, mark.boot, VISITS_A_TURN)
        for visit in waiting:
            raw = replace(moment.raw, boot=mark.boot, monotonic_ns=visit.monotonic_ns)
            then = Moment(raw=raw, reading=_dated(mark, visit))
            shown = Shown(admitted=_admitted(visit), evidence=visit.evidence)
            admission = serve_member(connection, entrance, shown, then, noted_seq=visit.seq)
            if admission.screen.name in _NOT_YET:
                continue  # the screen promised that points follow: they do once there is something to give again
            became = "refused" if admission.seq is None else "claim"
            claims.close_visit(connection, visit.id, became, admission.screen.name)
    return len(waiting)


def _dated(mark: ClockMark, visit: NotedVisit) -> ClockReading:
    """When the visit was: by uptime before or after the moment at which the time became known."""
    instant_ms = mark.instant_ms + (visit.monotonic_ns - mark.monotonic_ns) // 1_000_000
    return ClockReading(instant=instant_of(instant_ms), trust=ClockTrust.HELD)


def _admitted(visit: NotedVisit) -> Admitted:
    return Admitted(member=visit.member, means=visit.means, step=visit.step, serial=visit.serial, repeated=False)


def _synced(mark: ClockMark) -> ClockReading:
    return ClockReading(instant=instant_of(mark.instant_ms), trust=ClockTrust.SYNCED)

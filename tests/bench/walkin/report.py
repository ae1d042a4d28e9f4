"""Tables of a run, with the bars beside what they are for, and the same as JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.bench.table import Row, Table
from tests.bench.walkin.people import TEMPLATES
from tests.bench.walkin.tally import (
    RULE_OF_THREE,
    Outcome,
    Told,
    count,
    extrapolated_threshold,
    missed_at,
    percentile,
)
from tests.support.walkers import RECOGNISED, Scenario

RIGHT_MIN, KNOWN_MIN = 0.90, 0.98
WAIT_P50_MAX_S, WAIT_P99_MAX_S = 0.5, 1.2
VISITOR_MAX, EMPTY_MAX = 0.12, 0.02
"""Of one core."""
FPS_MIN, NAIVE_FACTOR_MIN, DLIB_FACTOR_MIN = 100.0, 2.5, 10.0
FAR_RATE: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Processor seconds a frame: `visitor` and `empty` as shares of a core at the door's rate, the others in ms.

    `codes_ms` is what reading codes adds in the child process while somebody is there. Peers are None when not run.
    """

    visitor: float
    standing: float
    empty: float
    codes_ms: float
    two_ms: float
    naive_ms: float | None
    dlib_ms: float | None
    dlib_small_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that was measured, and under which terms."""

    told: tuple[Told, ...]
    enrolled: int
    false_positives_ppm: int
    grant_threshold: float
    ask_threshold: float
    speeds: Speeds
    notes: tuple[str, ...]


def members(told: Sequence[Told], templates: int = TEMPLATES) -> list[Told]:
    """Members with so many pictures in their template who wanted to be known."""
    return [one for one in told if one.templates == templates and one.scenario in RECOGNISED]


def strangers(told: Sequence[Told]) -> list[Told]:
    """People whom nobody knows."""
    return [one for one in told if one.is_stranger]


def tables(run: Run) -> tuple[Table, ...]:
    """What a person reads."""
    return (_members_table(run), _others_table(run), _speed_table(run.speeds, run.notes))


def as_json(run: Run) -> bytes:
    """What a program reads: every visitor without a name, and the speeds."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1)


def _members_table(run: Run) -> Table:
    full = members(run.told)
    rows = [
        _members_row(scenario.value, [one for one in full if one.scenario is scenario])
        for scenario in Scenario
        if scenario in RECOGNISED
    ]
    everyone = count(full)
    waits = [one.waited_s for one in full if one.waited_s is not None and one.outcome is Outcome.RIGHT]
    slow = percentile(waits, 0.5) > WAIT_P50_MAX_S or percentile(waits, 0.99) > WAIT_P99_MAX_S
    bar = f"right >= {RIGHT_MIN:.0%}, right + ambiguous >= {KNOWN_MIN:.0%}; p50 / p99 <= 0.5 / 1.2 s"
    missed = slow or not (everyone.right_share >= RIGHT_MIN and everyone.known_share >= KNOWN_MIN) or everyone.wrong > 0
    rows.append(_members_row("all of these", full, bar=bar, missed=missed))
    for templates in (2, 1):
        rows.append(_members_row(f"all, {templates} of 3 pictures", members(run.told, templates)))
    return Table(
        title=f"Members at the door, {run.enrolled} enrolled, each with {TEMPLATES} other pictures",
        headers=(
            *("scenario", "visits", "right", "ambiguous", "missed", "wrong"),
            *("right %", "known %", "p50 s", "p99 s", "in view"),
        ),
        rows=tuple(rows),
        notes=(
            "s: right ones, from the end of the dwell (half a second on the mark, in view and facing the camera) to the"
            " verdict: time of the frame and processor's time for it.",
            "in view: p99 of that part of it in which they neither looked away nor were covered.",
            "in company both members count who stand on the mark, and are looked at one after the other.",
            f"false positives allowed: {run.false_positives_ppm} in a million strangers.",
        ),
    )


def _members_row(name: str, told: Sequence[Told], *, bar: str = "", missed: bool = False) -> Row:
    counts = count(told)
    timed = [(one.waited_s, one.hidden_s) for one in told if one.waited_s is not None and one.outcome is Outcome.RIGHT]
    waits, seen = [waited_s for waited_s, _ in timed], [waited_s - hidden_s for waited_s, hidden_s in timed]
    cells = (
        name,
        str(counts.total),
        str(counts.right),
        str(counts.asked),
        str(counts.missed + counts.nobody),
        str(counts.wrong),
        f"{100 * counts.right_share:.1f}",
        f"{100 * counts.known_share:.1f}",
        f"{percentile(waits, 0.5):.2f}",
        f"{percentile(waits, 0.99):.2f}",
        f"{percentile(seen, 0.99):.2f}",
    )
    return Row(cells=cells, bar=bar, missed=missed)


def _others_table(run: Run) -> Table:
    unknown = strangers(run.told)
    counts = count(unknown)
    limit = 100 * RULE_OF_THREE / counts.total if counts.total else math.nan
    bar = f"0 granted (of {counts.total}: <= {limit:.2f} % at 95 %)"
    passing = [one for one in run.told if one.scenario is Scenario.PASSING]
    holding = [one for one in run.told if one.scenario is Scenario.CODE]
    far = extrapolated_threshold(unknown, FAR_RATE)
    misses = 100 * missed_at(members(run.told), far)
    return Table(
        title="Who is not to be known by their face",
        headers=("who", "visits", "granted", "asked", "compared only", "left alone"),
        rows=(
            _others_row("strangers", unknown, bar=bar, missed=counts.wrong > 0),
            _others_row("members who pass by", passing),
            _others_row("members with a code in hand", holding),
        ),
        notes=(
            f"thresholds in use: grant {run.grant_threshold:.2f}, ask {run.ask_threshold:.2f} deviations.",
            f"EXTRAPOLATED, not measured: strangers reach {far:.2f} deviations once in 10,000 visits; there"
            f" {misses:.1f} % of the members above would be missed.",
        ),
    )


def _others_row(name: str, told: Sequence[Told], *, bar: str = "", missed: bool = False) -> Row:
    counts = count(told)
    granted = counts.right + counts.wrong
    alone = sum(one.outcome is Outcome.NOBODY and one.deviations is None for one in told)
    compared = counts.total - granted - counts.asked - alone
    cells = (name, *(str(number) for number in (counts.total, granted, counts.asked, compared, alone)))
    return Row(cells=cells, bar=bar, missed=missed)


def _speed_table(speeds: Speeds, notes: tuple[str, ...]) -> Table:
    fps = 1e3 / speeds.two_ms
    rows: list[Row | None] = [
        _share_row("one visitor, whole visit", speeds.visitor, VISITOR_MAX),
        _share_row("one visitor, on the mark", speeds.standing),
        _share_row("empty door", speeds.empty, EMPTY_MAX),
        _ms_row("two people", speeds.two_ms, bar=f">= {FPS_MIN:.0f} frames/s", missed=fps < FPS_MIN),
        _peer_row("every frame, same networks", speeds.naive_ms, speeds.two_ms, NAIVE_FACTOR_MIN),
        _peer_row("face_recognition on dlib", speeds.dlib_ms, speeds.two_ms, DLIB_FACTOR_MIN),
        _peer_row("the same at 640, not enlarged", speeds.dlib_small_ms, speeds.two_ms, None),
        _ms_row("reading codes, in the child", speeds.codes_ms),
    ]
    return Table(
        title="Processor time a frame of 1280 x 720 (one thread; rendering and decoding not counted)",
        headers=("what", "ms", "frames/s", "% of a core at 15/s", "ours is faster"),
        rows=tuple(row for row in rows if row is not None),
        notes=notes,
    )


def _share_row(name: str, share: float, limit: float | None = None) -> Row:
    milliseconds = share / 15 * 1e3
    bar = "" if limit is None else f"<= {limit:.0%} of a core"
    return _ms_row(name, milliseconds, bar=bar, missed=limit is not None and share > limit)


def _ms_row(name: str, milliseconds: float, *, bar: str = "", missed: bool = False, factor: str = "") -> Row:
    frames = 1e3 / milliseconds if milliseconds else math.inf
    cells = (name, f"{milliseconds:.2f}", f"{frames:.0f}", f"{milliseconds * 1.5:.1f}", factor)
    return Row(cells=cells, bar=bar, missed=missed)


def _peer_row(name: str, milliseconds: float | None, ours: float, least: float | None) -> Row | None:
    if milliseconds is None:
        return None
    factor = milliseconds / ours
    bar = "" if least is None else f">= {least:g} x"
    return _ms_row(name, milliseconds, bar=bar, missed=least is not None and factor < least, factor=f"{factor:.1f} x")

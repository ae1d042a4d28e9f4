"""A run as a picture: scores of members and strangers, the trade-off between them, and how long a verdict takes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from tests.bench.walkin.report import Run, members, strangers
from tests.bench.walkin.tally import Outcome, Told, curve_of
from tests.support.walkers import RECOGNISED, Scenario

WIDTH, HEIGHT, GAP = 360, 260, 70
OURS, OTHERS, RULE = "#0b6", "#c33", "#555"
PALETTE: Final = ("#0b6", "#06c", "#444", "#c80", "#93c", "#c33", "#699")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """A panel's place and scales: `x` and `y` are the ends of its axes, `log` where they are logarithmic."""

    left: int
    title: str
    x_name: str
    y_name: str
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point, held inside the panel."""
        shares = []
        for value, (low, high) in ((x, self.x), (y, self.y)):
            if self.log:
                value, low, high = (math.log10(max(one, 1e-9)) for one in (value, low, high))
            shares.append(min(1.0, max(0.0, (value - low) / (high - low))))
        return self.left + shares[0] * WIDTH, GAP + (1 - shares[1]) * HEIGHT


def draw(run: Run) -> str:
    """The picture, as SVG."""
    panels = (*_scores(run), *_trade_off(run), *_waits(run))
    width, height = 3 * WIDTH + 4 * GAP, HEIGHT + 2 * GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    return "\n".join([f'{head} font-size="11">', '<rect width="100%" height="100%" fill="#fff"/>', *panels, "</svg>\n"])


def _scores(run: Run) -> Iterable[str]:
    """How many visits reach which score."""
    axes = Axes(left=GAP, title="Highest score of a visit", x_name="deviations", y_name="share of visits",
                x=(0, 14), y=(0, 0.35))  # fmt: skip
    yield from _frame(axes)
    for name, told, colour, row in (
        ("members with themselves", members(run.told), OURS, 0),
        ("strangers with anybody", strangers(run.told), OTHERS, 1),
    ):
        scores = [one.deviations for one in told if one.deviations is not None]
        shares, edges = np.histogram(scores, bins=56, range=(0, 14))
        share = shares / max(1, len(told))
        steps = [
            (float(edge), float(height)) for place, height in enumerate(share) for edge in edges[place : place + 2]
        ]
        yield _line(axes, steps, colour)
        yield _legend(axes, name, colour, row)
    for name, threshold in (("grant", run.grant_threshold), ("ask", run.ask_threshold)):
        yield _line(axes, [(threshold, 0), (threshold, 0.3)], RULE, dashed=True)
        x, y = axes.at(threshold, 0.31)
        yield _text(x, y, name, anchor="middle")


def _trade_off(run: Run) -> Iterable[str]:
    """Members missed against strangers taken for somebody, at every threshold."""
    axes = Axes(left=2 * GAP + WIDTH, title="Trade-off over visits", x_name="strangers taken for a member",
                y_name="members missed", x=(1e-3, 1), y=(1e-3, 1), log=True)  # fmt: skip
    yield from _frame(axes)
    unknown = strangers(run.told)
    for row, (templates, colour) in enumerate(((3, OURS), (2, "#06c"), (1, "#c80"))):
        known = members(run.told, templates)
        if known and unknown:
            curve = curve_of(known, unknown)
            yield _line(axes, list(zip(curve.taken, curve.missed, strict=True)), colour)
            yield _legend(axes, f"{templates} pictures enrolled ({len(known)} visits)", colour, row)


def _waits(run: Run) -> Iterable[str]:
    """From the end of the dwell to the verdict, by scenario."""
    axes = Axes(left=3 * GAP + 2 * WIDTH, title="Members recognised, after the dwell", x_name="seconds",
                y_name="share of visits", x=(-0.6, 2.5), y=(0, 1))  # fmt: skip
    yield from _frame(axes)
    scenarios = [scenario for scenario in Scenario if scenario in RECOGNISED]
    for row, (scenario, colour) in enumerate(zip(scenarios, PALETTE, strict=True)):
        told = [one for one in members(run.told) if one.scenario is scenario]
        yield _line(axes, _cumulated(told), colour)
        yield _legend(axes, scenario.value, colour, row)


def _cumulated(told: Sequence[Told]) -> Points:
    waits = sorted(one.waited_s for one in told if one.waited_s is not None and one.outcome is Outcome.RIGHT)
    return [(wait, (place + 1) / len(told)) for place, wait in enumerate(waits)]


def _frame(axes: Axes) -> Iterable[str]:
    """The panel's box, its names and a few numbers."""
    yield f'<rect x="{axes.left}" y="{GAP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    yield _text(axes.left + WIDTH / 2, GAP - 14, axes.title, anchor="middle", bold=True)
    yield _text(axes.left + WIDTH / 2, GAP + HEIGHT + 34, axes.x_name, anchor="middle")
    yield _text(axes.left, GAP - 4, axes.y_name)
    for place in range(4 if axes.log else 5):
        x, y = (_tick(ends, place, log=axes.log) for ends in (axes.x, axes.y))
        across, _ = axes.at(x, axes.y[0])
        _, down = axes.at(axes.x[0], y)
        yield _text(across, GAP + HEIGHT + 16, f"{x:.4g}", anchor="middle")
        yield _text(axes.left - 6, down + 4, f"{y:.4g}", anchor="end")


def _tick(ends: tuple[float, float], place: int, *, log: bool) -> float:
    low, high = ends
    return float(low * (high / low) ** (place / 3)) if log else low + (high - low) * place / 4


def _line(axes: Axes, points: Points, colour: str, *, dashed: bool = False) -> str:
    pairs = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*point) for point in points))
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{pairs}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'


def _legend(axes: Axes, name: str, colour: str, row: int) -> str:
    return _text(axes.left + WIDTH - 8, GAP + 16 + 14 * row, name, anchor="end", colour=colour)


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#222", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(words)}</text>'

"""Draws error rates against each other on logarithmic axes, as SVG that loads nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760
HEIGHT: Final = 520
LEFT, RIGHT, TOP, BOTTOM = 80, 220, 44, 56
X_POWERS: Final = (-7, 0)
Y_POWERS: Final = (-4, 0)
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by most colour-blind eyes. Source: Okabe and Ito, 2008."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A name and points (x, y), rates from 0 to 1."""

    name: str
    points: tuple[tuple[float, float], ...]


def drawing(title: str, x_name: str, y_name: str, curves: Sequence[Curve]) -> str:
    """An SVG document. Rates beyond the axes are drawn at their ends, none (zero) too."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="16">{escape(title)}</text>',
        *_grid(),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]
    for place, curve in enumerate(curves):
        lines += _drawn(curve, COLOURS[place % len(COLOURS)], TOP + 16 + 22 * place)
    return "\n".join([*lines, "</svg>", ""])


def _grid() -> list[str]:
    lines = []
    for power in range(X_POWERS[0], X_POWERS[1] + 1):
        x = _x(10.0**power)
        lines.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#dddddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(Y_POWERS[0], Y_POWERS[1] + 1):
        y = _y(10.0**power)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    return lines


def _drawn(curve: Curve, colour: str, legend_y: int) -> list[str]:
    points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in curve.points)
    right = WIDTH - RIGHT + 16
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<path d="M{right} {legend_y}h22" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{right + 28}" y="{legend_y + 4}">{escape(curve.name)}</text>',
    ]


def _x(rate: float) -> float:
    return LEFT + _share(rate, X_POWERS) * (WIDTH - RIGHT - LEFT)


def _y(rate: float) -> float:
    return HEIGHT - BOTTOM - _share(rate, Y_POWERS) * (HEIGHT - BOTTOM - TOP)


def _share(rate: float, powers: tuple[int, int]) -> float:
    low, high = powers
    power = math.log10(rate) if rate > 0 else low
    return (min(max(power, low), high) - low) / (high - low)

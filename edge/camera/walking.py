"""Where a walker of a scene is at a moment of their act. Pure."""

import math
from dataclasses import dataclass
from typing import Final

from edge.camera.scene import Walker

TURN_S: Final = 0.6
"""From facing the camera to walking off."""
TURN_AWAY: Final = 2.2
"""Radians: past a quarter, so that whoever leaves is seen from behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Metres from the camera and to the right of its axis; `turn` in radians away from it."""

    distance_m: float
    side_m: float
    turn: float = 0.0
    is_walking: bool = True


def place_of(walker: Walker, passed_s: float) -> Place | None:
    """Where they are when so much of the act is past; None before they set off."""
    until_mark_s = walker.on_mark_s - passed_s
    away_m, aside_m = walker.from_m - walker.mark_m, walker.from_side_m - walker.mark_side_m
    length_m = math.hypot(away_m, aside_m)
    if until_mark_s > 0:
        share = until_mark_s * walker.speed_m_s / length_m if length_m else 1.0
        if share >= 1:
            return None
        return Place(distance_m=walker.mark_m + share * away_m, side_m=walker.mark_side_m + share * aside_m)
    leaving_s = -until_mark_s - walker.stays_s
    if leaving_s <= 0:
        return Place(distance_m=walker.mark_m, side_m=walker.mark_side_m, is_walking=False)
    step_m = math.copysign(max(0.0, leaving_s - TURN_S / 2) * walker.speed_m_s, walker.mark_side_m or 1.0)
    turn = math.copysign(TURN_AWAY * min(1.0, leaving_s / TURN_S), step_m)
    return Place(distance_m=walker.mark_m + abs(step_m) / 3, side_m=walker.mark_side_m + step_m, turn=turn)

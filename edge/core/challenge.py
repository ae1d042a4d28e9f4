"""The active challenge: a person turns the head to the side that was asked, and a photograph cannot follow.

What it asks for is one movement of one head: from the front, through the angles between, to the asked side, without a
jump and without a pause in sight. A photograph that is exchanged jumps, one that is tilted shows no turn at all (the
angle comes from parallax, see edge/vision/faces/head_turn.py). A recording of somebody who turns to the asked side does
pass; that the side is drawn by chance halves it, and that is all this promises.

Pure: angles and frame times come in. A challenge belongs to one track; when the track ends, so does the challenge. Who
draws the side, asks for the turn and compares faces lives elsewhere.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

FRONT_MAX_DEG: Final = 8.0
"""Near enough to the front to start: a choice. A face and its mirror image read the same within 2.5 degrees on average,
and nobody faces a lens to the degree."""
TURN_MIN_DEG: Final = 20.0
"""Turned. Turning a flat print by 45 degrees moves the reading by 11 at most, a rolled one by 17, a drawn head by 29 on
average (bench `liveness`, 20 people, 2026-11; models/mediapipe-face-landmark.md)."""
WRONG_MIN_DEG: Final = 15.0
"""Turned from the front to the side that was not asked: a recording of that turn gets no second chance."""
STEP_MAX_DEG: Final = 10.0
"""Between two readings. At 15 readings a second a brisk turn of 100 degrees a second makes 7."""
GAP_MAX_NS: Final = 300_000_000
"""Without a reading: four frames at 15 a second. A face may be missed once; a picture is not exchanged that fast."""
FRONT_READINGS_MIN: Final = 2
BETWEEN_READINGS_MIN: Final = 2
TURNED_READINGS_MIN: Final = 2
"""Readings in each part of the turn, so that one bad reading never completes it."""
ALLOWED_NS: Final = 6_000_000_000
"""To read the request, to understand it and to turn."""


class PictureSide(StrEnum):
    """Where to turn, as the picture shows it; who faces the camera has their own left at the picture's right."""

    LEFT = "left"
    RIGHT = "right"


class Outcome(StrEnum):
    """Where a challenge stands."""

    GOING = "going"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The state of one request to turn. Times are monotonic nanoseconds, angles degrees.

    `front`, `between` and `turned` count the readings of the movement under way; all are zero until the face is seen
    from the front. `last_deg` is the last reading of it, taken at `last_ns`.
    """

    side: PictureSide
    began_ns: int
    outcome: Outcome = Outcome.GOING
    front: int = 0
    between: int = 0
    turned: int = 0
    last_deg: float = 0.0
    last_ns: int = 0


def advance(challenge: Challenge, yaw_deg: float | None, at_ns: int) -> Challenge:
    """The challenge after one look at the face; `yaw_deg` is positive towards the picture's right, None when unread.

    One that has passed or failed stays as it is.
    """
    if challenge.outcome is not Outcome.GOING:
        return challenge
    if at_ns - challenge.began_ns > ALLOWED_NS:
        return replace(challenge, outcome=Outcome.FAILED)
    if yaw_deg is None:
        return challenge
    towards_deg = yaw_deg if challenge.side is PictureSide.RIGHT else -yaw_deg
    movement = _continued(challenge, towards_deg, at_ns)
    if movement.front >= FRONT_READINGS_MIN and towards_deg <= -WRONG_MIN_DEG:
        return replace(challenge, outcome=Outcome.FAILED)
    return _count(movement, towards_deg, at_ns)


def _continued(challenge: Challenge, towards_deg: float, at_ns: int) -> Challenge:
    """The challenge with the movement under way, or with none when this reading cannot belong to it."""
    seen = challenge.front > 0
    late = at_ns - challenge.last_ns > GAP_MAX_NS
    jumped = abs(towards_deg - challenge.last_deg) > STEP_MAX_DEG
    if seen and (late or jumped):
        return replace(challenge, front=0, between=0, turned=0)
    return challenge


def _count(challenge: Challenge, towards_deg: float, at_ns: int) -> Challenge:
    """The challenge with this reading counted in its part of the movement."""
    last = replace(challenge, last_deg=towards_deg, last_ns=at_ns)
    if abs(towards_deg) <= FRONT_MAX_DEG:
        return replace(last, front=challenge.front + 1, between=0, turned=0)
    if challenge.front < FRONT_READINGS_MIN:
        return replace(last, front=0, between=0, turned=0)
    if towards_deg < 0:
        return replace(last, between=0, turned=0)
    if towards_deg < TURN_MIN_DEG:
        return replace(last, between=challenge.between + 1, turned=0)
    turned = challenge.turned + 1
    if turned < TURNED_READINGS_MIN or challenge.between < BETWEEN_READINGS_MIN:
        return replace(last, turned=turned)
    return replace(last, turned=turned, outcome=Outcome.PASSED)

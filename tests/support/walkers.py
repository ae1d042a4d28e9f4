"""People who walk up to a door, rendered from portraits, with the truth about every frame: for measuring, not for show.

Each visit is drawn from its seed alone. What a real door does to a face is done here: distance, motion and defocus
blur, exposure and colour drift, sensor noise, a hand, a phone or a passer-by in front, company, turning away, codes.
What it cannot do: a portrait keeps its expression and its light, and a turned head is a photograph on a cylinder.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.drawing import Held, Stage, draw_card
from edge.camera.portraits import (
    EYES_HEIGHT_M,
    FRAME_EYES,
    ORIGIN,
    SIDE,
    Cutout,
    Lens,
    Picture,
    Point,
    Standing,
    add_person,
    cut_out,
    put_layer,
)

NOISE_SLACK: Final = 64
CYLINDER: Final = 74.0
"""Radius of the head that a portrait is wrapped around, in its pixels: 1.7 times the distance of the eyes."""
TURN_STEP: Final = math.radians(20)
WRAPPED_MAX: Final = math.radians(60)
"""Beyond it the picture holds too little of the side of a head; the profile is that view made narrower."""
PICTURED: Final = 0.85
"""Radians to each side of the middle that a portrait shows of a head; what lies beyond is taken to be hair."""
CHIN_ROW: Final = 188
"""A turned head sits on shoulders that face the camera."""
FOCUS_M: Final = 1.5
FACING_MAX: Final = math.radians(35)


class Scenario(StrEnum):
    """What a visit is about."""

    PLAIN = "plain"
    MOTION = "motion"
    DARK = "dark"
    OCCLUDED = "occluded"
    TWO = "two people"
    THREE = "three people"
    TURNING = "turning away"
    PASSING = "passing by"
    CODE = "code held up"


RECOGNISED: Final = frozenset(Scenario) - {Scenario.PASSING, Scenario.CODE}
"""Scenarios in which a member wants to be known by their face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with a portrait, (SIDE, SIDE, 3) uint8 BGR; `eyes` as the portrait shows them, left one first."""

    who: str
    portrait: Picture
    eyes: tuple[Point, Point] = FRAME_EYES


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One person in one frame, in pixels of it. `box` is x, y, width, height of the face."""

    who: str
    box: tuple[float, float, float, float]
    eyes: tuple[Point, Point]
    is_on_mark: bool
    is_facing: bool
    is_covered: bool

    @property
    def eyes_apart(self) -> float:
        """Pixels between the eyes."""
        (left_x, left_y), (right_x, right_y) = self.eyes
        return math.hypot(right_x - left_x, right_y - left_y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One frame and the truth about it. `pixels` is overwritten by the next one of the same door."""

    pixels: Picture
    number: int
    passed_s: float
    people: tuple[Truth, ...]
    has_code: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """How a visit is lit and exposed. `drift` is how far exposure and colour wander, as a share."""

    gain: float
    drift: float
    phase: float
    exposure_s: float
    is_noisy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How one person moves: metres and seconds. They turn around for `pause_s` before they walk off; `glance` is when
    they look away and for how long, None for never."""

    from_m: float
    from_side_m: float
    mark_m: float
    mark_side_m: float
    speed_m_s: float
    on_mark_s: float
    stays_s: float
    eyes_m: float
    sway_m: float
    sway_hz: float
    phase: float
    pause_s: float = 0.3
    glance: tuple[float, float] | None = None

    def ground(self, passed_s: float) -> tuple[float, float, float]:
        """Distance, metres to the right and the turn away, in radians."""
        until_s = self.on_mark_s - passed_s
        away_m, aside_m = self.from_m - self.mark_m, self.from_side_m - self.mark_side_m
        share = min(1.0, max(0.0, until_s) * self.speed_m_s / max(0.1, math.hypot(away_m, aside_m)))
        leaving_s = max(0.0, -until_s - self.stays_s)
        way = math.copysign(1.0, self.mark_side_m or self.phase - math.pi)
        step_m = way * max(0.0, leaving_s - self.pause_s) * self.speed_m_s
        turn = way * 2.2 * min(1.0, leaving_s / 0.6) + self._glance_at(passed_s)
        return self.mark_m + share * away_m + abs(step_m) / 3, self.mark_side_m + share * aside_m + step_m, turn

    def is_standing(self, passed_s: float) -> bool:
        """Whether they are on their mark."""
        return self.on_mark_s <= passed_s <= self.on_mark_s + self.stays_s

    def _glance_at(self, passed_s: float) -> float:
        if self.glance is None:
            return 0.0
        begins_s, lasts_s = self.glance
        inside = (passed_s - begins_s) / lasts_s
        return 1.1 * math.sin(math.pi * inside) if 0 < inside < 1 else 0.0


class Door:
    """What visits have in common, made once: the shop, fields of noise, a canvas that every shot is drawn on."""

    def __init__(self, *, width: int = 1280, height: int = 720, rate_fps: float = 15.0, seed: int = 1) -> None:
        self.lens = Lens(width=width, height=height)
        self.rate_fps = rate_fps
        self.stage = Stage(width, height, seed)
        self._shop = self.stage.add_noise(self.stage.empty_door(), 0)
        self._canvas = np.empty_like(self._shop)
        random = np.random.default_rng(seed)
        self._quiet, self._loud = (_noise_field(random, width, height, sigma) for sigma in (2.5, 7.0))

    def clear(self) -> Picture:
        """The canvas with nobody on it."""
        np.copyto(self._canvas, self._shop)
        return self._canvas

    def expose(self, canvas: Picture, light: Light, passed_s: float, number: int) -> None:
        """Makes the canvas what the sensor saw: exposure, colour and noise."""
        wander = math.sin(0.7 * passed_s + light.phase)
        warmth = math.sin(0.4 * passed_s + 2 * light.phase)
        gains = [light.gain * (1 + light.drift * (wander + tone * warmth)) for tone in (-0.6, 0.0, 0.6)]
        levels = np.arange(256, dtype=np.float32)[:, None] * np.array(gains, np.float32)
        cv2.LUT(canvas, np.minimum(levels, 255).astype(np.uint8)[None], dst=canvas)
        brighter, darker = self._loud if light.is_noisy else self._quiet
        x, y = number * 37 % NOISE_SLACK, number * 53 % NOISE_SLACK
        window = np.s_[y : y + canvas.shape[0], x : x + canvas.shape[1]]
        cv2.add(canvas, brighter[window], dst=canvas)
        cv2.subtract(canvas, darker[window], dst=canvas)

    def empty_shots(self, seconds: float, *, seed: int = 1) -> Iterator[Shot]:
        """The door with nobody at it: only light and noise move."""
        light = _light(Scenario.PLAIN, np.random.default_rng(seed))
        for number in range(round(seconds * self.rate_fps)):
            passed_s = number / self.rate_fps
            canvas = self.clear()
            self.expose(canvas, light, passed_s, number)
            yield Shot(pixels=canvas, number=number, passed_s=passed_s, people=(), has_code=False)


class Visit:
    """One visit, from the first who comes into view to the last who leaves. The first person is whom it is about."""

    def __init__(
        self,
        door: Door,
        scenario: Scenario,
        people: Sequence[Person],
        *,
        seed: int,
        code: str | None = None,
        from_m: tuple[float, float] = (3.0, 8.4),
        stays_s: float = 3.0,
    ) -> None:
        assert len(people) == company_of(scenario)
        random = np.random.default_rng(seed)
        self.scenario = scenario
        self.people = tuple(people)
        self._door = door
        self._light = _light(scenario, random)
        self._softness = float(random.choice([1.0, 1.0, 1.0, 3.0]))
        self.walks = tuple(
            _walk(scenario, place, random, from_m=from_m, stays_s=stays_s) for place in range(len(people))
        )
        self._looks = tuple(_Looks(person, float(random.normal(0, math.radians(6)))) for person in people)
        self._cover = _Cover(self.walks[0], random) if scenario is Scenario.OCCLUDED else None
        self._held = draw_card(code or "https://example.com/") if scenario is Scenario.CODE else None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return max(walk.on_mark_s + walk.stays_s for walk in self.walks) + 1.0

    def shots(self) -> Iterator[Shot]:
        """Every frame, rendered when it is asked for."""
        for number in range(round(self.seconds * self._door.rate_fps)):
            yield self._shot(number)

    def _shot(self, number: int) -> Shot:
        passed_s = number / self._door.rate_fps
        canvas = self._door.clear()
        standings = [self._standing(walk, passed_s) for walk in self.walks]
        for place in sorted(range(len(standings)), key=lambda place: standings[place].eyes_apart):
            add_person(canvas, *self._looks[place].seen(standings[place]))
        has_code = self._hold_up(canvas, standings[0], passed_s)
        is_covered = self._cover is not None and self._cover.add(canvas, self._door.lens, standings[0], passed_s)
        self._door.expose(canvas, self._light, passed_s, number)
        truths = [
            self._truth(place, standing, passed_s, is_covered=is_covered and place == 0)
            for place, standing in enumerate(standings)
        ]
        return Shot(pixels=canvas, number=number, passed_s=passed_s, people=tuple(truths), has_code=has_code)

    def _standing(self, walk: Walk, passed_s: float) -> Standing:
        """Where the person is, smeared by as far as they come while the shutter is open."""
        now, later = (self._place(walk, at_s) for at_s in (passed_s, passed_s + self._light.exposure_s))
        metres = now.eyes_apart / 0.063
        distance_m = self._door.lens.standing(distance_m=1, side_m=0).eyes_apart / 0.063 / metres
        return replace(
            now,
            smear=(abs(later.x - now.x), abs(later.y - now.y)),
            defocus=self._softness * abs(1 / distance_m - 1 / FOCUS_M),
        )

    def _place(self, walk: Walk, passed_s: float) -> Standing:
        distance_m, side_m, turn = walk.ground(passed_s)
        is_standing = walk.is_standing(passed_s)
        sway_m, sway_hz, bob_m = (walk.sway_m, walk.sway_hz, 0.003) if is_standing else (0.025, 0.9, 0.015)
        swing = 2 * math.pi * passed_s
        side_m += sway_m * math.sin(swing * sway_hz + walk.phase)
        eyes_m = walk.eyes_m + bob_m * math.sin(swing * 1.8 + walk.phase)
        roll = 0.06 * math.sin(swing * 0.23 + walk.phase)
        return replace(
            self._door.lens.standing(distance_m=distance_m, side_m=side_m, eyes_m=eyes_m, roll=roll), turn=turn
        )

    def _hold_up(self, canvas: Picture, standing: Standing, passed_s: float) -> bool:
        """Draws the code, if there is one, from shortly before the mark on."""
        walk = self.walks[0]
        if self._held is None or not walk.on_mark_s - 0.5 <= passed_s <= walk.on_mark_s + walk.stays_s:
            return False
        add_code(self._door.stage, canvas, self._held, standing, passed_s)
        return True

    def _truth(self, place: int, standing: Standing, passed_s: float, *, is_covered: bool) -> Truth:
        left, right = (
            standing.seen((ORIGIN[0] + x, ORIGIN[1] + y)) for x, y in self._looks[place].eyes_at(standing.turn)
        )
        apart = standing.eyes_apart
        return Truth(
            who=self.people[place].who,
            box=(standing.x - 1.05 * apart, standing.y - 1.05 * apart, 2.1 * apart, 2.75 * apart),
            eyes=(left, right),
            is_on_mark=self.walks[place].is_standing(passed_s),
            is_facing=abs(standing.turn) < FACING_MAX,
            is_covered=is_covered,
        )


def company_of(scenario: Scenario) -> int:
    """How many people a visit of this kind has."""
    return {Scenario.TWO: 2, Scenario.THREE: 3}.get(scenario, 1)


def add_code(stage: Stage, canvas: Picture, held: Held, standing: Standing, passed_s: float) -> None:
    """A code in the hand beside the chest of whoever stands there."""
    at_y = min(standing.y + 6 * standing.eyes_apart, stage.height * 0.72)
    pose = stage.pose_of(held, standing.x + 3 * standing.eyes_apart, at_y, passed_s * 2.2, 0.85)
    stage.add_held(canvas, held, pose)


def wrapped(portrait: Picture, turn: float) -> Picture:
    """The portrait as a head turned by so many radians shows it, wrapped around a cylinder of CYLINDER pixels."""
    across = np.arange(SIDE, dtype=np.float32) - _MIDDLE_X
    on_head = np.arcsin(np.clip(across / CYLINDER, -0.999, 0.999)) - turn
    columns = np.where(np.abs(across) < CYLINDER, CYLINDER * np.sin(np.clip(on_head, -1.5, 1.5)), across) + _MIDDLE_X
    map_x = np.tile(columns.astype(np.float32), (SIDE, 1))
    map_y = np.repeat(np.arange(SIDE, dtype=np.float32)[:, None], SIDE, axis=1)
    shown = np.asarray(cv2.remap(portrait, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    unseen = (np.abs(on_head) > PICTURED) & (np.abs(across) < CYLINDER)
    shown[:, unseen] = np.median(portrait[50:62, 108:144].reshape(-1, 3), axis=0)
    shown[CHIN_ROW:] = portrait[CHIN_ROW:]
    return shown


_MIDDLE_X: Final = (FRAME_EYES[0][0] + FRAME_EYES[1][0]) / 2


class _Looks:
    """A person as seen from a few directions, each cut out when it is first needed."""

    def __init__(self, person: Person, base_turn: float) -> None:
        self._person = person
        self._base_turn = base_turn
        self._cutouts: dict[int, Cutout] = {}

    def seen(self, standing: Standing) -> tuple[Cutout, Standing]:
        """The cut-out for the turn, and how to put it: what the cylinder shows needs no narrowing."""
        step = self._step(standing.turn)
        cutout = self._cutouts.get(step)
        if cutout is None:
            cutout = self._cutouts[step] = cut_out(wrapped(self._person.portrait, self._turn_of(step)))
        beyond = math.copysign(max(0.0, abs(standing.turn) - WRAPPED_MAX), standing.turn)
        return cutout, replace(standing, turn=standing.turn if math.cos(standing.turn) < 0 else beyond)

    def eyes_at(self, turn: float) -> tuple[Point, Point]:
        """Where the eyes are in the portrait of that turn."""
        shown = self._turn_of(self._step(turn))
        (left_x, left_y), (right_x, right_y) = self._person.eyes
        return (_moved(left_x, shown), left_y), (_moved(right_x, shown), right_y)

    def _step(self, turn: float) -> int:
        return round(max(-WRAPPED_MAX, min(WRAPPED_MAX, turn)) / TURN_STEP)

    def _turn_of(self, step: int) -> float:
        return self._base_turn + step * TURN_STEP


def _moved(x: float, turn: float) -> float:
    """Where a column of the portrait is after the turn."""
    return CYLINDER * math.sin(math.asin(max(-1.0, min(1.0, (x - _MIDDLE_X) / CYLINDER))) + turn) + _MIDDLE_X


class _Cover:
    """What comes before the face for a while: a hand, a phone, or somebody who walks past."""

    def __init__(self, walk: Walk, random: np.random.Generator) -> None:
        self._kind = int(random.integers(3))
        self._begins_s = walk.on_mark_s + float(random.uniform(-0.3, 0.6))
        self._lasts_s = float(random.uniform(0.8, 1.4))
        self._offset = float(random.uniform(-0.4, 0.4))
        passer = np.full((SIDE, SIDE, 3), random.integers(40, 140, 3), np.uint8)
        self._passer = cut_out(passer) if self._kind == 2 else None

    def add(self, canvas: Picture, lens: Lens, standing: Standing, passed_s: float) -> bool:
        """Draws it when it is its time; whether it was."""
        share = (passed_s - self._begins_s) / self._lasts_s
        if not 0 <= share <= 1:
            return False
        if self._passer is not None:
            side_m = 1.4 * (share - 0.5)
            walker = lens.standing(distance_m=0.9, side_m=side_m, eyes_m=EYES_HEIGHT_M + 0.05)
            add_person(canvas, self._passer, replace(walker, turn=2.2, smear=(walker.eyes_apart * 0.4, 1.0)))
        else:
            self._add_thing(canvas, standing)
        return True

    def _add_thing(self, canvas: Picture, standing: Standing) -> None:
        """A hand over the mouth, or a phone at the ear that reaches to the mouth."""
        apart = standing.eyes_apart
        middle = (round(standing.x + self._offset * apart), round(standing.y + 1.15 * apart))
        layer = np.zeros((*canvas.shape[:2], 4), np.uint8)
        if self._kind == 0:
            axes = (round(0.95 * apart), round(0.5 * apart))
            cv2.ellipse(layer, middle, axes, 15, 0, 360, (112, 142, 188, 255), -1, cv2.LINE_AA)
        else:
            left = (round(middle[0] - 0.6 * apart), round(middle[1] - 0.7 * apart))
            right = (round(middle[0] + 0.6 * apart), round(middle[1] + 1.5 * apart))
            cv2.rectangle(layer, left, right, (34, 30, 30, 255), -1)
        top, bottom = max(0, middle[1] - 80), min(canvas.shape[0], middle[1] + 130)
        put_layer(canvas[top:bottom], layer[top:bottom])


def _walk(
    scenario: Scenario,
    place: int,
    random: np.random.Generator,
    *,
    from_m: tuple[float, float],
    stays_s: float,
) -> Walk:
    """How the person at this place in the company moves."""
    speed_m_s = float(random.uniform(1.5, 2.0) if scenario is Scenario.MOTION else random.uniform(0.9, 1.4))
    start_m = float(random.uniform(*from_m))
    mark_m, mark_side_m = float(random.uniform(1.1, 1.55)), float(random.uniform(-0.15, 0.15))
    if scenario in (Scenario.TWO, Scenario.THREE):  # two fit on the mark side by side, the third waits behind
        mark_side_m = mark_side_m / 2 + (-0.31, 0.31, 0.0)[place]
        mark_m += (0.0, 0.05, 1.0)[place]
    late_s = float(random.uniform(0, 0.8)) if place else 0.0
    on_mark_s = (start_m - mark_m) / speed_m_s + late_s + 0.3
    is_restless = scenario is Scenario.MOTION
    is_passing = scenario is Scenario.PASSING
    return Walk(
        from_m=start_m,
        from_side_m=mark_side_m * 2 + float(random.uniform(-0.8, 0.8)),
        mark_m=mark_m,
        mark_side_m=mark_side_m,
        speed_m_s=speed_m_s,
        on_mark_s=on_mark_s,
        stays_s=0.0 if is_passing else stays_s,
        eyes_m=float(np.clip(random.normal(EYES_HEIGHT_M, 0.06), 1.45, 1.72)),
        sway_m=float(random.uniform(0.02, 0.045) if is_restless else random.uniform(0.005, 0.015)),
        sway_hz=float(random.uniform(0.7, 1.1) if is_restless else random.uniform(0.25, 0.5)),
        phase=float(random.uniform(0, 2 * math.pi)),
        pause_s=0.0 if is_passing else 0.3,
        glance=(on_mark_s + float(random.uniform(0.0, 0.6)), 1.2) if scenario is Scenario.TURNING else None,
    )


def _light(scenario: Scenario, random: np.random.Generator) -> Light:
    """Daylight, or the dusk that makes a camera expose long and amplify its noise."""
    is_dark = scenario is Scenario.DARK
    return Light(
        gain=float(random.uniform(0.22, 0.4) if is_dark else random.uniform(0.75, 1.2)),
        drift=float(random.uniform(0.02, 0.1)),
        phase=float(random.uniform(0, 2 * math.pi)),
        exposure_s=1 / 25 if is_dark else 1 / 30 if scenario is Scenario.MOTION else 1 / 80,
        is_noisy=is_dark,
    )


def _noise_field(
    random: np.random.Generator, width: int, height: int, sigma: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What noise adds and what it takes away, each larger than a frame by NOISE_SLACK."""
    noise = random.normal(0, sigma, (height + NOISE_SLACK, width + NOISE_SLACK, 3)).astype(np.float32)
    brighter, darker = (np.rint(np.maximum(sign * noise, 0)).astype(np.uint8) for sign in (1, -1))
    return brighter, darker

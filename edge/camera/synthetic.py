"""`synthetic:[PATH]`: a door that the program draws itself, for a machine without a camera and to lose one at will."""

import math
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from edge.camera.drawing import Held, Picture, Stage, draw_card, draw_phone
from edge.camera.options import NS, CameraClock, CameraOptions
from edge.camera.portraits import EYES_HEIGHT_M, Cutout, Lens, PortraitUnusable, add_person, cut_out, load_portrait
from edge.camera.recorded import Pace, Recorded
from edge.camera.scene import (
    PORTRAITS_MAX,
    SCENE_BYTES_MAX,
    AnyAct,
    Approach,
    Blackout,
    CardAct,
    Disconnect,
    Empty,
    Freeze,
    Glare,
    Pair,
    PhoneAct,
    Scene,
    Visitor,
    Walker,
    built_in_scene,
    parse_scene,
)
from edge.camera.walking import Place, place_of
from edge.errors import CameraLost, CameraUnavailable, EndOfStream
from shared.tokens import STEP_S, show_phone_code

HELD_MAX = 32  # textures kept; one is 150 to 400 kB, and a phone draws a new one every 30 seconds
WALK_SHARE = 0.25  # of an act's time goes into walking in, and as much into walking out
SWAY_HZ = 0.35
DEFOCUS_METRES = 1.2  # a deviation of 0.7 pixels at 6 m for a lens focused at 1.3 m
BOB_HZ = 1.8  # steps a second
PEOPLE_MAX = 8  # cut-outs kept, 4.5 MB each

Portraits = dict[str, Picture]
"""The pictures of a scene's walkers by their names in it."""


class SyntheticCamera(Recorded):
    """A scene played from its script. Loss of the camera is part of the script: opening it again goes on from there."""

    def __init__(
        self,
        address: str,
        path: Path | None,
        options: CameraOptions,
        clock: CameraClock,
        *,
        pace: Pace,
        seed: int,
    ) -> None:
        super().__init__(address, pace=pace, clock=clock)
        self._path = path
        self._options = options
        self._seed = seed
        self._show: _Show | None = None
        self._stamp_ns: int | None = None
        self._blocked_until_ns: int | None = None

    def _start(self) -> None:
        if self._show is None or self._show.is_over:
            self._show = _Show(*self._load(), self._options, self._seed)
        if isinstance(self._show.act, Disconnect) and not self._is_act_over(self._show, self._show.act.seconds):
            raise CameraUnavailable(self._address, "unplugged")
        self._begin(self._show.rate_fps)

    def _load(self) -> tuple[Scene, Portraits]:
        if self._path is None:
            return built_in_scene(), {}
        try:
            with self._path.open("rb") as file:
                self._stamp_ns = os.fstat(file.fileno()).st_mtime_ns
                data = file.read(SCENE_BYTES_MAX + 1)
            if len(data) > SCENE_BYTES_MAX:
                raise CameraUnavailable(self._address, "the scene is too long")
            scene = parse_scene(data)
        except OSError as fault:
            raise CameraUnavailable(self._address, "no such scene") from fault
        except msgspec.DecodeError as fault:  # its text names the place, not the value
            raise CameraUnavailable(self._address, f"the scene cannot be played: {fault}") from fault
        if (scene.width or 0) > self._options.width or (scene.height or 0) > self._options.height:
            raise CameraUnavailable(self._address, "the scene is larger than the camera's options allow")
        return scene, self._load_portraits(scene, self._path.parent / scene.portraits)

    def _load_portraits(self, scene: Scene, folder: Path) -> Portraits:
        """The walkers' pictures. A bad one is named by its place in the scene: file names of faces are names."""
        names = scene.portrait_names
        if len(names) > PORTRAITS_MAX:
            raise CameraUnavailable(self._address, f"the scene has {len(names)} portraits; at most {PORTRAITS_MAX}")
        portraits: Portraits = {}
        for place, name in enumerate(names, start=1):
            try:
                portraits[name] = load_portrait(folder / name)
            except PortraitUnusable as fault:
                raise CameraUnavailable(self._address, f"the scene's portrait number {place} {fault}") from fault
        return portraits

    def _take(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        assert self._show is not None
        waited_s = 0.0
        while isinstance(self._show.act, Freeze):
            if not self._is_act_over(self._show, self._show.act.seconds):
                waited_s += self._sleep_frozen(timeout_s - waited_s)
        if isinstance(self._show.act, Disconnect):
            raise CameraLost(self._address, "unplugged")
        return super()._take(timeout_s)

    def _sleep_frozen(self, timeout_s: float) -> float:
        """Sleeps until the freeze is over and returns how long. Raises: CameraLost when that is after the timeout."""
        assert self._blocked_until_ns is not None
        remaining_s = (self._blocked_until_ns - self._clock.monotonic_ns()) / NS
        self._clock.sleep(max(0.0, min(remaining_s, timeout_s)))
        if remaining_s > timeout_s:
            raise CameraLost(self._address, "no picture in time")
        return max(0.0, remaining_s)

    def _is_act_over(self, show: "_Show", seconds: float) -> bool:
        """True, and the next act begun, when an act without pictures has lasted so long since it was first met."""
        now_ns = self._clock.monotonic_ns()
        if self._blocked_until_ns is None:
            self._blocked_until_ns = now_ns + round(seconds * NS)
        if now_ns < self._blocked_until_ns:
            return False
        self._blocked_until_ns = None
        show.skip_act()
        return True

    def _next_picture(self) -> NDArray[np.uint8]:
        assert self._show is not None
        if self._show.is_over:
            raise EndOfStream(self._address)
        if self._show.is_at_start and self._has_new_scene():
            self._show.play(*self._load())
        return self._show.next_picture(self._clock.wall_s())

    def _has_new_scene(self) -> bool:
        """True when the script was written anew since it was read: a loop goes on with the new one."""
        return self._path is not None and self._path.exists() and self._path.stat().st_mtime_ns != self._stamp_ns

    def _stop(self) -> None:
        """The show is kept: a camera that comes back does not turn back time."""


class _Show:
    """A scene under way: which act, which frame of it, and the drawing of that frame."""

    def __init__(self, scene: Scene, portraits: Portraits, options: CameraOptions, seed: int) -> None:
        self.rate_fps = scene.rate or options.rate_fps
        self._scene = scene
        self._portraits = portraits
        self._people: dict[str, Cutout] = {}
        self._seed = seed
        self._stage = Stage(scene.width or options.width, scene.height or options.height, seed)
        self._held: dict[tuple[str, bool], Held] = {}
        self._act = 0
        self._frame_of_act = 0
        self._frame = 0

    @property
    def is_over(self) -> bool:
        return self._act == len(self._scene.acts)

    @property
    def act(self) -> AnyAct | None:
        """The act under way, or None when the show is over."""
        return None if self.is_over else self._scene.acts[self._act]

    @property
    def is_at_start(self) -> bool:
        """True before the first picture of a pass through the scene."""
        return self._act == 0 and self._frame_of_act == 0

    def play(self, scene: Scene, portraits: Portraits) -> None:
        """Goes on with this scene from its start, on the same stage."""
        self._scene, self._act, self._frame_of_act = scene, 0, 0
        self._portraits, self._people = portraits, {}

    def skip_act(self) -> None:
        """The next act begins."""
        self._act += 1
        self._frame_of_act = 0
        if self.is_over and self._scene.loop:
            self._act = 0

    def next_picture(self, wall_s: float) -> Picture:
        """The next frame of the act under way, which must be one with pictures."""
        act = self.act
        assert act is not None
        frames = max(1, round(act.seconds * self.rate_fps))
        canvas = self._draw(act, self._frame_of_act / frames, wall_s)
        self._frame_of_act += 1
        self._frame += 1
        if self._frame_of_act == frames:
            self.skip_act()
        return self._stage.add_noise(canvas, self._frame)

    def _draw(self, act: AnyAct, share: float, wall_s: float) -> Picture:
        """The canvas when this share (0 to 1) of the act is past."""
        stage = self._stage
        match act:
            case Blackout():
                return stage.dark_door()
            case CardAct(text=text):
                return self._draw_visit(share, (self._card(text),))
            case PhoneAct():
                return self._draw_visit(share, (self._phone(act, wall_s),))
            case Pair(texts=(first, second)):
                return self._draw_visit(share, (self._card(first), self._card(second)))
            case Glare(text=text):
                canvas = self._draw_visit(share, (self._card(text),))
                stage.add_glare(canvas, stage.width * (0.35 + 0.5 * share), stage.height * 0.52)
                return canvas
            case Visitor():
                return self._draw_visit(share, ())
            case Approach():
                return self._draw_approach(act)
            case Empty() | Freeze() | Disconnect():
                return stage.empty_door()

    def _draw_visit(self, share: float, things: tuple[Held, ...]) -> Picture:
        """Somebody who walks in from the left, holds up the things and walks out to the right."""
        stage = self._stage
        canvas = stage.empty_door()
        arrived = min(1.0, share / WALK_SHARE)
        leaving = max(0.0, (share - 1 + WALK_SHARE) / WALK_SHARE)
        x = stage.width * (0.38 - 0.6 * (1 - arrived) + 0.9 * leaving)
        stage.add_figure(canvas, x, 0.7 + 0.3 * (arrived - leaving), self._seed + self._act)
        lift = min(arrived, 1 - leaving)
        sway = self._frame / self.rate_fps * SWAY_HZ * 2 * np.pi
        for place, held in enumerate(things):
            at_x = x + stage.width * (0.2 + 0.3 * place - 0.15 * (len(things) - 1))
            at_y = stage.height * (0.55 + 0.5 * (1 - lift))
            scale = (0.7 + 0.3 * lift) * (1 if len(things) == 1 else 0.85)
            stage.add_held(canvas, held, stage.pose_of(held, at_x, at_y, sway + place, scale))
        return canvas

    def _draw_approach(self, act: Approach) -> Picture:
        """Everybody who is in view now, the farthest first."""
        canvas = self._stage.empty_door()
        passed_s = self._frame_of_act / self.rate_fps
        there = [(walker, at) for walker in act.walkers if (at := place_of(walker, passed_s)) is not None]
        for walker, place in sorted(there, key=lambda pair: -pair[1].distance_m):
            self._draw_walker(canvas, walker, place, passed_s)
        return canvas

    def _draw_walker(self, canvas: Picture, walker: Walker, place: Place, passed_s: float) -> None:
        stage = self._stage
        bob = 0.012 * math.sin(passed_s * BOB_HZ * 2 * np.pi) * (1.0 if place.is_walking else 0.2)
        lens = Lens(width=stage.width, height=stage.height)
        standing = lens.standing(
            distance_m=place.distance_m, side_m=place.side_m, eyes_m=EYES_HEIGHT_M + bob, roll=2 * bob
        )
        smear = (standing.eyes_apart * (0.12 if place.is_walking else 0.02), 1.0)
        defocus = DEFOCUS_METRES * abs(1 / place.distance_m - 1 / walker.mark_m)  # sharp where they will stand
        add_person(
            canvas, self._person(walker.portrait), replace(standing, turn=place.turn, smear=smear, defocus=defocus)
        )
        if walker.code is not None and not place.is_walking:
            sway = passed_s * SWAY_HZ * 2 * np.pi
            held = self._card(walker.code)
            at_y = min(standing.y + 5 * standing.eyes_apart, stage.height * 0.75)
            stage.add_held(canvas, held, stage.pose_of(held, standing.x + 3 * standing.eyes_apart, at_y, sway, 0.9))

    def _person(self, name: str) -> Cutout:
        """The person of a portrait, cut out at most once in a while: it takes longer than ten frames."""
        person = self._people.get(name)
        if person is None:
            if len(self._people) == PEOPLE_MAX:
                del self._people[next(iter(self._people))]
            person = self._people[name] = cut_out(self._portraits[name])
        return person

    def _card(self, text: str) -> Held:
        return self._keep(text, is_phone=False)

    def _phone(self, act: PhoneAct, wall_s: float) -> Held:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(act.private_key))
        text = show_phone_code(key, bytes.fromhex(act.certificate), int(wall_s) // STEP_S)
        return self._keep(text, is_phone=True)

    def _keep(self, text: str, *, is_phone: bool) -> Held:
        """The thing with this code, drawn at most once in a while: drawing a code costs ten frames."""
        held = self._held.get((text, is_phone))
        if held is None:
            if len(self._held) == HELD_MAX:
                del self._held[next(iter(self._held))]
            held = self._held[(text, is_phone)] = draw_phone(text) if is_phone else draw_card(text)
        return held

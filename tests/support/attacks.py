"""Faces held before the camera that are not faces, drawn from a portrait: a print, a screen, a cut-out; and the person.

Everything here is synthetic. The person is the same portrait without its background, in the same place and the same
light, so that a check sees no other difference than what the attack brings: paper and its edge, ink, a bezel, a pixel
grid, a reflection. What a lens, a printer and a display do beyond that is not in it, and figures taken on these
pictures say nothing about an attacker with patience.

A head that turns is drawn with the depth of an egg with a nose, the same for everybody: crude, and enough to move the
features against each other as no flat picture does.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.drawing import Stage
from edge.vision.faces.face import Face

Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 1280, 720
FACE_WIDTHS = (130, 190)  # pixels, from a head at the end of the mark to one close by
SHEET_PIXELS = 720  # a texture's longer side: finer than it is ever shown
STRIPS_A_RADIAN = 12
PAPER = np.array((232, 236, 238), np.float32)
SKIN = (110, 140, 190)
EYE_SIGHT = 2.5  # distance of the lens in widths of the sheet


class Kind(StrEnum):
    """What stands before the camera."""

    PERSON = "person"
    PRINT = "print"
    SCREEN = "screen"
    CUT_OUT = "cut-out"


ATTACKS = (Kind.PRINT, Kind.SCREEN, Kind.CUT_OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """A photograph, the face in it, and how much of each pixel is the person.

    Shape and dtype: pixels (H, W, 3) uint8 BGR; outline (H, W) float32 from 0 to 1.
    """

    pixels: Picture
    face: Face
    outline: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How a flat thing is held: turns in degrees, yaw positive to the picture's right; `bend` is the angle in radians
    that its width spans when it is rolled about its upright axis, 0 for flat."""

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    bend: float = 0.0


def portrait_of(pixels: Picture, face: Face) -> Portrait:
    """The portrait with its person cut out by colour, from a guess of head and shoulders."""
    height, width = pixels.shape[:2]
    (x, y), w, h = face.box.centre, face.box.width, face.box.height
    guess = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    guess[:, : max(0, round(x - 1.7 * w))] = guess[:, round(x + 1.7 * w) :] = cv2.GC_BGD
    guess[: max(0, round(y - 1.1 * h))] = cv2.GC_BGD
    neck_y = round(y + 0.45 * h)
    for spread, certainty in ((1.4, cv2.GC_PR_FGD), (0.9, cv2.GC_FGD)):
        top, bottom = 0.35 * spread * w, spread * w
        shoulders = [(x - top, neck_y), (x + top, neck_y), (x + bottom, height), (x - bottom, height)]
        cv2.fillConvexPoly(guess, np.rint(shoulders).astype(np.int32), certainty)
    for share, certainty in ((0.8, cv2.GC_PR_FGD), (0.48, cv2.GC_FGD)):
        size = (round(share * w), round(share * h))
        cv2.ellipse(guess, (round(x), round(y - 0.05 * h)), size, 0, 0, 360, certainty, -1)
    cv2.setRNGSeed(1)  # grabCut starts from a random clustering
    cut, _, _ = cv2.grabCut(pixels, guess, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    person = _largest((np.asarray(cut) % 2) == cv2.GC_FGD)  # 1 and 3: surely and probably the person
    outline = np.asarray(cv2.GaussianBlur(person, (0, 0), 1.2), np.float32)
    return Portrait(pixels=pixels, face=face, outline=outline)


def _largest(shape: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The largest connected part of the shape, without threads: 1 where it is, 0 elsewhere."""
    smooth = cv2.morphologyEx(shape.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(smooth)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return np.asarray(np.asarray(labels) == largest, np.float32)


def turned_head(portrait: Portrait, yaw_deg: float) -> Portrait:
    """The portrait with the head turned by so much more, positive to the picture's right: drawn, not photographed."""
    height, width = portrait.pixels.shape[:2]
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    (x, y), half = portrait.face.box.centre, portrait.face.box.width / 2
    dx, dy = (across - x) / half, (down - y) / half
    round_head = np.sqrt(np.clip(1 - (dx / 1.25) ** 2 - (dy / 1.75) ** 2, 0, None))
    nose_x, nose_y = (portrait.face.points[2] - (x, y)) / half
    ridge = 0.32 * np.exp(-(((dx - nose_x) / 0.16) ** 2) - ((dy - nose_y + 0.12) / 0.3) ** 2)
    depth = 1.1 * round_head + ridge
    belongs = np.clip((1.7 - np.hypot(dx / 1.25, dy / 1.75)) / 0.7, 0, 1)  # neck and shoulders stay
    turn = math.radians(yaw_deg)
    moved = across + half * belongs * (dx * (math.cos(turn) - 1) + depth * math.sin(turn))
    if yaw_deg > 0:  # a part that another one moves before is hidden behind it
        moved = np.maximum.accumulate(moved, axis=1)
    else:
        moved = np.minimum.accumulate(moved[:, ::-1], axis=1)[:, ::-1]
    columns = np.arange(width, dtype=np.float32)
    source = np.stack([np.interp(columns, row, columns) for row in moved]).astype(np.float32)
    pixels = cv2.remap(portrait.pixels, source, down, cv2.INTER_CUBIC)
    outline = cv2.remap(portrait.outline, source, down, cv2.INTER_LINEAR)
    return Portrait(pixels=np.asarray(pixels, np.uint8), face=portrait.face, outline=np.asarray(outline, np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strip:
    """A flat part of a sheet: its corners on the texture (4, 2) and in space (4, 3), and how much light falls on it."""

    texels: NDArray[np.float64]
    corners: NDArray[np.float64]
    light: float


class Booth:
    """A door with somebody, or something, before it. The same seed gives the same pictures in the same order."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._stage = Stage(WIDTH, HEIGHT, seed)
        self._frames = 0

    def show(self, kind: Kind, portrait: Portrait) -> Picture:
        """A frame with the portrait's face shown in this way, at a place, a size and an angle drawn by chance."""
        face_width = float(self._random.uniform(*FACE_WIDTHS))
        at = (WIDTH * float(self._random.uniform(0.4, 0.6)), HEIGHT * float(self._random.uniform(0.4, 0.5)))
        match kind:
            case Kind.PERSON:
                return self.person(portrait, at, face_width)
            case Kind.PRINT:
                return self.print_(portrait, self._held(), at, face_width)
            case Kind.SCREEN:
                return self.screen(portrait, self._held(), at, face_width)
            case Kind.CUT_OUT:
                return self.cut_out(portrait, self._held(), at, face_width)

    def person(self, portrait: Portrait, at: tuple[float, float], face_width: float) -> Picture:
        """The person, clothes drawn out to the picture's lower edge."""
        canvas = self._stage.empty_door()
        scale = face_width / portrait.face.box.width
        x, y = portrait.face.box.centre
        onto = np.array([[scale, 0, at[0] - scale * x], [0, scale, at[1] - scale * y]])
        hem = cv2.blur(portrait.pixels[-12:], (31, 31))[-1:]
        pixels = np.concatenate([portrait.pixels, np.repeat(hem, HEIGHT, axis=0)])
        outline = cv2.copyMakeBorder(portrait.outline, 0, HEIGHT, 0, 0, cv2.BORDER_REPLICATE)
        flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        shown = cv2.warpAffine(pixels, onto, (WIDTH, HEIGHT), flags=flags)
        there = cv2.warpAffine(outline, onto, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        return self._captured(_laid(canvas, np.asarray(shown, np.uint8), np.asarray(there, np.float32)))

    def print_(self, portrait: Portrait, hold: Hold, at: tuple[float, float], face_width: float) -> Picture:
        """A photograph printed on paper with a white rim, held at its lower edge."""
        sheet = _enlarged(portrait.pixels)
        ink = _inked(sheet, self._random)
        rim = round(SHEET_PIXELS * float(self._random.uniform(0.02, 0.07)))
        framed = cv2.copyMakeBorder(ink, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=PAPER.tolist())
        anchor = _scaled(portrait, sheet) + rim
        whole = np.ones(framed.shape[:2], np.float32)
        width = face_width / portrait.face.box.width * portrait.pixels.shape[1] * framed.shape[1] / sheet.shape[1]
        canvas = self._before_somebody(at)
        canvas = self._put(canvas, np.asarray(framed, np.uint8), whole, anchor, hold, at, width)
        self._thumb(canvas, at[0] - 0.1 * width, at[1] + 0.5 * width)
        return self._captured(canvas)

    def screen(self, portrait: Portrait, hold: Hold, at: tuple[float, float], face_width: float) -> Picture:
        """A telephone or a tablet that shows the portrait."""
        shown = _lit(_enlarged(_around(portrait, float(self._random.uniform(1.5, 2.4)))), self._random)
        rim = round(SHEET_PIXELS * float(self._random.uniform(0.015, 0.04)))
        ends = round(SHEET_PIXELS * float(self._random.uniform(0.03, 0.12)))
        device = cv2.copyMakeBorder(
            _glazed(shown, self._random), ends, ends, rim, rim, cv2.BORDER_CONSTANT, value=(16, 15, 15)
        )
        whole = np.ones(device.shape[:2], np.float32)
        anchor = np.array([device.shape[1] / 2, device.shape[0] / 2])
        grown = device.shape[1] / shown.shape[1]
        width = face_width * _around(portrait, 1.0).shape[1] / portrait.face.box.width * grown
        width *= shown.shape[1] / device.shape[1] * 1.8
        canvas = self._before_somebody(at)
        flat = Hold(yaw_deg=hold.yaw_deg, pitch_deg=hold.pitch_deg, roll_deg=hold.roll_deg)
        canvas = self._put(canvas, np.asarray(device, np.uint8), whole, anchor, flat, at, width)
        self._thumb(canvas, at[0] - 0.5 * width, at[1] + 0.3 * width)
        return self._captured(canvas)

    def cut_out(self, portrait: Portrait, hold: Hold, at: tuple[float, float], face_width: float) -> Picture:
        """A print cut along the person's outline, in half of the cases with holes for the eyes."""
        sheet = _enlarged(portrait.pixels)
        kept = cv2.resize(portrait.outline, (sheet.shape[1], sheet.shape[0]), interpolation=cv2.INTER_LINEAR)
        kept = (kept > 0.5).astype(np.float32)
        ink = _inked(sheet, self._random)
        margin = float(self._random.uniform(2, 10))
        wide = np.ones((3, 3), np.uint8)
        edge = cv2.dilate(kept, wide, iterations=round(margin))
        ink[(edge > 0) & (kept == 0)] = PAPER.astype(np.uint8)
        if self._random.random() < 0.5:
            for eye in portrait.face.points[:2]:
                x, y = (eye * sheet.shape[1] / portrait.pixels.shape[1]).round().astype(int).tolist()
                size = round(0.11 * portrait.face.box.width * sheet.shape[1] / portrait.pixels.shape[1])
                cv2.ellipse(ink, (x, y), (size, size // 2), 0, 0, 360, tuple(int(v * 0.75) for v in SKIN), -1)
                cv2.circle(ink, (x, y), max(1, size // 3), (34, 28, 26), -1)
        width = face_width / portrait.face.box.width * portrait.pixels.shape[1]
        canvas = self._before_somebody(at)
        canvas = self._put(canvas, ink, np.asarray(edge, np.float32), _scaled(portrait, sheet), hold, at, width)
        return self._captured(canvas)

    def _held(self) -> Hold:
        """How a hand holds a sheet to the camera as well as it can."""
        yaw, pitch, roll = (float(v) for v in self._random.normal(0, (7, 6, 4)))
        return Hold(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, bend=abs(float(self._random.normal(0, 0.4))))

    def _before_somebody(self, at: tuple[float, float]) -> Picture:
        """The door with the one who holds the attack; the look changes from frame to frame."""
        canvas = self._stage.empty_door()
        self._stage.add_figure(canvas, at[0] + float(self._random.normal(0, 30)), 0.9, int(self._random.integers(20)))
        return canvas

    def _put(
        self,
        canvas: Picture,
        texture: Picture,
        there: NDArray[np.float32],
        anchor: NDArray[np.float64],
        hold: Hold,
        at: tuple[float, float],
        width: float,
    ) -> Picture:
        """The canvas with the sheet before it: the texture's `anchor` at `at`, as wide as if seen straight on."""
        high, wide = texture.shape[:2]
        u, bend = anchor[0] / wide - 0.5, max(hold.bend, 1e-6)
        flat = np.array([[math.sin(u * bend) / bend, (anchor[1] - high / 2) / wide, (1 - math.cos(u * bend)) / bend]])
        shift = np.array(at) - _seen(_held_so(flat, hold))[0] * width
        for strip in _strips((high, wide), hold):
            quad = _seen(strip.corners) * width + shift
            low = np.clip(np.floor(quad.min(axis=0)), 0, (WIDTH, HEIGHT)).astype(int)
            size = np.clip(np.ceil(quad.max(axis=0)), 0, (WIDTH, HEIGHT)).astype(int) - low
            if size.min() <= 0:
                continue
            onto = cv2.getPerspectiveTransform(strip.texels.astype(np.float32), (quad - low).astype(np.float32))
            room = (int(size[0]), int(size[1]))
            inside = np.zeros(room[::-1], np.uint8)
            cv2.fillConvexPoly(inside, np.rint(quad - low).astype(np.int32), 1)
            shown = cv2.warpPerspective(texture, onto, room, flags=cv2.INTER_LINEAR) * strip.light
            cover = cv2.warpPerspective(there, onto, room, flags=cv2.INTER_LINEAR) * inside
            window = canvas[low[1] : low[1] + size[1], low[0] : low[0] + size[0]]
            window[:] = _laid(window, shown.astype(np.uint8), np.asarray(cover, np.float32))
        return canvas

    def _thumb(self, canvas: Picture, x: float, y: float) -> None:
        """A thumb on the edge of what is held."""
        size = (round(HEIGHT * 0.022), round(HEIGHT * 0.05))
        cv2.ellipse(canvas, (round(x), round(y)), size, float(self._random.uniform(-30, 30)), 0, 360, SKIN, -1)

    def _captured(self, canvas: Picture) -> Picture:
        """The canvas as a camera of the price would give it: a little soft, a little off in exposure, with noise."""
        soft = cv2.GaussianBlur(canvas, (0, 0), float(self._random.uniform(0.5, 0.9)))
        exposed = np.asarray(cv2.convertScaleAbs(soft, alpha=float(self._random.uniform(0.88, 1.1))), np.uint8)
        self._frames += 1
        return self._stage.add_noise(exposed, self._frames)


def _around(portrait: Portrait, faces: float) -> Picture:
    """The portrait's middle, upright like a telephone, so many faces wide."""
    (x, y), width = portrait.face.box.centre, portrait.face.box.width * faces
    half = (width / 2, width * 0.9)
    height, wide = portrait.pixels.shape[:2]
    left, right = round(max(0, x - half[0])), round(min(wide, x + half[0]))
    top, bottom = round(max(0, y - half[1])), round(min(height, y + half[1]))
    return portrait.pixels[top:bottom, left:right]


def _enlarged(pixels: Picture) -> Picture:
    """The picture with SHEET_PIXELS on its longer side."""
    scale = SHEET_PIXELS / max(pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def _scaled(portrait: Portrait, sheet: Picture) -> NDArray[np.float64]:
    """Where the face's middle is on the sheet."""
    scale = sheet.shape[1] / portrait.pixels.shape[1]
    return np.array([scale * along for along in portrait.face.box.centre])


def _inked(sheet: Picture, random: np.random.Generator) -> Picture:
    """The sheet printed: less contrast and colour than the original, ink dots, the grain of paper."""
    grey = cv2.cvtColor(cv2.cvtColor(sheet, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    colour = float(random.uniform(0.65, 0.95))
    pale = cv2.addWeighted(sheet, colour, grey, 1 - colour, 0)
    black = float(random.uniform(14, 40))
    levels = np.arange(256, dtype=np.float32)[:, None]
    toned = cv2.LUT(pale, _bytes(black + levels * (PAPER - black) / 255)[None])
    wave, depth = 2 * math.pi / float(random.uniform(2, 4)), float(random.uniform(0, 7))
    along, over = (depth * np.cos(wave * np.arange(size, dtype=np.float32)) for size in sheet.shape[:2])
    grain = 3 * random.standard_normal(sheet.shape[:2], np.float32)
    dots = grain + along[:, None] + over[None, :]
    return _bytes(toned + dots[:, :, None])


def _lit(sheet: Picture, random: np.random.Generator) -> Picture:
    """The sheet as a display shows it: bluish, contrasty, in stripes of red, green and blue."""
    tint = np.array((random.uniform(1.02, 1.16), 1.0, random.uniform(0.86, 0.98)), np.float32)
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    glowing = cv2.LUT(sheet, _bytes(255 * levels ** float(random.uniform(0.85, 1.15)) * tint)[None])
    strength = float(random.uniform(0.1, 0.4))
    rows, columns = (np.arange(size) for size in sheet.shape[:2])
    stripes = np.where(columns[:, None] % 3 == np.arange(3), 1, 1 - strength).astype(np.float32)
    gaps = np.where(rows % 3 == 0, 1 - strength / 2, 1).astype(np.float32)
    mean = float(stripes.mean() * gaps.mean())
    return _bytes(glowing * (stripes / mean)[None] * gaps[:, None, None])


def _glazed(shown: Picture, random: np.random.Generator) -> Picture:
    """A lit display with the band of its refresh and, in half of the cases, a lamp's reflection in the glass."""
    rows, columns = (np.arange(size, dtype=np.float32) for size in shown.shape[:2])
    period, phase = float(random.uniform(0.2, 0.7)) * SHEET_PIXELS, float(random.uniform(0, 6))
    light = shown * (1 + 0.05 * np.sin(2 * math.pi * rows / period + phase))[:, None, None]
    if random.random() < 0.5:
        y, x = (float(share) * size for share, size in zip(random.uniform(0, 1, 2), shown.shape, strict=False))
        size, lamp = float(random.uniform(0.08, 0.2)) * SHEET_PIXELS, float(random.uniform(60, 160))
        light += np.outer(lamp * np.exp(-(((rows - y) / size) ** 2)), np.exp(-(((columns - x) / size) ** 2)))[
            :, :, None
        ]
    return _bytes(light)


def _bytes(light: NDArray[np.floating]) -> Picture:
    """The light as a camera's or a printer's eight bits."""
    return np.asarray(np.clip(light, 0, 255), np.uint8)


def _laid(canvas: Picture, shown: Picture, there: NDArray[np.float32]) -> Picture:
    """The canvas with `shown` over it as far as it is there."""
    share = cv2.merge([there] * 3)
    return np.asarray(canvas + (shown.astype(np.float32) - canvas) * share, np.uint8)


def _strips(size: tuple[int, int], hold: Hold) -> list["_Strip"]:
    """The sheet as upright strips, each of them flat, the farthest first; lengths in widths of the sheet."""
    high, wide = size
    count = 1 + round(hold.bend * STRIPS_A_RADIAN)
    edges = np.linspace(-0.5, 0.5, count + 1)
    bend = max(hold.bend, 1e-6)
    strips = []
    for left, right in pairwise(edges):
        u, v = np.array([left, right, right, left]), np.array([-1, -1, 1, 1]) * high / wide / 2
        rolled = np.stack([np.sin(u * bend) / bend, v, (1 - np.cos(u * bend)) / bend], axis=1)
        texels = np.stack([(u + 0.5) * wide, v * wide + high / 2], axis=1)
        middle = (left + right) / 2
        facing = math.cos(middle * bend + math.radians(hold.yaw_deg)) * math.cos(math.radians(hold.pitch_deg))
        strips.append(_Strip(texels=texels, corners=_held_so(rolled, hold), light=0.75 + 0.25 * max(facing, 0.0)))
    return sorted(strips, key=lambda strip: -float(strip.corners[:, 2].mean()))


def _held_so(points: NDArray[np.float64], hold: Hold) -> NDArray[np.float64]:
    """The points (N, 3) turned as the sheet is held; depth grows away from the lens."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    yaw, pitch, roll = (math.radians(angle) for angle in (hold.yaw_deg, hold.pitch_deg, hold.roll_deg))
    x, z = x * math.cos(yaw) - z * math.sin(yaw), x * math.sin(yaw) + z * math.cos(yaw)
    y, z = y * math.cos(pitch) - z * math.sin(pitch), y * math.sin(pitch) + z * math.cos(pitch)
    x, y = x * math.cos(roll) - y * math.sin(roll), x * math.sin(roll) + y * math.cos(roll)
    return np.asarray(np.stack([x, y, z], axis=1), np.float64)


def _seen(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a lens EYE_SIGHT widths away sees the points: (N, 2), in widths of the sheet."""
    return np.asarray(points[:, :2] * (EYE_SIGHT / (EYE_SIGHT + points[:, 2:])), np.float64)

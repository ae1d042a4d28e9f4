"""The rendered door: a shop, a drawn figure, a card or a phone with a code, light and noise. No photograph of anybody.

A frame must cost little, because two kiosks render theirs beside everything else on two cores: what does not move is
drawn once, what moves is a few small shapes and one warped rectangle, and the noise is one addition.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import segno
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

MODULE_PIXELS = 6  # a texture's pixels a module; shown at 4 to 5, so the warp shrinks a little and stays sharp
QUIET_MODULES = 4  # ISO/IEC 18004 asks for four light modules around a code
SHOWN_MODULE_PIXELS = 4.6  # at 720 lines: a version 10 code is then 300 pixels wide, as one at 30 cm from a wide lens
SHOWN_MODULE_PIXELS_MIN = 3.0
NOISE_SLACK = 64  # the noise is a window into a larger field, moved each frame
NOISE_MEAN = 6
FOCAL_WIDTHS = 2.2  # distance of the eye in widths of the held thing: stronger perspective than a real door's

BODY_COLOURS: tuple[Colour, ...] = ((92, 62, 40), (60, 60, 130), (70, 95, 60), (50, 50, 54), (120, 88, 105))
SKIN_COLOURS: tuple[Colour, ...] = ((150, 180, 222), (96, 134, 184), (62, 88, 128), (128, 160, 206))
HAIR_COLOURS: tuple[Colour, ...] = ((24, 28, 34), (40, 62, 92), (70, 110, 150), (120, 122, 124))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a held thing is: centre and width in pixels; turns in radians, roll in the picture, the others into it."""

    x: float
    y: float
    width: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A flat thing that carries a code: its texture (H, W) uint8 and how many code modules its width spans."""

    texture: Picture
    modules: float


def draw_card(text: str) -> Held:
    """A printed card: the code at error level Q above a few lines of print."""
    code = _draw_code(text, "q")
    side = code.shape[0]
    margin = MODULE_PIXELS * 2
    texture = np.full((round(side * 1.3), side + 2 * margin), 238, dtype=np.uint8)
    texture[margin : margin + side, margin : margin + side] = code
    for line, width in enumerate((0.7, 0.5)):
        y = margin + side + round(side * (0.05 + 0.09 * line))
        cv2.rectangle(texture, (margin * 3, y), (margin * 3 + round(side * width), y + side // 28), 120, -1)
    return Held(texture=texture, modules=texture.shape[1] / MODULE_PIXELS)


def draw_phone(text: str) -> Held:
    """A phone that shows the code at error level M on a lit screen."""
    code = _draw_code(text, "m")
    side = code.shape[0]
    rim = MODULE_PIXELS * 3
    texture = np.full((round(side * 1.45), side + 2 * rim), 22, dtype=np.uint8)
    texture[rim:-rim, rim:-rim] = 246
    top = (texture.shape[0] - side) // 3
    texture[top : top + side, rim : rim + side] = code
    return Held(texture=texture, modules=texture.shape[1] / MODULE_PIXELS)


def _draw_code(text: str, error: str) -> Picture:
    """The code with its quiet zone, dark 28 on light 246."""
    modules = segno.make_qr(text, error=error, boost_error=False).matrix
    dark = np.pad(np.array([list(row) for row in modules], dtype=bool), QUIET_MODULES)
    shades = np.where(dark, np.uint8(28), np.uint8(246))
    return np.asarray(np.kron(shades, np.ones((MODULE_PIXELS, MODULE_PIXELS), dtype=np.uint8)), dtype=np.uint8)


class Stage:
    """An empty shop and everything that can be put before it. The same seed and frame numbers give the same pixels."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.width, self.height = width, height
        self._shop = _draw_shop(width, height, random)
        shape = (height + NOISE_SLACK, width + NOISE_SLACK, 3)
        half = NOISE_MEAN + 1
        self._noise = random.integers(0, half, shape, dtype=np.uint8) + random.integers(0, half, shape, dtype=np.uint8)
        self._spot = _draw_spot(round(height * 0.3))

    def empty_door(self) -> Picture:
        """A canvas with nobody on it."""
        return self._shop.copy()

    def dark_door(self) -> Picture:
        """A canvas without light."""
        return np.zeros_like(self._shop)

    def add_figure(self, canvas: Picture, x: float, nearness: float, look: int) -> None:
        """A person from the chest up, `x` pixels from the left; nearness 1 is at the counter. `look` picks colours."""
        body, skin, hair = (colours[look % len(colours)] for colours in (BODY_COLOURS, SKIN_COLOURS, HAIR_COLOURS))
        unit = self.height * nearness
        centre = round(x)
        head_y = round(self.height * 0.56 - 0.32 * unit)
        head = (round(0.085 * unit), round(0.115 * unit))
        shoulder_y = head_y + round(0.2 * unit)
        half_width = round(0.25 * unit)
        torso = [
            (centre - half_width, self.height),
            (centre - half_width, shoulder_y + round(0.07 * unit)),
            (centre - round(0.1 * unit), shoulder_y - round(0.02 * unit)),
            (centre + round(0.1 * unit), shoulder_y - round(0.02 * unit)),
            (centre + half_width, shoulder_y + round(0.07 * unit)),
            (centre + half_width, self.height),
        ]
        cv2.fillConvexPoly(canvas, np.array(torso, dtype=np.int32), body)
        cv2.rectangle(canvas, (centre - head[0] // 2, head_y), (centre + head[0] // 2, shoulder_y), skin, -1)
        cv2.ellipse(canvas, (centre, head_y - head[1] // 5), (head[0] + head[0] // 6, head[1]), 0, 0, 360, hair, -1)
        cv2.ellipse(canvas, (centre, head_y + head[1] // 8), (head[0], head[1]), 0, 0, 360, skin, -1)
        for side in (-1, 1):
            eye = (centre + side * head[0] * 2 // 5, head_y)
            cv2.circle(canvas, eye, max(1, head[0] // 9), (40, 34, 30), -1)
        mouth = (centre, head_y + head[1] // 2)
        cv2.ellipse(canvas, mouth, (head[0] // 3, max(1, head[1] // 12)), 0, 0, 180, (80, 80, 150), -1)

    def pose_of(self, held: Held, x: float, y: float, sway: float, scale: float = 1.0) -> Pose:
        """How a hand holds it there; `sway` in radians moves through a slight turn each way."""
        shown = max(SHOWN_MODULE_PIXELS_MIN, SHOWN_MODULE_PIXELS * self.height / 720 * scale)
        return Pose(
            x=x + 6 * math.sin(sway),
            y=y + 4 * math.sin(sway * 1.7),
            width=held.modules * shown * (1 + 0.06 * math.sin(sway * 0.6)),
            roll=0.07 * math.sin(sway * 0.9),
            yaw=0.22 * math.sin(sway * 0.7 + 1.0),
            pitch=0.12 * math.sin(sway * 0.5),
        )

    def add_held(self, canvas: Picture, held: Held, pose: Pose) -> None:
        """The thing in its pose, cut off where it leaves the picture."""
        height, width = held.texture.shape
        corners = _corners(pose, height / width)
        low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0)), (self.width, self.height)).astype(int)
        if (high - low).min() <= 0:
            return
        inside = (corners - low).astype(np.float32)
        source = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        warped = cv2.warpPerspective(held.texture, cv2.getPerspectiveTransform(source, inside), size)
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        cv2.fillConvexPoly(mask, np.rint(inside).astype(np.int32), 255)
        window = canvas[low[1] : high[1], low[0] : high[0]]
        cv2.copyTo(cv2.cvtColor(warped, cv2.COLOR_GRAY2BGR), mask, window)

    def add_glare(self, canvas: Picture, x: float, y: float) -> None:
        """A reflection that burns out what is under it, around a point."""
        half = self._spot.shape[0] // 2
        left, top = round(x) - half, round(y) - half
        right, bottom = min(left + 2 * half, self.width), min(top + 2 * half, self.height)
        cut_x, cut_y = max(0, -left), max(0, -top)
        if right <= left + cut_x or bottom <= top + cut_y:
            return
        window = canvas[top + cut_y : bottom, left + cut_x : right]
        spot = self._spot[cut_y : bottom - top, cut_x : right - left]
        cv2.add(window, spot, dst=window)

    def add_noise(self, canvas: Picture, number: int) -> Picture:
        """The same canvas as a sensor would see it in frame `number`."""
        x, y = number * 37 % NOISE_SLACK, number * 53 % NOISE_SLACK
        cv2.add(canvas, self._noise[y : y + self.height, x : x + self.width], dst=canvas)
        return canvas


def _draw_shop(width: int, height: int, random: np.random.Generator) -> Picture:
    """Wall, floor, a lit doorway and shelves with boxes; darker by the noise's mean, which is added later."""
    shop = np.empty((height, width, 3), dtype=np.uint8)
    shop[:] = np.linspace((150, 158, 164), (108, 116, 124), height).astype(np.uint8)[:, None, :]
    floor_y = round(height * 0.82)
    shop[floor_y:] = np.linspace((92, 104, 118), (64, 74, 86), height - floor_y).astype(np.uint8)[:, None, :]
    door = (round(width * 0.38), round(width * 0.62))
    cv2.rectangle(shop, (door[0], round(height * 0.08)), (door[1], floor_y), (206, 204, 196), -1)
    cv2.rectangle(shop, (door[0], round(height * 0.08)), (door[1], floor_y), (70, 74, 80), max(2, width // 160))
    for left, right in ((0.03, 0.33), (0.67, 0.97)):
        for shelf in range(4):
            y = round(height * (0.22 + 0.18 * shelf))
            _draw_shelf(shop, round(width * left), round(width * right), y, round(height * 0.13), random)
    blurred = cv2.GaussianBlur(shop, (0, 0), max(0.8, height / 600))  # the background is a little out of focus
    return np.asarray(cv2.subtract(blurred, np.full_like(shop, NOISE_MEAN)), dtype=np.uint8)


def _draw_shelf(shop: Picture, left: int, right: int, y: int, room: int, random: np.random.Generator) -> None:
    cv2.rectangle(shop, (left, y), (right, y + max(2, room // 12)), (62, 78, 98), -1)
    x = left
    while x < right:
        width = int(random.integers(room // 3, room))
        tall = int(random.integers(room // 2, room))
        blue, green, red = (int(value) for value in random.integers(60, 200, 3))
        cv2.rectangle(shop, (x, y - tall), (min(x + width, right) - 2, y), (blue, green, red), -1)
        x += width + 3


def _draw_spot(side: int) -> Picture:
    """A round light, (side, side, 3), that fades to nothing at its rim."""
    axis = np.linspace(-1, 1, side // 2 * 2)
    distance = np.hypot(axis[:, None], axis[None, :])
    light = np.clip(1.4 - 1.4 * distance, 0, 1) * 255
    return np.repeat(light.astype(np.uint8)[:, :, None], 3, axis=2)


def _corners(pose: Pose, aspect: float) -> NDArray[np.float64]:
    """The four corners (4, 2) of a flat thing in the picture, clockwise from its upper left."""
    half_x, half_y = pose.width / 2, pose.width * aspect / 2
    flat = np.array([(-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y)])
    depth = flat[:, 0] * math.sin(pose.yaw) + flat[:, 1] * math.sin(pose.pitch)
    turned = flat * (math.cos(pose.yaw), math.cos(pose.pitch))
    near = pose.width * FOCAL_WIDTHS / (pose.width * FOCAL_WIDTHS + depth)
    cos, sin = math.cos(pose.roll), math.sin(pose.roll)
    rolled = turned @ np.array([(cos, sin), (-sin, cos)])
    return np.asarray(rolled * near[:, None] + (pose.x, pose.y))

"""People made from portraits: a picture's head on a drawn body, cut out once and put anywhere at any size.

The pictures belong to whoever wrote the scene. They are taken to be framed as passport-like sets are, head in the
middle (FRAME_EYES); nothing here finds a face, so a picture framed otherwise only looks odd.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Point = tuple[float, float]

SIDE: Final = 250
"""Portraits are brought to this side; the eyes are then 44 pixels apart, about what a camera sees on the mark."""
FRAME_EYES: Final[tuple[Point, Point]] = ((104.0, 112.0), (148.0, 112.0))
"""Where the eyes lie in a funnelled LFW portrait: mean over 148 pictures, deviation 5 across and 3 down (2026-11)."""
EYES_APART: Final = FRAME_EYES[1][0] - FRAME_EYES[0][0]
WIDTH, HEIGHT = 420, 1000
"""A cut-out's pixels: a standing person whose eyes are EYES_APART from each other."""
ORIGIN: Final = (84, 10)
"""Where the portrait's corner lies in the cut-out."""
EYES: Final[Point] = (ORIGIN[0] + 126.0, ORIGIN[1] + 112.0)
"""Between the eyes of a cut-out."""
DEFOCUS_MIN: Final = 0.35
"""Pixels; less than this moves no pixel by a grey level worth the time."""
LEVELS: Final = 4
"""Sizes kept of a cut-out, each half the one before: shrinking further than by half in one step would sparkle."""
PROFILE: Final = 0.4
"""A head turned sideways is still this much of its width."""
BLUR_ROOM: Final = 4
FOCAL_WIDTHS: Final = 0.83
"""Focal length in widths of the picture: the 62 degrees of view of a Raspberry Pi camera 2."""
HORIZON: Final = 0.42
LENS_HEIGHT_M, EYES_HEIGHT_M, EYES_APART_M = 1.5, 1.6, 0.063
"""The last is the mean distance of an adult's pupils (Dodgson 2004)."""
FILE_BYTES_MAX: Final = 8 << 20
PIXELS_MAX: Final = 16_000_000
"""More than any passport picture; decoded it takes 48 MB."""
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_START: Final = b"\xff\xd8"
JPEG_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 without the tables that share their range (ITU-T T.81, table B.1)."""


class PortraitUnusable(ValueError):
    """A file gives no portrait; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout:
    """A person from the front and from behind, in LEVELS sizes.

    Shape and dtype of each: (H, W, 4) uint8 BGRA, colours already multiplied by the alpha.
    """

    front: tuple[Picture, ...]
    back: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a person stands in the picture.

    `x`, `y` are between the eyes and `eyes_apart` their distance, in pixels of the canvas, as seen from the front.
    `roll` tilts the head in the picture and `turn` turns the person away, in radians; beyond a quarter they are seen
    from behind. `smear` is how far they move during the exposure, in pixels across and down, and `defocus` how far
    out of focus they are, as a deviation in pixels.
    """

    x: float
    y: float
    eyes_apart: float
    roll: float = 0.0
    turn: float = 0.0
    smear: Point = (0.0, 0.0)
    defocus: float = 0.0

    def seen(self, point: Point) -> Point:
        """Where a point of the front cut-out is in the canvas."""
        across, down = _turned(self, 1.0) @ np.array([point[0], point[1], 1.0])
        return float(across), float(down)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A camera at a door, LENS_HEIGHT_M above the floor and level: what turns metres into pixels of its picture."""

    width: int
    height: int

    def standing(
        self, *, distance_m: float, side_m: float, eyes_m: float = EYES_HEIGHT_M, roll: float = 0.0
    ) -> Standing:
        """Somebody so far away and so far to the right of the axis, looking at the camera."""
        pixels_a_metre = FOCAL_WIDTHS * self.width / distance_m
        return Standing(
            x=self.width / 2 + side_m * pixels_a_metre,
            y=self.height * HORIZON - (eyes_m - LENS_HEIGHT_M) * pixels_a_metre,
            eyes_apart=EYES_APART_M * pixels_a_metre,
            roll=roll,
        )


def load_portrait(path: Path) -> Picture:
    """The picture, (SIDE, SIDE, 3) uint8 BGR. Raises: PortraitUnusable. Limits: FILE_BYTES_MAX, PIXELS_MAX."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as fault:  # ValueError: a zero byte in the path
        raise PortraitUnusable("cannot be read") from fault
    if len(data) > FILE_BYTES_MAX or _pixels_of(data) > PIXELS_MAX:
        raise PortraitUnusable("is too large")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as fault:
        raise PortraitUnusable("is damaged") from fault
    if picture is None:
        raise PortraitUnusable("is damaged")
    return square(np.asarray(picture, np.uint8))


def square(picture: Picture) -> Picture:
    """The middle of a picture, (SIDE, SIDE, 3) uint8."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def cut_out(portrait: Picture) -> Cutout:
    """The person of a portrait (SIDE, SIDE, 3): what lies around head and collar is left away."""
    cloth = _colour(portrait[222:246, 96:156])
    hair = _colour(portrait[50:62, 108:144])
    head = _head_mask()
    face = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    left, top = ORIGIN
    face[top : top + SIDE, left : left + SIDE] = _with_alpha(portrait, head)
    nape = np.empty_like(portrait)
    nape[:] = hair
    behind = np.zeros_like(face)
    behind[top : top + SIDE, left : left + SIDE] = _with_alpha(nape, _nape_mask())
    body = _draw_body(cloth)
    return Cutout(front=_levels(_over(body, face)), back=_levels(_over(body, behind)))


def add_person(canvas: Picture, person: Cutout, standing: Standing) -> None:
    """Puts the person before what the canvas (H, W, 3) shows, cut off where they leave it."""
    scale = standing.eyes_apart / EYES_APART
    level = min(LEVELS - 1, max(0, math.floor(-math.log2(max(scale, 1e-3)))))
    sprite = (person.front if math.cos(standing.turn) >= 0 else person.back)[level]
    matrix = _turned(standing, 2.0**level)
    smear = (max(1, round(standing.smear[0])), max(1, round(standing.smear[1])))
    low, high = _bounds(matrix, sprite, canvas, smear)
    if min(high[0] - low[0], high[1] - low[1]) <= 0:
        return
    matrix[:, 2] -= low
    layer = cv2.warpAffine(sprite, matrix, (high[0] - low[0], high[1] - low[1]), flags=cv2.INTER_LINEAR)
    if smear != (1, 1):
        layer = cv2.blur(layer, smear, borderType=cv2.BORDER_REPLICATE)
    if standing.defocus >= DEFOCUS_MIN:
        layer = cv2.GaussianBlur(layer, (0, 0), standing.defocus, borderType=cv2.BORDER_REPLICATE)
    put_layer(canvas[low[1] : high[1], low[0] : high[0]], np.asarray(layer, np.uint8))


def put_layer(window: Picture, layer: Picture) -> None:
    """Lays a layer (H, W, 4), colours multiplied by alpha, over a window (H, W, 3) of a canvas."""
    kept = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(layer, 3)), cv2.COLOR_GRAY2BGR)
    cv2.multiply(window, kept, dst=window, scale=1 / 255)
    cv2.add(window, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), dst=window)


def _turned(standing: Standing, shrunk: float) -> NDArray[np.float64]:
    """From a cut-out shrunk by so much to the canvas, (2, 3)."""
    scale = standing.eyes_apart / EYES_APART
    across = scale * math.copysign(max(PROFILE, abs(math.cos(standing.turn))), 1.0)
    cos, sin = math.cos(standing.roll), math.sin(standing.roll)
    linear = np.array([[across * cos, -scale * sin], [across * sin, scale * cos]])
    shift = np.array([standing.x, standing.y]) - linear @ np.array(EYES)
    return np.column_stack([linear * shrunk, shift])


def _bounds(
    matrix: NDArray[np.float64], sprite: Picture, canvas: Picture, smear: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The part of the canvas that the sprite can touch: upper left and lower right."""
    height, width = sprite.shape[:2]
    corners = np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)]) @ matrix.T
    room = np.array(smear) // 2 + BLUR_ROOM
    low = np.maximum(np.floor(corners.min(axis=0)).astype(np.int64) - room, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(np.int64) + room, (canvas.shape[1], canvas.shape[0]))
    return low, high


def _head_mask() -> Picture:
    """Which of a portrait's pixels are head and collar: an oval, and a neck that widens below it, with soft rims."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (126, 114), (54, 70), 0, 0, 360, 255, -1)
    cv2.fillConvexPoly(mask, np.array([(98, 160), (154, 160), (172, 226), (80, 226)], np.int32), 255)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 5), np.uint8)


def _nape_mask() -> Picture:
    """The same head from behind."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (126, 114), (52, 66), 0, 0, 360, 255, -1)
    cv2.rectangle(mask, (104, 160), (148, 210), 255, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 3), np.uint8)


def _draw_body(cloth: Picture) -> Picture:
    """Shoulders to feet in the colour of the collar, shaded to the sides, (HEIGHT, WIDTH, 4)."""
    x, y = round(EYES[0]), round(EYES[1])
    half = [(34, 92), (96, 112), (128, 150), (138, 320), (104, 330), (98, 480), (88, HEIGHT), (16, HEIGHT), (6, 520)]
    outline = [(x + across, y + down) for across, down in half] + [
        (x - across, y + down) for across, down in half[::-1]
    ]
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(alpha, [np.array(outline, np.int32)], 255)
    shade = 0.65 + 0.4 * np.cos((np.arange(WIDTH) - x) / 110)
    folds = 1 + 0.06 * np.sin(np.arange(HEIGHT) / 23)
    colours = np.clip(folds[:, None, None] * shade[None, :, None] * cloth[None, None, :], 0, 255).astype(np.uint8)
    return _with_alpha(colours, np.asarray(cv2.GaussianBlur(alpha, (0, 0), 2), np.uint8))


def _colour(patch: Picture) -> Picture:
    """The patch's middle colour, (3,) uint8."""
    return np.asarray(np.median(patch.reshape(-1, 3), axis=0), np.uint8)


def _with_alpha(colours: Picture, alpha: Picture) -> Picture:
    """Both in one, colours multiplied by alpha, (H, W, 4)."""
    shown = cv2.multiply(colours, cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR), scale=1 / 255)
    return np.asarray(np.dstack([shown, alpha]), np.uint8)


def _over(below: Picture, above: Picture) -> Picture:
    """One layer on another, both (H, W, 4) with colours multiplied by alpha."""
    kept = cv2.cvtColor(255 - above[:, :, 3], cv2.COLOR_GRAY2BGRA)
    kept[:, :, 3] = kept[:, :, 0]
    return np.asarray(cv2.add(above, cv2.multiply(below, kept, scale=1 / 255)), np.uint8)


def _levels(layer: Picture) -> tuple[Picture, ...]:
    """The layer and LEVELS - 1 smaller ones."""
    levels = [layer]
    for _ in range(LEVELS - 1):
        height, width = levels[-1].shape[:2]
        smaller = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(smaller, np.uint8))
    return tuple(levels)


def _pixels_of(data: bytes) -> int:
    """What the file's header says its picture has, before anything is decoded. Raises: PortraitUnusable."""
    try:
        if data.startswith(PNG_SIGNATURE):
            width, height = struct.unpack_from(">II", data, 16)
            return int(width * height)
        if data.startswith(JPEG_START):
            return _jpeg_pixels(data)
    except (struct.error, IndexError) as fault:  # the header itself is cut
        raise PortraitUnusable("is damaged") from fault
    raise PortraitUnusable("is neither JPEG nor PNG")


def _jpeg_pixels(data: bytes) -> int:
    """From the frame header (ITU-T T.81, B.2.2). Raises: struct.error, IndexError, PortraitUnusable."""
    at = len(JPEG_START)
    while data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        if data[at + 1] in JPEG_FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width * height)
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + int(length)
    raise PortraitUnusable("is damaged")

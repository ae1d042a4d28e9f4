"""The renderer of attacks: same seed, same picture; a sheet turns the way it says; a turned head moves against itself.

On a drawn face, not on anybody's: the networks are no part of this.
"""

import cv2
import numpy as np
import pytest

from edge.vision.faces.face import Box, Face
from tests.support.attacks import HEIGHT, WIDTH, Booth, Hold, Kind, Picture, Portrait, portrait_of, turned_head

CENTRE = (640.0, 320.0)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    """A drawn head with shoulders before a green wall."""
    pixels = np.full((250, 250, 3), (90, 150, 90), np.uint8)
    cv2.ellipse(pixels, (125, 260), (95, 80), 0, 0, 360, (120, 60, 40), -1)
    cv2.ellipse(pixels, (125, 120), (46, 62), 0, 0, 360, (150, 180, 222), -1)
    for x in (106, 144):
        cv2.circle(pixels, (x, 108), 5, (30, 30, 30), -1)
    points = np.array([[106, 108], [144, 108], [125, 128], [110, 150], [140, 150]], np.float32)
    return portrait_of(pixels, Face(box=Box(x=79, y=65, width=92, height=112), points=points, score=0.9))


def test_the_same_seed_gives_the_same_pictures(portrait: Portrait) -> None:
    first, second = Booth(4), Booth(4)
    for kind in Kind:
        shown = first.show(kind, portrait)
        assert shown.shape == (HEIGHT, WIDTH, 3)
        assert (shown == second.show(kind, portrait)).all()


def test_the_person_is_cut_from_the_wall(portrait: Portrait) -> None:
    assert portrait.outline[120, 125] == pytest.approx(1, abs=0.01)
    assert portrait.outline[230, 125] == pytest.approx(1, abs=0.01)
    assert portrait.outline[20, 20] == 0
    assert not _greens(Booth(1).person(portrait, CENTRE, 160))


def test_a_print_brings_the_wall_along(portrait: Portrait) -> None:
    assert _greens(Booth(1).print_(portrait, Hold(), CENTRE, 160))


@pytest.mark.parametrize("bend", [0.0, 1.5])
def test_a_turned_print_is_narrower_and_its_far_side_smaller(portrait: Portrait, bend: float) -> None:
    straight = _eyes(Booth(1).print_(portrait, Hold(bend=bend), CENTRE, 160))
    turned = _eyes(Booth(1).print_(portrait, Hold(yaw_deg=50, bend=bend), CENTRE, 160))
    assert turned[1] - turned[0] < 0.8 * (straight[1] - straight[0])
    near, far = _heights(Booth(1).print_(portrait, Hold(yaw_deg=50, bend=bend), CENTRE, 160))
    assert near > 1.15 * far  # turned to the right, the right edge is farther away


def test_a_sheet_beside_the_picture_leaves_the_door_empty(portrait: Portrait) -> None:
    shown = Booth(1).print_(portrait, Hold(), (3000.0, 320.0), 160)
    assert not _greens(shown)


def test_a_turned_head_moves_its_nose_further_than_its_sides(portrait: Portrait) -> None:
    lined = portrait.pixels.copy()
    for x in (90, 125, 160):
        lined[60:180, x - 1 : x + 2] = (255, 0, 0)
    turned = turned_head(Portrait(pixels=lined, face=portrait.face, outline=portrait.outline), 25).pixels[128]
    blue = np.flatnonzero((turned[:, 0] > 180) & (turned[:, 2] < 90))
    groups = [group.mean() for group in np.split(blue, np.flatnonzero(np.diff(blue) > 4) + 1)]
    moved = [after - before for before, after in zip((90, 125, 160), groups, strict=True)]
    assert moved[1] > moved[0] + 2
    assert moved[1] > moved[2] + 2
    assert (turned_head(portrait, 0).pixels == portrait.pixels).all()


def _greens(frame: Picture) -> bool:
    """Whether the portrait's wall is in the frame's middle."""
    blue, green, red = (frame[150:500, 400:880, channel].astype(int) for channel in range(3))
    return int(((green - blue > 35) & (green - red > 35)).sum()) > 2000


def _eyes(frame: Picture) -> tuple[int, int]:
    """The columns of the leftmost and rightmost skin at the height of the face."""
    row = frame[320].astype(int)
    skin = np.flatnonzero((row[:, 2] - row[:, 0] > 25) & (row[:, 2] > 150))
    inside = skin[(skin > 500) & (skin < 780)]
    return int(inside[0]), int(inside[-1])


def _heights(frame: Picture) -> tuple[int, int]:
    """How high the sheet is near its left and its right edge: the wall there, which reaches from edge to edge."""
    blue, green, red = (frame[:, 430:850, channel].astype(int) for channel in range(3))  # between the shelves
    tall = (green - np.maximum(blue, red) > 20).sum(axis=0)
    columns = np.flatnonzero(tall > 250)
    return int(tall[columns[5]]), int(tall[columns[-6]])

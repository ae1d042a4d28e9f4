"""Which part of the frame the spoof check looks at, and that it tells drawn attacks from people at all.

How well it does is the bench's business (tests/bench/liveness.py).
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.faces.face import Box
from edge.vision.faces.liveness import SpoofCheck, surroundings
from tests.bench.liveness import checks, folders, passive, portraits
from tests.support.attacks import Kind

FOLDERS = folders()
needs_models = pytest.mark.skipif(isinstance(FOLDERS, str), reason=str(FOLDERS))


@pytest.fixture(scope="module")
def spoof() -> SpoofCheck:
    """The product's check with its weights."""
    return checks(Path(FOLDERS[0])).spoof


def ramp(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture by formula: blue grows to the right, green downwards, red with both."""
    down, across = np.mgrid[0:side, 0:side]
    last = side - 1
    return np.stack([across * 255 // last, down * 255 // last, (across + down) * 255 // (2 * last)], -1).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        pytest.param(Box(x=600, y=300, width=100, height=120), 2.0, (550, 240, 751, 481), id="room on all sides"),
        pytest.param(Box(x=10, y=300, width=100, height=100), 3.0, (0, 200, 301, 501), id="moved in from the left"),
        pytest.param(Box(x=1200, y=10, width=60, height=60), 3.0, (1099, 0, 1280, 181), id="moved in from a corner"),
        pytest.param(Box(x=-80, y=300, width=100, height=100), 2.0, (0, 250, 201, 451), id="half out of the picture"),
        pytest.param(Box(x=400, y=100, width=400, height=400), 2.7, (240, 0, 960, 720), id="less than asked for"),
    ],
)
def test_the_box_is_grown_and_kept_in_the_picture(box: Box, scale: float, expected: tuple[int, int, int, int]) -> None:
    assert surroundings(box, scale, (1280, 720)) == expected


@given(
    x=st.floats(-500, 1700),
    y=st.floats(-500, 1100),
    width=st.floats(4, 2000),
    height=st.floats(4, 2000),
    scale=st.floats(1, 4),
)
def test_the_patch_is_never_empty_and_never_leaves_the_picture(
    x: float, y: float, width: float, height: float, scale: float
) -> None:
    box = Box(x=x, y=y, width=width, height=height)
    left, top, right, bottom = surroundings(box, scale, (1280, 720))
    assert 0 <= left < right <= 1280
    assert 0 <= top < bottom <= 720


@needs_models
def test_both_networks_answer_as_they_did_when_they_were_chosen(spoof: SpoofCheck) -> None:
    # The box grows to the whole picture, which is the networks' own size: 0.0041 and 0.6481, measured with OpenCV 5.0.
    live = spoof.live(ramp(80), Box(x=20, y=20, width=40, height=40))
    assert live == pytest.approx((0.004109 + 0.648090) / 2, abs=0.005)


@needs_models
def test_after_a_wipe_nothing_is_left_and_the_check_still_works(spoof: SpoofCheck) -> None:
    box = Box(x=60, y=60, width=80, height=80)
    before = spoof.live(ramp(200), box)
    spoof.wipe()
    for network in (spoof._near, spoof._far):
        assert not network._small.any()
        assert not network._input.any()
    assert spoof.live(ramp(200), box) == before


@needs_models
@pytest.mark.slow
def test_prints_and_screens_look_less_alive_than_people() -> None:
    models, media = (Path(folder) for folder in FOLDERS)
    tools = checks(models)
    scores = passive(portraits(media, tools.detector, 12), tools, seed=5)
    assert scores.live[Kind.PERSON].mean() > 0.6
    for kind in (Kind.PRINT, Kind.SCREEN):
        assert len(scores.live[kind]) >= 11  # the detector sees the face in it
        assert scores.live[kind].mean() < 0.35

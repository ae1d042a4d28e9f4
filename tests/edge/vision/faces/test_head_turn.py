"""The head's turn: its sign, that it ignores a tilt, that a flat picture has none, and what another program reads."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.core.challenge import Outcome, PictureSide
from edge.vision.faces.face import Box, Face
from edge.vision.faces.head_turn import MIRRORED, POINTS, turn_deg
from edge.vision.faces.portraits import central
from tests.bench.liveness import (
    MOVEMENTS,
    TURNED_DEG,
    Checks,
    answered,
    checks,
    distances,
    folders,
    portraits,
    turns,
)
from tests.support.attacks import Portrait
from tests.support.face_mesh import reading

FOLDERS = folders()
needs_models = pytest.mark.skipif(isinstance(FOLDERS, str), reason=str(FOLDERS))


@pytest.fixture(scope="module")
def tools() -> Checks:
    """The product's checks with their weights."""
    cv2.setNumThreads(1)
    return checks(Path(FOLDERS[0]))


@pytest.fixture(scope="module")
def people(tools: Checks) -> list[Portrait]:
    """Two dozen portraits."""
    return portraits(Path(FOLDERS[1]), tools.detector, 24)


def head(yaw_deg: float, roll_deg: float) -> NDArray[np.float32]:
    """A symmetric head made of the mirrored pairs alone, turned and then tilted."""
    half = np.random.default_rng(7).uniform((20, -60, -30), (60, 60, 30), (len(MIRRORED), 3))
    points = np.zeros((POINTS, 3))
    points[MIRRORED[:, 1]], points[MIRRORED[:, 0]] = half, half * (-1, 1, 1)
    yaw, roll = np.radians(yaw_deg), np.radians(roll_deg)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(points @ turn.T @ tilt.T, np.float32)


@given(yaw_deg=st.floats(-80, 80), roll_deg=st.floats(-180, 180))
def test_the_turn_of_a_known_head_is_read_whatever_its_tilt(yaw_deg: float, roll_deg: float) -> None:
    assert turn_deg(head(yaw_deg, roll_deg)) == pytest.approx(yaw_deg, abs=0.01)


@needs_models
def test_there_is_no_turn_where_there_is_no_face(tools: Checks) -> None:
    points = np.array([[80, 90], [120, 90], [100, 110], [85, 130], [115, 130]], np.float32)
    face = Face(box=Box(x=60, y=60, width=80, height=100), points=points, score=0.9)
    assert tools.turn.yaw_deg(np.full((240, 240, 3), 128, np.uint8), face) is None


@needs_models
def test_a_mirrored_picture_turns_the_other_way(tools: Checks, people: list[Portrait]) -> None:
    yaw = yaws(tools, [portrait.pixels for portrait in people])
    mirrored = yaws(tools, [np.ascontiguousarray(portrait.pixels[:, ::-1]) for portrait in people])
    assert np.abs(yaw + mirrored).mean() < 2.5
    assert np.std(yaw) > 8  # press photographs look everywhere


@needs_models
def test_the_turn_agrees_with_how_far_the_nose_is_from_between_the_eyes(tools: Checks, people: list[Portrait]) -> None:
    yaw = yaws(tools, [portrait.pixels for portrait in people])
    assert np.corrcoef(yaw, [nose_offset(portrait.face) for portrait in people])[0, 1] > 0.9


@needs_models
def test_a_tilted_head_is_not_a_turned_one(tools: Checks, people: list[Portrait]) -> None:
    height, width = people[0].pixels.shape[:2]
    tilt = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1)
    tilted = [
        np.asarray(cv2.warpAffine(portrait.pixels, tilt, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        for portrait in people
    ]
    difference = yaws(tools, tilted) - yaws(tools, [portrait.pixels for portrait in people])
    assert np.abs(difference).mean() < 3


@needs_models
@pytest.mark.slow
def test_a_drawn_head_passes_the_challenge_and_a_turned_print_does_not(tools: Checks, people: list[Portrait]) -> None:
    facing = sorted(people, key=lambda who: abs(tools.turn.yaw_deg(who.pixels, who.face) or 90.0))[:3]
    by_name = {movement.name: movement for movement in MOVEMENTS}
    for portrait in facing:
        outcome, turned = answered(by_name["head, drawn"], portrait, PictureSide.RIGHT, tools, seed=1)
        assert outcome is Outcome.PASSED
        outcome, moved = answered(by_name["flat print, turned"], portrait, PictureSide.RIGHT, tools, seed=1)
        assert outcome is Outcome.GOING
        assert moved < turned / 2


@needs_models
def test_after_a_wipe_nothing_is_left_and_the_reading_is_the_same(tools: Checks, people: list[Portrait]) -> None:
    turn, portrait = tools.turn, people[0]
    before = turn.yaw_deg(portrait.pixels, portrait.face)
    turn.wipe()
    assert not turn._crop.any()
    assert not turn._net.tensor(turn._input)().any()
    assert turn.yaw_deg(portrait.pixels, portrait.face) == before


@needs_models
def test_the_mediapipe_package_agrees_where_it_is_installed(tools: Checks, people: list[Portrait]) -> None:
    theirs = reading([portrait.pixels for portrait in people], Path(FOLDERS[0]))
    if isinstance(theirs, str):
        pytest.skip(theirs)
    away = distances(people, tools.turn, theirs)
    assert len(away) >= 0.9 * len(people)
    ours, others = turns(people, tools.turn, theirs)
    turned = np.abs(ours) > TURNED_DEG
    assert ((ours > 0) == (others > 0))[turned].all()
    assert np.corrcoef(ours, others)[0, 1] > 0.97
    if theirs.is_mesh:  # releases that hold our own model
        assert away.mean() < 4
        assert np.abs(ours - others).mean() < 2.5
    else:
        assert away.mean() < 15


def yaws(tools: Checks, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The turn of the portrait in each frame, NaN never: every portrait shows a face."""
    found = []
    for frame in frames:
        face = central(tools.detector.detect(frame), frame.shape[1], frame.shape[0])
        assert face is not None
        yaw_deg = tools.turn.yaw_deg(frame, face)
        assert yaw_deg is not None
        found.append(yaw_deg)
    return np.array(found)


def nose_offset(face: Face) -> float:
    """How far the nose is from the middle of the eyes, along the line between them, in shares of their distance."""
    points = face.points.astype(float)
    along = points[1] - points[0]
    return float((points[2] - points[:2].mean(axis=0)) @ along / (along @ along))

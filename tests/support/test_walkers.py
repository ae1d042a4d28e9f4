"""The rendered approaches: the same seed gives the same pixels, and the truth about a frame is true."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp

from edge.camera.portraits import SIDE, load_portrait
from edge.vision.faces.detector import Detector
from tests.support.walkers import Door, Person, Scenario, Shot, Visit, company_of, wrapped

RED, BLUE, WHITE = (40, 40, 250), (250, 40, 40), (250, 250, 250)
SMALL = {"width": 640, "height": 360, "rate_fps": 5.0}


def painted(who: str, colour: tuple[int, int, int]) -> Person:
    """Somebody whose portrait is one colour."""
    portrait = np.empty((SIDE, SIDE, 3), np.uint8)
    portrait[:] = colour
    return Person(who=who, portrait=portrait)


def company(scenario: Scenario) -> list[Person]:
    return [painted("red", RED), painted("blue", BLUE), painted("white", WHITE)][: company_of(scenario)]


def shots_of(scenario: Scenario, *, seed: int = 3) -> list[tuple[bytes, Shot]]:
    """Every shot, with its pixels copied: the canvas is used again."""
    visit = Visit(small_door(), scenario, company(scenario), seed=seed, from_m=(4.0, 5.0))
    return [(shot.pixels.tobytes(), shot) for shot in visit.shots()]


def small_door() -> Door:
    return Door(width=640, height=360, rate_fps=5.0)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_a_visit_is_drawn_from_its_seed_alone(scenario: Scenario) -> None:
    first, again = shots_of(scenario), shots_of(scenario)
    assert [pixels for pixels, _ in first] == [pixels for pixels, _ in again]
    assert [shot.people for _, shot in first] == [shot.people for _, shot in again]
    assert [pixels for pixels, _ in shots_of(scenario, seed=4)] != [pixels for pixels, _ in first]


@pytest.mark.parametrize("scenario", [Scenario.PLAIN, Scenario.MOTION, Scenario.DARK, Scenario.CODE])
def test_a_face_grows_until_the_mark_and_is_on_it_for_its_stay(scenario: Scenario) -> None:
    truths = [shot.people[0] for _, shot in shots_of(scenario)]
    standing = [place for place, truth in enumerate(truths) if truth.is_on_mark]
    assert len(standing) in (14, 15, 16)  # three seconds at five frames a second
    sizes = [truth.eyes_apart for truth in truths]
    assert sizes[standing[0]] > 2 * sizes[0]
    assert max(sizes[place] for place in standing) < 1.2 * min(sizes[place] for place in standing)


def test_the_box_and_the_eyes_are_where_the_head_is() -> None:
    visit = Visit(small_door(), Scenario.PLAIN, [painted("red", RED)], seed=5, from_m=(3.0, 4.0))
    checked = 0
    for shot in visit.shots():
        (truth,) = shot.people
        if truth.is_on_mark:
            x, y, width, height = (round(value) for value in truth.box)
            inside = shot.pixels[y + height // 4 : y + 3 * height // 4, x + width // 4 : x + 3 * width // 4]
            assert inside[:, :, 2].mean() > 2 * inside[:, :, 0].mean()
            assert all(x < eye[0] < x + width and y < eye[1] < y + height for eye in truth.eyes)
            checked += 1
    assert checked > 10


def test_the_dark_is_darker_and_noisier() -> None:
    (plain, _), (dark, _) = shots_of(Scenario.PLAIN)[0], shots_of(Scenario.DARK)[0]
    bright, dim = (np.frombuffer(pixels, np.uint8).reshape(360, 640, 3) for pixels in (plain, dark))
    assert dim.mean() < 0.6 * bright.mean()
    wall = np.s_[40:60, 250:300]  # inside the doorway
    assert np.diff(dim[wall].astype(int), axis=1).std() > 2 * np.diff(bright[wall].astype(int), axis=1).std()


def test_something_covers_the_face_while_the_truth_says_so() -> None:
    for seed in range(6):  # hand, phone and passer-by
        shots = shots_of(Scenario.OCCLUDED, seed=seed)
        covered = [shot.people[0].is_covered for _, shot in shots]
        assert 3 <= sum(covered) <= 8
        assert not covered[0]


def test_who_turns_away_does_not_face_the_camera_and_comes_back() -> None:
    facing = [shot.people[0].is_facing for _, shot in shots_of(Scenario.TURNING) if shot.people[0].is_on_mark]
    assert facing[0]
    assert not all(facing)
    assert all(facing[-4:])


def test_who_passes_by_never_stands_still() -> None:
    truths = [shot.people[0] for _, shot in shots_of(Scenario.PASSING)]
    for then, now in zip(truths, truths[3:], strict=False):  # 0.6 s
        moved = np.mean(now.eyes, axis=0) - np.mean(then.eyes, axis=0)
        assert float(np.hypot(*moved)) > 0.5 * then.eyes_apart or now.eyes_apart > 1.1 * then.eyes_apart
    assert sum(truth.is_on_mark for truth in truths) <= 1


def test_a_code_is_in_view_when_the_truth_says_so() -> None:
    visit = Visit(Door(rate_fps=5.0), Scenario.CODE, [painted("red", RED)], seed=2, code="https://example.com/1")
    read: dict[bool, list[bool]] = {True: [], False: []}
    for shot in visit.shots():
        texts = [code.text for code in zxingcpp.read_barcodes(shot.pixels[:, :, 1].copy())]
        assert set(texts) <= {"https://example.com/1"}
        read[shot.has_code].append(bool(texts))
    assert not any(read[False])
    assert sum(read[True]) >= 0.7 * len(read[True])


def test_an_empty_door_has_nobody() -> None:
    shots = list(small_door().empty_shots(1.0))
    assert len(shots) == 5
    assert not any(shot.people for shot in shots)


def test_a_turned_head_keeps_its_middle_where_it_turned_to() -> None:
    portrait = np.full((SIDE, SIDE, 3), 200, np.uint8)
    portrait[:, 124:129] = 0  # a line down the nose
    turned = wrapped(portrait, np.radians(20))
    across = int(np.argmin(turned[112, :, 0]))
    assert across - 126 == pytest.approx(74 * np.sin(np.radians(20)), abs=3)
    assert np.array_equal(wrapped(portrait, 0.0)[:, 60:190], portrait[:, 60:190])


def media() -> tuple[Path, Path]:
    """Folders of portraits and of weights; skips without."""
    faces, weights = os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS")
    if not faces or not (Path(faces) / "faces").is_dir():
        pytest.skip("DOORSTEP_MEDIA names no folder with faces")
    if not weights or not (Path(weights) / "face_detection_yunet_2023mar.onnx").is_file():
        pytest.skip("DOORSTEP_MODELS names no folder with the detector")
    return Path(faces) / "faces", Path(weights)


def test_the_detector_finds_rendered_faces_where_the_truth_puts_them() -> None:
    faces, weights = media()
    cv2.setNumThreads(1)
    detector = Detector((weights / "face_detection_yunet_2023mar.onnx").read_bytes())
    picture = sorted(faces.glob("*/*.jpg"))[40]
    person = Person(who="one", portrait=load_portrait(picture))
    near, total = 0, 0
    for shot in Visit(Door(rate_fps=2.0), Scenario.PLAIN, [person], seed=1).shots():
        (truth,) = shot.people
        if truth.eyes_apart < 12 or not truth.is_facing:
            continue
        middle = np.mean(truth.eyes, axis=0)
        found = [face.points[:2].mean(axis=0) for face in detector.detect(shot.pixels)]
        total += 1
        near += any(float(np.hypot(*(eyes - middle))) < truth.eyes_apart / 2 for eyes in found)
    assert total >= 6
    assert near >= total - 1

"""A face earns an embedding when it is large, sharp, straight and lit; each fault has its name."""

from dataclasses import replace

import numpy as np
import pytest

from edge.vision.faces.alignment import REFERENCE, align
from edge.vision.faces.quality import Quality, QualityFault, QualityGauge, QualityLimits, pose
from edge.vision.faces.weights import drawn_face, face_of_drawing
from tests.edge.vision.faces.scenes import Picture, blurred, face_at

LIMITS = QualityLimits()
GOOD = Quality(eyes_px=44, turn=0.05, tilt=0.57, grey=120, lost_share=0.01, sharpness=0.2)


def measured(picture: Picture) -> Quality:
    face = face_of_drawing(len(picture))
    return QualityGauge().measure(face, align(picture, face.points))


@pytest.mark.parametrize(
    ("quality", "fault"),
    [
        (GOOD, None),
        (replace(GOOD, eyes_px=18.0), None),
        (replace(GOOD, eyes_px=17.9), QualityFault.SMALL),
        (replace(GOOD, turn=0.36), QualityFault.TURNED),
        (replace(GOOD, tilt=0.39), QualityFault.TURNED),
        (replace(GOOD, tilt=0.76), QualityFault.TURNED),
        (replace(GOOD, grey=23), QualityFault.LIGHT),
        (replace(GOOD, grey=211), QualityFault.LIGHT),
        (replace(GOOD, lost_share=0.41), QualityFault.LIGHT),
        (replace(GOOD, sharpness=0.029), QualityFault.BLURRED),
        (replace(GOOD, eyes_px=10, grey=0, sharpness=0), QualityFault.SMALL),
    ],
)
def test_the_first_fault_is_named(quality: Quality, fault: QualityFault | None) -> None:
    assert quality.fault(LIMITS) is fault


def test_a_drawn_face_is_good_enough_and_its_numbers_are_what_they_say() -> None:
    quality = measured(drawn_face(160))
    assert quality.fault(LIMITS) is None
    assert quality.eyes_px == pytest.approx(32)
    assert quality.turn < 0.02
    assert 40 < quality.grey < 210


def test_blur_makes_a_face_less_sharp_until_it_is_refused() -> None:
    sharpness = [measured(blurred(drawn_face(160), sigma)).sharpness for sigma in (0.5, 1.5, 3, 6)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert measured(blurred(drawn_face(160), 6)).fault(LIMITS) is QualityFault.BLURRED


@pytest.mark.parametrize("gain", [0.1, 8.0])
def test_a_face_in_the_dark_or_burnt_out_is_refused_for_its_light(gain: float) -> None:
    lit = np.clip(drawn_face(160) * gain, 0, 255).astype(np.uint8)
    assert measured(lit).fault(LIMITS) is QualityFault.LIGHT


def test_the_pose_is_read_from_the_five_points() -> None:
    turn, tilt = pose(REFERENCE)
    assert turn == pytest.approx(0, abs=0.02)
    assert tilt == pytest.approx(0.49, abs=0.02)
    points = face_at(300, 200).points
    aside = np.array([[0, 0], [0, 0], [20, 0], [0, 0], [0, 0]], np.float32)
    assert pose(points + aside)[0] > 0.3
    assert pose(points - aside)[0] < -0.3


def test_a_rolled_head_is_not_called_turned() -> None:
    points = face_at(0, 0).points
    cosine, sine = np.cos(0.5), np.sin(0.5)
    rolled = (points @ np.array([[cosine, sine], [-sine, cosine]])).astype(np.float32)
    assert pose(rolled) == pytest.approx(pose(points), abs=0.02)


def test_a_gauge_that_was_wiped_holds_nothing() -> None:
    gauge, face = QualityGauge(), face_of_drawing(160)
    gauge.measure(face, align(drawn_face(160), face.points))
    gauge.wipe()
    assert not any(buffer.any() for buffer in (gauge._gray, gauge._half, gauge._edges))

"""Which movements pass the request to turn the head, and which look like a photograph's."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.challenge import (
    ALLOWED_NS,
    FRONT_MAX_DEG,
    GAP_MAX_NS,
    STEP_MAX_DEG,
    TURN_MIN_DEG,
    WRONG_MIN_DEG,
    Challenge,
    Outcome,
    PictureSide,
    advance,
)

BEGAN_NS = 5_000_000_000
FRAME_NS = 1_000_000_000 // 15
REST = (0.0, 1.0, -1.0)
TURN = (*REST, 6.0, 11.0, 16.0, 21.0, 26.0)


def seen(
    angles: tuple[float | None, ...], side: PictureSide = PictureSide.RIGHT, frame_ns: int = FRAME_NS
) -> Challenge:
    """The challenge after these readings, one a frame."""
    challenge = Challenge(side=side, began_ns=BEGAN_NS)
    for number, angle in enumerate(angles, 1):
        challenge = advance(challenge, angle, BEGAN_NS + number * frame_ns)
    return challenge


def test_a_turn_to_the_asked_side_passes() -> None:
    assert seen(TURN).outcome is Outcome.PASSED


def test_the_left_side_is_the_mirror_image() -> None:
    mirrored = tuple(-angle for angle in TURN)
    assert seen(mirrored, PictureSide.LEFT).outcome is Outcome.PASSED
    assert seen(TURN, PictureSide.LEFT).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "angles",
    [
        pytest.param((), id="nobody"),
        pytest.param((None,) * 10, id="unread"),
        pytest.param(REST * 5, id="rest"),
        pytest.param((30.0,) * 10, id="turned from the start"),
        pytest.param((0.0, 9.0, 13.0, 17.0, 21.0, 25.0), id="one look from the front"),
        pytest.param((*REST, 30.0, 30.0, 30.0), id="exchanged for a turned picture"),
        pytest.param((*REST, 5.0, 14.0, 22.0, 22.0, 22.0), id="one angle between"),
        pytest.param((*REST, 6.0, 11.0, 16.0, 21.0), id="turned for one frame"),
        pytest.param((*REST, 6.0, 11.0, 16.0, 19.9, 19.9, 19.9), id="not far enough"),
        pytest.param((*REST, -6.0, -11.0, -14.9, -11.0), id="a little to the other side"),
        pytest.param((*REST, 7.0, 16.0, 5.0, 14.0, 21.0, 22.0), id="between does not add up over two turns"),
    ],
)
def test_what_is_not_the_whole_movement_goes_on(angles: tuple[float | None, ...]) -> None:
    assert seen(angles).outcome is Outcome.GOING


def test_turning_to_the_other_side_fails_for_good() -> None:
    angles = (*REST, -8.0, -WRONG_MIN_DEG)
    assert seen(angles).outcome is Outcome.FAILED
    assert seen((*angles, *TURN)).outcome is Outcome.FAILED


def test_who_looks_the_other_way_when_asked_may_still_turn() -> None:
    assert seen((-30.0, -30.0, -20.0, *TURN)).outcome is Outcome.PASSED


def test_a_sway_to_the_other_side_is_forgiven() -> None:
    assert seen((*REST, -6.0, -12.0, -6.0, 2.0, 9.0, 15.0, 21.0, 24.0)).outcome is Outcome.PASSED


def test_one_that_passed_stays_passed() -> None:
    assert seen((*TURN, -40.0)).outcome is Outcome.PASSED


def test_a_second_try_after_a_jump_passes() -> None:
    assert seen((*REST, 30.0, *TURN)).outcome is Outcome.PASSED


def test_a_short_loss_of_the_face_is_forgiven_and_a_long_one_starts_over() -> None:
    blinks = (*REST, 6.0, None, None, 11.0, 16.0, None, 21.0, 26.0)
    assert seen(blinks).outcome is Outcome.PASSED
    gap = (None,) * (GAP_MAX_NS // FRAME_NS)
    assert seen((*REST, 6.0, 11.0, *gap, 16.0, 21.0, 26.0)).outcome is Outcome.GOING
    assert seen((*REST, 6.0, 11.0, *gap, 16.0, *TURN)).outcome is Outcome.PASSED


def test_readings_further_apart_than_the_gap_never_pass() -> None:
    assert seen(TURN, frame_ns=GAP_MAX_NS).outcome is Outcome.PASSED
    assert seen(TURN, frame_ns=GAP_MAX_NS + 1).outcome is Outcome.GOING


def test_time_runs_out() -> None:
    challenge = Challenge(side=PictureSide.RIGHT, began_ns=BEGAN_NS)
    assert advance(challenge, None, BEGAN_NS + ALLOWED_NS).outcome is Outcome.GOING
    assert advance(challenge, None, BEGAN_NS + ALLOWED_NS + 1).outcome is Outcome.FAILED
    assert advance(challenge, 0.0, BEGAN_NS + ALLOWED_NS + 1).outcome is Outcome.FAILED


@given(st.lists(st.floats(-60, 60), max_size=40))
def test_what_passes_has_moved_without_a_jump_from_the_front_to_the_side(angles: list[float]) -> None:
    passed = seen(tuple(angles)).outcome is Outcome.PASSED
    if passed:
        path = _last_movement(angles)
        assert abs(path[0]) <= FRONT_MAX_DEG
        assert max(path) >= TURN_MIN_DEG


@given(st.lists(st.floats(-9, 9), min_size=12, max_size=40))
def test_small_steps_upwards_pass_or_go_on_but_never_fail(steps: list[float]) -> None:
    angle, angles = 0.0, []
    for step in steps:
        angle = max(0.0, angle + step)
        angles.append(angle)
    assert seen(tuple(angles)).outcome is not Outcome.FAILED


def _last_movement(angles: list[float]) -> list[float]:
    """The readings since the last jump before the challenge passed."""
    end = next(number for number in range(len(angles) + 1) if seen(tuple(angles[:number])).outcome is Outcome.PASSED)
    path: list[float] = [angles[0]]
    for before, after in pairwise(angles[:end]):
        path = [*path, after] if abs(after - before) <= STEP_MAX_DEG else [after]
    while path and abs(path[0]) > FRONT_MAX_DEG:
        path = path[1:]
    return path

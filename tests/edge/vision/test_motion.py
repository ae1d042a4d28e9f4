"""Which frames of a door are decoded. Fifteen frames a second; times are the frames' own."""

from collections.abc import Iterable

import numpy as np
import pytest

from edge.vision.codes import Effort
from edge.vision.motion import MotionGate
from tests.support.pictures import Gray, noisy, on_canvas, qr_picture

FRAME_NS = 1_000_000_000 // 15
DOOR = on_canvas(np.full((300, 200), 60, dtype=np.uint8), np.full((500, 300), 190, dtype=np.uint8))


def door(frames: int, *, sigma: float = 4.0, seed: int = 0) -> list[Gray]:
    """A still door as a camera sees it: the same view with other noise in each frame."""
    return [noisy(DOOR, sigma, seed=seed + number) for number in range(frames)]


def decoded(gate: MotionGate, frames: Iterable[Gray], first: int = 0) -> list[int]:
    """The numbers of the frames that the gate lets through."""
    return [number for number, frame in enumerate(frames, first) if gate.changed(frame, number * FRAME_NS)]


def settled() -> MotionGate:
    """A gate that has watched the still door for two seconds and decoded the last frame of them, number 29."""
    gate = MotionGate()
    decoded(gate, door(24))
    for number in range(24, 30):
        gate.changed(door(1)[0], number * FRAME_NS)
    return gate


def test_the_first_frame_is_decoded() -> None:
    assert decoded(MotionGate(), door(1)) == [0]


@pytest.mark.parametrize("sigma", [0.0, 4.0, 16.0])
def test_a_still_door_is_decoded_twice_a_second(sigma: float) -> None:
    frames = door(90, sigma=sigma)
    gate = MotionGate()
    decoded(gate, frames[:15])  # from one noisy frame to the mean of many takes a second
    numbers = decoded(gate, frames[15:], first=15)
    gaps = np.diff(numbers)
    assert gaps.min() >= 6
    assert gaps.max() * FRAME_NS <= 500_000_000


@pytest.mark.parametrize("module", [2, 4, 8])
@pytest.mark.parametrize("number", range(30, 36))
def test_a_code_held_up_is_decoded_in_its_first_frame(number: int, module: int) -> None:
    gate = settled()
    decoded(gate, door(number - 30, seed=50), first=30)
    card = qr_picture("DS1:" + "CARD" * 30, module=module)
    frame = noisy(DOOR, 4.0, seed=99)
    frame[200 : 200 + card.shape[0], 700 : 700 + card.shape[1]] = card
    assert gate.changed(frame, number * FRAME_NS)


def test_motion_is_decoded_frame_by_frame_and_for_at_most_two_seconds_after() -> None:
    gate = settled()
    moving = door(15, seed=200)
    for step, frame in enumerate(moving):
        frame[100:400, 100 + 40 * step : 300 + 40 * step] = 230
    assert decoded(gate, moving, first=30) == list(range(30, 45))
    numbers = decoded(gate, door(90, seed=300), first=45)
    late = [number for number in numbers if number >= 75]
    assert np.diff(late).min() >= 6


def test_a_code_that_was_read_is_looked_at_for_another_second() -> None:
    gate = settled()
    gate.code_read(29 * FRAME_NS)
    numbers = decoded(gate, door(40, seed=400), first=30)
    assert numbers[:14] == list(range(30, 44))
    assert np.diff(numbers[15:]).min() >= 6


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.clip(DOOR.astype(np.int16) + 25, 0, 255).astype(np.uint8), id="auto-exposure"),
        pytest.param(on_canvas(np.full((16, 16), 255, dtype=np.uint8)), id="another view altogether"),
    ],
)
def test_what_all_cells_share_is_not_motion(frame: Gray) -> None:
    gate = MotionGate()
    gate.changed(DOOR, 0)
    is_same_view = frame[400, 400] != 110
    assert gate.changed(frame, FRAME_NS) is not is_same_view


def test_a_fly_is_not_motion() -> None:
    gate = MotionGate()
    gate.changed(DOOR, 0)
    frame = DOOR.copy()
    frame[200:216, 900:916] = 0
    assert not gate.changed(frame, FRAME_NS)


def test_a_frame_of_another_size_is_decoded_and_remembered() -> None:
    gate = settled()
    small = np.zeros((3, 5), dtype=np.uint8)
    assert gate.changed(small, 30 * FRAME_NS)
    assert not gate.changed(small, 31 * FRAME_NS)


def test_all_retries_are_spent_four_times_a_second_at_most_and_on_every_look_at_a_still_door() -> None:
    gate = MotionGate()
    moving = [gate.effort(number * FRAME_NS) for number in range(12)]
    assert [number for number, effort in enumerate(moving) if effort is Effort.FULL] == [0, 4, 8]
    still = [gate.effort((20 + 7 * look) * FRAME_NS) for look in range(4)]
    assert still == [Effort.FULL] * 4

"""Who is compared at the door and who is not: the mark, the dwell, codes, several people, and what is left afterwards.

The real networks look at drawn faces; what the watcher may do is told by its events.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edge.core.match import PROBES_MAX
from edge.core.screen import Side
from edge.vision.faces.tracking import LOST_NS
from edge.vision.faces.watcher import YIELDS_AFTER, FaceEvent, FaceOptions, FaceWatcher, Gone, Searched, Seen, Turned
from shared.policy import Liveness
from tests.edge.vision.faces.scenes import (
    HEIGHT,
    MIDDLE,
    RATE_FPS,
    SIDE,
    Picture,
    Placed,
    ann,
    blurred,
    bob,
    door,
    enrolled,
    frame,
    member,
    needs_models,
    networks,
)

pytestmark = needs_models

DWELL_FRAMES = round(0.5 * RATE_FPS)
Scene = Callable[[int], Sequence[Placed]]


def watcher(searched: Searched | None = None, options: FaceOptions | None = None) -> FaceWatcher:
    """One that knows Ann and Bob."""
    loaded = networks()
    return FaceWatcher(
        loaded.detector,
        loaded.embedder,
        enrolled(ann(), bob()) if searched is None else searched,
        spoof=loaded.spoof,
        head_turn=loaded.head_turn,
        options=options,
    )


def play(
    watching: FaceWatcher,
    scene: Scene,
    frames: int,
    *,
    first: int = 0,
    code_at: Callable[[int], bool] = lambda _: False,
) -> list[tuple[int, FaceEvent]]:
    """Every event with the number of its frame."""
    return [
        (number, event)
        for number in range(first, first + frames)
        for event in watching.look(frame(number, door(*scene(number))), code_in_view=code_at(number))
    ]


def stands(picture: Picture, x: int = MIDDLE[0], y: int = MIDDLE[1]) -> Scene:
    return lambda _: [(picture, (x, y))]


def deserted(_: int) -> Sequence[Placed]:
    return []


def ann_before_bob(_: int) -> Sequence[Placed]:
    return [(ann(), (520, 230)), (bob(160), (840, 260))]


def seen(events: list[tuple[int, FaceEvent]]) -> list[tuple[int, Seen]]:
    return [(number, event) for number, event in events if isinstance(event, Seen)]


def best(event: Seen) -> bytes:
    return event.comparison.candidates[0].member


def test_who_stands_on_the_mark_is_compared_after_the_dwell_and_fused_frame_by_frame() -> None:
    comparisons = seen(play(watcher(), stands(ann()), 40))
    numbers = [number for number, _ in comparisons]
    assert numbers[0] >= DWELL_FRAMES
    assert numbers[0] <= DWELL_FRAMES + 2
    assert [event.comparison.probes for _, event in comparisons] == list(range(1, PROBES_MAX + 1))
    assert numbers[PROBES_MAX - 1] - numbers[0] <= 1.2 * RATE_FPS
    assert {best(event) for _, event in comparisons} == {member(0)}
    assert comparisons[-1][1].comparison.candidates[0].score > 0.85  # Ann is dark, and smoothed at the door alone
    assert {event.track for _, event in comparisons} == {1}
    assert [event.comparison.is_last for _, event in comparisons][:-2] == [False] * (PROBES_MAX - 2)


def test_who_stood_there_for_a_second_has_waited_long_enough() -> None:
    comparisons = seen(play(watcher(options=FaceOptions(waits_ns=300_000_000)), stands(ann()), 40))
    told = [event.comparison.is_last for _, event in comparisons]
    assert told == sorted(told)
    assert not told[0]
    assert told[-1]


def test_a_face_that_was_settled_is_compared_no_further() -> None:
    watching = watcher()
    first = seen(play(watching, stands(ann()), 12))
    watching.settle(first[-1][1].track)
    assert seen(play(watching, stands(ann()), 30, first=12)) == []


def test_whoever_passes_by_is_never_compared() -> None:
    assert seen(play(watcher(), lambda number: [(ann(), (number * 20 - SIDE, MIDDLE[1]))], 70)) == []


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(stands(ann(side=100)), id="too far away"),
        pytest.param(stands(ann(), x=10), id="beside the mark"),
        pytest.param(stands(ann(), y=HEIGHT - SIDE), id="below the mark"),
        pytest.param(stands(blurred(ann(), 8)), id="out of focus"),
    ],
)
def test_who_is_not_on_the_mark_or_not_clear_is_never_compared(scene: Scene) -> None:
    assert seen(play(watcher(), scene, 30)) == []


def test_only_who_is_most_clearly_meant_is_compared_and_once_settled_whoever_stands_beside_them() -> None:
    watching = watcher()
    first = seen(play(watching, ann_before_bob, 14))
    assert {best(event) for _, event in first} == {member(0)}
    watching.settle(first[0][1].track)
    later = seen(play(watching, ann_before_bob, 30, first=14))
    assert {best(event) for _, event in later} == {member(1)}
    assert {event.track for _, event in first}.isdisjoint({event.track for _, event in later})


def test_a_face_that_stays_in_doubt_yields_to_whoever_stands_beside_it() -> None:
    order = [best(event) for _, event in seen(play(watcher(), ann_before_bob, 60))]
    assert order[:YIELDS_AFTER] == [member(0)] * YIELDS_AFTER
    assert order[YIELDS_AFTER : 2 * YIELDS_AFTER] == [member(1)] * YIELDS_AFTER
    assert set(order[2 * YIELDS_AFTER :]) == {member(0), member(1)}


def test_no_face_is_compared_while_a_code_is_in_view_and_the_dwell_begins_anew() -> None:
    comparisons = seen(play(watcher(), stands(ann()), 45, code_at=lambda number: number < 20))
    assert comparisons[0][0] >= 20 + DWELL_FRAMES


def test_after_a_code_everybody_in_view_is_left_alone_until_they_are_gone() -> None:
    watching = watcher()
    play(watching, stands(ann()), 10)
    watching.code_accepted()
    assert seen(play(watching, stands(ann()), 40, first=10)) == []
    assert [type(event) for _, event in play(watching, deserted, 12, first=50)] == [Gone]
    assert seen(play(watching, stands(ann()), 20, first=62))


def test_whoever_stood_behind_the_code_is_left_alone_too() -> None:
    watching = watcher()
    play(watching, deserted, 5)
    watching.code_accepted()
    play(watching, deserted, 10, first=5)
    assert seen(play(watching, stands(ann()), 40, first=15)) == []


def test_a_short_occlusion_does_not_end_a_track_and_a_long_one_does() -> None:
    watching = watcher()
    hidden = set(range(14, 19)) | set(range(40, 60))
    events = play(watching, lambda number: [] if number in hidden else [(ann(), MIDDLE)], 75)
    gone = [number for number, event in events if isinstance(event, Gone)]
    assert len(gone) == 1
    assert gone[0] == pytest.approx(40 + LOST_NS / 1e9 * RATE_FPS, abs=2)
    assert {event.track for number, event in seen(events) if number < 40} == {1}
    assert {event.track for number, event in seen(events) if number > 60} == {2}


def test_somebody_who_takes_anothers_place_is_not_fused_with_them() -> None:
    events = play(watcher(), lambda number: [(ann() if number < 11 else bob(), MIDDLE)], 60)
    by_track: dict[int, set[bytes]] = {}
    for _, event in seen(events):
        by_track.setdefault(event.track, set()).add(best(event))
    assert by_track == {1: {member(0)}, 2: {member(1)}}
    assert [event.track for _, event in events if isinstance(event, Gone)] == [1]


def test_with_nobody_enrolled_no_face_is_embedded() -> None:
    assert seen(play(watcher(enrolled()), stands(ann()), 30)) == []


def test_faces_that_may_not_be_looked_at_are_not() -> None:
    watching = watcher()
    play(watching, stands(ann()), 12)
    watching.allow(is_on=False, liveness=Liveness.NONE)
    assert [event for _, event in play(watching, stands(ann()), 30, first=12)] == [Gone(track=1)]
    watching.allow(is_on=True, liveness=Liveness.NONE)
    assert seen(play(watching, stands(ann()), 20, first=42))


@pytest.mark.parametrize(("liveness", "is_told"), [(Liveness.NONE, False), (Liveness.PASSIVE, True)])
def test_liveness_is_told_when_it_is_asked_for(liveness: Liveness, is_told: bool) -> None:
    watching = watcher()
    watching.allow(is_on=True, liveness=liveness)
    lives = [event.live for _, event in seen(play(watching, stands(ann()), 20))]
    assert lives
    assert all((live is not None) == is_told for live in lives)


def test_a_turn_cannot_be_passed_by_nobody_or_by_a_face_that_was_never_compared() -> None:
    watching = watcher()
    assert watching.challenge(1, Side.LEFT) == (Turned(track=1, passed=False),)
    play(watching, stands(ann()), 3)
    assert watching.challenge(1, Side.LEFT) == (Turned(track=1, passed=False),)


def test_a_picture_that_does_not_turn_fails_and_so_does_a_face_that_leaves() -> None:
    watching = watcher()
    play(watching, stands(ann()), 14)
    assert watching.challenge(1, Side.LEFT) == ()
    events = [event for _, event in play(watching, stands(ann()), 100, first=14)]
    assert [event for event in events if isinstance(event, Turned)] == [Turned(track=1, passed=False)]
    watching = watcher()
    play(watching, stands(ann()), 14)
    watching.challenge(1, Side.RIGHT)
    assert [event for _, event in play(watching, deserted, 12, first=14)] == [
        Turned(track=1, passed=False),
        Gone(track=1),
    ]


def test_another_face_does_not_pass_the_turn_of_the_one_that_was_compared() -> None:
    watching = watcher()
    play(watching, stands(ann()), 14)
    watching.challenge(1, Side.LEFT)
    events = [event for _, event in play(watching, stands(bob()), 12, first=14)]
    assert Turned(track=1, passed=False) in events


def test_the_detector_rests_at_an_empty_door() -> None:
    watching, empty = watcher(), door()
    looked: list[int] = []
    for number in range(60):
        before = watching._detected_ns
        watching.look(frame(number, empty), code_in_view=False)
        looked += [number] if watching._detected_ns != before else []
    assert looked == [0, 30]


def test_a_frame_of_another_size_is_looked_at_as_well() -> None:
    watching = watcher()
    play(watching, stands(ann()), 5)
    small = np.full((240, 320, 3), 120, np.uint8)
    assert watching.look(frame(5, small), code_in_view=False) == ()


def test_what_is_over_is_wiped() -> None:
    watching = watcher()
    play(watching, stands(ann()), 20)
    visitor = watching._visitors[1]
    assert visitor.probe.fused.any()
    play(watching, deserted, 12, first=20)
    assert not visitor.probe.fused.any()
    assert not visitor.track._buffer.any()
    bench = watching._workbench
    assert not any(buffer.any() for buffer in (bench._crop, bench._embedding, bench._gauge._half))
    play(watching, stands(ann()), 20, first=40)
    visitor = watching._visitors[2]
    watching.wipe()
    assert not visitor.probe.fused.any()
    assert not watching._view.gray.any()
    assert watching._visitors == {}

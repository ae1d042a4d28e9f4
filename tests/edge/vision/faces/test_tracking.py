"""Faces are followed without a detector: through movement, short losses and each other, and forgotten in time."""

from dataclasses import replace

import numpy as np
import pytest

from edge.vision.faces.face import Face
from edge.vision.faces.tracking import LOST_NS, SmallView, Track, Tracks
from tests.edge.vision.faces.scenes import HEIGHT, WIDTH, Picture, door, face_at

STEP_NS = 1_000_000_000 // 15
RANDOM = np.random.default_rng(3)
HEADS = tuple(np.repeat(np.repeat(RANDOM.integers(0, 255, (16, 12, 3), np.uint8), 8, 0), 8, 1) for _ in range(2))


def scene(*middles: tuple[int, int]) -> Picture:
    """The door with a textured head of 96 x 128 pixels at each of these places."""
    placed = zip(HEADS, middles, strict=False)
    return door(*((head, (x - 48, y - 64)) for head, (x, y) in placed))


def head_at(x: float, y: float) -> Face:
    return face_at(x, y, eyes=44)


def view_of(pixels: Picture, view: SmallView | None = None) -> SmallView:
    view = view or SmallView()
    view.show(pixels)
    return view


def only(tracks: Tracks) -> Track:
    (track,) = tracks
    return track


def test_a_face_is_followed_from_frame_to_frame_without_being_detected() -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    for number in range(1, 20):
        x = 400 + 16 * number
        tracks.follow(view_of(scene((x, 300 + number)), view), number * STEP_NS)
    track = only(tracks)
    assert track.number == 1
    assert track.face.box.centre == pytest.approx((400 + 16 * 19, 319), abs=8)
    assert track.face.points[:, 0].mean() == pytest.approx(400 + 16 * 19, abs=12)
    assert track.seen_ns == 19 * STEP_NS
    assert track.detected_ns == 0


def test_two_faces_that_pass_keep_their_numbers() -> None:
    tracks, view = Tracks(), view_of(scene((300, 300), (800, 420)))
    tracks.update([head_at(300, 300), head_at(800, 420)], view, 0)
    for number in range(1, 25):
        right, left = 300 + 20 * number, 800 - 20 * number
        view_of(scene((right, 300), (left, 420)), view)
        tracks.follow(view, number * STEP_NS)
        if number % 5 == 0:
            tracks.update([head_at(left, 420), head_at(right, 300)], view, number * STEP_NS)
    by_number = {track.number: track.face.box.centre for track in tracks}
    assert by_number[1] == pytest.approx((300 + 20 * 24, 300), abs=8)
    assert by_number[2] == pytest.approx((800 - 20 * 24, 420), abs=8)


def test_a_short_loss_is_survived_and_a_long_one_is_not() -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    view_of(scene(), view)
    tracks.follow(view, LOST_NS)
    assert tracks.end_lost(LOST_NS) == ()
    view_of(scene((410, 300)), view)
    tracks.update([head_at(410, 300)], view, LOST_NS)
    assert only(tracks).number == 1
    assert [track.number for track in tracks.end_lost(2 * LOST_NS + 1)] == [1]
    assert len(tracks) == 0
    tracks.update([head_at(410, 300)], view, 3 * LOST_NS)
    assert only(tracks).number == 2, "whoever comes back is somebody new"


def test_what_the_detector_denies_is_not_followed_on() -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    tracks.update([], view, STEP_NS)
    tracks.follow(view, 2 * STEP_NS)
    assert only(tracks).seen_ns == 0


@pytest.mark.parametrize("found", [head_at(700, 300), face_at(400, 300, eyes=100), face_at(400, 300, eyes=20)])
def test_a_face_elsewhere_or_of_another_size_is_somebody_else(found: Face) -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    tracks.update([found], view, STEP_NS)
    assert [track.number for track in tracks] == [1, 2]


def test_the_nearer_of_two_faces_is_the_tracks() -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    tracks.update([head_at(450, 300), head_at(405, 300)], view, STEP_NS)
    assert {track.number: track.face.box.centre[0] for track in tracks} == pytest.approx({1: 405, 2: 450})


@pytest.mark.parametrize("at", [(2, 300), (WIDTH - 2, 300), (400, 2), (400, HEIGHT - 2), (-500, 300)])
def test_a_face_over_the_frames_edge_does_no_harm(at: tuple[int, int]) -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(*at)], view, 0)
    tracks.follow(view, STEP_NS)
    assert len(tracks) == 1


def test_an_ended_track_holds_nothing_of_the_face() -> None:
    tracks, view = Tracks(), view_of(scene((400, 300)))
    tracks.update([head_at(400, 300)], view, 0)
    track = only(tracks)
    assert track._buffer.any()
    tracks.end(track)
    assert not track._buffer.any()


def test_a_view_changes_when_something_moved_and_not_with_the_light() -> None:
    view = view_of(scene((400, 300)))
    assert view.has_changed(), "nothing was searched yet"
    view.searched()
    assert not view.has_changed()
    brighter = np.clip(scene((400, 300)).astype(np.int16) + 20, 0, 255).astype(np.uint8)
    assert not view_of(brighter, view).has_changed()
    assert view_of(scene((460, 300)), view).has_changed()


def test_a_view_takes_frames_of_another_size_and_forgets_on_request() -> None:
    view = view_of(scene((400, 300)))
    view.searched()
    view_of(np.full((120, 160, 3), 90, np.uint8), view)
    assert view.gray.shape == (120, 160)
    assert view.step == 1.0
    assert view.has_changed()
    view.wipe()
    assert not view.gray.any()


def test_a_track_is_its_own_and_not_one_that_looks_the_same() -> None:
    face = head_at(400, 300)
    first, second = (Track(number=1, face=face, began_ns=0, seen_ns=0, detected_ns=0) for _ in range(2))
    assert first != second
    assert replace(face) is not face

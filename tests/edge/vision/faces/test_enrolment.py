"""Learning a face: how the person is told to stand, when it is refused, and that what was learnt finds the face."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.core.match import Comparison
from edge.core.screen import EnrolRefusal, StandHint
from edge.vision.faces.enrolment import Enrolled, EnrolOptions, Hinted
from edge.vision.faces.gallery import Gallery, GalleryEntry, pack
from edge.vision.faces.watcher import FaceEvent, FaceWatcher, Seen
from shared.biometrics import SealedTemplate
from shared.ids import MemberId
from tests.edge.vision.faces.scenes import (
    MIDDLE,
    RATE_FPS,
    Picture,
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

NEW = member(9)


@dataclass(slots=True)
class OpenTemplates:
    """Keeps templates as they are, where a kiosk would seal them."""

    gallery: Gallery = field(default_factory=Gallery)
    against: EnrolRefusal | None = None
    learnt: list[NDArray[np.float32]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gallery)

    def refusal(self, member: MemberId) -> EnrolRefusal | None:
        """What the test says."""
        return self.against

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """See Gallery."""
        return self.gallery.compare(probe, probes)

    def enrol(self, member: MemberId, mean: NDArray[np.float32]) -> SealedTemplate:
        """Remembers the direction."""
        self.learnt.append(mean.copy())
        return SealedTemplate(member=member, key=bytes(8), embedder=bytes(8), sealed=b"sealed")


def learning(templates: OpenTemplates) -> FaceWatcher:
    """A watcher that is learning NEW."""
    loaded = networks()
    watching = FaceWatcher(loaded.detector, loaded.embedder, templates, templates=templates)
    watching.enrol(NEW)
    return watching


def play(
    watching: FaceWatcher, scene: Callable[[int], Picture], frames: int, *, has_code: bool = False
) -> list[FaceEvent]:
    return [
        event
        for number in range(frames)
        for event in watching.look(frame(number, scene(number)), code_in_view=has_code)
    ]


def end_of(events: list[FaceEvent]) -> Enrolled:
    (ended,) = (event for event in events if isinstance(event, Enrolled))
    return ended


def hints_of(events: list[FaceEvent]) -> list[StandHint]:
    return [event.hint for event in events if isinstance(event, Hinted)]


def test_five_good_frames_and_one_more_make_a_template_that_finds_the_face() -> None:
    templates = OpenTemplates()
    events = play(learning(templates), lambda _: door((ann(), MIDDLE)), 5 * RATE_FPS)
    assert end_of(events) == Enrolled(
        member=NEW,
        template=SealedTemplate(member=NEW, key=bytes(8), embedder=bytes(8), sealed=b"sealed"),
        frames=5,
        refusal=None,
    )
    taken = [event.taken for event in events if isinstance(event, Hinted)]
    assert taken == sorted(taken)
    assert taken[-1] == 5
    assert set(hints_of(events)) == {StandHint.GOOD}
    gallery = Gallery()
    gallery.put(GalleryEntry(member=NEW, template=pack(templates.learnt[0])))
    networks_again = FaceWatcher(networks().detector, networks().embedder, gallery)
    seen = [event for event in play(networks_again, lambda _: door((ann(), MIDDLE)), 20) if isinstance(event, Seen)]
    assert seen[-1].comparison.candidates[0].member == NEW
    assert seen[-1].comparison.candidates[0].score > 0.9


def test_after_learning_the_same_face_is_not_recognised_on_the_spot() -> None:
    templates = OpenTemplates(gallery=enrolled(bob()))
    events = play(learning(templates), lambda _: door((ann(), MIDDLE)), 8 * RATE_FPS)
    assert end_of(events).refusal is None
    assert not [event for event in events if isinstance(event, Seen)]


@pytest.mark.parametrize(
    ("scene", "hint"),
    [
        pytest.param(door(), StandHint.COME, id="nobody"),
        pytest.param(door((ann(90), (20, 300))), StandHint.COME, id="far and aside"),
        pytest.param(door((ann(), (380, 230)), (bob(), (700, 230))), StandHint.ALONE, id="two"),
        pytest.param(door((ann(90), (600, 300))), StandHint.CLOSER, id="far"),
        pytest.param(door((ann(719), (280, 0))), StandHint.BACK, id="too near"),
        pytest.param(door((ann(), (20, 230))), StandHint.CENTRE, id="aside"),
        pytest.param(door((np.asarray(ann() // 3, np.uint8), MIDDLE)), StandHint.LIGHT, id="dark"),
        pytest.param(door((blurred(ann(), 7), MIDDLE)), StandHint.STILL, id="blurred"),
        pytest.param(door((ann(), MIDDLE)), StandHint.GOOD, id="as it should be"),
    ],
)
def test_the_person_is_told_how_to_stand(scene: Picture, hint: StandHint) -> None:
    assert hints_of(play(learning(OpenTemplates()), lambda _: scene, 1)) == [hint]


def test_hints_come_at_most_four_times_a_second() -> None:
    events = play(learning(OpenTemplates()), lambda number: door((ann(), MIDDLE)) if number % 2 else door(), 30)
    assert 1 < len(hints_of(events)) <= 9


def test_nobody_in_time_is_a_refusal() -> None:
    events = play(learning(OpenTemplates()), lambda _: door(), 13 * RATE_FPS)
    assert end_of(events) == Enrolled(member=NEW, template=None, frames=0, refusal=EnrolRefusal.NOBODY)
    assert EnrolOptions().allowed_ns == 12_000_000_000


def test_a_face_that_is_another_members_is_refused_and_ones_own_is_not() -> None:
    others = OpenTemplates(gallery=enrolled(ann(), among=60))
    events = play(learning(others), lambda _: door((ann(), MIDDLE)), 5 * RATE_FPS)
    assert end_of(events).refusal is EnrolRefusal.ANOTHERS
    assert others.learnt == []
    own = Gallery()
    own.put(GalleryEntry(member=NEW, template=pack(enrolled_direction())))
    events = play(learning(OpenTemplates(gallery=own)), lambda _: door((ann(), MIDDLE)), 5 * RATE_FPS)
    assert end_of(events).refusal is None


def enrolled_direction() -> NDArray[np.float32]:
    """Ann's, as a member who enrols anew has it in the gallery."""
    templates = OpenTemplates()
    play(learning(templates), lambda _: door((ann(), MIDDLE)), 5 * RATE_FPS)
    return templates.learnt[0]


def test_a_face_that_is_not_found_again_is_refused() -> None:
    events = play(learning(OpenTemplates()), swaps_after_the_last_frame, 8 * RATE_FPS)
    assert end_of(events).refusal is EnrolRefusal.NOT_FOUND_AGAIN


def swaps_after_the_last_frame(number: int) -> Picture:
    """Ann for the five frames of the template, Bob for the check."""
    return door((ann() if number < 1.4 * RATE_FPS else bob(), MIDDLE))


def test_somebody_else_who_steps_in_half_way_is_learnt_alone() -> None:
    templates = OpenTemplates()
    events = play(learning(templates), lambda number: door((ann() if number < 12 else bob(), MIDDLE)), 6 * RATE_FPS)
    assert end_of(events).refusal is None
    gallery = enrolled(ann(), bob())
    assert gallery.compare(templates.learnt[0], 5).candidates[0].member == member(1)
    assert gallery.compare(templates.learnt[0], 5).candidates[0].score > 0.9


@pytest.mark.parametrize("refusal", [EnrolRefusal.NO_GROUP, EnrolRefusal.FULL])
def test_what_stands_against_learning_is_said_at_once(refusal: EnrolRefusal) -> None:
    events = play(learning(OpenTemplates(against=refusal)), lambda _: door((ann(), MIDDLE)), 3)
    assert events == [Enrolled(member=NEW, template=None, frames=0, refusal=refusal)]


def test_no_frame_is_taken_while_a_code_is_held_up() -> None:
    events = play(learning(OpenTemplates()), lambda _: door((ann(), MIDDLE)), 13 * RATE_FPS, has_code=True)
    assert set(hints_of(events)) == {StandHint.COME}
    assert end_of(events).refusal is EnrolRefusal.NOBODY


def test_stopping_forgets_what_was_taken() -> None:
    templates = OpenTemplates()
    watching = learning(templates)
    play(watching, lambda _: door((ann(), MIDDLE)), 15)
    enrolment = watching._enrolment
    assert enrolment is not None
    assert enrolment._probe.fused.any()
    watching.stop_enrolling()
    assert not enrolment._probe.fused.any()
    assert templates.learnt == []

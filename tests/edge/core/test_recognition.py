"""One verdict a stay and one grant a stay: every way from a comparison to its end."""

import pytest

from edge.core.match import Ambiguous, Comparison, Match, MatchVerdict, NoMatch, NotYet
from edge.core.recognition import (
    LIVE_MIN,
    QUIET_NS,
    SETTLED_MAX,
    AskChoice,
    AskCode,
    AskTurn,
    Choosing,
    CountStranger,
    FaceCommand,
    FacePath,
    Judged,
    Presence,
    ServeFace,
    code_accepted,
    dismissed,
    disputed,
    face_gone,
    new_eyes,
    offered,
    picked,
    see_face,
    turned,
)
from shared.ids import MemberId
from shared.policy import Liveness

ANNA, BERT = MemberId(b"a" * 10), MemberId(b"b" * 10)
SEEN = Comparison(candidates=(), enrolled=100, probes=8, cohort_mean=0.0, cohort_deviation=0.1)
MATCH, AMBIGUOUS = Match(member=ANNA), Ambiguous(members=(ANNA, BERT))
PLAIN = FacePath(liveness=Liveness.NONE, touch=False)
TOUCH = FacePath(liveness=Liveness.NONE, touch=True)
PASSIVE = FacePath(liveness=Liveness.PASSIVE, touch=True)
TURN = FacePath(liveness=Liveness.TURN, touch=True)
SERVED = ServeFace(track=1, member=ANNA, comparison=SEEN)


def look(
    presence: Presence,
    verdict: MatchVerdict,
    path: FacePath = PLAIN,
    *,
    track: int = 1,
    live: float | None = None,
    at_ns: int = 0,
) -> tuple[Presence, FaceCommand | None]:
    return see_face(presence, Judged(track=track, comparison=SEEN, verdict=verdict, live=live), path, at_ns)


@pytest.mark.parametrize(
    ("verdict", "path", "live", "command"),
    [
        (NotYet(), PLAIN, None, None),
        (NoMatch(), PLAIN, None, CountStranger(track=1)),
        (NoMatch(), PASSIVE, 0.0, CountStranger(track=1)),
        (MATCH, PLAIN, None, SERVED),
        (MATCH, PASSIVE, LIVE_MIN, SERVED),
        (MATCH, PASSIVE, LIVE_MIN - 1e-6, AskCode(track=1)),
        (MATCH, PASSIVE, 0.0, AskCode(track=1)),
        (MATCH, PASSIVE, None, None),
        (MATCH, TURN, None, AskTurn(track=1)),
        (AMBIGUOUS, PLAIN, None, AskCode(track=1)),
        (AMBIGUOUS, TOUCH, None, AskChoice(track=1, members=(ANNA, BERT))),
        (AMBIGUOUS, PASSIVE, 1.0, AskChoice(track=1, members=(ANNA, BERT))),
        (AMBIGUOUS, PASSIVE, 0.1, AskCode(track=1)),
        (AMBIGUOUS, TURN, None, AskTurn(track=1)),
    ],
)
def test_a_verdict_leads_to_one_thing(
    verdict: MatchVerdict, path: FacePath, live: float | None, command: FaceCommand | None
) -> None:
    presence, came = look(Presence(), verdict, path, live=live)
    assert came == command
    again, second = look(presence, MATCH)
    if command is None:
        assert second == SERVED  # nothing was settled yet
    else:
        assert (again, second) == (presence, None)


def test_two_people_are_two_stays() -> None:
    presence, _ = look(Presence(), MATCH)
    _, command = look(presence, Match(member=BERT), track=2)
    assert command == ServeFace(track=2, member=BERT, comparison=SEEN)


@pytest.mark.parametrize(
    ("verdict", "touch", "command"),
    [
        (MATCH, False, SERVED),
        (AMBIGUOUS, True, AskChoice(track=1, members=(ANNA, BERT))),
        (AMBIGUOUS, False, AskCode(track=1)),
    ],
)
def test_a_turn_that_is_passed_leads_on_to_the_verdict(
    verdict: MatchVerdict, touch: bool, command: FaceCommand
) -> None:
    presence, _ = look(Presence(), verdict, TURN)
    assert look(presence, MATCH, track=2)[1] is None  # one question at a time
    presence, came = turned(presence, 1, passed=True, touch=touch)
    assert came == command
    assert turned(presence, 1, passed=True, touch=touch) == (presence, None)


def test_a_turn_that_is_not_passed_asks_for_the_code_and_settles() -> None:
    presence, _ = look(Presence(), MATCH, TURN)
    assert turned(presence, 2, passed=True, touch=True) == (presence, None)  # another's
    presence, command = turned(presence, 1, passed=False, touch=True)
    assert command == AskCode(track=1)
    assert look(presence, MATCH)[1] is None


@pytest.mark.parametrize(
    ("place", "command"),
    [
        (0, AskCode(track=1)),
        (1, SERVED),
        (2, AskCode(track=1)),
        (-1, AskCode(track=1)),
        (None, AskCode(track=1)),
    ],
)
def test_a_pick_counts_once(place: int | None, command: FaceCommand) -> None:
    presence, _ = look(Presence(), AMBIGUOUS, TOUCH)
    presence = offered(presence, (None, ANNA))
    presence, came = picked(presence, place)
    assert came == command
    assert picked(presence, 1) == (presence, None)
    assert look(presence, MATCH)[1] is None


def test_a_face_that_leaves_takes_its_question_with_it() -> None:
    presence, _ = look(Presence(), MATCH, TURN)
    assert face_gone(presence, 2) == (presence, False)
    presence, was_asked = face_gone(presence, 1)
    assert (was_asked, presence.dialog) == (True, None)
    assert face_gone(presence, 1) == (presence, False)
    assert look(presence, MATCH)[1] is None


def test_a_question_that_is_dismissed_is_not_asked_again() -> None:
    assert dismissed(Presence()) == Presence()
    presence, _ = look(Presence(), AMBIGUOUS, TOUCH)
    assert isinstance(presence.dialog, Choosing)
    presence = dismissed(presence)
    assert presence.dialog is None
    assert look(presence, AMBIGUOUS, TOUCH)[1] is None


def test_a_code_cancels_the_faces_seen_so_far() -> None:
    presence, _ = look(Presence(), NotYet(), track=5)
    presence = code_accepted(presence)
    assert look(presence, MATCH, track=4)[1] is None
    assert look(presence, MATCH, track=5)[1] is None
    assert look(presence, MATCH, track=6)[1] is not None


def test_a_code_ends_a_question() -> None:
    presence, _ = look(Presence(), MATCH, TURN)
    assert turned(code_accepted(presence), 1, passed=True, touch=True)[1] is None


@pytest.mark.parametrize(("at_ns", "counts"), [(9, False), (10 + QUIET_NS - 1, False), (10 + QUIET_NS, True)])
def test_after_a_dispute_no_face_counts_for_a_while(at_ns: int, counts: bool) -> None:
    presence, _ = look(Presence(), MATCH)
    presence = disputed(presence, 10)
    assert look(presence, MATCH, at_ns=at_ns)[1] is None  # the same stay never again
    assert (look(presence, MATCH, track=2, at_ns=at_ns)[1] is not None) == counts
    assert (look(new_eyes(presence), MATCH, at_ns=at_ns)[1] is not None) == counts


def test_only_so_many_settled_stays_are_remembered() -> None:
    presence = Presence()
    for track in range(1, SETTLED_MAX + 11):
        presence, _ = look(presence, NoMatch(), track=track)
    assert len(presence.settled) == SETTLED_MAX
    assert presence.settled[-1] == SETTLED_MAX + 10

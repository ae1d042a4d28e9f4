"""Plays visits to whoever looks, gives each track its verdict as the agent would, and holds it against the truth."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.camera.portraits import load_portrait
from edge.core.match import Ambiguous, Match, MatchTerms, MatchVerdict, NotYet, decide_match, deviations
from edge.ports import Frame
from shared.ids import MemberId
from tests.bench.walkin.people import Case, Visitor
from tests.bench.walkin.seers import Compared, Seer
from tests.bench.walkin.tally import Outcome, Told
from tests.support.walkers import Door, Person, Scenario, Shot, Truth, Visit

DWELL_S: Final = 0.5
NS: Final = 1_000_000_000
BETWEEN_NS: Final = 3 * NS
"""Of an empty door between two visits: nothing of one is in view in the next."""
PLACES_ON_MARK: Final = 2
"""Of three people the third waits behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A track's verdict, and when: seconds of the visit, with the processor's time for the frame."""

    verdict: MatchVerdict
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a visit came to. `busy_s` are processor seconds of each frame, `standing` whether somebody stood there."""

    told: tuple[Told, ...]
    busy_s: tuple[float, ...]
    standing: tuple[bool, ...]
    compared: int


class Dwelt:
    """When, by the truth, a person had stood on the mark for the dwell, in view and facing the camera; and for how long
    after that they could not be seen."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._before_s = 0.0
        self._hidden: list[tuple[float, float]] = []
        self.over_s: float | None = None

    def hidden_s(self, until_s: float) -> float:
        """How long, after the dwell and until then, they looked away or were covered."""
        return sum(lasted_s for at_s, lasted_s in self._hidden if at_s < until_s)

    def see(self, truth: Truth, at_s: float) -> None:
        """Takes one frame in; the first dwell counts."""
        lasted_s, self._before_s = at_s - self._before_s, at_s
        if not truth.is_on_mark or not truth.is_facing or truth.is_covered:
            self._since_s = None
            if self.over_s is not None:
                self._hidden.append((at_s, lasted_s))
            return
        self._since_s = at_s if self._since_s is None else self._since_s
        if self.over_s is None and at_s - self._since_s >= DWELL_S:
            self.over_s = at_s


class Verdicts:
    """The verdict of every track of one visit: the first that more frames would not change is final."""

    def __init__(self, terms: MatchTerms) -> None:
        self._terms = terms
        self.ended: dict[int, Ended] = {}
        self.highest: dict[MemberId, float] = {}
        self.compared = 0

    @property
    def best(self) -> float | None:
        """The highest deviations of anybody in any comparison."""
        return max(self.highest.values(), default=None)

    def hear(self, one: Compared, at_s: float) -> bool:
        """Takes a comparison in; whether it settled the track."""
        self.compared += 1
        for candidate in one.comparison.candidates:
            if one.comparison.probes >= self._terms.probes_min:
                reached = deviations(candidate.score, one.comparison)
                self.highest[candidate.member] = max(reached, self.highest.get(candidate.member, -np.inf))
        if one.track in self.ended:
            return False
        verdict = decide_match(one.comparison, self._terms)
        if isinstance(verdict, NotYet):
            return False
        self.ended[one.track] = Ended(verdict=verdict, at_s=at_s)
        return True


class Player:
    """Renders visits and plays them to one who looks, on one clock."""

    def __init__(self, door: Door, seer: Seer, terms: MatchTerms) -> None:
        self._door = door
        self._seer = seer
        self._terms = terms
        self._now_ns = BETWEEN_NS
        self._sequence = 0

    def play(self, case: Case) -> Played:
        """One visit from its first frame to its last."""
        people = [
            Person(who=str(place), portrait=load_portrait(one.picture)) for place, one in enumerate(case.visitors)
        ]
        visit = Visit(self._door, case.scenario, people, seed=case.seed)
        verdicts, dwells = Verdicts(self._terms), [Dwelt() for _ in people]
        busy_s, standing = self._show(visit.shots(), verdicts, dwells)
        return Played(
            told=tuple(tell(case, verdicts, dwells)),
            busy_s=tuple(busy_s),
            standing=tuple(standing),
            compared=verdicts.compared,
        )

    def play_empty(self, seconds: float) -> Played:
        """Nobody at the door."""
        busy_s, standing = self._show(self._door.empty_shots(seconds), Verdicts(self._terms), [])
        return Played(told=(), busy_s=tuple(busy_s), standing=tuple(standing), compared=0)

    def _show(
        self, shots: Iterator[Shot], verdicts: Verdicts, dwells: Sequence[Dwelt]
    ) -> tuple[list[float], list[bool]]:
        busy_s, standing = [], []
        began_ns = self._now_ns
        for shot in shots:
            self._now_ns = began_ns + round(shot.passed_s * NS)
            self._sequence += 1
            frame = Frame(pixels=shot.pixels, captured_ns=self._now_ns, sequence=self._sequence)
            from_s = time.process_time()
            compared = self._seer.look(frame)
            took_s = time.process_time() - from_s
            for one in compared:
                if verdicts.hear(one, shot.passed_s + took_s):
                    self._seer.settle(one.track)
            for dwelt, truth in zip(dwells, shot.people, strict=True):
                dwelt.see(truth, shot.passed_s)
            busy_s.append(took_s)
            standing.append(any(truth.is_on_mark for truth in shot.people))
        self._now_ns += BETWEEN_NS
        return busy_s, standing


def tell(case: Case, verdicts: Verdicts, dwells: Sequence[Dwelt]) -> Iterator[Told]:
    """What became of whom the visit is about, and of every member who stood beside them."""
    present = {one.member: place for place, one in enumerate(case.visitors) if one.member is not None}
    for place, visitor in enumerate(case.visitors[:PLACES_ON_MARK]):
        if place == 0 or visitor.member is not None:
            yield _told(case.scenario, visitor, verdicts, present, dwells[place], is_first=place == 0)


def _told(
    scenario: Scenario,
    visitor: Visitor,
    verdicts: Verdicts,
    present: Mapping[MemberId, int],
    dwelt: Dwelt,
    *,
    is_first: bool,
) -> Told:
    outcome, at_s = _outcome(visitor, verdicts, present, is_first=is_first)
    own = verdicts.best if visitor.member is None else verdicts.highest.get(visitor.member)
    return Told(
        scenario=scenario,
        templates=visitor.templates,
        outcome=outcome,
        waited_s=at_s - dwelt.over_s if at_s is not None and dwelt.over_s is not None else None,
        hidden_s=0.0 if at_s is None else dwelt.hidden_s(at_s),
        deviations=own,
    )


def _outcome(
    visitor: Visitor, verdicts: Verdicts, present: Mapping[MemberId, int], *, is_first: bool
) -> tuple[Outcome, float | None]:
    """Their end and when it came. Whoever was taken for somebody who was not there is held against the first."""
    ends = sorted(verdicts.ended.values(), key=lambda ended: ended.at_s)
    for end in ends:
        if is_first and isinstance(end.verdict, Match) and end.verdict.member not in present:
            return Outcome.WRONG, end.at_s
    for end in ends:
        if isinstance(end.verdict, Match) and end.verdict.member == visitor.member:
            return Outcome.RIGHT, end.at_s
    for end in ends:
        if isinstance(end.verdict, Ambiguous) and (visitor.member is None or visitor.member in end.verdict.members):
            return Outcome.ASKED, end.at_s
    if not verdicts.compared or visitor.member is None:
        return Outcome.NOBODY, None
    return Outcome.MISSED, None

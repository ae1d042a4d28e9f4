"""The walk-in bench: who is enrolled and who comes, what a visit's end is called, and a handful of visits played."""

import math
import os
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.match import Ambiguous, Candidate, Comparison, Match, MatchTerms, NoMatch
from edge.vision.faces.weights import Weights
from shared.ids import MEMBER_ID_BYTES, MemberId
from tests.bench.walkin.drive import Dwelt, Ended, Player, Verdicts, tell
from tests.bench.walkin.measure import scratch
from tests.bench.walkin.ours import Ours, opened_bench
from tests.bench.walkin.people import Case, Visitor, cases_of, roll_of
from tests.bench.walkin.plot import draw
from tests.bench.walkin.report import Run, Speeds, as_json, tables
from tests.bench.walkin.seers import Compared, Naive
from tests.bench.walkin.tally import (
    Counts,
    Outcome,
    Told,
    count,
    curve_of,
    extrapolated_threshold,
    missed_at,
    percentile,
)
from tests.support.walkers import RECOGNISED, Door, Scenario, Truth, company_of

TERMS = MatchTerms(false_positives_ppm=3000)
ANNA, BEA, CARL = (MemberId(bytes([number]) * MEMBER_ID_BYTES) for number in (1, 2, 3))
PICTURE = Path("nobody.jpg")


def write_people(folder: Path, sizes: dict[str, int]) -> None:
    for person, pictures in sizes.items():
        (folder / person).mkdir()
        for number in range(1, pictures + 1):
            (folder / person / f"{person}_{number:04}.jpg").touch()


def test_nobody_comes_with_a_picture_they_are_enrolled_with(tmp_path: Path) -> None:
    write_people(tmp_path, {"one": 1, "two": 2, "four": 4, "six": 6, "none": 0})
    roll = roll_of(tmp_path)
    assert [path.parent.name for path in roll.strangers] == ["one"]
    assert sorted((len(one.pictures), len(one.probes)) for one in roll.members) == [(1, 1), (3, 1), (3, 3)]
    for one in roll.members:
        assert not set(one.pictures) & set(one.probes)
    assert len({one.member for one in roll.members}) == 3


def test_every_probe_and_every_stranger_comes_once_and_a_seed_gives_the_same_visits(tmp_path: Path) -> None:
    write_people(tmp_path, {f"m{number}": 4 + number % 3 for number in range(9)} | {f"s{n}": 1 for n in range(12)})
    roll = roll_of(tmp_path)
    cases = cases_of(roll, seed=5)
    assert cases == cases_of(roll, seed=5)
    assert cases != cases_of(roll, seed=6)
    first = [case.visitors[0].picture for case in cases]
    assert sorted(first) == sorted([*(probe for one in roll.members for probe in one.probes), *roll.strangers])
    assert all(len(case.visitors) == company_of(case.scenario) for case in cases)
    for case in cases:
        people = [visitor.picture.parent for visitor in case.visitors]
        assert len(set(people)) == len(people)
        if case.visitors[0].member is None:
            assert all(visitor.member is None for visitor in case.visitors)
            assert case.scenario in RECOGNISED
    assert {case.scenario for case in cases if case.visitors[0].templates == 3} == set(Scenario)
    assert len(cases_of(roll, seed=5, visits=4)) == 8


def case(*members: MemberId | None, scenario: Scenario = Scenario.TWO) -> Case:
    visitors = tuple(Visitor(picture=PICTURE, member=one, templates=3 if one else 0) for one in members)
    return Case(scenario=scenario, visitors=visitors, seed=1)


def ended(*ends: Ended) -> Verdicts:
    verdicts = Verdicts(TERMS)
    verdicts.ended = dict(enumerate(ends))
    verdicts.compared = len(ends)
    return verdicts


RIGHT = Ended(verdict=Match(member=ANNA), at_s=3.0)
WRONG = Ended(verdict=Match(member=CARL), at_s=4.0)
ASKED = Ended(verdict=Ambiguous(members=(BEA, ANNA)), at_s=2.0)
NOBODY = Ended(verdict=NoMatch(), at_s=2.5)


@pytest.mark.parametrize(
    ("visit", "ends", "outcomes"),
    [
        (case(ANNA), [RIGHT], [Outcome.RIGHT]),
        (case(ANNA), [ASKED, RIGHT], [Outcome.RIGHT]),
        (case(ANNA), [ASKED], [Outcome.ASKED]),
        (case(CARL), [ASKED], [Outcome.MISSED]),
        (case(ANNA), [NOBODY], [Outcome.MISSED]),
        (case(ANNA), [RIGHT, WRONG], [Outcome.WRONG]),
        (case(ANNA), [], [Outcome.NOBODY]),
        (case(ANNA, CARL), [RIGHT, WRONG], [Outcome.RIGHT, Outcome.RIGHT]),
        (case(ANNA, BEA), [RIGHT, WRONG], [Outcome.WRONG, Outcome.MISSED]),
        (case(ANNA, None), [RIGHT], [Outcome.RIGHT]),
        (case(ANNA, BEA, CARL), [WRONG], [Outcome.MISSED, Outcome.MISSED]),
        (case(None, None), [NOBODY, NOBODY], [Outcome.NOBODY]),
        (case(None), [ASKED], [Outcome.ASKED]),
        (case(None), [RIGHT], [Outcome.WRONG]),
    ],
)
def test_what_a_visits_end_is_called(visit: Case, ends: list[Ended], outcomes: list[Outcome]) -> None:
    told = list(tell(visit, ended(*ends), [stood(0.5)] * len(visit.visitors)))
    assert [one.outcome for one in told] == outcomes


def test_the_wait_is_from_the_end_of_the_dwell_to_the_verdict() -> None:
    (told,) = tell(case(ANNA), ended(RIGHT), [stood(1.9)])
    assert told.waited_s == pytest.approx(0.6)
    assert told.hidden_s == 0
    (never,) = tell(case(ANNA), ended(RIGHT), [Dwelt()])
    assert never.waited_s is None


def test_of_the_wait_the_part_is_told_in_which_nobody_could_see_them() -> None:
    dwelt = stood(1.9)
    for at_s, seen in [
        (2.5, truth()),
        (2.6, truth(facing=False)),
        (2.8, truth(covered=True)),
        (3.1, truth(facing=False)),
    ]:
        dwelt.see(seen, at_s)
    (told,) = tell(case(ANNA), ended(RIGHT), [dwelt])
    assert told.waited_s == pytest.approx(0.6)
    assert told.hidden_s == pytest.approx(0.3)  # what comes after the verdict is no part of it


def stood(since_s: float) -> Dwelt:
    """Somebody who has stood on the mark for the dwell since then."""
    dwelt = Dwelt()
    for at_s in (since_s, since_s + 0.5):
        dwelt.see(truth(), at_s)
    return dwelt


def compared(track: int, score: float, *, probes: int = 3) -> Compared:
    candidates = (Candidate(member=ANNA, score=score), Candidate(member=BEA, score=0.1))
    comparison = Comparison(candidates=candidates, enrolled=480, probes=probes, cohort_mean=0.0, cohort_deviation=0.09)
    return Compared(track=track, comparison=comparison)


def test_a_track_has_one_verdict_and_a_second_opinion_changes_nothing() -> None:
    verdicts = Verdicts(TERMS)
    assert not verdicts.hear(compared(1, 0.9, probes=1), 1.0)
    assert verdicts.best is None  # one frame is not what a verdict is made from
    assert verdicts.hear(compared(1, 0.9), 2.0)
    assert not verdicts.hear(compared(1, 0.2, probes=8), 3.0)
    assert verdicts.ended == {1: Ended(verdict=Match(member=ANNA), at_s=2.0)}
    assert verdicts.compared == 3
    assert verdicts.best == pytest.approx(0.9 / 0.0909, rel=0.05)


def truth(*, on_mark: bool = True, facing: bool = True, covered: bool = False) -> Truth:
    return Truth(
        who="a", box=(0, 0, 9, 9), eyes=((0, 0), (3, 4)), is_on_mark=on_mark, is_facing=facing, is_covered=covered
    )


def test_the_dwell_begins_anew_after_looking_away_and_is_over_once() -> None:
    assert truth().eyes_apart == 5
    dwelt = Dwelt()
    for at_s, seen in [(0.0, truth()), (0.4, truth(facing=False)), (0.5, truth()), (0.9, truth(covered=True))]:
        dwelt.see(seen, at_s)
    assert dwelt.over_s is None
    for at_s in (1.0, 1.2, 1.5, 1.6):
        dwelt.see(truth(), at_s)
    dwelt.see(truth(on_mark=False), 1.7)
    assert dwelt.over_s == 1.5


def told(outcome: Outcome, deviations: float | None = None, *, templates: int = 3, waited_s: float = 0.3) -> Told:
    return Told(scenario=Scenario.PLAIN, templates=templates, outcome=outcome, deviations=deviations, waited_s=waited_s)


def test_outcomes_are_counted() -> None:
    counts = count([told(Outcome.RIGHT)] * 8 + [told(Outcome.ASKED), told(Outcome.MISSED)])
    assert counts == Counts(right=8, asked=1, missed=1)
    assert (counts.right_share, counts.known_share) == (0.8, 0.9)
    assert math.isnan(Counts().right_share)


def test_percentiles_are_never_below_what_was_measured() -> None:
    assert percentile([1.0, 2.0, 3.0, 9.0], 0.99) == 9.0
    assert math.isnan(percentile([], 0.5))


def test_the_curve_counts_visits_on_both_sides_of_every_threshold() -> None:
    members = [told(Outcome.RIGHT, 8.0), told(Outcome.MISSED, 4.0), told(Outcome.NOBODY)]
    strangers = [told(Outcome.NOBODY, 3.0, templates=0), told(Outcome.NOBODY, 6.0, templates=0)]
    curve = curve_of(members, strangers)
    at_five = curve.thresholds.index(5.0)
    assert curve.missed[at_five] == pytest.approx(2 / 3)
    assert curve.taken[at_five] == 0.5
    assert missed_at(members, 5.0) == pytest.approx(2 / 3)


def test_the_extrapolated_tail_is_the_exponential_one() -> None:
    scores = 4 + 0.3 * -np.log(np.random.default_rng(1).random(20_000))
    strangers = [told(Outcome.NOBODY, float(score), templates=0) for score in scores]
    assert extrapolated_threshold(strangers, 1e-4) == pytest.approx(4 + 0.3 * math.log(1e4), abs=0.1)
    assert math.isnan(extrapolated_threshold(strangers[:1], 1e-4))


def run(visits: tuple[Told, ...]) -> Run:
    speeds = Speeds(
        visitor=0.1,
        standing=0.08,
        empty=0.03,
        codes_ms=9.0,
        two_ms=5.0,
        naive_ms=20.0,
        dlib_ms=None,
        dlib_small_ms=None,
    )
    return Run(
        told=visits,
        enrolled=480,
        false_positives_ppm=3000,
        grant_threshold=6.1,
        ask_threshold=5.0,
        speeds=speeds,
        notes=("dlib was not run",),
    )


def test_the_tables_say_which_bars_are_missed() -> None:
    good = [told(Outcome.RIGHT, 8.0)] * 99 + [told(Outcome.ASKED, 5.5)]
    quiet = [told(Outcome.NOBODY, 3.0, templates=0)] * 30
    members, others, speed = (str(table) for table in tables(run((*good, *quiet))))
    assert "MISSED" not in members + others
    assert "<= 10.00 % at 95 %" in others
    assert [line for line in speed.splitlines() if "MISSED" in line] == [
        line for line in speed.splitlines() if line.startswith("empty door")
    ]
    bad = [*good, told(Outcome.WRONG, 2.0), told(Outcome.WRONG, 7.0, templates=0)]
    assert all("MISSED" in str(table) for table in tables(run(tuple(bad))))
    slow = [told(Outcome.RIGHT, 8.0, waited_s=0.6)] * 100
    assert "MISSED" in str(tables(run((*slow, *quiet)))[0])


def test_the_picture_and_the_json_hold_every_visit_and_no_name() -> None:
    visits = (told(Outcome.RIGHT, 8.0), told(Outcome.NOBODY, 3.0, templates=0))
    picture, text = draw(run(visits)), as_json(run(visits)).decode()
    assert picture.count("<polyline") >= 5
    assert text.count('"outcome"') == 2
    assert "nobody.jpg" not in text + picture


def folders() -> tuple[Path, Path]:
    media, models = os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS")
    if not media or not (Path(media) / "faces").is_dir():
        pytest.skip("DOORSTEP_MEDIA names no folder with faces")
    if not models or Weights(Path(models)).missing():
        pytest.skip("DOORSTEP_MODELS names no folder with every network")
    return Path(media) / "faces", Path(models)


@pytest.mark.slow
def test_a_handful_of_visits_ends_as_it_should() -> None:
    """Sixty members in the gallery; one of them comes, a stranger comes, somebody passes by, somebody holds a code."""
    faces, models = folders()
    cv2.setNumThreads(1)
    roll = roll_of(faces)
    full = [one for one in roll.members if one.is_full][:60]
    with scratch() as folder, opened_bench(Weights(models), full, folder) as bench:
        door = Door(rate_fps=15.0)
        player, reader, naive = (
            Player(door, seer, TERMS) for seer in (Ours(bench), Ours(bench, reads_codes=True), Naive(bench))
        )
        visitors = [Visitor(picture=one.probes[0], member=one.member, templates=3) for one in full[:3]]
        plain = [play(player, Scenario.PLAIN, visitor) for visitor in visitors]
        stranger = play(player, Scenario.PLAIN, Visitor(picture=roll.strangers[0]))
        passing = play(player, Scenario.PASSING, visitors[0])
        holding = play(reader, Scenario.CODE, visitors[0])
        every_frame = naive.play(Case(scenario=Scenario.PASSING, visitors=(visitors[0],), seed=3))
    assert all(one.outcome in (Outcome.RIGHT, Outcome.ASKED) for one in plain)
    assert sum(one.outcome is Outcome.RIGHT for one in plain) >= 2
    assert [one.outcome for one in (stranger, passing, holding)] == [Outcome.NOBODY] * 3
    assert stranger.deviations is not None
    assert (passing.deviations, holding.deviations) == (None, None)
    assert every_frame.compared > 20


def play(player: Player, scenario: Scenario, visitor: Visitor) -> Told:
    seed = int.from_bytes(sha256(visitor.picture.name.encode()).digest()[:4], "big")
    (end,) = player.play(Case(scenario=scenario, visitors=(visitor,), seed=seed)).told
    return end

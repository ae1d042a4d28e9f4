"""The portraits bench on people drawn by chance: its searches are those of the calibration, its halves share nobody."""

import numpy as np
import pytest

from edge.core.match import STRANGERS, Ambiguous, Match, NoMatch, Strangers
from edge.vision.faces.calibration import Sample, draw_split, searched
from tests.bench.portraits import (
    WEIGHTS,
    by,
    chosen_on,
    cosine,
    counted,
    crossed,
    decided,
    halves,
    misses,
    only,
    small_gallery,
    visits,
)


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Sixty people with six pictures, of whom those of one person are not much alike, and 300 with one."""
    random = np.random.default_rng(5)
    people = np.repeat(np.arange(360), [6] * 60 + [1] * 300)
    vectors = random.normal(size=(360, 256))[people] + 1.6 * random.normal(size=(len(people), 256))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Sample(people=people, vectors=vectors.astype(np.float32))


def test_searches_through_the_gallery_score_as_the_calibration_counts_them(sample: Sample) -> None:
    split = draw_split(sample.people, 3, 1, np.random.default_rng(1))
    found = visits(sample, split, 1)
    members = [visit for visit in found if visit.member is not None]
    strangers = [visit for visit in found if visit.member is None]
    for score, normalised, slack in ((cosine, False, 2e-3), (by(STRANGERS), True, 2e-2)):
        expected = searched(sample, split, normalised=normalised)
        best = np.maximum(expected.own, expected.other)
        assert [score(visit) for visit in members] == pytest.approx(best.tolist(), abs=slack)
        assert [score(visit) for visit in strangers] == pytest.approx(expected.strangers.tolist(), abs=slack)
        right = expected.misses(0.01)
        assert right is not None
        assert misses(found, score) == pytest.approx(right, abs=0.03)  # templates of 8 bits move a few over the edge


def test_halves_share_nobody_and_each_has_members_and_strangers(sample: Sample) -> None:
    first = halves(sample, np.random.default_rng(2))
    assert first.sum() == 180
    assert first[:60].sum() == 30
    half = only(sample, first)
    assert half.count == 180
    assert len(half.people) == 30 * 6 + 150


def test_what_is_chosen_on_a_half_is_not_moved_by_the_other(sample: Sample) -> None:
    first = halves(sample, np.random.default_rng(2))
    chosen = chosen_on(sample, first, np.random.default_rng(3))
    assert chosen.weight in WEIGHTS
    assert abs(chosen.mean) < 0.02
    spoiled = sample.vectors.copy()
    spoiled[~first[sample.people]] = sample.vectors[0]
    again = chosen_on(Sample(people=sample.people, vectors=spoiled), first, np.random.default_rng(3))
    assert again == chosen


def test_a_search_is_scored_with_what_the_other_half_chose(sample: Sample) -> None:
    first = halves(sample, np.random.default_rng(2))
    on_first, on_second = (Strangers(mean=mean, deviation=0.1, weight=200) for mean in (0.0, 0.5))
    score = crossed((first, on_first, on_second))
    for visit in visits(sample, draw_split(sample.people, 1, 1, np.random.default_rng(4)), 1)[:40]:
        assert score(visit) == by(on_second if first[visit.person] else on_first)(visit)


def test_verdicts_are_counted_once_each(sample: Sample) -> None:
    found = visits(sample, draw_split(sample.people, 3, 3, np.random.default_rng(6)), 3)
    verdicts = [decided(visit) for visit in found]
    assert {type(verdict) for verdict in verdicts} <= {Match, Ambiguous, NoMatch}
    said = counted(found)
    assert (said.members, said.strangers) == (60, 300)
    assert said.right + said.wrong <= sum(isinstance(verdict, Match) for verdict in verdicts)
    assert said.granted + said.questioned <= said.strangers
    assert said.right > 0


@pytest.mark.parametrize("size", [1, 5])
def test_a_small_gallery_enrols_that_many(sample: Sample, size: int) -> None:
    said = small_gallery(sample, size)
    assert said.members == 20 * size
    assert said.strangers == 20 * 300

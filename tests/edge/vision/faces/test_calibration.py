"""The arithmetic of error rates against brute force, intervals against published values, and every refusal."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.core.match import NORMALISED_FROM, STRANGERS, false_match_rate, pulled
from edge.vision.faces.calibration import (
    BINS,
    BLOCK,
    DEVIATIONS,
    ERRORS_MIN,
    KEPT_SHARE,
    RATE_MAX,
    Accuracy,
    Identification,
    Recommendation,
    Sample,
    Search,
    TooFew,
    accept_rate,
    accuracy,
    beta_distribution,
    beta_quantile,
    binomial_interval,
    binomial_ranks,
    draw_split,
    fused,
    grouped,
    identify,
    in_deviations,
    listed_pairs,
    lowest_rate,
    recommend,
    resampled_interval,
    roc,
    score_pairs,
    searched,
)

SEED = 7


def portraits(people: int, each: int, *, noise: float = 0.7, size: int = 256, seed: int = SEED) -> Sample:
    """People as directions drawn by chance, their pictures scattered about them."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(people), each)
    vectors = random.normal(size=(people, size))[numbers] + noise * random.normal(size=(people * each, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Sample(people=numbers, vectors=vectors.astype(np.float32))


def pairs_by_hand(of: Sample) -> tuple[list[float], list[tuple[float, int, int]]]:
    """Scores of one person's pictures, ascending, and of two people's with the two, descending."""
    same, others = [], []
    for first in range(len(of.people)):
        for second in range(first + 1, len(of.people)):
            score = float(of.vectors[first] @ of.vectors[second])
            one, other = int(of.people[first]), int(of.people[second])
            if one == other:
                same.append(score)
            else:
                others.append((score, one, other))
    return sorted(same), sorted(others, reverse=True)


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_every_pair_counts_once_and_the_highest_are_kept_with_whom_they_are_between() -> None:
    crowd = portraits(90, 3)
    assert len(crowd.people) > BLOCK
    same, others = pairs_by_hand(crowd)
    scores = score_pairs(crowd)
    assert scores.same == pytest.approx(same, abs=1e-5)
    assert scores.comparisons == len(others)
    kept = len(scores.highest)
    assert kept >= KEPT_SHARE * len(others)
    assert scores.highest == pytest.approx([score for score, _, _ in others[:kept]], abs=1e-5)
    assert [tuple(between) for between in scores.between[:20].tolist()] == [pair[1:] for pair in others[:20]]
    assert scores.pictures_of.tolist() == [3] * 90
    mean, deviation = scores.spread
    assert mean == pytest.approx(np.mean([score for score, _, _ in others]), abs=1e-5)
    assert deviation == pytest.approx(np.std([score for score, _, _ in others]), abs=1e-5)


def test_the_order_of_the_pictures_makes_no_difference() -> None:
    crowd = portraits(20, 3)
    shuffled = np.random.default_rng(1).permutation(len(crowd.people))
    mixed = Sample(people=crowd.people[shuffled] * 10, vectors=crowd.vectors[shuffled])
    assert mixed.count == crowd.count == 20
    plain, other = score_pairs(crowd), score_pairs(mixed)
    assert other.same == pytest.approx(plain.same, abs=1e-6)
    assert other.comparisons == plain.comparisons
    assert other.highest == pytest.approx(plain.highest, abs=1e-6)


@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01, 0.003, 0.001])
def test_a_threshold_lets_through_as_many_as_the_rate_allows(rate: float) -> None:
    crowd = portraits(60, 3)
    same, others = pairs_by_hand(crowd)
    threshold = score_pairs(crowd).threshold_at(rate)
    above = sum(score > threshold + 1e-6 for score, _, _ in others)
    step = (
        0 if rate <= KEPT_SHARE else 2 * len(others) * 2 / BINS * 5
    )  # a step of the histogram, where five are as dense
    assert abs(above - int(rate * len(others))) <= step
    accepted = sum(score > threshold for score in same) / len(same)
    assert score_pairs(crowd).true_accepts(threshold) == pytest.approx(accepted, abs=1 / len(same))


def test_a_rate_is_given_from_thirty_expected_errors_on() -> None:
    scores = score_pairs(portraits(30, 2))
    assert scores.comparisons == 1740
    rate = ERRORS_MIN / scores.comparisons
    found = accept_rate(scores, rate)
    assert not isinstance(found, TooFew)
    assert found.true_accepts == scores.true_accepts(found.threshold)
    refused = accept_rate(scores, rate * 0.99)
    assert refused == TooFew(what="pairs of two people", have=1740, need=math.ceil(1740 / 0.99 - 1e-6))
    assert str(refused) == "too few pairs of two people: 1,758 are needed, 1,740 are there"


def test_the_curve_rises_with_the_rate_it_pays() -> None:
    curve = roc(score_pairs(portraits(60, 3, noise=2.5)))
    assert [point.false_accepts for point in curve] == sorted((p.false_accepts for p in curve), reverse=True)
    assert [point.threshold for point in curve] == sorted(point.threshold for point in curve)
    accepts = [point.true_accepts for point in curve]
    assert accepts == sorted(accepts, reverse=True)
    assert accepts[0] > accepts[-1]


# --- deviations -------------------------------------------------------------------------------------------------------


def test_deviations_are_those_the_verdict_sees() -> None:
    random = np.random.default_rng(SEED)
    scores = random.normal(0.05, 0.1, (4, 300)).astype(np.float32)
    out = np.zeros(scores.shape, np.bool_)
    out[1, :3] = True
    found = in_deviations(scores, out, 299)
    for row in range(4):
        rest = sorted(score for place, score in enumerate(scores[row].astype(float)) if not out[row, place])[:-1]
        mean = sum(rest) / len(rest)
        spread = math.sqrt(sum((score - mean) ** 2 for score in rest) / len(rest))
        centre, deviation = pulled(mean, spread, 299)
        assert found[row] == pytest.approx((scores[row] - centre) / deviation, abs=1e-4)


def test_below_fifty_deviations_are_the_cosine_in_another_unit() -> None:
    scores = np.array([[0.5, 0.1, 0.2]], np.float32)
    found = in_deviations(scores, np.zeros(scores.shape, np.bool_), NORMALISED_FROM - 2)
    assert found == pytest.approx((scores - STRANGERS.mean) / STRANGERS.deviation, abs=1e-5)
    alone = in_deviations(scores, np.array([[True, True, False]]), 400)  # nobody left to tell a spread from
    assert alone == pytest.approx(found)


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.30850),  # Clopper and Pearson's own tables and R's binom.test
        (1, 10, 0.00253, 0.44502),
        (5, 10, 0.18709, 0.81291),
        (10, 10, 0.69150, 1.0),
        (0, 700, 0.0, 0.0052560),
        (7, 700, 0.0040299, 0.0204960),
        (30, 1_000_000, 0.0000202410, 0.0000428269),
    ],
)
def test_intervals_are_the_published_ones(errors: int, trials: int, low: float, high: float) -> None:
    assert binomial_interval(errors, trials) == pytest.approx((low, high), rel=2e-4, abs=5e-6 if trials == 10 else 1e-9)


@pytest.mark.parametrize(("errors", "trials"), [(0, 20), (3, 40), (19, 50), (50, 50)])
def test_an_interval_ends_where_the_binomial_sum_says(errors: int, trials: int) -> None:
    low, high = binomial_interval(errors, trials)

    def at_most(count: int, rate: float) -> float:
        return sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1))

    if errors < trials:
        assert at_most(errors, high) == pytest.approx(0.025, rel=1e-6)
    if errors:
        assert 1 - at_most(errors - 1, low) == pytest.approx(0.025, rel=1e-6)


def test_the_rule_of_three_is_what_no_error_says() -> None:
    assert binomial_interval(0, 700, confidence=0.9)[1] == pytest.approx(0.0043, abs=1e-4)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 3.0), (4.0, 7.5), (300.0, 2.0)])
def test_the_beta_distribution_has_its_closed_forms_and_its_mirror(a: float, b: float) -> None:
    for x in (0.1, 0.5, 0.9):
        assert beta_distribution(x, a, b) == pytest.approx(1 - beta_distribution(1 - x, b, a), abs=1e-12)
        assert beta_distribution(x, a, 1.0) == pytest.approx(x**a)
        assert beta_distribution(x, 1.0, b) == pytest.approx(1 - (1 - x) ** b)
    assert beta_distribution(0.0, a, b) == 0.0
    assert beta_distribution(1.0, a, b) == 1.0
    for probability in (0.025, 0.5, 0.975):
        assert beta_distribution(beta_quantile(probability, a, b), a, b) == pytest.approx(probability, rel=1e-6)


def test_ranks_enclose_the_expected_errors() -> None:
    few, many = binomial_ranks(1e-3, 50_000)
    assert few < 50 < many
    assert binomial_interval(few, 50_000)[1] <= 1e-3 < binomial_interval(few + 1, 50_000)[1]
    assert binomial_interval(many, 50_000)[0] >= 1e-3 > binomial_interval(many - 1, 50_000)[0]
    assert binomial_ranks(1e-3, 100)[0] == -1


# --- search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("templates", "frames"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_a_split_uses_no_picture_twice_and_no_stranger_is_enrolled(templates: int, frames: int) -> None:
    people = np.repeat(np.arange(40), [1] * 20 + [2] * 10 + [6] * 10)
    split = draw_split(people, templates, frames, np.random.default_rng(SEED))
    assert len(split.templates) == 20
    assert len(split.strangers) == 20
    used = np.concatenate([*split.templates, *split.probes, *split.strangers])
    assert len(set(used.tolist())) == len(used)
    for probe, member in zip(split.probes, split.members, strict=True):
        assert len(probe) == frames
        assert len(split.templates[member]) == templates
        assert set(people[probe].tolist()) == {int(people[split.templates[member][0]])}
    assert all(people[rows[0]] < 20 for rows in split.strangers)


def test_when_too_few_have_one_picture_a_third_are_held_out_as_strangers() -> None:
    people = np.repeat(np.arange(30), 4)
    split = draw_split(people, 1, 3, np.random.default_rng(SEED))
    assert (len(split.templates), len(split.strangers)) == (20, 10)
    assert all(len(rows) == 3 for rows in split.strangers)
    enrolled = {int(people[rows[0]]) for rows in split.templates}
    assert enrolled.isdisjoint(int(people[rows[0]]) for rows in split.strangers)
    other = draw_split(people, 1, 3, np.random.default_rng(SEED + 1))
    assert enrolled != {int(people[rows[0]]) for rows in other.templates}


def test_misses_are_counted_above_the_score_that_the_allowed_strangers_exceed() -> None:
    strangers = np.linspace(0, 0.99, 100, dtype=np.float32)  # 0.99 the highest, one of a hundred may pass: above 0.98
    search = Search(
        own=np.array([0.99, 0.985, 0.98, 0.5, 0.99], np.float32),
        other=np.array([0.1, 0.2, 0.3, 0.4, 0.995], np.float32),
        strangers=strangers,
    )
    assert search.misses(0.01) == pytest.approx(3 / 5)  # at the threshold, below it, and another member came first
    assert search.misses(0.6) == pytest.approx(1 / 5)
    assert search.misses(0.009) is None
    assert Search(own=np.zeros(0, np.float32), other=np.zeros(0, np.float32), strangers=strangers).misses(0.1) is None


def test_a_search_scores_what_a_loop_does() -> None:
    crowd = portraits(60, 4)
    split = draw_split(crowd.people, 2, 2, np.random.default_rng(SEED))
    found = searched(crowd, split, normalised=False)

    def mean(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        total: NDArray[np.float32] = crowd.vectors[rows].sum(axis=0)
        return total / np.float32(np.linalg.norm(total))

    templates = [mean(rows) for rows in split.templates]
    for place, (rows, member) in enumerate(zip(split.probes, split.members, strict=True)):
        scores = [float(mean(rows) @ template) for template in templates]
        assert found.own[place] == pytest.approx(scores.pop(member), abs=1e-5)
        assert found.other[place] == pytest.approx(max(scores), abs=1e-5)
    best = [max(float(mean(rows) @ template) for template in templates) for rows in split.strangers]
    assert found.strangers == pytest.approx(best, abs=1e-5)


def test_more_pictures_miss_less_and_the_same_seed_says_the_same() -> None:
    crowd = portraits(80, 6, noise=2.5)
    runs = {
        (templates, frames): identify(
            crowd, templates=templates, frames=frames, rates=(0.05, 1e-4), splits=3, seed=SEED
        )
        for templates, frames in ((1, 1), (3, 1), (3, 3))
    }
    misses = []
    for run in runs.values():
        assert isinstance(run, Identification)
        at_five, at_none = run.cosine
        assert at_none.misses is None
        assert at_five.misses is not None
        misses.append(at_five.misses)
        assert (run.enrolled, run.stranger_searches, run.splits) == (54, 26, 3)
    assert misses[0] > misses[1] > misses[2]
    again = identify(crowd, templates=1, frames=1, rates=(0.05, 1e-4), splits=3, seed=SEED)
    assert isinstance(again, Identification)
    first = runs[1, 1]
    assert isinstance(first, Identification)
    assert (again.normalised, again.cosine) == (first.normalised, first.cosine)


def test_nobody_with_enough_pictures_is_said_with_how_many_it_takes() -> None:
    refused = identify(portraits(20, 3), templates=3, frames=3, rates=(0.01,), splits=2, seed=SEED)
    assert isinstance(refused, TooFew)
    assert (refused.have, refused.need) == (3, 6)


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_a_recommended_threshold_lets_through_the_wanted_rate_of_other_people() -> None:
    """Set on some people, met by others: independent directions, so that one comparison is like any other."""
    found = recommend(portraits(400, 2), frames=1, false_positives=0.05, enrolled=100, seed=SEED)
    assert isinstance(found, Recommendation)
    assert found.false_matches == pytest.approx(false_match_rate(0.05, 100))
    assert found.comparisons == 400 * 399 // 2 * 4
    assert found.errors == int(found.false_matches * found.comparisons)
    assert found.binomial.low <= found.threshold <= found.binomial.high
    assert found.resampled.low <= found.threshold <= found.resampled.high
    fresh = score_pairs(portraits(400, 2, seed=SEED + 1), 99)
    rate = float(np.sum(fresh.highest > found.threshold)) / fresh.comparisons
    assert rate == pytest.approx(found.false_matches, rel=0.35)


def test_a_threshold_from_too_few_comparisons_is_refused_with_how_many_it_takes() -> None:
    for frames, what in ((1, "pairs of two people"), (3, "pairs of two people with 3 pictures each")):
        refused = recommend(portraits(60, 3), frames=frames, false_positives=0.003, enrolled=480, seed=SEED)
        have = 60 * 59 // 2 * (9 if frames == 1 else 1)
        assert refused == TooFew(what=what, have=have, need=math.ceil(ERRORS_MIN / false_match_rate(0.003, 480)))


def test_thirty_errors_are_enough_and_one_fewer_is_not() -> None:
    crowd = portraits(60, 2)
    comparisons = 60 * 59 // 2 * 4
    assert isinstance(
        recommend(crowd, frames=1, false_positives=30.01 / comparisons, enrolled=1, seed=SEED), Recommendation
    )
    assert isinstance(recommend(crowd, frames=1, false_positives=29.9 / comparisons, enrolled=1, seed=SEED), TooFew)


@pytest.mark.parametrize(("comparisons", "enrolled"), [(7_080, 1), (7_080, 50), (2_600_000, 480)])
def test_the_lowest_rate_that_comparisons_carry_is_the_one_refused_below(comparisons: int, enrolled: int) -> None:
    lowest = lowest_rate(comparisons, enrolled)
    assert lowest is not None
    assert false_match_rate(lowest, enrolled) * comparisons == pytest.approx(ERRORS_MIN)
    assert lowest_rate(int(ERRORS_MIN / RATE_MAX), enrolled) is not None
    assert lowest_rate(int(ERRORS_MIN / RATE_MAX) - 1, enrolled) is None


def test_people_who_score_high_with_everybody_widen_the_interval() -> None:
    """Errors that belong to a few people say less than as many spread over all."""
    crowd = portraits(200, 2)
    common = np.random.default_rng(SEED).normal(size=256).astype(np.float32) / 16

    def leaning(share: NDArray[np.float64]) -> Sample:
        vectors = crowd.vectors + share[crowd.people, None].astype(np.float32) * common
        return Sample(people=crowd.people, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    plain = score_pairs(leaning(np.zeros(200)))
    wide = score_pairs(leaning(np.where(np.arange(200) < 3, 1.5, 0.3)))
    width = {}
    for name, scores in (("plain", plain), ("hubs", wide)):
        interval = resampled_interval(scores, 1e-3, np.random.default_rng(SEED))
        assert interval.low <= scores.threshold_at(1e-3) <= interval.high
        width[name] = interval.high - interval.low
    assert width["hubs"] > 1.5 * width["plain"]


def test_pictures_are_fused_in_whole_groups_of_one_person() -> None:
    crowd = portraits(3, 5)
    assert grouped(crowd, 1) is crowd
    pairs = grouped(crowd, 2)
    assert pairs.people.tolist() == [0, 0, 1, 1, 2, 2]
    expected = crowd.vectors[0] + crowd.vectors[1]
    assert pairs.vectors[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert fused(crowd.vectors, ()).shape == (0, 256)


# --- pairs of a list --------------------------------------------------------------------------------------------------


def test_accuracy_is_taken_at_the_threshold_best_for_the_other_folds() -> None:
    scores = np.array([0.9, 0.8, 0.1, 0.2, 0.9, 0.3, 0.1, 0.2], np.float32)
    same = np.array([True, True, False, False] * 2)
    folds = np.repeat([0, 1], 4)
    # the first fold's threshold comes from the second (0.25: one person at 0.3), the second's from the first (0.5)
    assert accuracy(scores, same, folds) == Accuracy(mean=0.9375 - 0.0625, deviation=0.125, folds=2, pairs=8)
    assert accuracy(scores, same, np.zeros(8, np.intp)) == TooFew(what="folds with pictures", have=1, need=2)


def test_a_list_counts_its_own_pairs_only() -> None:
    scores = np.array([0.9, 0.1, 0.3, 0.7, 0.2], np.float32)
    listed = listed_pairs(scores, np.array([True, False, False, True, False]))
    assert listed.same == pytest.approx([0.7, 0.9])
    assert listed.highest == pytest.approx([0.3, 0.2, 0.1])
    assert listed.comparisons == 3
    assert listed.threshold_at(0.34) == pytest.approx(0.2)
    assert listed.true_accepts(0.8) == 0.5


def test_scores_beyond_the_histogram_count_at_its_ends() -> None:
    assert DEVIATIONS[1] * STRANGERS.deviation > 1.0 + STRANGERS.mean

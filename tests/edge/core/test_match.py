"""Who is granted, asked or nobody: small and large galleries, every edge, twins, and the laws between."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.match import (
    ASKED_MAX,
    BUDGET_MAX,
    CANDIDATES_MAX,
    COHORT_MAX,
    FALSE_MATCH_MAX,
    FUSED,
    LEAD_MIN,
    NORMALISED_FROM,
    ONE_PROBE,
    PROBES_MAX,
    PROBES_MIN,
    STRANGERS,
    Ambiguous,
    Candidate,
    Comparison,
    Match,
    MatchTerms,
    NoMatch,
    NotYet,
    ask_threshold,
    decide_match,
    deviations,
    false_match_rate,
    grant_threshold,
    pulled,
    required_deviations,
)
from shared.ids import MemberId

MEMBERS = tuple(MemberId(letter * 10) for letter in (b"a", b"b", b"c", b"d", b"e"))
ANNA, BERT, CARLA, DINO, ELSA = MEMBERS
TERMS = MatchTerms(false_positives_ppm=3000)


def compared(*scores: float, enrolled: int = 480, probes: int = PROBES_MAX) -> Comparison:
    """The best of a gallery whose other members score as strangers do."""
    candidates = tuple(Candidate(member=member, score=score) for member, score in zip(MEMBERS, scores, strict=False))
    mean, deviation = (STRANGERS.mean, STRANGERS.deviation) if enrolled > 2 else (0.0, 0.0)
    return Comparison(
        candidates=candidates, enrolled=enrolled, probes=probes, cohort_mean=mean, cohort_deviation=deviation
    )


def cosine(threshold: float) -> float:
    return STRANGERS.mean + STRANGERS.deviation * threshold


@pytest.mark.parametrize(
    ("enrolled", "probes", "granted", "asked"),
    [  # cosines; a table over all of LFW asks for 0.44 in one comparison, about 0.54 in a thousand, 0.60 in ten
        (1, 1, 0.443, 0.355),
        (1, 3, 0.480, 0.373),
        (5, 3, 0.480, 0.373),
        (50, 1, 0.462, 0.355),
        (50, 3, 0.498, 0.373),
        (480, 1, 0.540, 0.433),
        (480, 3, 0.573, 0.4685),
        (1_000, 3, 0.593, 0.497),
        (10_000, 3, 0.656, 0.573),
        (100_000, 3, 0.716, 0.637),
    ],
)
def test_what_a_gallery_asks_for_at_three_strangers_in_a_thousand(
    enrolled: int, probes: int, granted: float, asked: float
) -> None:
    assert cosine(grant_threshold(TERMS, enrolled=enrolled, probes=probes)) == pytest.approx(granted, abs=5e-4)
    assert cosine(ask_threshold(TERMS, enrolled=enrolled, probes=probes)) == pytest.approx(asked, abs=5e-4)


@pytest.mark.parametrize("enrolled", [1, 5, 49, 50, 480, 100_000])
def test_a_member_is_granted_from_the_threshold_on(enrolled: int) -> None:
    edge = cosine(grant_threshold(TERMS, enrolled=enrolled, probes=PROBES_MIN))
    assert decide_match(compared(edge + 1e-9, enrolled=enrolled, probes=PROBES_MIN), TERMS) == Match(member=ANNA)
    assert decide_match(compared(edge - 1e-9, enrolled=enrolled, probes=PROBES_MIN), TERMS) == NotYet()


@pytest.mark.parametrize("enrolled", [1, 5, 49, 50, 480, 100_000])
def test_between_the_thresholds_a_person_is_asked_when_no_more_frames_come(enrolled: int) -> None:
    grant = cosine(grant_threshold(TERMS, enrolled=enrolled, probes=PROBES_MAX))
    ask = cosine(ask_threshold(TERMS, enrolled=enrolled, probes=PROBES_MAX))
    assert decide_match(compared(grant - 1e-9, enrolled=enrolled), TERMS) == Ambiguous(members=(ANNA,))
    assert decide_match(compared(ask + 1e-9, enrolled=enrolled), TERMS) == Ambiguous(members=(ANNA,))
    assert decide_match(compared(ask - 1e-9, enrolled=enrolled), TERMS) == NoMatch()


@pytest.mark.parametrize(
    ("probes", "verdict"),
    [
        (1, NotYet()),
        (PROBES_MIN - 1, NotYet()),
        (PROBES_MIN, Match(member=ANNA)),
        (PROBES_MAX + 1, Match(member=ANNA)),
    ],
)
def test_too_few_frames_name_nobody(probes: int, verdict: Match | NotYet) -> None:
    assert decide_match(compared(0.9, probes=probes), TERMS) == verdict


@pytest.mark.parametrize("probes", [PROBES_MIN, PROBES_MAX - 1])
def test_anything_short_of_a_match_waits_for_more_frames(probes: int) -> None:
    for score in (0.1, 0.5):
        assert decide_match(compared(score, probes=probes), TERMS) == NotYet()
    assert decide_match(compared(0.8, 0.79, probes=probes), TERMS) == NotYet()


def test_who_stood_there_for_long_enough_is_told_with_fewer_frames() -> None:
    few, fewer = (compared(0.5, probes=probes) for probes in (PROBES_MIN, PROBES_MIN - 1))
    assert decide_match(few, TERMS) == NotYet()
    assert decide_match(replace(few, is_last=True), TERMS) == Ambiguous(members=(ANNA,))
    assert decide_match(replace(compared(0.1, probes=PROBES_MIN), is_last=True), TERMS) == NoMatch()
    assert decide_match(replace(fewer, is_last=True), TERMS) == NotYet()


def test_single_pictures_can_be_judged_when_asked_for() -> None:
    offline = MatchTerms(false_positives_ppm=3000, probes_min=1, probes_max=1)
    assert decide_match(compared(0.56, probes=1), offline) == Match(member=ANNA)
    assert decide_match(compared(0.56, probes=3), offline) == Ambiguous(members=(ANNA,))
    assert decide_match(compared(0.5, probes=1), offline) == Ambiguous(members=(ANNA,))
    assert decide_match(compared(0.3, probes=1), offline) == NoMatch()


def test_twins_are_both_asked_however_sure_the_score() -> None:
    lead = LEAD_MIN * STRANGERS.deviation
    assert decide_match(compared(0.85, 0.85 - lead + 1e-9), TERMS) == Ambiguous(members=(ANNA, BERT))
    assert decide_match(compared(0.85, 0.85 - lead - 1e-9), TERMS) == Match(member=ANNA)


def test_twins_at_the_edge_are_both_asked_though_one_of_them_alone_would_be_nobody() -> None:
    terms = MatchTerms(false_positives_ppm=int(BUDGET_MAX * 1e6))  # both thresholds follow the same budget
    edge = cosine(grant_threshold(terms, enrolled=100_000, probes=PROBES_MAX)) + 1e-9
    second = edge - 0.5 * LEAD_MIN * STRANGERS.deviation
    assert decide_match(compared(second, enrolled=100_000), terms) == NoMatch()
    assert decide_match(compared(edge, second, enrolled=100_000), terms) == Ambiguous(members=(ANNA, BERT))


def test_a_question_names_only_those_it_may_be_and_at_most_four() -> None:
    assert len(MEMBERS) == CANDIDATES_MAX
    assert decide_match(compared(0.55, 0.54, 0.2, 0.1, 0.0), TERMS) == Ambiguous(members=(ANNA, BERT))
    verdict = decide_match(compared(0.55, 0.54, 0.53, 0.52, 0.51), TERMS)
    assert verdict == Ambiguous(members=(ANNA, BERT, CARLA, DINO))
    assert isinstance(verdict, Ambiguous)
    assert len(verdict.members) == ASKED_MAX


@pytest.mark.parametrize("probes", [1, PROBES_MAX])
def test_an_empty_gallery_knows_nobody_at_once(probes: int) -> None:
    assert decide_match(compared(enrolled=0, probes=probes), TERMS) == NoMatch()


def test_a_score_that_is_no_number_is_nobody() -> None:
    assert decide_match(compared(math.nan), TERMS) == NoMatch()


def test_no_budget_grants_nobody_and_asks_nobody() -> None:
    for enrolled in (1, 480):
        assert decide_match(compared(1.0, enrolled=enrolled), MatchTerms(false_positives_ppm=0)) == NoMatch()


def test_one_comparison_may_err_as_often_as_the_budget_and_of_many_only_a_part() -> None:
    assert false_match_rate(0.003, 1) == pytest.approx(0.003)
    rate = false_match_rate(0.003, 480)
    assert 1 - (1 - rate) ** 480 == pytest.approx(0.003)
    assert false_match_rate(1.0, 10) == false_match_rate(BUDGET_MAX, 10)


def test_a_small_gallery_or_a_large_budget_buys_no_laxer_threshold() -> None:
    strictest = required_deviations(FALSE_MATCH_MAX, PROBES_MIN)
    assert grant_threshold(TERMS, enrolled=1, probes=PROBES_MIN) == strictest
    assert grant_threshold(MatchTerms(false_positives_ppm=1_000_000), enrolled=480, probes=PROBES_MIN) == strictest


@pytest.mark.parametrize(("curve", "probes"), [(ONE_PROBE, 1), (FUSED, 2), (FUSED, PROBES_MIN)])
def test_the_curve_goes_through_its_points_straight_between_them_and_on_beyond_them(
    curve: tuple[tuple[float, float], ...], probes: int
) -> None:
    for power, value in curve:
        assert required_deviations(10**power, probes) == pytest.approx(value)
    (first, low), (second, high) = curve[:2]
    assert required_deviations(10 ** ((first + second) / 2), probes) == pytest.approx((low + high) / 2)
    (_, before), (last, end) = curve[-2:]
    assert required_deviations(10 ** (last - 1), probes) == pytest.approx(end + (end - before))
    assert required_deviations(1.0, probes) < low


def test_from_fifty_enrolled_the_score_is_measured_against_the_gallery() -> None:
    """Somebody whom everybody resembles needs more than somebody whom nobody does; below fifty the cosine decides."""
    crowd = replace(compared(0.6, enrolled=480), cohort_mean=0.2, cohort_deviation=0.12)
    assert deviations(0.6, crowd) < deviations(0.6, compared(0.6, enrolled=480))
    few = replace(crowd, enrolled=NORMALISED_FROM - 1)
    assert deviations(0.6, few) == pytest.approx((0.6 - STRANGERS.mean) / STRANGERS.deviation)
    assert deviations(0.6, replace(few, enrolled=NORMALISED_FROM)) != deviations(0.6, few)


def test_a_small_cohort_says_little_and_a_large_one_almost_all() -> None:
    assert pulled(0.1, 0.2, 0) == pytest.approx((STRANGERS.mean, STRANGERS.deviation))
    mean, deviation = pulled(0.1, 0.2, 200)  # as many as the portraits count for
    assert mean == pytest.approx((0.1 + STRANGERS.mean) / 2)
    assert deviation == pytest.approx(math.sqrt((0.2**2 + STRANGERS.deviation**2) / 2))
    assert pulled(0.1, 0.2, 10**9) == pytest.approx((0.1, 0.2))


def test_a_gallery_beyond_the_sample_counts_as_the_sample() -> None:
    sampled = replace(compared(0.6, enrolled=COHORT_MAX + 1), cohort_mean=0.05, cohort_deviation=0.11)
    assert deviations(0.6, sampled) == deviations(0.6, replace(sampled, enrolled=100_000))


SCORES = st.lists(st.floats(min_value=-1, max_value=1), min_size=1, max_size=CANDIDATES_MAX).map(
    lambda scores: sorted(scores, reverse=True)
)
PPM = st.integers(min_value=0, max_value=1_000_000)
ENROLLED = st.integers(min_value=1, max_value=1_000_000)
PROBES = st.integers(min_value=1, max_value=2 * PROBES_MAX)
RANK = {NotYet: 0, NoMatch: 0, Ambiguous: 1, Match: 2}


@given(scores=SCORES, ppm=PPM, more=PPM, enrolled=ENROLLED, probes=PROBES)
def test_a_larger_budget_never_makes_less_of_somebody(
    scores: list[float], ppm: int, more: int, enrolled: int, probes: int
) -> None:
    low, high = sorted((ppm, more))
    comparison = compared(*scores, enrolled=enrolled, probes=probes)
    narrow = decide_match(comparison, MatchTerms(false_positives_ppm=low))
    wide = decide_match(comparison, MatchTerms(false_positives_ppm=high))
    assert RANK[type(wide)] >= RANK[type(narrow)]
    if isinstance(narrow, Match):
        assert wide == narrow


@given(ppm=PPM, enrolled=ENROLLED, more=ENROLLED, probes=PROBES)
def test_a_larger_gallery_never_lowers_a_threshold(ppm: int, enrolled: int, more: int, probes: int) -> None:
    few, many = sorted((enrolled, more))
    terms = MatchTerms(false_positives_ppm=ppm)
    for threshold in (grant_threshold, ask_threshold):
        low, high = (threshold(terms, enrolled=size, probes=probes) for size in (few, many))
        assert low <= high or low == pytest.approx(high, abs=1e-9)


@given(ppm=PPM, enrolled=ENROLLED, probes=PROBES)
def test_asking_is_never_harder_than_granting_and_fused_probes_need_no_less(
    ppm: int, enrolled: int, probes: int
) -> None:
    terms = MatchTerms(false_positives_ppm=ppm)
    grant = grant_threshold(terms, enrolled=enrolled, probes=probes)
    assert ask_threshold(terms, enrolled=enrolled, probes=probes) <= grant
    assert grant_threshold(terms, enrolled=enrolled, probes=1) <= grant


@given(scores=SCORES, ppm=PPM, enrolled=ENROLLED, probes=PROBES)
def test_whoever_is_named_leads_the_comparison(scores: list[float], ppm: int, enrolled: int, probes: int) -> None:
    verdict = decide_match(compared(*scores, enrolled=enrolled, probes=probes), MatchTerms(false_positives_ppm=ppm))
    if isinstance(verdict, Match):
        assert verdict.member == ANNA
        assert probes >= PROBES_MIN
    if isinstance(verdict, Ambiguous):
        assert verdict.members == MEMBERS[: len(verdict.members)]
        assert 1 <= len(verdict.members) <= min(ASKED_MAX, len(scores))
        assert probes >= PROBES_MAX

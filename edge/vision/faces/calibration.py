"""How often faces are mixed up and missed, measured on pictures of known people, and the threshold that follows.

For a technician with pictures, not for the door. Everything is counted on scores the product itself would see: cosines,
and deviations as `edge.core.match` makes them. A rate is only given where the comparisons carry it: by the rule of
thirty, a rate is known to a third of itself, nine times in ten, once thirty errors have been seen (Doddington et al.,
The NIST speaker recognition evaluation, 2000), and a threshold is recommended from no fewer.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.match import COHORT_MAX, NORMALISED_FROM, STRANGERS, false_match_rate, pulled

ERRORS_MIN: Final = 30
CONFIDENCE: Final = 0.95
BINS: Final = 1 << 14
"""Of a histogram of scores: a step of 0.00012 in cosine, 0.0015 in deviations."""
COSINES: Final = (-1.0, 1.0)
DEVIATIONS: Final = (-12.0, 12.0)
KEPT_SHARE: Final = 2e-2
KEPT_MAX: Final = 2_000_000
"""Highest scores of two people kept one by one, for thresholds; a door has none laxer than one in a hundred."""
RATE_MAX: Final = KEPT_SHARE / 2
"""No laxer threshold is recommended: it is found among the scores kept, its interval included."""
BLOCK: Final = 256
"""Probes compared at a time: with 13,000 pictures 13 MB of scores."""
RESAMPLES: Final = 400
"""Of the bootstrap: its 2.5 % ends rest on ten of them."""
HELD_OUT: Final = 3
"""One person in so many is a stranger in each split, when too few people have one picture only."""

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Pictures of people as numbers. Shape and dtype: people (n,) intp; vectors (n, 256) float32 of length 1."""

    people: NDArray[np.intp]
    vectors: NDArray[np.float32]

    @property
    def count(self) -> int:
        """People."""
        return len(np.unique(self.people))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairScores:
    """What the pictures scored with each other, each pair once, the earlier picture as the probe.

    `same` are all scores of one person with themselves, ascending. `others` counts the scores of two people in BINS
    steps over `bounds`. `highest` are the highest of those, descending, at most KEPT_SHARE of them, with the two people
    of each in `between`. Shape and dtype: same (s,) float32; others (BINS,) int64; highest (h,) float32; between (h, 2)
    intp; pictures_of (people,) int64, pictures of each person.
    """

    bounds: tuple[float, float]
    same: Scores
    others: NDArray[np.int64]
    highest: Scores
    between: NDArray[np.intp]
    pictures_of: NDArray[np.int64]

    @property
    def comparisons(self) -> int:
        """Scores of two people."""
        return int(self.others.sum())

    @property
    def spread(self) -> tuple[float, float]:
        """Mean and deviation of the scores of two people, to a part of the histogram's step."""
        low, high = self.bounds
        centres = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
        mean = float(np.average(centres, weights=self.others))
        return mean, math.sqrt(float(np.average((centres - mean) ** 2, weights=self.others)))

    def threshold_at(self, rate: float) -> float:
        """The score that no more than `rate` of the comparisons between two people exceed, to a step of the histogram
        when it lies below the kept ones."""
        allowed = int(rate * self.comparisons + 1e-9)
        if allowed < len(self.highest):
            return float(self.highest[allowed])
        above = np.cumsum(self.others[::-1])
        low, high = self.bounds
        steps = int(np.searchsorted(above, allowed, side="right"))
        return high - steps * (high - low) / BINS

    def true_accepts(self, threshold: float) -> float:
        """The share of one person's scores with themselves above the threshold, from 0 to 1."""
        return 1 - float(np.searchsorted(self.same, threshold, side="right")) / max(1, len(self.same))


def listed_pairs(scores: Scores, same: NDArray[np.bool_]) -> PairScores:
    """What the pairs of a list scored. Shape and dtype: (pairs,) float32 cosines and bool, True for one person."""
    others = scores[~same]
    return PairScores(
        bounds=COSINES,
        same=np.sort(scores[same]),
        others=np.bincount(_steps(others, COSINES), minlength=BINS),
        highest=np.sort(others)[::-1],
        between=np.zeros((len(others), 2), np.intp),
        pictures_of=np.zeros(1, np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Block:
    """The scores of some probes with every later picture. Shape: scores, same and different (probes, pictures)."""

    first: int
    scores: Scores
    same: NDArray[np.bool_]
    different: NDArray[np.bool_]


def score_pairs(sample: Sample, cohort: int | None = None) -> PairScores:
    """Every picture against every other; in deviations as against a gallery with `cohort` others, without it in
    cosines.

    Goes through the pictures twice: the first time says from which score on the highest are worth keeping.
    """
    order = np.argsort(sample.people, kind="stable")
    people = np.unique(sample.people[order], return_inverse=True)[1]
    vectors, bounds = sample.vectors[order], COSINES if cohort is None else DEVIATIONS
    others, same = np.zeros(BINS, np.int64), [np.zeros(0, np.float32)]
    for block in _blocks(people, vectors, cohort):
        same.append(block.scores[block.same])
        others += np.bincount(_steps(block.scores[block.different], bounds), minlength=BINS)
    kept = min(KEPT_MAX, math.ceil(KEPT_SHARE * int(others.sum())))
    lowest = int(np.searchsorted(-np.cumsum(others[::-1])[::-1], -kept, side="right")) - 1
    highest, between = [np.zeros(0, np.float32)], [np.zeros((0, 2), np.intp)]
    for block in _blocks(people, vectors, cohort):
        chosen = block.different & (_steps(block.scores, bounds) >= lowest)
        row, column = np.nonzero(chosen)
        highest.append(block.scores[chosen])
        between.append(np.stack([people[row + block.first], people[column]], axis=1))
    falling = np.argsort(-np.concatenate(highest), kind="stable")
    return PairScores(
        bounds=bounds,
        same=np.sort(np.concatenate(same)),
        others=others,
        highest=np.concatenate(highest)[falling],
        between=np.concatenate(between)[falling],
        pictures_of=np.bincount(people).astype(np.int64),
    )


def _blocks(people: NDArray[np.intp], vectors: NDArray[np.float32], cohort: int | None) -> Iterator[_Block]:
    for first in range(0, len(people), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(people)))
        scores = np.asarray(vectors[rows] @ vectors.T, np.float32)
        alike = people[rows][:, None] == people[None, :]
        if cohort is not None:
            scores = in_deviations(scores, alike, cohort)
        later = np.arange(len(people))[None, :] > rows[:, None]
        yield _Block(first=first, scores=scores, same=alike & later, different=~alike & later)


def _steps(scores: Scores, bounds: tuple[float, float]) -> NDArray[np.int64]:
    low, high = bounds
    return np.asarray(np.clip((scores - low) * (BINS / (high - low)), 0, BINS - 1), np.int64)


def in_deviations(scores: Scores, left_out: NDArray[np.bool_], cohort: int) -> Scores:
    """Cosines of probes as deviations above strangers, the way the verdict has them at a gallery with `cohort` others.

    The spread of a row comes from its scores but the `left_out` ones and the best of the rest. Shape and dtype: scores
    and left_out (probes, templates); returns (probes, templates) float32.
    """
    if cohort + 1 < NORMALISED_FROM:
        return np.asarray((scores - STRANGERS.mean) / STRANGERS.deviation, np.float32)
    result = np.empty_like(scores, np.float32)
    for row, (own, out) in enumerate(zip(scores, left_out, strict=True)):
        strangers = own[~out].astype(np.float64)
        if len(strangers) > 2:
            strangers = np.delete(strangers, strangers.argmax())
            mean, deviation = pulled(float(strangers.mean()), float(strangers.std()), min(cohort, COHORT_MAX))
        else:
            mean, deviation = STRANGERS.mean, STRANGERS.deviation
        result[row] = (own - mean) / deviation
    return result


# --- what many errors, or few, say about a rate -----------------------------------------------------------------------


def binomial_interval(errors: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between which rates the true one lies, `confidence` of the time, when `errors` of `trials` went wrong.

    Source: Clopper and Pearson, Biometrika 26, 1934: quantiles of two beta distributions.
    """
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, errors, trials - errors + 1) if errors else 0.0
    high = beta_quantile(1 - tail, errors + 1, trials - errors) if errors < trials else 1.0
    return low, high


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The value below which a beta variable lies with `probability`, to a relative 10^-9 by halving."""
    low, high = 0.0, 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if beta_distribution(middle, a, b) < probability else (low, middle)
    return (low + high) / 2


def beta_distribution(x: float, a: float, b: float) -> float:
    """The probability that a beta variable is at most x: the regularised incomplete beta function.

    Source: the continued fraction DLMF 8.17.22, by Lentz's method; it converges fast below the mean, and the other
    side is its mirror image.
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_distribution(1 - x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    upper, lower = 1.0, 1 / (_not_zero(1 - (a + b) * x / (a + 1), tiny))
    value = lower
    for step in range(1, 10_000):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for numerator in (even, odd):
            lower = 1 / _not_zero(1 + numerator * lower, tiny)
            upper = _not_zero(1 + numerator / upper, tiny)
            value *= upper * lower
        if abs(upper * lower - 1) < 1e-14:
            break
    return math.exp(scale) * value / a


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


# --- verification: is this the one it is said to be? ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRate:
    """How many of one person's pairs are accepted where two people's are `false_accepts` of the time; `threshold` is
    the score."""

    false_accepts: float
    threshold: float
    true_accepts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFew:
    """Why a rate or threshold is not given: so many were there where so many are needed."""

    what: str
    have: int
    need: int

    def __str__(self) -> str:
        """One line for a person."""
        return f"too few {self.what}: {self.need:,} are needed, {self.have:,} are there"


def accept_rate(scores: PairScores, false_accepts: float) -> AcceptRate | TooFew:
    """What is accepted at the rate, when there are the comparisons to know it."""
    if not len(scores.same):
        return TooFew(what="pairs of one person", have=0, need=1)
    need = math.ceil(ERRORS_MIN / false_accepts - 1e-6)
    if scores.comparisons < need:
        return TooFew(what="pairs of two people", have=scores.comparisons, need=need)
    threshold = scores.threshold_at(false_accepts)
    return AcceptRate(false_accepts=false_accepts, threshold=threshold, true_accepts=scores.true_accepts(threshold))


def roc(scores: PairScores) -> tuple[AcceptRate, ...]:
    """The curve, four points a power of ten, down to the smallest rate that is no single comparison."""
    powers = np.arange(0, math.log10(max(2, scores.comparisons)), 0.25)
    rates = [10.0 ** -float(power) for power in powers[1:]]
    thresholds = [scores.threshold_at(rate) for rate in rates]
    return tuple(
        AcceptRate(false_accepts=rate, threshold=threshold, true_accepts=scores.true_accepts(threshold))
        for rate, threshold in zip(rates, thresholds, strict=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of pairs judged rightly, mean and deviation over the folds, each at the threshold best for the
    others."""

    mean: float
    deviation: float
    folds: int
    pairs: int


def accuracy(scores: Scores, same: NDArray[np.bool_], folds: NDArray[np.intp]) -> Accuracy | TooFew:
    """LFW's figure. Shape: (pairs,) each."""
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return TooFew(what="folds with pictures", have=len(numbers), need=2)
    rates = []
    for number in numbers:
        tested = folds == number
        threshold = _best_threshold(scores[~tested], same[~tested])
        rates.append(float(np.mean((scores[tested] > threshold) == same[tested])))
    return Accuracy(mean=float(np.mean(rates)), deviation=float(np.std(rates)), folds=len(numbers), pairs=len(scores))


def _best_threshold(scores: Scores, same: NDArray[np.bool_]) -> float:
    """The score above which taking a pair for one person errs least."""
    rising = np.argsort(scores, kind="stable")
    ordered = same[rising]
    errors = np.cumsum(np.append(0, ordered)) + np.sum(~ordered) - np.cumsum(np.append(0, ~ordered))
    place = int(np.argmin(errors))
    edges = np.concatenate([[-2.0], scores[rising].astype(np.float64), [2.0]])
    return float((edges[place] + edges[place + 1]) / 2)


# --- identification: who is this? -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """What searches scored: of members their own template and the best of the others, of strangers the best.

    Shape and dtype: own, other (member searches,) and strangers (stranger searches,) float32.
    """

    own: Scores
    other: Scores
    strangers: Scores

    def misses(self, false_positives: float) -> float | None:
        """The share of members who are not found first and above the threshold that `false_positives` of the
        strangers exceed; None when that is less than one stranger."""
        allowed = int(false_positives * len(self.strangers) + 1e-9)
        if allowed < 1 or not len(self.own):
            return None
        threshold = np.sort(self.strangers)[::-1][min(allowed, len(self.strangers) - 1)]
        return 1 - float(np.mean((self.own > threshold) & (self.own > self.other)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Who is enrolled and who searches, drawn by chance.

    Rows of the sample: `templates` fused to one a member, `probes` fused to one a search of the member of `members`,
    `strangers` fused to one a search.
    """

    templates: tuple[NDArray[np.intp], ...]
    probes: tuple[NDArray[np.intp], ...]
    members: NDArray[np.intp]
    strangers: tuple[NDArray[np.intp], ...]


def draw_split(people: NDArray[np.intp], templates: int, frames: int, random: np.random.Generator) -> Split:
    """Everybody with two pictures or more enrolled with up to `templates` of them, searched with the rest in groups of
    `frames`; strangers are the people with one picture, or a HELD_OUT part of all when those are fewer than that.

    Members with too few pictures for both stay in the gallery and are not searched. Strangers search once, with up to
    `frames` pictures.
    """
    rows = [random.permutation(np.flatnonzero(people == person)) for person in np.unique(people)]
    single = [own for own in rows if len(own) == 1]
    several = [own for own in rows if len(own) > 1]
    if HELD_OUT * len(single) < len(rows):
        held = set(random.permutation(len(several))[: len(rows) // HELD_OUT].tolist())
        single = single + [own for place, own in enumerate(several) if place in held]
        several = [own for place, own in enumerate(several) if place not in held]
    enrolled, probes, members = [], [], []
    for member, own in enumerate(several):
        count = min(templates, max(1, len(own) - frames))
        enrolled.append(own[:count])
        if count == templates:
            groups = [own[first : first + frames] for first in range(count, len(own) - frames + 1, frames)]
            probes += groups
            members += [member] * len(groups)
    return Split(
        templates=tuple(enrolled),
        probes=tuple(probes),
        members=np.array(members, np.intp),
        strangers=tuple(own[:frames] for own in single),
    )


def fused(vectors: NDArray[np.float32], groups: Sequence[NDArray[np.intp]]) -> NDArray[np.float32]:
    """The mean direction of each group. Shape and dtype: (groups, 256) float32 of length 1."""
    sums = np.array([vectors[rows].sum(axis=0) for rows in groups], np.float32).reshape(-1, vectors.shape[1])
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), np.float32)


def searched(sample: Sample, split: Split, *, normalised: bool) -> Search:
    """What the split's searches score, in deviations as the verdict has them or in cosines."""
    templates = fused(sample.vectors, split.templates)

    def scores_of(groups: Sequence[NDArray[np.intp]]) -> Scores:
        scores = np.asarray(fused(sample.vectors, groups) @ templates.T, np.float32)
        nobody = np.zeros(scores.shape, np.bool_)
        return in_deviations(scores, nobody, len(templates) - 1) if normalised else scores

    found = scores_of(split.probes)
    places = np.arange(len(found))
    own = found[places, split.members]
    found[places, split.members] = -np.inf
    return Search(
        own=own, other=found.max(axis=1, initial=-np.inf), strangers=scores_of(split.strangers).max(axis=1, initial=-1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissRate:
    """Members missed at a rate of strangers taken for somebody: mean and deviation over splits, None where fewer than
    one stranger is that rate."""

    false_positives: float
    misses: float | None
    deviation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Searches with `frames` pictures fused among members enrolled with `templates`; sizes are of the last split."""

    templates: int
    frames: int
    enrolled: int
    member_searches: int
    stranger_searches: int
    splits: int
    normalised: tuple[MissRate, ...]
    cosine: tuple[MissRate, ...]


def identify(
    sample: Sample, *, templates: int, frames: int, rates: Sequence[float], splits: int, seed: int
) -> Identification | TooFew:
    """Misses at each rate over as many random splits; the same seed draws the same."""
    drawn = [
        draw_split(sample.people, templates, frames, np.random.default_rng([seed, number])) for number in range(splits)
    ]
    if not drawn[0].probes or not drawn[0].strangers or len(drawn[0].templates) < 2:
        need = templates + frames
        have = int(np.unique(sample.people, return_counts=True)[1].max())
        return TooFew(what=f"pictures of each of several people for {templates} and {frames}", have=have, need=need)

    def misses(normalised: bool) -> tuple[MissRate, ...]:
        searches = [searched(sample, split, normalised=normalised) for split in drawn]
        return tuple(_miss_rate(rate, [search.misses(rate) for search in searches]) for rate in rates)

    last = drawn[-1]
    return Identification(
        templates=templates,
        frames=frames,
        enrolled=len(last.templates),
        member_searches=len(last.probes),
        stranger_searches=len(last.strangers),
        splits=splits,
        normalised=misses(True),
        cosine=misses(False),
    )


def _miss_rate(rate: float, misses: Sequence[float | None]) -> MissRate:
    known = [miss for miss in misses if miss is not None]
    if not known:
        return MissRate(false_positives=rate, misses=None, deviation=None)
    return MissRate(false_positives=rate, misses=float(np.mean(known)), deviation=float(np.std(known)))


# --- the threshold that follows ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a threshold lies, CONFIDENCE of the time."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The deviations from which a probe of `frames` pictures may be taken for a member.

    `false_matches` is what one comparison may go wrong, `errors` the comparisons of these pictures that do.
    `binomial` takes comparisons for independent, which those of one person are not; `resampled` draws the people anew
    and is the one to believe.
    """

    frames: int
    false_matches: float
    comparisons: int
    errors: int
    threshold: float
    binomial: Interval
    resampled: Interval


def recommend(
    sample: Sample, *, frames: int, false_positives: float, enrolled: int, seed: int
) -> Recommendation | TooFew:
    """The threshold at which a stranger, compared with `enrolled`, is taken for somebody `false_positives` of the
    time; refused when the pictures show fewer than ERRORS_MIN of the errors it allows."""
    rate = min(false_match_rate(false_positives, enrolled), RATE_MAX)
    scores = score_pairs(grouped(sample, frames), enrolled - 1)
    need = math.ceil(ERRORS_MIN / rate)
    if scores.comparisons < need:
        return TooFew(what=_comparisons(frames), have=scores.comparisons, need=need)
    errors = int(rate * scores.comparisons + 1e-9)
    low, high = binomial_ranks(rate, scores.comparisons)
    return Recommendation(
        frames=frames,
        false_matches=rate,
        comparisons=scores.comparisons,
        errors=errors,
        threshold=scores.threshold_at(rate),
        binomial=Interval(low=_ranked(scores, high), high=_ranked(scores, low)),
        resampled=resampled_interval(scores, rate, np.random.default_rng(seed)),
    )


def lowest_rate(comparisons: int, enrolled: int) -> float | None:
    """The lowest share of strangers taken for somebody that so many comparisons carry a recommendation for."""
    if comparisons < ERRORS_MIN / RATE_MAX:
        return None
    return -math.expm1(enrolled * math.log1p(-ERRORS_MIN / comparisons))


def _comparisons(frames: int) -> str:
    return "pairs of two people" if frames == 1 else f"pairs of two people with {frames} pictures each"


def grouped(sample: Sample, frames: int) -> Sample:
    """Each person's pictures fused in groups of `frames`, as they come; the rest is left out."""
    if frames == 1:
        return sample
    people, groups = [], []
    for person in np.unique(sample.people):
        own = np.flatnonzero(sample.people == person)
        for first in range(0, len(own) - frames + 1, frames):
            people.append(person)
            groups.append(own[first : first + frames])
    return Sample(people=np.array(people, np.intp), vectors=fused(sample.vectors, groups))


def binomial_ranks(rate: float, trials: int) -> tuple[int, int]:
    """The most errors that surely speak for a true rate of at most `rate`, and the fewest that do for at least that.

    "Surely" is CONFIDENCE of the time; the most is -1 when no number of errors is few enough.
    """
    far = int(rate * trials) + 1
    reach = range(0, min(trials, far + 20 * (math.isqrt(far) + 1)) + 1)
    few = bisect_left(reach, True, key=lambda errors: binomial_interval(errors, trials)[1] > rate) - 1
    many = bisect_left(reach, True, key=lambda errors: binomial_interval(errors, trials)[0] >= rate)
    return few, many


def _ranked(scores: PairScores, rank: int) -> float:
    return float(scores.highest[min(max(rank, 0), len(scores.highest) - 1)])


def resampled_interval(scores: PairScores, rate: float, random: np.random.Generator) -> Interval:
    """Between which scores the threshold lies when the people are drawn anew, with replacement.

    A person drawn twice counts twice in every comparison with others and is never compared with themselves. Source:
    Bolle, Ratha and Pankanti, Evaluating authentication systems using bootstrap confidence intervals, 1999.
    """
    people = len(scores.pictures_of)
    thresholds = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, people, people), minlength=people)
        pictures = times * scores.pictures_of
        comparisons = (int(pictures.sum()) ** 2 - int((pictures**2).sum())) // 2
        above = np.cumsum(times[scores.between[:, 0]] * times[scores.between[:, 1]])
        place = int(np.searchsorted(above, rate * comparisons, side="right"))
        thresholds.append(_ranked(scores, place))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(thresholds, [tail, 100 - tail])
    return Interval(low=float(low), high=float(high))

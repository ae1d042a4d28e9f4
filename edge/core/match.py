"""Who is here, how sure are we: the verdict over the probes of one visit against the gallery.

Pure: scores come in as plain numbers, and what the policy allows as `MatchTerms`. No array, no frame, no name.

A score counts in deviations: how far it lies above what strangers score. With a gallery of NORMALISED_FROM or more, the
probe's own scores with everybody but the best say what that is, pulled towards what portraits said of all strangers
(a cohort of fifty knows its own spread badly); below, portraits alone do, which makes it the raw cosine in another
unit. How many deviations are asked for follows from the policy's budget and the size of the gallery: a stranger is
compared with everybody enrolled, so one comparison may go wrong FMR = 1 - (1 - budget)^(1/enrolled) of the time, and a
curve says which score that is. The numbers below belong to face-reidentification-retail-0095;
`doorstep-edge faces calibrate` measures them for other pictures or another embedder.
"""

import math
from dataclasses import dataclass
from typing import Final

from shared.ids import MemberId

CANDIDATES_MAX: Final = 5
"""The best of a gallery that a comparison names: the verdict looks at two, a person choosing a nickname at more."""
COHORT_MAX: Final = 1_000
"""Members whose scores make up a cohort; a sample of them tells mean and deviation of a larger gallery well enough."""
PROBES_MIN: Final = 3
"""Frames fused before a member is named. Source: of LFW's 1,685 enrolled at 1 % false positives 7.7 % are missed with
one template and one frame, 0.14 % with three and three (measured 2026-11)."""
PROBES_MAX: Final = 10
"""Frames after which more of them change nothing: half a second to a second of a face that is good enough."""
NORMALISED_FROM: Final = 50
"""Enrolled from which the gallery's own scores are used: below, they say less than portraits do."""
ASKED_MAX: Final = 4
"""Nicknames a person is asked to choose from, before decoys: what fits a screen at arm's length."""

ONE_PROBE: Final = ((-2.0, 2.6), (-3.0, 3.75), (-4.0, 4.7), (-5.0, 5.6), (-6.0, 6.3), (-7.0, 6.95))
FUSED: Final = ((-2.0, 2.7), (-3.0, 3.95), (-4.0, 5.1), (-5.0, 5.95), (-6.0, 6.65), (-7.0, 7.3))
"""False matches a comparison (power of ten) against the deviations that as many strangers reach, worse of templates
made of one and of three pictures and of galleries of 50 and 150. FUSED: probes of three pictures from different days,
which is more than the frames of one visit gain. Source: the portraits of STRANGERS (measured 2026-11), one probe to
10^-5, fused to 10^-4. Beyond, EXTRAPOLATED with the steps of the curve over all of LFW (87 million pairs: cosine 0.432
at 10^-4, 0.507, 0.576, 0.634 at 10^-7), and further with the last step."""
FALSE_MATCH_MAX: Final = 1e-4
"""No budget and no small gallery buys a laxer threshold. The people of one street are more alike than LFW's, and for a
gallery of a few it costs nothing: 0.07 % of members missed with three pictures and three frames, LFW (2026-11)."""
ASK_FACTOR: Final = 20
ASK_FALSE_MATCH_MAX: Final = 1e-3
"""Strangers who may be asked who they are, for each who may be taken for a member: a person who says "none of these"
loses two seconds. With three in a thousand allowed, 1 % of strangers who showed one picture were asked, 4 % of those
who showed three of different days (portraits, 480 and 170 enrolled, measured 2026-11)."""
LEAD_MIN: Final = 1.0
"""Deviations by which the best leaves the second behind, or both are asked: twins, and a member enrolled twice. It
keeps back 2 in 10,000 members who were right alone (portraits, one template, one frame, 480 enrolled, 2026-11)."""
BUDGET_MAX: Final = 0.5
"""A budget above one stranger in two is read as this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """What two different people score with each other: mean and deviation of the cosine.

    `weight` is the number of a cohort's members that this outweighs.
    """

    mean: float
    deviation: float
    weight: float


STRANGERS: Final = Strangers(mean=0.006, deviation=0.093, weight=200)
"""Source: 2.6 million pairs of 2,294 LFW portraits of 1,180 people; one or three pictures a template made no
difference. The weight was chosen for the fewest misses at 1 % false positives, 480 enrolled: plain cosine (all weight)
6.1 %, 800 4.9 %, 200 4.4 %, 50 4.5 %, the cohort alone 4.7 % (measured 2026-11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A member and the cosine between their template and the fused probe, from -1 to 1."""

    member: MemberId
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One fused probe against a gallery.

    `candidates` best first, at most CANDIDATES_MAX, one a member. `enrolled` members in the gallery. `probes` frames
    fused. `cohort_mean` and `cohort_deviation`: the probe's scores with the gallery's members but the best one (a
    fixed sample of at most COHORT_MAX in a large gallery); zeros when fewer than two others are enrolled. `is_last`
    when the person has stood there for as long as they should have to wait, however few of the frames were good.
    """

    candidates: tuple[Candidate, ...]
    enrolled: int
    probes: int
    cohort_mean: float
    cohort_deviation: float
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTerms:
    """What the policy allows: strangers recognised as somebody, in a million visits of strangers.

    `probes_min` and `probes_max` are the door's; who looks at single pictures sets both to 1.
    """

    false_positives_ppm: int
    probes_min: int = PROBES_MIN
    probes_max: int = PROBES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """It is this member."""

    member: MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """It may be one of these, best first, at most ASKED_MAX; the person has to say, or to show the code."""

    members: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMatch:
    """Nobody who is enrolled. Counted, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """More frames may tell."""


MatchVerdict = Match | Ambiguous | NoMatch | NotYet


def decide_match(comparison: Comparison, terms: MatchTerms) -> MatchVerdict:
    """Who it is, within the policy's budget; a question or nobody only when more frames would change nothing."""
    if not comparison.candidates:
        return NoMatch()
    if comparison.probes < terms.probes_min:
        return NotYet()
    scores = [deviations(candidate.score, comparison) for candidate in comparison.candidates]
    best, second = scores[0], scores[1] if len(scores) > 1 else -math.inf
    grant = grant_threshold(terms, enrolled=comparison.enrolled, probes=comparison.probes)
    if best >= grant and best - second >= LEAD_MIN:
        return Match(member=comparison.candidates[0].member)
    if comparison.probes < terms.probes_max and not comparison.is_last:
        return NotYet()
    ask = ask_threshold(terms, enrolled=comparison.enrolled, probes=comparison.probes)
    if not best >= ask:  # also what a score that is no number comes to
        return NoMatch()
    lowest = min(ask, best - LEAD_MIN)
    named = zip(comparison.candidates[:ASKED_MAX], scores, strict=False)
    return Ambiguous(members=tuple(candidate.member for candidate, score in named if score >= lowest))


def deviations(score: float, comparison: Comparison, strangers: Strangers = STRANGERS) -> float:
    """How far the cosine lies above what this probe scores with strangers, in their deviations."""
    mean, deviation = strangers.mean, strangers.deviation
    if comparison.enrolled >= NORMALISED_FROM:
        cohort = min(comparison.enrolled - 1, COHORT_MAX)
        mean, deviation = pulled(comparison.cohort_mean, comparison.cohort_deviation, cohort, strangers)
    return (score - mean) / deviation


def pulled(mean: float, deviation: float, cohort: int, strangers: Strangers = STRANGERS) -> tuple[float, float]:
    """A cohort's mean and deviation, pulled towards all strangers'."""
    total = cohort + strangers.weight
    variance = (cohort * deviation**2 + strangers.weight * strangers.deviation**2) / total
    return (cohort * mean + strangers.weight * strangers.mean) / total, math.sqrt(variance)


def grant_threshold(terms: MatchTerms, *, enrolled: int, probes: int) -> float:
    """The deviations from which the best of `enrolled` is taken for who it is."""
    rate = false_match_rate(terms.false_positives_ppm / 1e6, enrolled)
    return required_deviations(min(rate, FALSE_MATCH_MAX), probes)


def ask_threshold(terms: MatchTerms, *, enrolled: int, probes: int) -> float:
    """The deviations from which a person is asked; never above `grant_threshold`."""
    rate = false_match_rate(ASK_FACTOR * terms.false_positives_ppm / 1e6, enrolled)
    return required_deviations(min(rate, ASK_FALSE_MATCH_MAX), probes)


def false_match_rate(false_positives: float, enrolled: int) -> float:
    """What one comparison may go wrong when a stranger, compared with `enrolled`, may `false_positives` of the time.

    Comparisons are taken as independent, which errs on the safe side: the false matches of one stranger come together.
    """
    return -math.expm1(math.log1p(-min(false_positives, BUDGET_MAX)) / enrolled)


def required_deviations(rate: float, probes: int) -> float:
    """The deviations that strangers reach in `rate` of all comparisons, infinite for none.

    Straight lines in the logarithm between the curve's points, and on beyond its ends.
    """
    if rate <= 0:
        return math.inf
    curve = FUSED if probes > 1 else ONE_PROBE
    power = math.log10(rate)
    after = next((place for place in range(1, len(curve)) if curve[place][0] <= power), len(curve) - 1)
    (from_power, from_value), (to_power, to_value) = curve[after - 1], curve[after]
    return from_value + (power - from_power) / (to_power - from_power) * (to_value - from_value)

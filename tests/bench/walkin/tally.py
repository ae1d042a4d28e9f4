"""From verdicts to counts: what became of each visitor, by scenario, and what the curves are drawn from. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from tests.support.walkers import Scenario

RULE_OF_THREE: Final = 3.0
"""Nothing in n trials still leaves a rate of 3 / n possible at 95 % (Hanley and Lippman-Hand 1983)."""
TAIL_SHARE: Final = 0.1
"""Of the strangers' highest scores, so many are taken for the tail that is extended beyond the last of them."""


class Outcome(StrEnum):
    """What became of a visitor. A stranger whom nobody took for anybody is NOBODY, and so is a member who was not
    looked at."""

    RIGHT = "right"
    ASKED = "ambiguous"
    MISSED = "missed"
    WRONG = "wrong"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one visitor who stood on the mark.

    `templates` is 0 for a stranger. `waited_s` is from the end of the dwell to the verdict, None without one, and of it
    `hidden_s` is how long they looked away or were covered.
    `deviations` is the highest score that counts: a member's with themselves, a stranger's with anybody; None when no
    comparison was made.
    """

    scenario: Scenario
    templates: int
    outcome: Outcome
    waited_s: float | None = None
    hidden_s: float = 0.0
    deviations: float | None = None

    @property
    def is_stranger(self) -> bool:
        """Whether nobody knows them."""
        return self.templates == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many visitors came to which end."""

    right: int = 0
    asked: int = 0
    missed: int = 0
    wrong: int = 0
    nobody: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.right + self.asked + self.missed + self.wrong + self.nobody

    @property
    def right_share(self) -> float:
        """Members who were granted without a question."""
        return self.right / self.total if self.total else math.nan

    @property
    def known_share(self) -> float:
        """Members who were granted, or asked with themselves among the answers."""
        return (self.right + self.asked) / self.total if self.total else math.nan


def count(told: Iterable[Told]) -> Counts:
    """Adds the outcomes up."""
    outcomes = [one.outcome for one in told]
    return Counts(
        right=outcomes.count(Outcome.RIGHT),
        asked=outcomes.count(Outcome.ASKED),
        missed=outcomes.count(Outcome.MISSED),
        wrong=outcomes.count(Outcome.WRONG),
        nobody=outcomes.count(Outcome.NOBODY),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many are not above; NaN of none."""
    return float(np.quantile(values, share, method="higher")) if values else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Misses of members against strangers taken for somebody, over all thresholds, both as shares of visits."""

    thresholds: tuple[float, ...]
    missed: tuple[float, ...]
    taken: tuple[float, ...]


def curve_of(members: Sequence[Told], strangers: Sequence[Told]) -> Curve:
    """The trade-off; a visitor without a comparison is below every threshold."""
    own = np.array([-math.inf if one.deviations is None else one.deviations for one in members])
    others = np.array([-math.inf if one.deviations is None else one.deviations for one in strangers])
    thresholds = np.linspace(0, 14, 281)
    return Curve(
        thresholds=tuple(float(value) for value in thresholds),
        missed=tuple(float((own < value).mean()) for value in thresholds),
        taken=tuple(float((others >= value).mean()) for value in thresholds),
    )


def extrapolated_threshold(strangers: Sequence[Told], rate: float) -> float:
    """Where the strangers' tail, taken for exponential, has fallen to this rate: beyond what was measured.

    The mean excess over the start of the tail is the most likely scale (Hill's estimator on the scores themselves).
    """
    scores = np.sort([one.deviations for one in strangers if one.deviations is not None])
    tail = max(2, round(TAIL_SHARE * len(strangers)))
    if len(scores) <= tail:
        return math.nan
    start = float(scores[-tail - 1])
    scale = float(np.mean(scores[-tail:] - start))
    return start + scale * math.log(tail / len(strangers) / rate)


def missed_at(members: Sequence[Told], threshold: float) -> float:
    """Members below the threshold, as a share."""
    if not members or math.isnan(threshold):
        return math.nan
    return sum(one.deviations is None or one.deviations < threshold for one in members) / len(members)

"""The test of Kolmogorov and Smirnov against its table, and the short form of what the benchmark shows."""

import numpy as np
import pytest

from tests.bench.search import Vectors, draw_crowd
from tests.bench.unlinkability import LEVEL, between_two_groups, differ, over_many_groups, within_one_group


@pytest.fixture(scope="module")
def people() -> Vectors:
    return draw_crowd(300, np.random.default_rng(5), None).people


def test_the_distance_is_the_largest_between_two_staircases() -> None:
    told = differ(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.5, 4.5, 5.5, 6.5]))
    assert told.distance == 0.75
    assert differ(np.arange(5.0), np.arange(5.0)).probability == 1.0


@pytest.mark.parametrize(("value", "probability"), [(1.2238, 0.10), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)])
def test_its_tail_is_the_tables(value: float, probability: float) -> None:
    """Source: Smirnov 1948, table of the limiting distribution. Many values, so that the correction is none."""
    count = 500_000
    shift = round(value / np.sqrt(count / 2) * count)
    told = differ(np.arange(count, dtype=float), np.arange(count, dtype=float) + shift)
    assert told.probability == pytest.approx(probability, rel=0.02)


def test_it_tells_samples_apart_that_are() -> None:
    chance = np.random.default_rng(1)
    assert differ(chance.normal(size=5000), chance.normal(size=5000)).probability > LEVEL
    assert differ(chance.normal(size=5000), chance.normal(0.1, size=5000)).probability < 0.001


def test_over_groups_drawn_anew_a_member_is_as_any_stranger(people: Vectors) -> None:
    """A score's mean and deviation are those of chance, 0 and 1/16; and the test sees no difference."""
    scores = over_many_groups(people, 60, 10_000, np.random.default_rng(3))
    for sample in (scores.members, scores.strangers):
        assert abs(float(sample.mean())) < 0.004
        assert float(sample.std()) == pytest.approx(1 / 16, rel=0.03)
    assert scores.difference.probability > LEVEL


def test_between_two_groups_that_stand_still_little_is_left(people: Vectors) -> None:
    chance = np.random.default_rng(4)
    distances = [between_two_groups(people, chance).difference.distance for _ in range(5)]
    assert max(distances) < 0.25  # 300 people: chance alone makes 0.11


def test_within_one_group_everybody_is_known(people: Vectors) -> None:
    assert within_one_group(people, 2_000, np.random.default_rng(6)).difference.distance > 0.99

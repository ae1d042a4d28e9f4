"""Which copy a damaged device begins with."""

import pytest

from edge.core.bounds import BUDGETS
from edge.core.recovery import Head, best_copy


@pytest.mark.parametrize(
    ("present", "copies", "chosen"),
    [
        (None, [], None),
        (None, [None, None], None),
        (None, [(1, 9), (1, 5)], 0),
        (None, [None, (1, 5)], 1),
        (None, [(1, 5), (1, 9)], 1),  # a clock that went back named the older one as the newer
        (None, [(2, 1), (1, 9)], 0),
        (None, [(1, 5), (1, 5)], 0),
        ((1, 9), [(1, 8)], -1),
        ((1, 8), [(1, 8)], -1),
        ((1, 7), [None, (1, 8)], 1),
        ((0, 0), [], -1),
    ],
)
def test_the_longest_sound_history_wins(present: Head | None, copies: list[Head | None], chosen: int | None) -> None:
    assert best_copy(present, copies) == chosen


def test_every_budget_says_how_it_ends() -> None:
    assert all(budget.ends for budget in BUDGETS)
    assert len({budget.thing for budget in BUDGETS}) == len(BUDGETS)

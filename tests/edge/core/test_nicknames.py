"""What a person may read of other people's names, and what a pick is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.nicknames import CHOICES_MAX, CHOICES_MIN, MASK, make_choices, mask
from shared.ids import MemberId

ANNA, BERT = MemberId(b"a" * 10), MemberId(b"b" * 10)
DECOYS = ("Carla", "Dino", "Elena", "Franco", "Gaia", "Hans", "Irene")
ORDER = (5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("nickname", "masked"),
    [
        ("Martina", "M•••a"),
        ("Bo", "B•••"),
        ("B", "B•••"),
        (" Ada ", "A•••a"),
        ("", "•••"),
        ("Maria Pia", "M•••a"),
        ("日本語", "日•••語"),
    ],
)
def test_a_name_keeps_two_letters_at_most(nickname: str, masked: str) -> None:
    assert mask(nickname) == masked


@given(st.text(min_size=1, max_size=40))
def test_the_length_of_a_name_is_hidden(nickname: str) -> None:
    assert len(mask(nickname)) <= len(MASK) + 2


def test_candidates_stand_among_others_in_a_random_order() -> None:
    choices = make_choices(((ANNA, "Martina"), (BERT, "Bertrando")), DECOYS, ORDER)
    assert choices is not None
    assert choices.masked == ("F•••o", "E•••a", "D•••o", "C•••a", "B•••o", "M•••a")
    assert choices.members == (None, None, None, None, BERT, ANNA)


def test_others_that_look_like_a_candidate_are_left_out() -> None:
    choices = make_choices(((ANNA, "Martina"),), ("Maria", "Monica", "Carla", "Dino", "Elena", "Carla"), ORDER)
    assert choices is not None
    assert sorted(choices.masked) == ["C•••a", "D•••o", "E•••a", "M•••a"]


@pytest.mark.parametrize(
    ("candidates", "decoys"),
    [
        ((), DECOYS),  # nobody has a nickname
        (((ANNA, "Martina"), (BERT, "Maria")), DECOYS),  # a tap could not tell them apart
        (((ANNA, "Martina"),), DECOYS[: CHOICES_MIN - 2]),
        (((ANNA, "Martina"), (BERT, "Bertrando")), ()),
    ],
)
def test_an_unfair_choice_is_none(candidates: tuple[tuple[MemberId, str], ...], decoys: tuple[str, ...]) -> None:
    assert make_choices(candidates, decoys, ORDER) is None


@given(st.lists(st.text(min_size=1, max_size=12), max_size=30), st.permutations(range(CHOICES_MAX)))
def test_every_choice_is_of_a_fair_size_and_holds_its_candidate_once(decoys: list[str], order: list[int]) -> None:
    choices = make_choices(((ANNA, "Martina"),), decoys, order)
    if choices is not None:
        assert CHOICES_MIN <= len(choices.masked) == len(choices.members) == len(set(choices.masked)) <= CHOICES_MAX
        assert choices.members.count(ANNA) == 1
        assert choices.masked[choices.members.index(ANNA)] == "M•••a"


def test_there_is_always_room_for_another_than_the_candidates() -> None:
    many = tuple((MemberId(bytes([number]) * 10), f"{chr(65 + number)}lpha") for number in range(9))
    choices = make_choices(many, DECOYS, ORDER)
    assert choices is not None
    assert None in choices.members

"""Cursors come back as they went out, and nothing else passes for one."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import ProblemError
from cloud.kit.pagination import BAD_CURSOR, POSITION_MAX, cut, decode_cursor, decode_position, encode_cursor


@given(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1)))
def test_a_cursor_comes_back(key: tuple[str, int]) -> None:
    assert decode_cursor(encode_cursor(key), tuple[str, int]) == key


def test_no_cursor_is_the_beginning() -> None:
    assert decode_cursor(None, int) is None
    assert decode_position(None) is None


@pytest.mark.parametrize("text", ["", "!", "ä", "x", encode_cursor("text"), encode_cursor((1, 2)), "bnVsbA"])
def test_anything_else_is_a_problem(text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        decode_cursor(text, int)
    assert refused.value.kind is BAD_CURSOR


@given(st.binary(max_size=40))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).decode()
    with contextlib.suppress(ProblemError):
        assert decode_position(text) in range(POSITION_MAX + 1)


@pytest.mark.parametrize("position", [-1, POSITION_MAX + 1])
def test_a_position_outside_the_database_is_a_problem(position: int) -> None:
    with pytest.raises(ProblemError):
        decode_position(encode_cursor(position))
    assert decode_position(encode_cursor(POSITION_MAX)) == POSITION_MAX


@pytest.mark.parametrize(
    ("rows", "expected"), [([], ([], False)), ([1, 2], ([1, 2], False)), ([1, 2, 3], ([1, 2], True))]
)
def test_one_row_too_many_says_there_is_more(rows: list[int], expected: tuple[list[int], bool]) -> None:
    assert cut(rows, 2) == expected

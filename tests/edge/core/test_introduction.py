"""The text by which two stores' groups get to know each other: read back exactly, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.introduction import (
    INTRODUCTION_LENGTH_MAX,
    GroupIntroduction,
    encode_introduction,
    parse_introduction,
)
from shared.ids import STORE_ID_LENGTH_MAX, StoreId

INTRODUCTION = GroupIntroduction(store=StoreId("via-roma-7"), key=bytes(range(8)), intake_public=bytes(range(32)))
TEXT = "DSI1:VIA-ROMA-7.AAAQEAYEAUDAOAABAIBQIBIGA4EASCQLBQGQ4DYQCEJBGFAVCYLRQGI2DMOB2HQ76EDQW3Q"

stores = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(lambda text: len(text) <= STORE_ID_LENGTH_MAX)
introductions = st.builds(
    GroupIntroduction,
    store=stores.map(StoreId),
    key=st.binary(min_size=8, max_size=8),
    intake_public=st.binary(min_size=32, max_size=32),
)


def test_the_text_is_frozen() -> None:
    assert encode_introduction(INTRODUCTION) == TEXT


@given(introductions)
def test_what_is_shown_is_read(introduction: GroupIntroduction) -> None:
    text = encode_introduction(introduction)
    assert parse_introduction(text) == introduction
    assert len(text) <= INTRODUCTION_LENGTH_MAX


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DSI1:",
        "DSG1:VIA-ROMA-7." + TEXT.partition(".")[2],
        TEXT.lower(),
        TEXT.removesuffix("Q"),
        TEXT + "A",
        TEXT.replace("ROMA", "RIMA"),
        TEXT.replace("VIA-ROMA-7", ""),
        TEXT.replace("VIA-ROMA-7", "VIA--ROMA"),
        TEXT.replace("VIA-ROMA-7", "V" * 41),
        TEXT.replace(".AAAQ", ".AAAR"),
        TEXT.replace(".AAAQ", ".AA1Q"),
        TEXT.replace(".AAAQ", ".ÄAAQ"),
        TEXT[:-1] + "R",  # the same bytes: the last character's loose bits are set
        TEXT.replace(".", ":"),
    ],
)
def test_nothing_else_is_an_introduction(text: str) -> None:
    assert parse_introduction(text) is None


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    parsed = parse_introduction(text)
    assert parsed is None or encode_introduction(parsed) == text

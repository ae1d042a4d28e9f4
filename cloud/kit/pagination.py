"""Lists page by page: `limit`, an opaque `cursor`, and `next` in the answer until the list ends.

A cursor is the sort key of the last row that was read, so rows that arrive meanwhile neither repeat nor hide others.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel

from cloud.errors import ProblemError, ProblemKind

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
CURSOR_LENGTH_MAX = 512
POSITION_MAX = 2**62  # with a page added it still fits the database's 64 bits

BAD_CURSOR: Final = ProblemKind(name="bad-cursor", status=400, title="The cursor is not one that was given out here")

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most.")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX, description="`next` of the page before.")]

Item = TypeVar("Item")
Key = TypeVar("Key")


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next` is None on the last."""

    items: tuple[Item, ...]
    next: str | None


def encode_cursor(key: str | int | tuple[str | int, ...]) -> str:
    """The sort key as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(text: str | None, shape: type[Key]) -> Key | None:
    """The sort key, which must be of the shape (`int`, `tuple[str, int]`); None without a cursor.

    Raises: ProblemError (BAD_CURSOR).
    """
    if text is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=shape)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise ProblemError(BAD_CURSOR) from error


def decode_position(text: str | None) -> int | None:
    """The sort key of a list that is sorted by a number which only grows. Raises: ProblemError (BAD_CURSOR)."""
    position = decode_cursor(text, int)
    if position is not None and not 0 <= position <= POSITION_MAX:
        raise ProblemError(BAD_CURSOR)
    return position


def cut(rows: Sequence[Item], limit: int) -> tuple[Sequence[Item], bool]:
    """The first `limit` rows and whether there are more: ask the database for limit + 1."""
    return rows[:limit], len(rows) > limit

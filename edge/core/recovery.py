"""How a life of the database may begin when it is not the first, and which copy it begins with. Pure.

A life that does not hold every commit that was ever shown must not go on under its epoch: it would write other
envelopes under numbers the cloud knows already. It takes a new name, the cloud issues the next epoch for it, and until
then nothing is granted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Head = tuple[int, int]
"""Epoch and number of a database's newest envelope; (0, 0) without any."""


class Beginning(StrEnum):
    """SNAPSHOT: from a copy made earlier. EMPTY: with nothing. SET_BACK: from itself, with commits missing."""

    SNAPSHOT = "snapshot"
    EMPTY = "empty"
    SET_BACK = "set_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How this life began. `at_ms` and `snapshot_ms` are as the machine's clock said, which may have been wrong.

    `salvaged` envelopes came out of the damaged file; `damage` says what was found, for a technician.
    """

    how: Beginning
    at_ms: int
    snapshot_ms: int | None
    salvaged: int
    damage: str


def best_copy(present: Head | None, copies: Sequence[Head | None]) -> int | None:
    """The place of the copy to begin with; -1 for the present database, None for nothing.

    `present` and `copies` (newest first) are None where they are not sound. The longest history wins, and of equals
    the present database, then the newer copy.
    """
    sound = [(head, -place) for place, head in ((-1, present), *enumerate(copies)) if head is not None]
    return -max(sound)[1] if sound else None

"""Which nicknames a person may pick from, and how little of each the screen shows.

Whoever stands there reads names that are not theirs. So a name keeps its first and last letter only, others that
cannot be the person stand among the ones that may, and a person who picks wrongly learns nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.ids import MemberId

CHOICES_MIN: Final = 4
CHOICES_MAX: Final = 6
"""Fewer give a guess too good a chance; more are no longer read at a glance."""
MASK: Final = "•••"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Masked nicknames in the order of the screen, and the member behind each, None behind a decoy."""

    masked: tuple[str, ...]
    members: tuple[MemberId | None, ...]


def mask(nickname: str) -> str:
    """ "M•••a" of Martina: the length is hidden, and of a name of one or two letters all but the first."""
    letters = nickname.strip()
    return letters[:1] + MASK + (letters[-1] if len(letters) > 2 else "")


def make_choices(
    candidates: Sequence[tuple[MemberId, str]], decoys: Sequence[str], order: Sequence[int]
) -> Choices | None:
    """The choices for these candidates with their nicknames, or None when there can be no fair ones.

    `order` are CHOICES_MAX random numbers: the choice with the smallest stands first. Two candidates whose names look
    alike cannot be told apart by a tap, and with too few others a guess is too easy.
    """
    rows: dict[str, MemberId | None] = {}
    for member, nickname in candidates[: CHOICES_MAX - 1]:
        if mask(nickname) in rows:
            return None
        rows[mask(nickname)] = member
    if not rows:
        return None
    for nickname in decoys:
        if len(rows) == CHOICES_MAX:
            break
        rows.setdefault(mask(nickname), None)
    if len(rows) < CHOICES_MIN:
        return None
    shuffled = sorted(zip(order, rows.items(), strict=False), key=lambda pair: pair[0])
    return Choices(
        masked=tuple(masked for _, (masked, _) in shuffled), members=tuple(member for _, (_, member) in shuffled)
    )

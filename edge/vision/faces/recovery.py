"""The recovery sheet: a group's secret as text that a person can keep on paper and type.

A group of one kiosk loses its members' templates with the kiosk, unless somebody kept this sheet. Whoever holds it can
open the store's templates: it belongs in a safe. Twenty groups of four: three characters say something, the fourth
checks them and their place, so that a slip is found where it was made. The alphabet is Crockford's base 32, which has
no I, L, O or U to be mistaken for another.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from edge.vision.faces.rotation import Secret
from edge.vision.faces.sealing import SECRET_BYTES

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GROUPS: Final = 20
TEXT_LENGTH_MAX: Final = 400  # a sheet has 99 characters; people add spaces and lines

_CONTEXT: Final = b"DSRS1"
_CHECKSUM_BYTES: Final = 4
_GROUP_BITS: Final = 15
_READ_AS: Final = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetFault:
    """What was typed is not a sheet. `groups` that cannot be right, counted from 1; none when only their number or the
    whole is wrong. `typed` groups of characters there were."""

    groups: tuple[int, ...]
    typed: int


def format_sheet(secret: Secret) -> str:
    """GROUPS groups of four characters with hyphens between them."""
    number = int.from_bytes(bytes(secret) + _checksum(secret), "big")
    parts = [(number >> _GROUP_BITS * (GROUPS - 1 - place)) & (2**_GROUP_BITS - 1) for place in range(GROUPS)]
    return "-".join(_checked(_letters(part), place) for place, part in enumerate(parts))


def parse_sheet(text: str) -> bytearray | SheetFault:
    """The secret in what a person typed (case, spaces and hyphens do not matter), or what is wrong with it."""
    letters = "".join(text[:TEXT_LENGTH_MAX].split()).upper().translate(_READ_AS)
    groups = [letters[at : at + 4] for at in range(0, len(letters), 4)]
    if len(groups) != GROUPS:
        return SheetFault(groups=(), typed=len(groups))
    wrong = tuple(place + 1 for place, group in enumerate(groups) if not _is_right(group, place))
    if wrong:
        return SheetFault(groups=wrong, typed=GROUPS)
    number = 0
    for group in groups:
        for letter in group[:3]:
            number = number << 5 | ALPHABET.index(letter)
    if number.bit_length() > 8 * (SECRET_BYTES + _CHECKSUM_BYTES):
        return SheetFault(groups=(), typed=GROUPS)
    data = bytearray(number.to_bytes(SECRET_BYTES + _CHECKSUM_BYTES, "big"))
    secret, checksum = data[:SECRET_BYTES], data[SECRET_BYTES:]
    return secret if checksum == _checksum(secret) else SheetFault(groups=(), typed=GROUPS)


def _letters(part: int) -> str:
    return "".join(ALPHABET[(part >> shift) & 31] for shift in (10, 5, 0))


def _checked(letters: str, place: int) -> str:
    """The three letters and the one that checks them in their place."""
    digest = sha256(_CONTEXT + bytes((place,)) + letters.encode()).digest()
    return letters + ALPHABET[digest[0] & 31]


def _is_right(group: str, place: int) -> bool:
    return set(group) <= set(ALPHABET) and _checked(group[:3], place) == group


def _checksum(secret: Secret) -> bytes:
    check = sha256(_CONTEXT)
    check.update(secret)
    return check.digest()[:_CHECKSUM_BYTES]

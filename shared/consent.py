"""What a member allowed, for which purpose, and what each data level opens to whom.

Three levels of data and one separate biometric purpose. The level is enforced where data is read; this module
only says what is allowed.
"""

from enum import IntEnum, StrEnum

BIOMETRIC_TEXT_VERSION = 1
"""Of the words that ask for the biometric consent, on the member page and on the kiosk; a change of their meaning is a
new version, and a consent to another version no longer counts."""


class DataLevel(IntEnum):
    """How much a member shares with a merchant; the lowest is the default.

    PSEUDONYM: points and a nickname of the member's own choice. PROFILE: contact data as well.
    PERSONA: what was bought as well.
    """

    PSEUDONYM = 1
    PROFILE = 2
    PERSONA = 3


class Purpose(StrEnum):
    """What data is used for. BIOMETRIC stands alone: no level includes it and no other consent implies it."""

    PROGRAMME = "programme"
    MARKETING = "marketing"
    BIOMETRIC = "biometric"


class Field(StrEnum):
    """The groups of member data that a level may open."""

    NICKNAME = "nickname"
    POINTS = "points"
    CONTACT = "contact"
    PURCHASES = "purchases"


_LEVEL_NEEDED = {
    Field.NICKNAME: DataLevel.PSEUDONYM,
    Field.POINTS: DataLevel.PSEUDONYM,
    Field.CONTACT: DataLevel.PROFILE,
    Field.PURCHASES: DataLevel.PERSONA,
}


def may_read(level: DataLevel, field: Field) -> bool:
    """True when a member at this level shares the field."""
    return level >= _LEVEL_NEEDED[field]

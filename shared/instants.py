"""What may become of the coupon that comes with a claim. Standard library only: whoever shows screens reads it."""

from enum import StrEnum


class InstantOutcome(StrEnum):
    """SHOWN: the coupon was on the screen. DEFERRED: the member was told that it will be confirmed."""

    SHOWN = "shown"
    DEFERRED = "deferred"


class Deferral(StrEnum):
    """Why a coupon was not shown at once.

    NOT_OWNER: it is another kiosk's to show. GIVEN: another kiosk has the right to this claim's. UNREACHED: a kiosk
    that must agree did not answer. NO_ROSTER: the store's kiosks are not known here. TIME: the time of day was told
    too long ago. EXHAUSTED: this kiosk showed as many as it may. DATED: the member was here before the time was known.
    """

    NOT_OWNER = "not_owner"
    GIVEN = "given"
    UNREACHED = "unreached"
    NO_ROSTER = "no_roster"
    TIME = "time"
    EXHAUSTED = "exhausted"
    DATED = "dated"

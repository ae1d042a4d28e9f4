"""When the device's certificate is renewed, how long it waits after a failure, and which dates hold.

Pure. Whoever connects judges dates with the time this device believes, never with the system clock: a kiosk without
a battery clock boots in 1970, and must reach the cloud to learn what day it is.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from shared.business_day import milliseconds

RETRY_FIRST_S = 60.0
RETRY_MAX_S = 6 * 3600.0
"""While the line still works: thirty days are left, a hundred tries."""

RETRY_ENDED_S = 600.0
"""Once the certificate has ended nothing else gets through: a shop that opens again must not wait for hours."""

SPREAD_S = 3600.0
"""Kiosks that were certified on one day do not come for the next certificate in one second."""

SHARE_OF_LIFE = 20
"""No pause is longer than this part of the certificate's life, which matters for short ones alone."""


class DateFault(StrEnum):
    """Why a certificate does not hold at an instant."""

    NOT_YET = "not valid yet"
    ENDED = "has ended"


class RenewalState(StrEnum):
    """How the renewal of the certificate stands.

    CURRENT: nothing to do. DUE: asked for, or about to be. FAILED: asked for in vain, and asked again later. RENEWED:
    a new one is here and has not connected yet.
    """

    CURRENT = "current"
    DUE = "due"
    FAILED = "failed"
    RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateDates:
    """From when to when a certificate holds, in milliseconds since 1970."""

    begins_ms: int
    ends_ms: int

    @property
    def life_s(self) -> float:
        """Seconds from its first to its last moment."""
        return (self.ends_ms - self.begins_ms) / 1000


def judge_dates(dates: CertificateDates, instant: datetime) -> DateFault | None:
    """Why the certificate does not hold at the instant, None when it does."""
    now_ms = milliseconds(instant)
    if now_ms < dates.begins_ms:
        return DateFault.NOT_YET
    return DateFault.ENDED if now_ms > dates.ends_ms else None


def is_due(dates: CertificateDates, instant: datetime | None, *, is_refused: bool) -> bool:
    """True once two thirds of the certificate's life are over, or when the broker says that it has ended.

    The broker's word is all there is while the time is not known; it knows what day it is.
    """
    if is_refused:
        return True
    return instant is not None and 3 * (milliseconds(instant) - dates.begins_ms) >= 2 * (
        dates.ends_ms - dates.begins_ms
    )


class Urgency(StrEnum):
    """How an attempt stands: the first one when it fell due, a further one, or with a certificate that has ended."""

    FIRST = "first"
    AGAIN = "again"
    ENDED = "ended"


def pause_s(urgency: Urgency, failures: int, dates: CertificateDates, unit: float) -> float:
    """Seconds before the next attempt, after so many that failed; `unit` in [0, 1) spreads it over the whole range.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    growing_s = RETRY_FIRST_S * 2 ** min(failures, 16)
    match urgency:
        case Urgency.FIRST:
            ceiling_s = SPREAD_S
        case Urgency.AGAIN:
            ceiling_s = min(RETRY_MAX_S, growing_s)
        case Urgency.ENDED:
            ceiling_s = 0.0 if failures == 0 else min(RETRY_ENDED_S, growing_s)
        case _:
            assert_never(urgency)
    return unit * min(ceiling_s, dates.life_s / SHARE_OF_LIFE)

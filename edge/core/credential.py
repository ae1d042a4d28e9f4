"""Whether a shown credential names a member here and now: genuine, in date, not denied, not an old step.

Every refusal looks the same on the screen; the fault is kept for counters and for the one hint that helps, a phone
whose clock is off (its code is genuine, so the hint tells a stranger nothing).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.business_day import ClockReading
from shared.ids import MemberId
from shared.policy import Means
from shared.tokens import STEPS_AHEAD, Card, PhoneCode, Token, TokenFault, phone_offset_s, step_of, verify_token


class Denial(StrEnum):
    """Why a genuine credential is not accepted here."""

    DENIED = "denied"
    OLD_STEP = "old_step"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFacts:
    """What this kiosk knows about the member's credentials.

    `serial_floor` cards below it are denied; `phones_denied` every phone; `last_step` the newest step ever accepted
    from a phone here, or None.
    """

    serial_floor: int = 0
    phones_denied: bool = False
    last_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The credential is good: whose it is and what it was. `repeated` when a phone shows the last accepted step again.

    A repeated step grants nothing (the screen may say that today's reward was collected).
    """

    member: MemberId
    means: Means
    step: int | None
    serial: int | None
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAdmitted:
    """The credential is not good. `phone_ahead_s` is given exactly when the fault is WRONG_TIME."""

    fault: TokenFault | Denial
    phone_ahead_s: int | None = None


def judge_credential(
    token: Token, issuers: Mapping[int, Ed25519PublicKey], facts: CredentialFacts, reading: ClockReading
) -> Admitted | NotAdmitted:
    """Whether the parsed credential is accepted."""
    fault = verify_token(token, issuers, reading.instant)
    if fault is not None:
        return NotAdmitted(fault=fault, phone_ahead_s=_phone_ahead(token, fault, reading))
    match token:
        case Card():
            return _judge_card(token, facts)
        case PhoneCode():
            return _judge_phone(token, facts, reading)
        case _:
            assert_never(token)


def _judge_card(card: Card, facts: CredentialFacts) -> Admitted | NotAdmitted:
    if card.serial < facts.serial_floor:
        return NotAdmitted(fault=Denial.DENIED)
    return Admitted(member=card.member, means=Means.CARD, step=None, serial=card.serial, repeated=False)


def _judge_phone(code: PhoneCode, facts: CredentialFacts, reading: ClockReading) -> Admitted | NotAdmitted:
    if facts.phones_denied:
        return NotAdmitted(fault=Denial.DENIED)
    last_step = _possible_step(facts.last_step, reading)
    if last_step is not None and code.step < last_step:
        return NotAdmitted(fault=Denial.OLD_STEP)
    repeated = code.step == last_step
    return Admitted(member=code.member, means=Means.PHONE, step=code.step, serial=None, repeated=repeated)


def _possible_step(last_step: int | None, reading: ClockReading) -> int | None:
    """The last step, unless no right clock can have shown it yet.

    A phone whose clock was years ahead may have been accepted while the time was unknown; once set right it must not
    be turned away for years. Copies are then held off by the step's window alone.
    """
    if last_step is None or reading.instant is None:
        return last_step
    return last_step if last_step <= step_of(reading.instant) + STEPS_AHEAD else None


def _phone_ahead(token: Token, fault: TokenFault, reading: ClockReading) -> int | None:
    if fault is not TokenFault.WRONG_TIME or not isinstance(token, PhoneCode) or reading.instant is None:
        return None
    return phone_offset_s(token, reading.instant)

"""Which genuine credentials are accepted here, and what the refused ones learn."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core.credential import Admitted, CredentialFacts, Denial, NotAdmitted, judge_credential
from shared.business_day import ClockReading, ClockTrust
from shared.ids import MemberId
from shared.policy import Means
from shared.tokens import Token, TokenFault, certify_phone, issue_card, parse_token, show_phone_code, step_of

NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
TODAY = (NOON - datetime(1970, 1, 1, tzinfo=UTC)).days
NOW = ClockReading(instant=NOON, trust=ClockTrust.SYNCED)
UNKNOWN = ClockReading.unknown()
STEP = step_of(NOON)
ANNA = MemberId(b"anna000000")
ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
PHONE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
ISSUERS = {1: ISSUER.public_key()}


def parsed(text: str) -> Token:
    token = parse_token(text)
    assert not isinstance(token, TokenFault)
    return token


def a_card(serial: int = 5) -> Token:
    return parsed(issue_card(ISSUER, issuer=1, member=ANNA, serial=serial, expiry_day=TODAY))


def a_phone(step: int = STEP) -> Token:
    public = PHONE.public_key().public_bytes_raw()
    certificate = certify_phone(ISSUER, issuer=1, member=ANNA, expiry_day=TODAY, public_key=public)
    return parsed(show_phone_code(PHONE, certificate, step))


def phone_admitted(step: int = STEP, repeated: bool = False) -> Admitted:
    return Admitted(member=ANNA, means=Means.PHONE, step=step, serial=None, repeated=repeated)


@pytest.mark.parametrize(
    ("token", "facts", "reading", "judged"),
    [
        (
            a_card(),
            CredentialFacts(),
            NOW,
            Admitted(member=ANNA, means=Means.CARD, step=None, serial=5, repeated=False),
        ),
        (
            a_card(),
            CredentialFacts(serial_floor=5, phones_denied=True, last_step=STEP + 9),
            NOW,
            Admitted(member=ANNA, means=Means.CARD, step=None, serial=5, repeated=False),
        ),
        (a_card(), CredentialFacts(serial_floor=6), NOW, NotAdmitted(fault=Denial.DENIED)),
        (a_phone(), CredentialFacts(), NOW, phone_admitted()),
        (a_phone(), CredentialFacts(serial_floor=6), NOW, phone_admitted()),
        (a_phone(), CredentialFacts(phones_denied=True), NOW, NotAdmitted(fault=Denial.DENIED)),
        (a_phone(), CredentialFacts(last_step=STEP - 1), NOW, phone_admitted()),
        (a_phone(), CredentialFacts(last_step=STEP), NOW, phone_admitted(repeated=True)),
        (a_phone(), CredentialFacts(last_step=STEP + 1), NOW, NotAdmitted(fault=Denial.OLD_STEP)),
        # Accepted from a phone whose clock was ahead while the time was unknown here: no reason to refuse it now.
        (a_phone(), CredentialFacts(last_step=STEP + 2), NOW, phone_admitted()),
        (a_phone(), CredentialFacts(last_step=STEP + 2), UNKNOWN, NotAdmitted(fault=Denial.OLD_STEP)),
        (a_phone(STEP - 900), CredentialFacts(), UNKNOWN, phone_admitted(STEP - 900)),
        (a_phone(STEP + 2), CredentialFacts(), NOW, NotAdmitted(fault=TokenFault.WRONG_TIME, phone_ahead_s=60)),
        (a_phone(STEP - 4), CredentialFacts(), NOW, NotAdmitted(fault=TokenFault.WRONG_TIME, phone_ahead_s=-120)),
    ],
)
def test_a_genuine_credential_is_judged_by_what_is_known(
    token: Token, facts: CredentialFacts, reading: ClockReading, judged: Admitted | NotAdmitted
) -> None:
    assert judge_credential(token, ISSUERS, facts, reading) == judged


def test_only_a_wrong_phone_clock_is_told_what_is_wrong() -> None:
    forged = judge_credential(
        a_card(), {1: PHONE.public_key()}, CredentialFacts(), ClockReading(instant=NOON, trust=ClockTrust.HELD)
    )
    expired = judge_credential(
        a_phone(), ISSUERS, CredentialFacts(), ClockReading(instant=NOON + timedelta(days=1), trust=ClockTrust.HELD)
    )
    assert forged == NotAdmitted(fault=TokenFault.FORGED)
    assert expired == NotAdmitted(fault=TokenFault.EXPIRED)

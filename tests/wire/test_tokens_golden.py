"""The bytes of a card and a phone code never change: they are printed, and phones make them for years.

Each golden file holds the text as it is in the QR code (`.txt`) and the bytes behind it (`.bin`). A change of either
is a new token type, not a new golden file.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.ids import MemberId
from shared.tokens import (
    CARD_BYTES,
    PHONE_BYTES,
    PREFIX,
    Card,
    PhoneCode,
    base45_decode,
    certify_phone,
    issue_card,
    parse_token,
    show_phone_code,
    step_of,
    verify_token,
)

GOLDEN = Path(__file__).parent / "golden"
NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PHONE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
MEMBER = MemberId(bytes.fromhex("00112233445566778899"))
EXPIRY_DAY = 21_000


def a_card() -> str:
    return issue_card(ISSUER, issuer=1, member=MEMBER, serial=258, expiry_day=EXPIRY_DAY)


def a_phone_code() -> str:
    public = PHONE.public_key().public_bytes_raw()
    certificate = certify_phone(ISSUER, issuer=1, member=MEMBER, expiry_day=EXPIRY_DAY, public_key=public)
    return show_phone_code(PHONE, certificate, step_of(NOON))


def golden_text(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text(encoding="ascii")


@pytest.mark.parametrize(
    ("name", "made", "length"), [("token-card", a_card(), CARD_BYTES), ("token-phone", a_phone_code(), PHONE_BYTES)]
)
def test_a_token_is_made_as_it_always_was(name: str, made: str, length: int) -> None:
    assert made == golden_text(name)
    data = base45_decode(made.removeprefix(PREFIX))
    assert data == (GOLDEN / f"{name}.bin").read_bytes()
    assert len(data) == length


def test_a_card_printed_long_ago_is_read() -> None:
    card = parse_token(golden_text("token-card"))
    assert isinstance(card, Card)
    assert (card.issuer, card.member, card.serial, card.expiry_day, card.flags) == (1, MEMBER, 258, EXPIRY_DAY, 1)
    assert verify_token(card, {1: ISSUER.public_key()}, NOON) is None


def test_a_phone_made_long_ago_is_read() -> None:
    code = parse_token(golden_text("token-phone"))
    assert isinstance(code, PhoneCode)
    assert (code.issuer, code.member, code.expiry_day, code.flags) == (1, MEMBER, EXPIRY_DAY, 1)
    assert (code.public_key, code.step) == (PHONE.public_key().public_bytes_raw(), 59_839_080)
    assert verify_token(code, {1: ISSUER.public_key()}, NOON) is None


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        (
            "token-card",
            ["11", "01", "00112233445566778899", "0102", "5208", "01"],  # type, issuer, member, serial, expiry, flags
        ),
        (
            "token-phone",
            [
                "12",
                "01",
                "00112233445566778899",
                "5208",
                "01",
                PHONE.public_key().public_bytes_raw().hex(),
            ],  # type, issuer, member, expiry, flags, the phone's key
        ),
    ],
)
def test_every_field_has_its_place(name: str, layout: list[str]) -> None:
    assert (GOLDEN / f"{name}.bin").read_bytes().hex().startswith("".join(layout))

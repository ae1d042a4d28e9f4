"""The member credential: published vectors, exact lengths, and one refusal for each thing that can be wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import MemberId
from shared.signing import is_signed_by, load_public_key, sign
from shared.tokens import (
    PREFIX,
    Card,
    PhoneCode,
    TokenFault,
    base45_decode,
    base45_encode,
    certify_phone,
    issue_card,
    parse_token,
    phone_offset_s,
    show_phone_code,
    step_of,
    verify_token,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TODAY = (NOW - datetime(1970, 1, 1, tzinfo=UTC)).days
MEMBER = MemberId(bytes(range(10)))
ISSUER = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
PHONE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
ISSUERS = {1: ISSUER.public_key()}


def a_card(**changes: int) -> str:
    fields = {"issuer": 1, "serial": 7, "expiry_day": TODAY} | changes
    return issue_card(ISSUER, member=MEMBER, **fields)


def a_phone_code(at: datetime = NOW, **changes: int) -> str:
    fields = {"issuer": 1, "expiry_day": TODAY} | changes
    public = PHONE.public_key().public_bytes_raw()
    return show_phone_code(PHONE, certify_phone(ISSUER, member=MEMBER, public_key=public, **fields), step_of(at))


def verdict(text: str, instant: datetime | None = NOW) -> TokenFault | None:
    token = parse_token(text)
    return token if isinstance(token, TokenFault) else verify_token(token, ISSUERS, instant)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581"), (b"ietf!", "QED8WEX0"), (b"", "")],
)
def test_the_examples_of_rfc_9285(data: bytes, text: str) -> None:
    assert base45_encode(data) == text
    assert base45_decode(text) == data


@pytest.mark.parametrize("text", ["GGW", ":::", "A", "ABCD", "a00", "AB\n", "::", "Ü00"])
def test_what_rfc_9285_forbids_is_no_text(text: str) -> None:
    assert base45_decode(text) is None


@given(st.binary(max_size=200))
def test_base45_returns_what_it_was_given(data: bytes) -> None:
    assert base45_decode(base45_encode(data)) == data


@pytest.mark.parametrize(
    ("secret", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_the_first_vectors_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw().hex() == public
    assert sign(key, b"", bytes.fromhex(message)).hex() == signature
    assert is_signed_by(key.public_key(), bytes.fromhex(signature), b"", bytes.fromhex(message))
    assert not is_signed_by(key.public_key(), bytes.fromhex(signature), b"x", bytes.fromhex(message))


def test_a_public_key_has_32_bytes() -> None:
    assert load_public_key(b"short") is None
    assert isinstance(load_public_key(ISSUER.public_key().public_bytes_raw()), Ed25519PublicKey)


def test_a_card_says_what_was_issued() -> None:
    card = parse_token(a_card())
    assert isinstance(card, Card)
    assert (card.issuer, card.member, card.serial, card.expiry_day, card.flags) == (1, MEMBER, 7, TODAY, 1)
    assert verdict(a_card()) is None


def test_a_phone_code_says_what_was_certified() -> None:
    code = parse_token(a_phone_code())
    assert isinstance(code, PhoneCode)
    assert (code.member, code.step) == (MEMBER, step_of(NOW))
    assert verdict(a_phone_code()) is None


def test_the_texts_have_the_lengths_that_fit_their_printed_size() -> None:
    assert (len(a_card()), len(a_phone_code())) == (126, 273)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("https://example.org/x", TokenFault.FOREIGN),
        ("ds1:" + a_card()[4:], TokenFault.FOREIGN),
        ("", TokenFault.FOREIGN),
        (PREFIX, TokenFault.MALFORMED),
        (PREFIX + "A" * 297, TokenFault.MALFORMED),
        (a_card() + "0", TokenFault.MALFORMED),
        (a_card()[:-3], TokenFault.MALFORMED),
        (PREFIX + base45_encode(b"\x12" + bytes(80)), TokenFault.MALFORMED),
        (PREFIX + base45_encode(b"\x11" + bytes(178)), TokenFault.MALFORMED),
        (a_card(issuer=2), TokenFault.UNKNOWN_ISSUER),
        (a_card(flags=0), TokenFault.MAY_NOT_CLAIM),
        (a_card(flags=3), TokenFault.MAY_NOT_CLAIM),
        (a_card(expiry_day=TODAY - 1), TokenFault.EXPIRED),
        (a_phone_code(expiry_day=TODAY - 1), TokenFault.EXPIRED),
    ],
)
def test_each_thing_that_can_be_wrong(text: str, fault: TokenFault) -> None:
    assert verdict(text) is fault


@pytest.mark.parametrize("text", [a_card(), a_phone_code()])
def test_one_flipped_bit_anywhere_is_never_accepted(text: str) -> None:
    data = base45_decode(text[len(PREFIX) :])
    assert data is not None
    for index in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[index // 8] ^= 1 << (index % 8)
        assert verdict(PREFIX + base45_encode(bytes(flipped))) is not None


@pytest.mark.parametrize(("steps", "is_good"), [(-3, False), (-2, True), (0, True), (1, True), (2, False)])
def test_a_phone_may_lag_by_two_steps_and_lead_by_one(steps: int, is_good: bool) -> None:
    at = NOW + steps * timedelta(seconds=30)
    assert verdict(a_phone_code(at)) is (None if is_good else TokenFault.WRONG_TIME)


def test_without_a_trusted_clock_window_and_expiry_are_left_to_others() -> None:
    assert verdict(a_phone_code(NOW - timedelta(days=1), expiry_day=1), None) is None
    assert verdict(a_card(expiry_day=1), None) is None


def test_how_far_a_phone_is_ahead() -> None:
    code = parse_token(a_phone_code(NOW + timedelta(minutes=5)))
    assert isinstance(code, PhoneCode)
    assert phone_offset_s(code, NOW) == 300


@given(st.text(max_size=320))
def test_no_text_crashes_the_parser_or_is_accepted(text: str) -> None:
    assert verdict(text) is not None
    assert verdict(PREFIX + text) is not None

"""The member's QR credential: text on a card or a phone, back to a member who proved to hold it.

`DS1:` + base45 (RFC 9285) + bytes of an exact length for each type. A kiosk holds issuer *public* keys only: a
stolen card forges nothing, a stolen kiosk mints nothing. Text is hostile until prefix, length, alphabet,
structure and signature have passed, in that order. Source of the layout and sizes: the decoder measurements that
put a printed card at QR version 8-Q and a phone code at 10-M.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.business_day import milliseconds
from shared.ids import MEMBER_ID_BYTES, MemberId
from shared.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, is_signed_by, load_public_key, sign

PREFIX = "DS1:"
TEXT_LENGTH_MAX = 300  # a phone code is 273 characters; longer text is refused before any parsing
STEP_S = 30
STEPS_BACK = 2  # phones lag by up to a minute and a half: two minutes accepted in all
STEPS_AHEAD = 1
MAY_CLAIM = 0x01  # flag bit 0: this credential may claim a reward; other bits are reserved and zero

CARD_TYPE = 0x11
PHONE_TYPE = 0x12
_CARD_SIGNED = 1 + 1 + MEMBER_ID_BYTES + 2 + 2 + 1
CARD_BYTES = _CARD_SIGNED + SIGNATURE_BYTES
_PHONE_CERTIFIED = 1 + 1 + MEMBER_ID_BYTES + 2 + 1 + PUBLIC_KEY_BYTES
PHONE_CERTIFICATE_BYTES = _PHONE_CERTIFIED + SIGNATURE_BYTES
_PHONE_SIGNED = PHONE_CERTIFICATE_BYTES + 4
PHONE_BYTES = _PHONE_SIGNED + SIGNATURE_BYTES

CARD_CONTEXT = b"DS1S"
PHONE_CERTIFICATE_CONTEXT = b"DS1R"
PHONE_CONTEXT = b"DS1P"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_NO_DIGIT = 255
_DIGITS = bytes(_ALPHABET.find(chr(code)) % 256 for code in range(256))  # -1, no digit, becomes 255


class TokenFault(StrEnum):
    """Why a text is not an accepted credential. The screen shows one answer for all but WRONG_TIME."""

    FOREIGN = "foreign"
    MALFORMED = "malformed"
    UNKNOWN_ISSUER = "unknown_issuer"
    FORGED = "forged"
    EXPIRED = "expired"
    MAY_NOT_CLAIM = "may_not_claim"
    WRONG_TIME = "wrong_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A printed card, type 0x11. `expiry_day` counts days since 1970-01-01; the card is good through that day (UTC)."""

    issuer: int
    member: MemberId
    serial: int
    expiry_day: int
    flags: int
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneCode:
    """A rotating phone code, type 0x12: a certificate for the phone's key, a 30-second step, the phone's signature."""

    issuer: int
    member: MemberId
    expiry_day: int
    flags: int
    public_key: bytes
    certified: bytes
    certificate_signature: bytes
    step: int
    signed: bytes
    signature: bytes


Token = Card | PhoneCode


def base45_encode(data: bytes) -> str:
    """RFC 9285 text of the bytes."""
    characters: list[str] = []
    for index in range(0, len(data), 2):
        pair = data[index : index + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, 45)
            characters.append(_ALPHABET[digit])
    return "".join(characters)


def base45_decode(text: str) -> bytes | None:
    """The bytes behind RFC 9285 text, or None when it is not such a text (alphabet, length or a group too large)."""
    if len(text) % 3 == 1 or not text.isascii():
        return None
    digits = text.encode("ascii").translate(_DIGITS)
    if _NO_DIGIT in digits:
        return None
    # Three digits are two bytes, and two at the end are one. In whole columns, as this runs for every code in view.
    whole = digits[: len(digits) // 3 * 3]
    pairs = [a + 45 * b + 2025 * c for a, b, c in zip(whole[::3], whole[1::3], whole[2::3], strict=True)]
    last = [digits[-2] + 45 * digits[-1]] if len(digits) % 3 == 2 else []
    if max(pairs, default=0) > 0xFFFF or max(last, default=0) > 0xFF:
        return None
    return struct.pack(f">{len(pairs)}H", *pairs) + bytes(last)


def parse_token(text: str) -> Token | TokenFault:
    """The credential in the text, its signatures not yet checked, or FOREIGN or MALFORMED."""
    if not text.startswith(PREFIX):
        return TokenFault.FOREIGN
    if len(text) > TEXT_LENGTH_MAX:
        return TokenFault.MALFORMED
    data = base45_decode(text[len(PREFIX) :])
    if data is None:
        return TokenFault.MALFORMED
    if len(data) == CARD_BYTES and data[0] == CARD_TYPE:
        return _read_card(data)
    if len(data) == PHONE_BYTES and data[0] == PHONE_TYPE:
        return _read_phone_code(data)
    return TokenFault.MALFORMED


def _read_card(data: bytes) -> Card:
    return Card(
        issuer=data[1],
        member=MemberId(data[2:12]),
        serial=int.from_bytes(data[12:14], "big"),
        expiry_day=int.from_bytes(data[14:16], "big"),
        flags=data[16],
        signed=data[:_CARD_SIGNED],
        signature=data[_CARD_SIGNED:],
    )


def _read_phone_code(data: bytes) -> PhoneCode:
    return PhoneCode(
        issuer=data[1],
        member=MemberId(data[2:12]),
        expiry_day=int.from_bytes(data[12:14], "big"),
        flags=data[14],
        public_key=data[15:47],
        certified=data[:_PHONE_CERTIFIED],
        certificate_signature=data[_PHONE_CERTIFIED:PHONE_CERTIFICATE_BYTES],
        step=int.from_bytes(data[PHONE_CERTIFICATE_BYTES:_PHONE_SIGNED], "big"),
        signed=data[:_PHONE_SIGNED],
        signature=data[_PHONE_SIGNED:],
    )


def verify_token(token: Token, issuers: Mapping[int, Ed25519PublicKey], instant: datetime | None) -> TokenFault | None:
    """None when the credential is genuine and in date, else the first fault found.

    `issuers` maps key ids to public keys. `instant` is None when the clock is not trusted: expiry and the step's
    window are then left to the rule that steps only grow, and to the cloud.
    """
    issuer = issuers.get(token.issuer)
    if issuer is None:
        return TokenFault.UNKNOWN_ISSUER
    if not _is_genuine(token, issuer):
        return TokenFault.FORGED
    if token.flags != MAY_CLAIM:
        return TokenFault.MAY_NOT_CLAIM
    if instant is None:
        return None
    if milliseconds(instant) // 86_400_000 > token.expiry_day:
        return TokenFault.EXPIRED
    if isinstance(token, PhoneCode) and not -STEPS_AHEAD <= step_of(instant) - token.step <= STEPS_BACK:
        return TokenFault.WRONG_TIME
    return None


def _is_genuine(token: Token, issuer: Ed25519PublicKey) -> bool:
    match token:
        case Card():
            return is_signed_by(issuer, token.signature, CARD_CONTEXT, token.signed)
        case PhoneCode():
            phone = load_public_key(token.public_key)
            return (
                phone is not None
                and is_signed_by(issuer, token.certificate_signature, PHONE_CERTIFICATE_CONTEXT, token.certified)
                and is_signed_by(phone, token.signature, PHONE_CONTEXT, token.signed)
            )
        case _:
            assert_never(token)


def step_of(instant: datetime) -> int:
    """The 30-second step that a phone with a right clock shows at the instant."""
    return milliseconds(instant) // (STEP_S * 1000)


def phone_offset_s(token: PhoneCode, instant: datetime) -> int:
    """How far the phone's clock is ahead of ours, in seconds (negative: behind), to the nearest step."""
    return (token.step - step_of(instant)) * STEP_S


def issue_card(
    issuer_key: Ed25519PrivateKey,
    *,
    issuer: int,
    member: MemberId,
    serial: int,
    expiry_day: int,
    flags: int = MAY_CLAIM,
) -> str:
    """The text to print as a QR code (126 characters: version 8-Q)."""
    signed = (
        bytes([CARD_TYPE, issuer]) + member + serial.to_bytes(2, "big") + expiry_day.to_bytes(2, "big") + bytes([flags])
    )
    return PREFIX + base45_encode(signed + sign(issuer_key, CARD_CONTEXT, signed))


def certify_phone(
    issuer_key: Ed25519PrivateKey,
    *,
    issuer: int,
    member: MemberId,
    expiry_day: int,
    public_key: bytes,
    flags: int = MAY_CLAIM,
) -> bytes:
    """111 bytes that vouch for a phone's public key (32 raw bytes); the phone adds step and signature itself."""
    assert len(public_key) == PUBLIC_KEY_BYTES
    certified = bytes([PHONE_TYPE, issuer]) + member + expiry_day.to_bytes(2, "big") + bytes([flags]) + public_key
    return certified + sign(issuer_key, PHONE_CERTIFICATE_CONTEXT, certified)


def show_phone_code(phone_key: Ed25519PrivateKey, certificate: bytes, step: int) -> str:
    """The text a phone shows during the step (273 characters: version 10-M)."""
    assert len(certificate) == PHONE_CERTIFICATE_BYTES
    signed = certificate + step.to_bytes(4, "big")
    return PREFIX + base45_encode(signed + sign(phone_key, PHONE_CONTEXT, signed))

"""What the kiosks of one store say to each other on their own network: one question and one answer a connection.

Who is on the other end was proved by its certificate before a byte was read; a question names nobody. Nothing here
names a member: a claim's id tells nothing to whoever does not hold the naming key, and kiosks do.
"""

import hashlib
from datetime import date
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from shared.decoding import UNREADABLE
from shared.ids import CLAIM_ID_BYTES, DeviceId
from shared.signing import is_signed_by, load_public_key, sign

LAN_BYTES_MAX = 1024  # the longest is a signed time, of about 150 bytes
LAN_TIME_CONTEXT = b"DSLT1"
LAN_BOOT_CONTEXT = b"DSLB1"
NONCE_BYTES = 16

Claim = Annotated[bytes, Meta(min_length=CLAIM_ID_BYTES, max_length=CLAIM_ID_BYTES)]
Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Boot = Annotated[str, Meta(min_length=1, max_length=64)]  # the kernel's boot id has 36 characters
Uptime = Annotated[int, Meta(ge=0, le=2**53)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class PresenceAsked(msgspec.Struct, frozen=True, kw_only=True, tag="there?"):
    """Is anybody there? I have been up for `monotonic_ms` in this boot."""

    boot: Boot
    monotonic_ms: Uptime


class BootAsked(msgspec.Struct, frozen=True, kw_only=True, tag="boot?"):
    """When was that boot of mine, which ended before I knew the time?"""

    boot: Boot


class RightAsked(msgspec.Struct, frozen=True, kw_only=True, tag="right?"):
    """May I show the coupon of this claim, of this business day?"""

    claim: Claim
    business_day: Day


class LanTimeAsked(msgspec.Struct, frozen=True, kw_only=True, tag="time?"):
    """What time is it?"""

    nonce: Nonce


class Present(msgspec.Struct, frozen=True, tag="there"):
    """I am."""


class RightTold(msgspec.Struct, frozen=True, kw_only=True, tag="right"):
    """Whose the coupon is by my word, which is written down; None when I could not write it."""

    holder: str | None


class LanTimeTold(msgspec.Struct, frozen=True, kw_only=True, tag="time"):
    """My clock when I read your question, signed; None when nobody vouches for it."""

    instant_ms: int | None
    signature: bytes


class BootTold(msgspec.Struct, frozen=True, kw_only=True, tag="boot"):
    """You had been up for `monotonic_ms` at that instant, signed; None when I cannot say."""

    monotonic_ms: Uptime
    instant_ms: int | None
    signature: bytes


LanQuestion = PresenceAsked | RightAsked | LanTimeAsked | BootAsked
LanAnswer = Present | RightTold | LanTimeTold | BootTold

_question_decoder: msgspec.msgpack.Decoder[LanQuestion] = msgspec.msgpack.Decoder(LanQuestion)
_answer_decoder: msgspec.msgpack.Decoder[LanAnswer] = msgspec.msgpack.Decoder(LanAnswer)


def decode_question(data: bytes) -> LanQuestion | None:
    """The question in the bytes, or None; a day in it is one of the calendar."""
    try:
        question = _question_decoder.decode(data)
        if isinstance(question, RightAsked):
            date.fromisoformat(question.business_day)
    except (*UNREADABLE, ValueError):
        return None
    return question


def decode_answer(data: bytes) -> LanAnswer | None:
    """The answer in the bytes, or None."""
    try:
        return _answer_decoder.decode(data)
    except UNREADABLE:
        return None


def tell_lan_time(key: Ed25519PrivateKey, nonce: bytes, instant_ms: int | None) -> LanTimeTold:
    """The time for the question with this nonce, signed by the kiosk; None when it does not know it."""
    if instant_ms is None:
        return LanTimeTold(instant_ms=None, signature=b"")
    return LanTimeTold(instant_ms=instant_ms, signature=sign(key, LAN_TIME_CONTEXT, _time_message(nonce, instant_ms)))


def believe_lan_time(told: LanTimeTold, nonce: bytes, public: bytes) -> int | None:
    """The instant in milliseconds since 1970 when the kiosk with that key told it for this nonce, else None."""
    key = load_public_key(public)
    if told.instant_ms is None or key is None or not 0 <= told.instant_ms < 2**53:
        return None
    message = _time_message(nonce, told.instant_ms)
    return told.instant_ms if is_signed_by(key, told.signature, LAN_TIME_CONTEXT, message) else None


def tell_boot(key: Ed25519PrivateKey, asker: DeviceId, boot: str, monotonic_ms: int, instant_ms: int) -> BootTold:
    """When the asker had been up for so long in that boot, signed by the kiosk that saw it."""
    signature = sign(key, LAN_BOOT_CONTEXT, _boot_message(asker, boot, monotonic_ms, instant_ms))
    return BootTold(monotonic_ms=monotonic_ms, instant_ms=instant_ms, signature=signature)


def believe_boot(told: BootTold, asker: DeviceId, boot: str, public: bytes) -> int | None:
    """The instant in milliseconds since 1970 when the kiosk with that key told it of this boot, else None."""
    key = load_public_key(public)
    if told.instant_ms is None or key is None or not 0 <= told.instant_ms < 2**53:
        return None
    message = _boot_message(asker, boot, told.monotonic_ms, told.instant_ms)
    return told.instant_ms if is_signed_by(key, told.signature, LAN_BOOT_CONTEXT, message) else None


def _boot_message(asker: DeviceId, boot: str, monotonic_ms: int, instant_ms: int) -> bytes:
    names = asker.encode() + b"\0" + boot.encode() + b"\0"
    return hashlib.sha256(names + monotonic_ms.to_bytes(8, "big") + instant_ms.to_bytes(8, "big")).digest()


def _time_message(nonce: bytes, instant_ms: int) -> bytes:
    return hashlib.sha256(nonce + instant_ms.to_bytes(8, "big")).digest()

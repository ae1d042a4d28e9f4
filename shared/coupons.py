"""The coupon of an instant reward: the text that its code holds.

A coupon names the claim it comes with, so that two codes for one claim are seen to be one right, whoever showed them.
It is signed by the kiosk that showed it: who holds the store's list of kiosks can check it without the cloud. That it
was used before only somebody who keeps a list can know; nothing here does.
"""

import base64
import binascii
import hashlib

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.decoding import UNREADABLE
from shared.ids import CLAIM_ID_BYTES, ClaimId, DeviceId, parse_device
from shared.policy import SERIES_LENGTH_MAX
from shared.signing import SIGNATURE_BYTES, is_signed_by, sign

COUPON_PREFIX = "DSC1:"
COUPON_CONTEXT = b"DSC1S"
COUPON_LENGTH_MAX = 240  # 184 characters of text, and all the lengths that its parts may have


class Coupon(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a coupon's code says: one of `series`, with that claim, shown by that kiosk."""

    claim: bytes
    device: str
    series: str


def issue_coupon(key: Ed25519PrivateKey, *, claim: ClaimId, device: DeviceId, series: str) -> str:
    """The coupon's text, signed by the kiosk; at most COUPON_LENGTH_MAX characters."""
    body = msgspec.msgpack.encode(Coupon(claim=claim, device=device, series=series))
    signed = base64.urlsafe_b64encode(sign(key, COUPON_CONTEXT, body) + body).decode().rstrip("=")
    return COUPON_PREFIX + signed


def read_coupon(text: str) -> Coupon | None:
    """What the text says, its signature not checked; None when it is no coupon."""
    opened = _open(text)
    return None if opened is None else opened[0]


def is_issued_by(text: str, key: Ed25519PublicKey) -> bool:
    """True when the text is a coupon that the kiosk with this key signed."""
    opened = _open(text)
    return opened is not None and is_signed_by(key, opened[1], COUPON_CONTEXT, opened[2])


def digest_of(text: str) -> bytes:
    """32 bytes that stand for the coupon where its text is not kept."""
    return hashlib.sha256(text.encode()).digest()


def _open(text: str) -> tuple[Coupon, bytes, bytes] | None:
    """The coupon, its signature and the bytes that are signed."""
    if len(text) > COUPON_LENGTH_MAX or not text.startswith(COUPON_PREFIX):
        return None
    packed = text.removeprefix(COUPON_PREFIX)
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        coupon = msgspec.msgpack.decode(raw[SIGNATURE_BYTES:], type=Coupon)
    except (binascii.Error, ValueError, *UNREADABLE):
        return None
    fits = len(coupon.claim) == CLAIM_ID_BYTES and 0 < len(coupon.series) <= SERIES_LENGTH_MAX
    return (coupon, raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]) if fits and parse_device(coupon.device) else None

"""The request by which a new kiosk asks to join its store's group: a text that it shows as a QR on its own screen.

A member of staff holds the new kiosk's screen to a kiosk of the group: what is read there came from the machine in
their hands and from nobody on the way. The sealing key never reaches the cloud; to know it is what lets the group's
kiosks, and nobody else, wrap a secret for this one. The text carries a checksum against a bad reading, no signature:
a key that signs would have to be vouched for by the cloud, and the hand that holds the screen is the better witness.
"""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from shared.biometrics import SEALING_PUBLIC_BYTES
from shared.ids import DEVICE_ID_LENGTH_MAX, DeviceId, parse_device

REQUEST_PREFIX: Final = "DSG1:"
CHECKSUM_BYTES: Final = 4
_KEY_CHARACTERS: Final = 58
REQUEST_LENGTH_MAX: Final = len(REQUEST_PREFIX) + DEVICE_ID_LENGTH_MAX + 1 + _KEY_CHARACTERS
"""96 characters, all of a QR code's alphanumeric mode: a small code, easy to hold to a camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """A kiosk asks for the secret of its store's group. `sealing_public` is its X25519 key, 32 bytes."""

    device: DeviceId
    sealing_public: bytes


def encode_request(request: GroupRequest) -> str:
    """`DSG1:`, the device in capitals, a full stop, and key with checksum as 58 base32 characters."""
    body = request.sealing_public + _checksum(request)
    return f"{REQUEST_PREFIX}{request.device.upper()}.{base64.b32encode(body).decode().rstrip('=')}"


def parse_request(text: str) -> GroupRequest | None:
    """The request that `encode_request` wrote, or None: nothing else is accepted, no other spelling of it either."""
    if len(text) > REQUEST_LENGTH_MAX or not text.startswith(REQUEST_PREFIX):
        return None
    device_text, _, key_text = text[len(REQUEST_PREFIX) :].partition(".")
    device, body = parse_device(device_text.lower()), _unbase32(key_text)
    if device is None or body is None:
        return None
    request = GroupRequest(device=device, sealing_public=body[:SEALING_PUBLIC_BYTES])
    return request if encode_request(request) == text else None


def _checksum(request: GroupRequest) -> bytes:
    return sha256(b"DSG1" + request.device.encode() + b":" + request.sealing_public).digest()[:CHECKSUM_BYTES]


def _unbase32(characters: str) -> bytes | None:
    if len(characters) != _KEY_CHARACTERS:
        return None
    try:
        return base64.b32decode(characters + "=" * (-len(characters) % 8))
    except (binascii.Error, ValueError):
        return None

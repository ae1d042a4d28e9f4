"""The text by which the groups of two stores get to know each other, shown as a QR on a kiosk's own screen.

A person carries it to a kiosk of the other store, on paper or as a picture of the screen: what is read there came from
a machine that somebody stood at. Were it to come from the cloud, a cloud could introduce a group of its own. The text
holds nothing secret and carries a checksum against a bad reading, no signature: no key is known yet to sign with.
"""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from shared.biometrics import GROUP_KEY_BYTES, INTAKE_PUBLIC_BYTES
from shared.ids import STORE_ID_LENGTH_MAX, StoreId, parse_store

INTRODUCTION_PREFIX: Final = "DSI1:"
CHECKSUM_BYTES: Final = 4
_KEY_CHARACTERS: Final = 71
INTRODUCTION_LENGTH_MAX: Final = len(INTRODUCTION_PREFIX) + STORE_ID_LENGTH_MAX + 1 + _KEY_CHARACTERS
"""117 characters, all of a QR code's alphanumeric mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupIntroduction:
    """The group of a store: `key` names its secret, `intake_public` is the key by which it takes templates in."""

    store: StoreId
    key: bytes
    intake_public: bytes


def encode_introduction(introduction: GroupIntroduction) -> str:
    """`DSI1:`, the store in capitals, a full stop, and both keys with their checksum as 71 base32 characters."""
    body = introduction.key + introduction.intake_public + _checksum(introduction)
    return f"{INTRODUCTION_PREFIX}{introduction.store.upper()}.{base64.b32encode(body).decode().rstrip('=')}"


def parse_introduction(text: str) -> GroupIntroduction | None:
    """The introduction that `encode_introduction` wrote, or None: no other spelling of it is accepted either."""
    if len(text) > INTRODUCTION_LENGTH_MAX or not text.startswith(INTRODUCTION_PREFIX):
        return None
    store_text, _, key_text = text[len(INTRODUCTION_PREFIX) :].partition(".")
    store, body = parse_store(store_text.lower()), _unbase32(key_text)
    if store is None or body is None:
        return None
    introduction = GroupIntroduction(
        store=store,
        key=body[:GROUP_KEY_BYTES],
        intake_public=body[GROUP_KEY_BYTES : GROUP_KEY_BYTES + INTAKE_PUBLIC_BYTES],
    )
    return introduction if encode_introduction(introduction) == text else None


def _checksum(introduction: GroupIntroduction) -> bytes:
    said = introduction.store.encode() + b":" + introduction.key + introduction.intake_public
    return sha256(b"DSI1" + said).digest()[:CHECKSUM_BYTES]


def _unbase32(characters: str) -> bytes | None:
    if len(characters) != _KEY_CHARACTERS:
        return None
    try:
        return base64.b32decode(characters + "=" * (-len(characters) % 8))
    except (binascii.Error, ValueError):
        return None

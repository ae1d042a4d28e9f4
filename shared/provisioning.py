"""How a new kiosk and its cloud come to trust each other: the code's text, the proofs and the fingerprint.

Pure, and nothing but `shared` is imported: the device computes every one of these for itself. A technician types the
code; the device fetches the CA without trusting anybody, compares it with the pin in the code, then proves over TLS
that it holds both of its keys. Two people compare the fingerprint, which commits to both, before it is certified.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.ids import DeviceId
from shared.signing import is_signed_by, load_public_key, sign

CODE_PREFIX: Final = "DSP1"
SECRET_BYTES: Final = 10
PIN_BYTES: Final = 16
CODE_LENGTH_MAX: Final = 120  # a code has 51 characters; people add spaces
FINGERPRINT_BYTES: Final = 10  # 80 bits: nobody finds other keys with the same fingerprint
CLAIM_CONTEXT: Final = b"DSPC1"
RENEWAL_CONTEXT: Final = b"DSPN1"
_SECRET_CHARACTERS: Final = 16
_PIN_CHARACTERS: Final = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCode:
    """What the technician types: a secret good for one kiosk of one store, and the pin of the cloud's CA."""

    secret: bytes
    ca_pin: bytes


def format_code(code: ClaimCode) -> str:
    """`DSP1-ABCD-EFGH-IJKL-MNOP-` and 26 more base32 characters: 51 in all."""
    secret, pin = _base32(code.secret), _base32(code.ca_pin)
    return "-".join((CODE_PREFIX, *_groups(secret), pin))


def parse_code(text: str) -> ClaimCode | None:
    """The code in what a person typed (case, spaces and hyphens do not matter), or None."""
    if len(text) > CODE_LENGTH_MAX:
        return None
    characters = _bare(text)
    if len(characters) != len(CODE_PREFIX) + _SECRET_CHARACTERS + _PIN_CHARACTERS:
        return None
    if not characters.startswith(CODE_PREFIX):
        return None
    secret = _unbase32(characters[len(CODE_PREFIX) : -_PIN_CHARACTERS])
    pin = _unbase32(characters[-_PIN_CHARACTERS:])
    return None if secret is None or pin is None else ClaimCode(secret=secret, ca_pin=pin)


def format_secret(secret: bytes) -> str:
    """The secret as the device posts it: four groups of four base32 characters. The pin never leaves the device."""
    return "-".join(_groups(_base32(secret)))


def parse_secret(text: str) -> bytes | None:
    """The secret in the text, or None."""
    characters = _bare(text)
    return _unbase32(characters) if len(characters) == _SECRET_CHARACTERS else None


def ca_has_pin(ca_der: bytes, pin: bytes) -> bool:
    """True when the CA certificate is the one the code speaks of."""
    return hmac.compare_digest(hashlib.sha256(ca_der).digest()[:PIN_BYTES], pin)


def fingerprint_of(tls_public_der: bytes, signing_public: bytes) -> str:
    """Four groups of four characters that stand for both keys of a device.

    `tls_public_der` is the TLS key's SubjectPublicKeyInfo, `signing_public` the 32 raw bytes of the signing key.
    """
    digest = hashlib.sha256(b"DSPF1" + hashlib.sha256(tls_public_der).digest() + signing_public).digest()
    return "-".join(_groups(_base32(digest[:FINGERPRINT_BYTES]).lower()))


def same_fingerprint(one: str, other: str) -> bool:
    """True when two people who read these aloud would agree."""
    return _bare(one) == _bare(other)


def prove_claim(signing_key: Ed25519PrivateKey, secret: bytes, csr_der: bytes) -> bytes:
    """64 bytes: the signing key's holder wants this CSR certified under this code."""
    return sign(signing_key, CLAIM_CONTEXT, _claim_message(secret, csr_der))


def is_claim_proved(signing_public: bytes, proof: bytes, secret: bytes, csr_der: bytes) -> bool:
    """True when the proof is that key's over this code and this CSR."""
    key = load_public_key(signing_public)
    return key is not None and is_signed_by(key, proof, CLAIM_CONTEXT, _claim_message(secret, csr_der))


def prove_renewal(signing_key: Ed25519PrivateKey, device: DeviceId, serial: str, csr_der: bytes) -> bytes:
    """64 bytes: the device, certified under `serial` so far, wants this CSR certified next."""
    return sign(signing_key, RENEWAL_CONTEXT, _renewal_message(device, serial, csr_der))


def is_renewal_proved(signing_public: bytes, proof: bytes, device: DeviceId, serial: str, csr_der: bytes) -> bool:
    """True when the proof is that key's over this device, certificate and CSR."""
    key = load_public_key(signing_public)
    return key is not None and is_signed_by(key, proof, RENEWAL_CONTEXT, _renewal_message(device, serial, csr_der))


def poll_token_of(secret: bytes, device: DeviceId) -> str:
    """The token with which the claimant asks for its certificate; asked twice, the cloud gives the same."""
    return hmac.new(secret, b"DSPT1" + device.encode(), hashlib.sha256).hexdigest()


def _claim_message(secret: bytes, csr_der: bytes) -> bytes:
    return secret + hashlib.sha256(csr_der).digest()


def _renewal_message(device: DeviceId, serial: str, csr_der: bytes) -> bytes:
    return f"{device}:{serial}:".encode() + hashlib.sha256(csr_der).digest()


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _unbase32(characters: str) -> bytes | None:
    try:
        return base64.b32decode(characters + "=" * (-len(characters) % 8))
    except (binascii.Error, ValueError):
        return None


def _groups(characters: str) -> list[str]:
    return [characters[at : at + 4] for at in range(0, len(characters), 4)]


def _bare(text: str) -> str:
    return "".join(text.split()).replace("-", "").upper()

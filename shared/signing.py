"""Ed25519 signatures under a named context, so that a signature made for one purpose is worthless for another."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32


def sign(private_key: Ed25519PrivateKey, context: bytes, message: bytes) -> bytes:
    """64 bytes: the RFC 8032 signature over context + message."""
    return private_key.sign(context + message)


def is_signed_by(public_key: Ed25519PublicKey, signature: bytes, context: bytes, message: bytes) -> bool:
    """True when the signature over context + message is the key's."""
    try:
        public_key.verify(signature, context + message)
    except InvalidSignature:
        return False
    return True


def load_public_key(raw: bytes) -> Ed25519PublicKey | None:
    """The key in 32 raw bytes, or None when they are not one."""
    if len(raw) != PUBLIC_KEY_BYTES:
        return None
    return Ed25519PublicKey.from_public_bytes(raw)

"""Seals templates to a group's secret, and wraps that secret for one kiosk: all the cloud ever carries of a face.

A group is the kiosks of one store. Its secret is 32 random bytes that exist on these kiosks only. Three things are
derived from it, each under a context of its own: the name by which templates refer to it, the key that seals them and,
in `rotation`, the turn that makes them this group's.

A sealed template is 1 byte of version, 12 of nonce and 260 + 16 of AES-256-GCM: 289 bytes. Member, embedder and group
key are bound as associated data, so a cloud that swaps two members' templates has two that do not open.

A wrap is 1 byte of version, 8 of group key, the sender (1 byte of length, then its id), a proof of 32 bytes, and the
secret with the group's list in HPKE (RFC 9180, base mode; X25519, HKDF-SHA256, AES-256-GCM). HPKE alone says who may
read and not who wrote: the proof is an HMAC under what the sender's and the reader's sealing keys have in common, and
the reader believes a sender of its own list only. A kiosk that is alone has no list yet; it believes whoever knows its
sealing key, which is shown on its screen and inside wraps, and nowhere the cloud can see.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.intake import Partner
from edge.vision.faces.rotation import Secret
from shared.biometrics import GROUP_KEY_BYTES, KIOSKS_MAX, PARTNERS_MAX, SEALING_PUBLIC_BYTES, WRAP_BYTES_MAX
from shared.decoding import UNREADABLE
from shared.ids import DEVICE_ID_LENGTH_MAX, DeviceId, MemberId, StoreId

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SEALED_BYTES: Final = 1 + NONCE_BYTES + TEMPLATE_BYTES + TAG_BYTES
PROOF_BYTES: Final = 32

_VERSION: Final = b"\x01"
_NAME_CONTEXT: Final = b"DSGK1"
_TEMPLATE_CONTEXT: Final = b"DST1"
_WRAP_CONTEXT: Final = b"DSW1"
_PROOF_CONTEXT: Final = b"DSWP1"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_ENCAPSULATED_BYTES: Final = 32


def key_id(secret: Secret) -> bytes:
    """GROUP_KEY_BYTES that name the secret and open nothing."""
    named = sha256(_NAME_CONTEXT)
    named.update(secret)
    return named.digest()[:GROUP_KEY_BYTES]


class Seal:
    """One group secret's key for templates. `key` names it.

    The library keeps its own copy of the key, which Python cannot wipe; it is freed with this object.
    """

    def __init__(self, secret: Secret) -> None:
        self.key = key_id(secret)
        derived = bytearray(SECRET_BYTES)
        HKDF(SHA256(), SECRET_BYTES, salt=None, info=_TEMPLATE_CONTEXT).derive_into(secret, derived)
        self._cipher = AESGCM(derived)
        derived[:] = bytes(SECRET_BYTES)

    def __repr__(self) -> str:
        return f"Seal({self.key.hex()})"

    def close(self, template: bytes | bytearray, *, member: MemberId, embedder: bytes, nonce: bytes) -> bytes:
        """SEALED_BYTES. `nonce`: NONCE_BYTES of fresh randomness; under one key none may come twice."""
        assert len(template) == TEMPLATE_BYTES
        assert len(nonce) == NONCE_BYTES
        sealed = self._cipher.encrypt(nonce, template, self._bound(member, embedder))
        return _VERSION + nonce + sealed

    def open(self, sealed: bytes, *, member: MemberId, embedder: bytes, into: memoryview | bytearray) -> bool:
        """True when these bytes are this member's, sealed with this key; their template is then in `into`.

        Otherwise `into` holds zeros. Shape: TEMPLATE_BYTES.
        """
        if len(sealed) != SEALED_BYTES or not sealed.startswith(_VERSION):
            into[:] = bytes(TEMPLATE_BYTES)
            return False
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            self._cipher.decrypt_into(nonce, body, self._bound(member, embedder), into)
        except InvalidTag:
            into[:] = bytes(TEMPLATE_BYTES)
            return False
        return True

    def _bound(self, member: MemberId, embedder: bytes) -> bytes:
        # All of fixed length: no two bindings read alike.
        return _TEMPLATE_CONTEXT + self.key + embedder + member


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """A kiosk of the group and its sealing key."""

    device: Annotated[str, Meta(max_length=DEVICE_ID_LENGTH_MAX)]
    sealing_public: Annotated[bytes, Meta(min_length=SEALING_PUBLIC_BYTES, max_length=SEALING_PUBLIC_BYTES)]


class Package(msgspec.Struct, frozen=True, array_like=True):
    """What a wrap holds. `generation` counts the group's secrets: an older wrap that comes late is told by it.

    `partners` are the groups of other stores that were introduced to this one; an older version passes them over.
    """

    generation: Annotated[int, Meta(ge=1, le=2**53)]
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    kiosks: Annotated[tuple[Listed, ...], Meta(min_length=1, max_length=KIOSKS_MAX)]
    partners: Annotated[tuple[Partner, ...], Meta(max_length=PARTNERS_MAX)] = ()

    def __repr__(self) -> str:
        return f"Package({self.generation}, …, {len(self.kiosks)} kiosks)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """From which kiosk a wrap goes to which, in which store, about which group key."""

    store: StoreId
    sender: DeviceId
    reader: DeviceId
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapHead:
    """What a wrap says in the clear. Not believed before the rest was opened."""

    key: bytes
    sender: DeviceId
    proof: bytes = field(repr=False)
    body: bytes = field(repr=False)


def is_small_enough(package: Package) -> bool:
    """True when it fits into a wrap, whoever sends it."""
    around = 1 + GROUP_KEY_BYTES + 1 + DEVICE_ID_LENGTH_MAX + PROOF_BYTES + _ENCAPSULATED_BYTES + TAG_BYTES
    return len(msgspec.msgpack.encode(package)) + around <= WRAP_BYTES_MAX


def wrap(package: Package, address: Address, own: X25519PrivateKey, reader_public: bytes) -> bytes:
    """The package, wrapped by the sender's sealing key for the reader's; at most WRAP_BYTES_MAX."""
    reader = X25519PublicKey.from_public_bytes(reader_public)
    body = _SUITE.encrypt(msgspec.msgpack.encode(package), reader, _bound_address(address))
    sender = address.sender.encode()
    proof = _proof(own, reader, address, body)
    wrapped = b"".join((_VERSION, address.key, len(sender).to_bytes(1, "big"), sender, proof, body))
    assert len(wrapped) <= WRAP_BYTES_MAX
    return wrapped


def parse_wrap(wrapped: bytes) -> WrapHead | None:
    """The parts of a wrap, or None when it cannot be one."""
    if len(wrapped) > WRAP_BYTES_MAX or not wrapped.startswith(_VERSION):
        return None
    sender_at = 1 + GROUP_KEY_BYTES + 1
    sender_end = sender_at + int.from_bytes(wrapped[sender_at - 1 : sender_at], "big")
    body_at = sender_end + PROOF_BYTES
    if len(wrapped) <= body_at + _ENCAPSULATED_BYTES + TAG_BYTES:
        return None
    try:
        sender = wrapped[sender_at:sender_end].decode("ascii")
    except UnicodeDecodeError:
        return None
    return WrapHead(
        key=wrapped[1 : sender_at - 1],
        sender=DeviceId(sender),
        proof=wrapped[sender_end:body_at],
        body=wrapped[body_at:],
    )


def open_wrap(head: WrapHead, store: StoreId, reader: DeviceId, own: X25519PrivateKey) -> Package | None:
    """The package, or None: not for this kiosk and store, altered, or of a secret that has another name."""
    address = Address(store=store, sender=head.sender, reader=reader, key=head.key)
    try:
        package = msgspec.msgpack.decode(_SUITE.decrypt(head.body, own, _bound_address(address)), type=Package)
    except (InvalidTag, ValueError, *UNREADABLE):
        return None
    return package if key_id(package.secret) == head.key else None


def is_proved(head: WrapHead, store: StoreId, reader: DeviceId, own: X25519PrivateKey, sender_public: bytes) -> bool:
    """True when the holder of this sealing key made the wrap."""
    address = Address(store=store, sender=head.sender, reader=reader, key=head.key)
    try:
        expected = _proof(own, X25519PublicKey.from_public_bytes(sender_public), address, head.body)
    except ValueError:  # a point of low order has nothing in common with anybody
        return False
    return hmac.compare_digest(expected, head.proof)


def _proof(own: X25519PrivateKey, other: X25519PublicKey, address: Address, body: bytes) -> bytes:
    key = HKDF(SHA256(), SECRET_BYTES, salt=None, info=_PROOF_CONTEXT).derive(own.exchange(other))
    return hmac.new(key, _bound_address(address) + body, sha256).digest()


def _bound_address(address: Address) -> bytes:
    fields = (address.store.encode(), address.sender.encode(), address.reader.encode(), address.key)
    return _WRAP_CONTEXT + b"".join(len(part).to_bytes(2, "big") + part for part in fields)

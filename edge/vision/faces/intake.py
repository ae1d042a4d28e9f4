"""Hands a template on to the group of another store, which is known by its intake key: neither group learns a secret.

From a group's secret follows a key pair, its intake. Two groups that were introduced to each other hold each other's
public half, which staff carried from screen to camera and the cloud never saw.

A template for another store is 1 byte of version, 8 naming the secret of the group that gives it, and the packed
template, no group's rotation in it, in HPKE (RFC 9180; X25519, HKDF-SHA256, AES-256-GCM) to the receiver's intake: 317
bytes. HPKE's base mode says who may read and not who wrote, and the library has no other mode. So what the two intake
keys have in common stands in HPKE's `info`, where it enters the key as a pre-shared one would: whoever holds neither
private half, the cloud above all, makes nothing that opens. Giver, receiver, member and embedder are bound there, too.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.rotation import Secret
from shared.biometrics import GROUP_KEY_BYTES, INTAKE_PUBLIC_BYTES
from shared.ids import STORE_ID_LENGTH_MAX, MemberId, StoreId

HANDED_BYTES: Final = 1 + GROUP_KEY_BYTES + 32 + TEMPLATE_BYTES + 16
"""With HPKE's encapsulated key and AES-GCM's tag."""

HANDED_VERSION: Final = b"\x02"
"""The first byte; a template sealed by its own group begins with 1."""
NO_INTAKE: Final = bytes(INTAKE_PUBLIC_BYTES)
"""A point of low order, which is no key pair's and which X25519 refuses (RFC 7748, 6.1)."""

_INTAKE_CONTEXT: Final = b"DSI1"
_COMMON_CONTEXT: Final = b"DSIP1"
_HANDED_CONTEXT: Final = b"DSTI1"
_PRIVATE_BYTES: Final = 32
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Partner(msgspec.Struct, frozen=True, array_like=True):
    """Another store's group as it was introduced here: its store, the name of its secret, its intake key.

    `serial` grows with each introduction that a group takes or takes back, so that of two for one store the later is
    known. One that was taken back has NO_INTAKE, which opens and is given nothing.
    """

    store: Annotated[str, Meta(min_length=1, max_length=STORE_ID_LENGTH_MAX)]
    key: Annotated[bytes, Meta(min_length=GROUP_KEY_BYTES, max_length=GROUP_KEY_BYTES)]
    intake_public: Annotated[bytes, Meta(min_length=INTAKE_PUBLIC_BYTES, max_length=INTAKE_PUBLIC_BYTES)]
    serial: Annotated[int, Meta(ge=1, le=2**53)]

    @property
    def is_trusted(self) -> bool:
        """False once the introduction was taken back."""
        return self.intake_public != NO_INTAKE


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupName:
    """A store and the name of its group's secret."""

    store: StoreId
    key: bytes


def is_handed(sealed: bytes) -> bool:
    """True for a template that says a group of another store gave it."""
    return sealed.startswith(HANDED_VERSION)


def giver_of(sealed: bytes) -> bytes:
    """The name of the secret of the group that says it gave this; any bytes of another length when it cannot be one."""
    return sealed[1 : 1 + GROUP_KEY_BYTES] if len(sealed) == HANDED_BYTES else b""


class Intake:
    """The key pair that follows from one group secret; the library keeps its own copy, freed with this object."""

    def __init__(self, secret: Secret) -> None:
        derived = bytearray(_PRIVATE_BYTES)
        HKDF(SHA256(), _PRIVATE_BYTES, salt=None, info=_INTAKE_CONTEXT).derive_into(secret, derived)
        self._private = X25519PrivateKey.from_private_bytes(derived)
        derived[:] = bytes(_PRIVATE_BYTES)

    def __repr__(self) -> str:
        return "Intake(…)"

    @property
    def public(self) -> bytes:
        """The half that other stores are told, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def may_know(self, public: bytes) -> bool:
        """False for what is no point, one that has the same in common with everybody, and this very intake."""
        try:
            self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            return False
        return public != self.public

    def give(
        self, template: bytes | bytearray, *, own: GroupName, to: Partner, member: MemberId, embedder: bytes
    ) -> bytes:
        """HANDED_BYTES that only the partner's group opens, and only while it knows this one."""
        assert len(template) == TEMPLATE_BYTES
        other = X25519PublicKey.from_public_bytes(to.intake_public)
        receiver = GroupName(store=StoreId(to.store), key=to.key)
        info = self._common(other) + _bound(own, receiver, member, embedder)
        return HANDED_VERSION + own.key + _SUITE.encrypt(template, other, info)

    def take(
        self, sealed: bytes, *, own: GroupName, giver: Partner, member: MemberId, embedder: bytes, into: bytearray
    ) -> bool:
        """True when the giver's group made this of the member for this group; the template, in no group's rotation, is
        then in `into`. Otherwise `into` holds zeros. Shape: TEMPLATE_BYTES.
        """
        into[:] = bytes(TEMPLATE_BYTES)
        if len(sealed) != HANDED_BYTES or not is_handed(sealed) or giver_of(sealed) != giver.key:
            return False
        giving = GroupName(store=StoreId(giver.store), key=giver.key)
        try:
            common = self._common(X25519PublicKey.from_public_bytes(giver.intake_public))
            info = common + _bound(giving, own, member, embedder)
            into[:] = _SUITE.decrypt(sealed[1 + GROUP_KEY_BYTES :], self._private, info)
        except (InvalidTag, ValueError):  # ValueError: a point of low order
            return False
        return True

    def _common(self, other: X25519PublicKey) -> bytes:
        """What the two intakes have in common, 32 bytes that nobody else can compute. Raises: ValueError."""
        return HKDF(SHA256(), _PRIVATE_BYTES, salt=None, info=_COMMON_CONTEXT).derive(self._private.exchange(other))


def _bound(giver: GroupName, receiver: GroupName, member: MemberId, embedder: bytes) -> bytes:
    fields = (giver.store.encode(), giver.key, receiver.store.encode(), receiver.key, member, embedder)
    return _HANDED_CONTEXT + b"".join(len(part).to_bytes(2, "big") + part for part in fields)

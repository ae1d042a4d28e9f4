"""A template for another store's group: opened there, as what it is, and only when a group known there gave it."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.intake import HANDED_BYTES, GroupName, Intake, Partner, giver_of, is_handed
from edge.vision.faces.sealing import Seal, key_id
from shared.biometrics import SEALED_TEMPLATE_BYTES_MAX
from shared.ids import MemberId, StoreId

TEMPLATE = bytes(range(256)) + b"\x00\x00\x80?"
ANNA, BERT = MemberId(b"anna000000"), MemberId(b"bert000000")
EMBEDDER = b"embedder"
GIVING, TAKING, THIRD = b"g" * 32, b"t" * 32, b"x" * 32
CORSO, PIAZZA = StoreId("corso"), StoreId("piazza")
GIVER = GroupName(store=CORSO, key=key_id(GIVING))
TAKER = GroupName(store=PIAZZA, key=key_id(TAKING))


def partner(group: GroupName, secret: bytes, *, serial: int = 1) -> Partner:
    """The group as it was introduced to the other."""
    return Partner(group.store, group.key, Intake(secret).public, serial)


KNOWN_GIVER, KNOWN_TAKER = partner(GIVER, GIVING), partner(TAKER, TAKING)
HANDED = Intake(GIVING).give(TEMPLATE, own=GIVER, to=KNOWN_TAKER, member=ANNA, embedder=EMBEDDER)


def taken(
    handed: bytes,
    *,
    secret: bytes = TAKING,
    own: GroupName = TAKER,
    giver: Partner = KNOWN_GIVER,
    member: MemberId = ANNA,
    embedder: bytes = EMBEDDER,
) -> bytes | None:
    into = bytearray(b"x" * TEMPLATE_BYTES)
    if Intake(secret).take(handed, own=own, giver=giver, member=member, embedder=embedder, into=into):
        return bytes(into)
    assert not any(into), "what did not open must not look like something"
    return None


def test_what_was_given_is_taken() -> None:
    assert taken(HANDED) == TEMPLATE
    assert (is_handed(HANDED), giver_of(HANDED)) == (True, GIVER.key)
    assert len(HANDED) == HANDED_BYTES == 317 <= SEALED_TEMPLATE_BYTES_MAX


@pytest.mark.parametrize(
    "found",
    [
        taken(HANDED, secret=GIVING),
        taken(HANDED, secret=THIRD),
        taken(HANDED, own=replace(TAKER, store=CORSO)),
        taken(HANDED, own=replace(TAKER, key=key_id(THIRD))),
        taken(HANDED, member=BERT),
        taken(HANDED, embedder=b"retailor"),
        taken(HANDED, giver=Partner("corso", GIVER.key, Intake(THIRD).public, 1)),
        taken(HANDED, giver=Partner("other", GIVER.key, Intake(GIVING).public, 1)),
        taken(HANDED, giver=Partner("corso", key_id(THIRD), Intake(GIVING).public, 1)),
        taken(HANDED, giver=Partner("corso", GIVER.key, bytes(32), 1)),
        taken(b"\x01" + HANDED[1:]),
        taken(HANDED[:-1]),
        taken(HANDED + b"\x00"),
        taken(b""),
    ],
    ids=[
        "giver itself",
        "third group",
        "store",
        "key",
        "member",
        "embedder",
        "not introduced",
        "introduced as another store",
        "introduced under another key",
        "point of low order",
        "version",
        "short",
        "long",
        "empty",
    ],
)
def test_nothing_else_is_taken(found: bytes | None) -> None:
    assert found is None


@given(st.integers(0, HANDED_BYTES - 1), st.integers(1, 255))
def test_no_altered_byte_goes_unseen(place: int, change: int) -> None:
    altered = bytearray(HANDED)
    altered[place] ^= change
    assert taken(bytes(altered)) is None


def test_whoever_knows_both_public_keys_makes_nothing_that_opens() -> None:
    """The cloud knows neither; even were it to see both screens it could not put a face in a member's place."""
    own = Intake(THIRD)
    as_itself = own.give(TEMPLATE, own=GIVER, to=KNOWN_TAKER, member=ANNA, embedder=EMBEDDER)
    assert taken(as_itself) is None
    bound = b"DSTI1" + b"".join(
        len(part).to_bytes(2, "big") + part
        for part in (b"corso", GIVER.key, b"piazza", TAKER.key, bytes(ANNA), EMBEDDER)
    )
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    reader = X25519PublicKey.from_public_bytes(KNOWN_TAKER.intake_public)
    for common in (b"", bytes(32), KNOWN_GIVER.intake_public, KNOWN_TAKER.intake_public):
        made = b"\x02" + GIVER.key + suite.encrypt(TEMPLATE, reader, common + bound)
        assert taken(made) is None


def test_a_template_of_the_own_group_is_none_of_another_s() -> None:
    sealed = Seal(TAKING).close(TEMPLATE, member=ANNA, embedder=EMBEDDER, nonce=bytes(12))
    assert (is_handed(sealed), giver_of(sealed)) == (False, b"")
    assert taken(sealed) is None
    assert not Seal(TAKING).open(HANDED, member=ANNA, embedder=EMBEDDER, into=bytearray(TEMPLATE_BYTES))


def test_an_intake_follows_from_its_secret_and_is_none_of_the_secret_s_other_keys() -> None:
    assert Intake(GIVING).public == Intake(bytearray(GIVING)).public != Intake(TAKING).public
    assert Intake(GIVING).public.hex() == "79d08090f34865d12d6e5c67fa4edb9afe97633c313c40996f913b7103a9c633"
    assert Intake(GIVING).public != X25519PrivateKey.from_private_bytes(GIVING).public_key().public_bytes_raw()
    assert repr(Intake(GIVING)) == "Intake(…)"


@pytest.mark.parametrize(
    ("public", "may"),
    [(Intake(TAKING).public, True), (Intake(GIVING).public, False), (bytes(32), False), (b"short", False)],
    ids=["another", "itself", "low order", "short"],
)
def test_which_keys_may_be_known(public: bytes, may: bool) -> None:
    assert Intake(GIVING).may_know(public) is may

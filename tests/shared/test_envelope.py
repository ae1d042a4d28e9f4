"""What a device says: sealed, chained, and every way in which bytes may fail to be its word."""

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.business_day import ClockTrust
from shared.envelope import (
    BATCH_MAX,
    ENVELOPE_CONTEXT,
    SALT_BYTES,
    Batch,
    ClaimMade,
    ClockStepped,
    DeviceState,
    Envelope,
    EnvelopeFault,
    Fact,
    FeedVersions,
    Header,
    Opened,
    TimeAsked,
    VisitNoted,
    chain_digest,
    decode_batch,
    decode_state,
    decode_time_asked,
    encode,
    genesis,
    open_envelope,
    payload_digest,
    read_header,
    seal,
)
from shared.policy import Means
from shared.signing import sign

DEVICE, OTHER = "kiosk1", "kiosk2"
KEY, STRANGER = (Ed25519PrivateKey.from_private_bytes(seed * 32) for seed in (b"d", b"x"))
SALT = bytes(range(SALT_BYTES))
HEADER = Header(
    version=1,
    device=DEVICE,
    epoch=1,
    seq=1,
    previous=genesis(DEVICE, 1),
    digest=b"",
    boot="boot-1",
    monotonic_ms=1000,
    wall_ms=1_795_000_000_000,
    trust=ClockTrust.SYNCED,
    business_day="2026-11-20",
    policy_version=3,
)
CLAIM = ClaimMade(
    claim=b"c" * 16,
    tenant="acme",
    store="rome-1",
    campaign="daily",
    rule="daily",
    member=b"m" * 10,
    business_day="2026-11-20",
    unit="PT:consumption",
    amount=10,
    reduced=False,
    means=Means.PHONE,
    evidence=b"e" * 32,
    step=59_833_333,
    serial=None,
    allotment=2,
    zone="Europe/Rome",
    cutoff_hour=4,
)
VISIT = VisitNoted(
    tenant="acme", store="rome-1", member=b"m" * 10, means=Means.CARD, evidence=b"e" * 32, step=None, serial=7
)
STEPPED = ClockStepped(offset_ms=-5000, source="cloud")
SEALED = seal(HEADER, CLAIM, SALT, KEY)
DEEP = b"\x91" * 5000 + b"\xc0"


def changed(envelope: Envelope = SEALED, **parts: bytes | None) -> Envelope:
    return msgspec.structs.replace(envelope, **parts)


def resigned(header: bytes, payload: bytes | None = SEALED.payload, salt: bytes | None = SALT) -> Envelope:
    """An envelope whose header, whatever it says, is signed by the device."""
    return Envelope(header=header, signature=sign(KEY, ENVELOPE_CONTEXT, header), salt=salt, payload=payload)


def over(payload: bytes, salt: bytes = SALT) -> Envelope:
    """An envelope of the device over a payload that is none of ours."""
    header = encode(msgspec.structs.replace(HEADER, digest=payload_digest(salt, payload)))
    return resigned(header, payload=payload, salt=salt)


@pytest.mark.parametrize("fact", [CLAIM, VISIT, STEPPED])
def test_what_was_sealed_is_what_is_read(fact: Fact) -> None:
    envelope = seal(HEADER, fact, SALT, KEY)
    opened = open_envelope(envelope, DEVICE, KEY.public_key())
    assert isinstance(opened, Opened)
    assert opened.fact == fact
    assert opened.chain == chain_digest(envelope.header)
    assert msgspec.structs.replace(opened.header, digest=b"") == HEADER


@pytest.mark.parametrize(
    ("envelope", "fault"),
    [
        (changed(header=b""), EnvelopeFault.MALFORMED),
        (changed(header=SEALED.header[:-1]), EnvelopeFault.MALFORMED),
        (changed(header=b"\x81\xa7version\x01"), EnvelopeFault.MALFORMED),
        (changed(header=SEALED.header.replace(b"kiosk1", b"kios\xff1")), EnvelopeFault.MALFORMED),
        (changed(header=b"\x81\xa1x" + DEEP), EnvelopeFault.MALFORMED),
        (resigned(encode(msgspec.structs.replace(HEADER, version=2))), EnvelopeFault.UNKNOWN_VERSION),
        (seal(msgspec.structs.replace(HEADER, device=OTHER), CLAIM, SALT, KEY), EnvelopeFault.WRONG_DEVICE),
        (seal(HEADER, CLAIM, SALT, STRANGER), EnvelopeFault.BAD_SIGNATURE),
        (changed(signature=b""), EnvelopeFault.BAD_SIGNATURE),
        (changed(signature=SEALED.signature[:-1]), EnvelopeFault.BAD_SIGNATURE),
        (changed(signature=sign(KEY, b"DSX1", SEALED.header)), EnvelopeFault.BAD_SIGNATURE),
        (changed(payload=encode(VISIT)), EnvelopeFault.BAD_DIGEST),
        (changed(salt=bytes(SALT_BYTES)), EnvelopeFault.BAD_DIGEST),
        # The same bytes cut elsewhere have the same digest: the salt's length is part of the format.
        (changed(salt=b"", payload=SALT + encode(CLAIM)), EnvelopeFault.BAD_DIGEST),
        (changed(salt=SALT + encode(CLAIM)[:1], payload=encode(CLAIM)[1:]), EnvelopeFault.BAD_DIGEST),
        (over(b""), EnvelopeFault.MALFORMED),
        (over(encode(HEADER)), EnvelopeFault.MALFORMED),
        (over(b"\x81\xa4type\xa5nonce"), EnvelopeFault.MALFORMED),
        (over(encode(STEPPED).replace(b"cloud", b"clou\xff")), EnvelopeFault.MALFORMED),
        (over(b"\x82\xa4type\xa5clock\xa1x" + DEEP), EnvelopeFault.MALFORMED),
    ],
)
def test_every_fault_of_an_envelope_has_a_name(envelope: Envelope, fault: EnvelopeFault) -> None:
    assert open_envelope(envelope, DEVICE, KEY.public_key()) is fault


@pytest.mark.parametrize("erased", [changed(payload=None), changed(salt=None), changed(payload=None, salt=None)])
def test_an_erased_payload_leaves_its_place_in_the_chain(erased: Envelope) -> None:
    opened = open_envelope(erased, DEVICE, KEY.public_key())
    assert isinstance(opened, Opened)
    assert (opened.fact, opened.chain) == (None, chain_digest(SEALED.header))


def test_an_epoch_of_a_device_begins_like_no_other() -> None:
    assert len({genesis(DEVICE, 1), genesis(DEVICE, 2), genesis(OTHER, 1)}) == 3


def test_an_unsigned_header_can_be_read() -> None:
    header = read_header(SEALED.header)
    assert isinstance(header, Header)
    assert header.seq == 1


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 7))
def test_a_changed_envelope_is_never_opened_and_never_crashes(noise: bytes, at: int, bit: int) -> None:
    assert read_header(noise) in set(EnvelopeFault)
    flipped = bytearray(SEALED.header)
    flipped[at % len(flipped)] ^= 1 << bit
    assert open_envelope(changed(header=bytes(flipped)), DEVICE, KEY.public_key()) in set(EnvelopeFault)
    assert open_envelope(over(noise), DEVICE, KEY.public_key()) in set(EnvelopeFault)


# --- messages that carry envelopes, states and questions --------------------------------------------------------------

STATE = DeviceState(
    device=DEVICE,
    session=4,
    online=True,
    database=b"d" * 16,
    epoch=1,
    head=9,
    settled=7,
    feeds=FeedVersions(keys=1, policy=2),
    allotment=3,
    software="0.1.0",
)


def test_messages_are_read_as_they_are_written() -> None:
    assert decode_batch(encode(Batch(envelopes=(SEALED,)))) == Batch(envelopes=(SEALED,))
    assert decode_state(encode(STATE)) == STATE
    assert decode_time_asked(encode(TimeAsked(nonce=SALT))) == TimeAsked(nonce=SALT)


@pytest.mark.parametrize(("count", "is_batch"), [(0, False), (1, True), (BATCH_MAX, True), (BATCH_MAX + 1, False)])
def test_a_batch_holds_between_one_and_so_many(count: int, is_batch: bool) -> None:
    assert (decode_batch(encode(Batch(envelopes=(SEALED,) * count))) is not None) is is_batch


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_question_for_the_time_holds_sixteen_bytes(length: int) -> None:
    assert decode_time_asked(encode(TimeAsked(nonce=bytes(length)))) is None


@pytest.mark.parametrize("decode", [decode_batch, decode_state, decode_time_asked])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"{}",
        encode(HEADER),
        b"\x81\xa9envelopes\xdd\xff\xff\xff\xff",
        b"\x81\xa1x" + DEEP,
        encode(STATE).replace(DEVICE.encode(), b"kios\xff1"),
        encode(STATE)[:-1],
    ],
)
def test_what_is_none_of_our_messages_is_nothing(decode: Callable[[bytes], object], data: bytes) -> None:
    assert decode(data) is None


@given(st.binary(max_size=300))
def test_no_bytes_crash_a_reader(data: bytes) -> None:
    assert decode_batch(data) is None
    assert decode_state(data) is None
    assert decode_time_asked(data) is None

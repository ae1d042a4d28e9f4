"""What a device says: facts in a gapless, signed, hash-chained sequence of envelopes, and messages about itself.

An envelope's header is signed as the exact bytes that cross the wire. The header carries a digest of salt and
payload instead of the payload, so an erasure can drop the payload (and the salt, without which the digest tells
nothing) and the chain still verifies. Messages are msgpack; a reader ignores fields it does not know, which is what
lets a device one version behind work with a cloud one version ahead and the reverse.
"""

import hashlib
from enum import StrEnum

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.biometrics import Forgetting, GroupKey, SealedTemplate, Wrap
from shared.business_day import ClockTrust
from shared.consent import Purpose
from shared.decoding import UNREADABLE
from shared.instants import Deferral, InstantOutcome
from shared.policy import Means
from shared.signing import is_signed_by, sign

ENVELOPE_VERSION = 1
ENVELOPE_CONTEXT = b"DSE1"
BATCH_MAX = 200  # envelopes a message; about 130 kB, well under the broker's 256 kB limit
MESSAGE_BYTES_MAX = 256 * 1024
PAYLOAD_BYTES_MAX = 4096
SALT_BYTES = 16


class InstantSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the coupon that a claim brings: shown, or deferred and why.

    `code` is SHA-256 of the coupon's text, None when it was deferred.
    """

    series: str
    outcome: InstantOutcome
    code: bytes | None = None
    why: Deferral | None = None


class ClaimMade(msgspec.Struct, frozen=True, kw_only=True, tag="claim"):
    """A kiosk granted a reward and showed it.

    `claim` is the derived id; `step` the phone code's step or None; `evidence` SHA-256 of the credential's text (of a
    face: of what the verdict rested on);
    `noted_seq` the sequence number of the visit this claim dates, or None; `reduced` when the reduced amount applied.
    `instant` is what became of the coupon that comes with it, None where none does.
    """

    claim: bytes
    tenant: str
    store: str
    campaign: str
    rule: str
    member: bytes
    business_day: str
    unit: str
    amount: int
    reduced: bool
    means: Means
    evidence: bytes
    step: int | None
    serial: int | None
    allotment: int
    zone: str
    cutoff_hour: int
    noted_seq: int | None = None
    instant: InstantSaid | None = None


class VisitNoted(msgspec.Struct, frozen=True, kw_only=True, tag="visit"):
    """A member was recognised while the time was unknown; the header's boot id and monotonic time say when."""

    tenant: str
    store: str
    member: bytes
    means: Means
    evidence: bytes
    step: int | None
    serial: int | None


class ClockStepped(msgspec.Struct, frozen=True, kw_only=True, tag="clock"):
    """The device's clock was found off by `offset_ms` (positive: it had been behind) when time became known.

    `source` is who told the time: "cloud" or "kernel". With "aside" the system clock stepped by so much against uptime
    (negative: back), although the kernel vouched for it, and was not believed.
    """

    offset_ms: int
    source: str


class ConsentSaid(msgspec.Struct, frozen=True, kw_only=True, tag="consent"):
    """A member gave or withdrew a consent at the kiosk, after the text of that version in that language.

    `means` is how the kiosk knew them: a code. `purpose` is the biometric one today.
    """

    tenant: str
    store: str
    member: bytes
    purpose: Purpose
    given: bool
    text_version: int
    language: str
    means: Means


class TemplateEnrolled(msgspec.Struct, frozen=True, kw_only=True, tag="template"):
    """A kiosk enrolled a member under the biometric consent to `text_version`, or sealed their template anew.

    `frames` that went into it; `resealed` when the face was not seen again and only the group's secret is another.
    """

    tenant: str
    store: str
    template: SealedTemplate
    frames: int
    text_version: int
    resealed: bool = False


class TemplateForgotten(msgspec.Struct, frozen=True, kw_only=True, tag="forgotten"):
    """The kiosk's word that it holds no template of the member any more; signed like every fact, it is the proof."""

    tenant: str
    store: str
    member: bytes
    why: Forgetting


class TemplateShared(msgspec.Struct, frozen=True, kw_only=True, tag="shared"):
    """A kiosk sealed a member's template for the group of another store, as a consent to `text_version` names it.

    `store` is where the face was learnt, `for_store` whose kiosks open `template`; its key is that group's.
    """

    tenant: str
    store: str
    for_store: str
    template: SealedTemplate
    text_version: int


class SecretWrapped(msgspec.Struct, frozen=True, kw_only=True, tag="secret"):
    """The secret of the store's group, wrapped for one of its kiosks.

    `key` names the secret. `previous` names the one it replaces, None for a group's first and for a kiosk that joins.
    """

    tenant: str
    store: str
    key: GroupKey
    previous: GroupKey | None
    wrap: Wrap


class FaceDisputed(msgspec.Struct, frozen=True, kw_only=True, tag="disputed"):
    """Whoever stood there said that they are not the member they were greeted as. `claim` was granted so, or None."""

    tenant: str
    store: str
    member: bytes
    claim: bytes | None


Fact = (
    ClaimMade
    | VisitNoted
    | ClockStepped
    | ConsentSaid
    | TemplateEnrolled
    | TemplateForgotten
    | TemplateShared
    | SecretWrapped
    | FaceDisputed
)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The signed part. `previous` is the chain digest of the envelope before (or the epoch's genesis).

    `wall_ms` is None when the clock was unknown; `monotonic_ms` counts from the boot named by `boot`.
    """

    version: int
    device: str
    epoch: int
    seq: int
    previous: bytes
    digest: bytes
    boot: str
    monotonic_ms: int
    wall_ms: int | None
    trust: ClockTrust
    business_day: str | None
    policy_version: int


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Header bytes, the device's signature over them, and salt and payload (None once erased)."""

    header: bytes
    signature: bytes
    salt: bytes | None
    payload: bytes | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What `up/event` carries: 1 to BATCH_MAX envelopes of one device, in any order."""

    envelopes: tuple[Envelope, ...]


class FeedVersions(msgspec.Struct, frozen=True, kw_only=True):
    """The version a device holds of each feed; 0 when it holds none."""

    keys: int = 0
    policy: int = 0
    roster: int = 0
    deny: int = 0
    revocations: int = 0
    group: int = 0
    templates: int = 0
    store: int = 0


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """What `up/state` carries: the birth message, sent on every connect and whenever a feed is behind, and the will.

    `session` grows with each start of the link, so that a late will cannot hide a newer birth. `epoch` is 0 when the
    database (named by the 16 random bytes in `database`) has none yet and asks for one. `settled` is the highest
    sequence number below which everything is settled, `head` the newest written. `lan` is where the store's other
    kiosks reach this one, `address:port`, None when they do not.
    """

    device: str
    session: int
    online: bool
    database: bytes
    epoch: int
    head: int
    settled: int
    feeds: FeedVersions
    allotment: int
    software: str
    lan: str | None = None


class TimeAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What `up/time` carries: sixteen fresh random bytes that the answer must repeat."""

    nonce: bytes


class EnvelopeFault(StrEnum):
    """Why an envelope cannot be read as this device's word."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_DEVICE = "wrong_device"
    BAD_SIGNATURE = "bad_signature"
    BAD_DIGEST = "bad_digest"


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope that proved to be the device's: its header, its fact, and its place in the chain.

    `fact` is None when the payload was erased.
    """

    header: Header
    fact: Fact | None
    chain: bytes


_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)
_fact_decoder = msgspec.msgpack.Decoder(Fact)


def seal(header: Header, fact: Fact, salt: bytes, signing_key: Ed25519PrivateKey) -> Envelope:
    """The signed envelope of a fact. `header.digest` is filled in here from salt and payload."""
    payload = _encoder.encode(fact)
    text = _encoder.encode(msgspec.structs.replace(header, digest=payload_digest(salt, payload)))
    return Envelope(header=text, signature=sign(signing_key, ENVELOPE_CONTEXT, text), salt=salt, payload=payload)


def open_envelope(envelope: Envelope, device: str, signing_key: Ed25519PublicKey) -> Opened | EnvelopeFault:
    """The fact inside, once header, version, device, signature and digest all agree; else the first fault."""
    header = read_header(envelope.header)
    if isinstance(header, EnvelopeFault):
        return header
    if header.device != device:
        return EnvelopeFault.WRONG_DEVICE
    if not is_signed_by(signing_key, envelope.signature, ENVELOPE_CONTEXT, envelope.header):
        return EnvelopeFault.BAD_SIGNATURE
    if envelope.payload is None or envelope.salt is None:
        return Opened(header=header, fact=None, chain=chain_digest(envelope.header))
    # A salt of another length would be the same bytes cut elsewhere: whoever carries an envelope could make its
    # payload unreadable while the digest still fits.
    if len(envelope.salt) != SALT_BYTES or payload_digest(envelope.salt, envelope.payload) != header.digest:
        return EnvelopeFault.BAD_DIGEST
    fact = read_fact(envelope.payload)
    if fact is None:
        return EnvelopeFault.MALFORMED
    return Opened(header=header, fact=fact, chain=chain_digest(envelope.header))


def read_header(text: bytes) -> Header | EnvelopeFault:
    """The header in the bytes, its signature not checked."""
    try:
        header = _header_decoder.decode(text)
    except UNREADABLE:
        return EnvelopeFault.MALFORMED
    return header if header.version == ENVELOPE_VERSION else EnvelopeFault.UNKNOWN_VERSION


def read_fact(payload: bytes) -> Fact | None:
    """The fact in a payload whose digest was checked, None when it is none we know."""
    try:
        fact: Fact = _fact_decoder.decode(payload)
    except UNREADABLE:
        return None
    return fact


def payload_digest(salt: bytes, payload: bytes) -> bytes:
    """32 bytes: SHA-256 over salt (SALT_BYTES, which `open_envelope` insists on) and payload."""
    return hashlib.sha256(salt + payload).digest()


def chain_digest(header: bytes) -> bytes:
    """32 bytes that the next envelope names as `previous`."""
    return hashlib.sha256(b"DSC:" + header).digest()


def genesis(device: str, epoch: int) -> bytes:
    """32 bytes that the first envelope of an epoch names as `previous`."""
    return hashlib.sha256(b"DSG:" + device.encode() + epoch.to_bytes(8, "big")).digest()


UpMessage = Batch | DeviceState | TimeAsked


def encode(message: msgspec.Struct) -> bytes:
    """The message's msgpack bytes."""
    return _encoder.encode(message)


def decode_batch(data: bytes) -> Batch | None:
    """The batch in the bytes, or None when they are not one of at most BATCH_MAX envelopes."""
    try:
        batch = msgspec.msgpack.decode(data, type=Batch)
    except UNREADABLE:
        return None
    return batch if 0 < len(batch.envelopes) <= BATCH_MAX else None


def decode_state(data: bytes) -> DeviceState | None:
    """The device's state in the bytes, or None."""
    try:
        return msgspec.msgpack.decode(data, type=DeviceState)
    except UNREADABLE:
        return None


def decode_time_asked(data: bytes) -> TimeAsked | None:
    """The question in the bytes, or None."""
    try:
        asked = msgspec.msgpack.decode(data, type=TimeAsked)
    except UNREADABLE:
        return None
    return asked if len(asked.nonce) == SALT_BYTES else None

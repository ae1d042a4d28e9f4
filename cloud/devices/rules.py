"""How long a code, a claim and a certificate last, what a certificate request must be, who may try how often, and which
secret of a group of kiosks counts. Pure.
"""

import base64
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud.members.rules import Origin
from shared.answers import HubLease, StoreKiosk
from shared.biometrics import KIOSKS_MAX
from shared.business_day import instant_of, milliseconds
from shared.ids import DeviceId, StoreId, TenantId
from shared.policy import LEASE_AGE_MAX, POLICY_AGE_MAX

CODE_LIFE: Final = timedelta(hours=1)
CONFIRM_WITHIN: Final = timedelta(days=1)  # a claim that nobody confirmed in a day was not awaited by anybody
ATTEMPTS_MAX: Final = 10  # an address, in ATTEMPT_WINDOW; at 80 bits it is noise and load that this keeps out
ATTEMPT_WINDOW: Final = timedelta(minutes=1)
ADDRESSES_MAX: Final = 10_000  # remembered at once: about 2 MB
CERTIFICATES_MAX: Final = 16  # of one device in force at once: two are needed, a loop that asks again is stopped
CSR_LENGTH_MAX: Final = 4096  # a P-256 request has some 500 characters
EPOCHS_MAX: Final = 1000  # of one device: a kiosk that makes a database a day lasts three years, a loop is stopped
DATABASE_ID_BYTES: Final = 16
WRAPS_WAITING_MAX: Final = 4 * KIOSKS_MAX  # of a store: a few changes of its secret that overtook each other
WRAPS_WAITING_AGE_MAX: Final = LEASE_AGE_MAX  # what came before the change it belongs to comes days before, not months


class DeviceRefusal(StrEnum):
    """Why a device was not claimed, confirmed or renewed."""

    UNKNOWN_STORE = "unknown_store"
    UNKNOWN_CODE = "unknown_code"
    CODE_USED = "code_used"
    CODE_EXPIRED = "code_expired"
    BAD_REQUEST = "bad_request"
    BAD_PROOF = "bad_proof"
    UNKNOWN_DEVICE = "unknown_device"
    WRONG_FINGERPRINT = "wrong_fingerprint"
    CLAIM_EXPIRED = "claim_expired"
    UNKNOWN_CERTIFICATE = "unknown_certificate"
    TOO_MANY_CERTIFICATES = "too_many_certificates"
    REVOKED = "revoked"


class DeviceStanding(StrEnum):
    """Where a device is in its life."""

    WAITING = "waiting"
    ACTIVE = "active"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A kiosk as the registry knows it. `tls_public` is a SubjectPublicKeyInfo in DER."""

    id: DeviceId
    tenant: TenantId
    store: StoreId
    tls_public: bytes
    signing_public: bytes
    fingerprint: str
    claimed_at: datetime
    confirmed_at: datetime | None
    revoked_at: datetime | None

    @property
    def standing(self) -> DeviceStanding:
        """Where the device is in its life."""
        if self.revoked_at is not None:
            return DeviceStanding.REVOKED
        return DeviceStanding.WAITING if self.confirmed_at is None else DeviceStanding.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A certificate request whose signature proves that its sender holds the key. Both fields are DER."""

    der: bytes
    public: bytes
    public_key: ec.EllipticCurvePublicKey


def read_request(pem: str) -> Request | None:
    """The request in the PEM text when it is for a P-256 key and signed with it, else None.

    The names it asks for are not looked at: what a certificate says is for the registry to decide.
    """
    if len(pem) > CSR_LENGTH_MAX:
        return None
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        key = csr.public_key()
        is_signed = csr.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return None
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) and is_signed):
        return None
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Request(der=csr.public_bytes(Encoding.DER), public=public, public_key=key)


def new_device_id(random: bytes) -> DeviceId:
    """Sixteen lower-case base32 characters out of ten random bytes."""
    return DeviceId(base64.b32encode(random).decode().lower())


def digest_of(secret: bytes) -> bytes:
    """What is kept of a code's secret or a poll token. Both are random and long, so one hash is enough."""
    return hashlib.sha256(b"DSPH1" + secret).digest()


@dataclass(slots=True, kw_only=True)
class Attempts:
    """Counts tries by address in a window that slides; the least recently seen address is forgotten first."""

    allowed: int = ATTEMPTS_MAX
    window: timedelta = ATTEMPT_WINDOW
    addresses_max: int = ADDRESSES_MAX
    _seen: OrderedDict[str, list[datetime]] = field(default_factory=OrderedDict)

    def may_try(self, address: str, now: datetime) -> bool:
        """True, and the try is counted, unless the address used up its tries."""
        recent = [at for at in self._seen.pop(address, []) if now - at < self.window]
        is_allowed = len(recent) < self.allowed
        self._seen[address] = [*recent, now] if is_allowed else recent
        if len(self._seen) > self.addresses_max:
            self._seen.popitem(last=False)
        return is_allowed


# -- groups of kiosks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """A store's secret, named by `key`, as the kiosk of `origin` wrapped it for the kiosk `device` at `said_at`.

    `previous` names the secret that it replaces, None for a group's first and for a kiosk that joins.
    """

    store: StoreId
    key: bytes
    previous: bytes | None
    device: DeviceId
    sealed: bytes
    said_at: datetime
    origin: Origin

    def is_older(self, other: "Wrapping") -> bool:
        """True when the other was wrapped later: it may list kiosks that this one does not know."""
        if self.origin.device == other.origin.device:
            return (self.origin.epoch, self.origin.seq) < (other.origin.epoch, other.origin.seq)
        return self.said_at < other.said_at


class WrapFate(StrEnum):
    """What becomes of a wrapped secret.

    ADD: it is the group's. TURN: it becomes the group's. WAIT: for the change before it. IGNORE: the group has
    another, made at another kiosk at the same time, or a later wrap for the same kiosk.
    """

    ADD = "add"
    TURN = "turn"
    WAIT = "wait"
    IGNORE = "ignore"


def wrap_fate(wrapping: Wrapping, key: bytes | None, held: Wrapping | None) -> WrapFate:
    """What becomes of it in a store whose secret is `key`, None when it has none.

    `held` is the same secret as it is wrapped for the same kiosk already, None when it is not.
    """
    if held is not None and wrapping.is_older(held):
        return WrapFate.IGNORE
    if wrapping.key == key:
        return WrapFate.ADD
    if key is None or wrapping.previous == key:
        return WrapFate.TURN
    return WrapFate.IGNORE if wrapping.previous is None else WrapFate.WAIT


# -- a store's own network ---------------------------------------------------------------------------------------

HUB_LEASE: Final = timedelta(hours=24)  # a day without the cloud, and the store still knows whom to ask
RENEW_LEASE_BEFORE: Final = HUB_LEASE / 2
SILENT_AFTER: Final = timedelta(minutes=30)  # kiosks show themselves every ten
FORGOTTEN_AFTER: Final = POLICY_AGE_MAX + timedelta(days=1)  # its terms are over age: it grants nothing
LAN_LENGTH_MAX: Final = 80


class StoreNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """The kiosks of a store on their own network, as its feed tells of them.

    Owners are drawn from `owners`, from the business day `following_from` on from `following`. `announced` is the
    feed's version that first told of `following`, or that there are no owners after there were some.
    """

    kiosks: tuple[StoreKiosk, ...] = ()
    owners: tuple[str, ...] = ()
    following: tuple[str, ...] | None = None
    following_from: str | None = None
    announced: int = 0
    hub: HubLease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KioskSeen:
    """A kiosk of the store that is confirmed and not revoked. `seen_at` is None before it first showed itself.

    `version` of the store's feed is what it said it holds.
    """

    kiosk: StoreKiosk
    is_online: bool
    seen_at: datetime | None
    version: int


def lan_of(text: str | None) -> str | None:
    """The `address:port` that a kiosk says it is reached at in its store, or None when it is none."""
    if text is None or len(text) > LAN_LENGTH_MAX:
        return None
    address, _, port = text.rpartition(":")
    return text if address and port.isascii() and port.isdigit() and 0 < int(port) < 65536 else None


def advance_network(
    held: StoreNetwork, version: int, kiosks: tuple[KioskSeen, ...], day: date, now: datetime
) -> StoreNetwork:
    """The network as the feed's `version` tells of it, after the one `held`; `day` is the store's business day.

    Not more than KIOSKS_MAX kiosks take part, the first by id.
    """
    taking_part = tuple(sorted(kiosks, key=lambda seen: seen.kiosk.device)[:KIOSKS_MAX])
    moved = _advance_owners(held, version, taking_part, day, now)
    return msgspec.structs.replace(
        moved,
        kiosks=tuple(seen.kiosk for seen in taking_part),
        hub=_advance_lease(held.hub, taking_part, now),
    )


def _advance_owners(
    held: StoreNetwork, version: int, kiosks: tuple[KioskSeen, ...], day: date, now: datetime
) -> StoreNetwork:
    """The rosters from which owners are drawn, changed so that no two kiosks draw two owners for one day.

    Who knows of a following roster without its day lets both rosters agree; so its day is named only once every kiosk
    that may still grant knows of it, and is a day that nobody has begun. Once it is over nobody goes by the old one.
    """
    wanted = tuple(seen.kiosk.device for seen in kiosks if seen.seen_at is not None)
    if held.following is not None and held.following_from is not None:
        if day.isoformat() <= held.following_from:
            return held
        held = msgspec.structs.replace(held, owners=held.following, following=None, following_from=None)
    if not held.owners:
        is_told = all(_knows(seen, held.announced, now) for seen in kiosks)
        return msgspec.structs.replace(held, owners=wanted) if is_told else held
    if wanted == held.owners:
        return msgspec.structs.replace(held, following=None)
    if held.following != wanted:
        return msgspec.structs.replace(held, following=wanted, announced=version)
    knowing = {seen.kiosk.device: seen for seen in kiosks}
    if all(_knows(knowing.get(DeviceId(device)), held.announced, now) for device in held.owners):
        return msgspec.structs.replace(held, following_from=(day + timedelta(days=1)).isoformat())
    return held


def _knows(seen: KioskSeen | None, version: int, now: datetime) -> bool:
    """True when the kiosk holds that version of the feed, was revoked, or has been silent for too long to grant."""
    if seen is None or seen.version >= version:
        return True
    return seen.seen_at is not None and now - seen.seen_at > FORGOTTEN_AFTER


def _advance_lease(held: HubLease | None, kiosks: tuple[KioskSeen, ...], now: datetime) -> HubLease | None:
    """The lease: renewed for a holder that is there, another's when it is not, as it was when nobody is."""
    able = [seen.kiosk.device for seen in kiosks if seen.kiosk.lan is not None and _is_there(seen, now)]
    if held is not None and held.device in able:
        is_fresh = instant_of(held.ends_ms) - now > RENEW_LEASE_BEFORE
        return held if is_fresh else HubLease(device=held.device, ends_ms=milliseconds(now + HUB_LEASE))
    if able:
        return HubLease(device=able[0], ends_ms=milliseconds(now + HUB_LEASE))
    return held if held is not None and held.device in {seen.kiosk.device for seen in kiosks} else None


def _is_there(seen: KioskSeen, now: datetime) -> bool:
    return seen.is_online and seen.seen_at is not None and now - seen.seen_at <= SILENT_AFTER

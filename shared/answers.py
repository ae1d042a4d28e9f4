"""What a device is told: receipts, epochs, allotments, the time and the feeds, each signed.

Everything downward is a `Signed` body under a context that names its kind, so a broker that was taken over can
delay a message but not make one, and a receipt cannot pass for an allotment. Feeds are logs of changes cut into
pages: a page applies to exactly one version (`base`) and leads to the next, so a kiosk that missed a month reads
the pages it missed and one that is new reads them all.
"""

from enum import StrEnum
from typing import Annotated, assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from shared.biometrics import WRAP_BYTES_MAX, GroupKey, Member, SealedTemplate
from shared.decoding import UNREADABLE
from shared.policy import Policy
from shared.signing import is_signed_by, sign
from shared.topics import Down

ROOT_SIGNER = 0  # the offline root's place among signer ids; feed signers have 1 to 255
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A whole number that every database and JSON hold exactly; a signed answer with another is not read."""

PAGE_ENTRIES_MAX = 1000  # roster entries a page: about 90 kB
TEMPLATE_ENTRIES_MAX = 400  # sealed templates a page: about 150 kB
WANTED_MAX = 100  # templates asked of a store at a time, about 6 kB: at least one for every store a page offers


class Outcome(StrEnum):
    """What became of a claim.

    POSTED: in the ledger. EXISTS: the same claim was posted before. NOTED: recorded, nothing to post.
    REJECTED: final, with a reason; never retried. QUARANTINED: kept aside until a person has looked.
    """

    POSTED = "posted"
    EXISTS = "exists"
    NOTED = "noted"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a claim was rejected or quarantined."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    BAD_SIGNATURE = "bad_signature"
    WRONG_DEVICE = "wrong_device"
    BAD_DIGEST = "bad_digest"
    UNKNOWN_EPOCH = "unknown_epoch"
    EPOCH_QUARANTINED = "epoch_quarantined"
    CHANGED_BODY = "changed_body"
    BROKEN_CHAIN = "broken_chain"
    UNKNOWN_POLICY = "unknown_policy"
    WRONG_TERMS = "wrong_terms"
    WRONG_CLAIM_ID = "wrong_claim_id"
    WRONG_DAY = "wrong_day"
    UNKNOWN_MEMBER = "unknown_member"
    DENIED_CREDENTIAL = "denied_credential"
    NO_BUDGET = "no_budget"
    DEVICE_REVOKED = "device_revoked"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's word on one sequence number. `balance` is the member's after it, when it is known."""

    seq: Count
    outcome: Outcome
    reason: Reason | None = None
    balance: Count | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Sent after the commit. All up to `contiguous` is stored, and `head` is the chain digest there.

    `verdicts` may speak of later numbers too; `missing` lists numbers the cloud asks to be sent again.
    """

    device: str
    epoch: Count
    contiguous: Count
    head: bytes
    verdicts: tuple[Verdict, ...]
    missing: tuple[Count, ...] = ()


class EpochIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The epoch of one life of a device's database; the same database is always given the same epoch."""

    device: str
    database: bytes
    epoch: Count
    issued_ms: Count


class AllotmentIssued(msgspec.Struct, frozen=True, kw_only=True):
    """How much a kiosk may grant of a campaign in an epoch, in total since the epoch began.

    `serial` grows with each issue, so that a late message cannot lower the total. Granting stops at `ends_ms`.
    """

    device: str
    campaign: str
    epoch: Count
    serial: Count
    unit: str
    total: Count
    ends_ms: Count


class TimeTold(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's clock when it answered the question with this nonce."""

    nonce: bytes
    instant_ms: Count


class FeedName(StrEnum):
    """The feeds, in the order in which a device must be able to read them."""

    KEYS = "keys"
    POLICY = "policy"
    DENY = "deny"
    REVOCATIONS = "revocations"
    ROSTER = "roster"
    GROUP = "group"
    TEMPLATES = "templates"
    STORE = "store"


class IssuerKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that signs member credentials."""

    key: Count
    public: bytes


class SignerKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that signs what devices are told."""

    key: Count
    public: bytes


class RosterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a kiosk may know of a member. With `removed` it must forget the member.

    `face_text` is the version of the biometric text whose consent is in force, None when there is none.
    `coupon` is the label of a deferred coupon that was confirmed since the member was last seen, None for none.
    """

    member: bytes
    nickname: str | None = None
    language: str | None = None
    balance: Count = 0
    balance_ms: Count = 0
    removed: bool = False
    face_text: Count | None = None
    coupon: str | None = None


class DenyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials of a member that are no longer good: cards below `serial_floor`, and every phone when `phones`."""

    member: bytes
    serial_floor: Count = 0
    phones: bool = False
    removed: bool = False


class RevokedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that must not be listened to any more, or that must stop granting when it reads its own name."""

    device: str
    since_ms: Count


class KeyPage(msgspec.Struct, frozen=True, kw_only=True, tag="keys"):
    """The whole key set; signed by the root alone."""

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    issuers: tuple[IssuerKey, ...]
    signers: tuple[SignerKey, ...]


class PolicyPage(msgspec.Struct, frozen=True, kw_only=True, tag="policy"):
    """The policy in force; always whole. `policy` is None when nothing changed and only the age is renewed."""

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    policy: Policy | None


class DenyPage(msgspec.Struct, frozen=True, kw_only=True, tag="deny"):
    """Changes of the deny list from `base` to `version`; `reset` empties the list first."""

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    reset: bool
    entries: tuple[DenyEntry, ...]


class RevocationPage(msgspec.Struct, frozen=True, kw_only=True, tag="revocations"):
    """Changes of the list of revoked devices from `base` to `version`; `reset` empties the list first."""

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    reset: bool
    entries: tuple[RevokedDevice, ...]


class RosterPage(msgspec.Struct, frozen=True, kw_only=True, tag="roster"):
    """Changes of the roster from `base` to `version`; `reset` empties the roster first."""

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    reset: bool
    entries: tuple[RosterEntry, ...]


class GroupPage(msgspec.Struct, frozen=True, kw_only=True, tag="group"):
    """The store's group of kiosks as the cloud carries it, for the kiosk that reads; always whole.

    `key` names the group's secret, None when no kiosk made one yet. `kiosks` of the store that are not revoked. `wrap`
    holds the secret for the reader, None when nobody wrapped it to this kiosk yet.
    """

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    key: GroupKey | None
    kiosks: tuple[str, ...]
    wrap: Annotated[bytes, Meta(max_length=WRAP_BYTES_MAX)] | None


class TemplateEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A member's sealed template, or None: it must be forgotten."""

    member: Member
    template: SealedTemplate | None


class TemplateWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The consent of a member whose face is known at this store names another, whose secret `key` names.

    One kiosk is to seal the template for that store; it is left out here once the cloud has it.
    """

    member: Member
    store: str
    key: GroupKey


class TemplatePage(msgspec.Struct, frozen=True, kw_only=True, tag="templates"):
    """Changes of the store's sealed templates from `base` to `version`; `reset` forgets all of them first.

    The page that reaches the newest version renews every template's lease, from `issued_ms`, and says which templates
    are `wanted` for other stores as of then, at most WANTED_MAX; the ones before are no longer.
    """

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    reset: bool
    entries: tuple[TemplateEntry, ...]
    wanted: Annotated[tuple[TemplateWanted, ...], Meta(max_length=WANTED_MAX)] = ()


class StoreKiosk(msgspec.Struct, frozen=True, kw_only=True):
    """A kiosk of the store: its signing key (32 bytes), and where the others reach it, None when they cannot."""

    device: str
    public: bytes
    lan: str | None = None


class HubLease(msgspec.Struct, frozen=True, kw_only=True):
    """Which kiosk leads the store, and until when."""

    device: str
    ends_ms: Count


class StorePage(msgspec.Struct, frozen=True, kw_only=True, tag="store"):
    """The kiosks of the store on their own network; always whole.

    `owners` are those among which the owner of a member's coupon is drawn; from the business day `following_from` on
    these are `following`. While that day is None other kiosks may go by either list.
    """

    base: Count
    version: Count
    more: bool
    issued_ms: Count
    kiosks: tuple[StoreKiosk, ...]
    owners: tuple[str, ...]
    following: tuple[str, ...] | None = None
    following_from: str | None = None
    hub: HubLease | None = None


Page = KeyPage | PolicyPage | DenyPage | RevocationPage | RosterPage | GroupPage | TemplatePage | StorePage
"""One step of a feed. `more` is False on the page that reaches the cloud's newest version: as of `issued_ms` the
device then knows all there is to know, and the feed's age counts from there."""

Answer = Receipt | EpochIssued | AllotmentIssued | TimeTold | Page


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an answer, the id of the key that signed them, and the signature."""

    signer: int
    body: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_signed_decoder = msgspec.msgpack.Decoder(Signed)
_decoders: dict[Down, msgspec.msgpack.Decoder[Answer]] = {
    Down.RECEIPT: msgspec.msgpack.Decoder(Receipt),
    Down.EPOCH: msgspec.msgpack.Decoder(EpochIssued),
    Down.ALLOTMENT: msgspec.msgpack.Decoder(AllotmentIssued),
    Down.TIME: msgspec.msgpack.Decoder(TimeTold),
    Down.FEED: msgspec.msgpack.Decoder(Page),
}


def kind_of(answer: Answer) -> Down:
    """The downward topic kind on which the answer travels."""
    match answer:
        case Receipt():
            return Down.RECEIPT
        case EpochIssued():
            return Down.EPOCH
        case AllotmentIssued():
            return Down.ALLOTMENT
        case TimeTold():
            return Down.TIME
        case (
            KeyPage()
            | PolicyPage()
            | DenyPage()
            | RevocationPage()
            | RosterPage()
            | GroupPage()
            | TemplatePage()
            | StorePage()
        ):
            return Down.FEED
        case _:
            assert_never(answer)


def name_of(page: Page) -> FeedName:
    """The feed the page belongs to."""
    match page:
        case KeyPage():
            return FeedName.KEYS
        case PolicyPage():
            return FeedName.POLICY
        case DenyPage():
            return FeedName.DENY
        case RevocationPage():
            return FeedName.REVOCATIONS
        case RosterPage():
            return FeedName.ROSTER
        case GroupPage():
            return FeedName.GROUP
        case TemplatePage():
            return FeedName.TEMPLATES
        case StorePage():
            return FeedName.STORE
        case _:
            assert_never(page)


def sign_answer(answer: Answer, signer: int, key: Ed25519PrivateKey) -> bytes:
    """The msgpack bytes of the signed answer, ready for its topic."""
    body = _encoder.encode(answer)
    return _encoder.encode(Signed(signer=signer, body=body, signature=sign(key, _context(kind_of(answer)), body)))


def open_answer(kind: Down, data: bytes, signers: dict[int, Ed25519PublicKey]) -> Answer | None:
    """The answer in the bytes when a known signer signed it as this kind, else None.

    `signers` maps ids to keys; ROOT_SIGNER is the pinned root. A key page is believed from the root alone.
    """
    try:
        signed = _signed_decoder.decode(data)
        key = signers.get(signed.signer)
        if key is None or not is_signed_by(key, signed.signature, _context(kind), signed.body):
            return None
        answer = _decoders[kind].decode(signed.body)
    except UNREADABLE:
        return None
    if isinstance(answer, KeyPage) and signed.signer != ROOT_SIGNER:
        return None
    return answer


def _context(kind: Down) -> bytes:
    return b"DSA1" + kind.value.encode() + b"\0"

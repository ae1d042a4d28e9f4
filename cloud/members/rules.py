"""What a member may be called, how long credentials live, what a roster holds, who may join how often.

Pure: instants come in as arguments and nothing here knows a database. Limits that a kiosk relies on (the roster's
size and age) and limits that protect this service (phones a member, joins an address) stand side by side with their
reasons.
"""

import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final, Generic, TypeVar

from cloud.errors import CloudError
from shared.biometrics import Forgetting
from shared.business_day import milliseconds
from shared.consent import DataLevel, Purpose
from shared.ids import DeviceId, MemberId, StoreId, TenantId
from shared.policy import LEASE_AGE_MAX

CONSENT_TEXT_VERSION: Final = 1  # of the texts in page/texts.js; a change of their meaning is a new version
NICKNAME_LENGTH_MAX: Final = 40  # what a kiosk shows in large type on one or two lines
MARKS_IN_A_ROW_MAX: Final = 2  # no living script stacks more; what does is made to run over the neighbours
PHONE_DAYS: Final = 60  # a certificate's life; a page that is opened renews it, so a lost phone ends by itself
PHONES_MAX: Final = 5  # certified at one time: family phones and tablets, not a shop's worth of sharers
CARD_DAYS: Final = 730  # a printed card lasts two years unless it is denied first
CARD_SERIAL_MAX: Final = 0xFFFE  # two bytes in the token, and the floor above the last must fit, too
ROSTER_AGE_MAX: Final = timedelta(days=180)
ROSTER_MEMBERS_MAX: Final = 100_000
JOIN_BURST: Final = 30  # a store's Wi-Fi is one address: a family or a queue joins at once
JOIN_EVERY: Final = timedelta(seconds=10)
ADDRESSES_MAX: Final = 10_000  # about 2 MB; the address seen longest ago is forgotten first
WAITING_AGE_MAX: Final = LEASE_AGE_MAX  # no kiosk keeps a template longer without a word of ours; nor do we

_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Cf holds the bidirectional controls
_MARKS: Final = frozenset({"Mn", "Me"})


class MemberGone(CloudError):
    """Something was to be changed of a member who is unknown or has left in the meantime."""

    def __init__(self, member: MemberId) -> None:
        super().__init__()
        self.member = member


class Language(StrEnum):
    """The languages in which members are spoken to."""

    ENGLISH = "en"
    ITALIAN = "it"


class Channel(StrEnum):
    """Where a consent was given or withdrawn: the member page, another app, the counter, or a kiosk at the door.

    RESTORE: nobody did; the service was brought back from a copy and no longer knows whether the consent still stood.
    """

    PAGE = "page"
    APP = "app"
    COUNTER = "counter"
    KIOSK = "kiosk"
    RESTORE = "restore"


class NicknameFault(StrEnum):
    """Why a nickname is refused."""

    TOO_LONG = "too_long"
    UNPRINTABLE = "unprintable"
    STACKED_MARKS = "stacked_marks"


class JoinRefusal(StrEnum):
    """Why nobody joined: the secret belonged to a member who has left, and opens nothing a second time."""

    SECRET_SPENT = "secret_spent"  # noqa: S105 - a reason, not a secret


class PhoneRefusal(StrEnum):
    """Why a phone's key is not certified.

    PHONES_DENIED: the member's phones were denied and certificates from before are still in date; the deny list
    cannot tell an old phone from a new one. KEY_REVOKED: this key was denied. TOO_MANY: the limit is reached.
    """

    PHONES_DENIED = "phones_denied"
    KEY_REVOKED = "key_revoked"
    TOO_MANY = "too_many"


class CardRefusal(StrEnum):
    """Why no card is issued: all serial numbers of the member are used up."""

    SERIALS_USED_UP = "serials_used_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentWords:
    """The text a person has read: its version, its language, and where."""

    text_version: int
    language: Language
    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as stored. `card_serial` is the last card's number, 0 before the first; `erased_at` ends everything.

    `face_text` is the version of the biometric text whose consent is in force, None when there is none.
    """

    id: MemberId
    tenant: TenantId
    programme: str
    nickname: str | None
    language: Language
    level: DataLevel
    joined_at: datetime
    erased_at: datetime | None
    card_serial: int
    serial_floor: int
    phones_denied: bool
    face_text: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What judging a claim needs of a member. `id` is who stands behind the pseudonym asked for.

    `face_text` as in Member.
    """

    id: MemberId
    nickname: str | None
    language: Language
    level: DataLevel
    serial_floor: int
    phones_denied: bool
    erased: bool
    face_text: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A phone's key that was certified through `expiry_day` (days since 1970-01-01, the last good one)."""

    public_key: bytes
    expiry_day: int
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CardIssue:
    """A card that was issued: its serial number, its last good day, and whether it was denied since."""

    serial: int
    expiry_day: int
    denied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """One line of a member's consent history; it is never changed, a later line replaces it.

    `said_at` is earlier than `recorded_at` when a kiosk that was offline heard it; `origin` is that kiosk's envelope.
    `store` is the one that a biometric consent is about, None when it is about all of them.
    """

    number: int
    purpose: Purpose
    level: DataLevel
    given: bool
    words: ConsentWords
    recorded_at: datetime
    said_at: datetime
    origin: "Origin | None" = None
    store: StoreId | None = None


# -- faces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The envelope in which a kiosk said something; its signature is the proof."""

    device: DeviceId
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenConsent:
    """The biometric consent, given or withdrawn at a kiosk at `said_at`."""

    tenant: TenantId
    member: MemberId
    given: bool
    words: ConsentWords
    said_at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A sealed template as a kiosk sent it, made under the consent to `text_version`.

    `key` names the secret it is sealed to. `resealed` when the face was not seen again. `given_by` is the store at
    which it was learnt when it was not `store`; then `device` is that store's until one of `store` has resealed it.
    """

    tenant: TenantId
    store: StoreId
    member: MemberId
    key: bytes
    embedder: bytes
    sealed: bytes
    text_version: int
    device: DeviceId
    frames: int
    resealed: bool
    enrolled_at: datetime
    given_by: StoreId | None = None

    @property
    def is_unopened(self) -> bool:
        """True while none of the store's own kiosks has opened what another store gave."""
        return self.given_by is not None and not self.resealed

    @property
    def rank(self) -> tuple[int, datetime]:
        """Which of two under one key counts: a face that was seen here before one that was not, before one that nobody
        opened here yet; then the later.
        """
        kind = 0 if self.is_unopened else 1 if self.resealed else 2
        return kind, self.enrolled_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceProof:
    """A kiosk's word, proved by its envelope, that it holds no template of the member."""

    tenant: TenantId
    store: StoreId
    member: MemberId
    why: Forgetting
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceConsent:
    """What the history says of the biometric consent: the version in force, and when it was last withdrawn."""

    text_version: int | None = None
    withdrawn_at: datetime | None = None


class HeldTemplate(StrEnum):
    """What the cloud holds of a member's face at a store: nothing, a template, or the word that it was removed."""

    NONE = "none"
    KEPT = "kept"
    REMOVED = "removed"


class TemplateFate(StrEnum):
    """What becomes of a template that came in.

    KEEP: kiosks of the store are given it. WAIT: for its consent or its secret. IGNORE: a better one is there.
    FORGET: it was withdrawn before it came; the kiosks are told so.
    """

    KEEP = "keep"
    WAIT = "wait"
    IGNORE = "ignore"
    FORGET = "forget"


def face_consent(records: Sequence[ConsentRecord]) -> FaceConsent:
    """What is in force: what was said last, wherever it was said, and on a tie the withdrawal.

    What was said of single stores is another matter: `face_consent_at`.
    """
    said = _said_of(records, None)
    if not said:
        return FaceConsent()
    last = _last(said)
    return FaceConsent(text_version=last.words.text_version if last.given else None, withdrawn_at=_withdrawn_at(said))


class StoreWord(StrEnum):
    """What a member said of a single store.

    NOTHING: what is in force for all stores is in force there. ALLOWED: a face that is known elsewhere may be given to
    it. BARRED: it may not know the face, however it came by it.
    """

    NOTHING = "nothing"
    ALLOWED = "allowed"
    BARRED = "barred"


def store_word(records: Sequence[ConsentRecord], store: StoreId) -> StoreWord:
    """What was said last of the store, as far as what was said of all stores since has not ended it.

    Whoever withdraws everywhere has withdrawn there as well, for good; whoever consents anew has lifted a bar.
    """
    named, everywhere = _said_of(records, store), _said_of(records, None)
    if not named:
        return StoreWord.NOTHING
    last = _last(named)
    if not last.given:
        is_lifted = any(record.given and record.said_at > last.said_at for record in everywhere)
        return StoreWord.NOTHING if is_lifted else StoreWord.BARRED
    consent = face_consent(records)
    is_over = consent.withdrawn_at is not None and last.said_at <= consent.withdrawn_at
    return StoreWord.NOTHING if consent.text_version is None or is_over else StoreWord.ALLOWED


def face_consent_at(records: Sequence[ConsentRecord], store: StoreId, *, given: bool) -> FaceConsent:
    """What is in force at the store for a face that was learnt there, or that another store has `given` it."""
    consent, word, named = face_consent(records), store_word(records, store), _said_of(records, store)
    withdrawn = [at for at in (consent.withdrawn_at, _withdrawn_at(named)) if at is not None]
    if given:
        text_version = _last(named).words.text_version if word is StoreWord.ALLOWED else None
    else:
        text_version = None if word is StoreWord.BARRED else consent.text_version
    return FaceConsent(text_version=text_version, withdrawn_at=max(withdrawn, default=None))


def named_stores(records: Sequence[ConsentRecord]) -> tuple[StoreId, ...]:
    """The stores of which anything was said by name, each once."""
    return tuple(sorted({record.store for record in records if record.store is not None}))


def may_be_given(one: Enrolment, consent: FaceConsent, *, key: bytes | None, held: Enrolment | None) -> bool:
    """Whether a template that another store gave is taken for a store whose secret is `key` and that holds `held`.

    Unlike one of the store's own it never waits: a kiosk is asked for it only once everything is there.
    """
    is_stale = consent.withdrawn_at is not None and one.enrolled_at <= consent.withdrawn_at
    if is_stale or consent.text_version != one.text_version or one.key != key:
        return False
    return held is None or (held.given_by is not None and held.key != key)


def _said_of(records: Sequence[ConsentRecord], store: StoreId | None) -> list[ConsentRecord]:
    return [record for record in records if record.purpose is Purpose.BIOMETRIC and record.store == store]


def _last(said: Sequence[ConsentRecord]) -> ConsentRecord:
    return max(said, key=lambda record: (record.said_at, not record.given, record.number))


def _withdrawn_at(said: Sequence[ConsentRecord]) -> datetime | None:
    return max((record.said_at for record in said if not record.given), default=None)


def template_fate(
    one: Enrolment, consent: FaceConsent, *, key: bytes | None, holds: HeldTemplate, held: Enrolment | None
) -> TemplateFate:
    """What becomes of the template at a store whose secret is `key` and that holds this of the member.

    `held` is the template that is kept, if one is; it stands under the same consent.
    """
    if consent.withdrawn_at is not None and one.enrolled_at <= consent.withdrawn_at:
        return TemplateFate.IGNORE if holds is HeldTemplate.KEPT else TemplateFate.FORGET
    if one.resealed and holds is HeldTemplate.REMOVED:
        return TemplateFate.FORGET  # a kiosk that had not heard of the removal sealed the old face once more
    if consent.text_version != one.text_version or one.key != key:
        return TemplateFate.WAIT
    if held is not None and held.key == one.key and held.rank > one.rank:
        return TemplateFate.IGNORE
    return TemplateFate.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceDeletion:
    """A kiosk that must delete a withdrawn template, asked at an instant, by its lease's end at the latest.

    `stored_at` is when the cloud had the template.
    """

    store: StoreId
    device: DeviceId
    asked_at: datetime
    stored_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedProof:
    """A proof as recorded."""

    device: DeviceId
    store: StoreId
    why: Forgetting
    recorded_at: datetime


def deleted_at(deletion: FaceDeletion, proofs: Sequence[RecordedProof]) -> datetime | None:
    """When the kiosk's proof of this deletion was recorded, or None while it is awaited.

    A withdrawal at the kiosk itself may be proved before it is heard of here; a template that only lapsed or was
    replaced comes back with the feed, so such a word counts when it came after the withdrawal.
    """
    counts = [
        proof.recorded_at
        for proof in proofs
        if (proof.device, proof.store) == (deletion.device, deletion.store)
        and proof.recorded_at >= (deletion.stored_at if proof.why is Forgetting.WITHDRAWN else deletion.asked_at)
    ]
    return min(counts, default=None)


# -- feeds -------------------------------------------------------------------------------------------------------


Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCut(Generic[Entry]):
    """A piece of a feed: the changes from `base` to `version`.

    With `more` another piece follows. With `reset` the reader held a version that never was (a restored cloud) and
    starts again from nothing, so `base` is 0.
    """

    base: int
    version: int
    more: bool
    reset: bool
    entries: tuple[Entry, ...]


def tidy_nickname(text: str) -> str:
    """The nickname in composed form with single spaces; empty when there is nothing to see."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def nickname_fault(nickname: str) -> NicknameFault | None:
    """What makes a tidied nickname unfit for a screen, or None."""
    if len(nickname) > NICKNAME_LENGTH_MAX:
        return NicknameFault.TOO_LONG
    categories = [unicodedata.category(character) for character in nickname]
    if not _UNPRINTABLE.isdisjoint(categories):
        return NicknameFault.UNPRINTABLE
    marks = 0
    for category in categories:
        marks = marks + 1 if category in _MARKS else 0
        if marks > MARKS_IN_A_ROW_MAX:
            return NicknameFault.STACKED_MARKS
    return None


def day_number(instant: datetime) -> int:
    """Days since 1970-01-01 UTC, the form in which credentials carry their last good day."""
    return milliseconds(instant) // 86_400_000


def phone_refusal(
    phones: Sequence[Phone], public_key: bytes, *, today: int, phones_denied: bool
) -> PhoneRefusal | None:
    """Why the key is not certified, or None. A key that is certified already may always be renewed."""
    if phones_denied and any(phone.expiry_day >= today for phone in phones):
        return PhoneRefusal.PHONES_DENIED
    if any(phone.public_key == public_key and phone.revoked for phone in phones):
        return PhoneRefusal.KEY_REVOKED
    others = [p for p in phones if p.public_key != public_key and not p.revoked and p.expiry_day >= today]
    return PhoneRefusal.TOO_MANY if len(others) >= PHONES_MAX else None


def cut_feed(base: int, head: int, numbered: Sequence[tuple[int, Entry]], *, limit: int, reset: bool) -> FeedCut[Entry]:
    """The piece made of at most `limit` of the numbered changes after `base`, which come in order.

    Give one change more than `limit` to let it be seen that there is more. The last piece reaches `head`, whose
    number may be above the last change's: a later change of the same member took its place.
    """
    more = len(numbered) > limit
    taken = numbered[:limit]
    version = taken[-1][0] if more else head
    return FeedCut(base=base, version=version, more=more, reset=reset, entries=tuple(entry for _, entry in taken))


@dataclass(slots=True, kw_only=True)
class _Bucket:
    joins: float
    counted_at: datetime


class JoinLimiter:
    """How many may still join from an address: a burst, then one at an interval. Bounded in memory."""

    def __init__(
        self, *, burst: int = JOIN_BURST, every: timedelta = JOIN_EVERY, addresses_max: int = ADDRESSES_MAX
    ) -> None:
        self._burst = burst
        self._every = every
        self._addresses_max = addresses_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str, now: datetime) -> timedelta:
        """Zero when somebody at the address may join now, which is then counted; else how long to wait."""
        name = network_of(address)
        bucket = self._buckets.pop(name, None) or _Bucket(joins=float(self._burst), counted_at=now)
        self._buckets[name] = bucket
        if len(self._buckets) > self._addresses_max:
            self._buckets.popitem(last=False)
        earned = max(now - bucket.counted_at, timedelta(0)) / self._every
        bucket.joins, bucket.counted_at = min(bucket.joins + earned, float(self._burst)), now
        if bucket.joins < 1:
            return self._every * (1 - bucket.joins)
        bucket.joins -= 1
        return timedelta(0)


def network_of(address: str) -> str:
    """What one household or shop counts as: the IPv4 address, the first 64 bits of an IPv6 address, else the text."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()

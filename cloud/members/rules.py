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
from shared.business_day import milliseconds
from shared.consent import DataLevel, Purpose
from shared.ids import MemberId, TenantId

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
    """Where a consent was given or withdrawn: the member page, another app, or at the counter."""

    PAGE = "page"
    APP = "app"
    COUNTER = "counter"


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
    """A member as stored. `card_serial` is the last card's number, 0 before the first; `erased_at` ends everything."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What judging a claim needs of a member. `id` is who stands behind the pseudonym asked for."""

    id: MemberId
    nickname: str | None
    language: Language
    level: DataLevel
    serial_floor: int
    phones_denied: bool
    erased: bool


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
    """One line of a member's consent history; it is never changed, a later line replaces it."""

    number: int
    purpose: Purpose
    level: DataLevel
    given: bool
    words: ConsentWords
    recorded_at: datetime


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

"""What the members' API takes and gives. Levels: 1 points and nickname, 2 contact data as well, 3 purchases as well."""

import base64
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cloud.catalogue.rules import Programme, Store
from cloud.ledger.rules import Balance, Code
from cloud.members.queries import KeptTemplate
from cloud.members.rules import (
    CONSENT_TEXT_VERSION,
    CardIssue,
    Channel,
    ConsentRecord,
    ConsentWords,
    FaceDeletion,
    Language,
    Member,
    Phone,
)
from shared.consent import BIOMETRIC_TEXT_VERSION, Purpose
from shared.ids import format_member

NICKNAME_TEXT_MAX = 200  # before tidying; what is left is held to the rule's own limit

MemberText = Annotated[str, Field(pattern=r"^[a-z2-7]{16}$", description="The member's pseudonym.")]
Slug = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Nickname = Annotated[str | None, Field(max_length=NICKNAME_TEXT_MAX, description="What the door calls the member.")]
LanguageText = Literal["en", "it"]
LevelNumber = Literal[1, 2, 3]
TextVersion = Annotated[int, Field(description="Version of the consent text that the person has read.")]


class _Body(BaseModel):
    """A request: exact types and no field we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Words(_Body):
    """The text behind a consent, and where the person read it."""

    text_version: TextVersion
    channel: Literal["page", "app", "counter"] = "page"

    def words(self, language: str) -> ConsentWords:
        """What goes on record."""
        return ConsentWords(text_version=self.text_version, language=Language(language), channel=Channel(self.channel))


class NewMember(_Words):
    """Joining. No personal data is needed; `store` is where the person stands, if they say so."""

    programme: Slug
    store: Slug | None = None
    nickname: Nickname = None
    language: LanguageText
    level: LevelNumber = 1


class ProfileChange(_Words):
    """What is given changes, what is left out stays; a nickname of null is taken away.

    A change of level needs the version of the text that the person has read.
    """

    nickname: Nickname = None
    language: LanguageText | None = None
    level: LevelNumber | None = None
    text_version: TextVersion = CONSENT_TEXT_VERSION


class ConsentChange(_Words):
    """A consent given or withdrawn. Withdrawing `programme` is leaving: name and credentials are gone at once.

    `biometric` stands alone and has a text of its own, of `biometric_text_version`; withdrawn, every kiosk must delete
    what it knows of the face and prove that. With `store` it is about that one only: given, the store's kiosks may know
    a face that was learnt at another; withdrawn, they must delete it, and other stores keep what they have.
    """

    purpose: Literal["programme", "marketing", "biometric"]
    given: bool
    language: LanguageText
    store: Slug | None = None


class NewPhone(_Body):
    """A phone's key to certify; the private half never leaves the phone."""

    public_key: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="Ed25519: 32 raw bytes as base64url without padding.")
    ]


class JoinView(BaseModel):
    """What somebody is about to join."""

    programme: str
    name: str
    store: str | None
    store_name: str | None
    text_version: int

    @classmethod
    def of(cls, programme: Programme, store: Store | None) -> Self:
        """The programme as a stranger may see it."""
        return cls(
            programme=programme.id,
            name=programme.name,
            store=None if store is None else store.id,
            store_name=None if store is None else store.name,
            text_version=CONSENT_TEXT_VERSION,
        )


class MemberView(BaseModel):
    """A member as the member, and staff of the tenant, may see them."""

    member: str
    programme: str
    nickname: str | None
    language: str
    level: int
    joined_at: datetime
    left_at: datetime | None

    @classmethod
    def of(cls, member: Member) -> Self:
        """The member by pseudonym."""
        return cls(
            member=format_member(member.id),
            programme=member.programme,
            nickname=member.nickname,
            language=member.language.value,
            level=int(member.level),
            joined_at=member.joined_at,
            left_at=member.erased_at,
        )


class BalanceView(BaseModel):
    """What the member may spend, in one unit."""

    unit: str
    amount: int


class CardView(BaseModel):
    """A card: its number and its last good day."""

    serial: int
    expires_on: date
    denied: bool

    @classmethod
    def of(cls, card: CardIssue) -> Self:
        """The card without its code."""
        return cls(serial=card.serial, expires_on=date_of(card.expiry_day), denied=card.denied)


class PrintedCardView(CardView):
    """A card with the text of its code (to be drawn as a QR code, alphanumeric, version 8-Q)."""

    text: str


class PhoneView(BaseModel):
    """A certified phone, by its public key."""

    public_key: str
    expires_on: date
    denied: bool

    @classmethod
    def of(cls, phone: Phone) -> Self:
        """The phone as its member and staff may see it."""
        key = encode_bytes(phone.public_key)
        return cls(public_key=key, expires_on=date_of(phone.expiry_day), denied=phone.revoked)


class CertificateView(BaseModel):
    """The certificate that a phone puts at the front of every code (111 bytes as base64url without padding)."""

    certificate: str
    expires_on: date


class MeView(MemberView):
    """All that a member sees of themselves. `server_ms` lets a phone notice that its clock is off."""

    programme_name: str
    balances: tuple[BalanceView, ...]
    marketing: bool
    card: CardView | None
    phones_denied: bool
    text_version: int
    biometric: bool
    biometric_text_version: int
    server_ms: int


class MemberDetail(MemberView):
    """A member with their credentials, as staff may see them."""

    balances: tuple[BalanceView, ...]
    cards: tuple[CardView, ...]
    phones: tuple[PhoneView, ...]
    phones_denied: bool


class KnownFaceView(BaseModel):
    """A store whose kiosks know the member's face, and since when."""

    store: str
    store_name: str
    since: datetime

    @classmethod
    def of(cls, kept: KeptTemplate, store_name: str) -> Self:
        """The store for the member."""
        return cls(store=kept.store, store_name=store_name, since=kept.enrolled_at)


class OtherStoreView(BaseModel):
    """A store of the programme at which the face was not learnt, and whether the member allows it to know the face.

    `since` when its kiosks know it, None while they do not: the way there leads over a kiosk of each store.
    """

    store: str
    store_name: str
    allowed: bool
    since: datetime | None


class FaceDeletionView(BaseModel):
    """A kiosk that had to delete a withdrawn template.

    `deleted_at` is when its signed proof was recorded, None while that is awaited; `latest_at` is when its lease ends,
    by which it has deleted by itself.
    """

    store: str
    store_name: str
    kiosk: str
    asked_at: datetime
    deleted_at: datetime | None
    latest_at: datetime

    @classmethod
    def of(cls, deletion: FaceDeletion, store_name: str, deleted: datetime | None) -> Self:
        """The deletion for the member."""
        return cls(
            store=deletion.store,
            store_name=store_name,
            kiosk=deletion.device,
            asked_at=deletion.asked_at,
            deleted_at=deleted,
            latest_at=deletion.ends_at,
        )


class FaceView(BaseModel):
    """What is known of the member's face, where, and what became of it where it was withdrawn.

    `consent` is the version of the text in force, None without a consent; `text_version` the one to agree to today.
    `others` are the stores that the member can allow to know a face that is known elsewhere, or has allowed.
    """

    consent: int | None
    text_version: int = BIOMETRIC_TEXT_VERSION
    stores: tuple[KnownFaceView, ...]
    deletions: tuple[FaceDeletionView, ...]
    others: tuple[OtherStoreView, ...] = ()


class ConsentView(BaseModel):
    """One line of the consent history: the member's receipt.

    `said_at` is when it was said; a kiosk that was offline tells of it later, in the envelope that it names. `store` is
    the one that a biometric consent is about, None when it is about all of them.
    """

    number: int
    purpose: str
    level: int
    given: bool
    text_version: int
    language: str
    channel: str
    recorded_at: datetime
    said_at: datetime
    kiosk: str | None
    envelope: str | None
    store: str | None = None
    store_name: str | None = None

    @classmethod
    def of(cls, record: ConsentRecord, store_name: str | None) -> Self:
        """The line as recorded, with the name of the store that it is about."""
        return cls(
            number=record.number,
            purpose=record.purpose.value,
            level=int(record.level),
            given=record.given,
            text_version=record.words.text_version,
            language=record.words.language.value,
            channel=record.words.channel.value,
            recorded_at=record.recorded_at,
            said_at=record.said_at,
            kiosk=None if record.origin is None else record.origin.device,
            envelope=None if record.origin is None else f"{record.origin.epoch}/{record.origin.seq}",
            store=record.store,
            store_name=store_name,
        )


class Denial(BaseModel):
    """What is denied of the member's credentials from now on."""

    cards_below: int
    phones: bool


def spendable(balances: Sequence[Balance]) -> tuple[BalanceView, ...]:
    """What may be spent, by unit."""
    return tuple(
        BalanceView(unit=balance.account.unit, amount=balance.amount)
        for balance in balances
        if balance.account.code is Code.MEMBER_AVAILABLE
    )


def has_marketing(consents: Sequence[ConsentRecord]) -> bool:
    """True when the last word on marketing was yes."""
    words = [record.given for record in consents if record.purpose is Purpose.MARKETING]
    return bool(words) and words[-1]


def date_of(day: int) -> date:
    """The date of a day number."""
    return date(1970, 1, 1) + timedelta(days=day)


def encode_bytes(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_key(text: str) -> bytes:
    """The 32 bytes of a text that a request's pattern has let through."""
    return base64.urlsafe_b64decode(text + "=")

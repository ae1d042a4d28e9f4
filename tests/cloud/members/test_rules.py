"""Nicknames, phone limits, feed cuts and the pace of joining, without a database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.members.rules import (
    NICKNAME_LENGTH_MAX,
    PHONES_MAX,
    Channel,
    ConsentRecord,
    ConsentWords,
    Enrolment,
    FaceConsent,
    FaceDeletion,
    HeldTemplate,
    JoinLimiter,
    Language,
    NicknameFault,
    Phone,
    PhoneRefusal,
    RecordedProof,
    StoreWord,
    TemplateFate,
    cut_feed,
    day_number,
    deleted_at,
    face_consent,
    face_consent_at,
    may_be_given,
    named_stores,
    network_of,
    nickname_fault,
    phone_refusal,
    store_word,
    template_fate,
    tidy_nickname,
)
from shared.biometrics import Forgetting
from shared.consent import DataLevel, Purpose
from shared.ids import DeviceId, MemberId, StoreId, TenantId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = day_number(NOON)
KEY = bytes(32)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("  Anna  Maria ", "Anna Maria"),
        ("Zoe\u0308", "Zoë"),
        (" \t ", ""),
        ("a\u2028b", "a b"),
    ],
)
def test_tidying_composes_and_keeps_single_spaces(text: str, tidied: str) -> None:
    assert tidy_nickname(text) == tidied


@pytest.mark.parametrize(
    ("nickname", "fault"),
    [
        ("Anna", None),
        ("Zoë 🦊", None),
        ("李明", None),
        ("विजय", None),
        ("x" * NICKNAME_LENGTH_MAX, None),
        ("x" * (NICKNAME_LENGTH_MAX + 1), NicknameFault.TOO_LONG),
        ("An\x07na", NicknameFault.UNPRINTABLE),
        ("An\u202ena", NicknameFault.UNPRINTABLE),
        ("An\u2067na", NicknameFault.UNPRINTABLE),
        ("An\u200bna", NicknameFault.UNPRINTABLE),
        ("An\ufeffna", NicknameFault.UNPRINTABLE),
        ("An\ue000na", NicknameFault.UNPRINTABLE),
        ("An\ud800na", NicknameFault.UNPRINTABLE),
        ("a\u0335\u0335", None),
        ("a\u0335\u0335\u0335", NicknameFault.STACKED_MARKS),
    ],
)
def test_a_nickname_is_refused_when_a_screen_could_be_abused_by_it(nickname: str, fault: NicknameFault | None) -> None:
    assert nickname_fault(nickname) is fault


@given(st.text(max_size=60))
def test_what_passes_is_printable_for_python_too(text: str) -> None:
    nickname = tidy_nickname(text)
    assert tidy_nickname(nickname) == nickname
    if nickname_fault(nickname) is None:
        assert nickname.isprintable()


def _phone(number: int, *, days_left: int = 10, revoked: bool = False) -> Phone:
    return Phone(public_key=number.to_bytes(32, "big"), expiry_day=TODAY + days_left, revoked=revoked)


@pytest.mark.parametrize(
    ("phones", "denied", "refusal"),
    [
        ([], False, None),
        ([_phone(n) for n in range(1, PHONES_MAX)], False, None),
        ([_phone(n) for n in range(1, PHONES_MAX + 1)], False, PhoneRefusal.TOO_MANY),
        ([_phone(n) for n in range(PHONES_MAX)], False, None),  # this very key is among them: a renewal
        ([_phone(n, days_left=-1) for n in range(1, 9)], False, None),
        ([_phone(n, revoked=True) for n in range(1, 9)], False, None),
        ([_phone(0, revoked=True)], False, PhoneRefusal.KEY_REVOKED),
        ([_phone(1, days_left=0, revoked=True)], True, PhoneRefusal.PHONES_DENIED),
        ([_phone(1, days_left=-1, revoked=True)], True, None),
        ([], True, None),
    ],
)
def test_a_key_is_certified_or_the_reason_named(
    phones: list[Phone], denied: bool, refusal: PhoneRefusal | None
) -> None:
    assert phone_refusal(phones, KEY, today=TODAY, phones_denied=denied) is refusal


def test_a_piece_that_is_not_the_last_ends_at_its_last_change() -> None:
    piece = cut_feed(0, 9, [(2, "b"), (5, "e"), (9, "i")], limit=2, reset=False)
    assert (piece.entries, piece.version, piece.more) == (("b", "e"), 5, True)


def test_the_last_piece_reaches_the_head() -> None:
    piece = cut_feed(5, 9, [(8, "h")], limit=2, reset=False)
    assert (piece.base, piece.entries, piece.version, piece.more) == (5, ("h",), 9, False)


def test_nothing_new_is_an_empty_piece_at_the_head() -> None:
    piece: object = cut_feed(9, 9, list[tuple[int, str]](), limit=2, reset=False)
    assert piece == cut_feed(9, 9, [], limit=5, reset=False)


def test_joining_has_a_burst_and_then_a_pace() -> None:
    limiter = JoinLimiter(burst=2, every=timedelta(seconds=10))
    assert [limiter.wait("192.0.2.1", NOON) for _ in range(3)] == [timedelta(0), timedelta(0), timedelta(seconds=10)]
    assert limiter.wait("192.0.2.1", NOON + timedelta(seconds=4)) == timedelta(seconds=6)
    assert limiter.wait("192.0.2.2", NOON) == timedelta(0)
    assert limiter.wait("192.0.2.1", NOON + timedelta(seconds=10)) == timedelta(0)
    assert limiter.wait("192.0.2.1", NOON + timedelta(seconds=10)) == timedelta(seconds=10)


def test_a_clock_that_steps_back_gives_no_joins_and_takes_none() -> None:
    limiter = JoinLimiter(burst=1, every=timedelta(seconds=10))
    assert limiter.wait("192.0.2.1", NOON) == timedelta(0)
    assert limiter.wait("192.0.2.1", NOON - timedelta(days=1)) == timedelta(seconds=10)


def test_only_so_many_addresses_are_remembered() -> None:
    limiter = JoinLimiter(burst=1, every=timedelta(hours=1), addresses_max=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert limiter.wait(address, NOON) == timedelta(0)
    assert limiter.wait("192.0.2.3", NOON) > timedelta(0)
    assert limiter.wait("192.0.2.1", NOON) == timedelta(0)  # forgotten, so it begins again


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2:bbbb::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_household_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


# -- faces -------------------------------------------------------------------------------------------------------


def hours(count: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(hours=count)


def said(
    number: int,
    given: bool,
    at: float,
    *,
    purpose: Purpose = Purpose.BIOMETRIC,
    text: int = 1,
    store: StoreId | None = None,
) -> ConsentRecord:
    """A line of the history, recorded a day after it was said."""
    words = ConsentWords(text_version=text, language=Language.ITALIAN, channel=Channel.KIOSK)
    return ConsentRecord(
        number=number,
        purpose=purpose,
        level=DataLevel.PSEUDONYM,
        given=given,
        words=words,
        recorded_at=hours(at + 24),
        said_at=hours(at),
        store=store,
    )


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], FaceConsent()),
        ([said(1, True, 0, purpose=Purpose.PROGRAMME), said(2, True, 0, purpose=Purpose.MARKETING)], FaceConsent()),
        ([said(1, True, 0, text=3)], FaceConsent(text_version=3)),
        ([said(1, True, 0), said(2, False, 1)], FaceConsent(withdrawn_at=hours(1))),
        ([said(1, False, 1), said(2, True, 0)], FaceConsent(withdrawn_at=hours(1))),
        ([said(1, False, 0), said(2, True, 1)], FaceConsent(text_version=1, withdrawn_at=hours(0))),
        ([said(1, True, 0), said(2, False, 0)], FaceConsent(withdrawn_at=hours(0))),
        ([said(1, False, 0), said(2, True, 0)], FaceConsent(withdrawn_at=hours(0))),
        ([said(1, True, 0, text=1), said(2, True, 0, text=2)], FaceConsent(text_version=2)),
        ([said(1, False, 3), said(2, False, 1), said(3, True, 4)], FaceConsent(text_version=1, withdrawn_at=hours(3))),
        ([said(1, True, 0), said(2, False, 1, store=StoreId("porto"))], FaceConsent(text_version=1)),
    ],
)
def test_what_was_said_last_is_in_force(records: list[ConsentRecord], expected: FaceConsent) -> None:
    assert face_consent(records) == expected
    assert face_consent(records[::-1]) == expected


PORTO = StoreId("porto")
AT_ALL = FaceConsent(text_version=1)


@pytest.mark.parametrize(
    ("records", "word", "learnt", "given"),
    [
        ([], StoreWord.NOTHING, FaceConsent(), FaceConsent()),
        ([said(1, True, 0)], StoreWord.NOTHING, AT_ALL, FaceConsent()),
        ([said(1, True, 0), said(2, True, 1, store=StoreId("centro"))], StoreWord.NOTHING, AT_ALL, FaceConsent()),
        ([said(1, True, 1, store=PORTO)], StoreWord.NOTHING, FaceConsent(), FaceConsent()),
        ([said(1, True, 0), said(2, True, 1, store=PORTO)], StoreWord.ALLOWED, AT_ALL, AT_ALL),
        (
            [said(1, True, 0), said(2, True, 1, store=PORTO, text=2)],
            StoreWord.ALLOWED,
            AT_ALL,
            FaceConsent(text_version=2),
        ),
        (
            [said(1, True, 0), said(2, True, 1, store=PORTO), said(3, False, 2, store=PORTO)],
            StoreWord.BARRED,
            FaceConsent(withdrawn_at=hours(2)),
            FaceConsent(withdrawn_at=hours(2)),
        ),
        (
            [said(1, True, 0), said(2, False, 1, store=PORTO), said(3, True, 1, store=PORTO)],
            StoreWord.BARRED,
            FaceConsent(withdrawn_at=hours(1)),
            FaceConsent(withdrawn_at=hours(1)),
        ),
        (
            [said(1, True, 0), said(2, False, 1, store=PORTO), said(3, True, 2, store=PORTO)],
            StoreWord.ALLOWED,
            FaceConsent(text_version=1, withdrawn_at=hours(1)),
            FaceConsent(text_version=1, withdrawn_at=hours(1)),
        ),
        (
            [said(1, True, 0), said(2, False, 1, store=PORTO), said(3, True, 2)],
            StoreWord.NOTHING,
            FaceConsent(text_version=1, withdrawn_at=hours(1)),
            FaceConsent(withdrawn_at=hours(1)),
        ),
        (
            [said(1, True, 0), said(2, False, 1, store=PORTO), said(3, True, 0.5)],
            StoreWord.BARRED,
            FaceConsent(withdrawn_at=hours(1)),
            FaceConsent(withdrawn_at=hours(1)),
        ),
        (
            [said(1, True, 0), said(2, True, 1, store=PORTO), said(3, False, 2)],
            StoreWord.NOTHING,
            FaceConsent(withdrawn_at=hours(2)),
            FaceConsent(withdrawn_at=hours(2)),
        ),
        (
            [said(1, True, 0), said(2, True, 1, store=PORTO), said(3, False, 2), said(4, True, 3)],
            StoreWord.NOTHING,
            FaceConsent(text_version=1, withdrawn_at=hours(2)),
            FaceConsent(withdrawn_at=hours(2)),
        ),
        (
            [said(1, True, 0), said(2, False, 1), said(3, True, 2), said(4, True, 3, store=PORTO)],
            StoreWord.ALLOWED,
            FaceConsent(text_version=1, withdrawn_at=hours(1)),
            FaceConsent(text_version=1, withdrawn_at=hours(1)),
        ),
    ],
)
def test_what_was_said_of_one_store_is_in_force_there(
    records: list[ConsentRecord], word: StoreWord, learnt: FaceConsent, given: FaceConsent
) -> None:
    for heard in (records, records[::-1]):
        assert store_word(heard, PORTO) is word
        assert face_consent_at(heard, PORTO, given=False) == learnt
        assert face_consent_at(heard, PORTO, given=True) == given


def test_the_stores_that_were_named_are_told_once_each() -> None:
    records = [said(1, True, 0), said(2, True, 1, store=PORTO), said(3, False, 2, store=PORTO)]
    assert named_stores([*records, said(4, True, 3, store=StoreId("centro"))]) == ("centro", "porto")


def enrolment(
    at: float = 1,
    *,
    key: bytes = KEY,
    text: int = 1,
    resealed: bool = False,
    given_by: StoreId | None = None,
) -> Enrolment:
    """A template of the member."""
    return Enrolment(
        tenant=TenantId("rossi"),
        store=StoreId("centro"),
        member=MemberId(bytes(10)),
        key=key,
        embedder=bytes(8),
        sealed=bytes(289),
        text_version=text,
        device=DeviceId("door1"),
        frames=5,
        resealed=resealed,
        enrolled_at=hours(at),
        given_by=given_by,
    )


GIVEN, OTHER = FaceConsent(text_version=1), b"o" * 32
AGAIN = FaceConsent(text_version=1, withdrawn_at=hours(1))


@pytest.mark.parametrize(
    ("one", "consent", "holds", "held", "fate"),
    [
        (enrolment(), GIVEN, HeldTemplate.NONE, None, TemplateFate.KEEP),
        (enrolment(), GIVEN, HeldTemplate.REMOVED, None, TemplateFate.KEEP),
        (enrolment(), FaceConsent(), HeldTemplate.NONE, None, TemplateFate.WAIT),
        (enrolment(text=2), GIVEN, HeldTemplate.NONE, None, TemplateFate.WAIT),
        (enrolment(key=OTHER), GIVEN, HeldTemplate.NONE, None, TemplateFate.WAIT),
        (enrolment(1), AGAIN, HeldTemplate.NONE, None, TemplateFate.FORGET),
        (enrolment(1), AGAIN, HeldTemplate.KEPT, enrolment(2), TemplateFate.IGNORE),
        (enrolment(1.5), AGAIN, HeldTemplate.REMOVED, None, TemplateFate.KEEP),
        (enrolment(1), FaceConsent(withdrawn_at=hours(2)), HeldTemplate.REMOVED, None, TemplateFate.FORGET),
        (enrolment(3, resealed=True), AGAIN, HeldTemplate.REMOVED, None, TemplateFate.FORGET),
        (enrolment(3, resealed=True), GIVEN, HeldTemplate.NONE, None, TemplateFate.KEEP),
        (enrolment(3, resealed=True), GIVEN, HeldTemplate.KEPT, enrolment(2, key=OTHER), TemplateFate.KEEP),
        (enrolment(3, resealed=True), GIVEN, HeldTemplate.KEPT, enrolment(2), TemplateFate.IGNORE),
        (enrolment(1), GIVEN, HeldTemplate.KEPT, enrolment(2, resealed=True), TemplateFate.KEEP),
        (enrolment(1), GIVEN, HeldTemplate.KEPT, enrolment(2), TemplateFate.IGNORE),
        (enrolment(2), GIVEN, HeldTemplate.KEPT, enrolment(2), TemplateFate.KEEP),
        (enrolment(3), GIVEN, HeldTemplate.KEPT, enrolment(2), TemplateFate.KEEP),
        (enrolment(1, resealed=True), GIVEN, HeldTemplate.KEPT, enrolment(2, given_by=PORTO), TemplateFate.KEEP),
    ],
)
def test_what_becomes_of_a_template(
    one: Enrolment, consent: FaceConsent, holds: HeldTemplate, held: Enrolment | None, fate: TemplateFate
) -> None:
    assert template_fate(one, consent, key=KEY, holds=holds, held=held) is fate


def test_without_a_secret_every_template_waits() -> None:
    assert template_fate(enrolment(), GIVEN, key=None, holds=HeldTemplate.NONE, held=None) is TemplateFate.WAIT


@pytest.mark.parametrize(
    ("one", "consent", "held", "may"),
    [
        (enrolment(given_by=PORTO), GIVEN, None, True),
        (enrolment(given_by=PORTO), FaceConsent(), None, False),
        (enrolment(given_by=PORTO, text=2), GIVEN, None, False),
        (enrolment(given_by=PORTO, key=OTHER), GIVEN, None, False),
        (enrolment(1, given_by=PORTO), AGAIN, None, False),
        (enrolment(2, given_by=PORTO), AGAIN, None, True),
        (enrolment(given_by=PORTO), GIVEN, enrolment(), False),
        (enrolment(given_by=PORTO), GIVEN, enrolment(key=OTHER), False),
        (enrolment(given_by=PORTO), GIVEN, enrolment(given_by=PORTO), False),
        (enrolment(given_by=PORTO), GIVEN, enrolment(given_by=PORTO, key=OTHER), True),
    ],
)
def test_whether_a_template_of_another_store_is_taken(
    one: Enrolment, consent: FaceConsent, held: Enrolment | None, may: bool
) -> None:
    assert may_be_given(one, consent, key=KEY, held=held) is may


@pytest.mark.parametrize(
    ("why", "at", "device", "store", "counts"),
    [
        (Forgetting.WITHDRAWN, 2, "door1", "centro", True),
        (Forgetting.WITHDRAWN, 1, "door1", "centro", True),
        (Forgetting.WITHDRAWN, 0.5, "door1", "centro", True),
        (Forgetting.WITHDRAWN, -1, "door1", "centro", False),
        (Forgetting.LAPSED, 1, "door1", "centro", True),
        (Forgetting.LAPSED, 0.5, "door1", "centro", False),
        (Forgetting.RESTORED, 2, "door1", "centro", True),
        (Forgetting.REPLACED, 0.5, "door1", "centro", False),
        (Forgetting.WITHDRAWN, 2, "door2", "centro", False),
        (Forgetting.WITHDRAWN, 2, "door1", "porto", False),
    ],
)
def test_which_proof_is_of_this_deletion(why: Forgetting, at: float, device: str, store: str, counts: bool) -> None:
    deletion = FaceDeletion(
        store=StoreId("centro"), device=DeviceId("door1"), asked_at=hours(1), stored_at=hours(0), ends_at=hours(720)
    )
    proof = RecordedProof(device=DeviceId(device), store=StoreId(store), why=why, recorded_at=hours(at))
    later = RecordedProof(
        device=DeviceId("door1"), store=StoreId("centro"), why=Forgetting.LAPSED, recorded_at=hours(9)
    )
    assert deleted_at(deletion, [proof]) == (hours(at) if counts else None)
    assert deleted_at(deletion, [later, proof]) == (hours(at) if counts else hours(9))
    assert deleted_at(deletion, []) is None

"""What a device is told: believed from the right key, as the right kind, and from the root alone where it counts."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.answers import (
    ROOT_SIGNER,
    AllotmentIssued,
    Answer,
    DenyEntry,
    DenyPage,
    EpochIssued,
    FeedName,
    GroupPage,
    IssuerKey,
    KeyPage,
    Outcome,
    Page,
    PolicyPage,
    Receipt,
    RevocationPage,
    RevokedDevice,
    RosterEntry,
    RosterPage,
    Signed,
    SignerKey,
    TemplateEntry,
    TemplatePage,
    TimeTold,
    Verdict,
    kind_of,
    name_of,
    open_answer,
    sign_answer,
)
from shared.biometrics import SealedTemplate
from shared.signing import sign
from shared.topics import Down
from tests.support.entrances import policy

ROOT, SIGNER, STRANGER = (Ed25519PrivateKey.from_private_bytes(seed * 32) for seed in (b"r", b"s", b"x"))
SIGNERS = {ROOT_SIGNER: ROOT.public_key(), 1: SIGNER.public_key()}
KEYS = KeyPage(
    base=0,
    version=1,
    more=False,
    issued_ms=5,
    issuers=(IssuerKey(key=1, public=b"i" * 32),),
    signers=(SignerKey(key=1, public=b"s" * 32),),
)
PAGES: list[tuple[Page, FeedName]] = [
    (KEYS, FeedName.KEYS),
    (PolicyPage(base=0, version=1, more=False, issued_ms=5, policy=policy()), FeedName.POLICY),
    (
        DenyPage(
            base=0, version=1, more=False, issued_ms=5, reset=True, entries=(DenyEntry(member=b"m" * 10, phones=True),)
        ),
        FeedName.DENY,
    ),
    (
        RevocationPage(
            base=0,
            version=1,
            more=False,
            issued_ms=5,
            reset=True,
            entries=(RevokedDevice(device="kiosk2", since_ms=4),),
        ),
        FeedName.REVOCATIONS,
    ),
    (
        RosterPage(
            base=0,
            version=1,
            more=True,
            issued_ms=5,
            reset=True,
            entries=(RosterEntry(member=b"m" * 10, nickname="Anna"),),
        ),
        FeedName.ROSTER,
    ),
    (
        GroupPage(base=0, version=1, more=False, issued_ms=5, key=b"k" * 8, kiosks=("kiosk1",), wrap=b"w" * 90),
        FeedName.GROUP,
    ),
    (
        TemplatePage(
            base=0,
            version=1,
            more=False,
            issued_ms=5,
            reset=True,
            entries=(
                TemplateEntry(
                    member=b"m" * 10,
                    template=SealedTemplate(member=b"m" * 10, key=b"k" * 8, embedder=b"e" * 8, sealed=b"s" * 289),
                ),
            ),
        ),
        FeedName.TEMPLATES,
    ),
]
RECEIPT = Receipt(
    device="kiosk1",
    epoch=1,
    contiguous=2,
    head=b"h" * 32,
    verdicts=(Verdict(seq=2, outcome=Outcome.POSTED, balance=30),),
)
TIME = TimeTold(nonce=b"n" * 16, instant_ms=5)
ANSWERS: list[tuple[Answer, Down]] = [
    (RECEIPT, Down.RECEIPT),
    (EpochIssued(device="kiosk1", database=b"d" * 16, epoch=1, issued_ms=5), Down.EPOCH),
    (
        AllotmentIssued(device="kiosk1", campaign="daily", epoch=1, serial=1, unit="PT:a", total=10, ends_ms=9),
        Down.ALLOTMENT,
    ),
    (TIME, Down.TIME),
    *((page, Down.FEED) for page, _ in PAGES),
]


def told(answer: Answer) -> bytes:
    key, signer = (ROOT, ROOT_SIGNER) if isinstance(answer, KeyPage) else (SIGNER, 1)
    return sign_answer(answer, signer, key)


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
def test_an_answer_is_opened_as_what_it_is_and_as_nothing_else(answer: Answer, kind: Down) -> None:
    assert kind_of(answer) is kind
    opened = {other: open_answer(other, told(answer), SIGNERS) for other in Down}
    assert opened == {other: answer if other is kind else None for other in Down}


@pytest.mark.parametrize(("page", "name"), PAGES)
def test_every_page_belongs_to_a_feed(page: Page, name: FeedName) -> None:
    assert name_of(page) is name


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
def test_no_answer_is_believed_from_a_stranger_or_under_a_wrong_number(answer: Answer, kind: Down) -> None:
    for signer in (ROOT_SIGNER, 1, 2):
        assert open_answer(kind, sign_answer(answer, signer, STRANGER), SIGNERS) is None
    assert open_answer(kind, sign_answer(answer, 2, SIGNER), SIGNERS) is None
    assert open_answer(kind, told(answer), {}) is None


def test_keys_are_believed_from_the_root_alone() -> None:
    assert open_answer(Down.FEED, sign_answer(KEYS, 1, SIGNER), SIGNERS) is None


def test_the_root_may_say_anything() -> None:
    assert open_answer(Down.TIME, sign_answer(TIME, ROOT_SIGNER, ROOT), SIGNERS) == TIME


DEEP = b"\x91" * 5000 + b"\xc0"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", told(TIME)[:-1], told(TIME) + b"\0", b"\x81\xa1x" + DEEP, b"\x81\xa6sign\xffr\x01"],
)
def test_what_is_no_signed_answer_is_nothing(data: bytes) -> None:
    assert open_answer(Down.TIME, data, SIGNERS) is None


@pytest.mark.parametrize(
    "body", [b"", b"\x80", b"\x81\xa1x" + DEEP, msgspec.msgpack.encode(TIME)[:-1], b"\x81\xa5nonce\xa2\xff\xff"]
)
def test_a_signed_body_that_cannot_be_read_is_nothing(body: bytes) -> None:
    for kind in Down:
        signature = sign(SIGNER, b"DSA1" + kind.value.encode() + b"\0", body)
        data = msgspec.msgpack.encode(Signed(signer=1, body=body, signature=signature))
        assert open_answer(kind, data, SIGNERS) is None


@given(st.binary(max_size=200), st.integers(0, 4000))
def test_no_bytes_crash_and_no_changed_bit_is_believed(noise: bytes, bit: int) -> None:
    data = bytearray(told(RECEIPT))
    at = bit % (len(data) * 8)
    data[at // 8] ^= 1 << (at % 8)
    assert open_answer(Down.RECEIPT, bytes(data), SIGNERS) is None
    for kind in Down:
        assert open_answer(kind, noise, SIGNERS) is None

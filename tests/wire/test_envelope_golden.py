"""The bytes of what devices say and are told, frozen: a change here is a change of the wire and is reviewed as one.

Ed25519 and msgpack are deterministic, so the same values give the same bytes. Running this module
(`python -m tests.wire.test_envelope_golden`) writes the files anew: for a new message, never to make a changed one
pass. The second half holds what lets a device one version behind work with a cloud one version ahead and the reverse.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.answers import (
    AllotmentIssued,
    Answer,
    DenyEntry,
    DenyPage,
    EpochIssued,
    GroupPage,
    HubLease,
    IssuerKey,
    KeyPage,
    Outcome,
    PolicyPage,
    Reason,
    Receipt,
    RevocationPage,
    RevokedDevice,
    RosterEntry,
    RosterPage,
    SignerKey,
    StoreKiosk,
    StorePage,
    TemplateEntry,
    TemplatePage,
    TemplateWanted,
    TimeTold,
    Verdict,
    kind_of,
    open_answer,
    sign_answer,
)
from shared.biometrics import Forgetting, SealedTemplate, Wrap
from shared.business_day import ClockTrust
from shared.consent import Purpose
from shared.envelope import (
    ClaimMade,
    ClockStepped,
    ConsentSaid,
    DeviceState,
    Envelope,
    EnvelopeFault,
    FaceDisputed,
    Fact,
    FeedVersions,
    Header,
    InstantSaid,
    Opened,
    SecretWrapped,
    TemplateEnrolled,
    TemplateForgotten,
    TemplateShared,
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
    seal,
)
from shared.instants import Deferral, InstantOutcome
from shared.policy import InstantMode, InstantTerms, Liveness, Means, Policy
from shared.signing import sign
from shared.topics import Down
from tests.support.kiosk import batch_of, key_of

GOLDEN = Path(__file__).parent / "golden" / "messages"
BEFORE_INSTANT = Path(__file__).parent / "golden" / "before-instant"  # as is the next
BEFORE_FACES = Path(__file__).parent / "golden" / "before-faces"  # as the version before wrote them; never written anew
DEVICE, EPOCH = "door1", 3
KEY = key_of(DEVICE)
SALT = bytes(range(16))
MEMBER = bytes(range(10))

CLAIM = ClaimMade(
    claim=bytes(range(16)),
    tenant="rossi",
    store="centro",
    campaign="spring",
    rule="daily",
    member=MEMBER,
    business_day="2026-03-02",
    unit="PT:consumption",
    amount=10,
    reduced=False,
    means=Means.PHONE,
    evidence=bytes(range(32)),
    step=59_081_640,
    serial=None,
    allotment=1,
    zone="Europe/Rome",
    cutoff_hour=4,
    noted_seq=2,
    instant=InstantSaid(series="espresso", outcome=InstantOutcome.SHOWN, code=bytes(range(32))),
)
TEMPLATE = SealedTemplate(member=MEMBER, key=bytes(range(8)), embedder=bytes(range(8, 16)), sealed=bytes(289))
FACTS: dict[str, Fact] = {
    "claim": CLAIM,
    "claim-deferred": msgspec.structs.replace(
        CLAIM, instant=InstantSaid(series="espresso", outcome=InstantOutcome.DEFERRED, why=Deferral.NOT_OWNER)
    ),
    "visit": VisitNoted(
        tenant="rossi", store="centro", member=MEMBER, means=Means.CARD, evidence=bytes(32), step=None, serial=7
    ),
    "clock": ClockStepped(offset_ms=-3_600_000, source="cloud"),
    "consent": ConsentSaid(
        tenant="rossi",
        store="centro",
        member=MEMBER,
        purpose=Purpose.BIOMETRIC,
        given=True,
        text_version=1,
        language="it",
        means=Means.CARD,
    ),
    "template": TemplateEnrolled(tenant="rossi", store="centro", template=TEMPLATE, frames=5, text_version=1),
    "shared": TemplateShared(
        tenant="rossi",
        store="centro",
        for_store="porto",
        template=SealedTemplate(member=MEMBER, key=bytes(8), embedder=bytes(range(8, 16)), sealed=bytes(317)),
        text_version=1,
    ),
    "forgotten": TemplateForgotten(tenant="rossi", store="centro", member=MEMBER, why=Forgetting.WITHDRAWN),
    "secret": SecretWrapped(
        tenant="rossi",
        store="centro",
        key=bytes(range(8)),
        previous=bytes(8),
        wrap=Wrap(device="door2", sealed=bytes(range(100))),
    ),
    "disputed": FaceDisputed(tenant="rossi", store="centro", member=MEMBER, claim=bytes(range(16))),
}
HEADER = Header(
    version=1,
    device=DEVICE,
    epoch=EPOCH,
    seq=1,
    previous=genesis(DEVICE, EPOCH),
    digest=b"",
    boot="4f7c1c4e-boot",
    monotonic_ms=123_456,
    wall_ms=1_772_449_200_000,
    trust=ClockTrust.SYNCED,
    business_day="2026-03-02",
    policy_version=3,
)
STATE = DeviceState(
    device=DEVICE,
    session=5,
    online=True,
    database=bytes(range(16)),
    epoch=EPOCH,
    head=12,
    settled=10,
    feeds=FeedVersions(keys=1, policy=3, roster=40, deny=2, revocations=0, group=4, templates=9, store=6),
    allotment=2,
    software="0.1.0",
    lan="192.168.1.20:8446",
)
POLICY = Policy(
    version=3,
    issued_ms=1_772_449_200_000,
    tenant="rossi",
    programme="bottega",
    merchant="rossi-spa",
    store="centro",
    store_name="Centro",
    zone="Europe/Rome",
    cutoff_hour=4,
    campaign="spring",
    rule="daily",
    unit="PT:consumption",
    points=10,
    reduced_points=4,
    naming_key=bytes(range(32)),
    faces=True,
    face_false_positives_ppm=1000,
    liveness=Liveness.TURN,
    instant=InstantTerms(mode=InstantMode.HUB, series="espresso", label="A free espresso", a_day=200),
)
ANSWERS: dict[str, Answer] = {
    "receipt": Receipt(
        device=DEVICE,
        epoch=EPOCH,
        contiguous=2,
        head=bytes(32),
        verdicts=(
            Verdict(seq=1, outcome=Outcome.POSTED, balance=10),
            Verdict(seq=2, outcome=Outcome.REJECTED, reason=Reason.WRONG_DAY),
        ),
        missing=(4, 5),
    ),
    "epoch": EpochIssued(device=DEVICE, database=bytes(16), epoch=EPOCH, issued_ms=1),
    "allotment": AllotmentIssued(
        device=DEVICE, campaign="spring", epoch=EPOCH, serial=2, unit="PT:consumption", total=180, ends_ms=2
    ),
    "time": TimeTold(nonce=bytes(16), instant_ms=3),
    "keys": KeyPage(
        base=0,
        version=1,
        more=False,
        issued_ms=4,
        issuers=(IssuerKey(key=1, public=bytes(32)),),
        signers=(SignerKey(key=1, public=bytes(32)),),
    ),
    "policy": PolicyPage(base=2, version=3, more=False, issued_ms=5, policy=POLICY),
    "deny": DenyPage(
        base=1, version=2, more=True, issued_ms=6, reset=False, entries=(DenyEntry(member=MEMBER, serial_floor=2),)
    ),
    "revocations": RevocationPage(
        base=0, version=1, more=False, issued_ms=7, reset=True, entries=(RevokedDevice(device="door2", since_ms=1),)
    ),
    "roster": RosterPage(
        base=0,
        version=2,
        more=False,
        issued_ms=8,
        reset=False,
        entries=(
            RosterEntry(
                member=MEMBER,
                nickname="Ada",
                language="it",
                balance=30,
                balance_ms=9,
                face_text=1,
                coupon="A free espresso",
            ),
            RosterEntry(member=bytes(10), removed=True),
        ),
    ),
    "group": GroupPage(
        base=3,
        version=4,
        more=False,
        issued_ms=10,
        key=bytes(range(8)),
        kiosks=(DEVICE, "door2"),
        wrap=bytes(range(100)),
    ),
    "templates": TemplatePage(
        base=7,
        version=9,
        more=False,
        issued_ms=11,
        reset=False,
        entries=(TemplateEntry(member=MEMBER, template=TEMPLATE), TemplateEntry(member=bytes(10), template=None)),
        wanted=(TemplateWanted(member=MEMBER, store="porto", key=bytes(8)),),
    ),
    "store": StorePage(
        base=5,
        version=6,
        more=False,
        issued_ms=12,
        kiosks=(
            StoreKiosk(device=DEVICE, public=bytes(range(32)), lan="192.168.1.20:8446"),
            StoreKiosk(device="door2", public=bytes(32)),
        ),
        owners=(DEVICE,),
        following=(DEVICE, "door2"),
        following_from="2026-03-03",
        hub=HubLease(device=DEVICE, ends_ms=13),
    ),
}


def messages() -> dict[str, bytes]:
    """Every message's name and the bytes it has today."""
    said = {f"event-{name}": encode(batch_of(seal(HEADER, fact, SALT, KEY))) for name, fact in FACTS.items()}
    said["state"] = encode(STATE)
    said["time-asked"] = encode(TimeAsked(nonce=bytes(range(16))))
    return said | {name: sign_answer(answer, 1, KEY) for name, answer in ANSWERS.items()}


@pytest.mark.parametrize("name", messages())
def test_bytes_are_what_they_were(name: str) -> None:
    assert messages()[name] == (GOLDEN / f"{name}.bin").read_bytes()


def test_every_golden_file_belongs_to_a_message() -> None:
    assert {path.stem for path in GOLDEN.glob("*.bin")} == messages().keys()


@pytest.mark.parametrize("name", FACTS)
def test_golden_event_opens_to_its_fact(name: str) -> None:
    batch = decode_batch((GOLDEN / f"event-{name}.bin").read_bytes())
    assert batch is not None

    opened = open_envelope(batch.envelopes[0], DEVICE, KEY.public_key())

    assert isinstance(opened, Opened)
    assert (opened.fact, opened.header.seq, opened.header.previous) == (FACTS[name], 1, genesis(DEVICE, EPOCH))
    assert opened.chain == chain_digest(batch.envelopes[0].header)


def test_golden_state_and_question_are_read() -> None:
    assert decode_state((GOLDEN / "state.bin").read_bytes()) == STATE
    asked = decode_time_asked((GOLDEN / "time-asked.bin").read_bytes())
    assert asked == TimeAsked(nonce=bytes(range(16)))


@pytest.mark.parametrize("name", ANSWERS)
def test_golden_answer_is_believed_and_read(name: str) -> None:
    answer = ANSWERS[name]
    signer = 0 if isinstance(answer, KeyPage) else 1
    data = sign_answer(answer, 0, KEY) if signer == 0 else (GOLDEN / f"{name}.bin").read_bytes()

    assert open_answer(kind_of(answer), data, {signer: KEY.public_key()}) == answer


# -- one version apart -------------------------------------------------------------------------------------------


Plain = dict[str, Any]  # Any: msgpack of a message, taken apart


def plain(data: bytes) -> Plain:
    """A message's fields as they lie on the wire."""
    fields: Plain = msgspec.msgpack.decode(data)
    return fields


def envelope_of(header: Plain, payload: Plain) -> Envelope:
    """An envelope of a device that writes these fields."""
    body = msgspec.msgpack.encode(payload)
    text = msgspec.msgpack.encode(header | {"digest": payload_digest(SALT, body)})
    return Envelope(header=text, signature=sign(KEY, b"DSE1", text), salt=SALT, payload=body)


def test_device_one_version_ahead_says_more_than_we_know() -> None:
    header = plain(encode(HEADER)) | {"battery_percent": 80, "position": {"aisle": 3}}
    payload = plain(encode(CLAIM)) | {"mood": "happy", "basket": [1, 2, 3]}

    opened = open_envelope(envelope_of(header, payload), DEVICE, KEY.public_key())

    assert isinstance(opened, Opened)
    assert opened.fact == CLAIM


def test_device_one_version_behind_leaves_out_what_is_optional() -> None:
    payload = plain(encode(CLAIM))
    del payload["noted_seq"]

    opened = open_envelope(envelope_of(plain(encode(HEADER)), payload), DEVICE, KEY.public_key())

    assert isinstance(opened, Opened)
    assert opened.fact == msgspec.structs.replace(CLAIM, noted_seq=None)


@pytest.mark.parametrize("name", ["amount", "member", "business_day", "type"])
def test_what_is_not_optional_may_not_be_left_out(name: str) -> None:
    payload = plain(encode(CLAIM))
    del payload[name]

    opened = open_envelope(envelope_of(plain(encode(HEADER)), payload), DEVICE, KEY.public_key())

    assert opened is EnvelopeFault.MALFORMED


def test_fact_we_do_not_know_is_malformed_and_not_something_else() -> None:
    opened = open_envelope(envelope_of(plain(encode(HEADER)), {"type": "coupon"}), DEVICE, KEY.public_key())

    assert opened is EnvelopeFault.MALFORMED


def test_later_version_is_named_as_such() -> None:
    header = plain(encode(HEADER)) | {"version": 2}

    opened = open_envelope(envelope_of(header, plain(encode(CLAIM))), DEVICE, KEY.public_key())

    assert opened is EnvelopeFault.UNKNOWN_VERSION


def test_state_and_batch_are_read_with_more_and_with_less() -> None:
    state = plain(encode(STATE)) | {"temperature": 41}
    state["feeds"] = {"policy": 3, "prices": 9}
    batch = plain(encode(batch_of(seal(HEADER, CLAIM, SALT, KEY)))) | {"compressed": False}

    read = decode_state(msgspec.msgpack.encode(state))

    assert read == msgspec.structs.replace(STATE, feeds=FeedVersions(policy=3))
    assert decode_batch(msgspec.msgpack.encode(batch)) == batch_of(seal(HEADER, CLAIM, SALT, KEY))


def test_what_the_version_before_faces_wrote_is_read() -> None:
    """Bytes that a kiosk or a cloud of that version really sent, not ones made here by leaving something out."""
    state = decode_state((BEFORE_FACES / "state.bin").read_bytes())
    policy, roster = (
        open_answer(Down.FEED, (BEFORE_FACES / f"{name}.bin").read_bytes(), {1: KEY.public_key()})
        for name in ("policy", "roster")
    )

    assert state is not None
    assert (state.head, state.feeds.roster, state.feeds.group, state.feeds.templates) == (12, 40, 0, 0)
    assert isinstance(policy, PolicyPage)
    assert policy.policy is not None
    assert (policy.policy.faces, policy.policy.face_false_positives_ppm) == (False, 3000)
    assert policy.policy.liveness is Liveness.PASSIVE
    assert isinstance(roster, RosterPage)
    assert [(entry.nickname, entry.face_text) for entry in roster.entries] == [("Ada", None), (None, None)]


def test_what_the_version_before_coupons_wrote_is_read() -> None:
    state = decode_state((BEFORE_INSTANT / "state.bin").read_bytes())
    batch = decode_batch((BEFORE_INSTANT / "event-claim.bin").read_bytes())
    policy, roster = (
        open_answer(Down.FEED, (BEFORE_INSTANT / f"{name}.bin").read_bytes(), {1: KEY.public_key()})
        for name in ("policy", "roster")
    )

    assert state is not None
    assert (state.head, state.feeds.templates, state.feeds.store, state.lan) == (12, 9, 0, None)
    assert batch is not None
    opened = open_envelope(batch.envelopes[0], DEVICE, KEY.public_key())
    assert isinstance(opened, Opened)
    assert opened.fact == msgspec.structs.replace(CLAIM, instant=None)
    assert isinstance(policy, PolicyPage)
    assert policy.policy == msgspec.structs.replace(POLICY, instant=None)
    assert isinstance(roster, RosterPage)
    assert [entry.coupon for entry in roster.entries] == [None, None]


@pytest.mark.parametrize("name", ["consent", "template", "forgotten", "secret", "disputed"])
def test_face_facts_are_read_with_more_than_we_know(name: str) -> None:
    payload = with_more(plain(encode(FACTS[name])))

    opened = open_envelope(envelope_of(plain(encode(HEADER)), payload), DEVICE, KEY.public_key())

    assert isinstance(opened, Opened)
    assert opened.fact == FACTS[name]


def test_a_template_sealed_anew_is_said_to_be_only_where_that_is_known() -> None:
    payload = plain(encode(FACTS["template"]))
    del payload["resealed"]

    opened = open_envelope(envelope_of(plain(encode(HEADER)), payload), DEVICE, KEY.public_key())

    assert isinstance(opened, Opened)
    assert opened.fact == FACTS["template"]


@pytest.mark.parametrize(
    ("name", "part", "wrong"),
    [
        ("template", "member", bytes(9)),
        ("template", "key", bytes(7)),
        ("template", "embedder", bytes(9)),
        ("template", "sealed", bytes(321)),
        ("wrap", "sealed", bytes(3073)),
    ],
)
def test_what_is_of_another_size_is_malformed(name: str, part: str, wrong: bytes) -> None:
    payload = plain(encode(FACTS["template" if name == "template" else "secret"]))
    payload[name][part] = wrong

    opened = open_envelope(envelope_of(plain(encode(HEADER)), payload), DEVICE, KEY.public_key())

    assert opened is EnvelopeFault.MALFORMED


def with_more(fields: Plain) -> Plain:
    """The same with a field that we do not know in every part."""
    parts = {name: with_more(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return parts | {"later": {"nested": [1, None]}}


def test_answers_are_read_with_more_and_with_less() -> None:
    answer = ANSWERS["receipt"]
    body = plain(msgspec.msgpack.encode(answer)) | {"advice": "rest"}
    del body["missing"]
    for verdict in body["verdicts"]:
        verdict["lot"] = 1
        verdict.pop("reason", None)
    text = msgspec.msgpack.encode(body)
    signed = {"signer": 1, "body": text, "signature": sign(KEY, b"DSA1receipt\0", text), "sent_by": "worker-2"}

    read = open_answer(kind_of(answer), msgspec.msgpack.encode(signed), {1: KEY.public_key()})

    assert isinstance(read, Receipt)
    assert (read.contiguous, read.missing) == (2, ())
    assert [verdict.reason for verdict in read.verdicts] == [None, None]


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, data in messages().items():
        (GOLDEN / f"{name}.bin").write_bytes(data)

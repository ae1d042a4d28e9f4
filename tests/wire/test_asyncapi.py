"""The AsyncAPI document says what is really sent: messages made by the product's own code fit their schemas."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema import Draft202012Validator, ValidationError

from cloud.cli.asyncapi import DOWNWARD, DRAFT, UPWARD, describe_wire
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
    sign_answer,
)
from shared.biometrics import Forgetting, SealedTemplate, Wrap
from shared.business_day import ClockTrust
from shared.consent import Purpose
from shared.envelope import (
    Batch,
    ClaimMade,
    ClockStepped,
    ConsentSaid,
    DeviceState,
    Envelope,
    FaceDisputed,
    Fact,
    FeedVersions,
    Header,
    SecretWrapped,
    TemplateEnrolled,
    TemplateForgotten,
    TemplateShared,
    TimeAsked,
    VisitNoted,
    encode,
    genesis,
    seal,
)
from shared.ids import DeviceId
from shared.policy import Means, Policy
from shared.topics import Down, Up, parse_down, parse_up

Json = dict[str, Any]  # Any: a JSON document

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBER, CLAIM, NONCE = bytes(10), bytes(16), bytes(16)
POLICY = Policy(
    version=1,
    issued_ms=1,
    tenant="nord",
    programme="club",
    merchant="caffe",
    store="milano-1",
    store_name="Milano",
    zone="Europe/Rome",
    cutoff_hour=4,
    campaign="spring",
    rule="daily",
    unit="PT:consumption",
    points=10,
    reduced_points=5,
    naming_key=bytes(32),
)
CLAIM_MADE = ClaimMade(
    claim=CLAIM,
    tenant="nord",
    store="milano-1",
    campaign="spring",
    rule="daily",
    member=MEMBER,
    business_day="2026-03-01",
    unit="PT:consumption",
    amount=10,
    reduced=False,
    means=Means.PHONE,
    evidence=bytes(32),
    step=58_000_000,
    serial=None,
    allotment=1,
    zone="Europe/Rome",
    cutoff_hour=4,
)
VISIT = VisitNoted(
    tenant="nord", store="milano-1", member=MEMBER, means=Means.CARD, evidence=bytes(32), step=None, serial=3
)
STEPPED = ClockStepped(offset_ms=-60_000, source="cloud")
SEALED = SealedTemplate(member=MEMBER, key=bytes(8), embedder=bytes(8), sealed=bytes(289))
FACTS: tuple[Fact, ...] = (
    CLAIM_MADE,
    VISIT,
    STEPPED,
    ConsentSaid(
        tenant="nord",
        store="milano-1",
        member=MEMBER,
        purpose=Purpose.BIOMETRIC,
        given=False,
        text_version=1,
        language="it",
        means=Means.PHONE,
    ),
    TemplateEnrolled(tenant="nord", store="milano-1", template=SEALED, frames=5, text_version=1),
    TemplateShared(tenant="nord", store="milano-1", for_store="como-2", template=SEALED, text_version=1),
    TemplateForgotten(tenant="nord", store="milano-1", member=MEMBER, why=Forgetting.LAPSED),
    SecretWrapped(
        tenant="nord", store="milano-1", key=bytes(8), previous=None, wrap=Wrap(device="kiosk1", sealed=bytes(90))
    ),
    FaceDisputed(tenant="nord", store="milano-1", member=MEMBER, claim=None),
)
STATE = DeviceState(
    device="kiosk1",
    session=3,
    online=True,
    database=bytes(16),
    epoch=1,
    head=9,
    settled=7,
    feeds=FeedVersions(keys=1, policy=2),
    allotment=1,
    software="0.1",
)
ANSWERS: tuple[Answer, ...] = (
    Receipt(
        device="kiosk1",
        epoch=1,
        contiguous=1,
        head=bytes(32),
        verdicts=(
            Verdict(seq=1, outcome=Outcome.POSTED, balance=10),
            Verdict(seq=3, outcome=Outcome.REJECTED, reason=Reason.UNKNOWN_MEMBER),
        ),
        missing=(2,),
    ),
    EpochIssued(device="kiosk1", database=bytes(16), epoch=1, issued_ms=1),
    AllotmentIssued(device="kiosk1", campaign="spring", epoch=1, serial=1, unit="PT:consumption", total=500, ends_ms=2),
    TimeTold(nonce=NONCE, instant_ms=1),
    KeyPage(
        base=0,
        version=1,
        more=False,
        issued_ms=1,
        issuers=(IssuerKey(key=1, public=bytes(32)),),
        signers=(SignerKey(key=1, public=bytes(32)),),
    ),
    PolicyPage(base=0, version=1, more=False, issued_ms=1, policy=POLICY),
    PolicyPage(base=1, version=1, more=False, issued_ms=2, policy=None),
    DenyPage(
        base=0, version=1, more=False, issued_ms=1, reset=False, entries=(DenyEntry(member=MEMBER, serial_floor=2),)
    ),
    RevocationPage(
        base=0, version=1, more=False, issued_ms=1, reset=False, entries=(RevokedDevice(device="kiosk2", since_ms=1),)
    ),
    RosterPage(
        base=0,
        version=2,
        more=True,
        issued_ms=1,
        reset=True,
        entries=(
            RosterEntry(member=MEMBER, nickname="Anna", language="it", balance=10, balance_ms=1),
            RosterEntry(member=MEMBER, removed=True),
        ),
    ),
    GroupPage(base=0, version=1, more=False, issued_ms=1, key=bytes(8), kiosks=("kiosk1",), wrap=bytes(90)),
    GroupPage(base=0, version=0, more=False, issued_ms=1, key=None, kiosks=(), wrap=None),
    StorePage(
        base=0,
        version=1,
        more=False,
        issued_ms=1,
        kiosks=(StoreKiosk(device="kiosk1", public=bytes(32), lan="192.168.1.20:8446"),),
        owners=("kiosk1",),
        following=("kiosk1", "kiosk2"),
        following_from="2026-03-03",
        hub=HubLease(device="kiosk1", ends_ms=1),
    ),
    TemplatePage(
        base=0,
        version=1,
        more=False,
        issued_ms=1,
        reset=True,
        entries=(TemplateEntry(member=MEMBER, template=SEALED), TemplateEntry(member=MEMBER, template=None)),
        wanted=(TemplateWanted(member=MEMBER, store="como-2", key=bytes(8)),),
    ),
)


@pytest.fixture(scope="module")
def document() -> Json:
    """The document as a reader gets it: through JSON."""
    decoded: Json = msgspec.json.decode(msgspec.json.encode(describe_wire("0.1.0")))
    return decoded


def _sealed(fact: Fact) -> Envelope:
    header = Header(
        version=1,
        device="kiosk1",
        epoch=1,
        seq=1,
        previous=genesis("kiosk1", 1),
        digest=b"",
        boot="boot",
        monotonic_ms=1,
        wall_ms=None if isinstance(fact, VisitNoted) else 1,
        trust=ClockTrust.UNKNOWN if isinstance(fact, VisitNoted) else ClockTrust.SYNCED,
        business_day=None if isinstance(fact, VisitNoted) else "2026-03-01",
        policy_version=1,
    )
    return seal(header, fact, bytes(16), KEY)


def _erased(envelope: Envelope) -> Envelope:
    return msgspec.structs.replace(envelope, salt=None, payload=None)


UP: Sequence[tuple[Up, bytes]] = (
    *((Up.EVENT, encode(Batch(envelopes=(_sealed(fact),)))) for fact in FACTS),
    (Up.EVENT, encode(Batch(envelopes=(_erased(_sealed(CLAIM_MADE)),)))),
    (Up.STATE, encode(STATE)),
    (Up.TIME, encode(TimeAsked(nonce=NONCE))),
)


def _check(document: Json, schema: Json, data: bytes) -> None:
    """Raises ValidationError unless the msgpack fits the schema, and every msgpack inside it its contentSchema."""
    value = msgspec.msgpack.decode(data)
    rooted = {"$schema": DRAFT, **schema, "components": document["components"]}
    Draft202012Validator(rooted).validate(_as_json(value))
    for inner_schema, inner in _inside(document, schema, value):
        _check(document, inner_schema, inner)


def _as_json(value: object) -> object:
    """The value as JSON would carry it: bytes in base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {name: _as_json(inner) for name, inner in value.items()}
        case list():
            return [_as_json(inner) for inner in value]
        case _:
            return value


def _inside(document: Json, schema: Json, value: object) -> Iterator[tuple[Json, bytes]]:
    """Each piece of bytes in the value for which the schema says what it holds."""
    for option in _options(document, schema):
        match value:
            case bytes() if "contentSchema" in option:
                yield option["contentSchema"], value
            case dict():
                for name, inner in value.items():
                    if name in option.get("properties", {}):
                        yield from _inside(document, option["properties"][name], inner)
            case list():
                for inner in value:
                    yield from _inside(document, option.get("items", {}), inner)
            case _:
                pass


def _options(document: Json, schema: Json) -> Iterator[Json]:
    """The schema with references followed and alternatives spread out."""
    if "$ref" in schema:
        yield from _options(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
        return
    yield schema
    for word in ("anyOf", "allOf"):
        for option in schema.get(word, []):
            yield from _options(document, option)


def _payload(document: Json, name: str) -> Json:
    """The payload schema that a channel leads to, by its references alone."""
    reference: str = document["channels"][name]["messages"][name]["$ref"]
    payload: Json = document["components"]["messages"][reference.rsplit("/", 1)[-1]]["payload"]
    return payload


@pytest.mark.parametrize(("kind", "data"), UP)
def test_what_devices_send_fits(document: Json, kind: Up, data: bytes) -> None:
    _check(document, _payload(document, f"Up{kind.value.capitalize()}"), data)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_what_the_cloud_sends_fits(document: Json, answer: Answer) -> None:
    _check(document, _payload(document, f"Down{kind_of(answer).value.capitalize()}"), sign_answer(answer, 1, KEY))


def test_every_kind_of_message_is_described_and_tried() -> None:
    assert set(UPWARD) == set(Up) == {kind for kind, _ in UP}
    assert set(DOWNWARD) == set(Down) == {kind_of(answer) for answer in ANSWERS}
    assert {type(answer) for answer in ANSWERS} == set(get_args(Answer))
    assert {type(fact) for fact in FACTS} == set(get_args(Fact))


def test_addresses_are_those_that_are_parsed(document: Json) -> None:
    addresses = {
        name: channel["address"].replace("{device}", "kiosk1") for name, channel in document["channels"].items()
    }
    for kind in Up:
        topic = parse_up(addresses.pop(f"Up{kind.value.capitalize()}"))
        assert topic is not None
        assert topic.kind is kind
    for down in Down:
        assert parse_down(addresses.pop(f"Down{down.value.capitalize()}"), DeviceId("kiosk1")) is down
    assert addresses == {}


def test_the_cloud_receives_what_goes_up_and_sends_what_comes_down(document: Json) -> None:
    actions = {operation["channel"]["$ref"]: operation["action"] for operation in document["operations"].values()}
    assert actions == {f"#/channels/Up{kind.value.capitalize()}": "receive" for kind in Up} | {
        f"#/channels/Down{kind.value.capitalize()}": "send" for kind in Down
    }
    assert all(
        message["contentType"] == "application/msgpack" for message in document["components"]["messages"].values()
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("UpState", {"device": "kiosk1"}),
        ("UpState", msgspec.to_builtins(STATE, builtin_types=(bytes,)) | {"epoch": "1"}),
        ("UpTime", {"nonce": 5}),
        ("UpEvent", {"envelopes": [{"header": b"", "signature": b""}]}),
        ("DownReceipt", {"signer": 1, "body": b""}),
    ],
)
def test_what_is_something_else_does_not_fit(document: Json, name: str, wrong: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        _check(document, _payload(document, name), msgspec.msgpack.encode(wrong))


def test_a_wrong_fact_inside_an_envelope_does_not_fit(document: Json) -> None:
    payload = msgspec.msgpack.encode(msgspec.to_builtins(VISIT, builtin_types=(bytes,)) | {"means": "handshake"})
    envelope = msgspec.structs.replace(_sealed(VISIT), payload=payload)
    with pytest.raises(ValidationError):
        _check(document, _payload(document, "UpEvent"), encode(Batch(envelopes=(envelope,))))


def test_a_wrong_body_under_a_signature_does_not_fit(document: Json) -> None:
    signed = sign_answer(TimeTold(nonce=NONCE, instant_ms=1), 1, KEY)
    with pytest.raises(ValidationError):
        _check(document, _payload(document, "DownEpoch"), signed)


def test_every_reference_leads_somewhere(document: Json) -> None:
    for reference in _references(document):
        node: Any = document  # Any: a walk through a JSON document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def _references(node: object) -> Iterator[str]:
    match node:
        case {"$ref": str() as reference}:
            yield reference
        case dict():
            for inner in node.values():
                yield from _references(inner)
        case list():
            for inner in node:
                yield from _references(inner)
        case _:
            pass

"""A kiosk one version behind reads a cloud one version ahead, and the reverse, for every downward message there is.

Starts from the golden bytes: every map in them gets fields that this version does not know, and loses each field that
has a default. What is read must be what a kiosk of this version would make of it.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.answers import ROOT_SIGNER, Answer, Signed, open_answer
from shared.policy import Policy
from shared.signing import sign
from shared.topics import Down

GOLDEN = Path(__file__).parent / "golden" / "messages"
KEY = Ed25519PrivateKey.from_private_bytes(b"g" * 32)
KINDS = {
    "receipt": Down.RECEIPT,
    "epoch": Down.EPOCH,
    "allotment": Down.ALLOTMENT,
    "time": Down.TIME,
    "keys": Down.FEED,
    "policy": Down.FEED,
    "deny": Down.FEED,
    "revocations": Down.FEED,
    "roster": Down.FEED,
    "group": Down.FEED,
    "templates": Down.FEED,
    "store": Down.FEED,
}
UNKNOWN = {"colour": "red", "parts": [{"deep": [1, 2.5, None, b"x"]}], "later": {"nested": True}}

Plain = Any  # a message taken apart: maps, lists and scalars, whatever a later version may send


def golden_body(name: str) -> Plain:
    """The fields inside the golden file."""
    signed = msgspec.msgpack.decode((GOLDEN / f"{name}.bin").read_bytes(), type=Signed)
    return msgspec.msgpack.decode(signed.body)


def opened(kind: Down, body: Plain, around: Plain | None = None) -> Answer | None:
    """What a kiosk reads when the cloud says this; the root signs, who may say anything."""
    text = msgspec.msgpack.encode(body)
    signature = sign(KEY, b"DSA1" + kind.value.encode() + b"\0", text)
    message = {"signer": ROOT_SIGNER, "body": text, "signature": signature} | (around or {})
    return open_answer(kind, msgspec.msgpack.encode(message), {ROOT_SIGNER: KEY.public_key()})


def with_more(plain: Plain) -> Plain:
    """The same with unknown fields in every map."""
    match plain:
        case dict():
            return {name: with_more(value) for name, value in plain.items()} | UNKNOWN
        case list():
            return [with_more(value) for value in plain]
        case _:
            return plain


def structs_in(value: object) -> list[msgspec.Struct]:
    """The value and every message part inside it."""
    if isinstance(value, tuple):
        return [part for item in value for part in structs_in(item)]
    if not isinstance(value, msgspec.Struct):
        return []
    fields = msgspec.structs.fields(type(value))
    return [value, *(part for field in fields for part in structs_in(getattr(value, field.name)))]


def without(plain: Plain, name: str) -> Plain:
    """The same without that field, wherever it is."""
    match plain:
        case dict():
            return {key: without(value, name) for key, value in plain.items() if key != name}
        case list():
            return [without(value, name) for value in plain]
        case _:
            return plain


def with_default(value: object, name: str) -> object:
    """The same with that field's default, wherever it is."""
    if isinstance(value, tuple):
        return tuple(with_default(item, name) for item in value)
    if not isinstance(value, msgspec.Struct):
        return value
    changes = {
        field.name: field.default if field.name == name else with_default(getattr(value, field.name), name)
        for field in msgspec.structs.fields(type(value))
    }
    return msgspec.structs.replace(value, **changes)


def fields_of(answer: Answer, *, required: bool) -> set[str]:
    """Names of fields that must, or need not, be there, in any part of the answer."""
    parts = structs_in(answer)
    return {field.name for part in parts for field in msgspec.structs.fields(type(part)) if field.required is required}


def golden(name: str) -> Answer:
    answer = opened(KINDS[name], golden_body(name))
    assert answer is not None
    return answer


def test_every_downward_golden_file_is_looked_at() -> None:
    upward = {"state", "time-asked"} | {path.stem for path in GOLDEN.glob("event-*.bin")}
    assert {path.stem for path in GOLDEN.glob("*.bin")} - upward == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_fields_of_a_later_version_are_passed_over(name: str) -> None:
    assert opened(KINDS[name], with_more(golden_body(name)), UNKNOWN) == golden(name)


@pytest.mark.parametrize("name", KINDS)
def test_a_field_with_a_default_may_be_missing(name: str) -> None:
    answer = golden(name)
    optional = fields_of(answer, required=False) - fields_of(answer, required=True)
    for missing in optional:
        read = opened(KINDS[name], without(golden_body(name), missing))
        assert read == with_default(answer, missing), missing
    assert optional or name not in {"receipt", "deny", "roster", "policy"}


@pytest.mark.parametrize("name", KINDS)
def test_a_field_without_a_default_may_not(name: str) -> None:
    answer = golden(name)
    for missing in fields_of(answer, required=True):
        assert opened(KINDS[name], without(golden_body(name), missing)) is None, missing


def test_a_kind_of_page_that_is_not_known_yet_is_nothing() -> None:
    assert opened(Down.FEED, golden_body("deny") | {"type": "prices"}) is None


def test_a_policy_kept_by_an_older_version_is_read_by_this_one() -> None:
    kept = golden_body("policy")["policy"]
    optional = {field.name for field in msgspec.structs.fields(Policy) if not field.required}
    older = {name: value for name, value in kept.items() if name not in optional}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(older), type=Policy).points == kept["points"]

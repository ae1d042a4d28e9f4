"""The AsyncAPI 3 description of everything that crosses the broker, made from the types that are really sent.

Nothing is written down twice: addresses come from shared.topics, schemas from the message types of shared.envelope and
shared.answers. Where msgpack carries bytes, JSON Schema can only say base64; where those bytes are msgpack again,
`contentSchema` says of what.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Final

import msgspec

from shared.answers import AllotmentIssued, EpochIssued, Page, Receipt, Signed, TimeTold
from shared.envelope import BATCH_MAX, MESSAGE_BYTES_MAX, Batch, DeviceState, Fact, Header, TimeAsked
from shared.ids import DEVICE_ID_LENGTH_MAX, DeviceId
from shared.topics import Down, Up, down, up

MSGPACK: Final = "application/msgpack"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/components/schemas/{name}"
_DEVICE: Final = DeviceId("{device}")  # a parameter's place in an AsyncAPI address

Json = dict[str, Any]  # Any: a JSON document
Kind = type[msgspec.Struct] | UnionType


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What one topic kind carries. For a signed message `payload` is what its body holds."""

    payload: Kind
    title: str


UPWARD: Final[Mapping[Up, Channel]] = {
    Up.EVENT: Channel(payload=Batch, title=f"1 to {BATCH_MAX} signed, hash-chained envelopes, in any order"),
    Up.STATE: Channel(payload=DeviceState, title="How the device is: its birth on each connect, and its will"),
    Up.TIME: Channel(payload=TimeAsked, title="What time is it?"),
}
DOWNWARD: Final[Mapping[Down, Channel]] = {
    Down.RECEIPT: Channel(payload=Receipt, title="What became of envelopes, sent after the commit"),
    Down.FEED: Channel(
        payload=Page, title="A page of a feed: keys, policy, deny list, revocations, roster, group, templates or store"
    ),
    Down.EPOCH: Channel(payload=EpochIssued, title="The epoch of the device's database"),
    Down.ALLOTMENT: Channel(payload=AllotmentIssued, title="How much of a campaign the device may grant"),
    Down.TIME: Channel(payload=TimeTold, title="The cloud's clock"),
}


def describe_wire(version: str) -> Json:
    """The AsyncAPI document, as plain values for JSON. `version` is the product's."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Doorstep devices",
            "version": version,
            "description": (
                f"MQTT 5 (or 3.1.1) over mutual TLS, QoS 1, never retained. Payloads are msgpack maps of at most"
                f" {MESSAGE_BYTES_MAX} bytes, described by JSON Schema: `contentEncoding: base64` stands for msgpack"
                f" bytes. Readers ignore fields they do not know. A message settles nothing until its receipt came."
            ),
        },
        "defaultContentType": MSGPACK,
        "servers": {"broker": _server()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": {"certificate": {"type": "X509", "description": "The device's certificate."}},
        },
    }


def _server() -> Json:
    return {
        "host": "{host}:{port}",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": "The broker that the device was told of when it was provisioned.",
        "variables": {
            "host": {"description": "`broker_host` of the provisioning answer."},
            "port": {"description": "`broker_port` of the provisioning answer.", "default": "8883"},
        },
        "security": [{"$ref": "#/components/securitySchemes/certificate"}],
    }


def _channels() -> Json:
    addresses = {_name(kind): up(_DEVICE, kind) for kind in UPWARD} | {
        _name(kind): down(_DEVICE, kind) for kind in DOWNWARD
    }
    return {
        name: {
            "address": address,
            "parameters": {"device": {"description": f"1 to {DEVICE_ID_LENGTH_MAX} lower-case letters and digits."}},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        for name, address in addresses.items()
    }


def _operations() -> Json:
    """The cloud's side: it receives what goes up and sends what comes down."""
    received = {f"receive{_name(kind)}": _operation("receive", _name(kind)) for kind in UPWARD}
    sent = {f"send{_name(kind)}": _operation("send", _name(kind)) for kind in DOWNWARD}
    return received | sent


def _operation(action: str, name: str) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
    }


def _messages() -> Json:
    plain = {_name(kind): (channel, _schema_of(channel.payload)) for kind, channel in UPWARD.items()}
    signed = {_name(kind): (channel, _signed(channel.payload)) for kind, channel in DOWNWARD.items()}
    return {
        name: {"title": channel.title, "contentType": MSGPACK, "payload": payload}
        for name, (channel, payload) in (plain | signed).items()
    }


def _signed(payload: Kind) -> Json:
    """A signed message whose body is that payload."""
    body = {**_bytes_of(_schema_of(payload))}
    return {"allOf": [_schema_of(Signed), {"type": "object", "properties": {"body": body}}]}


def _bytes_of(schema: Json) -> Json:
    """Bytes that are msgpack of the schema."""
    return {"type": "string", "contentEncoding": "base64", "contentMediaType": MSGPACK, "contentSchema": schema}


def _schemas() -> Json:
    _, schemas = msgspec.json.schema_components(list(_types()), ref_template=_REF)
    envelope = schemas["Envelope"]["properties"]
    envelope["header"] = _bytes_of(_schema_of(Header))
    envelope["payload"] = {"anyOf": [_bytes_of(_schema_of(Fact)), {"type": "null"}]}
    return {name: _as_asyncapi(schema) for name, schema in schemas.items()}


def _types() -> Iterable[Kind]:
    yield from (channel.payload for channel in UPWARD.values())
    yield from (channel.payload for channel in DOWNWARD.values())
    yield from (Signed, Header, Fact)


def _schema_of(kind: Kind) -> Json:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return _as_asyncapi(schema)


def _as_asyncapi(schema: Json) -> Json:
    """The schema with its discriminator as AsyncAPI has it: a property's name, where OpenAPI has an object."""
    said = dict(schema)
    if "discriminator" in said:
        said["discriminator"] = said["discriminator"]["propertyName"]
    return said


def _name(kind: Up | Down) -> str:
    way = "Up" if isinstance(kind, Up) else "Down"
    return f"{way}{kind.value.capitalize()}"

"""MQTT topic names, built and parsed in this one place.

`doorstep/v1/<device>/up/<kind>` is what a device says, `…/down/<kind>` what it is told. Store and tenant live in
the cloud's registry and not in the topic, so moving a kiosk to another store is not a new provisioning.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.ids import DeviceId, parse_device

ROOT = "doorstep/v1"


class Up(StrEnum):
    """What a device publishes: batches of envelopes, its state (birth and will), a question for the time."""

    EVENT = "event"
    STATE = "state"
    TIME = "time"


class Down(StrEnum):
    """What a device receives."""

    RECEIPT = "receipt"
    FEED = "feed"
    EPOCH = "epoch"
    ALLOTMENT = "allotment"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpTopic:
    """A parsed upward topic."""

    device: DeviceId
    kind: Up


def up(device: DeviceId, kind: Up) -> str:
    """The topic on which the device publishes that kind."""
    return f"{ROOT}/{device}/up/{kind}"


def down(device: DeviceId, kind: Down) -> str:
    """The topic on which the device receives that kind."""
    return f"{ROOT}/{device}/down/{kind}"


def down_filter(device: DeviceId) -> str:
    """The filter that holds all a device receives."""
    return f"{ROOT}/{device}/down/+"


def up_filter() -> str:
    """The filter that holds all that devices say."""
    return f"{ROOT}/+/up/+"


def parse_up(topic: str) -> UpTopic | None:
    """The device and kind of an upward topic, or None for any other."""
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != ROOT or parts[3] != "up" or parts[4] not in set(Up):
        return None
    device = parse_device(parts[2])
    return None if device is None else UpTopic(device=device, kind=Up(parts[4]))


def parse_down(topic: str, device: DeviceId) -> Down | None:
    """The kind of a downward topic of this device, or None for any other."""
    prefix = f"{ROOT}/{device}/down/"
    kind = topic.removeprefix(prefix)
    return Down(kind) if topic.startswith(prefix) and kind in set(Down) else None

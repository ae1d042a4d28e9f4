"""What passes between the broker and the claims: bytes with the device and the kind, nothing of MQTT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.ids import DeviceId
from shared.topics import Down, Up


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A device's message. The broker's access list vouches for `device`; the envelope's signature proves it."""

    device: DeviceId
    kind: Up
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """A message for a device."""

    device: DeviceId
    kind: Down
    data: bytes


Handle = Callable[[Sequence[Inbound]], Sequence[Outbound]]
"""Handles a batch in one transaction and returns what to answer. Raises whatever it must when it could not: the
messages are not acknowledged then and are handled again after a pause."""

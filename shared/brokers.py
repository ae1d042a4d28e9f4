"""Where a broker is and which MQTT it speaks: a text that people type and that a device is told. Pure.

A broker that is a cluster has several addresses; whoever finds one dead tries the next. Nothing here connects.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

ADDRESSES_MAX: Final = 9  # clusters have three or five nodes; a list is tried in turn, and nobody waits for a tenth
TEXT_LENGTH_MAX: Final = 2400  # nine names of 253 characters with their ports


class MqttVersion(StrEnum):
    """The two versions spoken: 5, and 3.1.1 for the clustered brokers that know no other."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """One node. `host` is a name or an address, of version 6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """`host:port`, with brackets around an address of version 6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPlace:
    """Where one broker is found: the node to begin with, the others of its cluster, and what they speak."""

    first: BrokerAddress
    others: tuple[BrokerAddress, ...] = ()
    mqtt: MqttVersion = MqttVersion.V5

    @classmethod
    def of(cls, addresses: tuple[BrokerAddress, ...], mqtt: MqttVersion) -> Self:
        """The place with these addresses, of which there is at least one."""
        return cls(first=addresses[0], others=addresses[1:], mqtt=mqtt)

    def address(self, turn: int) -> BrokerAddress:
        """The node to try at this turn, counted from 0: all of them, and then from the beginning again."""
        addresses = (self.first, *self.others)
        return addresses[turn % len(addresses)]


def format_addresses(addresses: tuple[BrokerAddress, ...]) -> str:
    """The text that `parse_addresses` reads."""
    return ",".join(str(address) for address in addresses)


def parse_addresses(text: str, port: int) -> tuple[BrokerAddress, ...] | None:
    """The addresses in `host,host:port,[v6]:port`, those without a port with this one; None when it is no such text.

    A bare address of version 6 is taken for one without a port.
    """
    if len(text) > TEXT_LENGTH_MAX:
        return None
    parsed = [_parse(item.strip(), port) for item in text.split(",")]
    addresses = tuple(address for address in parsed if address is not None)
    return addresses if len(addresses) == len(parsed) <= ADDRESSES_MAX else None


def _parse(item: str, port: int) -> BrokerAddress | None:
    if item.startswith("["):
        host, closed, rest = item[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return None
        has_port, written = bool(rest), rest[1:]
    elif item.count(":") == 1:
        host, _, written = item.partition(":")
        has_port = True
    else:
        host, has_port, written = item, False, ""
    found = _parse_port(written) if has_port else port
    if found is None or not host or any(character.isspace() or character in "[]/@" for character in host):
        return None
    return BrokerAddress(host=host, port=found)


def _parse_port(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if 0 < int(text) < 65536 else None

"""What every use case works with: this device's identity, its database, and the ports to the world."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.channel.messages import ToLink, ToVision
from edge.core.clock import RawTime, read_clock
from edge.core.device_events import DeviceEvent, DeviceEventKind
from edge.db import knowledge
from edge.db.aside import Aside
from edge.db.database import Database
from edge.db.device_events import DeviceEvents
from edge.db.snapshots import Snapshots
from edge.ports import Clock, Display, Link
from shared.answers import ROOT_SIGNER
from shared.business_day import ClockReading, milliseconds
from shared.ids import DeviceId
from shared.signing import load_public_key


class Eyes(Protocol):
    """The line to `vision`."""

    def tell(self, message: ToVision) -> None:
        """Says it, or drops it while `vision` is away: whoever comes back is told the present state."""
        ...


class NoEyes:
    """An entrance without `vision`."""

    def tell(self, message: ToVision) -> None:
        """Nobody hears it."""


class Lan(Protocol):
    """The line to the store's other kiosks."""

    def tell(self, message: ToLink) -> None:
        """Hands it to `link`, or drops it while there is none."""
        ...


class NoLan:
    """An entrance that hears no other."""

    def tell(self, message: ToLink) -> None:
        """Nobody hears it."""


@dataclass(slots=True)
class Seen:
    """When each of the store's other kiosks last answered, as monotonic nanoseconds of this boot; not stored."""

    at_ns: dict[DeviceId, int] = field(default_factory=dict)

    def saw(self, device: DeviceId, now_ns: int) -> None:
        """The kiosk answered."""
        self.at_ns[device] = now_ns

    def ago(self, device: DeviceId, now_ns: int) -> timedelta | None:
        """Since it last answered, None when it never did."""
        at_ns = self.at_ns.get(device)
        return None if at_ns is None else timedelta(microseconds=(now_ns - at_ns) // 1000)

    def within(self, limit: timedelta, now_ns: int) -> tuple[DeviceId, ...]:
        """Those that answered within the limit."""
        return tuple(device for device in self.at_ns if (ago := self.ago(device, now_ns)) is not None and ago <= limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cellar:
    """What a device keeps besides its database: copies, damaged files, device events; `aside_work` runs what may take
    seconds beside the agent's loop."""

    snapshots: Snapshots
    aside: Aside
    events: DeviceEvents
    aside_work: Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One kiosk: who it is and what it holds. `random_bytes` makes salts and nonces, `random_unit` jitter in [0, 1).

    `touch` when the screen can be tapped. `languages` are the screen's, its own first. `lan_address` is where
    the store's other kiosks reach this one, None when they do not.
    """

    device: DeviceId
    signing_key: Ed25519PrivateKey
    root_key: Ed25519PublicKey
    database: Database
    clock: Clock
    link: Link
    display: Display
    random_bytes: Callable[[int], bytes]
    random_unit: Callable[[], float]
    software: str
    eyes: Eyes = field(default_factory=NoEyes)
    lan: Lan = field(default_factory=NoLan)
    lan_address: str | None = None
    seen: Seen = field(default_factory=Seen)
    touch: bool = False
    languages: tuple[str, ...] = ("en", "it")
    cellar: Cellar | None = None

    def note(self, kind: DeviceEventKind, detail: str = "") -> None:
        """Keeps this for a technician, where there is a place for it."""
        if self.cellar is None:
            return
        moment = self.now()
        self.cellar.events.add(
            DeviceEvent(
                kind=kind,
                at_ms=None if moment.reading.instant is None else milliseconds(moment.reading.instant),
                boot=moment.raw.boot,
                uptime_ms=moment.raw.monotonic_ns // 1_000_000,
                detail=detail,
            )
        )

    def now(self) -> "Moment":
        """The clocks, read and judged."""
        raw = self.clock.read()
        return Moment(raw=raw, reading=read_clock(raw, knowledge.clock_mark(self.database.connection)))

    def signers(self) -> dict[int, Ed25519PublicKey]:
        """The keys whose word counts: the pinned root and the signers it vouched for."""
        return self._keys("signer") | {ROOT_SIGNER: self.root_key}

    def issuers(self) -> dict[int, Ed25519PublicKey]:
        """The keys that sign members' credentials."""
        return self._keys("issuer")

    def _keys(self, use: str) -> dict[int, Ed25519PublicKey]:
        raw = knowledge.public_keys(self.database.connection, use)
        loaded = {number: load_public_key(public) for number, public in raw.items()}
        return {number: key for number, key in loaded.items() if key is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the clocks said at one moment, and what of it is believed."""

    raw: RawTime
    reading: ClockReading

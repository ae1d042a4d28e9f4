"""An entrance whose clock, line and screen are in the test's hand; everything else is the product's own."""

import itertools
import weakref
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core.clock import RawTime
from edge.core.screen import Screen, Status
from edge.db.database import Database
from edge.flow.agent import Agent
from edge.flow.entrance import Entrance
from shared.answers import (
    ROOT_SIGNER,
    AllotmentIssued,
    Answer,
    DenyEntry,
    DenyPage,
    EpochIssued,
    IssuerKey,
    KeyPage,
    PolicyPage,
    RosterEntry,
    RosterPage,
    SignerKey,
    TimeTold,
    kind_of,
    sign_answer,
)
from shared.business_day import milliseconds
from shared.envelope import Batch, DeviceState, Envelope, decode_batch, decode_state, decode_time_asked
from shared.ids import DeviceId, MemberId
from shared.policy import Policy
from shared.tokens import certify_phone, issue_card, show_phone_code, step_of
from shared.topics import Up

NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
DEVICE = DeviceId("kiosk1")
UNIT = "PT:consumption"


@dataclass(slots=True)
class HandClock:
    """A machine clock that moves when told to. `trusted` is the kernel's flag."""

    instant: datetime = NOON
    uptime_ns: int = 1_000_000_000_000
    boot: str = "boot-1"
    trusted: bool = False
    battery: bool = False

    def read(self) -> RawTime:
        """All clocks."""
        return RawTime(
            boot=self.boot,
            monotonic_ns=self.uptime_ns,
            wall_ms=milliseconds(self.instant),
            kernel_synced=self.trusted,
            battery=self.battery,
        )

    def advance(self, duration: timedelta) -> None:
        """Time passes."""
        self.instant += duration
        self.uptime_ns += duration // timedelta(microseconds=1) * 1000

    def restart(self, boot: str) -> None:
        """The machine boots: uptime begins anew."""
        self.boot, self.uptime_ns = boot, 5_000_000_000


@dataclass(slots=True)
class HandLink:
    """Keeps what was published."""

    sent: list[tuple[Up, bytes]] = field(default_factory=list)

    def publish(self, kind: Up, data: bytes) -> None:
        """Keeps it."""
        self.sent.append((kind, data))

    def envelopes(self) -> list[Envelope]:
        """All envelopes published so far, in order, each once however often it was sent."""
        batches = [decode_batch(data) for kind, data in self.sent if kind is Up.EVENT]
        sent = [envelope for batch in batches if isinstance(batch, Batch) for envelope in batch.envelopes]
        return list({envelope.header: envelope for envelope in sent}.values())

    def states(self) -> list[DeviceState]:
        """All states published so far."""
        states = [decode_state(data) for kind, data in self.sent if kind is Up.STATE]
        return [state for state in states if state is not None]

    def nonces(self) -> list[bytes]:
        """The nonces of all questions for the time."""
        asked = [decode_time_asked(data) for kind, data in self.sent if kind is Up.TIME]
        return [question.nonce for question in asked if question is not None]


@dataclass(slots=True)
class HandDisplay:
    """Keeps what was shown."""

    shown: list[Screen] = field(default_factory=list)
    status: Status | None = None

    def show(self, screen: Screen, status: Status, seconds: float) -> None:
        """Keeps it."""
        self.shown.append(screen)
        self.status = status

    @property
    def last(self) -> Screen:
        """The newest screen."""
        return self.shown[-1]


class Keys:
    """Keys of a test's cloud: root, feed signer 1, token issuer 1."""

    def __init__(self, seed: int = 1) -> None:
        random = Random(seed)
        self.root, self.signer, self.issuer = (
            Ed25519PrivateKey.from_private_bytes(random.randbytes(32)) for _ in range(3)
        )


class Phone:
    """A member's phone: a key of its own and the certificate for it."""

    def __init__(self, keys: Keys, member: MemberId, expiry_day: int = 21_000) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(member.ljust(32, b"p"))
        public = self._key.public_key().public_bytes_raw()
        self._certificate = certify_phone(
            keys.issuer, issuer=1, member=member, expiry_day=expiry_day, public_key=public
        )

    def show(self, instant: datetime) -> str:
        """The code on the phone at the instant."""
        return show_phone_code(self._key, self._certificate, step_of(instant))


def member_id(number: int) -> MemberId:
    """A pseudonym for tests."""
    return MemberId(number.to_bytes(10, "big"))


def card(keys: Keys, member: MemberId, serial: int = 1, expiry_day: int = 21_000) -> str:
    """A member's printed card."""
    return issue_card(keys.issuer, issuer=1, member=member, serial=serial, expiry_day=expiry_day)


def policy(version: int = 1, **changes: object) -> Policy:
    """A daily reward of ten points in Rome, the day beginning at four."""
    terms: dict[str, object] = {
        "version": version,
        "issued_ms": milliseconds(NOON),
        "tenant": "acme",
        "programme": "club",
        "merchant": "acme-shops",
        "store": "rome-1",
        "store_name": "Acme Roma",
        "zone": "Europe/Rome",
        "cutoff_hour": 4,
        "campaign": "daily-2026",
        "rule": "daily",
        "unit": UNIT,
        "points": 10,
        "reduced_points": 4,
        "naming_key": b"n" * 32,
    }
    return Policy(**(terms | changes))  # type: ignore[arg-type]  # keyword values of a test, checked by Policy's fields


class Kiosk:
    """One agent with its hand-driven world. `tell` plays the cloud."""

    def __init__(self, folder: Path, keys: Keys | None = None, device: DeviceId = DEVICE, seed: int = 7) -> None:
        self.keys = keys or Keys()
        self.device = device
        self.clock, self.link, self.display = HandClock(), HandLink(), HandDisplay()
        self._random = Random(seed)
        self.signing_key = Ed25519PrivateKey.from_private_bytes(self._random.randbytes(32))
        self.database = Database(folder / f"{device}.db")
        weakref.finalize(self, self.database.close)  # from Python 3.13 on, a connection left open is a warning
        self.agent = self._boot()
        self._views = itertools.count()

    def _boot(self) -> Agent:
        self.database.open(self._random.randbytes(16))
        agent = Agent(
            Entrance(
                device=self.device,
                signing_key=self.signing_key,
                root_key=self.keys.root.public_key(),
                database=self.database,
                clock=self.clock,
                link=self.link,
                display=self.display,
                random_bytes=self._random.randbytes,
                random_unit=self._random.random,
                software="test",
            )
        )
        agent.start()
        return agent

    def restart(self) -> None:
        """The agent process ends and starts again on the same file."""
        self.database.close()
        self.agent = self._boot()

    def tell(self, answer: Answer) -> bool:
        """The cloud says this, properly signed."""
        by_root = isinstance(answer, KeyPage)
        key, signer = (self.keys.root, ROOT_SIGNER) if by_root else (self.keys.signer, 1)
        return self.agent.hear(kind_of(answer), sign_answer(answer, signer, key))

    def tell_time(self) -> None:
        """The cloud answers the newest question for the time at once."""
        self.tell(TimeTold(nonce=self.link.nonces()[-1], instant_ms=milliseconds(self.clock.instant)))

    def learn_all(self, total: int = 1000, terms: Policy | None = None) -> None:
        """The cloud tells all that a kiosk needs before it may grant."""
        now_ms = milliseconds(self.clock.instant)
        state = self.link.states()[-1]
        issuers = (IssuerKey(key=1, public=self.keys.issuer.public_key().public_bytes_raw()),)
        signers = (SignerKey(key=1, public=self.keys.signer.public_key().public_bytes_raw()),)
        self.tell(KeyPage(base=0, version=1, more=False, issued_ms=now_ms, issuers=issuers, signers=signers))
        self.tell(EpochIssued(device=self.device, database=state.database, epoch=1, issued_ms=now_ms))
        terms = terms or policy()
        self.tell(PolicyPage(base=0, version=terms.version, more=False, issued_ms=now_ms, policy=terms))
        self.tell(DenyPage(base=0, version=1, more=False, issued_ms=now_ms, reset=True, entries=()))
        self.allot(total)

    def allot(self, total: int, serial: int = 1, days: int = 14) -> None:
        """The cloud lets the kiosk grant so much in all."""
        ends_ms = milliseconds(self.clock.instant + timedelta(days=days))
        self.tell(
            AllotmentIssued(
                device=self.device,
                campaign="daily-2026",
                epoch=1,
                serial=serial,
                unit=UNIT,
                total=total,
                ends_ms=ends_ms,
            )
        )

    def know(self, *entries: RosterEntry, version: int = 1) -> None:
        """The roster becomes these members."""
        now_ms = milliseconds(self.clock.instant)
        self.tell(RosterPage(base=0, version=version, more=False, issued_ms=now_ms, reset=True, entries=entries))

    def deny(self, *entries: DenyEntry, version: int = 2) -> None:
        """These credentials are denied from now on."""
        now_ms = milliseconds(self.clock.instant)
        self.tell(DenyPage(base=0, version=version, more=False, issued_ms=now_ms, reset=True, entries=entries))

    def show(self, *texts: str) -> Screen:
        """Codes are held up after the view was clear; what the screen says then."""
        self.clock.advance(timedelta(seconds=10))
        self.agent.see_codes(texts, self.clock.uptime_ns)
        return self.display.last

    def ready(self, total: int = 1000, terms: Policy | None = None) -> None:
        """Online, told everything, the time known."""
        self.agent.link_starts()
        self.agent.line_up()
        self.learn_all(total, terms)
        self.tell_time()

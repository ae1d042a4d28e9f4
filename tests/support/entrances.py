"""An entrance whose clock, line and screen are in the test's hand; everything else is the product's own."""

import itertools
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import ParamSpec, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.channel.messages import (
    EnrolEnded,
    FaceSeen,
    LeasesEnd,
    PeerAsked,
    PeersAsked,
    PeersHeard,
    PeerWord,
    TemplatesKept,
    TemplatesTold,
    ToLink,
    ToVision,
    VisionHello,
)
from edge.core.clock import RawTime
from edge.core.lan import RightTold
from edge.core.match import PROBES_MAX, Candidate, Comparison
from edge.core.recovery import Recovery
from edge.core.screen import Screen, Status
from edge.db import knowledge
from edge.db.aside import Aside
from edge.db.database import Database
from edge.db.device_events import DeviceEvents
from edge.db.snapshots import Snapshots
from edge.errors import EdgeFault
from edge.flow.agent import Agent
from edge.flow.entrance import Cellar, Entrance, Lan, Seen
from edge.flow.recover import Ladder, open_soundly
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
    TemplateEntry,
    TemplatePage,
    TimeTold,
    kind_of,
    sign_answer,
)
from shared.biometrics import Forgetting, SealedTemplate
from shared.business_day import milliseconds
from shared.envelope import (
    Batch,
    DeviceState,
    Envelope,
    Fact,
    Opened,
    decode_batch,
    decode_state,
    decode_time_asked,
    open_envelope,
)
from shared.ids import DeviceId, MemberId
from shared.policy import Policy
from shared.tokens import certify_phone, issue_card, show_phone_code, step_of
from shared.topics import Up

NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
DEVICE = DeviceId("kiosk1")
UNIT = "PT:consumption"
EMBEDDER, GROUP = b"embedder", b"group--1"
STRANGER, DOUBTFUL, SURE = 0.1, 0.5, 0.8
"""Cosines with the best of a gallery of a hundred whose others are like strangers of the portraits."""

Told = TypeVar("Told")
P = ParamSpec("P")


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
class HandEyes:
    """Keeps what `vision` was told."""

    told: list[ToVision] = field(default_factory=list)
    answered: int = 0

    def tell(self, message: ToVision) -> None:
        """Keeps it."""
        self.told.append(message)

    def last(self, kind: type[Told]) -> Told | None:
        """The newest message of this kind."""
        return next((message for message in reversed(self.told) if isinstance(message, kind)), None)

    def unanswered(self) -> list[TemplatesTold | LeasesEnd]:
        """What was told of templates since the last time."""
        fresh, self.answered = self.told[self.answered :], len(self.told)
        return [message for message in fresh if isinstance(message, TemplatesTold | LeasesEnd)]

    def count(self, kind: type[Told]) -> int:
        """How many messages of this kind there were."""
        return sum(isinstance(message, kind) for message in self.told)


class HandLan:
    """Hands questions to the kiosks that are reached, at once, and keeps what else `link` was told.

    It keeps no kiosk alive: whose database is to be closed must not wait for whichever thread collects cycles.
    """

    def __init__(self, asker: "Kiosk") -> None:
        self._asker = weakref.ref(asker)
        self.reached: weakref.WeakValueDictionary[DeviceId, Kiosk] = weakref.WeakValueDictionary()
        self.told: list[ToLink] = []

    def tell(self, message: ToLink) -> None:
        """Keeps it."""
        self.told.append(message)

    def carry(self) -> None:
        """Every question that waits is asked, as `link` asks: in order, until one does not agree."""
        waiting, self.told = self.told, [one for one in self.told if not isinstance(one, PeersAsked)]
        for asked in waiting:
            if isinstance(asked, PeersAsked):
                self._kiosk.agent.hear_peers(self.answers_to(asked))

    def answers_to(self, asked: PeersAsked) -> PeersHeard:
        """What the kiosks answer that are reached."""
        device = self._kiosk.device
        words: list[PeerWord] = []
        for name in asked.peers:
            other = self.reached.get(DeviceId(name))
            if other is None:
                break
            heard = other.agent.answer_peer(PeerAsked(number=1, device=device, question=asked.question))
            assert heard.answer is not None
            words.append(PeerWord(device=name, answer=heard.answer))
            if isinstance(heard.answer, RightTold) and heard.answer.holder != device:
                break
        return PeersHeard(number=asked.number, words=tuple(words))

    @property
    def _kiosk(self) -> "Kiosk":
        kiosk = self._asker()
        assert kiosk is not None
        return kiosk


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


class AtOnce(Executor):
    """Does the work before `submit` returns."""

    def submit(self, work: Callable[P, Told], /, *words: P.args, **named: P.kwargs) -> Future[Told]:
        """The result, or what was raised, is there already."""
        future: Future[Told] = Future()
        try:
            future.set_result(work(*words, **named))
        except EdgeFault as fault:
            future.set_exception(fault)
        return future


def cellar_in(folder: Path, database: Database) -> Cellar:
    """Copies, damaged files and events in this folder."""
    return Cellar(
        snapshots=Snapshots(folder / "snapshots"),
        aside=Aside(database.path, folder / "damaged"),
        events=DeviceEvents(folder / "events.db"),
        aside_work=AtOnce(),
    )


class Kiosk:
    """One agent with its hand-driven world. `tell` plays the cloud."""

    def __init__(
        self,
        folder: Path,
        keys: Keys | None = None,
        device: DeviceId = DEVICE,
        seed: int = 7,
        *,
        touch: bool = False,
        sheltered: bool = False,
        lan: Lan | None = None,
    ) -> None:
        self.keys = keys or Keys()
        self.touch_screen = touch
        self.feed = (0, 0)
        self.device = device
        self.clock, self.link, self.display, self.eyes = HandClock(), HandLink(), HandDisplay(), HandEyes()
        self.lan = HandLan(asker=self)
        self._line = lan or self.lan
        self._random = Random(seed)
        self.signing_key = Ed25519PrivateKey.from_private_bytes(self._random.randbytes(32))
        self.database = Database(folder / f"{device}.db")
        self.cellar = cellar_in(folder, self.database) if sheltered else None
        self.recovery: Recovery | None = None
        weakref.finalize(self, self.database.close)  # from Python 3.13 on, a connection left open is a warning
        self.agent = self._boot()
        self._views = itertools.count()

    def _boot(self) -> Agent:
        self.seen = Seen()
        if self.cellar is None:
            self.database.open(self._random.randbytes(16))
        else:
            ladder = Ladder(
                database=self.database,
                snapshots=self.cellar.snapshots,
                aside=self.cellar.aside,
                device=self.device,
                key=self.signing_key.public_key(),
            )
            self.recovery = open_soundly(ladder, self._random.randbytes(16), self.clock.read().wall_ms)
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
                eyes=self.eyes,
                lan=self._line,
                seen=self.seen,
                lan_address=f"{self.device}:8446",
                touch=self.touch_screen,
                cellar=self.cellar,
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
        self.tell_policy(terms)
        self.tell(DenyPage(base=0, version=1, more=False, issued_ms=now_ms, reset=True, entries=()))
        self.allot(total)

    def allot(self, total: int, serial: int = 1, days: int = 14, epoch: int = 1) -> None:
        """The cloud lets the kiosk grant so much in all."""
        ends_ms = milliseconds(self.clock.instant + timedelta(days=days))
        self.tell(
            AllotmentIssued(
                device=self.device,
                campaign="daily-2026",
                epoch=epoch,
                serial=serial,
                unit=UNIT,
                total=total,
                ends_ms=ends_ms,
            )
        )

    def tell_policy(self, terms: Policy) -> None:
        """The cloud says these terms."""
        now_ms = milliseconds(self.clock.instant)
        self.tell(PolicyPage(base=0, version=terms.version, more=False, issued_ms=now_ms, policy=terms))

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

    # --- faces --------------------------------------------------------------------------------------------------------

    def see(self, **changes: object) -> None:
        """`vision` connects, with networks, the group's secret and these differences."""
        self.eyes.answered = len(self.eyes.told)
        hello = VisionHello(
            embedder=EMBEDDER,
            life=knowledge.life(self.database.connection).database,
            group=GROUP,
            kiosks=(self.device,),
            sealing_public=b"s" * 32,
        )
        self.agent.vision_arrives(msgspec.structs.replace(hello, **changes))

    def ready_for_faces(self, *entries: RosterEntry, terms: Policy | None = None, **hello: object) -> None:
        """Online, told everything, the roster as given, and `vision` allowed to look at faces."""
        self.ready(terms=terms or policy(faces=True))
        self.know(*entries)
        self.see(**hello)
        self.tell_templates()
        self.agent.tick()

    def tell_templates(self, *entries: TemplateEntry, base: int = 0, version: int = 0, **changes: object) -> None:
        """The cloud tells of templates, and `vision` keeps what it is told of them."""
        now_ms = milliseconds(self.clock.instant)
        page = TemplatePage(
            base=base, version=version, more=False, issued_ms=now_ms, reset=False, entries=tuple(entries)
        )
        self.tell(msgspec.structs.replace(page, **changes))
        self.kept()

    def kept(self, *forgotten: MemberId, templates: int = 1, lapsed: tuple[MemberId, ...] = ()) -> None:
        """`vision` has done all it was told of templates; these were really there when it forgot them."""
        for told in self.eyes.unanswered():
            if isinstance(told, TemplatesTold) and told.version is not None:
                self.feed = (told.version, told.issued_ms)
            why = told.why if isinstance(told, TemplatesTold) else Forgetting.LAPSED
            asked = told.forget if isinstance(told, TemplatesTold) else lapsed
            really = tuple(member for member in asked if member in forgotten + lapsed)
            version, issued_ms = self.feed
            self.agent.hear_vision(
                TemplatesKept(version=version, issued_ms=issued_ms, templates=templates, forgotten=really, why=why)
            )

    def stand(self, *members: MemberId, score: float = SURE, track: int = 1, live: float | None = 0.9) -> Screen:
        """A face on the mark is compared, best with the first member; what the screen says then."""
        self.agent.hear_vision(
            FaceSeen(
                track=track,
                comparison=compared(*members, score=score),
                live=live,
                captured_ns=self.clock.uptime_ns,
                seen_ns=self.clock.uptime_ns,
            )
        )
        return self.display.last

    def learn(self, member: MemberId, group: bytes = GROUP) -> SealedTemplate:
        """`vision` has learnt the face it was asked to; the sealed template it gave."""
        template = sealed(member, group)
        self.agent.hear_vision(EnrolEnded(member=member, template=template, frames=9, refusal=None))
        return template

    def facts(self) -> list[Fact]:
        """Everything that was sent to the cloud so far, whatever was erased left out."""
        opened = [open_envelope(one, self.device, self.signing_key.public_key()) for one in self.link.envelopes()]
        return [one.fact for one in opened if isinstance(one, Opened) and one.fact is not None]


def compared(*members: MemberId, score: float = SURE) -> Comparison:
    """Eight fused frames against a gallery of a hundred: these members best, each a hair behind the one before."""
    candidates = tuple(Candidate(member=member, score=score - 0.001 * place) for place, member in enumerate(members))
    return Comparison(candidates=candidates, enrolled=100, probes=PROBES_MAX, cohort_mean=0.006, cohort_deviation=0.093)


def sealed(member: MemberId, group: bytes = GROUP) -> SealedTemplate:
    """A member's sealed template, as far as anybody but `vision` can see."""
    return SealedTemplate(member=member, key=group, embedder=EMBEDDER, sealed=b"sealed " + member)

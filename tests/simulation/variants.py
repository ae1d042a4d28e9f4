"""The product with one thing wrong, to show that the checkers bite. Nothing here is patched: parts are exchanged.

Each variant is a mistake that somebody might make in good faith. `within` is the number of seeds, counted from 1, in
which the checkers must have found it, and `promises` what they may say.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from cloud.broker.messages import Inbound, Outbound
from cloud.kit.database import writing
from cloud.ledger.actions import post
from cloud.ledger.rules import derive_entry_id, grant_daily
from edge.ports import Link
from shared.answers import Outcome, PolicyPage, Receipt, Verdict, kind_of, open_answer
from shared.envelope import ClaimMade, Header, decode_batch, read_header
from shared.ids import CampaignId, ClaimId, DeviceId, MemberId
from shared.points import Points
from shared.signing import load_public_key
from shared.topics import Up
from tests.simulation.clock import MS
from tests.simulation.cloud import CloudCut, Worker
from tests.simulation.kiosk import Kiosk, Parts
from tests.simulation.power import FusedDatabase
from tests.simulation.prepared import TENANT, Prepared
from tests.simulation.world import Variant, product_worker

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A variant, the promises of which one must be found broken, and within how many seeds."""

    variant: Variant
    promises: frozenset[str]
    within: int


# --- at the kiosk -----------------------------------------------------------------------------------------------------


class LateDatabase(FusedDatabase):
    """Saves a sync: a transaction is committed when the next one begins. The screen does not wait for it."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is as good as committed."""
        connection = self.connection
        if connection.in_transaction:
            connection.execute("COMMIT")
        self.fuse.touch("before BEGIN")
        connection.execute("BEGIN IMMEDIATE")
        yield connection


class UndrawnDatabase(FusedDatabase):
    """Does not write down what was drawn from an allotment."""

    def open(self, new_database: bytes = b"") -> None:
        """Opens, and makes every draw void."""
        super().open(new_database)
        self.connection.execute(
            "CREATE TRIGGER IF NOT EXISTS undrawn AFTER UPDATE OF spent ON allotment WHEN NEW.spent > 0"
            " BEGIN UPDATE allotment SET spent = 0 WHERE campaign = NEW.campaign AND epoch = NEW.epoch; END"
        )


class ForgetfulDatabase(FusedDatabase):
    """Remembers one right to a coupon: the others were given away long ago."""

    def open(self, new_database: bytes = b"") -> None:
        """Opens, and keeps no right but the newest."""
        super().open(new_database)
        self.connection.execute(
            "CREATE TRIGGER IF NOT EXISTS forgetful AFTER INSERT ON coupon_right"
            " BEGIN DELETE FROM coupon_right WHERE claim <> NEW.claim; END"
        )


def _headers(data: bytes) -> list[Header]:
    """The headers of the envelopes in a batch."""
    batch = decode_batch(data)
    assert batch is not None
    read = [read_header(envelope.header) for envelope in batch.envelopes]
    return [header for header in read if isinstance(header, Header)]


def _receipt(prepared: Prepared, device: DeviceId, epoch: int, numbers: Sequence[int]) -> Outbound:
    """A receipt for these numbers, as the cloud would sign it."""
    verdicts = tuple(Verdict(seq=seq, outcome=Outcome.NOTED) for seq in sorted(set(numbers)))
    receipt = Receipt(device=device, epoch=epoch, contiguous=0, head=b"", verdicts=verdicts)
    return Outbound(device=device, kind=kind_of(receipt), data=prepared.keyring.sign(receipt))


@dataclass(frozen=True, slots=True, kw_only=True)
class PubackLink:
    """Takes the broker's acknowledgement for the cloud's."""

    kiosk: Kiosk
    link: Link
    prepared: Prepared

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends, and settles what the broker took."""
        self.link.publish(kind, data)
        if kind is not Up.EVENT or not self.kiosk.line.is_up:
            return
        headers = _headers(data)
        device = self.kiosk.identity.device
        told = _receipt(self.prepared, device, headers[0].epoch, [header.seq for header in headers])
        self.kiosk.later(20 * MS, lambda: _ignore(self.kiosk.hear(told.kind, told.data)))


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceLink:
    """Sends an envelope once: TCP is reliable, after all."""

    link: Link
    sent: set[tuple[int, int]]

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends what was not sent before."""
        if kind is Up.EVENT:
            numbers = {(header.epoch, header.seq) for header in _headers(data)}
            if numbers <= self.sent:
                return
            self.sent.update(numbers)
        self.link.publish(kind, data)


def _ignore(_: object) -> None:
    return


# --- at the cloud -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NamingWorker:
    """Gives each kiosk a naming key of its own, so that a claim's id holds the kiosk."""

    worker: Worker
    prepared: Prepared

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """The product's answers with such policies."""
        return [self._renamed(message) for message in self.worker(inbound)]

    def bring_news(self) -> Sequence[Outbound]:
        """The product's news with such policies."""
        return [self._renamed(message) for message in self.worker.bring_news()]

    def _renamed(self, message: Outbound) -> Outbound:
        keyring = self.prepared.keyring
        signer = load_public_key(keyring.signer_key.public_key().public_bytes_raw())
        assert signer is not None
        page = open_answer(message.kind, message.data, {keyring.signer_id: signer})
        if not isinstance(page, PolicyPage) or page.policy is None:
            return message
        naming_key = hashlib.sha256(page.policy.naming_key + message.device.encode()).digest()
        policy = msgspec.structs.replace(page.policy, naming_key=naming_key)
        data = keyring.sign(msgspec.structs.replace(page, policy=policy))
        return Outbound(device=message.device, kind=message.kind, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingWorker:
    """Posts every claim that arrives under a fresh id: who would deliver a message twice?"""

    worker: Worker
    prepared: Prepared
    clock: Clock
    seen: set[bytes]

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """The product's answers; a repeated claim is posted once more."""
        answers = self.worker(inbound)
        for message in inbound:
            batch = decode_batch(message.data) if message.kind is Up.EVENT else None
            for envelope in () if batch is None else batch.envelopes:
                if envelope.header in self.seen:
                    self._post_again(message.device, envelope.header, envelope.payload or b"")
                self.seen.add(envelope.header)
        return answers

    def bring_news(self) -> Sequence[Outbound]:
        """The product's news."""
        return self.worker.bring_news()

    def _post_again(self, device: DeviceId, text: bytes, payload: bytes) -> None:
        header = read_header(text)
        assert isinstance(header, Header)
        try:
            claim = msgspec.msgpack.decode(payload, type=ClaimMade)
        except msgspec.DecodeError:
            return
        draft = grant_daily(
            claim=ClaimId(derive_entry_id("again", text.hex(), str(len(self.seen)))),
            tenant=TENANT,
            campaign=CampaignId(claim.campaign),
            device=device,
            epoch=header.epoch,
            member=MemberId(claim.member),
            points=Points(amount=claim.amount, unit=claim.unit),
            effective_at=self.clock(),
        )
        with writing(self.prepared.engine) as connection:
            post(connection, [draft], recorded_at=self.clock())


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisingWorker:
    """Answers before it has stored: it will not fail just now."""

    worker: Worker
    prepared: Prepared

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """The product's answers, or a receipt all the same."""
        try:
            return self.worker(inbound)
        except CloudCut:
            return [self._promise(message) for message in inbound if message.kind is Up.EVENT]

    def bring_news(self) -> Sequence[Outbound]:
        """The product's news."""
        return self.worker.bring_news()

    def _promise(self, message: Inbound) -> Outbound:
        headers = _headers(message.data)
        return _receipt(self.prepared, message.device, headers[0].epoch, [header.seq for header in headers])


# --- the table --------------------------------------------------------------------------------------------------------


def _database(make: type[FusedDatabase]) -> Callable[[Prepared], Parts]:
    return lambda prepared: Parts(database=make)


def _puback(prepared: Prepared) -> Parts:
    return Parts(link=lambda kiosk, line: PubackLink(kiosk=kiosk, link=line, prepared=prepared))


def _once(prepared: Prepared) -> Parts:
    sent: dict[str, set[tuple[int, int]]] = {}
    return Parts(link=lambda kiosk, line: OnceLink(link=line, sent=sent.setdefault(kiosk.name, set())))


def _posting() -> Variant:
    seen: set[bytes] = set()  # the worker dies and comes again; what arrived before was still before

    def make(prepared: Prepared, clock: Clock) -> Worker:
        return PostingWorker(worker=product_worker(prepared, clock), prepared=prepared, clock=clock, seen=seen)

    return Variant(name="every arrival is posted under a fresh id", make_worker=make)


BROKEN: Final = (
    Broken(
        variant=Variant(name="the screen changes before the commit", parts=_database(LateDatabase)),
        promises=frozenset({"shown is stored"}),
        within=3,
    ),
    Broken(
        variant=Variant(name="an allotment is not drawn", parts=_database(UndrawnDatabase)),
        promises=frozenset({"within the allotment", "a pair agrees"}),
        within=10,
    ),
    Broken(
        variant=Variant(name="rights to coupons are forgotten", parts=_database(ForgetfulDatabase)),
        promises=frozenset({"a coupon once"}),
        within=20,
    ),
    Broken(
        variant=Variant(name="the broker's acknowledgement settles", parts=_puback),
        promises=frozenset({"settled is stored"}),
        within=3,
    ),
    Broken(
        variant=Variant(name="an envelope is sent once", parts=_once),
        promises=frozenset({"all settles", "peace restores it"}),
        within=5,
    ),
    Broken(
        variant=Variant(
            name="a claim's id holds the kiosk",
            make_worker=lambda prepared, clock: NamingWorker(worker=product_worker(prepared, clock), prepared=prepared),
        ),
        promises=frozenset({"a pair agrees"}),
        within=3,
    ),
    Broken(
        variant=_posting(),
        promises=frozenset({"posted once", "a pair agrees", "the ledger verifies"}),
        within=5,
    ),
    Broken(
        variant=Variant(
            name="the cloud answers before its commit",
            make_worker=lambda prepared, clock: PromisingWorker(
                worker=product_worker(prepared, clock), prepared=prepared
            ),
        ),
        promises=frozenset({"settled is stored"}),
        within=10,
    ),
)

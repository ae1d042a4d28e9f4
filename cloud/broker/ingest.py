"""From what devices sent to what they are told: events are stored, states answered, the time told, all of it signed.

An answer leaves only after the transaction behind it is committed. Events of one call share transactions; each state
has its own, so that the order in which rows are locked is the same for everybody. What cannot be decoded is counted
and dropped: nothing that could be answered proved to be a device's word.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection, Engine

from cloud.broker.feeds import Listeners, is_news
from cloud.broker.messages import Inbound, Outbound
from cloud.campaigns.actions import allot
from cloud.catalogue.queries import policy_in_force
from cloud.claims.actions import apply_batches, confirm_coupons, tell_reviews
from cloud.claims.queries import coupons_due, reviews_wait
from cloud.devices.actions import answer_state, catch_up, tell_time
from cloud.devices.queries import device_for_ingest
from cloud.kit.database import reading, writing
from cloud.kit.keyring import Keyring
from shared.answers import Answer, EpochIssued, Receipt, kind_of
from shared.envelope import Batch, DeviceState, decode_batch, decode_state, decode_time_asked
from shared.ids import CampaignId, DeviceId
from shared.topics import Up

ENVELOPES_MAX = 2000  # of one transaction: about half a second, and a receipt well below the broker's limit
NEWS_MAX = 100  # kiosks brought something in one call, so that it ends; the others are next

log = logging.getLogger(__name__)

Addressed = tuple[DeviceId, Answer]


class Ingest:
    """What the broker's client calls with each batch, and what a timer calls to bring news to kiosks."""

    def __init__(
        self, engine: Engine, keyring: Keyring, *, clock: Callable[[], datetime], registry: CollectorRegistry
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._clock = clock
        self._listeners = Listeners()
        self._envelopes = Counter("doorstep_envelopes", "Envelopes judged.", ("outcome",), registry=registry)
        self._undecodable = Counter(
            "doorstep_undecodable_messages", "Messages nobody could read.", ("kind",), registry=registry
        )

    def __call__(self, inbound: Sequence[Inbound]) -> Sequence[Outbound]:
        """What to tell whom, now that all of it is stored. Raises what the database raises; then nothing was told."""
        batches = [(message.device, decode_batch(message.data)) for message in inbound if message.kind is Up.EVENT]
        answered = list(self._store([(device, batch) for device, batch in batches if batch is not None]))
        for message in inbound:
            match message.kind:
                case Up.STATE:
                    answered += self._answer_state(message)
                case Up.TIME:
                    answered += self._tell_time(message)
                case Up.EVENT:
                    continue
        self._count_undecodable(Up.EVENT, sum(batch is None for _, batch in batches))
        return [self._signed(device, answer) for device, answer in answered]

    def bring_news(self) -> Sequence[Outbound]:
        """Pages for kiosks that are online and behind; meant for every few seconds.

        Policies, denials, revocations, groups and templates at once, rosters every half minute; and receipts for what
        a person decided about in quarantine.
        """
        with reading(self._engine) as connection:
            behind = self._listeners.behind(connection, self._clock())
            has_reviews = reviews_wait(connection)
        news: list[Addressed] = list(self._tell_reviews()) if has_reviews else []
        for device, state in behind[:NEWS_MAX]:
            now = self._clock()
            with writing(self._engine) as connection:
                pages = catch_up(connection, self._keyring, device, state, now)
            fresh = [page for page in pages if is_news(page, state.feeds)]
            self._listeners.told(device, fresh, now)
            news += [(device, page) for page in fresh]
        return [self._signed(device, answer) for device, answer in news]

    def _tell_reviews(self) -> Sequence[Addressed]:
        now = self._clock()
        with writing(self._engine) as connection:
            told = tell_reviews(connection, now)
        self._count(receipt for _, receipt in told)
        return told

    def _store(self, events: Sequence[tuple[DeviceId, Batch]]) -> Iterator[Addressed]:
        for part in _parts(events):
            with writing(self._engine) as connection:
                answers = apply_batches(connection, part, self._clock())
            self._count(answer for _, answer in answers)
            yield from answers

    def _answer_state(self, message: Inbound) -> list[Addressed]:
        state = decode_state(message.data)
        if state is None or state.device != message.device:
            self._count_undecodable(Up.STATE, 1)
            return []
        now = self._clock()
        with writing(self._engine) as connection:
            answers: tuple[Answer, ...] = answer_state(connection, self._keyring, message.device, state, now)
            answers += _allotment(connection, message.device, state, answers, now)
        self._confirm_coupons(message.device, now)
        self._listeners.heard(message.device, state, answers, now)
        return [(message.device, answer) for answer in answers]

    def _confirm_coupons(self, id: DeviceId, now: datetime) -> None:
        """A kiosk that shows itself may be the last that a deferred coupon of its store waited for.

        In a transaction of its own: the state's has locked templates, which come after rosters.
        """
        with reading(self._engine) as connection:
            facts = device_for_ingest(connection, [id]).get(id)
            is_due = facts is not None and facts.confirmed and bool(coupons_due(connection, facts.store, now))
        if facts is not None and is_due:
            with writing(self._engine) as connection:
                confirm_coupons(connection, facts.store, now)

    def _tell_time(self, message: Inbound) -> list[Addressed]:
        asked = decode_time_asked(message.data)
        if asked is None:
            self._count_undecodable(Up.TIME, 1)
            return []
        return [(message.device, tell_time(asked, self._clock()))]

    def _signed(self, device: DeviceId, answer: Answer) -> Outbound:
        return Outbound(device=device, kind=kind_of(answer), data=self._keyring.sign(answer))

    def _count(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            if isinstance(answer, Receipt):
                for verdict in answer.verdicts:
                    self._envelopes.labels(verdict.outcome.value).inc()

    def _count_undecodable(self, kind: Up, count: int) -> None:
        if count:
            self._undecodable.labels(kind.value).inc(count)
            log.warning("messages nobody can read", extra={"kind": kind.value, "count": count})


def _parts(events: Sequence[tuple[DeviceId, Batch]]) -> Iterator[Sequence[tuple[DeviceId, Batch]]]:
    """The events in order, in parts of at most ENVELOPES_MAX envelopes."""
    part: list[tuple[DeviceId, Batch]] = []
    size = 0
    for event in events:
        more = len(event[1].envelopes)
        if part and size + more > ENVELOPES_MAX:
            yield part
            part, size = [], 0
        part.append(event)
        size += more
    if part:
        yield part


def _allotment(
    connection: Connection, id: DeviceId, state: DeviceState, answers: Sequence[Answer], now: datetime
) -> tuple[Answer, ...]:
    """What the device may grant under the policy in force, when it is good and has an epoch."""
    facts = device_for_ingest(connection, [id]).get(id)
    issued = [answer.epoch for answer in answers if isinstance(answer, EpochIssued)]
    epoch = issued[0] if issued else state.epoch
    if facts is None or facts.revoked or not facts.confirmed or not state.online:
        return ()
    if epoch not in facts.epochs - facts.quarantined:
        return ()
    policy = policy_in_force(connection, facts.store)
    if policy is None:
        return ()
    told = allot(
        connection,
        tenant=facts.tenant,
        id=CampaignId(policy.campaign),
        device=id,
        epoch=epoch,
        points_a_claim=policy.points,
        is_settled=state.settled >= state.head,
        now=now,
    )
    return () if told is None else (told,)

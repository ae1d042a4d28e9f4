"""What must travel upwards: a lower domain writes an event in its own transaction, an upper one drains it later.

Every consumer reads a topic in order from its own position, and its position moves in the transaction in which it
handles what it read, so the effect in the database happens once. On PostgreSQL two writers may commit in another
order than they took their positions; a reader that went straight to the newest would skip the slower one for ever.
So draining first asks for a horizon behind which nobody is still writing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select, text

from cloud.kit.database import is_postgresql, writing
from cloud.kit.tables import event, event_reader
from shared.ids import TenantId

BATCH_MAX = 500  # events a transaction; the rest follows with the next call


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A fact for upper domains. `body` is the writer's own encoding; a withdrawn person's data must not be in it."""

    topic: str
    tenant: TenantId
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A recorded fact at its position, which only grows."""

    position: int
    topic: str
    tenant: TenantId
    body: bytes
    recorded_at: datetime


def append(connection: Connection, events: Sequence[NewEvent], *, recorded_at: datetime) -> None:
    """Makes the events part of the caller's transaction."""
    if events:
        rows = [
            {"topic": new.topic, "tenant": new.tenant, "body": new.body, "recorded_at": recorded_at} for new in events
        ]
        connection.execute(event.insert(), rows)


def drain(
    engine: Engine, consumer: str, topics: Sequence[str], handle: Callable[[Connection, tuple[Event, ...]], None]
) -> int:
    """How many events the consumer was handed: the next ones of the topics, in order, at most BATCH_MAX.

    `handle` runs in the transaction that moves the consumer's position: if it raises, the same events come again.
    One consumer's drains take turns.
    """
    horizon = _horizon(engine)
    with writing(engine) as connection:
        position = _take_turn(connection, consumer)
        events = _between(connection, topics, position, horizon)
        if events:
            handle(connection, events)
            _move(connection, consumer, events[-1].position)
    return len(events)


def _horizon(engine: Engine) -> int:
    """The newest position such that every event up to it is committed or will never be.

    PostgreSQL: a SHARE lock waits for those who are writing events; in a transaction of its own, which holds nothing
    else, so that waiting cannot deadlock. SQLite has one writer at a time, hence no such gap.
    """
    with writing(engine) as connection:
        if is_postgresql(connection):
            connection.execute(text("LOCK TABLE event IN SHARE MODE"))
        newest: int | None = connection.execute(select(func.max(event.c.position))).scalar_one()
    return newest or 0


def _take_turn(connection: Connection, consumer: str) -> int:
    """The consumer's position, locked until the transaction ends."""
    query = select(event_reader.c.position).where(event_reader.c.consumer == consumer).with_for_update()
    position: int | None = connection.execute(query).scalar_one_or_none()
    if position is not None:
        return position
    connection.execute(event_reader.insert().values(consumer=consumer, position=0))
    return 0


def _between(connection: Connection, topics: Sequence[str], position: int, horizon: int) -> tuple[Event, ...]:
    c = event.c
    rows = connection.execute(
        select(event)
        .where(c.topic.in_(topics), c.position > position, c.position <= horizon)
        .order_by(c.position)
        .limit(BATCH_MAX)
    ).mappings()
    return tuple(Event(**row) for row in rows)


def _move(connection: Connection, consumer: str, position: int) -> None:
    query = event_reader.update().where(event_reader.c.consumer == consumer)
    connection.execute(query.values(position=position))

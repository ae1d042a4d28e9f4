"""Events reach each consumer once and in order, and none is skipped because its writer was slow."""

import threading

import pytest
from sqlalchemy import Connection, Engine, delete
from sqlalchemy import event as listener

from cloud.kit import events
from cloud.kit.database import writing
from cloud.kit.events import Event, NewEvent, append, drain
from cloud.kit.tables import event
from shared.ids import TenantId
from tests.cloud.service import NOW


def _event(body: str, topic: str = "consent") -> NewEvent:
    return NewEvent(topic=topic, tenant=TenantId("bakers"), body=body.encode())


def _write(engine: Engine, *new: NewEvent) -> None:
    with writing(engine) as connection:
        append(connection, new, recorded_at=NOW)


class Reader:
    """A consumer that keeps what it was handed."""

    def __init__(self, name: str, *topics: str) -> None:
        self.name = name
        self.topics = topics or ("consent",)
        self.read: list[str] = []

    def handle(self, _: Connection, events: tuple[Event, ...]) -> None:
        self.read += [event.body.decode() for event in events]

    def drain(self, engine: Engine) -> int:
        return drain(engine, self.name, self.topics, self.handle)


def test_each_consumer_reads_each_event_once_and_in_order(engine: Engine) -> None:
    feeds, hooks = Reader("feeds"), Reader("hooks", "consent", "grant")
    assert feeds.drain(engine) == 0
    _write(engine, _event("a"), _event("x", "grant"), _event("b"))
    assert (feeds.drain(engine), feeds.drain(engine), hooks.drain(engine)) == (2, 0, 3)
    _write(engine, _event("c"))
    assert (feeds.drain(engine), hooks.drain(engine)) == (1, 1)
    assert (feeds.read, hooks.read) == (["a", "b", "c"], ["a", "x", "b", "c"])


def test_an_event_carries_what_was_written(engine: Engine) -> None:
    _write(engine, _event("a"))
    seen: list[Event] = []
    drain(engine, "feeds", ["consent"], lambda _, events: seen.extend(events))
    assert seen == [Event(position=1, topic="consent", tenant=TenantId("bakers"), body=b"a", recorded_at=NOW)]


def test_an_event_of_a_transaction_that_failed_never_was(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            append(connection, [_event("a")], recorded_at=NOW)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert Reader("feeds").drain(engine) == 0


def test_events_come_again_when_handling_them_failed(engine: Engine) -> None:
    _write(engine, _event("a"))

    def fail(_: Connection, __: tuple[Event, ...]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        drain(engine, "feeds", ["consent"], fail)
    assert Reader("feeds").drain(engine) == 1


def test_what_is_handled_commits_with_the_position(engine: Engine) -> None:
    """The effect of handling is in the same transaction: here each event writes one more."""
    _write(engine, _event("a"))

    def answer(connection: Connection, seen: tuple[Event, ...]) -> None:
        append(connection, [_event("re " + event.body.decode(), "answer") for event in seen], recorded_at=NOW)

    assert drain(engine, "feeds", ["consent"], answer) == 1
    reader = Reader("other", "answer")
    reader.drain(engine)
    assert reader.read == ["re a"]


def test_a_long_backlog_is_read_in_batches(engine: Engine) -> None:
    _write(engine, *(_event(str(number)) for number in range(events.BATCH_MAX + 3)))
    reader = Reader("feeds")
    assert (reader.drain(engine), reader.drain(engine), reader.drain(engine)) == (events.BATCH_MAX, 3, 0)
    assert reader.read == [str(number) for number in range(events.BATCH_MAX + 3)]


def test_a_position_is_never_given_again(engine: Engine) -> None:
    reader = Reader("feeds")
    _write(engine, _event("a"))
    reader.drain(engine)
    with writing(engine) as connection:
        connection.execute(delete(event))
    _write(engine, _event("b"))
    reader.drain(engine)
    assert reader.read == ["a", "b"]


def test_a_slow_writer_is_not_skipped(engine: Engine) -> None:
    """The slow one takes its position first and commits last; the reader waits for it instead of passing it."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: the second cannot take a position before the first has committed")
    reader = Reader("feeds")
    draining = threading.Thread(target=reader.drain, args=(engine,))
    is_asking = threading.Event()

    @listener.listens_for(engine, "before_cursor_execute")
    def notice(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("LOCK TABLE"):
            is_asking.set()

    with writing(engine) as slow:
        append(slow, [_event("slow")], recorded_at=NOW)
        _write(engine, _event("quick"))
        draining.start()
        assert is_asking.wait(10)
    draining.join()
    assert reader.read == ["slow", "quick"]


def test_two_drains_of_one_consumer_take_turns(engine: Engine) -> None:
    reader = Reader("feeds")
    reader.drain(engine)
    _write(engine, *(_event(str(number)) for number in range(50)))
    threads = [threading.Thread(target=reader.drain, args=(engine,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.read == [str(number) for number in range(50)]

"""What is dropped when, what room is made of, and what is never given up for it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from edge.core.bounds import EVENT_AGE_MAX, EVENTS_KEPT, PHONE_STEPS_MAX, SETTLED_AGE_MAX
from edge.core.device_events import DeviceEvent, DeviceEventKind
from edge.core.screen import ScreenName
from edge.db import claims, outbox
from edge.db.device_events import DeviceEvents, newest_events
from edge.flow.housekeeping import make_room
from shared.business_day import milliseconds
from tests.support.entrances import NOON, Kiosk, card, cellar_in, member_id

FAR = "2099-01-01"


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[Kiosk]:
    """A kiosk that granted to five members."""
    made = Kiosk(tmp_path, sheltered=True)
    made.ready()
    for number in range(1, 6):
        assert made.show(card(made.keys, member_id(number))).name is ScreenName.GREETING
    yield made
    made.database.close()
    assert made.cellar is not None
    made.cellar.events.close()


@pytest.fixture
def connection(kiosk: Kiosk) -> Connection:
    return kiosk.database.connection


def kept(connection: Connection, epoch: int = 1) -> list[int]:
    return [row[0] for row in connection.execute("SELECT seq FROM outbox WHERE epoch = ? ORDER BY seq", (epoch,))]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_what_is_settled_and_old_goes_by_age_and_leaves_an_anchor(connection: Connection) -> None:
    outbox.settle(connection, 1, 4, ())
    old_ms = milliseconds(NOON - SETTLED_AGE_MAX)
    connection.execute("UPDATE outbox SET written_ms = ? WHERE seq <= 4", (old_ms,))
    assert outbox.prune(connection, 1, FAR, old_ms) == 0
    assert outbox.prune(connection, 1, FAR, old_ms + 1) == 4
    assert kept(connection) == [5]
    assert outbox.first_broken_link(connection, "kiosk1", 1) is None
    connection.execute("UPDATE outbox_anchor SET seq = 3")
    assert outbox.first_broken_link(connection, "kiosk1", 1) == 4


def test_a_head_that_is_old_stays(connection: Connection) -> None:
    outbox.settle(connection, 1, 5, ())
    connection.execute("UPDATE outbox SET written_ms = 1")
    assert outbox.prune(connection, 1, FAR, 2) == 4
    assert kept(connection) == [5]


def test_of_an_earlier_life_nothing_stays_but_what_waits_and_what_refuses_a_second_grant(
    connection: Connection,
) -> None:
    outbox.settle(connection, 1, 3, ())
    assert outbox.prune_older_lives(connection, 1, FAR) == 0, "this one goes on"
    assert outbox.prune_older_lives(connection, 2, "2026-11-20") == 0
    assert outbox.prune_older_lives(connection, 2, FAR) == 3
    assert kept(connection) == [4, 5]
    outbox.settle(connection, 1, 5, ())
    assert outbox.prune_older_lives(connection, 2, FAR) == 2
    assert outbox.epochs(connection) == ()
    assert claims.count_claims(connection, None) == 0


def test_allotments_go_with_their_epoch_and_steps_beyond_the_limit_oldest_first(connection: Connection) -> None:
    assert claims.prune_allotments(connection, 1) == 0
    assert claims.prune_allotments(connection, 2) == 1
    connection.executemany(
        "INSERT INTO phone_step (member, step) VALUES (?, ?)",
        [(member_id(number), number) for number in range(PHONE_STEPS_MAX + 2)],
    )
    assert claims.prune_steps(connection) == 2
    assert connection.execute("SELECT min(step) FROM phone_step").fetchone()[0] == 2


def test_the_agent_prunes_what_an_earlier_life_left(kiosk: Kiosk, connection: Connection) -> None:
    connection.execute("UPDATE device SET epoch = 2")
    outbox.settle(connection, 1, 5, ())
    kiosk.clock.advance(timedelta(days=2))
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    assert outbox.epochs(connection) == ()


# --- device events ----------------------------------------------------------------------------------------------------


def event(number: int, kind: DeviceEventKind = DeviceEventKind.LINE_UP) -> DeviceEvent:
    return DeviceEvent(kind=kind, at_ms=number, boot="boot-1", uptime_ms=number, detail="")


def test_of_each_kind_the_newest_are_kept(tmp_path: Path) -> None:
    events = DeviceEvents(tmp_path / "events.db")
    events.add(event(0, DeviceEventKind.RECOVERED))
    for number in range(EVENTS_KEPT + 3):
        events.add(event(number))
    found = newest_events(events.path, 10_000)
    assert [one.kind for one in found[:1]] == [DeviceEventKind.RECOVERED]
    assert [one.at_ms for one in found[1:]] == list(range(3, EVENTS_KEPT + 3))
    assert newest_events(events.path, 2) == (event(EVENTS_KEPT + 1), event(EVENTS_KEPT + 2))
    events.forget_old(EVENT_AGE_MAX // timedelta(milliseconds=1) + EVENTS_KEPT)
    assert [one.at_ms for one in newest_events(events.path, 10_000)] == [EVENTS_KEPT, EVENTS_KEPT + 1, EVENTS_KEPT + 2]
    events.close()
    events.close()


def test_a_file_that_cannot_be_used_is_begun_anew_and_none_is_nothing(tmp_path: Path) -> None:
    events = DeviceEvents(tmp_path / "events.db")
    assert newest_events(events.path, 1) == ()
    events.path.write_bytes(b"no database" * 1000)
    events.add(event(1))
    assert newest_events(events.path, 10) == (event(1),)
    events.close()


def test_events_that_cannot_be_kept_stop_nobody(tmp_path: Path) -> None:
    nowhere = DeviceEvents(tmp_path / "nowhere" / "events.db")
    nowhere.add(event(1))
    nowhere.forget_old(1)
    events = DeviceEvents(tmp_path / "events.db")
    events.open()
    events._connection.execute("DROP TABLE event")  # type: ignore[union-attr]
    events.add(event(1))
    events.forget_old(1)
    events.close()


def test_the_agent_notes_line_camera_and_clock(kiosk: Kiosk) -> None:
    kiosk.agent.line_down()
    kiosk.agent.see_camera(live=False, decoder_restarts=0)
    kiosk.agent.see_camera(live=True, decoder_restarts=0)
    kiosk.clock.advance(timedelta(minutes=11))
    kiosk.clock.instant += timedelta(minutes=1)
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    kinds = [one.kind.value for one in newest_events(kiosk.database.path.parent / "events.db", 100)]
    assert kinds == ["started", "line_up", "line_down", "camera_lost", "camera_back", "clock_stepped"]


# --- room -------------------------------------------------------------------------------------------------------------


def test_with_room_nothing_is_given_up(kiosk: Kiosk) -> None:
    assert kiosk.cellar is not None
    kiosk.cellar.snapshots.take(kiosk.database.path, 1)
    make_room(kiosk.cellar, kiosk.database.path.parent)
    assert len(kiosk.cellar.snapshots.newest_first()) == 1
    assert newest_events(kiosk.cellar.events.path, 1) != ()


def test_dropping_goes_from_the_oldest_on_until_there_is_none(kiosk: Kiosk) -> None:
    cellar = cellar_in(kiosk.database.path.parent, kiosk.database)
    for taken_ms in (1, 2):
        cellar.snapshots.take(kiosk.database.path, taken_ms)
    sizes = [cellar.snapshots.size_bytes()]
    assert cellar.snapshots.drop_oldest()
    assert [one.taken_ms for one in cellar.snapshots.newest_first()] == [2]
    sizes.append(cellar.snapshots.size_bytes())
    assert sizes[0] > sizes[1] > 0
    assert cellar.snapshots.drop_oldest()
    assert not cellar.snapshots.drop_oldest()
    assert list(cellar.snapshots.folder.iterdir()) == []
    for name in ("20260101T000000Z", "20260102T000000Z"):
        (cellar.aside.folder / name).mkdir(parents=True)
    assert cellar.aside.drop_oldest()
    assert [path.name for path in cellar.aside.folder.iterdir()] == ["20260102T000000Z"]
    assert cellar.aside.drop_oldest()
    assert not cellar.aside.drop_oldest()

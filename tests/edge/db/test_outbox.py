"""The chain of envelopes: every way it can break is seen, and what may be forgotten never tears it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import Connection

import pytest

from edge.core.bounds import SETTLED_KEPT
from edge.core.screen import ScreenName
from edge.db import claims, outbox
from edge.db.reading import find_damage, open_for_reading
from shared.answers import Outcome, Reason, Verdict
from shared.ids import DeviceId
from tests.support.entrances import DEVICE, Kiosk, card, member_id

TODAY, YESTERDAY, TOMORROW = "2026-11-20", "2026-11-19", "2026-11-21"


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[Kiosk]:
    """A kiosk that granted to five members."""
    made = Kiosk(tmp_path)
    made.ready()
    for number in range(1, 6):
        assert made.show(card(made.keys, member_id(number))).name is ScreenName.GREETING
    yield made
    made.database.close()


@pytest.fixture
def connection(kiosk: Kiosk) -> Connection:
    return kiosk.database.connection


def broken(connection: Connection) -> int | None:
    return outbox.first_broken_link(connection, DEVICE, 1)


def alter(statement: str) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DROP TRIGGER outbox_is_final")  # a flipped bit asks nobody
        connection.execute(statement)

    return act


@pytest.mark.parametrize(
    ("damage", "link"),
    [
        ("UPDATE outbox SET header = x'00' WHERE seq = 3", 3),
        ("UPDATE outbox SET header = zeroblob(0) WHERE seq = 1", 1),
        ("UPDATE outbox SET payload = x'00' WHERE seq = 2", 2),
        ("UPDATE outbox SET salt = NULL WHERE seq = 2", 2),
        ("UPDATE outbox SET chain = zeroblob(32) WHERE seq = 5", 5),
        ("UPDATE outbox SET chain = zeroblob(32) WHERE seq = 2", 2),
        ("DELETE FROM outbox WHERE seq = 4", 4),
        ("UPDATE outbox SET seq = 6 WHERE seq = 5", 5),
        ("UPDATE outbox SET seq = 99 WHERE seq = 1", 6),
        (
            "UPDATE outbox SET header = (SELECT header FROM outbox WHERE seq = 2),"
            " chain = (SELECT chain FROM outbox WHERE seq = 2) WHERE seq = 1",
            1,
        ),
    ],
)
def test_the_first_broken_link_is_named(connection: Connection, damage: str, link: int) -> None:
    assert broken(connection) is None
    alter(damage)(connection)
    assert broken(connection) == link


def test_another_devices_chain_is_not_ours(connection: Connection) -> None:
    assert outbox.first_broken_link(connection, "kiosk2", 1) == 1
    assert outbox.first_broken_link(connection, DEVICE, 2) is None  # nothing is written there


def test_an_erased_payload_does_not_break_the_chain(connection: Connection) -> None:
    connection.execute("UPDATE outbox SET salt = NULL, payload = NULL WHERE seq = 3")
    assert broken(connection) is None


@pytest.mark.parametrize("bit", range(0, 8 * 300, 97))
def test_a_flipped_bit_anywhere_in_an_envelope_is_seen(connection: Connection, bit: int) -> None:
    row = connection.execute("SELECT header, salt, payload FROM outbox WHERE seq = 3").fetchone()
    column, data = [(name, row[name]) for name in ("header", "salt", "payload")][bit % 3]
    flipped = bytearray(data)
    flipped[bit // 8 % len(flipped)] ^= 1 << (bit % 8)
    connection.execute("DROP TRIGGER outbox_is_final")
    connection.execute(f"UPDATE outbox SET {column} = ? WHERE seq = 3", (bytes(flipped),))
    assert broken(connection) == 3


def test_what_can_be_read_for_sending(connection: Connection) -> None:
    assert outbox.read_envelopes(connection, 1, ()) == ()
    assert outbox.read_envelopes(connection, 2, (1, 2)) == ()
    third, fifth = outbox.read_envelopes(connection, 1, (5, 3, 99))
    assert third == outbox.read_envelopes(connection, 1, (3,))[0]
    assert fifth == outbox.read_envelopes(connection, 1, (5,))[0]


def test_how_long_the_oldest_has_waited(connection: Connection) -> None:
    first_ms = connection.execute("SELECT written_ms FROM outbox WHERE seq = 1").fetchone()[0]
    assert outbox.oldest_waiting_ms(connection) == first_ms
    outbox.settle(connection, 1, 1, ())
    second_ms = connection.execute("SELECT written_ms FROM outbox WHERE seq = 2").fetchone()[0]
    assert outbox.oldest_waiting_ms(connection) == second_ms > first_ms
    outbox.settle(connection, 1, 5, ())
    assert outbox.oldest_waiting_ms(connection) is None


# --- forgetting -------------------------------------------------------------------------------------------------------


def lengthen(connection: Connection, more: int = SETTLED_KEPT) -> None:
    """The chain goes on for so many settled envelopes, as far as numbers and claims go; its links are made up."""
    connection.executemany(
        "INSERT INTO outbox (epoch, seq, header, signature, chain, settled)"
        " VALUES (1, ?, x'00', x'00', zeroblob(32), 1)",
        [(seq,) for seq in range(6, 6 + more)],
    )


def kept(connection: Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT seq FROM outbox WHERE epoch = 1 ORDER BY seq LIMIT 8")]


def settle(connection: Connection, *numbers: int) -> None:
    outbox.settle(connection, 1, 0, [Verdict(seq=seq, outcome=Outcome.POSTED) for seq in numbers])


@pytest.mark.parametrize(
    ("settled", "before_day", "first"),
    [
        ((1, 2, 3, 4, 5), TOMORROW, 6),  # all old and settled: only the newest stay
        ((1, 2, 4, 5), TOMORROW, 3),  # from the first unsettled on
        ((2, 3, 4, 5), TOMORROW, 1),
        ((1, 2, 3, 4, 5), TODAY, 1),  # a claim of today is what refuses the second grant
        ((1, 2, 3, 4, 5), YESTERDAY, 1),
    ],
)
def test_what_is_forgotten_is_settled_old_and_one_piece(
    connection: Connection, settled: tuple[int, ...], before_day: str, first: int
) -> None:
    lengthen(connection)
    settle(connection, *settled)
    dropped = outbox.prune(connection, 1, before_day)
    assert dropped == first - 1
    assert kept(connection) == list(range(first, first + 8))
    assert claims.count_claims(connection, None) == 6 - min(first, 6)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert outbox.prune(connection, 1, before_day) == 0


def test_a_young_chain_is_not_pruned(connection: Connection) -> None:
    settle(connection, 1, 2, 3, 4, 5)
    assert outbox.prune(connection, 1, TOMORROW) == 0
    lengthen(connection, more=SETTLED_KEPT - 5)
    assert outbox.prune(connection, 1, TOMORROW) == 0
    assert outbox.prune(connection, 2, TOMORROW) == 0


def test_the_head_stays_and_the_chain_goes_on_after_it_was_pruned(kiosk: Kiosk, connection: Connection) -> None:
    lengthen(connection, more=SETTLED_KEPT + 3)
    settle(connection, 1, 2, 3, 4, 5)
    outbox.prune(connection, 1, TOMORROW)
    assert outbox.head_of(connection, DEVICE, 1).seq == SETTLED_KEPT + 8
    assert kiosk.show(card(kiosk.keys, member_id(77))).name is ScreenName.GREETING
    assert outbox.head_of(connection, DEVICE, 1).seq == SETTLED_KEPT + 9


def test_a_pruned_chain_is_whole_from_where_it_begins(kiosk: Kiosk, connection: Connection) -> None:
    settle(connection, 1, 2, 3, 4, 5)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("DELETE FROM outbox WHERE seq < 3")
    assert broken(connection) is None
    kiosk.database.connection.execute("DELETE FROM outbox WHERE seq = 4")
    assert broken(connection) == 4


# --- looking into it --------------------------------------------------------------------------------------------------


def test_a_sound_database_has_no_damage(kiosk: Kiosk, tmp_path: Path) -> None:
    assert find_damage(kiosk.database.path) == ()
    fresh = Kiosk(tmp_path, device=DeviceId("kiosk9"))  # nothing written yet
    assert find_damage(fresh.database.path) == ()
    fresh.database.close()


@pytest.mark.parametrize(
    ("damage", "link"),
    [("UPDATE outbox SET payload = x'00' WHERE seq = 2", 2), ("UPDATE outbox SET header = x'00' WHERE seq = 1", 1)],
)
def test_a_broken_chain_is_found_where_the_file_is_sound(kiosk: Kiosk, damage: str, link: int) -> None:
    alter(damage)(kiosk.database.connection)
    assert find_damage(kiosk.database.path) == (f"the chain of epoch 1 breaks at envelope {link}",)


def test_a_file_whose_pages_are_overwritten_is_reported_and_not_a_crash(kiosk: Kiosk) -> None:
    kiosk.database.close()
    pages = kiosk.database.path.stat().st_size // 4096
    data = kiosk.database.path.read_bytes()
    for page in range(1, pages):
        kiosk.database.path.write_bytes(data[: page * 4096] + b"\xa5" * 4096 + data[(page + 1) * 4096 :])
        assert find_damage(kiosk.database.path), page
    kiosk.database.path.write_bytes(data)
    assert find_damage(kiosk.database.path) == ()


def test_people_read_and_cannot_write(kiosk: Kiosk) -> None:
    with open_for_reading(kiosk.database.path) as reading:
        assert reading["claim"].count == 5
        with pytest.raises(Exception, match="readonly"):
            reading.execute("DELETE FROM claim")


def test_a_late_word_of_quarantine_does_not_replace_a_persons_decision(kiosk: Kiosk) -> None:
    connection = kiosk.database.connection
    decided = Verdict(seq=1, outcome=Outcome.POSTED, balance=10)
    waits = Verdict(seq=1, outcome=Outcome.QUARANTINED, reason=Reason.EPOCH_QUARANTINED)
    outcomes = []
    for verdict in (waits, decided, waits):
        outbox.settle(connection, 1, 1, [verdict])
        outcomes.append(connection.execute("SELECT outcome FROM claim WHERE seq = 1").fetchone()[0])
    assert outcomes == ["quarantined", "posted", "posted"]

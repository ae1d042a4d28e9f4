"""The ladder: what a device begins with after damage, what it says of it, and what it must not grant."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge.core.bounds import ASIDE_KEPT, SNAPSHOTS_KEPT
from edge.core.device_events import DeviceEventKind
from edge.core.recovery import Beginning
from edge.core.screen import ScreenName
from edge.db import claims, faces, knowledge, outbox
from edge.db.device_events import newest_events
from edge.db.reading import find_damage
from edge.db.snapshots import Snapshot, Snapshots
from edge.errors import StorageDamaged, StorageFull
from shared.answers import EpochIssued, FeedName, Outcome, Receipt, Verdict
from shared.envelope import ClaimMade, Opened, open_envelope
from tests.support.entrances import DEVICE, Kiosk, card, member_id

QUARTER = timedelta(hours=6, minutes=11)


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[Kiosk]:
    """A kiosk that granted to members 1 and 2, made a copy, and then granted to member 3."""
    made = Kiosk(tmp_path, sheltered=True)
    made.ready()
    serve(made, 1, 2)
    copy(made)
    serve(made, 3)
    yield made
    made.database.close()
    assert made.cellar is not None
    made.cellar.events.close()


def serve(kiosk: Kiosk, *members: int) -> None:
    for number in members:
        assert kiosk.show(card(kiosk.keys, member_id(number))).name is ScreenName.GREETING


def copy(kiosk: Kiosk) -> None:
    """Time passes until the next copy is made, with nobody at the door."""
    before = copies(kiosk)
    kiosk.clock.advance(QUARTER)
    for _ in range(2):
        kiosk.clock.advance(timedelta(seconds=10))
        kiosk.agent.tick()
    assert copies(kiosk)[:1] != before[:1]


def copies(kiosk: Kiosk) -> list[Path]:
    assert kiosk.cellar is not None
    return [snapshot.path for snapshot in kiosk.cellar.snapshots.newest_first()]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def damage_file(kiosk: Kiosk) -> None:
    """The agent ends; one bit of a page that holds no envelope flips."""
    kiosk.database.move_log()
    root = kiosk.database.connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'allotment'").fetchone()
    kiosk.database.close()
    flip(kiosk.database.path, root[0] * 4096 - 5)


def issue(kiosk: Kiosk, epoch: int) -> None:
    """The cloud issues this epoch to the life that asks for one, and an allotment."""
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    state = kiosk.link.states()[-1]
    assert state.epoch == 0
    kiosk.tell(EpochIssued(device=DEVICE, database=state.database, epoch=epoch, issued_ms=1))
    kiosk.allot(1000, epoch=epoch)


def granted(kiosk: Kiosk) -> int:
    return claims.count_claims(kiosk.database.connection, None)


def kinds(kiosk: Kiosk) -> list[DeviceEventKind]:
    return [event.kind for event in newest_events(kiosk.database.path.parent / "events.db", 100)]


# --- the rungs --------------------------------------------------------------------------------------------------------


def test_a_sound_database_goes_on_as_it_was(kiosk: Kiosk) -> None:
    kiosk.restart()
    assert kiosk.recovery is None
    assert kiosk.agent.status().recovery is None
    assert knowledge.life(kiosk.database.connection).epoch == 1
    serve(kiosk, 4)


def test_one_flipped_bit_leads_to_the_newest_copy_and_nothing_that_can_be_read_is_lost(kiosk: Kiosk) -> None:
    before = knowledge.life(kiosk.database.connection).database
    damage_file(kiosk)
    assert find_damage(kiosk.database.path)
    kiosk.restart()
    began = kiosk.recovery
    assert began is not None
    assert (began.how, began.salvaged) == (Beginning.SNAPSHOT, 1)
    assert "not as they were written" in began.damage
    life = knowledge.life(kiosk.database.connection)
    assert life.epoch == 0
    assert life.database != before
    assert granted(kiosk) == 3, "the grant after the copy came out of the damaged file"
    assert find_damage(kiosk.database.path) == ()


def test_until_the_cloud_answers_nothing_is_granted_and_the_day_counts_once_after(kiosk: Kiosk) -> None:
    damage_file(kiosk)
    kiosk.restart()
    assert kiosk.show(card(kiosk.keys, member_id(4))).name is ScreenName.PAUSED
    told = kiosk.agent.status().recovery
    assert told is not None
    assert not told.epoch_issued
    issue(kiosk, 2)
    told = kiosk.agent.status().recovery
    assert told is not None
    assert told.epoch_issued
    serve(kiosk, 4)
    for number in (1, 2, 3):
        assert kiosk.show(card(kiosk.keys, member_id(number))).name is ScreenName.COLLECTED


def test_what_an_earlier_life_wrote_is_sent_as_it_was_and_settled_by_its_own_receipt(kiosk: Kiosk) -> None:
    damage_file(kiosk)
    kiosk.restart()
    assert kiosk.agent.status().leftovers == 3
    sent_before = len(kiosk.link.sent)
    issue(kiosk, 2)
    del kiosk.link.sent[:sent_before]
    kiosk.clock.advance(timedelta(minutes=2))
    kiosk.agent.tick()
    opened = [open_envelope(one, DEVICE, kiosk.signing_key.public_key()) for one in kiosk.link.envelopes()]
    facts = [(one.header.epoch, one.header.seq) for one in opened if isinstance(one, Opened)]
    assert facts == [(1, 1), (1, 2), (1, 3)]
    assert all(isinstance(one, Opened) and isinstance(one.fact, ClaimMade) for one in opened)
    # The cloud knows more of that life than is left of it.
    verdict = Verdict(seq=3, outcome=Outcome.EXISTS)
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=9, head=bytes(32), verdicts=(verdict,)))
    assert kiosk.agent.status().leftovers == 0
    outcomes = kiosk.database.connection.execute("SELECT outcome FROM claim WHERE epoch = 1 ORDER BY seq").fetchall()
    assert [row[0] for row in outcomes] == [None, None, "exists"]
    assert knowledge.life(kiosk.database.connection).epoch == 2


def test_a_damaged_newest_copy_leads_to_the_older_one(kiosk: Kiosk) -> None:
    copy(kiosk)
    newest, older = copies(kiosk)
    flip(newest, newest.stat().st_size - 5)
    damage_file(kiosk)
    kiosk.restart()
    assert kiosk.recovery is not None
    assert kiosk.recovery.snapshot_ms == int(older.stem.removeprefix("doorstep-"))
    assert granted(kiosk) == 3


def test_without_a_copy_it_starts_empty_says_so_and_keeps_what_refuses_a_second_grant(kiosk: Kiosk) -> None:
    shutil.rmtree(kiosk.database.path.parent / "snapshots")
    damage_file(kiosk)
    kiosk.restart()
    assert kiosk.recovery is not None
    assert (kiosk.recovery.how, kiosk.recovery.salvaged) == (Beginning.EMPTY, 3)
    assert granted(kiosk) == 3
    assert knowledge.policy(kiosk.database.connection) is None
    assert kiosk.show(card(kiosk.keys, member_id(4))).name is ScreenName.PAUSED


@pytest.mark.parametrize("at", ["everything", "the log and the sums", "the file"])
def test_a_database_that_vanished_is_no_new_device(kiosk: Kiosk, at: str) -> None:
    kiosk.database.close()
    ends = {"everything": ("", "-wal", "-sums", "-shm"), "the file": ("",)}.get(at, ("", "-wal", "-shm"))
    for end in ends:
        Path(f"{kiosk.database.path}{end}").unlink(missing_ok=True)
    kiosk.restart()
    assert kiosk.recovery is not None
    assert kiosk.recovery.how is Beginning.SNAPSHOT
    assert granted(kiosk) == 2


def test_a_log_that_lost_commits_goes_on_from_the_longer_history(kiosk: Kiosk) -> None:
    """Two grants in the log; a bit of the first rots: the copy, made before both, has less than the file itself."""
    kiosk.database.move_log()
    log = Path(f"{kiosk.database.path}-wal")
    serve(kiosk, 4)
    first = log.stat().st_size
    serve(kiosk, 5, 6)
    image = {end: Path(f"{kiosk.database.path}{end}").read_bytes() for end in ("", "-wal", "-sums")}
    kiosk.database.close()
    for end, data in image.items():
        Path(f"{kiosk.database.path}{end}").write_bytes(data)
    flip(log, first + 100)
    kiosk.restart()
    assert kiosk.recovery is not None
    assert (kiosk.recovery.how, granted(kiosk)) == (Beginning.SET_BACK, 4)
    assert knowledge.life(kiosk.database.connection).epoch == 0


class Unlucky(Snapshots):
    """Copies on a disk that fails when it is needed."""

    def bring_back(self, snapshot: Snapshot, path: Path) -> None:
        raise OSError("the power is gone")

    def take(self, source: Path, taken_ms: int) -> Snapshot:
        raise StorageFull("no room")


@contextmanager
def bad_luck(kiosk: Kiosk) -> Iterator[None]:
    """Copies fail for a while."""
    whole = kiosk.cellar
    assert whole is not None
    kiosk.cellar = replace(whole, snapshots=Unlucky(whole.snapshots.folder))
    yield
    kiosk.cellar = whole


def test_a_power_cut_in_the_middle_of_a_recovery_leaves_one_that_goes_on(kiosk: Kiosk) -> None:
    damage_file(kiosk)
    with bad_luck(kiosk), pytest.raises(StorageFull):
        kiosk.restart()
    assert not kiosk.database.path.exists()
    kiosk.restart()
    assert kiosk.recovery is not None
    assert (kiosk.recovery.how, kiosk.recovery.salvaged, granted(kiosk)) == (Beginning.SNAPSHOT, 1, 3)
    kiosk.restart()
    assert kiosk.recovery is None


def test_damaged_files_are_moved_aside_and_a_bounded_number_kept(kiosk: Kiosk) -> None:
    folder = kiosk.database.path.parent / "damaged"
    for _ in range(ASIDE_KEPT + 1):
        kiosk.clock.advance(timedelta(minutes=1))
        damage_file(kiosk)
        kiosk.restart()
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == ASIDE_KEPT
    assert names[-1].startswith("20261120T")
    assert (folder / names[-1] / kiosk.database.path.name).exists()


# --- faces ------------------------------------------------------------------------------------------------------------


def test_after_a_restore_no_template_counts_until_the_feed_is_current(kiosk: Kiosk) -> None:
    with kiosk.database.transaction() as connection:
        knowledge.save_templates_held(connection, 7, 1000, whole=True)
    copy(kiosk)
    before = knowledge.life(kiosk.database.connection).database
    damage_file(kiosk)
    kiosk.restart()
    connection = kiosk.database.connection
    assert knowledge.current_ms(connection, FeedName.TEMPLATES) is None
    assert knowledge.held_feed(connection, FeedName.TEMPLATES).version == 0
    assert knowledge.life(connection).database != before, "vision wipes the templates of another life"


def test_no_copy_holds_a_sealed_template(kiosk: Kiosk) -> None:
    sealed = b"a face under seal" * 12
    with kiosk.database.transaction() as connection:
        connection.execute("UPDATE outbox SET payload = ? WHERE seq = 3", (sealed,))
        faces.note_envelope(connection, 1, 3, member_id(3))
        connection.execute("DELETE FROM claim WHERE seq = 3")
    assert sealed in Path(f"{kiosk.database.path}-wal").read_bytes()
    copy(kiosk)
    assert not any(sealed in path.read_bytes() for path in copies(kiosk))
    with closing(sqlite3.connect(copies(kiosk)[0])) as made:
        assert made.execute("SELECT payload FROM outbox WHERE seq = 3").fetchone() == (None,)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_two_generations_are_kept_and_the_older_goes_only_for_a_good_one(kiosk: Kiosk) -> None:
    for _ in range(3):
        copy(kiosk)
    kept = copies(kiosk)
    assert len(kept) == SNAPSHOTS_KEPT
    assert kiosk.cellar is not None
    kiosk.database.connection.execute("DROP TRIGGER outbox_is_final")
    kiosk.database.connection.execute("UPDATE outbox SET header = x'00' WHERE seq = 2")
    with pytest.raises(StorageDamaged, match="chain of epoch 1 breaks at envelope 2"):
        kiosk.cellar.snapshots.take(kiosk.database.path, 10**15)
    assert copies(kiosk) == kept
    assert sorted(path.name for path in kept[0].parent.iterdir()) == sorted(
        f"{path.name}{end}" for path in kept for end in ("", "-sums")
    )


def test_a_clock_that_went_back_makes_no_copy_older_than_the_kept(kiosk: Kiosk) -> None:
    assert kiosk.cellar is not None
    newest = kiosk.cellar.snapshots.newest_first()[0]
    taken = kiosk.cellar.snapshots.take(kiosk.database.path, 5)
    assert taken.taken_ms == newest.taken_ms + 1
    assert kiosk.cellar.snapshots.newest_first()[0] == taken


def test_nobody_at_the_door_waits_for_a_copy(kiosk: Kiosk) -> None:
    kept = copies(kiosk)
    kiosk.clock.advance(QUARTER)
    serve(kiosk, 8)
    kiosk.agent.tick()
    assert copies(kiosk) == kept
    kiosk.clock.advance(timedelta(seconds=30))
    kiosk.agent.tick()
    kiosk.agent.tick()
    assert copies(kiosk) != kept


def test_a_page_that_rots_while_the_agent_runs_ends_it_before_a_copy_is_made(kiosk: Kiosk) -> None:
    kiosk.database.move_log()
    kept = copies(kiosk)
    flip(kiosk.database.path, kiosk.database.path.stat().st_size - 5)
    kiosk.clock.advance(QUARTER)
    with pytest.raises(StorageDamaged):
        kiosk.agent.tick()
    assert copies(kiosk) == kept


def test_a_copy_that_finds_no_room_is_told_and_tried_again_later(kiosk: Kiosk) -> None:
    kept = copies(kiosk)
    with bad_luck(kiosk):
        kiosk.restart()
        kiosk.clock.advance(QUARTER)
        kiosk.agent.tick()
        kiosk.agent.tick()
    assert copies(kiosk) == kept
    assert kinds(kiosk)[-1] is DeviceEventKind.SNAPSHOT_FAILED
    kiosk.restart()
    copy(kiosk)


# --- set back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contiguous", "head"), [(7, bytes(32)), (3, bytes(32))])
def test_a_copy_put_back_by_hand_is_noticed_by_what_the_cloud_knows(kiosk: Kiosk, contiguous: int, head: bytes) -> None:
    before = knowledge.life(kiosk.database.connection)
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=contiguous, head=head, verdicts=()))
    life = knowledge.life(kiosk.database.connection)
    assert life.epoch == 0
    assert life.database != before.database
    began = kiosk.agent.status().recovery
    assert began is not None
    assert (began.how, began.epoch_issued) == (Beginning.SET_BACK, False)
    assert kiosk.show(card(kiosk.keys, member_id(4))).name is ScreenName.PAUSED
    assert kiosk.agent.status().leftovers == 3
    assert kinds(kiosk)[-1] is DeviceEventKind.RECOVERED
    issue(kiosk, 2)
    serve(kiosk, 4)
    assert outbox.epochs(kiosk.database.connection) == (1, 2)


def test_a_receipt_for_an_epoch_that_nothing_is_kept_of_is_not_ours(kiosk: Kiosk) -> None:
    kiosk.tell(Receipt(device=DEVICE, epoch=5, contiguous=7, head=bytes(32), verdicts=()))
    assert knowledge.life(kiosk.database.connection).epoch == 1
    assert kiosk.agent.status().leftovers == 0


def test_an_earlier_life_that_forked_settles_only_what_is_named(kiosk: Kiosk) -> None:
    damage_file(kiosk)
    kiosk.restart()
    named = Verdict(seq=1, outcome=Outcome.POSTED)
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=3, head=bytes(32), verdicts=(named,)))
    assert kiosk.agent.status().leftovers == 2


Salvaged = Callable[[sqlite3.Connection], object]


@pytest.mark.parametrize(
    ("what", "salvaged"),
    [
        (lambda c: c.execute("UPDATE outbox SET signature = zeroblob(64) WHERE seq = 4"), 1),
        (lambda c: c.execute("UPDATE outbox SET payload = x'00' WHERE seq = 3"), 0),
        (lambda c: c.execute("UPDATE outbox SET seq = 9 WHERE seq = 4"), 2),  # the signed header has it
        (lambda c: c.execute("DROP TABLE outbox"), 0),
    ],
)
def test_only_what_verifies_comes_out_of_a_damaged_file(kiosk: Kiosk, what: Salvaged, salvaged: int) -> None:
    serve(kiosk, 4)
    connection = kiosk.database.connection
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("DROP TRIGGER outbox_is_final")
    what(connection)
    damage_file(kiosk)
    kiosk.restart()
    assert kiosk.recovery is not None
    assert kiosk.recovery.salvaged == salvaged
    assert granted(kiosk) == 2 + salvaged

"""No room on the disk, power cut at any statement: nothing shown that is not stored, nothing lost, nothing twice."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from edge.core.screen import FaultName, Screen, ScreenName
from edge.db import claims, knowledge, outbox
from edge.db.database import Database
from edge.errors import StorageFull
from shared.answers import AllotmentIssued, Outcome, Receipt, Verdict, kind_of, sign_answer
from shared.topics import Down
from tests.support.entrances import DEVICE, UNIT, Kiosk, card, member_id

FAULT = Screen(name=ScreenName.FAULT, fault=FaultName.STORAGE)


def check_whole(database: Database, grants: int) -> None:
    """The chain is whole, and claims, envelopes and the allotment tell the same story."""
    connection = database.connection
    assert outbox.first_broken_link(connection, DEVICE, 1) is None
    assert claims.count_claims(connection, None) == grants
    assert outbox.head_of(connection, DEVICE, 1).seq == grants
    assert connection.execute("SELECT spent FROM allotment").fetchone()[0] == 10 * grants
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


# --- no room ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a failed test may still hold it open


def fill(disk: Path, leave: int = 0) -> Path:
    """Writes a file until the disk has so many bytes left, and returns it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384])
def test_a_full_disk_refuses_grants_with_a_clear_screen_loses_nothing_and_recovers(
    small_disk: Path, leave: int
) -> None:
    kiosk = Kiosk(small_disk)
    kiosk.ready()
    assert kiosk.show(card(kiosk.keys, member_id(1))).name is ScreenName.GREETING
    ballast = fill(small_disk, leave)
    screens = [kiosk.show(card(kiosk.keys, member_id(number))) for number in range(2, 8)]
    granted = 1 + sum(screen.name is ScreenName.GREETING for screen in screens)
    assert screens[-1] == FAULT
    kiosk.agent.tick()
    assert kiosk.display.last == FAULT
    assert claims.count_claims(kiosk.database.connection, None) == granted
    ballast.unlink()
    kiosk.agent.tick()
    assert kiosk.display.last.name is ScreenName.IDLE
    assert kiosk.show(card(kiosk.keys, member_id(9))).name is ScreenName.GREETING
    check_whole(kiosk.database, granted + 1)
    assert len(kiosk.link.envelopes()) == granted + 1
    kiosk.database.close()


def test_an_agent_that_starts_on_a_full_disk_says_so_and_keeps_what_it_has(small_disk: Path) -> None:
    kiosk = Kiosk(small_disk)
    kiosk.ready()
    kiosk.show(card(kiosk.keys, member_id(1)))
    ballast = fill(small_disk, leave=40_000)  # the log's index needs its 32 kB, as it does on any disk
    kiosk.restart()
    for number in range(2, 9):
        kiosk.show(card(kiosk.keys, member_id(number)))
    assert kiosk.display.last == FAULT
    kept = claims.count_claims(kiosk.database.connection, None)
    ballast.unlink()
    kiosk.agent.tick()
    kiosk.show(card(kiosk.keys, member_id(9)))
    check_whole(kiosk.database, kept + 1)
    kiosk.database.close()


def limit_pages(kiosk: Kiosk, spare: int) -> None:
    """Lets the database grow by so many pages."""
    connection = kiosk.database.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + spare}")


def unlimit_pages(kiosk: Kiosk) -> None:
    kiosk.database.connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[Kiosk]:
    made = Kiosk(tmp_path)
    made.ready()
    yield made
    made.database.close()


def show_until_full(kiosk: Kiosk) -> int:
    """Members come until one is refused for want of room; returns how many were greeted."""
    for number in range(1, 1000):
        screen = kiosk.show(card(kiosk.keys, member_id(number)))
        if screen != Screen(name=ScreenName.GREETING, points=10, unit=UNIT, claim=screen.claim):
            assert screen == FAULT
            return number - 1
    raise AssertionError("there was room for all")


@pytest.mark.parametrize("spare", [0, 1, 2, 3, 5, 8])
def test_a_database_that_may_not_grow_refuses_the_grant_whole(kiosk: Kiosk, spare: int) -> None:
    limit_pages(kiosk, spare)
    granted = show_until_full(kiosk)
    check_whole(kiosk.database, granted)
    unlimit_pages(kiosk)
    assert kiosk.show(card(kiosk.keys, member_id(1000))).name is ScreenName.GREETING
    check_whole(kiosk.database, granted + 1)


def test_a_receipt_that_finds_no_room_is_not_taken_and_may_come_again(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, member_id(1)))
    head = outbox.chain_at(kiosk.database.connection, 1, 1)
    assert head is not None
    receipt = Receipt(
        device=DEVICE,
        epoch=1,
        contiguous=1,
        head=head,
        verdicts=(Verdict(seq=1, outcome=Outcome.POSTED, balance=10),),
    )
    kiosk.database.connection.execute("PRAGMA query_only = ON")
    assert not kiosk.tell(receipt)
    assert (kiosk.agent.sync.waiting, kiosk.display.last) == (1, FAULT)
    assert kiosk.agent.storage_full
    kiosk.agent.tick()
    assert kiosk.display.last == FAULT
    kiosk.database.connection.execute("PRAGMA query_only = OFF")
    kiosk.agent.tick()
    assert kiosk.tell(receipt)
    assert (kiosk.agent.sync.waiting, kiosk.display.last.name) == (0, ScreenName.IDLE)


def test_a_link_that_starts_without_room_is_turned_away(kiosk: Kiosk) -> None:
    kiosk.database.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageFull):
        kiosk.agent.link_starts()
    assert kiosk.display.last == FAULT


def test_whatever_the_cloud_says_on_a_full_disk_comes_again(kiosk: Kiosk) -> None:
    kiosk.database.connection.execute("PRAGMA query_only = ON")
    allotment = AllotmentIssued(
        device=DEVICE, campaign="daily-2026", epoch=1, serial=2, unit=UNIT, total=5000, ends_ms=2**42
    )
    data = sign_answer(allotment, 1, kiosk.keys.signer)
    assert not kiosk.agent.hear(kind_of(allotment), data)
    kiosk.database.connection.execute("PRAGMA query_only = OFF")
    assert kiosk.agent.hear(Down.ALLOTMENT, data)
    assert kiosk.agent.status().allotment_left == 5000


# --- power cut --------------------------------------------------------------------------------------------------------


class Snapshots:
    """Copies the database's files before every statement: what a power cut there would leave behind."""

    def __init__(self, kiosk: Kiosk, into: Path) -> None:
        self._files = [Path(f"{kiosk.database.path}{end}") for end in ("", "-wal")]
        self._into = into
        self.taken: list[Path] = []

    def take(self, statement: str = "") -> None:
        folder = self._into / f"{len(self.taken):03}"
        folder.mkdir(parents=True)
        for file in self._files:
            if file.exists():
                shutil.copy(file, folder / file.name)
        self.taken.append(folder)


def grants_in(snapshot: Path) -> int:
    """How many grants a database found after the cut holds, once it proved to be whole."""
    with Database(snapshot / f"{DEVICE}.db") as database:
        database.open()
        grants = claims.count_claims(database.connection, None)
        check_whole(database, grants)
        return grants


def test_power_cut_before_any_statement_of_a_grant_leaves_all_of_it_or_nothing(kiosk: Kiosk, tmp_path: Path) -> None:
    kiosk.show(card(kiosk.keys, member_id(1)))
    snapshots = Snapshots(kiosk, tmp_path / "cuts")
    kiosk.database.connection.set_trace_callback(snapshots.take)
    shown = len(kiosk.display.shown)
    kiosk.show(card(kiosk.keys, member_id(2)))
    kiosk.database.connection.set_trace_callback(None)
    snapshots.take()
    assert len(kiosk.display.shown) == shown + 1
    found = [grants_in(snapshot) for snapshot in snapshots.taken]
    assert len(found) > 10
    assert found == sorted(found)
    assert (found[0], found[-1]) == (1, 2)


def test_power_cut_while_visits_are_dated_leaves_whole_portions(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all()
    for number in range(1, 4):
        kiosk.show(card(kiosk.keys, member_id(number)))
    kiosk.agent.line_up()
    kiosk.tell_time()
    snapshots = Snapshots(kiosk, tmp_path / "cuts")
    kiosk.database.connection.set_trace_callback(snapshots.take)
    kiosk.agent.tick()
    kiosk.database.connection.set_trace_callback(None)
    snapshots.take()
    for snapshot in snapshots.taken:
        with Database(snapshot / f"{DEVICE}.db") as database:
            database.open()
            connection = database.connection
            dated, waiting = claims.count_claims(connection, None), claims.count_waiting_visits(connection)
            assert (dated, waiting) in {(0, 3), (3, 0)}
            assert outbox.first_broken_link(connection, DEVICE, 1) is None
    kiosk.database.close()


@pytest.mark.parametrize("method", ["without a commit", "after a rollback"])
def test_a_transaction_that_never_committed_leaves_no_trace(kiosk: Kiosk, method: str) -> None:
    kiosk.show(card(kiosk.keys, member_id(1)))
    connection = kiosk.database.connection
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE allotment SET spent = 990")
    if method == "after a rollback":
        connection.execute("ROLLBACK")
    kiosk.restart()
    check_whole(kiosk.database, 1)


def spend_and_fail(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE allotment SET spent = 990")
        raise KeyError


def test_an_exception_in_a_transaction_leaves_no_trace(kiosk: Kiosk) -> None:
    with pytest.raises(KeyError):
        spend_and_fail(kiosk.database)
    check_whole(kiosk.database, 0)
    assert not kiosk.database.connection.in_transaction


GRANTING = """
import sys
from pathlib import Path
from tests.support.entrances import Kiosk, card, member_id

kiosk = Kiosk(Path(sys.argv[1]))
kiosk.agent.link_starts()
kiosk.agent.line_up()
if kiosk.agent.status().epoch == 0:
    kiosk.learn_all(total=10**6)
kiosk.clock.trusted = True
kiosk.agent.tick()
print("ready", flush=True)
for number in range(int(sys.argv[2]), 10**6):
    screen = kiosk.show(card(kiosk.keys, member_id(number)))
    print(screen.claim, flush=True)
"""


def kill_at_random(folder: Path, begin: int, wait_for: int) -> set[str]:
    """Starts granting from this member on, kills -9 after so many screens, and returns the claims that were shown."""
    child = subprocess.Popen(
        [sys.executable, "-c", GRANTING, folder, str(begin)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        shown = [child.stdout.readline() for _ in range(wait_for)]
        child.kill()
        shown += child.stdout.readlines()
    return {line.strip() for line in shown if line.endswith("\n")}


def test_kill_9_at_any_moment_leaves_all_that_was_shown_and_a_whole_chain(tmp_path: Path) -> None:
    random, shown, grants = Random(4), set[str](), 0
    for _ in range(4):
        shown |= kill_at_random(tmp_path, grants + 1, random.randrange(1, 60))
        with Database(tmp_path / f"{DEVICE}.db") as database:
            database.open()
            stored = {row[0].hex() for row in database.connection.execute("SELECT claim FROM claim")}
            assert shown <= stored
            assert len(stored) - len(shown) <= 4  # one a kill, at most: stored, and killed before it was shown
            grants = len(stored)
            check_whole(database, grants)
            assert knowledge.life(database.connection).epoch == 1


@pytest.mark.timeout(8)  # the busy timeout is ten seconds
def test_a_reader_that_stays_does_not_make_the_door_wait(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, member_id(1)))
    log = Path(f"{kiosk.database.path}-wal")
    with kiosk.database.transaction() as connection:  # a log long enough to be worth moving
        connection.execute("INSERT INTO roster (member, balance, balance_ms) VALUES (zeroblob(5000000), 0, 0)")
    before = log.stat().st_size
    with Database(kiosk.database.path, read_only=True) as reader:
        reader.open()
        reader.connection.execute("BEGIN")
        reader.connection.execute("SELECT count(*) FROM claim").fetchone()
        kiosk.agent.tick()
        assert log.stat().st_size == before
        assert kiosk.show(card(kiosk.keys, member_id(2))).name is ScreenName.GREETING
    kiosk.agent.tick()
    assert log.stat().st_size == 0
    check_whole(kiosk.database, 2)

"""The log as SQLite wrote it: read commit by commit, and what was lost in it told from what a power cut takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.core.bounds import LOG_BYTES_MAX
from edge.db import knowledge
from edge.db.database import Database
from edge.db.log import PAGE_BYTES, LogReader, has_lost_commits
from edge.db.sums import SUMS_END, PageSums, load_sums
from edge.errors import StorageDamaged

HEADER, FRAME = 32, 24
STEP = FRAME + PAGE_BYTES


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "device.db") as opened:
        opened.open(b"d" * 16)
        opened.move_log()
        yield opened


def commit(database: Database) -> None:
    with database.transaction() as connection:
        knowledge.touch(connection)


def log_of(database: Database) -> Path:
    return Path(f"{database.path}-wal")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_each_commit_is_read_once_and_a_log_begun_anew_from_its_beginning(database: Database) -> None:
    reader = LogReader(path=log_of(database))
    assert reader.follow() == {}  # an empty file
    commit(database)
    assert len(reader.follow()) == reader.frames == 1
    assert reader.follow() == {}
    commit(database)
    assert reader.frames + len(reader.follow()) == 2
    database.move_log()
    commit(database)
    assert len(reader.follow()) == reader.frames == 1
    assert LogReader(path=Path("none")).follow() == {}


@pytest.mark.parametrize("at", [0, 8, 20, 24])
def test_a_header_that_sqlite_would_not_read_holds_no_commit(database: Database, at: int) -> None:
    commit(database)
    copy = database.path.with_name("copy-wal")
    copy.write_bytes(log_of(database).read_bytes())
    flip(copy, at)
    assert LogReader(path=copy).follow() == {}


@pytest.mark.parametrize(
    ("commits", "at", "is_lost"),
    [
        (1, HEADER + FRAME + 9, False),  # the newest commit: a power cut would look the same
        (2, HEADER + FRAME + 9, True),
        (2, HEADER + STEP + FRAME + 9, False),
        (2, HEADER + 1, True),
        (3, HEADER + 9, True),
        (1, 1, True),  # the header is on the card before the frame
        (2, 25, True),
        (2, 17, True),
    ],
)
def test_a_commit_behind_which_another_one_stands_was_kept_and_is_lost(
    database: Database, commits: int, at: int, is_lost: bool
) -> None:
    for _ in range(commits):
        commit(database)
    copy = database.path.with_name("copy-wal")
    copy.write_bytes(log_of(database).read_bytes())
    assert not has_lost_commits(copy)
    flip(copy, at)
    assert has_lost_commits(copy) is is_lost


def test_a_log_that_is_not_there_or_too_short_lost_nothing(tmp_path: Path) -> None:
    assert not has_lost_commits(tmp_path / "none")
    (tmp_path / "short").write_bytes(bytes(HEADER))
    assert not has_lost_commits(tmp_path / "short")


def test_a_log_that_rotted_while_it_was_open_is_not_moved_into_the_file(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO roster (member, balance, balance_ms) VALUES (zeroblob(?), 0, 0)", (LOG_BYTES_MAX,)
        )
    flip(log_of(database), HEADER + FRAME + 9)
    with pytest.raises(StorageDamaged, match="the log verifies up to frame 0"):
        database.checkpoint()


def test_sums_that_were_damaged_are_none_and_are_made_anew(database: Database) -> None:
    sums = Path(f"{database.path}{SUMS_END}")
    assert load_sums(sums) is not None
    flip(sums, 20)
    assert load_sums(sums) is None
    database.close()
    database.open()
    kept = load_sums(sums)
    assert kept is not None
    assert kept.bad_pages(database.path, ()) == ()


def test_a_page_has_its_old_or_its_new_sum_until_it_is_written(tmp_path: Path) -> None:
    sums = PageSums()
    sums.fresh = {2: 7}
    sums.written()
    sums.fresh = {2: 8, 3: 9}
    assert [sums.accepts(*pair) for pair in ((2, 7), (2, 8), (2, 9), (3, 9), (3, 0))] == [
        True,
        True,
        False,
        True,
        False,
    ]
    sums.save(tmp_path / "sums")
    assert load_sums(tmp_path / "sums") == sums
    sums.written()
    assert [sums.accepts(*pair) for pair in ((2, 7), (2, 8), (3, 9))] == [False, True, True]


def test_a_file_that_was_cut_off_misses_pages(database: Database) -> None:
    database.close()
    sums = load_sums(Path(f"{database.path}{SUMS_END}"))
    assert sums is not None
    pages = database.path.stat().st_size // PAGE_BYTES
    with database.path.open("r+b") as file:
        file.truncate((pages - 2) * PAGE_BYTES)
    assert sums.bad_pages(database.path, ()) == (pages - 1, pages)
    assert sums.bad_pages(database.path, (pages,)) == (pages - 1,)

"""What becomes of a cut, or of one flipped bit, in the files of a kiosk's database: `python -m tests.bench.rot`.

One database is built, with part of it in the main file and part in the log, and its files are copied as bytes for
every trial. Each trial looks with everything there is to look with, one by one and together, and then reads the
whole content: what was not found must not have changed.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final, assert_never

from edge.core.bounds import SETTLED_KEPT
from edge.db import faces, outbox
from edge.db.database import Database
from edge.db.log import LogReader, has_lost_commits
from edge.db.reading import examine
from edge.db.snapshots import Snapshots
from edge.db.sums import SUMS_END, load_sums
from edge.errors import StorageFault
from shared.answers import RosterEntry
from tests.bench.table import Row, Table
from tests.support.entrances import DEVICE, Kiosk, card, member_id

MEMORY: Final = Path("/dev/shm")
TRIALS: Final = 300
MOVED: Final = 60  # grants whose pages are in the main file
LOGGED: Final = 10  # grants that are in the log alone
LOG: Final = "-wal"
LOOK_S_MAX: Final = 0.5  # of the two seconds from the start to the first grant


class Fault(StrEnum):
    """What happens to the files."""

    CUT = "log cut at a byte"
    LOG_BIT = "bit flipped in the log"
    FILE_BIT = "bit flipped in the main file"
    SUMS_BIT = "bit flipped in the sums"


class Finding(StrEnum):
    """Who saw it, or why nobody had to."""

    QUICK = "quick_check"
    INTEGRITY = "integrity_check"
    CHAIN = "chain and claims"
    SUMS = "page sums"
    LOG = "lost commits"
    TOGETHER = "found"
    UNCHANGED = "unchanged"
    NEWEST = "newest commits"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The files of a database as bytes, and its content after every commit in the log, by the log's length then."""

    files: dict[str, bytes]
    states: dict[int, str]

    def content(self, log_bytes: int) -> str:
        """The content with every commit that lies in so many bytes of the log."""
        return self.states[max(length for length in self.states if length <= log_bytes)]


def build(folder: Path) -> Built:
    """A kiosk with claims, envelopes, an allotment, a policy, keys, a roster, denials and notes about faces."""
    kiosk = Kiosk(folder)
    kiosk.ready(total=10**6)
    kiosk.agent.line_down()
    kiosk.know(*(RosterEntry(member=member_id(number), nickname=f"member {number}") for number in range(200)))
    with kiosk.database.transaction() as connection:
        faces.keep(connection, [member_id(number) for number in range(50)])
    for number in range(MOVED):
        kiosk.show(card(kiosk.keys, member_id(number)))
    kiosk.database.move_log()
    log = Path(f"{kiosk.database.path}{LOG}")
    states = {0: content_of(kiosk.database.path)}
    for number in range(MOVED, MOVED + LOGGED):
        kiosk.show(card(kiosk.keys, member_id(number)))
        states[log.stat().st_size] = content_of(kiosk.database.path)
    files = {end: Path(f"{kiosk.database.path}{end}").read_bytes() for end in ("", LOG, SUMS_END)}
    kiosk.database.close()
    return Built(files=files, states=states)


def content_of(path: Path) -> str:
    """Every row of every table, as text. Raises: sqlite3.DatabaseError."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump())


# --- one trial --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """The files after a fault; the first `log_bytes` of the log are as they were."""

    files: dict[str, bytes]
    log_bytes: int


def damage(built: Built, fault: Fault, random: Random) -> Damaged:
    """The files after the fault."""
    length = len(built.files[LOG])
    match fault:
        case Fault.CUT:
            cut = random.randrange(length)
            return Damaged(files=built.files | {LOG: built.files[LOG][:cut]}, log_bytes=cut)
        case Fault.LOG_BIT:
            at = random.randrange(length)
            return Damaged(files=built.files | {LOG: _flipped(built.files[LOG], at, random)}, log_bytes=at)
        case Fault.FILE_BIT:
            end = ""
        case Fault.SUMS_BIT:
            end = SUMS_END
        case _:
            assert_never(fault)
    whole = built.files[end]
    return Damaged(files=built.files | {end: _flipped(whole, random.randrange(len(whole)), random)}, log_bytes=length)


def _flipped(data: bytes, at: int, random: Random) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def look(path: Path, built: Built, log_bytes: int) -> frozenset[Finding]:
    """Who sees anything, and what became of the content."""
    found = {finding for finding, sees in _CHECKS.items() if sees(path)}
    if not examine(path).is_sound:
        return frozenset({*found, Finding.TOGETHER})
    content = content_of(path)
    if content == built.content(len(built.files[LOG])):
        return frozenset({*found, Finding.UNCHANGED})
    return frozenset({*found, Finding.NEWEST if content == built.content(log_bytes) else Finding.SILENT})


def _pragma(path: Path, name: str) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return [row[0] for row in connection.execute(f"PRAGMA {name}")] != ["ok"]
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return True


def _chain_breaks(path: Path) -> bool:
    try:
        with Database(path, read_only=True) as database:
            database.open()
            link = outbox.first_broken_link(database.connection, DEVICE, 1)
            return link is not None or outbox.first_claim_altered(database.connection) is not None
    except (sqlite3.DatabaseError, StorageFault, UnicodeDecodeError):
        return True


def _sums_differ(path: Path) -> bool:
    log = LogReader(path=Path(f"{path}{LOG}"))
    log.follow()
    sums = load_sums(Path(f"{path}{SUMS_END}"))
    return sums is None or bool(sums.bad_pages(path, log.sums))


_CHECKS: Final[dict[Finding, Callable[[Path], bool]]] = {
    Finding.QUICK: lambda path: _pragma(path, "quick_check"),
    Finding.INTEGRITY: lambda path: _pragma(path, "integrity_check"),
    Finding.CHAIN: _chain_breaks,
    Finding.SUMS: _sums_differ,
    Finding.LOG: lambda path: has_lost_commits(Path(f"{path}{LOG}")),
}


# --- all of them ------------------------------------------------------------------------------------------------------


def run(fault: Fault, count: int, built: Built, folder: Path, seed: int = 1) -> Counter[Finding]:
    """How often each finding, in so many trials."""
    random, found = Random(f"{seed} {fault}"), Counter[Finding]()
    path = folder / "trial.db"
    for _ in range(count):
        for old in folder.iterdir():
            old.unlink()
        damaged = damage(built, fault, random)
        for end, data in damaged.files.items():
            Path(f"{path}{end}").write_bytes(data)
        found.update(look(path, built, damaged.log_bytes))
    return found


def results(count: int, faults: tuple[Fault, ...] = tuple(Fault)) -> dict[Fault, Counter[Finding]]:
    """All findings, on a memory file system where there is one."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        place, trial = Path(name) / "built", Path(name) / "trial"
        place.mkdir()
        trial.mkdir()
        built = build(place)
        return {fault: run(fault, count, built, trial) for fault in faults}


def table(count: int, found: dict[Fault, Counter[Finding]]) -> Table:
    """Findings beside their bar: nothing silent."""
    rows = tuple(
        Row(
            cells=(fault, *(str(counts[finding]) for finding in Finding)),
            bar="silent = 0",
            missed=counts[Finding.SILENT] != 0,
        )
        for fault, counts in found.items()
    )
    return Table(
        title="One fault in the files of a kiosk's database",
        headers=(f"{count} trials each", *(finding.value for finding in Finding)),
        rows=rows,
        notes=(
            "found: by all that the agent's start looks with. The first five columns: each alone.",
            "unchanged: not found, and every row of every table is as it was.",
            "newest commits: exactly those before the fault are there, as after a power loss; nobody can tell.",
        ),
    )


# --- what looking costs -----------------------------------------------------------------------------------------------


def costs(grants: int) -> Table:
    """What a start, a move of the log and a copy cost with as many envelopes as a kiosk keeps."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        kiosk = Kiosk(Path(name))
        kiosk.ready(total=10**9)
        kiosk.agent.line_down()
        for number in range(grants):
            kiosk.agent.see_codes((card(kiosk.keys, member_id(number)),), number * 10**10)
            kiosk.database.checkpoint()
        moved_s = _seconds(kiosk.database.move_log)
        pages_s = _seconds(kiosk.database.check_pages)
        copied_s = _seconds(lambda: Snapshots(Path(name) / "copies").take(kiosk.database.path, 1))
        kiosk.database.close()
        looked_s = _seconds(lambda: examine(kiosk.database.path))
        size_mb = kiosk.database.path.stat().st_size / 1e6
    rows = (
        Row(
            cells=("look at everything, as each start does", f"{looked_s:.2f}"),
            bar=f"<= {LOOK_S_MAX}",
            missed=looked_s > LOOK_S_MAX,
        ),
        Row(cells=("  sums of all pages alone", f"{pages_s:.3f}")),
        Row(cells=("move what is left of the log", f"{moved_s:.3f}")),
        Row(cells=("copy, and look at the copy", f"{copied_s:.2f}")),
    )
    return Table(
        title="What looking costs a kiosk",
        headers=("what", "s"),
        rows=rows,
        notes=(f"{grants:,} grants, {size_mb:.0f} MB on a memory file system, by the clock.",),
    )


def _seconds(run: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    run()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    print(table(TRIALS, results(TRIALS)), costs(SETTLED_KEPT), sep="\n\n")

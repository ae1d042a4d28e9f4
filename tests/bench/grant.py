"""What one grant costs: CPU from codes in view to the screen after the commit, and how often the log is synced.

`python -m tests.bench.grant`. CPU is the thread's own time over a memory file system, so that neither the disk nor
the neighbours count; it holds the whole path of `see_codes`: parse, verify, decide, sign, chain, commit, show. Syncs
are counted by strace in a child that does nothing but grant: they are what reaches the kernel, whoever asked for them.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edge.core.credential import Admitted, CredentialFacts, judge_credential
from edge.core.screen import ScreenName
from shared.business_day import ClockReading, ClockTrust
from shared.tokens import TokenFault, parse_token
from tests.bench.table import Row, Table
from tests.support.entrances import NOON, Keys, Kiosk, Phone, card, member_id

MEMORY: Final = Path("/dev/shm")
GRANTS: Final = 2000
WARM_UP: Final = 100
CPU_MS_MAX: Final = 0.5
SYNCED_GRANTS: Final = 200
_SYNC: Final = re.compile(r"\bf(?:data)?sync\(\d+<(?P<path>[^>]+)>\)\s+= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """CPU of many runs of one thing, in milliseconds."""

    median_ms: float
    p99_ms: float


def spread(run: Callable[[int], object], count: int) -> Spread:
    """The thread's CPU time of `run(0)` to `run(count - 1)`, each on its own."""
    spent_ns = []
    for number in range(count):
        began_ns = time.thread_time_ns()
        run(number)
        spent_ns.append(time.thread_time_ns() - began_ns)
    spent_ns.sort()
    return Spread(median_ms=spent_ns[count // 2] / 1e6, p99_ms=spent_ns[count * 99 // 100] / 1e6)


# --- CPU --------------------------------------------------------------------------------------------------------------


def grants(folder: Path, shows: Callable[[Kiosk, int], str], count: int, *, online: bool) -> Spread:
    """CPU of so many grants, each to another member; `shows` is what a member holds up at the kiosk."""
    kiosk = Kiosk(folder)
    try:
        kiosk.ready(total=10**9)
        if not online:
            kiosk.agent.line_down()
        texts = [shows(kiosk, number) for number in range(1, WARM_UP + count + 1)]

        def grant(number: int) -> None:
            kiosk.agent.see_codes((texts[number],), number * 10**10)

        for number in range(WARM_UP):
            grant(number)
        result = spread(lambda number: grant(WARM_UP + number), count)
        assert kiosk.agent.status().claims_total == WARM_UP + count, "not every member was granted"
        assert kiosk.display.last.name is ScreenName.GREETING
        return result
    finally:
        kiosk.database.close()


def show_card(kiosk: Kiosk, number: int) -> str:
    """The card of a member."""
    return card(kiosk.keys, member_id(number))


def show_phone(kiosk: Kiosk, number: int) -> str:
    """The code on a member's phone."""
    return Phone(kiosk.keys, member_id(number)).show(kiosk.clock.instant)


def verifying(texts: Sequence[str], keys: Keys) -> Spread:
    """CPU of what tells whose credential it is, before anything is decided: parse, verify, judge."""
    issuers = {1: keys.issuer.public_key()}
    reading = ClockReading(instant=NOON, trust=ClockTrust.SYNCED)

    def verify(number: int) -> None:
        token = parse_token(texts[number])
        assert not isinstance(token, TokenFault)
        assert isinstance(judge_credential(token, issuers, CredentialFacts(), reading), Admitted)

    return spread(verify, len(texts))


# --- syncs ------------------------------------------------------------------------------------------------------------


def why_uncounted() -> str | None:
    """What keeps syncs from being counted here, or None."""
    if shutil.which("strace") is None:
        return "syncs were not counted: strace is not installed"
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "syncs were not counted: this machine does not let strace look"


def count_syncs(folder: Path, count: int) -> Counter[str]:
    """Syncs by file name while a child makes so many grants between two checkpoints."""
    trace = folder / "trace"
    command = [sys.executable, "-m", "tests.bench.grant", "--granting", str(folder), str(count)]
    subprocess.run(["strace", "-f", "-y", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace, *command], check=True)
    names = [Path(found["path"]).name for found in _SYNC.finditer(trace.read_text())]
    begin, end = names.index("begin"), names.index("end")
    return Counter(names[begin + 1 : end])


def _grant_between_marks(folder: Path, count: int) -> None:
    """The child: makes itself ready, and marks begin and end of the grants with syncs of files of these names."""
    kiosk = Kiosk(folder)
    kiosk.ready(total=10**9)
    texts = [show_card(kiosk, number) for number in range(1, count + 1)]
    kiosk.database.checkpoint()
    _mark(folder / "begin")
    for number, text in enumerate(texts):
        kiosk.agent.see_codes((text,), number * 10**10)
    _mark(folder / "end")
    assert kiosk.agent.status().claims_total == count
    kiosk.database.close()


def _mark(path: Path) -> None:
    with path.open("wb") as file:
        os.fsync(file.fileno())


# --- the table --------------------------------------------------------------------------------------------------------


def table() -> Table:
    """CPU and syncs of a grant beside their bars."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        places = [Path(folder) / name for name in ("down", "up", "phones", "syncs")]
        for place in places:
            place.mkdir()
        keys = Keys()
        cards = [card(keys, member_id(number)) for number in range(GRANTS)]
        phones = [Phone(keys, member_id(number)).show(NOON) for number in range(GRANTS)]
        rows = (
            _row("grant by card", grants(places[0], show_card, GRANTS, online=False), f"median <= {CPU_MS_MAX}"),
            _row("  of it, verifying the card", verifying(cards, keys)),
            _row("grant by card, sent at once", grants(places[1], show_card, GRANTS, online=True)),
            _row("grant by phone", grants(places[2], show_phone, GRANTS, online=False)),
            _row("  of it, verifying the phone", verifying(phones, keys)),
        )
        uncounted = why_uncounted()
        synced = () if uncounted else _sync_rows(count_syncs(places[3], SYNCED_GRANTS))
    notes = [f"{GRANTS} grants each on a memory file system; thread CPU time, milliseconds."]
    return Table(
        title="One grant: decide, sign, chain, commit",
        headers=("what", "median", "p99"),
        rows=(*rows, *synced),
        notes=tuple(notes if uncounted is None else [*notes, uncounted]),
    )


def _row(what: str, result: Spread, bar: str = "") -> Row:
    missed = bool(bar) and result.median_ms > CPU_MS_MAX
    return Row(cells=(what, f"{result.median_ms:.3f}", f"{result.p99_ms:.3f}"), bar=bar, missed=missed)


def _sync_rows(counts: Counter[str]) -> tuple[Row, ...]:
    log = sum(count for name, count in counts.items() if name.endswith("-wal"))
    others = counts.total() - log
    return (
        Row(
            cells=(f"syncs of the log in {SYNCED_GRANTS} grants", str(log), ""),
            bar=f"= {SYNCED_GRANTS}",
            missed=log != SYNCED_GRANTS,
        ),
        Row(cells=("syncs of anything else", str(others), ""), bar="= 0", missed=others != 0),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--granting"]:
        _grant_between_marks(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(table())

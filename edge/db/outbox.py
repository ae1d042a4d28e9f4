"""The envelopes this device wrote: appended with their chain, read for sending, settled by receipts."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from edge.core.bounds import SETTLED_KEPT
from shared.answers import Outcome, Verdict
from shared.envelope import (
    ClaimMade,
    Envelope,
    EnvelopeFault,
    Fact,
    chain_digest,
    genesis,
    payload_digest,
    read_fact,
    read_header,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """The newest envelope of an epoch: its number (0: none) and the digest the next one names."""

    seq: int
    chain: bytes


def head_of(connection: sqlite3.Connection, device: str, epoch: int) -> ChainHead:
    """The head of the epoch's chain."""
    row = connection.execute(
        "SELECT seq, chain FROM outbox WHERE epoch = ? ORDER BY seq DESC LIMIT 1", (epoch,)
    ).fetchone()
    if row is None:
        return ChainHead(seq=0, chain=genesis(device, epoch))
    return ChainHead(seq=row["seq"], chain=row["chain"])


def append(connection: sqlite3.Connection, epoch: int, seq: int, envelope: Envelope, written_ms: int | None) -> None:
    """Adds the envelope as the epoch's newest."""
    connection.execute(
        "INSERT INTO outbox (epoch, seq, header, signature, salt, payload, chain, written_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            epoch,
            seq,
            envelope.header,
            envelope.signature,
            envelope.salt,
            envelope.payload,
            chain_digest(envelope.header),
            written_ms,
        ),
    )


def read_envelopes(connection: sqlite3.Connection, epoch: int, numbers: Sequence[int]) -> tuple[Envelope, ...]:
    """The envelopes with these numbers, as many as are still kept, in order."""
    if not numbers:
        return ()
    wanted = frozenset(numbers)
    rows = connection.execute(
        "SELECT seq, header, signature, salt, payload FROM outbox WHERE epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (epoch, min(numbers), max(numbers)),
    )
    return tuple(
        Envelope(header=row["header"], signature=row["signature"], salt=row["salt"], payload=row["payload"])
        for row in rows
        if row["seq"] in wanted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """Where the epoch's outbox stands: all up to `settled` are settled, `ahead` beyond it, `head` is the newest."""

    settled: int
    ahead: frozenset[int]
    head: int


def unsettled(connection: sqlite3.Connection, epoch: int) -> Unsettled:
    """Where the outbox stands, read once at start."""
    head = connection.execute("SELECT coalesce(max(seq), 0) FROM outbox WHERE epoch = ?", (epoch,)).fetchone()[0]
    first = connection.execute("SELECT min(seq) FROM outbox WHERE epoch = ? AND settled = 0", (epoch,)).fetchone()[0]
    if first is None:
        return Unsettled(settled=head, ahead=frozenset(), head=head)
    ahead = connection.execute(
        "SELECT seq FROM outbox WHERE epoch = ? AND seq > ? AND settled = 1", (epoch, first)
    ).fetchall()
    return Unsettled(settled=first - 1, ahead=frozenset(row[0] for row in ahead), head=head)


def chain_at(connection: sqlite3.Connection, epoch: int, seq: int) -> bytes | None:
    """The chain digest at a number, or None when that envelope is not here."""
    row = connection.execute("SELECT chain FROM outbox WHERE epoch = ? AND seq = ?", (epoch, seq)).fetchone()
    return None if row is None else bytes(row[0])


def settle(connection: sqlite3.Connection, epoch: int, contiguous: int, verdicts: Sequence[Verdict]) -> int:
    """Marks what the receipt settles and records each verdict with its claim; returns how many envelopes settled.

    Quarantine is not the last word: a person decides later, and a receipt from before that, late, changes nothing.
    """
    settled = connection.execute(
        "UPDATE outbox SET settled = 1 WHERE epoch = ? AND seq <= ? AND settled = 0", (epoch, contiguous)
    ).rowcount
    settled += connection.executemany(
        "UPDATE outbox SET settled = 1 WHERE epoch = ? AND seq = ? AND settled = 0",
        [(epoch, verdict.seq) for verdict in verdicts if verdict.seq > contiguous],
    ).rowcount
    connection.executemany(
        "UPDATE claim SET outcome = ?, reason = ? WHERE epoch = ? AND seq = ? AND (outcome IS NULL OR ?)",
        [
            (verdict.outcome, verdict.reason, epoch, verdict.seq, verdict.outcome is not Outcome.QUARANTINED)
            for verdict in verdicts
        ],
    )
    return settled


def prune(connection: sqlite3.Connection, epoch: int, before_day: str, before_ms: int = 0) -> int:
    """Drops settled envelopes beyond the newest SETTLED_KEPT or written before `before_ms`; returns how many.

    Their claims of days before `before_day` go with them.

    The head always stays, so does everything from the first unsettled on, and so does everything from the first claim
    of `before_day` or later on: it is what refuses the second grant. What stays is one unbroken piece of the chain,
    and an anchor says where it begins.
    """
    head = connection.execute("SELECT coalesce(max(seq), 0) FROM outbox WHERE epoch = ?", (epoch,)).fetchone()[0]
    young = connection.execute(
        "SELECT coalesce(min(seq), ?) FROM outbox WHERE epoch = ? AND (written_ms IS NULL OR written_ms >= ?)",
        (head, epoch, before_ms),
    ).fetchone()[0]
    keep_from = min(head, max(young, head - SETTLED_KEPT + 1), first_needed(connection, epoch, before_day))
    return _drop_before(connection, epoch, keep_from)


def prune_older_lives(connection: sqlite3.Connection, epoch: int, before_day: str) -> int:
    """Drops what is settled and old of every epoch before this one, to the last envelope; returns how many."""
    dropped = 0
    for older in epochs(connection):
        if older < epoch:
            dropped += _drop_before(connection, older, first_needed(connection, older, before_day))
    return dropped


def first_needed(connection: sqlite3.Connection, epoch: int, before_day: str) -> int:
    """The first number that is not settled or holds a claim of the day or later; beyond the head when there is none."""
    head: int = connection.execute("SELECT coalesce(max(seq), 0) FROM outbox WHERE epoch = ?", (epoch,)).fetchone()[0]
    unsettled_first, claim_first = (
        connection.execute("SELECT min(seq) FROM outbox WHERE epoch = ? AND settled = 0", (epoch,)).fetchone()[0],
        connection.execute(
            "SELECT min(seq) FROM claim WHERE epoch = ? AND business_day >= ?", (epoch, before_day)
        ).fetchone()[0],
    )
    return min(seq for seq in (head + 1, unsettled_first, claim_first) if seq is not None)


def _drop_before(connection: sqlite3.Connection, epoch: int, keep_from: int) -> int:
    connection.execute(
        "INSERT OR REPLACE INTO outbox_anchor (epoch, seq, chain) SELECT epoch, seq, chain FROM outbox"
        " WHERE epoch = ? AND seq = ?",
        (epoch, keep_from - 1),
    )
    connection.execute("DELETE FROM claim WHERE epoch = ? AND seq < ?", (epoch, keep_from))
    dropped: int = connection.execute("DELETE FROM outbox WHERE epoch = ? AND seq < ?", (epoch, keep_from)).rowcount
    return dropped


def epochs(connection: sqlite3.Connection) -> tuple[int, ...]:
    """The epochs of which envelopes are kept, in order."""
    return tuple(row[0] for row in connection.execute("SELECT DISTINCT epoch FROM outbox ORDER BY epoch"))


def leftovers(connection: sqlite3.Connection, epoch: int, limit: int) -> tuple[Envelope, ...]:
    """So many unsettled envelopes of epochs before this one, oldest first: from before the device was set back."""
    rows = connection.execute(
        "SELECT header, signature, salt, payload FROM outbox WHERE settled = 0 AND epoch != ?"
        " ORDER BY epoch, seq LIMIT ?",
        (epoch, limit),
    )
    return tuple(
        Envelope(header=row["header"], signature=row["signature"], salt=row["salt"], payload=row["payload"])
        for row in rows
    )


def count_leftovers(connection: sqlite3.Connection, epoch: int) -> int:
    """Unsettled envelopes of epochs other than this one."""
    count: int = connection.execute(
        "SELECT count(*) FROM outbox WHERE settled = 0 AND epoch != ?", (epoch,)
    ).fetchone()[0]
    return count


def first_broken_link(connection: sqlite3.Connection, device: str, epoch: int) -> int | None:
    """The first number whose envelope is missing, altered or not linked to the one before, or None.

    What `integrity_check` cannot see (it missed 276 of 300 flipped bits) breaks this chain.
    """
    rows = connection.execute(
        "SELECT seq, header, salt, payload, chain FROM outbox WHERE epoch = ? ORDER BY seq", (epoch,)
    )
    anchor = connection.execute("SELECT seq, chain FROM outbox_anchor WHERE epoch = ?", (epoch,)).fetchone()
    expected: tuple[int, bytes] | None = None if anchor is None else (anchor["seq"] + 1, anchor["chain"])
    for row in rows:
        header = read_header(row["header"])
        if isinstance(header, EnvelopeFault):
            return int(row["seq"])
        if expected is None:  # salvaged from a damaged file, or pruned by a release that left no anchor
            expected = (row["seq"], genesis(device, epoch) if row["seq"] == 1 else header.previous)
        if (row["seq"], header.previous) != expected or header.seq != row["seq"]:
            return expected[0]
        if row["payload"] is not None and payload_digest(row["salt"] or b"", row["payload"]) != header.digest:
            return int(row["seq"])
        if chain_digest(row["header"]) != row["chain"]:
            return int(row["seq"])
        expected = (row["seq"] + 1, row["chain"])
    return None


def first_claim_altered(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Epoch and number of the first claim that does not say what its envelope says, or None.

    A claim has no digest of its own: the signed envelope holds all of it, unless its payload was erased.
    """
    rows = connection.execute(
        "SELECT epoch, seq, claim, member, business_day, campaign, unit, amount, reduced, means, header, payload"
        " FROM claim LEFT JOIN outbox USING (epoch, seq) ORDER BY epoch, seq"
    )
    for row in rows:
        if row["header"] is None or (row["payload"] is not None and not _says(read_fact(row["payload"]), row)):
            return row["epoch"], row["seq"]
    return None


def _says(fact: Fact | None, row: sqlite3.Row) -> bool:
    columns = ("claim", "member", "business_day", "campaign", "unit", "amount", "reduced", "means")
    return isinstance(fact, ClaimMade) and all(getattr(fact, column) == row[column] for column in columns)


def count_waiting(connection: sqlite3.Connection) -> int:
    """Envelopes of any epoch that no receipt has settled."""
    count: int = connection.execute("SELECT count(*) FROM outbox WHERE settled = 0").fetchone()[0]
    return count


def oldest_waiting_ms(connection: sqlite3.Connection) -> int | None:
    """When the oldest unsettled envelope was written, None when there is none or its time is unknown."""
    row = connection.execute("SELECT written_ms FROM outbox WHERE settled = 0 ORDER BY epoch, seq LIMIT 1").fetchone()
    return None if row is None else row[0]


def count_rejected(connection: sqlite3.Connection) -> int:
    """Claims the cloud rejected or put aside: final, and for staff to see."""
    count: int = connection.execute(
        "SELECT count(*) FROM claim WHERE outcome IN (?, ?)", (Outcome.REJECTED, Outcome.QUARANTINED)
    ).fetchone()[0]
    return count

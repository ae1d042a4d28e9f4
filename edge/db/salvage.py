"""Envelopes out of a damaged file: each is signed and chained, so what can still be read of them can be trusted.

What was granted after the last snapshot is in the damaged file alone, unless the cloud has it already. Of each epoch
the envelopes that follow what the restored database holds are taken over, up to the first that does not verify, with
their claims: these refuse a second grant on the same day. Visits that waited for the time are not: their boot is over.
"""

import logging
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.core.bounds import SETTLED_KEPT
from edge.db import outbox
from shared.envelope import ClaimMade, Envelope, Opened, TemplateEnrolled, open_envelope

log = logging.getLogger(__name__)

_UNREADABLE: Final = (sqlite3.DatabaseError, UnicodeDecodeError)


def salvage(damaged: Path, into: sqlite3.Connection, device: str, key: Ed25519PublicKey) -> int:
    """Takes over what verifies, inside the caller's transaction; returns how many envelopes."""
    taken = 0
    try:
        with closing(sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.row_factory = sqlite3.Row
            for epoch in outbox.epochs(source):
                taken += _salvage_epoch(source, into, device, key, epoch)
    except _UNREADABLE as error:
        log.warning("the damaged file could not be read to its end", extra={"reason": str(error)})
    return taken


def _salvage_epoch(
    source: sqlite3.Connection, into: sqlite3.Connection, device: str, key: Ed25519PublicKey, epoch: int
) -> int:
    taken = 0
    head = outbox.head_of(into, device, epoch)
    previous, begin = (head.chain, head.seq + 1) if head.seq else (None, _first_worth(source, epoch))
    rows = source.execute(
        "SELECT seq, header, signature, salt, payload, written_ms FROM outbox WHERE epoch = ? AND seq >= ?"
        " ORDER BY seq LIMIT ?",
        (epoch, begin, SETTLED_KEPT),
    )
    try:
        for seq, row in enumerate(rows, start=begin):
            envelope = Envelope(
                header=row["header"], signature=row["signature"], salt=row["salt"], payload=row["payload"]
            )
            opened = open_envelope(envelope, device, key)
            if not isinstance(opened, Opened) or (opened.header.epoch, opened.header.seq) != (epoch, seq):
                break
            if previous is not None and opened.header.previous != previous:
                break
            _keep(into, epoch, envelope, opened, row["written_ms"])
            previous, taken = opened.chain, taken + 1
    except (*_UNREADABLE, TypeError) as error:  # a column of another type than it had
        log.warning("an epoch could not be read to its end", extra={"epoch": epoch, "reason": str(error)})
    return taken


def _first_worth(source: sqlite3.Connection, epoch: int) -> int:
    """Where to begin with an epoch that the restored database lacks: two days back, or at what is unsettled."""
    newest: str | None = source.execute("SELECT max(business_day) FROM claim").fetchone()[0]
    try:
        day = date.max if newest is None else date.fromisoformat(newest) - timedelta(days=1)
    except ValueError:
        day = date.min
    return outbox.first_needed(source, epoch, day.isoformat())


def _keep(into: sqlite3.Connection, epoch: int, envelope: Envelope, opened: Opened, written_ms: int | None) -> None:
    """Unsettled, whatever the damaged file said: the cloud answers what it has with the verdict of before."""
    fact, header = opened.fact, opened.header
    if isinstance(fact, TemplateEnrolled):  # the member is learnt again: no face comes back out of a damaged file
        envelope = Envelope(header=envelope.header, signature=envelope.signature, salt=None, payload=None)
    outbox.append(into, epoch, header.seq, envelope, written_ms)
    if isinstance(fact, ClaimMade):
        into.execute(
            "INSERT OR IGNORE INTO claim"
            " (claim, member, business_day, campaign, unit, amount, reduced, means, granted_ms, epoch, seq)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                fact.claim,
                fact.member,
                fact.business_day,
                fact.campaign,
                fact.unit,
                fact.amount,
                fact.reduced,
                fact.means,
                header.wall_ms or 0,
                epoch,
                header.seq,
            ),
        )

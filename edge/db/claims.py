"""Claims, visits, allotments and credential steps: read into a standing, written as one grant."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from edge.core.bounds import PHONE_STEPS_MAX, VISITS_KEPT
from edge.core.credential import CredentialFacts
from edge.core.reward import Allotment, Grant
from shared.answers import AllotmentIssued
from shared.business_day import instant_of
from shared.ids import ClaimId, MemberId
from shared.points import Points
from shared.policy import Means


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedVisit:
    """A visit that waits to be dated."""

    id: int
    member: MemberId
    monotonic_ns: int
    means: Means
    evidence: bytes
    step: int | None
    serial: int | None
    seq: int


def credential_facts(connection: sqlite3.Connection, member: MemberId) -> CredentialFacts:
    """What is known against the member's credentials."""
    denied = connection.execute("SELECT serial_floor, phones FROM denied WHERE member = ?", (member,)).fetchone()
    step = connection.execute("SELECT step FROM phone_step WHERE member = ?", (member,)).fetchone()
    return CredentialFacts(
        serial_floor=0 if denied is None else denied["serial_floor"],
        phones_denied=denied is not None and bool(denied["phones"]),
        last_step=None if step is None else step["step"],
    )


def collected(connection: sqlite3.Connection, claim: ClaimId) -> Points | None:
    """What was granted under this claim id, or None."""
    row = connection.execute("SELECT amount, unit FROM claim WHERE claim = ?", (claim,)).fetchone()
    return None if row is None else Points(amount=row["amount"], unit=row["unit"])


def allotment_of(connection: sqlite3.Connection, campaign: str, epoch: int) -> Allotment | None:
    """What may still be granted of the campaign in the epoch."""
    row = connection.execute(
        "SELECT serial, total - spent AS remaining, ends_ms FROM allotment WHERE campaign = ? AND epoch = ?",
        (campaign, epoch),
    ).fetchone()
    if row is None:
        return None
    return Allotment(serial=row["serial"], left=row["remaining"], ends=instant_of(row["ends_ms"]))


def save_allotment(connection: sqlite3.Connection, issued: AllotmentIssued) -> bool:
    """Takes the issued total over unless a later one is held; True when it was taken.

    A total below what is already spent leaves the allotment exhausted: what was shown stays granted.
    """
    return (
        connection.execute(
            "INSERT INTO allotment (campaign, epoch, serial, unit, total, ends_ms) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (campaign, epoch) DO UPDATE SET serial = excluded.serial,"
            " total = max(excluded.total, spent), ends_ms = excluded.ends_ms WHERE excluded.serial > serial",
            (issued.campaign, issued.epoch, issued.serial, issued.unit, issued.total, issued.ends_ms),
        ).rowcount
        > 0
    )


def save_grant(
    connection: sqlite3.Connection, grant: Grant, campaign: str, means: Means, granted_ms: int, epoch: int, seq: int
) -> None:
    """Writes the claim and draws its points from the allotment.

    The primary key refuses a second claim and the CHECK an overdraft: both would be bugs of the caller, who decided
    inside the same transaction.
    """
    connection.execute(
        "INSERT INTO claim"
        " (claim, member, business_day, campaign, unit, amount, reduced, means, granted_ms, epoch, seq)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            grant.claim,
            grant.member,
            grant.business_day.isoformat(),
            campaign,
            grant.points.unit,
            grant.points.amount,
            grant.reduced,
            means,
            granted_ms,
            epoch,
            seq,
        ),
    )
    drawn = connection.execute(
        "UPDATE allotment SET spent = spent + ? WHERE campaign = ? AND epoch = ?",
        (grant.points.amount, campaign, epoch),
    ).rowcount
    assert drawn == 1


def save_step(connection: sqlite3.Connection, member: MemberId, step: int) -> None:
    """Remembers the step last accepted from the member's phone; that it is a newer one was judged before."""
    connection.execute("INSERT OR REPLACE INTO phone_step (member, step) VALUES (?, ?)", (member, step))


def save_visit(
    connection: sqlite3.Connection,
    *,
    member: MemberId,
    boot: str,
    monotonic_ns: int,
    means: Means,
    evidence: bytes,
    step: int | None,
    serial: int | None,
    epoch: int,
    seq: int,
) -> None:
    """Notes a visit whose time is not known yet."""
    connection.execute(
        "INSERT INTO visit (member, boot, monotonic_ns, means, evidence, step, serial, epoch, seq)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (member, boot, monotonic_ns, means, evidence, step, serial, epoch, seq),
    )


def last_noted_ns(connection: sqlite3.Connection, boot: str, member: MemberId) -> int | None:
    """The uptime of the member's last visit that still waits in this boot, or None."""
    row = connection.execute(
        "SELECT max(monotonic_ns) FROM visit WHERE boot = ? AND member = ? AND became = 'waiting'", (boot, member)
    ).fetchone()
    return None if row[0] is None else int(row[0])


def waiting_visits(connection: sqlite3.Connection, boot: str, limit: int) -> Sequence[NotedVisit]:
    """Visits of this boot that wait to be dated, oldest first."""
    rows = connection.execute(
        "SELECT id, member, monotonic_ns, means, evidence, step, serial, seq FROM visit"
        " WHERE became = 'waiting' AND boot = ? ORDER BY id LIMIT ?",
        (boot, limit),
    )
    return [
        NotedVisit(
            id=row["id"],
            member=MemberId(row["member"]),
            monotonic_ns=row["monotonic_ns"],
            means=Means(row["means"]),
            evidence=row["evidence"],
            step=row["step"],
            serial=row["serial"],
            seq=row["seq"],
        )
        for row in rows
    ]


def close_visit(connection: sqlite3.Connection, visit: int, became: str, reason: str | None) -> None:
    """Records what became of a visit."""
    connection.execute("UPDATE visit SET became = ?, reason = ? WHERE id = ?", (became, reason, visit))


def count_claims(connection: sqlite3.Connection, business_day: str | None) -> int:
    """Claims of the day, or of all days kept."""
    where, values = ("", ()) if business_day is None else (" WHERE business_day = ?", (business_day,))
    count: int = connection.execute(f"SELECT count(*) FROM claim{where}", values).fetchone()[0]  # noqa: S608
    return count


def count_waiting_visits(connection: sqlite3.Connection) -> int:
    """Visits that are not dated."""
    count: int = connection.execute("SELECT count(*) FROM visit WHERE became = 'waiting'").fetchone()[0]
    return count


def unconfirmed_points(connection: sqlite3.Connection, member: MemberId) -> int:
    """Points granted here that the cloud does not have yet: added to the balance on the screen.

    A claim whose verdict was lost on the way is settled by a later receipt all the same, and counted by the cloud.
    """
    total: int = connection.execute(
        "SELECT coalesce(sum(amount), 0) FROM claim JOIN outbox USING (epoch, seq)"
        " WHERE member = ? AND outcome IS NULL AND settled = 0",
        (member,),
    ).fetchone()[0]
    return total


def prune_visits(connection: sqlite3.Connection, boot: str) -> int:
    """Drops visits beyond the newest VISITS_KEPT or without their envelope, except those that can still be dated;
    returns how many."""
    return connection.execute(
        "DELETE FROM visit WHERE NOT (became = 'waiting' AND boot = ?) AND (id <= (SELECT max(id) FROM visit) - ?"
        " OR NOT EXISTS (SELECT 1 FROM outbox o WHERE (o.epoch, o.seq) = (visit.epoch, visit.seq)))",
        (boot, VISITS_KEPT),
    ).rowcount


def prune_steps(connection: sqlite3.Connection) -> int:
    """Drops the oldest phone steps beyond PHONE_STEPS_MAX; returns how many."""
    return connection.execute(
        "DELETE FROM phone_step WHERE step <= (SELECT step FROM phone_step ORDER BY step DESC LIMIT 1 OFFSET ?)",
        (PHONE_STEPS_MAX,),
    ).rowcount


def prune_allotments(connection: sqlite3.Connection, epoch: int) -> int:
    """Drops the allotments of lives before this one; returns how many."""
    return connection.execute("DELETE FROM allotment WHERE epoch < ?", (epoch,)).rowcount

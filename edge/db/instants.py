"""Coupons that were shown or deferred here, and the rights to coupons that were given away here."""

import sqlite3
from dataclasses import dataclass

from shared.ids import ClaimId, DeviceId
from shared.instants import Deferral, InstantOutcome

RIGHT_DAYS_KEPT = 3
"""Days whose rights are kept: a claim is asked about on its own business day, and clocks differ by hours at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """What became of a coupon. `code` is its text when it was shown, `why` the reason when it was deferred."""

    series: str
    label: str
    outcome: InstantOutcome
    why: Deferral | None
    code: str | None


def instant_of(connection: sqlite3.Connection, claim: ClaimId) -> Instant | None:
    """What became of the claim's coupon here, or None."""
    row = connection.execute(
        "SELECT series, label, outcome, why, code FROM instant WHERE claim = ?", (claim,)
    ).fetchone()
    if row is None:
        return None
    return Instant(
        series=row["series"],
        label=row["label"],
        outcome=InstantOutcome(row["outcome"]),
        why=None if row["why"] is None else Deferral(row["why"]),
        code=row["code"],
    )


def count_shown(connection: sqlite3.Connection, epoch: int, business_day: str) -> int:
    """How many coupons were shown here in the epoch on that day."""
    count: int = connection.execute(
        "SELECT count(*) FROM instant WHERE epoch = ? AND business_day = ? AND outcome = 'shown'", (epoch, business_day)
    ).fetchone()[0]
    return count


def save_instant(
    connection: sqlite3.Connection, claim: ClaimId, instant: Instant, epoch: int, business_day: str
) -> None:
    """Writes what becomes of the claim's coupon; a second time is an error."""
    connection.execute(
        "INSERT INTO instant (claim, epoch, business_day, series, label, outcome, why, code)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (claim, epoch, business_day, instant.series, instant.label, instant.outcome, instant.why, instant.code),
    )


def right_to(connection: sqlite3.Connection, claim: ClaimId) -> DeviceId | None:
    """Whose the claim's coupon is by this kiosk's word, or None."""
    row = connection.execute("SELECT device FROM coupon_right WHERE claim = ?", (claim,)).fetchone()
    return None if row is None else DeviceId(row["device"])


def give_right(connection: sqlite3.Connection, claim: ClaimId, device: DeviceId, business_day: str) -> DeviceId:
    """Whose the claim's coupon is from now on: the device's, unless somebody had it before."""
    connection.execute(
        "INSERT INTO coupon_right (claim, device, business_day) VALUES (?, ?, ?) ON CONFLICT (claim) DO NOTHING",
        (claim, device, business_day),
    )
    holder = right_to(connection, claim)
    assert holder is not None
    return holder


def count_rights(connection: sqlite3.Connection, device: DeviceId, business_day: str) -> int:
    """How many rights of that day the device holds by this kiosk's word."""
    count: int = connection.execute(
        "SELECT count(*) FROM coupon_right WHERE business_day = ? AND device = ?", (business_day, device)
    ).fetchone()[0]
    return count


def prune_instants(connection: sqlite3.Connection, before_day: str) -> None:
    """Drops rights of days before, and what became of coupons whose claims are gone."""
    connection.execute("DELETE FROM coupon_right WHERE business_day < ?", (before_day,))
    connection.execute(
        "DELETE FROM instant WHERE business_day < ? AND claim NOT IN (SELECT claim FROM claim)", (before_day,)
    )

"""When the store's other kiosks were first heard of in each of their boots, and which of our own wait to be dated."""

import sqlite3
from dataclasses import dataclass

from shared.ids import DeviceId

BOOTS_KEPT = 200  # of all kiosks together: a store of forty that loses its power five times before the line is back


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSeen:
    """The kiosk had been up for `monotonic_ms` when our boot `our_boot` had been for `our_monotonic_ns`."""

    monotonic_ms: int
    our_boot: str
    our_monotonic_ns: int


def boot_seen(connection: sqlite3.Connection, device: DeviceId, boot: str) -> BootSeen | None:
    """When the kiosk was first heard of in that boot of its, or None."""
    row = connection.execute(
        "SELECT monotonic_ms, our_boot, our_monotonic_ns FROM boot_seen WHERE device = ? AND boot = ?", (device, boot)
    ).fetchone()
    if row is None:
        return None
    return BootSeen(
        monotonic_ms=row["monotonic_ms"], our_boot=row["our_boot"], our_monotonic_ns=row["our_monotonic_ns"]
    )


def save_boot_seen(connection: sqlite3.Connection, device: DeviceId, boot: str, seen: BootSeen) -> None:
    """Takes note of a boot, and forgets the oldest beyond BOOTS_KEPT."""
    connection.execute(
        "INSERT INTO boot_seen (device, boot, monotonic_ms, our_boot, our_monotonic_ns) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (device, boot) DO NOTHING",
        (device, boot, seen.monotonic_ms, seen.our_boot, seen.our_monotonic_ns),
    )
    connection.execute("DELETE FROM boot_seen WHERE id <= (SELECT max(id) FROM boot_seen) - ?", (BOOTS_KEPT,))


def boots_waiting(connection: sqlite3.Connection, present: str) -> tuple[str, ...]:
    """Earlier boots of this kiosk in which it noted visits that are not dated."""
    rows = connection.execute(
        "SELECT DISTINCT boot FROM visit WHERE became = 'waiting' AND boot <> ? ORDER BY boot LIMIT 20", (present,)
    )
    return tuple(row["boot"] for row in rows)

"""Opens the device's database only when it is sound; otherwise goes down the ladder, and never in silence.

Sound: it is opened. A log that lost commits in front of a sound state: that state goes on, under a new life. Anything
else: the files are moved aside and the copy with the longest history takes their place, or nothing does. What the
damaged file still holds of envelopes is taken over. Whatever it began with, the new life has no epoch until the cloud
issued one, and grants nothing until then.
"""

import logging
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.core.device_events import DeviceEventKind
from edge.core.recovery import Beginning, Head, Recovery, best_copy
from edge.db import knowledge, outbox
from edge.db.aside import Aside
from edge.db.database import Database
from edge.db.reading import Health, examine, head_of_all, is_missing
from edge.db.salvage import salvage
from edge.db.snapshots import Snapshot, Snapshots
from edge.errors import StorageFull
from edge.flow.entrance import Entrance
from shared.answers import Receipt
from shared.ids import DeviceId

log = logging.getLogger(__name__)

DATABASE_NAME_BYTES: Final = 16
DAMAGE_LENGTH_MAX: Final = 500
"""Characters kept of what was found: a technician needs the first lines, not ten thousand bad pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """A device's database, its copies, and where damaged files go."""

    database: Database
    snapshots: Snapshots
    aside: Aside
    device: DeviceId
    key: Ed25519PublicKey


def open_soundly(ladder: Ladder, new_database: bytes, at_ms: int) -> Recovery | None:
    """The database is open and holds what it should; returns how its life began when that was just now.

    `new_database` names it if it is new or begins another life. `at_ms` is the machine's clock.

    Raises: StorageFull when there is no room to recover, or to open what is sound.
    """
    found = _find(ladder)
    if found is None:
        ladder.database.open(new_database)
        return None
    log.error("the database is damaged", extra={"found": "; ".join(found.lines)})
    try:
        recovery = _recover(ladder, found, new_database, at_ms)
    except OSError as error:
        raise StorageFull(str(error)) from error
    log.error("the database was recovered", extra={"how": recovery.how.value, "salvaged": recovery.salvaged})
    return recovery


def _find(ladder: Ladder) -> Health | None:
    """What is wrong, None when nothing is."""
    path = ladder.database.path
    interrupted = ladder.aside.under_way()
    if interrupted is not None:
        return Health(damage=(interrupted,), lost_commits=False)
    if is_missing(path):
        was_there = bool(ladder.snapshots.newest_first())
        return Health(damage=("the database is gone",), lost_commits=False) if was_there else None
    health = examine(path)
    return None if health.is_sound else health


def _recover(ladder: Ladder, found: Health, new_database: bytes, at_ms: int) -> Recovery:
    database, copies = ladder.database, ladder.snapshots.newest_first()
    present = None if found.damage else head_of_all(database.path)
    chosen = best_copy(present, [_head_if_sound(copy) for copy in copies])
    damage = "; ".join(found.lines)[:DAMAGE_LENGTH_MAX]
    if chosen == -1:
        database.open(new_database)
        began = Recovery(how=Beginning.SET_BACK, at_ms=at_ms, snapshot_ms=None, salvaged=0, damage=damage)
        with database.transaction() as connection:
            knowledge.begin_life(connection, new_database, began)
        return began
    moved = ladder.aside.take(damage, at_ms)
    snapshot = None if chosen is None else copies[chosen]
    if snapshot is not None:
        ladder.snapshots.bring_back(snapshot, database.path)
    database.open(new_database)
    with database.transaction() as connection:
        began = Recovery(
            how=Beginning.EMPTY if snapshot is None else Beginning.SNAPSHOT,
            at_ms=at_ms,
            snapshot_ms=None if snapshot is None else snapshot.taken_ms,
            salvaged=salvage(moved, connection, ladder.device, ladder.key),
            damage=damage,
        )
        knowledge.begin_life(connection, new_database, began)
    ladder.aside.done()
    return began


def _head_if_sound(copy: Snapshot) -> Head | None:
    health = examine(copy.path)
    if health.is_sound:
        return head_of_all(copy.path)
    log.error("a snapshot is damaged", extra={"taken_ms": copy.taken_ms, "found": "; ".join(health.lines)})
    return None


def begin_set_back(entrance: Entrance, receipt: Receipt) -> None:
    """This life is over: the cloud has a later history under its epoch than this database. Raises: StorageFull."""
    connection = entrance.database.connection
    head = outbox.head_of(connection, entrance.device, receipt.epoch).seq
    damage = f"the cloud knows epoch {receipt.epoch} up to envelope {receipt.contiguous}, this database up to {head}"
    log.error("this database was set back", extra={"epoch": receipt.epoch, "head": head, "known": receipt.contiguous})
    began = Recovery(
        how=Beginning.SET_BACK,
        at_ms=entrance.clock.read().wall_ms,
        snapshot_ms=None,
        salvaged=0,
        damage=damage,
    )
    with entrance.database.transaction() as connection:
        knowledge.begin_life(connection, entrance.random_bytes(DATABASE_NAME_BYTES), began)
    entrance.note(DeviceEventKind.RECOVERED, f"{began.how}: {damage}")

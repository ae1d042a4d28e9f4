"""Keeps house between visitors: moves the log, drops what nobody needs, makes copies, and makes room on a full disk.

What may go when room runs out, in this order: device events, damaged files moved aside, copies. Never an envelope that
is not settled, and never a claim that refuses the second grant of a day.
"""

import logging
import os
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Final

from edge.core.bounds import ROOM_LOW_BYTES, SETTLED_AGE_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_EVERY
from edge.core.device_events import DeviceEventKind
from edge.db import claims, instants, knowledge, outbox
from edge.db.snapshots import Snapshot
from edge.errors import StorageDamaged, StorageFault
from edge.flow.entrance import Cellar, Entrance, Moment
from shared.business_day import milliseconds

log = logging.getLogger(__name__)

SECOND_NS: Final = 1_000_000_000
PRUNE_EVERY_NS: Final = 3600 * SECOND_NS
LOOK_FOR_ROOM_EVERY_NS: Final = 30 * SECOND_NS
SNAPSHOT_FIRST_NS: Final = 60 * SECOND_NS  # without any: soon, but not while everybody starts
SNAPSHOT_AFTER_START_NS: Final = 600 * SECOND_NS
SNAPSHOT_EVERY_NS: Final = SNAPSHOT_EVERY // timedelta(microseconds=1) * 1000
COPY_TIMES: Final = 2  # a copy is written, and written anew without free pages, before an older one goes


class Housekeeping:
    """What is due when; nothing of it is worth storing. Uptimes in nanoseconds."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._cellar = entrance.cellar
        self._pruned_ns = 0
        self._looked_ns = 0
        self._is_low = False
        self._snapshot_due_ns = 0
        self._copying: Future[Snapshot] | None = None

    def start(self, moment: Moment) -> None:
        """Plans the first copy."""
        has_one = self._cellar is not None and bool(self._cellar.snapshots.newest_first())
        self._snapshot_due_ns = moment.raw.monotonic_ns + (SNAPSHOT_AFTER_START_NS if has_one else SNAPSHOT_FIRST_NS)

    def tick(self, moment: Moment, *, is_quiet: bool) -> None:
        """What is due now; `is_quiet` while nobody is served.

        Raises: StorageFull, StorageDamaged: then the agent ends, and its next start recovers.
        """
        now_ns = moment.raw.monotonic_ns
        if now_ns - self._looked_ns >= LOOK_FOR_ROOM_EVERY_NS:
            self._looked_ns = now_ns
            self.look_for_room()
        self._entrance.database.checkpoint()
        self._prune(moment)
        if self._copying is not None and self._copying.done():
            copying, self._copying = self._copying, None
            self._copied(copying)
        if is_quiet and self._copying is None and now_ns >= self._snapshot_due_ns:
            self._snapshot_due_ns = now_ns + SNAPSHOT_EVERY_NS
            self._copy(moment)

    def look_for_room(self) -> None:
        """Gives up what can be done without, one thing after the other, until there is room again."""
        home = self._entrance.database.path.parent
        was_low, self._is_low = self._is_low, _room_bytes(home) < ROOM_LOW_BYTES
        if self._is_low and not was_low:
            log.warning("the disk has little room left", extra={"bytes": _room_bytes(home)})
            self._entrance.note(DeviceEventKind.STORAGE_LOW)
        if self._is_low and self._cellar is not None:
            make_room(self._cellar, home)

    def _prune(self, moment: Moment) -> None:
        database, now_ns = self._entrance.database, moment.raw.monotonic_ns
        policy = knowledge.policy(database.connection)
        if policy is None or moment.reading.instant is None or now_ns - self._pruned_ns < PRUNE_EVERY_NS:
            return
        self._pruned_ns = now_ns
        day_before = policy.calendar.business_day(moment.reading.instant) - timedelta(days=1)
        yesterday, oldest_right = day_before.isoformat(), day_before - timedelta(days=instants.RIGHT_DAYS_KEPT - 1)
        before_ms = milliseconds(moment.reading.instant - SETTLED_AGE_MAX)
        epoch = knowledge.life(database.connection).epoch
        with database.transaction() as connection:
            outbox.prune(connection, epoch, yesterday, before_ms)
            if epoch:
                outbox.prune_older_lives(connection, epoch, yesterday)
                claims.prune_allotments(connection, epoch)
            claims.prune_visits(connection, moment.raw.boot)
            claims.prune_steps(connection)
            instants.prune_instants(connection, oldest_right.isoformat())
        if self._cellar is not None:
            self._cellar.events.forget_old(milliseconds(moment.reading.instant))

    def _copy(self, moment: Moment) -> None:
        """Begins a copy, made beside the agent's work; a life without an epoch holds nothing worth one."""
        cellar, database = self._cellar, self._entrance.database
        if cellar is None or knowledge.life(database.connection).epoch == 0:
            return
        database.move_log()
        database.check_pages()
        size = database.path.stat().st_size
        cellar.snapshots.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if size > SNAPSHOT_BYTES_MAX or _room_bytes(cellar.snapshots.folder) < COPY_TIMES * size + ROOM_LOW_BYTES:
            log.warning("there is no room for a snapshot", extra={"bytes": size})
            self._entrance.note(DeviceEventKind.SNAPSHOT_FAILED, "no room")
            return
        path, wall_ms = database.path, moment.raw.wall_ms
        self._copying = cellar.aside_work.submit(lambda: cellar.snapshots.take(path, wall_ms))

    def _copied(self, copying: Future[Snapshot]) -> None:
        try:
            copying.result()
        except StorageFault as fault:
            log.warning("a snapshot failed", extra={"reason": str(fault)})
            self._entrance.note(DeviceEventKind.SNAPSHOT_FAILED, str(fault))
            if isinstance(fault, StorageDamaged):
                raise  # the next start looks at everything
        else:
            self._entrance.note(DeviceEventKind.SNAPSHOT_TAKEN)


def make_room(cellar: Cellar, home: Path) -> None:
    """Drops what can be done without, as far as it lies on the disk that is full. Only what helps is dropped."""
    if _room_bytes(home) < ROOM_LOW_BYTES:
        cellar.events.throw_away()
    for folder, drop_oldest in (
        (cellar.aside.folder, cellar.aside.drop_oldest),
        (cellar.snapshots.folder, cellar.snapshots.drop_oldest),
    ):
        while _is_on(folder, home) and _room_bytes(home) < ROOM_LOW_BYTES and drop_oldest():
            log.warning("a copy was dropped to make room", extra={"folder": folder.name})


def _room_bytes(folder: Path) -> int:
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize


def _is_on(folder: Path, home: Path) -> bool:
    return folder.exists() and folder.stat().st_dev == home.stat().st_dev

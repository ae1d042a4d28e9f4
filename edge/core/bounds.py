"""How much of everything a device keeps, and for how long: the one place where that is decided. Pure.

The numbers are used where the things are kept; `BUDGETS` lists them for whoever asks what fills a card. Sizes are of a
busy door (2,000 visitors a day) and were measured where docs/measurements.md says so.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

SETTLED_KEPT: Final = 20_000
"""Settled envelopes kept for a cloud that lost its newest days: ten days of 2,000 visitors, about 18 MB."""
SETTLED_AGE_MAX: Final = timedelta(days=90)
"""What is settled for longer than a cloud's backup is old is of use to nobody: the cloud has it."""
VISITS_KEPT: Final = 5000
"""Visits kept for a look back; the cloud has each in an envelope of its own."""
ROSTER_MAX: Final = 100_000
PHONE_STEPS_MAX: Final = 100_000
"""As many as members in the roster; of those beyond, the oldest go: a code that old is refused for its time."""
LOG_BYTES_MAX: Final = 4 * MIB
"""Length of the write-ahead log after which moving it is worth its syncs: some 450 grants."""
SNAPSHOTS_KEPT: Final = 2
"""The newest, and the one before it: a copy of a database that was about to fail may be bad in a way no check sees."""
SNAPSHOT_EVERY: Final = timedelta(hours=6)
SNAPSHOT_BYTES_MAX: Final = 256 * MIB
"""A database larger than this is not copied: ten times what the other budgets allow, so something else is wrong."""
ASIDE_KEPT: Final = 2
"""Damaged databases kept for who looks into it."""
EVENTS_KEPT: Final = 200
"""Of each kind, so that a line that flaps pushes nothing else out."""
EVENT_AGE_MAX: Final = timedelta(days=90)
EVENT_DETAIL_MAX: Final = 300
ROOM_BYTES: Final = 1 * MIB
"""Free space that lets a full disk count as usable again: a hundred grants, so that the screen does not flicker."""
ROOM_LOW_BYTES: Final = 2 * MIB
"""Free space below which what can be done without is given up: device events first, then copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one thing on the device may take. `age_max` is None where something else ends it, which `ends` says."""

    thing: str
    rows_max: int | None
    bytes_max: int | None
    age_max: timedelta | None
    ends: str


BUDGETS: Final = (
    Budget(
        thing="settled envelopes, with their claims and visits",
        rows_max=SETTLED_KEPT,
        bytes_max=20 * MIB,
        age_max=SETTLED_AGE_MAX,
        ends="claims of today and yesterday stay: they refuse the second grant",
    ),
    Budget(
        thing="unsettled envelopes",
        rows_max=None,
        bytes_max=None,
        age_max=None,
        ends="never dropped; the allotment bounds them: two weeks of grants, about 25 MB",
    ),
    Budget(
        thing="visits", rows_max=VISITS_KEPT, bytes_max=1 * MIB, age_max=SETTLED_AGE_MAX, ends="with their envelope"
    ),
    Budget(thing="roster", rows_max=ROSTER_MAX, bytes_max=9 * MIB, age_max=None, ends="the cloud's feed removes"),
    Budget(thing="phone steps", rows_max=PHONE_STEPS_MAX, bytes_max=3 * MIB, age_max=None, ends="oldest first"),
    Budget(
        thing="deny list, revocations, keys, policy, group",
        rows_max=None,
        bytes_max=None,
        age_max=None,
        ends="as long as the cloud's lists; replaced page by page",
    ),
    Budget(thing="allotments", rows_max=None, bytes_max=64 * KIB, age_max=None, ends="with their epoch"),
    Budget(
        thing="write-ahead log",
        rows_max=None,
        bytes_max=LOG_BYTES_MAX + 1 * MIB,
        age_max=None,
        ends="moved between visitors; stays longer while a command reads",
    ),
    Budget(thing="page sums", rows_max=None, bytes_max=256 * KIB, age_max=None, ends="rewritten with each move"),
    Budget(
        thing="snapshots",
        rows_max=SNAPSHOTS_KEPT,
        bytes_max=SNAPSHOTS_KEPT * SNAPSHOT_BYTES_MAX,
        age_max=SNAPSHOTS_KEPT * SNAPSHOT_EVERY,
        ends="newer ones, or a disk that runs full",
    ),
    Budget(
        thing="damaged databases, moved aside",
        rows_max=ASIDE_KEPT,
        bytes_max=ASIDE_KEPT * SNAPSHOT_BYTES_MAX,
        age_max=None,
        ends="newer ones, or a disk that runs full",
    ),
    Budget(
        thing="device events",
        rows_max=EVENTS_KEPT * 12,
        bytes_max=2 * MIB,
        age_max=EVENT_AGE_MAX,
        ends="or a disk that runs full",
    ),
)

-- Why: what a device that was damaged or set back must know of itself, and where a pruned chain begins.
-- Cost on a card: two small tables. Old code: does not read them.

-- The newest envelope of an epoch that was pruned: the first one kept must follow it.
CREATE TABLE outbox_anchor (
    epoch INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL CHECK (seq > 0),
    chain BLOB NOT NULL CHECK (length(chain) = 32)
) STRICT;

-- How this life of the database began, when it was not the device's first. `at_ms` and `snapshot_ms` are as the
-- machine's clock said; `salvaged` envelopes came out of the file that was damaged.
CREATE TABLE recovery (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    how TEXT NOT NULL CHECK (how IN ('snapshot', 'empty', 'set_back')),
    at_ms INTEGER NOT NULL,
    snapshot_ms INTEGER,
    salvaged INTEGER NOT NULL,
    damage TEXT NOT NULL
) STRICT;

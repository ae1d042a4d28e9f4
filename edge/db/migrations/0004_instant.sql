-- Why: a coupon that was shown cannot be taken back, so what was decided about each is kept, and whose each may be.
-- Cost on a card: four small tables, two indexes. Old code: does not read them.

-- What became of the coupon of a claim; written with the claim, before the screen. `code` is the coupon's text.
CREATE TABLE instant (
    claim BLOB PRIMARY KEY CHECK (length(claim) = 16),
    epoch INTEGER NOT NULL,
    business_day TEXT NOT NULL,
    series TEXT NOT NULL,
    label TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('shown', 'deferred')),
    why TEXT,
    code TEXT,
    CHECK ((outcome = 'shown') = (code IS NOT NULL)),
    CHECK ((outcome = 'deferred') = (why IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX instant_shown ON instant (epoch, business_day) WHERE outcome = 'shown';
CREATE TRIGGER instant_is_final BEFORE UPDATE ON instant
BEGIN
    SELECT RAISE(ABORT, 'what was shown was shown');
END;

-- Whose the coupon of a claim is, by this kiosk's word. The first to ask has it; nobody can be given it after.
CREATE TABLE coupon_right (
    claim BLOB PRIMARY KEY CHECK (length(claim) = 16),
    device TEXT NOT NULL,
    business_day TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX coupon_right_day ON coupon_right (business_day, device);
CREATE TRIGGER coupon_right_is_final BEFORE UPDATE ON coupon_right
BEGIN
    SELECT RAISE(ABORT, 'a right is final');
END;

-- The store's kiosks and its hub as the cloud last told of them.
CREATE TABLE store_page (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
) STRICT;

-- When a kiosk of the store was first heard of in one of its boots: its uptime then, and ours. It dates what that
-- kiosk noted without the time, once we know it ourselves.
CREATE TABLE boot_seen (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    monotonic_ms INTEGER NOT NULL,
    our_boot TEXT NOT NULL,
    our_monotonic_ns INTEGER NOT NULL,
    UNIQUE (device, boot)
) STRICT;

-- Which deferred coupon of the member was confirmed since they were last here, by its label.
ALTER TABLE roster ADD COLUMN coupon TEXT;

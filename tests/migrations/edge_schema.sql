-- 0001_initial.sql 097f37b87153f015a051a9b9ea829c95cbc26d462319a9c84dd2d3f5d998ee0c
-- 0002_faces.sql 236a98e48e1c3e9dc760bc4139ef141fb20e1ba8cb1bb78dd3251fff48f353a2
-- 0003_recovery.sql 0355e163c815608700e2d62df2e17f7aaeb9d248f7c2f54aee2dd8c064f8ece3
-- 0004_instant.sql 2d5f6a81ccf1c964b6f0691ed4b38f43354ff0d2b454f036ba7b7646245afe44

CREATE TRIGGER claim_is_final BEFORE UPDATE OF claim, member, business_day, campaign, unit, amount, epoch, seq ON claim
BEGIN
    SELECT RAISE(ABORT, 'a claim is final');
END;

CREATE TRIGGER coupon_right_is_final BEFORE UPDATE ON coupon_right
BEGIN
    SELECT RAISE(ABORT, 'a right is final');
END;

CREATE TRIGGER instant_is_final BEFORE UPDATE ON instant
BEGIN
    SELECT RAISE(ABORT, 'what was shown was shown');
END;

CREATE TRIGGER outbox_is_final BEFORE UPDATE OF epoch, seq, header, signature, chain ON outbox
BEGIN
    SELECT RAISE(ABORT, 'an envelope is final');
END;

CREATE TABLE allotment (
    campaign TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    unit TEXT NOT NULL,
    total INTEGER NOT NULL CHECK (total >= 0),
    spent INTEGER NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND total),
    ends_ms INTEGER NOT NULL,
    PRIMARY KEY (campaign, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE boot_seen (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    monotonic_ms INTEGER NOT NULL,
    our_boot TEXT NOT NULL,
    our_monotonic_ns INTEGER NOT NULL,
    UNIQUE (device, boot)
) STRICT;

CREATE TABLE claim (
    claim BLOB PRIMARY KEY CHECK (length(claim) = 16),
    member BLOB NOT NULL,
    business_day TEXT NOT NULL,
    campaign TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    reduced INTEGER NOT NULL,
    means TEXT NOT NULL,
    granted_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT,
    FOREIGN KEY (epoch, seq) REFERENCES outbox (epoch, seq) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot TEXT NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    instant_ms INTEGER NOT NULL,
    high_water_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE coupon_right (
    claim BLOB PRIMARY KEY CHECK (length(claim) = 16),
    device TEXT NOT NULL,
    business_day TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE denied (
    member BLOB PRIMARY KEY,
    serial_floor INTEGER NOT NULL,
    phones INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE device (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    database BLOB NOT NULL CHECK (length(database) = 16),
    epoch INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    session INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE face_member (
    member BLOB PRIMARY KEY,
    leaving TEXT,
    gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE feed (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL,
    current_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE group_page (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
) STRICT;

CREATE TABLE group_told (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    page_version INTEGER NOT NULL
) STRICT;

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

CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT;

CREATE TABLE outbox (
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    header BLOB NOT NULL,
    signature BLOB NOT NULL,
    salt BLOB,
    payload BLOB,
    chain BLOB NOT NULL CHECK (length(chain) = 32),
    written_ms INTEGER,
    settled INTEGER NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)),
    PRIMARY KEY (epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox_anchor (
    epoch INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL CHECK (seq > 0),
    chain BLOB NOT NULL CHECK (length(chain) = 32)
) STRICT;

CREATE TABLE phone_step (
    member BLOB PRIMARY KEY,
    step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE public_key (
    use TEXT NOT NULL CHECK (use IN ('issuer', 'signer')),
    key INTEGER NOT NULL,
    public BLOB NOT NULL CHECK (length(public) = 32),
    PRIMARY KEY (use, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    how TEXT NOT NULL CHECK (how IN ('snapshot', 'empty', 'set_back')),
    at_ms INTEGER NOT NULL,
    snapshot_ms INTEGER,
    salvaged INTEGER NOT NULL,
    damage TEXT NOT NULL
) STRICT;

CREATE TABLE revoked_device (
    device TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE roster (
    member BLOB PRIMARY KEY,
    nickname TEXT,
    language TEXT,
    balance INTEGER NOT NULL,
    balance_ms INTEGER NOT NULL
, face_text INTEGER, coupon TEXT) STRICT, WITHOUT ROWID;

CREATE TABLE store_page (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
) STRICT;

CREATE TABLE template_envelope (
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    member BLOB NOT NULL,
    PRIMARY KEY (epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE visit (
    id INTEGER PRIMARY KEY,
    member BLOB NOT NULL,
    boot TEXT NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    means TEXT NOT NULL,
    evidence BLOB NOT NULL,
    step INTEGER,
    serial INTEGER,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    became TEXT NOT NULL DEFAULT 'waiting' CHECK (became IN ('waiting', 'claim', 'refused')),
    reason TEXT
) STRICT;

CREATE INDEX claim_day ON claim (business_day);

CREATE UNIQUE INDEX claim_envelope ON claim (epoch, seq);

CREATE INDEX claim_unanswered ON claim (member) WHERE outcome IS NULL;

CREATE INDEX coupon_right_day ON coupon_right (business_day, device);

CREATE INDEX face_member_leaving ON face_member (gone) WHERE leaving IS NOT NULL;

CREATE INDEX instant_shown ON instant (epoch, business_day) WHERE outcome = 'shown';

CREATE INDEX outbox_waiting ON outbox (epoch, seq) WHERE settled = 0;

CREATE INDEX template_envelope_member ON template_envelope (member);

CREATE INDEX visit_waiting ON visit (boot, member) WHERE became = 'waiting';

-- Why: what the agent must know to let members be recognised by face, without a single number of a face.
-- Cost on a card: one column without a rewrite, four small tables. Old code: does not read them.

-- The version of the biometric text whose consent is in force.
ALTER TABLE roster ADD COLUMN face_text INTEGER;

-- Whose template `vision` holds. `leaving` says why it is to be forgotten, `gone` that `vision` said it is: then the
-- proof is written and the row goes.
CREATE TABLE face_member (
    member BLOB PRIMARY KEY,
    leaving TEXT,
    gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX face_member_leaving ON face_member (gone) WHERE leaving IS NOT NULL;

-- Envelopes that carry a sealed template. Payload and salt are erased once the cloud has them, or the member withdrew.
CREATE TABLE template_envelope (
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    member BLOB NOT NULL,
    PRIMARY KEY (epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX template_envelope_member ON template_envelope (member);

-- The store's group of kiosks as the cloud last told of it.
CREATE TABLE group_page (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
) STRICT;

-- The newest change of the group's secret that this kiosk told: the cloud's word from before it is out of date.
CREATE TABLE group_told (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    page_version INTEGER NOT NULL
) STRICT;

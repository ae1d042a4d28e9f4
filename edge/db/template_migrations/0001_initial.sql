-- Why: the faces of members who asked to be known again, sealed, apart from everything that is copied or backed up.
-- Cost on a card: about 350 bytes a member. Old code: there is none.

-- One row. `life` is the main database's that these templates belong to. `version` and `issued_ms` of the cloud's feed
-- as applied; `confirmed_ms` the last instant at which the cloud said that this was all there is.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    life BLOB CHECK (length(life) = 16),
    version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0),
    issued_ms INTEGER NOT NULL DEFAULT 0,
    confirmed_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO state (id) VALUES (1);

-- `confirmed_ms` is the instant at which this template was told; the later of it and the state's begins its lease.
-- `told` is 0 while it was sealed anew here and the cloud's or the agent's word about it has not come back.
CREATE TABLE template (
    member BLOB PRIMARY KEY CHECK (length(member) = 10),
    key BLOB NOT NULL CHECK (length(key) = 8),
    embedder BLOB NOT NULL CHECK (length(embedder) = 8),
    sealed BLOB NOT NULL CHECK (length(sealed) <= 320),
    confirmed_ms INTEGER NOT NULL,
    told INTEGER NOT NULL CHECK (told IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX template_untold ON template (member) WHERE told = 0;

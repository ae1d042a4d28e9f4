"""The members' tables. `member_consent` and `face_forgotten` are insert-only by triggers (migrations 0004 and 0008).

Two feeds are kept as "the last change of each, with its number": a row holds the version at which it changed last,
so reading everything above a version is the list of changes since, each member once. The deny list is the member row
itself (`deny_version`, numbered by `deny_head`, one a tenant); a store's roster is `roster_entry`, numbered by
`roster_head`. A store's sealed templates are kept like its roster. The row of a head is the lock under which its
numbers are given out. No table here holds a template that anybody in the cloud could open.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, UniqueConstraint

from cloud.kit.database import BYTES, INT64, TEXT, Instant, define_table

member = define_table(
    "member",
    Column("tenant", TEXT, primary_key=True),
    Column("id", BYTES, primary_key=True),
    Column("programme", TEXT, nullable=False),
    Column("nickname", TEXT, nullable=True),
    Column("language", TEXT, nullable=False),
    Column("level", INT64, nullable=False),
    Column("joined_at", Instant, nullable=False),
    Column("erased_at", Instant, nullable=True),
    Column("card_serial", INT64, nullable=False),
    Column("serial_floor", INT64, nullable=False),
    Column("phones_denied", INT64, nullable=False),
    Column("deny_version", INT64, nullable=True),
    Column("face_text", INT64, nullable=True),  # the version of the biometric text whose consent is in force
    UniqueConstraint("tenant", "deny_version"),
    with_rowid=False,
)

deny_head = define_table(
    "deny_head",
    Column("tenant", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    with_rowid=False,
)

# `digest` is SHA-256 of the secret; the secret has 256 bits, so it needs neither salt nor a slow hash.
member_bearer = define_table(
    "member_bearer",
    Column("digest", BYTES, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("member", BYTES, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant, nullable=True),
    ForeignKeyConstraint(["tenant", "member"], ["member.tenant", "member.id"]),
    Index(None, "tenant", "member"),
    with_rowid=False,
)

member_phone = define_table(
    "member_phone",
    Column("tenant", TEXT, primary_key=True),
    Column("member", BYTES, primary_key=True),
    Column("public_key", BYTES, primary_key=True),
    Column("expiry_day", INT64, nullable=False),
    Column("certified_at", Instant, nullable=False),
    Column("revoked_at", Instant, nullable=True),
    ForeignKeyConstraint(["tenant", "member"], ["member.tenant", "member.id"]),
    with_rowid=False,
)

member_card = define_table(
    "member_card",
    Column("tenant", TEXT, primary_key=True),
    Column("member", BYTES, primary_key=True),
    Column("serial", INT64, primary_key=True, autoincrement=False),
    Column("expiry_day", INT64, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("denied_at", Instant, nullable=True),
    ForeignKeyConstraint(["tenant", "member"], ["member.tenant", "member.id"]),
    with_rowid=False,
)

member_consent = define_table(
    "member_consent",
    Column("tenant", TEXT, primary_key=True),
    Column("member", BYTES, primary_key=True),
    Column("number", INT64, primary_key=True, autoincrement=False),
    Column("purpose", TEXT, nullable=False),
    Column("level", INT64, nullable=False),
    Column("given", INT64, nullable=False),
    Column("text_version", INT64, nullable=False),
    Column("language", TEXT, nullable=False),
    Column("channel", TEXT, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    # What a kiosk reported: when it was said there (NULL: when it was recorded) and the envelope that proves it.
    Column("said_at", Instant, nullable=True),
    Column("device", TEXT, nullable=True),
    Column("epoch", INT64, nullable=True),
    Column("seq", INT64, nullable=True),
    Column("store", TEXT, nullable=True),  # the one store that a biometric consent is about, NULL for all of them
    ForeignKeyConstraint(["tenant", "member"], ["member.tenant", "member.id"]),
    with_rowid=False,
)

# `coupon` says which deferred coupon was confirmed since the member was last seen.
# No foreign key to `member`: rows come at the pace of claims, and a reader looks the member up anyway.
roster_entry = define_table(
    "roster_entry",
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("seen_at", Instant, nullable=False),
    Column("version", INT64, nullable=False),
    Column("removed", INT64, nullable=False),
    Column("coupon", TEXT, nullable=True),
    UniqueConstraint("store", "version"),
    with_rowid=False,
)

roster_head = define_table(
    "roster_head",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    with_rowid=False,
)

# `key` names the secret that templates of the store must be sealed to, NULL while there is none. Who holds a version
# below `floor` starts from nothing: what it read was lost here.
template_head = define_table(
    "template_head",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    Column("floor", INT64, nullable=False),
    Column("key", BYTES, nullable=True),
    with_rowid=False,
)

# What kiosks may be given, or with `removed` must forget; then nothing of the template is left here.
sealed_template = define_table(
    "sealed_template",
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("version", INT64, nullable=False),
    Column("since_version", INT64, nullable=False),  # the first that gave the face; later ones only replaced it
    Column("removed", INT64, nullable=False),
    Column("key", BYTES, nullable=True),
    Column("embedder", BYTES, nullable=True),
    Column("sealed", BYTES, nullable=True),
    Column("text_version", INT64, nullable=True),
    Column("device", TEXT, nullable=True),
    Column("frames", INT64, nullable=True),
    Column("resealed", INT64, nullable=True),
    Column("enrolled_at", Instant, nullable=True),
    Column("recorded_at", Instant, nullable=False),
    # The store at which the face was learnt when it was not this one: kept under a consent that names this one.
    Column("given_by", TEXT, nullable=True),
    UniqueConstraint("store", "version"),
    CheckConstraint("(removed = 1) = (sealed IS NULL)", "removed"),
    with_rowid=False,
)

# Facts come in any order: these came before their consent or before the secret they are sealed to.
template_waiting = define_table(
    "template_waiting",
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("key", BYTES, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("embedder", BYTES, nullable=False),
    Column("sealed", BYTES, nullable=False),
    Column("text_version", INT64, nullable=False),
    Column("device", TEXT, nullable=False),
    Column("frames", INT64, nullable=False),
    Column("resealed", INT64, nullable=False),
    Column("enrolled_at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "store", "key"),
    with_rowid=False,
)

# What the history says of single stores: with `allowed` a face that is known elsewhere may be given to the store,
# without it the store may not know it at all. Stores of which nothing is said have no row. `waits` is 0 once the store
# has a template under its present secret: what is asked for is looked for among the others only.
face_store = define_table(
    "face_store",
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("allowed", INT64, nullable=False),
    Column("waits", INT64, nullable=False),
    Index(None, "store"),
    Index(None, "waits"),
    with_rowid=False,
)

# How far each kiosk was told of its store's templates, and when it was last told all of them: its leases end by then.
template_reader = define_table(
    "template_reader",
    Column("store", TEXT, primary_key=True),
    Column("device", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    Column("told_at", Instant, nullable=True),
    with_rowid=False,
)

# Which kiosks must delete a withdrawn template, and by when its lease has ended at the latest. `stored_at` is when the
# cloud had stored the template: an older proof is of another one.
face_deletion = define_table(
    "face_deletion",
    Column("tenant", TEXT, primary_key=True),
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("device", TEXT, primary_key=True),
    Column("asked_at", Instant, primary_key=True),
    Column("stored_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    with_rowid=False,
)

# A kiosk's word that it holds no template of the member; the envelope of that number carries its signature.
face_forgotten = define_table(
    "face_forgotten",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("seq", INT64, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("member", BYTES, nullable=False),
    Column("why", TEXT, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "tenant", "member"),
    Index(None, "store"),
    with_rowid=False,
)

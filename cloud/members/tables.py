"""The members' tables. `member_consent` is insert-only by the triggers of migration 0004.

Two feeds are kept as "the last change of each, with its number": a row holds the version at which it changed last,
so reading everything above a version is the list of changes since, each member once. The deny list is the member row
itself (`deny_version`, numbered by `deny_head`, one a tenant); a store's roster is `roster_entry`, numbered by
`roster_head`. The row of a head is the lock under which its numbers are given out.
"""

from sqlalchemy import Column, ForeignKeyConstraint, Index, UniqueConstraint

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
    ForeignKeyConstraint(["tenant", "member"], ["member.tenant", "member.id"]),
    with_rowid=False,
)

# No foreign key to `member`: rows come at the pace of claims, and a reader looks the member up anyway.
roster_entry = define_table(
    "roster_entry",
    Column("member", BYTES, primary_key=True),
    Column("store", TEXT, primary_key=True),
    Column("seen_at", Instant, nullable=False),
    Column("version", INT64, nullable=False),
    Column("removed", INT64, nullable=False),
    UniqueConstraint("store", "version"),
    with_rowid=False,
)

roster_head = define_table(
    "roster_head",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    with_rowid=False,
)

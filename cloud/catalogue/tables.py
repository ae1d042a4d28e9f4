"""The catalogue's tables. A trigger of migration 0003 makes `policy` insert-only: claims name its versions for ever."""

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index

from cloud.kit.database import BYTES, INT64, TEXT, Instant, define_table

tenant = define_table(
    "tenant",
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("naming_key", BYTES, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("length(naming_key) = 32", "naming_key"),
    with_rowid=False,
)

merchant = define_table(
    "merchant",
    Column("id", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["tenant"], ["tenant.id"]),
    Index(None, "tenant"),
    with_rowid=False,
)

programme = define_table(
    "programme",
    Column("id", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("unit", TEXT, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["tenant"], ["tenant.id"]),
    Index(None, "tenant"),
    with_rowid=False,
)

store = define_table(
    "store",
    Column("id", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("merchant", TEXT, nullable=False),
    Column("programme", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("zone", TEXT, nullable=False),
    Column("cutoff_hour", INT64, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["tenant"], ["tenant.id"]),
    ForeignKeyConstraint(["merchant"], ["merchant.id"]),
    ForeignKeyConstraint(["programme"], ["programme.id"]),
    CheckConstraint("cutoff_hour BETWEEN 0 AND 12", "cutoff_hour"),
    Index(None, "tenant"),
    with_rowid=False,
)

policy = define_table(
    "policy",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, primary_key=True, autoincrement=False),
    Column("issued_at", Instant, nullable=False),
    Column("body", BYTES, nullable=False),
    ForeignKeyConstraint(["store"], ["store.id"]),
    CheckConstraint("version > 0", "version"),
    with_rowid=False,
)

"""The ledger's four tables. Triggers of migration 0002 make journal_entry and posting insert-only.

`account` is a cache that the postings prove; `ledger_chain` is a tenant's head, and its row lock is the lock of that
tenant's whole ledger. The tenant is part of every key, so no constraint can be met by another tenant's row.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, UniqueConstraint

from cloud.kit.database import BYTES, INT64, TEXT, define_table

account = define_table(
    "account",
    Column("tenant", TEXT, primary_key=True),
    Column("id", BYTES, primary_key=True),
    Column("code", INT64, nullable=False),
    Column("unit", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("balance", INT64, nullable=False),
    Column("version", INT64, nullable=False),
    UniqueConstraint("tenant", "code", "subject", "unit"),
    # The floors of rules.py once more: the database itself refuses what a bug might let through.
    CheckConstraint(
        "balance >= 0 OR code IN (1000, 1100, 3000, 3100, 3110, 4000, 4100, 5000, 6000, 6100, 9000)", "floor"
    ),
    with_rowid=False,
)

journal_entry = define_table(
    "journal_entry",
    Column("tenant", TEXT, primary_key=True),
    Column("sequence", INT64, primary_key=True, autoincrement=False),
    Column("id", BYTES, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("effective_us", INT64, nullable=False),
    Column("recorded_us", INT64, nullable=False),
    Column("body_digest", BYTES, nullable=False),
    Column("digest", BYTES, nullable=False),
    UniqueConstraint("tenant", "id"),
    with_rowid=False,
)

posting = define_table(
    "posting",
    Column("tenant", TEXT, primary_key=True),
    Column("sequence", INT64, primary_key=True, autoincrement=False),
    Column("leg", INT64, primary_key=True, autoincrement=False),
    Column("account", BYTES, nullable=False),
    Column("amount", INT64, nullable=False),
    Column("previous_balance", INT64, nullable=False),
    Column("balance", INT64, nullable=False),
    Column("version", INT64, nullable=False),
    UniqueConstraint("tenant", "account", "version"),
    ForeignKeyConstraint(["tenant", "sequence"], ["journal_entry.tenant", "journal_entry.sequence"]),
    ForeignKeyConstraint(["tenant", "account"], ["account.tenant", "account.id"]),
    CheckConstraint("amount <> 0 AND balance = previous_balance + amount AND version > 0", "step"),
    with_rowid=False,
)

ledger_chain = define_table(
    "ledger_chain",
    Column("tenant", TEXT, primary_key=True),
    Column("sequence", INT64, nullable=False),
    Column("digest", BYTES, nullable=False),
    with_rowid=False,
)

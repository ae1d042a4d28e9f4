"""The ledger: accounts, insert-only journal and postings, one chain head a tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is insert-only'); END
"""

POSTGRESQL_FUNCTION = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END
$$
"""

POSTGRESQL_TRIGGERS = (
    "CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    _create_account()
    _create_journal_entry()
    _create_posting()
    op.create_table(
        "ledger_chain",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("sequence", INT64, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_ledger_chain"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _make_insert_only()


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("code", INT64, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("balance", INT64, nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_account"),
        sa.UniqueConstraint("tenant", "code", "subject", "unit", name="uq_account_tenant_code_subject_unit"),
        sa.CheckConstraint(
            "balance >= 0 OR code IN (1000, 1100, 3000, 3100, 3110, 4000, 4100, 5000, 6000, 6100, 9000)",
            name=op.f("ck_account_floor"),
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_journal_entry() -> None:
    op.create_table(
        "journal_entry",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("sequence", INT64, nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effective_us", INT64, nullable=False),
        sa.Column("recorded_us", INT64, nullable=False),
        sa.Column("body_digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sequence", name="pk_journal_entry"),
        sa.UniqueConstraint("tenant", "id", name="uq_journal_entry_tenant_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_posting() -> None:
    op.create_table(
        "posting",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("sequence", INT64, nullable=False),
        sa.Column("leg", INT64, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("amount", INT64, nullable=False),
        sa.Column("previous_balance", INT64, nullable=False),
        sa.Column("balance", INT64, nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sequence", "leg", name="pk_posting"),
        sa.UniqueConstraint("tenant", "account", "version", name="uq_posting_tenant_account_version"),
        sa.ForeignKeyConstraint(
            ["tenant", "sequence"],
            ["journal_entry.tenant", "journal_entry.sequence"],
            name="fk_posting_tenant_sequence",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "account"], ["account.tenant", "account.id"], name="fk_posting_tenant_account"
        ),
        sa.CheckConstraint(
            "amount <> 0 AND balance = previous_balance + amount AND version > 0", name=op.f("ck_posting_step")
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _make_insert_only() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRESQL_FUNCTION)
        for table in ("journal_entry", "posting"):
            for trigger in POSTGRESQL_TRIGGERS:
                op.execute(trigger.format(table=table))
    else:
        for table in ("journal_entry", "posting"):
            for verb in ("update", "delete"):
                op.execute(SQLITE_TRIGGER.format(table=table, verb=verb))

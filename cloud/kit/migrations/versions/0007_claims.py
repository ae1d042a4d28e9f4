"""Envelopes as they came and what became of them; insert-only but for an erasure."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What an erasure may never touch. The last three of the rest (payload, salt, member) may only become NULL.
KEPT = (
    "device",
    "epoch",
    "seq",
    "tenant",
    "store",
    "kind",
    "business_day",
    "wall_ms",
    "claim",
    "amount",
    "outcome",
    "reason",
    "balance",
    "header",
    "signature",
    "chain",
    "recorded_us",
)
ERASED = ("payload", "salt", "member")

SQLITE_ERASURE = """
CREATE TRIGGER envelope_only_erased BEFORE UPDATE ON envelope WHEN NOT ({only_erased})
BEGIN SELECT RAISE(ABORT, 'envelope is insert-only'); END
"""

SQLITE_REFUSAL = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is insert-only'); END
"""

POSTGRESQL_ERASURE = """
CREATE TRIGGER envelope_only_erased BEFORE UPDATE ON envelope FOR EACH ROW WHEN (NOT ({only_erased}))
EXECUTE FUNCTION refuse_change()
"""

POSTGRESQL_REFUSAL = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} FOR EACH {each} EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    _create_envelope()
    _create_refused_envelope()
    op.create_table(
        "envelope_stream",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("contiguous", INT64, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("highest", INT64, nullable=False),
        sa.Column("gap_since_us", INT64, nullable=True),
        sa.PrimaryKeyConstraint("device", "epoch", name="pk_envelope_stream"),
        sa.CheckConstraint("0 <= contiguous AND contiguous <= highest", name=op.f("ck_envelope_stream_order")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _make_insert_only()


def _create_envelope() -> None:
    op.create_table(
        "envelope",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("business_day", sa.Text(), nullable=True),
        sa.Column("wall_ms", INT64, nullable=True),
        sa.Column("member", sa.LargeBinary(), nullable=True),
        sa.Column("claim", sa.LargeBinary(), nullable=True),
        sa.Column("amount", INT64, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("balance", INT64, nullable=True),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq", name="pk_envelope"),
        sa.CheckConstraint("(salt IS NULL) = (payload IS NULL)", name=op.f("ck_envelope_whole")),
        sqlite_strict=True,
    )
    op.create_index("ix_envelope_store_business_day", "envelope", ["store", "business_day"])


def _create_refused_envelope() -> None:
    op.create_table(
        "refused_envelope",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=True),
        sa.Column("seq", INT64, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_refused_envelope"),
        sqlite_strict=True,
    )
    op.create_index("ix_refused_envelope_device", "refused_envelope", ["device"])
    op.create_index("ix_refused_envelope_store", "refused_envelope", ["store"])


def _make_insert_only() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    same = "IS NOT DISTINCT FROM" if is_postgresql else "IS"
    kept = [f"NEW.{column} {same} OLD.{column}" for column in KEPT]
    gone = [f"(NEW.{column} IS NULL OR NEW.{column} {same} OLD.{column})" for column in ERASED]
    only_erased = " AND ".join(kept + gone)
    op.execute((POSTGRESQL_ERASURE if is_postgresql else SQLITE_ERASURE).format(only_erased=only_erased))
    for table, verbs in (("envelope", ("DELETE",)), ("refused_envelope", ("UPDATE", "DELETE"))):
        for verb in verbs:
            text = POSTGRESQL_REFUSAL if is_postgresql else SQLITE_REFUSAL
            op.execute(text.format(table=table, verb=verb, each="ROW"))
        if is_postgresql:
            op.execute(POSTGRESQL_REFUSAL.format(table=table, verb="TRUNCATE", each="STATEMENT"))

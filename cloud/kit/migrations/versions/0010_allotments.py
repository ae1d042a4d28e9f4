"""Pace and return of allotments, decisions about quarantine, members' receipts. Only adds.

Counting begins with the first claim after the upgrade; until a week is behind it an allotment is as large as before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for column in (
        sa.Column("size", INT64, nullable=True),
        sa.Column("claims_since", INT64, nullable=True),
        sa.Column("claims", INT64, nullable=False, server_default="0"),
        sa.Column("claims_before", INT64, nullable=True),
        sa.Column("returned", INT64, nullable=False, server_default="0"),
        sa.Column("returned_at", INT64, nullable=True),
    ):
        op.add_column("allotment", column)
    op.create_index(op.f("ix_allotment_ends_at"), "allotment", ["ends_at"])
    op.create_table(
        "envelope_review",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("balance", INT64, nullable=True),
        sa.Column("reviewed_at", INT64, nullable=False),
        sa.Column("told_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("device", "epoch", "seq", name="pk_envelope_review"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_envelope_review_told_at"), "envelope_review", ["told_at"])
    op.create_table(
        "claim_receipt",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("claim", sa.LargeBinary(), nullable=False),
        sa.Column("amount", INT64, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("balance", INT64, nullable=True),
        sa.Column("handed_in_at", INT64, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_claim_receipt"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_claim_receipt_store_id"), "claim_receipt", ["store", "id"])

"""Consents that name a store, what they allow, and which templates came from another store. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("member_consent", sa.Column("store", sa.Text(), nullable=True))
    op.add_column("sealed_template", sa.Column("given_by", sa.Text(), nullable=True))
    op.create_table(
        "face_store",
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("allowed", INT64, nullable=False),
        sa.Column("waits", INT64, nullable=False),
        sa.PrimaryKeyConstraint("member", "store", name="pk_face_store"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_face_store_store", "face_store", ["store"])
    op.create_index("ix_face_store_waits", "face_store", ["waits"])

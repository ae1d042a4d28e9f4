"""Campaigns and the allotments of kiosks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "campaign",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("allotment_points", INT64, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_campaign"),
        sa.CheckConstraint("allotment_points > 0", name=op.f("ck_campaign_allotment_points")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "allotment",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("serial", INT64, nullable=False),
        sa.Column("total", INT64, nullable=False),
        sa.Column("spent", INT64, nullable=False),
        sa.Column("ends_at", INT64, nullable=False),
        sa.Column("issued_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "campaign", "device", "epoch", name="pk_allotment"),
        sa.CheckConstraint("serial > 0 AND total >= 0 AND spent >= 0", name=op.f("ck_allotment_counted")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )

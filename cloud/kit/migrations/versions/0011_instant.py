"""Coupons that come with claims: what kiosks said of them, the right to each, and what kiosks are told. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("roster_entry", sa.Column("coupon", sa.Text(), nullable=True))
    op.add_column("device_status", sa.Column("lan", sa.Text(), nullable=True))
    op.add_column("device_status", sa.Column("network_version", INT64, nullable=True))
    op.create_table(
        "store_network",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_store_network_store_store"),
        sa.PrimaryKeyConstraint("store", name="pk_store_network"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "instant_said",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False, autoincrement=False),
        sa.Column("seq", INT64, nullable=False, autoincrement=False),
        sa.Column("claim", sa.LargeBinary(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("code", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq", name="pk_instant_said"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_instant_said_claim", "instant_said", ["claim"])
    op.create_table(
        "instant_right",
        sa.Column("claim", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("business_day", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=True),
        sa.Column("shown", INT64, nullable=False),
        sa.Column("deferred", INT64, nullable=False),
        sa.Column("confirmed_us", INT64, nullable=True),
        sa.CheckConstraint(
            "shown >= 0 AND deferred >= 0 AND shown + deferred > 0", name=op.f("ck_instant_right_counts")
        ),
        sa.PrimaryKeyConstraint("claim", name="pk_instant_right"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_instant_right_store", "instant_right", ["store"])
    waiting = sa.text("shown = 0 AND confirmed_us IS NULL")
    op.create_index(
        "ix_instant_right_waiting",
        "instant_right",
        ["store", "business_day"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )

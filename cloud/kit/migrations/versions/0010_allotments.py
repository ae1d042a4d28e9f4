"""Allotments learn how many visits their kiosk has and what was taken back of them. Only adds.

Counting begins with the first claim after the upgrade; until a week is behind it an allotment is as large as before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"

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

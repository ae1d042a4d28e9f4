"""Campaigns, and what each kiosk's epoch may grant of them. Budgets themselves are accounts of the ledger."""

from sqlalchemy import CheckConstraint, Column

from cloud.kit.database import INT64, TEXT, Instant, define_table

campaign = define_table(
    "campaign",
    Column("tenant", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("unit", TEXT, nullable=False),
    Column("allotment_points", INT64, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("allotment_points > 0", "allotment_points"),
    with_rowid=False,
)

# `total` is what the kiosk was told it may grant since the epoch began, `spent` what its claims drew from that so far
# as they have arrived, posted or not. The row's lock is the lock of the allotment.
allotment = define_table(
    "allotment",
    Column("tenant", TEXT, primary_key=True),
    Column("campaign", TEXT, primary_key=True),
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("serial", INT64, nullable=False),
    Column("total", INT64, nullable=False),
    Column("spent", INT64, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("issued_at", Instant, nullable=False),
    CheckConstraint("serial > 0 AND total >= 0 AND spent >= 0", "counted"),
    with_rowid=False,
)

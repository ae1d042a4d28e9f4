"""Campaigns, and what each kiosk's epoch may grant of them. Budgets themselves are accounts of the ledger."""

from sqlalchemy import CheckConstraint, Column, Index

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
# as they have arrived, posted or not. `claims_since`, `claims` and `claims_before` count its first visits; `size` is
# how large a full one is, None until that was measured. `returned` went back into the budget in all, and since
# `returned_at` nothing covers the rest. The row's lock is the lock of the allotment.
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
    Column("size", INT64, nullable=True),
    Column("claims_since", Instant, nullable=True),
    Column("claims", INT64, nullable=False, server_default="0"),
    Column("claims_before", INT64, nullable=True),
    Column("returned", INT64, nullable=False, server_default="0"),
    Column("returned_at", Instant, nullable=True),
    Index(None, "ends_at"),
    CheckConstraint("serial > 0 AND total >= 0 AND spent >= 0", "counted"),
    with_rowid=False,
)

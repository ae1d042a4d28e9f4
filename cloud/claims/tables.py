"""What kiosks said, word for word, with what became of it.

Triggers of migration 0007 keep `envelope` and `refused_envelope` as they were written, with one exception: an erasure
may take payload, salt and member out of an envelope, after which its header still proves the chain. No foreign key
leaves these tables: rows come at the pace of claims, and all they name was looked up in the same transaction.
"""

from typing import Final

from sqlalchemy import CheckConstraint, Column, Index, text

from cloud.kit.database import BYTES, INT64, TEXT, Instant, define_table

envelope = define_table(
    "envelope",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("seq", INT64, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("business_day", TEXT, nullable=True),
    Column("wall_ms", INT64, nullable=True),
    Column("member", BYTES, nullable=True),
    Column("claim", BYTES, nullable=True),
    Column("amount", INT64, nullable=True),
    Column("outcome", TEXT, nullable=False),
    Column("reason", TEXT, nullable=True),
    Column("balance", INT64, nullable=True),
    Column("header", BYTES, nullable=False),
    Column("signature", BYTES, nullable=False),
    Column("salt", BYTES, nullable=True),
    Column("payload", BYTES, nullable=True),
    Column("chain", BYTES, nullable=False),
    Column("recorded_us", INT64, nullable=False),
    CheckConstraint("(salt IS NULL) = (payload IS NULL)", "whole"),
    Index(None, "store", "business_day"),
)

# What was turned away: it has no number of its own, so that the true envelope may still come under it. `id` is
# SHA-256 of the device and the bytes as they came, so the same bytes are kept once.
refused_envelope = define_table(
    "refused_envelope",
    Column("id", BYTES, primary_key=True),
    Column("device", TEXT, nullable=False),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("epoch", INT64, nullable=True),
    Column("seq", INT64, nullable=True),
    Column("outcome", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("envelope", BYTES, nullable=False),
    Column("recorded_us", INT64, nullable=False),
    Index(None, "device"),
    Index(None, "store"),
)

# What a person decided about an envelope that waited in quarantine: the last word on it. `told_at` is when its kiosk's
# receipt went out, None as long as it is to be sent.
envelope_review = define_table(
    "envelope_review",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("seq", INT64, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("reviewer", TEXT, nullable=False),
    Column("note", TEXT, nullable=False),
    Column("outcome", TEXT, nullable=False),
    Column("reason", TEXT, nullable=True),
    Column("balance", INT64, nullable=True),
    Column("reviewed_at", Instant, nullable=False),
    Column("told_at", Instant, nullable=True),
    Index(None, "told_at"),
    with_rowid=False,
)

# What members handed in: receipts of kiosks, each once; `id` is 16 bytes of SHA-256 over the member and the text.
# Those in quarantine wait for a person, who writes `reviewer` and `note` and the outcome that follows.
claim_receipt = define_table(
    "claim_receipt",
    Column("id", BYTES, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("device", TEXT, nullable=False),
    Column("epoch", INT64, nullable=False),
    Column("seq", INT64, nullable=False),
    Column("member", BYTES, nullable=False),
    Column("claim", BYTES, nullable=False),
    Column("amount", INT64, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("outcome", TEXT, nullable=False),
    Column("reason", TEXT, nullable=True),
    Column("balance", INT64, nullable=True),
    Column("handed_in_at", Instant, nullable=False),
    Column("reviewer", TEXT, nullable=True),
    Column("note", TEXT, nullable=True),
    Index(None, "store", "id"),
    with_rowid=False,
)

# How far each epoch was heard. The row's lock is the lock of the epoch: two workers never judge one epoch at once.
envelope_stream = define_table(
    "envelope_stream",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("contiguous", INT64, nullable=False),
    Column("head", BYTES, nullable=False),
    Column("highest", INT64, nullable=False),
    Column("gap_since_us", INT64, nullable=True),
    CheckConstraint("0 <= contiguous AND contiguous <= highest", "order"),
    with_rowid=False,
)

# Whoever stood there said that they were not the member they were greeted as. For a person to look at; a claim stands.
face_dispute = define_table(
    "face_dispute",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("seq", INT64, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("member", BYTES, nullable=False),
    Column("claim", BYTES, nullable=True),
    Column("wall_ms", INT64, nullable=True),
    Column("recorded_us", INT64, nullable=False),
    Index(None, "store"),
    with_rowid=False,
)

# What kiosks said of the coupons that their claims brought, word for word. `code` is SHA-256 of a coupon's text.
instant_said = define_table(
    "instant_said",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("seq", INT64, primary_key=True, autoincrement=False),
    Column("claim", BYTES, nullable=False),
    Column("outcome", TEXT, nullable=False),
    Column("why", TEXT, nullable=True),
    Column("code", BYTES, nullable=True),
    Column("recorded_us", INT64, nullable=False),
    Index(None, "claim"),
    with_rowid=False,
)

# Deferred, and neither confirmed nor shown since; in these words, so that the index of those few is found.
WAITING_RIGHT: Final = text("shown = 0 AND confirmed_us IS NULL")

# The right to one coupon, by claim: how often it was shown and deferred, and when a deferred one was confirmed. What
# was given beyond once is lost to the campaign.
instant_right = define_table(
    "instant_right",
    Column("claim", BYTES, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("campaign", TEXT, nullable=False),
    Column("series", TEXT, nullable=False),
    Column("label", TEXT, nullable=False),
    Column("business_day", TEXT, nullable=False),
    Column("member", BYTES, nullable=True),
    Column("shown", INT64, nullable=False),
    Column("deferred", INT64, nullable=False),
    Column("confirmed_us", INT64, nullable=True),
    CheckConstraint("shown >= 0 AND deferred >= 0 AND shown + deferred > 0", "counts"),
    Index(None, "store"),
    Index(
        "ix_instant_right_waiting", "store", "business_day", sqlite_where=WAITING_RIGHT, postgresql_where=WAITING_RIGHT
    ),
    with_rowid=False,
)

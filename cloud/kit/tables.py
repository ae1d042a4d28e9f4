"""The kit's own tables: API tokens, remembered answers, events and how far each consumer has read them."""

from sqlalchemy import Column, Index

from cloud.kit.database import BYTES, INT64, TEXT, Instant, define_table

api_token = define_table(
    "api_token",
    Column("id", TEXT, primary_key=True),
    Column("digest", BYTES, nullable=False, unique=True),
    Column("name", TEXT, nullable=False),
    Column("scopes", TEXT, nullable=False),
    Column("tenant", TEXT, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant, nullable=True),
    with_rowid=False,
)

idempotency_key = define_table(
    "idempotency_key",
    Column("principal", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("request_digest", BYTES, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("status", INT64, nullable=False),
    Column("body", BYTES, nullable=False),
    Index(None, "created_at"),
    with_rowid=False,
)

event = define_table(
    "event",
    Column("position", INT64, primary_key=True, autoincrement=True),
    Column("topic", TEXT, nullable=False),
    Column("tenant", TEXT, nullable=False),
    Column("body", BYTES, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "topic", "position"),
    never_reuse_key=True,  # a reader that has passed a position must not find a new event there
)

event_reader = define_table(
    "event_reader",
    Column("consumer", TEXT, primary_key=True),
    Column("position", INT64, nullable=False),
    with_rowid=False,
)

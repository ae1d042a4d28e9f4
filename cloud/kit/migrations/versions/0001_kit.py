"""API tokens, remembered answers to idempotent requests, events and their readers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_api_token()
    _create_idempotency_key()
    _create_event()
    op.create_table(
        "event_reader",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("position", INT64, nullable=False),
        sa.PrimaryKeyConstraint("consumer", name="pk_event_reader"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_api_token() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("expires_at", INT64, nullable=False),
        sa.Column("revoked_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sa.UniqueConstraint("digest", name="uq_api_token_digest"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_idempotency_key() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("status", INT64, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name="pk_idempotency_key"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("position", INT64, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_event"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_topic_position", "event", ["topic", "position"])

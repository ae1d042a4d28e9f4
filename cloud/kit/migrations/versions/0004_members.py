"""Members, their credentials and consents, the deny list and the rosters."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_TRIGGER = """
CREATE TRIGGER member_consent_no_{verb} BEFORE {verb} ON member_consent
BEGIN SELECT RAISE(ABORT, 'member_consent is insert-only'); END
"""

POSTGRESQL_TRIGGERS = (
    "CREATE TRIGGER member_consent_no_change BEFORE UPDATE OR DELETE ON member_consent"
    " FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER member_consent_no_truncate BEFORE TRUNCATE ON member_consent EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    _create_member()
    _create_credentials()
    _create_member_consent()
    _create_roster_entry()
    _create_head("deny_head", "tenant")
    _create_head("roster_head", "store")


def _create_member() -> None:
    op.create_table(
        "member",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("programme", sa.Text(), nullable=False),
        sa.Column("nickname", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("level", INT64, nullable=False),
        sa.Column("joined_at", INT64, nullable=False),
        sa.Column("erased_at", INT64, nullable=True),
        sa.Column("card_serial", INT64, nullable=False),
        sa.Column("serial_floor", INT64, nullable=False),
        sa.Column("phones_denied", INT64, nullable=False),
        sa.Column("deny_version", INT64, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_member"),
        sa.UniqueConstraint("tenant", "deny_version", name="uq_member_tenant_deny_version"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_credentials() -> None:
    op.create_table(
        "member_bearer",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("revoked_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("digest", name="pk_member_bearer"),
        _member_key("member_bearer"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_member_bearer_tenant_member", "member_bearer", ["tenant", "member"])
    op.create_table(
        "member_phone",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("expiry_day", INT64, nullable=False),
        sa.Column("certified_at", INT64, nullable=False),
        sa.Column("revoked_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "member", "public_key", name="pk_member_phone"),
        _member_key("member_phone"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "member_card",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("serial", INT64, nullable=False),
        sa.Column("expiry_day", INT64, nullable=False),
        sa.Column("issued_at", INT64, nullable=False),
        sa.Column("denied_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "member", "serial", name="pk_member_card"),
        _member_key("member_card"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_member_consent() -> None:
    op.create_table(
        "member_consent",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("number", INT64, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("level", INT64, nullable=False),
        sa.Column("given", INT64, nullable=False),
        sa.Column("text_version", INT64, nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("recorded_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "member", "number", name="pk_member_consent"),
        _member_key("member_consent"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        for trigger in POSTGRESQL_TRIGGERS:
            op.execute(trigger)
    else:
        for verb in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(verb=verb))


def _create_roster_entry() -> None:
    op.create_table(
        "roster_entry",
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("seen_at", INT64, nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("removed", INT64, nullable=False),
        sa.PrimaryKeyConstraint("member", "store", name="pk_roster_entry"),
        sa.UniqueConstraint("store", "version", name="uq_roster_entry_store_version"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_head(name: str, owner: str) -> None:
    op.create_table(
        name,
        sa.Column(owner, sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.PrimaryKeyConstraint(owner, name=f"pk_{name}"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _member_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant", "member"], ["member.tenant", "member.id"], name=f"fk_{table}_tenant_member"
    )

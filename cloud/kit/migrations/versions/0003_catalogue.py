"""The catalogue: tenants, merchants, programmes, stores and their insert-only policies."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_TRIGGER = """
CREATE TRIGGER policy_no_{verb} BEFORE {verb} ON policy
BEGIN SELECT RAISE(ABORT, 'policy is insert-only'); END
"""

POSTGRESQL_TRIGGERS = (
    "CREATE TRIGGER policy_no_change BEFORE UPDATE OR DELETE ON policy FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER policy_no_truncate BEFORE TRUNCATE ON policy EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    _create_tenant()
    _create_merchant()
    _create_programme()
    _create_store()
    _create_policy()


def _create_tenant() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("naming_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenant"),
        sa.CheckConstraint("length(naming_key) = 32", name=op.f("ck_tenant_naming_key")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_merchant() -> None:
    op.create_table(
        "merchant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_merchant"),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name="fk_merchant_tenant"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_merchant_tenant", "merchant", ["tenant"])


def _create_programme() -> None:
    op.create_table(
        "programme",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_programme"),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name="fk_programme_tenant"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_programme_tenant", "programme", ["tenant"])


def _create_store() -> None:
    op.create_table(
        "store",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("merchant", sa.Text(), nullable=False),
        sa.Column("programme", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("cutoff_hour", INT64, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store"),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name="fk_store_tenant"),
        sa.ForeignKeyConstraint(["merchant"], ["merchant.id"], name="fk_store_merchant"),
        sa.ForeignKeyConstraint(["programme"], ["programme.id"], name="fk_store_programme"),
        sa.CheckConstraint("cutoff_hour BETWEEN 0 AND 12", name=op.f("ck_store_cutoff_hour")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_store_tenant", "store", ["tenant"])


def _create_policy() -> None:
    op.create_table(
        "policy",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("issued_at", INT64, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("store", "version", name="pk_policy"),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_policy_store"),
        sa.CheckConstraint("version > 0", name=op.f("ck_policy_version")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        for trigger in POSTGRESQL_TRIGGERS:
            op.execute(trigger)
    else:
        for verb in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(verb=verb))

"""The registry of devices: codes, devices, certificates, epochs, statuses, revocations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_device()
    _create_claim_code()
    _create_certificate()
    _create_epoch()
    _create_status()
    _create_revocation()


def _create_device() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("tls_public", sa.LargeBinary(), nullable=False),
        sa.Column("signing_public", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("poll_digest", sa.LargeBinary(), nullable=False),
        sa.Column("claimed_at", INT64, nullable=False),
        sa.Column("confirmed_at", INT64, nullable=True),
        sa.Column("revoked_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_device"),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_device_store"),
        sa.CheckConstraint("length(signing_public) = 32", name=op.f("ck_device_signing_public")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_tenant", "device", ["tenant"])


def _create_claim_code() -> None:
    op.create_table(
        "claim_code",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("expires_at", INT64, nullable=False),
        sa.Column("device", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name="pk_claim_code"),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_claim_code_store"),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name="fk_claim_code_device"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_certificate() -> None:
    op.create_table(
        "device_certificate",
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("issued_at", INT64, nullable=False),
        sa.Column("expires_at", INT64, nullable=False),
        sa.Column("tls_public", sa.LargeBinary(), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name="pk_device_certificate"),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name="fk_device_certificate_device"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_certificate_device_issued_at", "device_certificate", ["device", "issued_at"])


def _create_epoch() -> None:
    op.create_table(
        "device_epoch",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("database", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", INT64, nullable=False),
        sa.Column("quarantined_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("device", "epoch", name="pk_device_epoch"),
        sa.UniqueConstraint("device", "database", name="uq_device_epoch_device_database"),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name="fk_device_epoch_device"),
        sa.CheckConstraint("epoch > 0", name=op.f("ck_device_epoch_epoch")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_status() -> None:
    op.create_table(
        "device_status",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("session", INT64, nullable=False),
        sa.Column("is_online", INT64, nullable=False),
        sa.Column("seen_at", INT64, nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("head", INT64, nullable=False),
        sa.Column("settled", INT64, nullable=False),
        sa.Column("software", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_device_status"),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name="fk_device_status_device"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_revocation() -> None:
    op.create_table(
        "device_revocation",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("since", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "version", name="pk_device_revocation"),
        sa.UniqueConstraint("device", name="uq_device_revocation_device"),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name="fk_device_revocation_device"),
        sa.CheckConstraint("version > 0", name=op.f("ck_device_revocation_version")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )

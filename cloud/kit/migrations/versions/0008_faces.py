"""Biometric consents, sealed templates with their feed and proofs, groups of kiosks, disputes. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_TRIGGER = """
CREATE TRIGGER face_forgotten_no_{verb} BEFORE {verb} ON face_forgotten
BEGIN SELECT RAISE(ABORT, 'face_forgotten is insert-only'); END
"""

POSTGRESQL_TRIGGERS = (
    "CREATE TRIGGER face_forgotten_no_change BEFORE UPDATE OR DELETE ON face_forgotten"
    " FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER face_forgotten_no_truncate BEFORE TRUNCATE ON face_forgotten EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    op.add_column("member", sa.Column("face_text", INT64, nullable=True))
    for column in (
        sa.Column("said_at", INT64, nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("epoch", INT64, nullable=True),
        sa.Column("seq", INT64, nullable=True),
    ):
        op.add_column("member_consent", column)
    _create_templates()
    _create_readers()
    _create_proofs()
    _create_groups()
    _create_face_dispute()


def _create_templates() -> None:
    op.create_table(
        "template_head",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("floor", INT64, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("store", name="pk_template_head"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sealed_template",
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("since_version", INT64, nullable=False),
        sa.Column("removed", INT64, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("embedder", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("text_version", INT64, nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("frames", INT64, nullable=True),
        sa.Column("resealed", INT64, nullable=True),
        sa.Column("enrolled_at", INT64, nullable=True),
        sa.Column("recorded_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("member", "store", name="pk_sealed_template"),
        sa.UniqueConstraint("store", "version", name="uq_sealed_template_store_version"),
        sa.CheckConstraint("(removed = 1) = (sealed IS NULL)", name=op.f("ck_sealed_template_removed")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "template_waiting",
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("embedder", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("text_version", INT64, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("frames", INT64, nullable=False),
        sa.Column("resealed", INT64, nullable=False),
        sa.Column("enrolled_at", INT64, nullable=False),
        sa.Column("recorded_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("member", "store", "key", name="pk_template_waiting"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_template_waiting_store_key", "template_waiting", ["store", "key"])


def _create_readers() -> None:
    op.create_table(
        "template_reader",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("told_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("store", "device", name="pk_template_reader"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_proofs() -> None:
    op.create_table(
        "face_deletion",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("asked_at", INT64, nullable=False),
        sa.Column("stored_at", INT64, nullable=False),
        sa.Column("ends_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "member", "store", "device", "asked_at", name="pk_face_deletion"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "face_forgotten",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("recorded_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq", name="pk_face_forgotten"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_face_forgotten_tenant_member", "face_forgotten", ["tenant", "member"])
    op.create_index("ix_face_forgotten_store", "face_forgotten", ["store"])
    if op.get_bind().dialect.name == "postgresql":
        for trigger in POSTGRESQL_TRIGGERS:
            op.execute(trigger)
    else:
        for verb in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(verb=verb))


def _create_groups() -> None:
    op.create_table(
        "face_group",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("version", INT64, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("made_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("store", name="pk_face_group"),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_face_group_store"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "face_wrap",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_by", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("said_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("store", "device", "key", name="pk_face_wrap"),
        sa.ForeignKeyConstraint(["store"], ["store.id"], name="fk_face_wrap_store"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _create_face_dispute() -> None:
    op.create_table(
        "face_dispute",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("seq", INT64, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("member", sa.LargeBinary(), nullable=False),
        sa.Column("claim", sa.LargeBinary(), nullable=True),
        sa.Column("wall_ms", INT64, nullable=True),
        sa.Column("recorded_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq", name="pk_face_dispute"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_face_dispute_store", "face_dispute", ["store"])

"""The registry of devices: codes, devices, certificates, epochs, how each was last seen, the revocations feed, and the
groups of kiosks that share a secret which the cloud carries wrapped and cannot open.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, UniqueConstraint

from cloud.kit.database import BYTES, INT64, TEXT, Instant, define_table

claim_code = define_table(
    "claim_code",
    Column("digest", BYTES, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("device", TEXT, nullable=True),
    ForeignKeyConstraint(["store"], ["store.id"]),
    ForeignKeyConstraint(["device"], ["device.id"]),
    with_rowid=False,
)

device = define_table(
    "device",
    Column("id", TEXT, primary_key=True),
    Column("tenant", TEXT, nullable=False),
    Column("store", TEXT, nullable=False),
    Column("tls_public", BYTES, nullable=False),
    Column("signing_public", BYTES, nullable=False),
    Column("fingerprint", TEXT, nullable=False),
    Column("poll_digest", BYTES, nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("confirmed_at", Instant, nullable=True),
    Column("revoked_at", Instant, nullable=True),
    ForeignKeyConstraint(["store"], ["store.id"]),
    CheckConstraint("length(signing_public) = 32", "signing_public"),
    Index(None, "tenant"),
    with_rowid=False,
)

device_certificate = define_table(
    "device_certificate",
    Column("serial", TEXT, primary_key=True),
    Column("device", TEXT, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("tls_public", BYTES, nullable=False),
    Column("pem", TEXT, nullable=False),
    ForeignKeyConstraint(["device"], ["device.id"]),
    Index(None, "device", "issued_at"),
    with_rowid=False,
)

device_epoch = define_table(
    "device_epoch",
    Column("device", TEXT, primary_key=True),
    Column("epoch", INT64, primary_key=True, autoincrement=False),
    Column("database", BYTES, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("quarantined_at", Instant, nullable=True),
    UniqueConstraint("device", "database"),
    ForeignKeyConstraint(["device"], ["device.id"]),
    CheckConstraint("epoch > 0", "epoch"),
    with_rowid=False,
)

device_status = define_table(
    "device_status",
    Column("device", TEXT, primary_key=True),
    Column("session", INT64, nullable=False),
    Column("is_online", INT64, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("epoch", INT64, nullable=False),
    Column("head", INT64, nullable=False),
    Column("settled", INT64, nullable=False),
    Column("software", TEXT, nullable=False),
    Column("lan", TEXT, nullable=True),
    Column("network_version", INT64, nullable=True),
    ForeignKeyConstraint(["device"], ["device.id"]),
    with_rowid=False,
)

device_revocation = define_table(
    "device_revocation",
    Column("tenant", TEXT, primary_key=True),
    Column("version", INT64, primary_key=True, autoincrement=False),
    Column("device", TEXT, nullable=False),
    Column("since", Instant, nullable=False),
    UniqueConstraint("device"),
    ForeignKeyConstraint(["device"], ["device.id"]),
    CheckConstraint("version > 0", "version"),
    with_rowid=False,
)

# The group of a store's kiosks. `version` grows with its key, its wraps and the list of kiosks; `key` names the secret.
face_group = define_table(
    "face_group",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    Column("key", BYTES, nullable=True),
    Column("device", TEXT, nullable=True),
    Column("made_at", Instant, nullable=True),
    ForeignKeyConstraint(["store"], ["store.id"]),
    with_rowid=False,
)

# A secret wrapped for one kiosk; `device` is who opens it, `wrapped_by` who wrapped it. Those under another key than
# the group's came before the change that they belong to.
face_wrap = define_table(
    "face_wrap",
    Column("store", TEXT, primary_key=True),
    Column("device", TEXT, primary_key=True),
    Column("key", BYTES, primary_key=True),
    Column("previous", BYTES, nullable=True),
    Column("sealed", BYTES, nullable=False),
    Column("wrapped_by", TEXT, nullable=False),
    Column("epoch", INT64, nullable=False),
    Column("seq", INT64, nullable=False),
    Column("said_at", Instant, nullable=False),
    ForeignKeyConstraint(["store"], ["store.id"]),
    with_rowid=False,
)

# The kiosks of a store on their own network: `body` is a `StoreNetwork`, `version` that of the feed.
store_network = define_table(
    "store_network",
    Column("store", TEXT, primary_key=True),
    Column("version", INT64, nullable=False),
    Column("body", BYTES, nullable=False),
    ForeignKeyConstraint(["store"], ["store.id"]),
    with_rowid=False,
)

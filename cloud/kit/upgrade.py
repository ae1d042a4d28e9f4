"""Brings a database to the newest schema, in one transaction: it is either as it was or fully upgraded, never between.

Two workers that start together take turns (SQLite's write lock, an advisory lock on PostgreSQL); the second finds
nothing left to do. No ini file: where the scripts live is known from this package.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from cloud.kit.database import is_postgresql, writing

UPGRADE_LOCK = 0x0D00_0257  # any number that no other user of the same PostgreSQL database locks


def upgrade(engine: Engine) -> None:
    """Applies every script of migrations/versions that the database has not seen."""
    with writing(engine) as connection:
        if is_postgresql(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        command.upgrade(script_config(connection), "heads")


def script_config(connection: Connection) -> Config:
    """Where Alembic finds the scripts and which connection it works on."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config

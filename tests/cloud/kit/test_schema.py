"""The migrated schema is the declared one, on both databases."""

import importlib
import pkgutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import cloud
from cloud.kit.database import metadata, open_engine, reading, writing
from cloud.kit.upgrade import script_config, upgrade
from cloud.members.queries import consents_of
from cloud.members.verify import verify_faces
from shared.ids import MemberId, TenantId
from tests.support.postgres import PostgresServer


def _import_all_tables() -> None:
    for module in pkgutil.walk_packages(cloud.__path__, "cloud."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)


def test_migrated_schema_equals_metadata(engine: Engine) -> None:
    _import_all_tables()
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    assert inspect(engine).has_table("journal_entry")


def test_every_table_is_strict_on_sqlite(engine: Engine) -> None:
    _import_all_tables()
    if engine.dialect.name == "sqlite":
        inspector = inspect(engine)
        assert all(inspector.get_table_options(name)["sqlite_strict"] for name in metadata.tables)


def test_workers_that_start_together_upgrade_once(request: pytest.FixtureRequest, database_url: str) -> None:
    """Four on an empty database: one does the work, the others find it done."""
    if database_url.startswith("sqlite"):
        url = database_url.replace(".db", "-empty.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
        server.execute("CREATE DATABASE empty")
        url = server.url("empty")
    with ThreadPoolExecutor(4) as executor:
        engines = list(executor.map(_upgraded, [url] * 4))
    assert all(inspect(engine).has_table("journal_entry") for engine in engines)
    for engine in engines:
        engine.dispose()


def _upgraded(url: str) -> Engine:
    engine = open_engine(url)
    upgrade(engine)
    return engine


def test_members_of_the_version_before_are_there_after_the_upgrade(
    request: pytest.FixtureRequest, database_url: str
) -> None:
    """What migration 0008 adds is empty for them: nobody has consented to anything by an upgrade."""
    if database_url.startswith("sqlite"):
        url = database_url.replace(".db", "-older.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.execute("DROP DATABASE IF EXISTS older WITH (FORCE)")
        server.execute("CREATE DATABASE older")
        url = server.url("older")
    engine = open_engine(url)
    with writing(engine) as connection:
        command.upgrade(script_config(connection), "0007")
        connection.execute(
            text(
                "INSERT INTO member (tenant, id, programme, language, level, joined_at, card_serial, serial_floor,"
                " phones_denied) VALUES ('t', :id, 'p', 'it', 1, 0, 0, 0, 0)"
            ),
            {"id": bytes(10)},
        )
        connection.execute(
            text(
                "INSERT INTO member_consent (tenant, member, number, purpose, level, given, text_version, language,"
                " channel, recorded_at) VALUES ('t', :id, 1, 'programme', 1, 1, 1, 'it', 'page', 7)"
            ),
            {"id": bytes(10)},
        )
    upgrade(engine)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT face_text FROM member")).scalars().all() == [None]
        (line,) = consents_of(connection, TenantId("t"), MemberId(bytes(10)))
        assert (line.said_at, line.origin) == (line.recorded_at, None)
        assert verify_faces(connection) == ()
    engine.dispose()

"""The migrated schema is the declared one, on both databases."""

import importlib
import pkgutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

import cloud
from cloud.kit.database import metadata, open_engine, reading
from cloud.kit.upgrade import upgrade
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

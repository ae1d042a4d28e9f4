"""The fixture `engine`: every cloud test that asks for it runs on SQLite and on PostgreSQL, each time on a fresh,
fully migrated database."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.kit.database import open_engine
from cloud.kit.upgrade import upgrade
from tests.cloud.stored import stored_bytes
from tests.support.postgres import PostgresServer, postgres_server, why_no_postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def memory_folder() -> Iterator[Path]:
    """A folder on the memory file system where there is one, removed at the end."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ds-cloud-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def migrated_sqlite(memory_folder: Path) -> Path:
    """A migrated database file to copy from."""
    path = memory_folder / "migrated.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private server, started once, with a migrated database `migrated` to copy from."""
    reason = why_no_postgres()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server() as server:
        server.execute("CREATE DATABASE migrated")
        _migrate(server.url("migrated"))
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a fresh, migrated database, dropped after the test."""
    name = f"test_{next(_numbers)}"
    if request.param == "sqlite":
        folder: Path = request.getfixturevalue("memory_folder")
        path = folder / f"{name}.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        for leftover in folder.glob(f"{name}[.-]*"):
            leftover.unlink()
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
        yield server.url(name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh, migrated database; the test runs once on SQLite and once on PostgreSQL."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def everything_stored(engine: Engine) -> Callable[[], bytes]:
    """Gives every byte that the test's database holds at that moment."""
    return lambda: stored_bytes(engine)


def _migrate(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()

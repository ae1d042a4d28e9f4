"""A copy of the database, taken while it is written to, and the way back, on both databases."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from cloud.kit.auth import Scope, list_tokens
from cloud.kit.database import open_engine, reading, writing
from cloud.kit.snapshot import SnapshotFailed, bring_back, file_name, is_empty, save
from tests.cloud.service import bearer
from tests.support.postgres import PostgresServer


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """The address of a database of the same kind in which there is nothing."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'empty' / 'doorstep.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    server.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
    server.execute("CREATE DATABASE empty")
    return server.url("empty")


def test_a_copy_is_brought_back_whole(engine: Engine, database_url: str, empty_url: str, tmp_path: Path) -> None:
    bearer(engine, Scope.ADMIN)
    copy = tmp_path / file_name(database_url)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM api_token"))
        save(database_url, copy)  # what is not committed is not in it
    assert copy.stat().st_mode & 0o077 == 0
    assert is_empty(empty_url)
    bring_back(empty_url, copy)
    assert not is_empty(empty_url)
    assert _tokens(empty_url) == 1
    with pytest.raises(SnapshotFailed, match="not empty"):
        bring_back(empty_url, copy)


def test_triggers_come_back_too(engine: Engine, database_url: str, empty_url: str, tmp_path: Path) -> None:
    copy = tmp_path / file_name(database_url)
    save(database_url, copy)
    bring_back(empty_url, copy)
    restored = open_engine(empty_url)
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'posting_no%'"
        if empty_url.startswith("sqlite")
        else "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'posting_no%'"
    )
    with reading(restored) as connection:
        assert connection.execute(text(query)).scalar() == 2
    restored.dispose()


def test_no_copy_over_another(engine: Engine, database_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"precious")
    with pytest.raises(SnapshotFailed, match="is there already"):
        save(database_url, copy)
    assert copy.read_bytes() == b"precious"


def test_what_cannot_be_read(database_url: str, empty_url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"x" * 10_000)
    for source in (broken, tmp_path / "missing"):
        with pytest.raises(SnapshotFailed):
            bring_back(empty_url, source)
        assert is_empty(empty_url)


def test_a_password_goes_by_file(postgres: PostgresServer, tmp_path: Path) -> None:
    """A server that trusts everybody does not need it, so this shows that the address survives."""
    url = postgres.url("migrated").replace("doorstep@", "doorstep:se%3Acret@")
    save(url, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes().startswith(b"PGDMP")
    with pytest.raises(SnapshotFailed) as failed:
        save(url.replace("migrated", "nowhere"), tmp_path / "other")
    assert "secret" not in failed.value.reason.replace(":", "")


def _tokens(url: str) -> int:
    engine = open_engine(url)
    with reading(engine) as connection:
        count = len(list_tokens(connection))
    engine.dispose()
    return count


def test_a_copy_is_one_file(engine: Engine, database_url: str, tmp_path: Path) -> None:
    bearer(engine, Scope.ADMIN)
    save(database_url, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    if database_url.startswith("sqlite"):
        shutil.copyfile(tmp_path / "copy", tmp_path / "moved.db")
        assert _tokens(f"sqlite:///{tmp_path / 'moved.db'}") == 1


def test_a_copy_leaves_out_what_may_be_in_none(
    engine: Engine, database_url: str, empty_url: str, tmp_path: Path
) -> None:
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO template_head (store, version, floor) VALUES ('kept', 1, 0)"))
        connection.execute(
            text(
                "INSERT INTO template_waiting (member, store, key, tenant, embedder, sealed, text_version, device,"
                " frames, resealed, enrolled_at, recorded_at)"
                " VALUES (:id, 'kept', :id, 't', :id, :sealed, 1, 'd', 1, 0, 0, 0)"
            ),
            {"id": b"i" * 8, "sealed": b"SEALED" * 40},
        )
    copy = tmp_path / file_name(database_url)
    save(database_url, copy, without=["template_waiting"])

    assert b"SEALED" not in copy.read_bytes()
    bring_back(empty_url, copy)
    restored = open_engine(empty_url)
    with reading(restored) as connection:
        assert connection.execute(text("SELECT count(*) FROM template_waiting")).scalar() == 0
        assert connection.execute(text("SELECT store FROM template_head")).scalars().all() == ["kept"]
    restored.dispose()

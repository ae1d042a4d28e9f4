"""A copy of the whole database in one file, taken while the service runs, and the way back.

SQLite's own online backup copies pages, so even what is broken in a database is in its copy. PostgreSQL's pg_dump
reads one snapshot. Neither way overwrites anything. What may be in no copy is left out of it by the table, so that
nothing of it is in the file either.
"""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from cloud.errors import CloudError
from cloud.kit.database import open_engine

PAGES_AT_ONCE = 4096  # 16 MB between two looks at whether somebody wants to write


class SnapshotFailed(CloudError):
    """The database could not be copied or brought back; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def file_name(url: str) -> str:
    """What a copy of the database is called; it says which kind of database it is of."""
    return "doorstep.db" if _is_sqlite(make_url(url)) else "doorstep.pgdump"


def save(url: str, target: Path, *, without: Sequence[str] = ()) -> None:
    """Makes `target` a copy of the database in which the tables `without` are empty. Raises: SnapshotFailed."""
    if target.exists():
        raise SnapshotFailed(f"{target} is there already")
    address = make_url(url)
    if _is_sqlite(address):
        _copy_sqlite(_file(address), target, without)
    else:
        left_out = [f"--exclude-table-data={table}" for table in without]
        with _connection_string(address) as connection:
            _run("pg_dump", "--format=custom", *left_out, f"--file={target}", connection)
    target.chmod(0o600)


def bring_back(url: str, source: Path) -> None:
    """Makes the database what the copy holds. Raises: SnapshotFailed when there is anything in it."""
    if not is_empty(url):
        raise SnapshotFailed("the database is not empty; nothing was changed")
    address = make_url(url)
    if _is_sqlite(address):
        path = _file(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_sqlite(source, path)
    else:
        with _connection_string(address) as connection:
            _run("pg_restore", "--single-transaction", "--no-owner", f"--dbname={connection}", str(source))


def is_empty(url: str) -> bool:
    """True when there is nothing that bringing a copy back could overwrite."""
    address = make_url(url)
    if _is_sqlite(address):
        return not _file(address).exists()
    engine = open_engine(url)
    try:
        return not inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _file(address: URL) -> Path:
    assert address.database is not None, "open_engine lets no other through"
    return Path(address.database)


def _copy_sqlite(source: Path, target: Path, without: Sequence[str] = ()) -> None:
    if not source.exists():
        raise SnapshotFailed(f"{source} is missing")
    draft = target.with_name(f".{target.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        held = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
        with closing(held), closing(sqlite3.connect(draft)) as copy:
            held.backup(copy, pages=PAGES_AT_ONCE)
            _empty(copy, without)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
    except sqlite3.DatabaseError as error:
        draft.unlink(missing_ok=True)
        raise SnapshotFailed(f"{source} cannot be read as a database") from error
    draft.replace(target)


def _empty(copy: sqlite3.Connection, tables: Sequence[str]) -> None:
    """The tables are empty, and what they held is overwritten with zeros where it lay. The source does the same."""
    copy.execute("PRAGMA journal_mode = MEMORY")  # or what is deleted would lie in a file beside the copy for a while
    copy.execute("PRAGMA secure_delete = ON")
    with copy:
        for table in tables:
            copy.execute(f"DELETE FROM {table}")  # noqa: S608 - names of declared tables


def _run(program: str, *arguments: str) -> None:
    path = shutil.which(program) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))), None)
    if path is None:
        raise SnapshotFailed(f"{program} is not installed (apt install postgresql-client)")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SnapshotFailed(f"{program}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")


@contextmanager
def _connection_string(address: URL) -> Iterator[str]:
    """The address for libpq's programs. A password goes through a file only we can read, not through the arguments."""
    plain = address.set(drivername="postgresql")
    if plain.password is None:
        yield plain.render_as_string(hide_password=False)
        return
    with tempfile.NamedTemporaryFile("w", prefix="doorstep-") as file:
        password = str(plain.password).replace("\\", "\\\\").replace(":", "\\:")
        file.write(f"*:*:*:*:{password}\n")
        file.flush()
        without = URL.create(
            "postgresql",
            username=plain.username,
            host=plain.host,
            port=plain.port,
            database=plain.database,
            query={**plain.query, "passfile": file.name},
        )
        yield without.render_as_string(hide_password=False)

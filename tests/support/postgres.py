"""A private PostgreSQL server from the distribution's packages, reachable through a Unix socket only.

It lives in a temporary folder on the memory file system where there is one, and dies with the process that started
it (`setpriv --pdeathsig`), however that ends.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

START_S = 20
STOP_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server; `folder` holds its data, socket and log."""

    folder: Path

    def url(self, database: str) -> str:
        """The address of one of its databases, for `open_engine`."""
        return f"postgresql://doorstep@/{database}?host={quote(str(self.folder))}"

    def execute(self, statement: str) -> None:
        """Runs a statement that must stand outside a transaction, such as CREATE DATABASE."""
        with psycopg.connect(f"host={self.folder} user=doorstep dbname=postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


def why_no_postgres() -> str | None:
    """The reason why no server can be started here, or None when one can."""
    if not _programs():
        return "PostgreSQL's initdb is not installed"
    if shutil.which("setpriv") is None:
        return "setpriv (util-linux) is not installed"
    return None


@contextmanager
def postgres_server(
    *, settings: tuple[str, ...] = ("fsync=off",), parent: Path | None = None
) -> Iterator[PostgresServer]:
    """A fresh server, stopped and removed at the end. `settings` are postgresql.conf lines.

    The folder is under `parent`, else on the memory file system; a socket path must stay under 107 bytes.
    """
    memory = Path("/dev/shm")
    home = parent or (memory if memory.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="ds-pg-", dir=home) as name:
        folder = Path(name)
        server = _start(folder, settings)
        try:
            yield PostgresServer(folder=folder)
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: sessions are cut, data is flushed
            server.wait(STOP_S)


def _start(folder: Path, settings: tuple[str, ...]) -> subprocess.Popen[bytes]:
    programs, run_as = _programs()[-1], _run_as()
    if run_as:
        shutil.chown(folder, "postgres")
    subprocess.run(
        [
            *run_as,
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "doorstep",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = [word for line in ("listen_addresses=", *settings) for word in ("-c", line)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *run_as,
                "setpriv",
                "--pdeathsig",
                "INT",
                programs / "postgres",
                "-D",
                folder / "data",
                "-k",
                folder,
                *options,
            ],
            stdout=log,
            stderr=log,
        )
    _wait_until_ready(folder, server)
    return server


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(f"host={folder} user=doorstep dbname=postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _programs() -> list[Path]:
    """The folders of installed servers, oldest first."""
    return sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def _run_as() -> list[str]:
    """The prefix that leaves root behind, which PostgreSQL refuses to run as; empty for anybody else."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

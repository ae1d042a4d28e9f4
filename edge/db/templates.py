"""The sealed templates on this device, in a database of their own that keeps nothing of what was deleted.

Apart from the main database because a copy of that one is a snapshot or a backup, and a face that was withdrawn must
not come back with it: this file is in neither, and it belongs to one life of the main database. `secure_delete`
overwrites what a row held, the rollback journal is cut to nothing with each commit (a write-ahead log would keep old
pages until it wraps), and no temporary file is written. What a flash card keeps in blocks it has given up is beyond
SQL's reach; there, it is sealed. Only `vision` opens this file.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib import resources
from typing import Final

from edge.core.feeds import HeldFeed
from edge.db.database import BUSY_MS, Database, Migration, migrate
from edge.errors import StorageFull
from shared.biometrics import SealedTemplate
from shared.ids import MemberId

PAGE_ROWS: Final = 2000
"""Rows read at a time, about 700 kB; whoever reads may write in between."""

_SETTINGS: Final = (
    "secure_delete = ON",
    "journal_mode = TRUNCATE",
    "synchronous = FULL",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
    f"busy_timeout = {BUSY_MS}",
)


class TemplateDatabase(Database):
    """The template database, opened by the one process that sees faces."""

    def __enter__(self) -> "TemplateDatabase":
        return self

    # --- whose templates these are ------------------------------------------------------------------------------------

    def life(self) -> bytes | None:
        """The life of the main database that these templates belong to, None before the first."""
        life: bytes | None = self.connection.execute("SELECT life FROM state").fetchone()["life"]
        return life

    def bind(self, life: bytes) -> bool:
        """Makes this the life that the templates belong to; True when those of another life were wiped."""
        held = self.life()
        if held == life:
            return False
        with self.transaction() as connection:
            _wipe(connection)
            connection.execute("UPDATE state SET life = ?", (life,))
        return held is not None

    def held(self) -> HeldFeed:
        """Version and time of the templates feed as applied."""
        row = self.connection.execute("SELECT version, issued_ms FROM state").fetchone()
        return HeldFeed(version=row["version"], issued_ms=row["issued_ms"])

    # --- templates ----------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Members whose template is held."""
        count: int = self.connection.execute("SELECT count(*) FROM template").fetchone()[0]
        return count

    def all_sealed(
        self, key: bytes, embedder: bytes | None = None, *, beginning: bytes = b""
    ) -> Iterator[SealedTemplate]:
        """Every template under this key (of this embedder, sealed in a form that begins so), by member.

        Writing in between is safe.
        """
        after = b""
        while True:
            rows = self.connection.execute(
                "SELECT member, key, embedder, sealed FROM template"
                " WHERE member > ? AND key = ? AND embedder = coalesce(?, embedder)"
                " AND substr(sealed, 1, ?) = ? ORDER BY member LIMIT ?",
                (after, key, embedder, len(beginning), beginning, PAGE_ROWS),
            ).fetchall()
            yield from map(_template, rows)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1]["member"]

    def sealed_of(self, member: MemberId) -> SealedTemplate | None:
        """The member's template, None when there is none."""
        rows = self.connection.execute("SELECT member, key, embedder, sealed FROM template WHERE member = ?", (member,))
        row = rows.fetchone()
        return None if row is None else _template(row)

    def apply(
        self,
        *,
        version: int | None,
        issued_ms: int,
        whole: bool,
        reset: bool,
        keep: Iterable[SealedTemplate],
        forget: Iterable[MemberId],
    ) -> tuple[MemberId, ...]:
        """Keeps and forgets in one transaction; returns those of `forget` whose template was really there.

        `version` of the feed that is then applied, None when this is no step of the feed. `whole` when the feed is at
        its newest then: every lease begins anew at `issued_ms`. `reset` forgets everything first.
        """
        with self.transaction() as connection:
            forgotten = tuple(member for member in forget if _delete(connection, member))
            if reset:
                connection.execute("DELETE FROM template")
            connection.executemany(
                "INSERT INTO template (member, key, embedder, sealed, confirmed_ms, told) VALUES (?, ?, ?, ?, ?, 1)"
                " ON CONFLICT (member) DO UPDATE SET key = excluded.key, embedder = excluded.embedder,"
                " sealed = excluded.sealed, confirmed_ms = excluded.confirmed_ms, told = 1",
                ((kept.member, kept.key, kept.embedder, kept.sealed, issued_ms) for kept in keep),
            )
            if version is not None:
                connection.execute("UPDATE state SET version = ?, issued_ms = ?", (version, issued_ms))
            if whole:
                connection.execute("UPDATE state SET confirmed_ms = max(confirmed_ms, ?)", (issued_ms,))
        return forgotten

    def reseal(self, templates: Iterable[SealedTemplate]) -> None:
        """Replaces the sealed form of templates that are held, which the cloud has to be told of then."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE template SET key = ?, sealed = ?, told = 0 WHERE member = ?",
                ((template.key, template.sealed, template.member) for template in templates),
            )

    def untold(self, limit: int) -> tuple[SealedTemplate, ...]:
        """Templates sealed anew here that `apply` has not brought back yet, by member."""
        rows = self.connection.execute(
            "SELECT member, key, embedder, sealed FROM template WHERE told = 0 ORDER BY member LIMIT ?", (limit,)
        )
        return tuple(map(_template, rows))

    def lapse(self, before_ms: int) -> tuple[MemberId, ...]:
        """Forgets every template that was last confirmed before this instant; returns whose they were."""
        confirmed = self.connection.execute("SELECT confirmed_ms FROM state").fetchone()["confirmed_ms"]
        if confirmed >= before_ms:
            return ()
        with self.transaction() as connection:
            rows = connection.execute("SELECT member FROM template WHERE confirmed_ms < ?", (before_ms,)).fetchall()
            connection.execute("DELETE FROM template WHERE confirmed_ms < ?", (before_ms,))
        return tuple(MemberId(row["member"]) for row in rows)

    def forget_all(self) -> None:
        """Forgets every template, and what was applied of the feed: it begins anew."""
        with self.transaction() as connection:
            _wipe(connection)

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self, new_database: bytes) -> None:
        try:
            self.path.touch(mode=0o600)  # SQLite gives the journal the file's permissions
        except OSError as error:
            raise StorageFull(str(error)) from error
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        self._prepare(self._connection)
        migrate(self._connection, _load_migrations())

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")


def _template(row: sqlite3.Row) -> SealedTemplate:
    return SealedTemplate(member=row["member"], key=row["key"], embedder=row["embedder"], sealed=row["sealed"])


def _delete(connection: sqlite3.Connection, member: MemberId) -> bool:
    return connection.execute("DELETE FROM template WHERE member = ?", (member,)).rowcount == 1


def _wipe(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM template")
    connection.execute("UPDATE state SET version = 0, issued_ms = 0, confirmed_ms = 0")


def _load_migrations() -> tuple[Migration, ...]:
    folder = resources.files("edge.db") / "template_migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    scripts = ((entry.name, entry.read_text(encoding="utf-8")) for entry in files)
    return tuple(
        Migration(number=int(name.split("_")[0]), name=name, sql=sql, digest=sha256(sql.encode()).hexdigest())
        for name, sql in scripts
    )

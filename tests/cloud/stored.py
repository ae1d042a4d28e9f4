"""All that a cloud's database holds, for tests of what it must not hold or cannot open."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, MetaData, select

from cloud.kit.database import reading


def stored_values(engine: Engine) -> Iterator[bytes]:
    """Every value of every row of every table as bytes: what a reader of the database sees, texts as UTF-8."""
    tables = MetaData()
    with reading(engine) as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            for row in connection.execute(select(table)):
                yield from (_as_bytes(value) for value in row if value is not None)


def stored_bytes(engine: Engine) -> bytes:
    """All of it in one piece, with a zero byte between two values; on SQLite the file itself as well.

    The write-ahead log is brought into the file first, as SQLite does by itself every thousand pages.
    """
    values = b"\0".join(stored_values(engine))
    if engine.dialect.name != "sqlite":
        return values
    raw = engine.raw_connection()
    raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    return values + b"\0" + Path(str(engine.url.database)).read_bytes()


def _as_bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()

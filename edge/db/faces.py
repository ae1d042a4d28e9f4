"""What the agent keeps about faces: who can be recognised, and which envelopes carry a sealed template.

No number of a face is here. Templates are in a database of their own, which only `vision` opens; a sealed one passes
through the outbox and is erased there as soon as the cloud has it.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from shared.biometrics import Forgetting
from shared.ids import MemberId


def keep(connection: sqlite3.Connection, members: Iterable[MemberId]) -> None:
    """These members' templates are held."""
    connection.executemany("INSERT OR REPLACE INTO face_member (member) VALUES (?)", [(member,) for member in members])


def is_kept(connection: sqlite3.Connection, member: MemberId) -> bool:
    """True while the member's template is held and not on its way out."""
    found = connection.execute("SELECT 1 FROM face_member WHERE member = ? AND leaving IS NULL", (member,)).fetchone()
    return found is not None


def ask_to_leave(connection: sqlite3.Connection, members: Iterable[MemberId], why: Forgetting) -> None:
    """These members' templates are to be forgotten, if they are held; the first reason stands."""
    connection.executemany(
        "UPDATE face_member SET leaving = ? WHERE member = ? AND leaving IS NULL", [(why, member) for member in members]
    )


def ask_all_to_leave(connection: sqlite3.Connection, why: Forgetting) -> None:
    """Every template is to be forgotten."""
    connection.execute("UPDATE face_member SET leaving = ? WHERE leaving IS NULL", (why,))


def leaving(connection: sqlite3.Connection, limit: int) -> dict[MemberId, Forgetting]:
    """Whose template is on its way out and not yet gone, and why; so many of them."""
    return _out(connection, 0, limit)


def leaving_among(connection: sqlite3.Connection, members: Iterable[MemberId]) -> tuple[MemberId, ...]:
    """Those of the members whose template is on its way out."""
    known = "SELECT 1 FROM face_member WHERE member = ? AND leaving IS NOT NULL"
    return tuple(member for member in members if connection.execute(known, (member,)).fetchone() is not None)


def all_leaving_went(connection: sqlite3.Connection) -> None:
    """`vision` forgot everything that was on its way out."""
    connection.execute("UPDATE face_member SET gone = 1 WHERE leaving IS NOT NULL")


def gone(connection: sqlite3.Connection, limit: int) -> dict[MemberId, Forgetting]:
    """Whose template is gone without a proof yet, and why; so many of them."""
    return _out(connection, 1, limit)


def went(connection: sqlite3.Connection, members: Iterable[MemberId], why: Forgetting) -> None:
    """`vision` forgot these; the reason given when they were asked to leave stands."""
    connection.executemany(
        "INSERT INTO face_member (member, leaving, gone) VALUES (?, ?, 1)"
        " ON CONFLICT (member) DO UPDATE SET leaving = coalesce(leaving, excluded.leaving), gone = 1",
        [(member, why) for member in members],
    )


def proved(connection: sqlite3.Connection, member: MemberId) -> None:
    """The proof that the member was forgotten is written."""
    connection.execute("DELETE FROM face_member WHERE member = ?", (member,))


def none_held(connection: sqlite3.Connection) -> None:
    """`vision` holds nothing: a template that was not on its way out was lost, not forgotten at anybody's wish."""
    connection.execute("DELETE FROM face_member WHERE leaving IS NULL")


def _out(connection: sqlite3.Connection, is_gone: int, limit: int) -> dict[MemberId, Forgetting]:
    rows = connection.execute(
        "SELECT member, leaving FROM face_member WHERE leaving IS NOT NULL AND gone = ? LIMIT ?", (is_gone, limit)
    )
    return {MemberId(row["member"]): Forgetting(row["leaving"]) for row in rows}


# --- envelopes with a sealed template -------------------------------------------------------------------------------


def note_envelope(connection: sqlite3.Connection, epoch: int, seq: int, member: MemberId) -> None:
    """This envelope carries the member's sealed template."""
    connection.execute("INSERT INTO template_envelope (epoch, seq, member) VALUES (?, ?, ?)", (epoch, seq, member))


def erase_of(connection: sqlite3.Connection, member: MemberId) -> None:
    """No envelope carries a template of the member any more, settled or not; the chain keeps its digests."""
    _erase(connection, "member = ?", member)


def erase_settled(connection: sqlite3.Connection) -> None:
    """No settled envelope carries a template any more."""
    _erase(connection, "EXISTS (SELECT 1 FROM outbox o WHERE (o.epoch, o.seq) = (t.epoch, t.seq) AND o.settled = 1)")


def erase_all(connection: sqlite3.Connection) -> None:
    """No envelope carries a template: for a copy."""
    _erase(connection, "TRUE")


def _erase(connection: sqlite3.Connection, which: str, *values: bytes) -> None:
    chosen = f"SELECT epoch, seq FROM template_envelope t WHERE {which}"  # noqa: S608 - one of the texts above
    connection.execute(f"UPDATE outbox SET salt = NULL, payload = NULL WHERE (epoch, seq) IN ({chosen})", values)  # noqa: S608
    connection.execute(f"DELETE FROM template_envelope WHERE (epoch, seq) IN ({chosen})", values)  # noqa: S608


# --- the group's secret ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSecret:
    """The newest change of the secret that was told: its last envelope, whether that is settled, and the version of
    the cloud's word at that time."""

    settled: bool
    page_version: int


def note_told_secret(connection: sqlite3.Connection, epoch: int, seq: int, page_version: int) -> None:
    """This envelope tells of the secret; the cloud's word was of that version then."""
    connection.execute(
        "INSERT OR REPLACE INTO group_told (id, epoch, seq, page_version) VALUES (1, ?, ?, ?)",
        (epoch, seq, page_version),
    )


def told_secret(connection: sqlite3.Connection) -> ToldSecret | None:
    """The newest change told; an envelope that was pruned was settled."""
    row = connection.execute(
        "SELECT g.page_version, coalesce(o.settled, 1) AS settled FROM group_told g LEFT JOIN outbox o"
        " ON (o.epoch, o.seq) = (g.epoch, g.seq)"
    ).fetchone()
    return None if row is None else ToldSecret(settled=bool(row["settled"]), page_version=row["page_version"])

"""What the cloud told this device: keys, policy, deny list, revocations, roster, group; and who the device is."""

import sqlite3
from dataclasses import dataclass
from typing import assert_never

import msgspec

from edge.core.bounds import ROSTER_MAX
from edge.core.clock import ClockMark
from edge.core.feeds import HeldFeed
from edge.core.recovery import Beginning, Recovery
from shared.answers import (
    DenyPage,
    FeedName,
    GroupPage,
    KeyPage,
    Page,
    PolicyPage,
    RevocationPage,
    RosterPage,
    StorePage,
    TemplatePage,
    Verdict,
    name_of,
)
from shared.envelope import FeedVersions
from shared.ids import MemberId
from shared.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """This life of the database: its random name, its epoch (0: none issued yet), the sessions of the link so far."""

    database: bytes
    epoch: int
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMember:
    """What the roster holds of a member. `balance_ms` is as of when.

    `face_text` is the version of the biometric text whose consent is in force, None when there is none. `coupon` is the
    label of a deferred coupon that was confirmed since they were last here, None for none.
    """

    nickname: str | None
    language: str | None
    balance: int
    balance_ms: int
    face_text: int | None
    coupon: str | None = None


def life(connection: sqlite3.Connection) -> Life:
    """This life of the database."""
    row = connection.execute("SELECT database, epoch, session FROM device").fetchone()
    return Life(database=row["database"], epoch=row["epoch"], session=row["session"])


def save_epoch(connection: sqlite3.Connection, epoch: int) -> None:
    """Takes the issued epoch. It never changes within one life of the database."""
    changed = connection.execute("UPDATE device SET epoch = ? WHERE epoch IN (0, ?)", (epoch, epoch)).rowcount
    assert changed == 1


def begin_life(connection: sqlite3.Connection, database: bytes, recovery: Recovery) -> None:
    """The database is another one from now on: it has no epoch yet, and does not know what is held of templates."""
    connection.execute("UPDATE device SET database = ?, epoch = 0", (database,))
    connection.execute("DELETE FROM feed WHERE name = ?", (FeedName.TEMPLATES,))
    connection.execute(
        "INSERT OR REPLACE INTO recovery (id, how, at_ms, snapshot_ms, salvaged, damage) VALUES (1, ?, ?, ?, ?, ?)",
        (recovery.how, recovery.at_ms, recovery.snapshot_ms, recovery.salvaged, recovery.damage),
    )


def recovery(connection: sqlite3.Connection) -> Recovery | None:
    """How this life began, None when it is the device's first."""
    row = connection.execute("SELECT how, at_ms, snapshot_ms, salvaged, damage FROM recovery").fetchone()
    if row is None:
        return None
    return Recovery(
        how=Beginning(row["how"]),
        at_ms=row["at_ms"],
        snapshot_ms=row["snapshot_ms"],
        salvaged=row["salvaged"],
        damage=row["damage"],
    )


def next_session(connection: sqlite3.Connection) -> int:
    """Counts a start of the link and returns its number."""
    row = connection.execute("UPDATE device SET session = session + 1 RETURNING session").fetchone()
    return int(row[0])


def touch(connection: sqlite3.Connection) -> None:
    """Writes a page without changing a value, to learn whether the disk takes a commit.

    Twice, because SQLite does not write a row that stays what it was.
    """
    connection.execute("UPDATE device SET session = session + 1")
    connection.execute("UPDATE device SET session = session - 1")


def clock_mark(connection: sqlite3.Connection) -> ClockMark | None:
    """The last moment the time was known."""
    row = connection.execute("SELECT boot, monotonic_ns, instant_ms, high_water_ms FROM clock").fetchone()
    if row is None:
        return None
    return ClockMark(
        boot=row["boot"],
        monotonic_ns=row["monotonic_ns"],
        instant_ms=row["instant_ms"],
        high_water_ms=row["high_water_ms"],
    )


def save_clock_mark(connection: sqlite3.Connection, mark: ClockMark) -> None:
    """Replaces the mark."""
    connection.execute(
        "INSERT OR REPLACE INTO clock (id, boot, monotonic_ns, instant_ms, high_water_ms) VALUES (1, ?, ?, ?, ?)",
        (mark.boot, mark.monotonic_ns, mark.instant_ms, mark.high_water_ms),
    )


def raise_high_water(connection: sqlite3.Connection, instant_ms: int) -> None:
    """Remembers that the device acted on this instant."""
    connection.execute("UPDATE clock SET high_water_ms = max(high_water_ms, ?)", (instant_ms,))


def held_feed(connection: sqlite3.Connection, name: FeedName) -> HeldFeed:
    """The version held of a feed."""
    row = connection.execute("SELECT version, issued_ms FROM feed WHERE name = ?", (name,)).fetchone()
    return HeldFeed() if row is None else HeldFeed(version=row["version"], issued_ms=row["issued_ms"])


def feed_versions(connection: sqlite3.Connection) -> FeedVersions:
    """The versions held, as the device's state names them."""
    rows = connection.execute("SELECT name, version FROM feed").fetchall()
    return msgspec.convert({row["name"]: row["version"] for row in rows}, FeedVersions)


def current_ms(connection: sqlite3.Connection, name: FeedName) -> int | None:
    """When the cloud last said that what is held of the feed was all there is."""
    row = connection.execute("SELECT current_ms FROM feed WHERE name = ?", (name,)).fetchone()
    return None if row is None else row["current_ms"]


def policy(connection: sqlite3.Connection) -> Policy | None:
    """The policy in force."""
    row = connection.execute("SELECT body FROM policy").fetchone()
    return None if row is None else msgspec.msgpack.decode(row["body"], type=Policy)


def public_keys(connection: sqlite3.Connection, use: str) -> dict[int, bytes]:
    """Raw public keys by id; `use` is issuer or signer."""
    rows = connection.execute("SELECT key, public FROM public_key WHERE use = ?", (use,)).fetchall()
    return {row["key"]: row["public"] for row in rows}


def known_member(connection: sqlite3.Connection, member: MemberId) -> KnownMember | None:
    """What the roster holds of the member."""
    row = connection.execute(
        "SELECT nickname, language, balance, balance_ms, face_text, coupon FROM roster WHERE member = ?", (member,)
    ).fetchone()
    if row is None:
        return None
    return KnownMember(
        nickname=row["nickname"],
        language=row["language"],
        balance=row["balance"],
        balance_ms=row["balance_ms"],
        face_text=row["face_text"],
        coupon=row["coupon"],
    )


def count_roster(connection: sqlite3.Connection) -> int:
    """Members in the roster."""
    count: int = connection.execute("SELECT count(*) FROM roster").fetchone()[0]
    return count


def nicknames_from(connection: sqlite3.Connection, start: bytes, limit: int) -> tuple[str, ...]:
    """So many nicknames of the roster, in the order of the pseudonyms from `start` on and round again."""
    rows = connection.execute(
        "SELECT nickname FROM roster WHERE nickname IS NOT NULL ORDER BY member < ?, member LIMIT ?", (start, limit)
    )
    return tuple(row["nickname"] for row in rows)


def save_face_consent(connection: sqlite3.Connection, member: MemberId, face_text: int | None) -> None:
    """Takes a consent said here into the roster at once; of a member it does not know the cloud will tell."""
    connection.execute("UPDATE roster SET face_text = ? WHERE member = ?", (face_text, member))


def is_revoked(connection: sqlite3.Connection, device: str) -> bool:
    """True when the device stands on the list of revoked ones."""
    return connection.execute("SELECT 1 FROM revoked_device WHERE device = ?", (device,)).fetchone() is not None


def save_balances(connection: sqlite3.Connection, epoch: int, verdicts: tuple[Verdict, ...], at_ms: int) -> None:
    """Takes balances that came with verdicts into the roster, for members it knows."""
    connection.executemany(
        "UPDATE roster SET balance = ?, balance_ms = ? WHERE member ="
        " (SELECT member FROM claim WHERE epoch = ? AND seq = ?) AND balance_ms <= ?",
        [(verdict.balance, at_ms, epoch, verdict.seq, at_ms) for verdict in verdicts if verdict.balance is not None],
    )


def apply_page(connection: sqlite3.Connection, page: Page) -> None:
    """Writes the page's content and the version it leads to. Whether it may be applied was judged before."""
    match page:
        case KeyPage():
            _replace_keys(connection, page)
        case PolicyPage():
            _replace_policy(connection, page)
        case DenyPage():
            _apply_denials(connection, page)
        case RevocationPage():
            _apply_revocations(connection, page)
        case RosterPage():
            _apply_roster(connection, page)
        case GroupPage():
            connection.execute(
                "INSERT OR REPLACE INTO group_page (id, body) VALUES (1, ?)", (msgspec.msgpack.encode(page),)
            )
        case StorePage():
            connection.execute(
                "INSERT OR REPLACE INTO store_page (id, body) VALUES (1, ?)", (msgspec.msgpack.encode(page),)
            )
        case TemplatePage():
            raise AssertionError("templates are kept by `vision`, and what it holds is noted by save_templates_held")
        case _:
            assert_never(page)
    connection.execute(
        "INSERT INTO feed (name, version, issued_ms, current_ms) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " version = excluded.version, issued_ms = excluded.issued_ms,"
        " current_ms = coalesce(excluded.current_ms, current_ms)",
        (name_of(page), page.version, page.issued_ms, None if page.more else page.issued_ms),
    )


def group_page(connection: sqlite3.Connection) -> GroupPage | None:
    """The store's group as the cloud last told of it."""
    row = connection.execute("SELECT body FROM group_page").fetchone()
    return None if row is None else msgspec.msgpack.decode(row["body"], type=GroupPage)


def store_page(connection: sqlite3.Connection) -> StorePage | None:
    """The store's kiosks and its hub as the cloud last told of them."""
    row = connection.execute("SELECT body FROM store_page").fetchone()
    return None if row is None else msgspec.msgpack.decode(row["body"], type=StorePage)


def save_templates_held(connection: sqlite3.Connection, version: int, issued_ms: int, *, whole: bool) -> None:
    """Notes what `vision` holds of the templates' feed; `whole` when that was all there is, as of `issued_ms`.

    Another version that is not the whole one, after a loss or in the middle of pages, leaves their age unknown.
    """
    connection.execute(
        "INSERT INTO feed (name, version, issued_ms, current_ms) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " current_ms = coalesce(excluded.current_ms, iif(excluded.version >= version, current_ms, NULL)),"
        " version = excluded.version, issued_ms = excluded.issued_ms",
        (FeedName.TEMPLATES, version, issued_ms, issued_ms if whole else None),
    )


def _replace_keys(connection: sqlite3.Connection, page: KeyPage) -> None:
    connection.execute("DELETE FROM public_key")
    connection.executemany(
        "INSERT INTO public_key (use, key, public) VALUES (?, ?, ?)",
        [("issuer", key.key, key.public) for key in page.issuers]
        + [("signer", key.key, key.public) for key in page.signers],
    )


def _replace_policy(connection: sqlite3.Connection, page: PolicyPage) -> None:
    if page.policy is not None:
        connection.execute(
            "INSERT OR REPLACE INTO policy (id, version, body) VALUES (1, ?, ?)",
            (page.policy.version, msgspec.msgpack.encode(page.policy)),
        )


def _apply_denials(connection: sqlite3.Connection, page: DenyPage) -> None:
    if page.reset:
        connection.execute("DELETE FROM denied")
    connection.executemany(
        "DELETE FROM denied WHERE member = ?", [(entry.member,) for entry in page.entries if entry.removed]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO denied (member, serial_floor, phones) VALUES (?, ?, ?)",
        [(entry.member, entry.serial_floor, entry.phones) for entry in page.entries if not entry.removed],
    )


def _apply_revocations(connection: sqlite3.Connection, page: RevocationPage) -> None:
    if page.reset:
        connection.execute("DELETE FROM revoked_device")
    connection.executemany(
        "INSERT OR REPLACE INTO revoked_device (device, since_ms) VALUES (?, ?)",
        [(entry.device, entry.since_ms) for entry in page.entries],
    )


def _apply_roster(connection: sqlite3.Connection, page: RosterPage) -> None:
    if page.reset:
        connection.execute("DELETE FROM roster")
    connection.executemany(
        "DELETE FROM roster WHERE member = ?", [(entry.member,) for entry in page.entries if entry.removed]
    )
    connection.executemany(
        "INSERT INTO roster (member, nickname, language, balance, balance_ms, face_text, coupon)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (member) DO UPDATE SET nickname = excluded.nickname, language = excluded.language,"
        " face_text = excluded.face_text, coupon = excluded.coupon,"
        " balance = iif(excluded.balance_ms >= balance_ms, excluded.balance, balance),"
        " balance_ms = max(excluded.balance_ms, balance_ms)",
        [
            (
                entry.member,
                entry.nickname,
                entry.language,
                entry.balance,
                entry.balance_ms,
                entry.face_text,
                entry.coupon,
            )
            for entry in page.entries
            if not entry.removed
        ],
    )
    over = count_roster(connection) - ROSTER_MAX
    if over > 0:
        connection.execute(
            "DELETE FROM roster WHERE member IN (SELECT member FROM roster ORDER BY balance_ms LIMIT ?)", (over,)
        )

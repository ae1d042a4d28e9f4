"""Whose template is held and on its way out, and which envelopes carry one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.db import faces, knowledge, outbox
from edge.db.database import Connection, Database
from shared.answers import FeedName, GroupPage, RosterEntry, RosterPage
from shared.biometrics import Forgetting
from shared.business_day import ClockTrust
from shared.envelope import ClockStepped, Header, genesis, seal
from shared.ids import MemberId

ANNA, BERT, CARLA = (MemberId(bytes([number]) * 10) for number in (1, 2, 3))
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with Database(tmp_path / "device.db") as database:
        database.open(b"d" * 16)
        yield database.connection


def write(connection: Connection, seq: int) -> None:
    """An envelope of any content under this number."""
    header = Header(
        version=1,
        device="kiosk1",
        epoch=1,
        seq=seq,
        previous=genesis("kiosk1", 1),
        digest=b"",
        boot="b",
        monotonic_ms=1,
        wall_ms=None,
        trust=ClockTrust.UNKNOWN,
        business_day=None,
        policy_version=1,
    )
    envelope = seal(header, ClockStepped(offset_ms=seq, source="test"), b"s" * 16, KEY)
    outbox.append(connection, 1, seq, envelope, None)


def whole(connection: Connection) -> list[int]:
    """The numbers of the envelopes that still have their payload."""
    rows = connection.execute("SELECT seq FROM outbox WHERE payload IS NOT NULL AND salt IS NOT NULL ORDER BY seq")
    return [row[0] for row in rows]


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_member_comes_leaves_goes_and_is_proved(connection: Connection) -> None:
    faces.keep(connection, (ANNA, BERT))
    assert (faces.is_kept(connection, ANNA), faces.is_kept(connection, CARLA)) == (True, False)
    faces.ask_to_leave(connection, (ANNA, CARLA), Forgetting.WITHDRAWN)
    faces.ask_to_leave(connection, (ANNA,), Forgetting.REPLACED)  # the first reason stands
    assert (faces.is_kept(connection, ANNA), faces.is_kept(connection, BERT)) == (False, True)
    assert faces.leaving(connection, 9) == {ANNA: Forgetting.WITHDRAWN}
    assert faces.leaving_among(connection, (ANNA, BERT, CARLA)) == (ANNA,)
    faces.went(connection, (ANNA,), Forgetting.REPLACED)
    assert (faces.leaving(connection, 9), faces.gone(connection, 9)) == ({}, {ANNA: Forgetting.WITHDRAWN})
    faces.proved(connection, ANNA)
    assert faces.gone(connection, 9) == {}


def test_who_went_unasked_is_owed_a_proof_too(connection: Connection) -> None:
    faces.keep(connection, (ANNA,))
    faces.went(connection, (ANNA, BERT), Forgetting.LAPSED)
    assert faces.gone(connection, 9) == {ANNA: Forgetting.LAPSED, BERT: Forgetting.LAPSED}
    assert len(faces.gone(connection, 1)) == 1


def test_who_comes_back_is_kept_whatever_was_under_way(connection: Connection) -> None:
    faces.keep(connection, (ANNA,))
    faces.went(connection, (ANNA,), Forgetting.LAPSED)
    faces.keep(connection, (ANNA,))
    assert (faces.is_kept(connection, ANNA), faces.gone(connection, 9)) == (True, {})


def test_all_at_once(connection: Connection) -> None:
    faces.keep(connection, (ANNA, BERT))
    faces.ask_all_to_leave(connection, Forgetting.WITHDRAWN)
    faces.keep(connection, (BERT,))
    faces.all_leaving_went(connection)
    assert (faces.gone(connection, 9), faces.is_kept(connection, BERT)) == ({ANNA: Forgetting.WITHDRAWN}, True)
    faces.none_held(connection)
    assert (faces.gone(connection, 9), faces.is_kept(connection, BERT)) == ({ANNA: Forgetting.WITHDRAWN}, False)


# --- envelopes --------------------------------------------------------------------------------------------------------


def test_envelopes_with_a_template_are_erased_by_member_or_once_settled(connection: Connection) -> None:
    for seq in range(1, 6):
        write(connection, seq)
    for seq, member in ((2, ANNA), (3, BERT), (4, ANNA)):
        faces.note_envelope(connection, 1, seq, member)
    faces.erase_settled(connection)
    assert whole(connection) == [1, 2, 3, 4, 5]
    outbox.settle(connection, 1, 3, ())
    faces.erase_settled(connection)
    assert whole(connection) == [1, 4, 5]
    faces.erase_of(connection, BERT)
    assert whole(connection) == [1, 4, 5]
    faces.erase_of(connection, ANNA)
    assert whole(connection) == [1, 5]
    assert connection.execute("SELECT count(*) FROM template_envelope").fetchone()[0] == 0


# --- the group --------------------------------------------------------------------------------------------------------


def test_the_newest_told_secret_is_remembered_with_whether_the_cloud_has_it(connection: Connection) -> None:
    assert faces.told_secret(connection) is None
    write(connection, 1)
    write(connection, 2)
    faces.note_told_secret(connection, 1, 1, 4)
    faces.note_told_secret(connection, 1, 2, 5)
    assert faces.told_secret(connection) == faces.ToldSecret(settled=False, page_version=5)
    outbox.settle(connection, 1, 2, ())
    assert faces.told_secret(connection) == faces.ToldSecret(settled=True, page_version=5)
    connection.execute("DELETE FROM outbox")  # pruned, which only a settled envelope can be
    assert faces.told_secret(connection) == faces.ToldSecret(settled=True, page_version=5)


def test_the_clouds_word_on_the_group_is_kept_whole(connection: Connection) -> None:
    assert knowledge.group_page(connection) is None
    for version in (1, 2):
        page = GroupPage(
            base=0, version=version, more=False, issued_ms=9, key=b"group--1", kiosks=("a", "b"), wrap=b"w"
        )
        knowledge.apply_page(connection, page)
        assert knowledge.group_page(connection) == page
    assert knowledge.feed_versions(connection).group == 2


# --- what is known of templates and consents --------------------------------------------------------------------------


def test_the_age_of_the_templates_counts_from_the_word_that_they_are_all(connection: Connection) -> None:
    def state() -> tuple[int, int | None]:
        held = knowledge.held_feed(connection, FeedName.TEMPLATES)
        return held.version, knowledge.current_ms(connection, FeedName.TEMPLATES)

    knowledge.save_templates_held(connection, 0, 0, whole=False)
    assert state() == (0, None)
    knowledge.save_templates_held(connection, 3, 100, whole=True)
    assert state() == (3, 100)
    knowledge.save_templates_held(connection, 4, 200, whole=False)
    assert state() == (4, 100)
    knowledge.save_templates_held(connection, 0, 0, whole=False)  # all of it was lost
    assert state() == (0, None)


def test_a_consent_comes_with_the_roster_and_may_be_said_here(connection: Connection) -> None:
    def consent() -> int | None:
        known = knowledge.known_member(connection, ANNA)
        assert known is not None
        return known.face_text

    entries = (RosterEntry(member=ANNA, nickname="Anna", face_text=1), RosterEntry(member=BERT, nickname="Bert"))
    knowledge.apply_page(
        connection, RosterPage(base=0, version=1, more=False, issued_ms=1, reset=True, entries=entries)
    )
    assert consent() == 1
    knowledge.save_face_consent(connection, ANNA, None)
    assert consent() is None
    knowledge.save_face_consent(connection, ANNA, 1)
    knowledge.save_face_consent(connection, CARLA, 1)  # whom the roster does not know
    assert (consent(), knowledge.known_member(connection, CARLA)) == (1, None)
    withdrawn = (RosterEntry(member=ANNA, nickname="Anna"),)
    knowledge.apply_page(
        connection, RosterPage(base=1, version=2, more=False, issued_ms=2, reset=False, entries=withdrawn)
    )
    assert consent() is None


def test_nicknames_are_read_from_anywhere_in_the_roster_and_round(connection: Connection) -> None:
    entries = tuple(
        RosterEntry(member=bytes([number]) * 10, nickname=None if number == 3 else f"n{number}")
        for number in range(1, 6)
    )
    knowledge.apply_page(
        connection, RosterPage(base=0, version=1, more=False, issued_ms=1, reset=True, entries=entries)
    )
    assert knowledge.nicknames_from(connection, b"\x04" * 10, 3) == ("n4", "n5", "n1")
    assert knowledge.nicknames_from(connection, b"\x00" * 10, 9) == ("n1", "n2", "n4", "n5")

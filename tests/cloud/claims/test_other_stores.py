"""A face learnt at one store and known at another: only where a consent names it, and only for as long."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from cloud.devices.actions import leap_feeds
from cloud.kit.database import reading, writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.members.actions import leave, set_biometric, set_biometric_at
from cloud.members.queries import face_deletions_of, face_proofs_of, templates_of, wanted_templates
from cloud.members.rules import Channel, ConsentWords, Language, deleted_at
from cloud.members.verify import FacePromise, verify_faces
from shared.answers import Outcome, Reason, TemplateWanted
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.ids import MemberId, StoreId
from tests.cloud.claims.faces import (
    FIRST,
    OTHER_KEY,
    OTHER_STORE,
    Holder,
    assert_faces_kept_as_promised,
    consent,
    enrolled,
    forgotten,
    history,
    sealed_of,
    shared,
    wrapped,
)
from tests.cloud.claims.world import NOON, STORE, TENANT, World
from tests.support.kiosk import member_of

ADA, BEA = member_of(1), member_of(2)
WORDS = ConsentWords(text_version=BIOMETRIC_TEXT_VERSION, language=Language.ITALIAN, channel=Channel.PAGE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WANTED = TemplateWanted(member=ADA, store=OTHER_STORE, key=OTHER_KEY)
NEWER_KEY = b"o2" * 4


@pytest.fixture(scope="module")
def keyring(memory_folder: Path) -> Keyring:
    """The cloud's keys."""
    return create_keyring(memory_folder / "store-keys", ["localhost"], NOON)


@dataclass(slots=True, kw_only=True)
class Two:
    """Two stores: at the first Ada's face was learnt, at the other two kiosks share another secret."""

    world: World
    home: Holder
    away: Holder
    away_too: Holder

    def allow(self, at: datetime, *, given: bool = True, store: StoreId = OTHER_STORE, member: MemberId = ADA) -> None:
        """The member names the store on their page."""
        with writing(self.world.engine) as connection:
            set_biometric_at(connection, TENANT, member, store, given=given, words=WORDS, now=at)

    def everywhere(self, at: datetime, *, given: bool) -> None:
        """Ada gives or withdraws the consent for all stores on her page."""
        with writing(self.world.engine) as connection:
            set_biometric(connection, TENANT, ADA, given=given, words=WORDS, now=at)

    def share(self, at: datetime, **changes: object) -> None:
        """A kiosk of the first store seals the template for the other, and the cloud notes it."""
        said = shared(self.home.kiosk, ADA, at, **changes)  # type: ignore[arg-type]  # a fact's fields
        assert self.world.judge_one(self.home.kiosk, said, now=at) == (Outcome.NOTED, None)

    def reseal(self, at: datetime, by: Holder | None = None) -> None:
        """A kiosk of the other store has opened it, and sealed it under its own secret."""
        kiosk = (by or self.away).kiosk
        said = enrolled(kiosk, ADA, at, key=OTHER_KEY, resealed=True, frames=0)
        assert self.world.judge_one(kiosk, said, now=at) == (Outcome.NOTED, None)

    def stores_of(self, member: MemberId = ADA) -> dict[str, str | None]:
        """Where the face is kept, and who gave it."""
        with reading(self.world.engine) as connection:
            return {kept.store: kept.given_by for kept in templates_of(connection, TENANT, member)}

    def wanted(self) -> tuple[TemplateWanted, ...]:
        """What is wanted of the first store."""
        with reading(self.world.engine) as connection:
            return wanted_templates(connection, STORE, 50)

    def deletions(self) -> dict[str, bool]:
        """Which kiosks have to delete, and whether each has proved it."""
        with reading(self.world.engine) as connection:
            proofs = face_proofs_of(connection, TENANT, ADA)
            asked = face_deletions_of(connection, TENANT, ADA)
        return {one.device: deleted_at(one, proofs) is not None for one in asked}


@pytest.fixture
def two(world: World, keyring: Keyring) -> Two:
    """Ada consented and was learnt at the first store."""
    terms = world.add_store(OTHER_STORE)
    home = Holder(world=world, keyring=keyring, kiosk=world.add_kiosk("door1"))
    away, away_too = (
        Holder(world=world, keyring=keyring, kiosk=world.add_kiosk(name, policy=terms)) for name in ("side1", "side2")
    )
    world.tell(home.kiosk, wrapped(home.kiosk, "door1"))
    world.tell(away.kiosk, *(wrapped(away.kiosk, name, key=OTHER_KEY) for name in ("side1", "side2")))
    world.tell(home.kiosk, consent(home.kiosk, ADA), enrolled(home.kiosk, ADA))
    for kiosk in (home, away, away_too):
        kiosk.read()
    return Two(world=world, home=home, away=away, away_too=away_too)


# -- the way there -----------------------------------------------------------------------------------------------


def test_a_consent_that_names_a_store_brings_the_face_there(two: Two) -> None:
    assert (two.home.wanted, two.away.templates) == ((), {})
    two.allow(NOON + HOUR)
    version = two.home.feeds.templates
    assert two.home.read(NOON + HOUR).wanted == (WANTED,)
    assert two.home.feeds.templates > version, "the kiosks hear of it at once"
    assert two.away.read(NOON + HOUR).consents == {ADA: BIOMETRIC_TEXT_VERSION}, "she is on that store's roster"

    two.share(NOON + 2 * HOUR)
    given = sealed_of(ADA, OTHER_KEY, b"door1")
    assert two.away.read(NOON + 2 * HOUR).templates == two.away_too.read(NOON + 2 * HOUR).templates == {ADA: given}
    assert two.home.read(NOON + 2 * HOUR).wanted == ()
    assert two.home.templates == {ADA: sealed_of(ADA, FIRST, b"door1")}
    assert two.stores_of() == {STORE: None, OTHER_STORE: STORE}
    assert_faces_kept_as_promised(two.world)

    two.reseal(NOON + 3 * HOUR)
    resealed = sealed_of(ADA, OTHER_KEY, b"side1")
    assert two.away_too.read(NOON + 3 * HOUR).templates == {ADA: resealed}
    assert two.stores_of() == {STORE: None, OTHER_STORE: STORE}, "it came from where it came from"
    assert two.home.read(NOON + 3 * HOUR).wanted == ()
    assert_faces_kept_as_promised(two.world)


def test_each_line_of_the_history_says_which_store_it_is_about(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.allow(NOON + 2 * HOUR, given=False)
    lines = [(line.given, line.store, line.words) for line in history(two.world, ADA)][1:]
    assert lines == [(True, OTHER_STORE, WORDS), (False, OTHER_STORE, WORDS)]


def test_without_a_consent_that_names_the_store_nothing_is_kept(
    two: Two, everything_stored: Callable[[], bytes]
) -> None:
    two.share(NOON + HOUR)
    assert two.stores_of() == {STORE: None}
    two.allow(NOON + 2 * HOUR)
    two.allow(NOON + 3 * HOUR, given=False)
    two.share(NOON + 4 * HOUR)
    assert two.stores_of() == {STORE: None}
    assert two.away.read(NOON + 4 * HOUR).templates == {}
    assert sealed_of(ADA, OTHER_KEY, b"door1").sealed not in everything_stored()
    assert_faces_kept_as_promised(two.world)


def test_a_template_for_a_store_nobody_knows_changes_nothing(two: Two) -> None:
    two.share(NOON + HOUR, to=StoreId("nowhere"))
    with reading(two.world.engine) as connection:
        heads = connection.execute(text("SELECT count(*) FROM template_head WHERE store = 'nowhere'")).scalar_one()
    assert heads == 0


def test_what_was_sealed_before_a_withdrawal_is_not_what_is_allowed_after_it(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.allow(NOON + 2 * HOUR, given=False)
    two.allow(NOON + 3 * HOUR)
    said = shared(two.home.kiosk, ADA, NOON + HOUR)
    assert two.world.judge_one(two.home.kiosk, said, now=NOON + 4 * HOUR) == (Outcome.NOTED, None)
    assert two.stores_of() == {STORE: None}
    two.share(NOON + 5 * HOUR)
    assert two.stores_of() == {STORE: None, OTHER_STORE: STORE}


def test_only_a_store_that_learnt_the_face_gives_it(two: Two) -> None:
    two.allow(NOON + HOUR)
    third = two.world.add_kiosk("back1", policy=two.world.add_store(StoreId("retro")))
    said = shared(third, ADA, NOON + HOUR)
    assert two.world.judge_one(third, said, now=NOON + HOUR) == (Outcome.NOTED, None)
    assert two.stores_of() == {STORE: None}
    two.allow(NOON + HOUR, store=StoreId("retro"))
    two.share(NOON + HOUR)
    again = shared(two.away.kiosk, ADA, NOON + HOUR, to=StoreId("retro"), key=b"retro--1")
    two.world.tell(two.away.kiosk, again, now=NOON + HOUR)
    assert two.stores_of() == {STORE: None, OTHER_STORE: STORE}


def test_a_store_that_has_no_secret_or_learnt_the_face_itself_is_given_nothing(two: Two) -> None:
    two.world.add_store(StoreId("retro"))
    two.allow(NOON + HOUR, store=StoreId("retro"))
    assert two.wanted() == ()
    two.world.tell(two.away.kiosk, enrolled(two.away.kiosk, ADA, NOON + HOUR, key=OTHER_KEY), now=NOON + HOUR)
    two.allow(NOON + 2 * HOUR)
    assert two.wanted() == ()
    two.share(NOON + 3 * HOUR)
    assert two.stores_of() == {STORE: None, OTHER_STORE: None}, "its own stays"


def test_a_face_that_is_learnt_there_later_takes_the_place(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    two.world.tell(two.away.kiosk, enrolled(two.away.kiosk, ADA, NOON + 2 * HOUR, key=OTHER_KEY), now=NOON + 2 * HOUR)
    assert two.stores_of() == {STORE: None, OTHER_STORE: None}
    two.reseal(NOON + 3 * HOUR, by=two.away_too)
    assert two.away.read(NOON + 3 * HOUR).templates == {ADA: sealed_of(ADA, OTHER_KEY, b"side1")}


def test_a_new_secret_of_the_other_store_asks_for_what_nobody_there_opened(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    said = wrapped(two.away.kiosk, "side2", NOON + 2 * HOUR, key=NEWER_KEY, previous=OTHER_KEY)
    two.world.tell(two.away.kiosk, said, now=NOON + 2 * HOUR)
    newer = TemplateWanted(member=ADA, store=OTHER_STORE, key=NEWER_KEY)
    assert two.home.read(NOON + 2 * HOUR).wanted == (newer,)
    two.share(NOON + 3 * HOUR)
    assert two.wanted() == (newer,), "sealed to the earlier secret"
    two.share(NOON + 3 * HOUR, key=NEWER_KEY)
    assert two.wanted() == ()
    assert two.away.read(NOON + 3 * HOUR).templates == {ADA: sealed_of(ADA, NEWER_KEY, b"door1")}
    assert_faces_kept_as_promised(two.world)


def test_what_cannot_be_given_hides_no_other_store(two: Two) -> None:
    """Five members name a store that was never introduced, one names the other."""
    others = [member_of(number) for number in range(2, 7)]
    retro, home = StoreId("retro"), two.home.kiosk
    back = two.world.add_kiosk("back1", policy=two.world.add_store(retro))
    two.world.tell(back, wrapped(back, "back1", key=b"r1" * 4))
    for member in others:
        two.world.tell(home, consent(home, member), enrolled(home, member))
        two.allow(NOON + HOUR, store=retro, member=member)
    last = max(others)
    two.allow(NOON + HOUR, member=last)
    with reading(two.world.engine) as connection:
        wanted = wanted_templates(connection, STORE, 2)
    assert [(one.member, one.store) for one in wanted] == [(last, OTHER_STORE), (others[0], retro)]


def test_lies_about_a_template_for_another_store_are_refused(two: Two) -> None:
    home = two.home.kiosk
    for lie in ({"for_store": STORE}, {"text_version": -1}, {"store": OTHER_STORE}, {"tenant": "verdi"}):
        said = shared(home, ADA, NOON, **lie)
        assert two.world.judge_one(home, said) == (Outcome.REJECTED, Reason.WRONG_TERMS)
    assert two.world.judge_one(home, shared(home, member_of(999))) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)
    with writing(two.world.engine) as connection:
        leave(connection, TENANT, ADA, words=WORDS, now=NOON + HOUR)
    assert two.world.judge_one(home, shared(home, ADA)) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)


# -- and back ----------------------------------------------------------------------------------------------------


def test_withdrawn_for_one_store_it_is_forgotten_and_proved_there_and_known_at_home(
    two: Two, everything_stored: Callable[[], bytes]
) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    for kiosk in (two.away, two.away_too):
        kiosk.read(NOON + HOUR)
    two.reseal(NOON + 2 * HOUR)
    two.allow(NOON + 3 * HOUR, given=False)

    assert two.deletions() == {"side1": False, "side2": False}, "nobody at home has anything to delete"
    for kiosk in (two.away, two.away_too):
        assert kiosk.read(NOON + 3 * HOUR).templates == {}
        assert kiosk.consents[ADA] is None, "nor may it learn her face anew, whoever shows her code"
        said = forgotten(kiosk.kiosk, ADA, NOON + 3 * HOUR)
        two.world.tell(kiosk.kiosk, said, now=NOON + 3 * HOUR)
    assert two.deletions() == {"side1": True, "side2": True}
    home = two.home.read(NOON + 3 * HOUR)
    assert (home.templates, home.wanted) == ({ADA: sealed_of(ADA, FIRST, b"door1")}, ())
    assert home.consents[ADA] == BIOMETRIC_TEXT_VERSION
    assert two.stores_of() == {STORE: None}
    two.reseal(NOON + 4 * HOUR, by=two.away_too)  # had not heard of it
    assert two.stores_of() == {STORE: None}
    for salt in (b"door1", b"side1", b"side2"):
        assert sealed_of(ADA, OTHER_KEY, salt).sealed not in everything_stored()
    assert_faces_kept_as_promised(two.world)


def test_a_kiosk_that_was_told_of_what_nobody_opened_has_to_delete_it_and_the_giver_has_not(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    two.away.read(NOON + HOUR)
    two.allow(NOON + 2 * HOUR, given=False)
    assert two.deletions() == {"side1": False}


def test_withdrawn_everywhere_it_is_withdrawn_there_for_good(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    two.away.read(NOON + HOUR)
    two.everywhere(NOON + 2 * HOUR, given=False)
    assert two.stores_of() == {}
    assert two.deletions() == {"door1": False, "side1": False}
    two.everywhere(NOON + 3 * HOUR, given=True)
    two.world.tell(two.home.kiosk, enrolled(two.home.kiosk, ADA, NOON + 4 * HOUR), now=NOON + 4 * HOUR)
    assert two.wanted() == (), "the store is to be named anew"
    two.allow(NOON + 5 * HOUR)
    assert two.wanted() == (WANTED,)
    assert_faces_kept_as_promised(two.world)


def test_a_store_that_is_barred_learns_no_face_until_the_member_consents_anew(two: Two) -> None:
    two.allow(NOON + HOUR, given=False)
    two.world.tell(two.away.kiosk, enrolled(two.away.kiosk, ADA, NOON + 2 * HOUR, key=OTHER_KEY), now=NOON + 2 * HOUR)
    assert two.stores_of() == {STORE: None}
    two.world.tell(two.away.kiosk, consent(two.away.kiosk, ADA, NOON + 3 * HOUR), now=NOON + 3 * HOUR)
    assert two.stores_of() == {STORE: None, OTHER_STORE: None}, "what waited for her word has it"
    assert two.away.read(NOON + 3 * HOUR).consents == {ADA: BIOMETRIC_TEXT_VERSION}
    assert_faces_kept_as_promised(two.world)


def test_who_leaves_is_known_nowhere(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    with writing(two.world.engine) as connection:
        leave(connection, TENANT, ADA, words=WORDS, now=NOON + 2 * HOUR)
    assert (two.stores_of(), two.wanted()) == ({}, ())
    assert_faces_kept_as_promised(two.world)


def test_after_a_restore_no_store_is_allowed_anything(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    with writing(two.world.engine) as connection:
        leap_feeds(connection, NOON + DAY)
    assert (two.stores_of(), two.wanted()) == ({}, ())
    assert_faces_kept_as_promised(two.world)


def test_the_verifier_sees_a_word_that_nobody_said(two: Two) -> None:
    two.allow(NOON + HOUR)
    two.share(NOON + HOUR)
    with writing(two.world.engine) as connection:
        connection.exec_driver_sql("UPDATE face_store SET allowed = 0")
    with reading(two.world.engine) as connection:
        assert {one.promise for one in verify_faces(connection)} == {FacePromise.F5_NAMED}
    with writing(two.world.engine) as connection:
        connection.exec_driver_sql("UPDATE face_store SET allowed = 1")
        connection.exec_driver_sql("UPDATE sealed_template SET given_by = 'centro' WHERE store = 'centro'")
    with reading(two.world.engine) as connection:
        found = [(one.promise, one.found) for one in verify_faces(connection)]
    assert found == [(FacePromise.F2_CONSENTED, "a template at centro and no consent")]

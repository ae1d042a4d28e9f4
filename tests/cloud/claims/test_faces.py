"""Consents, sealed templates, secrets and proofs: from what kiosks say to what kiosks are told. On both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import update

from cloud.claims.queries import disputes_of_store
from cloud.devices.actions import issue_epoch, leap_feeds, quarantine_epoch, revoke_device
from cloud.devices.queries import group_state
from cloud.devices.rules import WRAPS_WAITING_AGE_MAX
from cloud.kit.database import reading, writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.members.actions import leave, mark_seen, set_biometric, sweep_waiting_templates
from cloud.members.queries import (
    count_templates,
    face_deletions_of,
    face_proofs_at,
    face_proofs_of,
    member_facts,
    templates_of,
)
from cloud.members.rules import WAITING_AGE_MAX, Channel, ConsentWords, Language, deleted_at
from cloud.members.tables import member as member_table
from cloud.members.verify import FacePromise, verify_faces
from shared.answers import TEMPLATE_ENTRIES_MAX, Outcome, Reason
from shared.biometrics import Forgetting
from shared.consent import BIOMETRIC_TEXT_VERSION, Purpose
from shared.envelope import Envelope, chain_digest
from shared.ids import DeviceId, MemberId
from shared.policy import LEASE_AGE_MAX, Means
from tests.cloud.claims.faces import (
    FIRST,
    SECOND,
    THIRD,
    Holder,
    assert_faces_kept_as_promised,
    consent,
    disputed,
    enrolled,
    face_text,
    forgotten,
    history,
    sealed_of,
    wrap_of,
    wrapped,
)
from tests.cloud.claims.world import NOON, STORE, TENANT, World
from tests.support.kiosk import VirtualKiosk, member_of

ADA, BEA = member_of(1), member_of(2)
WORDS = ConsentWords(text_version=BIOMETRIC_TEXT_VERSION, language=Language.ITALIAN, channel=Channel.PAGE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def keyring(memory_folder: Path) -> Keyring:
    """The cloud's keys."""
    return create_keyring(memory_folder / "face-keys", ["localhost"], NOON)


@pytest.fixture
def doors(world: World, keyring: Keyring) -> tuple[Holder, Holder]:
    """Two kiosks of the store that share a secret; both members were seen there."""
    first, second = (Holder(world=world, keyring=keyring, kiosk=world.add_kiosk(name)) for name in ("door1", "door2"))
    world.tell(first.kiosk, wrapped(first.kiosk, "door1"), wrapped(first.kiosk, "door2"))
    with writing(world.engine) as connection:
        mark_seen(connection, STORE, [ADA, BEA], NOON)
    return first, second


def on_page(world: World, member: MemberId, *, given: bool, now: object = NOON) -> None:
    """The member gives or withdraws the consent on their page."""
    with writing(world.engine) as connection:
        set_biometric(connection, TENANT, member, given=given, words=WORDS, now=now)  # type: ignore[arg-type]  # a datetime


def noted(world: World, kiosk: VirtualKiosk, *said: Envelope, now: object = NOON) -> None:
    """The cloud notes all of it."""
    receipt = world.tell(kiosk, *said, now=now)  # type: ignore[arg-type]  # a datetime
    assert {verdict.outcome for verdict in receipt.verdicts} == {Outcome.NOTED}


# -- consent -----------------------------------------------------------------------------------------------------


def test_a_consent_at_the_door_is_on_record_with_its_envelope(world: World, doors: tuple[Holder, Holder]) -> None:
    door, _ = doors
    said = consent(door.kiosk, ADA, NOON - HOUR)
    noted(world, door.kiosk, said)

    (line,) = history(world, ADA)
    assert (line.purpose, line.given, line.words.channel) == (Purpose.BIOMETRIC, True, Channel.KIOSK)
    assert (line.said_at, line.recorded_at) == (NOON - HOUR, NOON)
    assert line.origin is not None
    assert (line.origin.device, line.origin.epoch, line.origin.seq) == ("door1", 1, door.kiosk.seq)
    assert face_text(world, ADA) == BIOMETRIC_TEXT_VERSION
    assert door.read().consents == {ADA: BIOMETRIC_TEXT_VERSION, BEA: None}
    assert_faces_kept_as_promised(world)


def test_an_older_consent_that_comes_late_does_not_undo_a_withdrawal(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    door, _ = doors
    on_page(world, ADA, given=False, now=NOON)
    noted(world, door.kiosk, consent(door.kiosk, ADA, NOON - MINUTE), now=NOON + HOUR)

    assert face_text(world, ADA) is None
    assert [line.given for line in history(world, ADA)] == [False, True]
    noted(world, door.kiosk, consent(door.kiosk, ADA, NOON + MINUTE), now=NOON + HOUR)
    assert face_text(world, ADA) == BIOMETRIC_TEXT_VERSION
    assert_faces_kept_as_promised(world)


def test_a_withdrawal_that_comes_late_stands_behind_a_newer_consent(world: World, doors: tuple[Holder, Holder]) -> None:
    door, _ = doors
    on_page(world, ADA, given=True, now=NOON)
    noted(world, door.kiosk, consent(door.kiosk, ADA, NOON - MINUTE, given=False), now=NOON + HOUR)

    assert face_text(world, ADA) == BIOMETRIC_TEXT_VERSION


def test_a_clock_that_is_ahead_puts_no_consent_behind_a_withdrawal_made_now(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    door, _ = doors
    noted(world, door.kiosk, consent(door.kiosk, ADA, NOON + 10 * HOUR))
    on_page(world, ADA, given=False, now=NOON + MINUTE)

    assert face_text(world, ADA) is None


def test_whoever_left_gives_no_consent_and_nobody_unknown_does(world: World, doors: tuple[Holder, Holder]) -> None:
    door, _ = doors
    with writing(world.engine) as connection:
        leave(connection, TENANT, ADA, words=WORDS, now=NOON)
    stranger = member_of(999)

    assert world.judge_one(door.kiosk, consent(door.kiosk, ADA)) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)
    assert world.judge_one(door.kiosk, consent(door.kiosk, ADA, given=False)) == (Outcome.NOTED, None)
    assert world.judge_one(door.kiosk, enrolled(door.kiosk, ADA)) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)
    for said in (consent(door.kiosk, stranger), consent(door.kiosk, stranger, given=False)):
        assert world.judge_one(door.kiosk, said) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)
    assert face_text(world, ADA) is None


def test_a_member_who_leaves_in_the_same_batch_is_passed_over(world: World, doors: tuple[Holder, Holder]) -> None:
    """Judged as present, erased before it is recorded: what a page does in between must not stop the batch."""
    from cloud.members.actions import record_spoken_consents
    from cloud.members.rules import Origin, SpokenConsent

    with writing(world.engine) as connection:
        leave(connection, TENANT, ADA, words=WORDS, now=NOON)
        origin = Origin(device=DeviceId("door1"), epoch=1, seq=9)
        spoken = SpokenConsent(tenant=TENANT, member=ADA, given=True, words=WORDS, said_at=NOON, origin=origin)
        record_spoken_consents(connection, [spoken], NOON)
    assert face_text(world, ADA) is None


# -- templates ---------------------------------------------------------------------------------------------------


def test_a_face_learnt_at_one_door_is_known_at_the_other(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))

    wanted = {ADA: sealed_of(ADA, FIRST, b"door1")}
    assert (first.read().templates, second.read().templates) == (wanted, wanted)
    with reading(world.engine) as connection:
        assert [kept.store for kept in templates_of(connection, TENANT, ADA)] == [STORE]
        assert count_templates(connection, STORE) == 1
    assert_faces_kept_as_promised(world)


@pytest.mark.parametrize("order", [(1, 0), (0, 1)], ids=["template first", "consent first"])
def test_facts_in_any_order_end_the_same(world: World, doors: tuple[Holder, Holder], order: tuple[int, int]) -> None:
    first, second = doors
    said = [consent(first.kiosk, ADA), enrolled(first.kiosk, ADA)]
    noted(world, first.kiosk, said[order[0]])
    assert second.read().templates == {}
    assert_faces_kept_as_promised(world)
    noted(world, first.kiosk, said[order[1]])

    assert second.read().templates == {ADA: sealed_of(ADA, FIRST, b"door1")}
    assert_faces_kept_as_promised(world)


def test_the_same_facts_twice_change_nothing(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    said = (consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    noted(world, first.kiosk, *said)
    held = second.read().feeds
    noted(world, first.kiosk, *said)

    assert second.read().feeds == held
    assert len(history(world, ADA)) == 1


def test_a_template_for_another_text_than_was_agreed_to_waits(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA, text_version=7))
    assert second.read().templates == {}
    noted(world, first.kiosk, consent(first.kiosk, ADA, NOON, text_version=7))

    assert second.read().templates.keys() == {ADA}


def test_the_newer_of_two_enrolments_counts_in_whatever_order_they_come(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA, NOON))
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON + HOUR), now=NOON + DAY)
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON + MINUTE), now=NOON + DAY)

    assert first.read().templates == {ADA: sealed_of(ADA, FIRST, b"door2")}


def test_a_template_sealed_anew_takes_no_fresh_one_s_place(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA, NOON), enrolled(first.kiosk, ADA, NOON))
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON + HOUR, resealed=True), now=NOON + DAY)

    assert first.read().templates == {ADA: sealed_of(ADA, FIRST, b"door1")}


def test_templates_come_in_pages_and_their_lease_is_renewed(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    members = [member_of(number) for number in range(1, 41)]
    said = [
        envelope for member in members for envelope in (consent(first.kiosk, member), enrolled(first.kiosk, member))
    ]
    noted(world, first.kiosk, *said)

    assert second.read().templates.keys() == set(members)
    held, later = second.feeds, NOON + DAY
    assert second.read(later).feeds == held
    assert second.leased_ms == int(later.timestamp() * 1000)
    assert TEMPLATE_ENTRIES_MAX * 380 < 200_000


def test_a_kiosk_that_is_new_reads_no_tombstone_and_one_that_knows_does(
    world: World, keyring: Keyring, doors: tuple[Holder, Holder]
) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    second.read()
    on_page(world, ADA, given=False, now=NOON + HOUR)
    fresh = Holder(world=world, keyring=keyring, kiosk=world.add_kiosk("door3"))

    assert second.read(NOON + HOUR).templates == {}
    assert fresh.read(NOON + HOUR).templates == {}
    assert fresh.feeds.templates == second.feeds.templates


# -- withdrawal --------------------------------------------------------------------------------------------------


def deletions(world: World, member: MemberId) -> dict[str, bool]:
    """Which kiosks have to delete, and whether each has proved it."""
    with reading(world.engine) as connection:
        proofs = face_proofs_of(connection, TENANT, member)
        return {
            one.device: deleted_at(one, proofs) is not None for one in face_deletions_of(connection, TENANT, member)
        }


def test_a_withdrawal_deletes_everywhere_and_every_kiosk_proves_it(
    world: World, doors: tuple[Holder, Holder], everything_stored: Callable[[], bytes]
) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    first.read()
    second.read(NOON + MINUTE)
    sealed = sealed_of(ADA, FIRST, b"door1").sealed
    assert sealed in everything_stored()
    on_page(world, ADA, given=False, now=NOON + HOUR)

    assert deletions(world, ADA) == {"door1": False, "door2": False}
    with reading(world.engine) as connection:
        ends = {one.device: one.ends_at for one in face_deletions_of(connection, TENANT, ADA)}
    assert ends == {"door1": NOON + LEASE_AGE_MAX, "door2": NOON + MINUTE + LEASE_AGE_MAX}
    assert first.read(NOON + HOUR).templates == second.read(NOON + HOUR).templates == {}
    assert second.consents[ADA] is None
    noted(world, second.kiosk, forgotten(second.kiosk, ADA, NOON + HOUR), now=NOON + HOUR)
    assert deletions(world, ADA) == {"door1": False, "door2": True}
    noted(world, first.kiosk, forgotten(first.kiosk, ADA, NOON + HOUR), now=NOON + HOUR)
    assert deletions(world, ADA) == {"door1": True, "door2": True}
    with reading(world.engine) as connection:
        assert templates_of(connection, TENANT, ADA) == ()
        assert {proof.why for proof in face_proofs_at(connection, STORE, 10)} == {Forgetting.WITHDRAWN}
    assert sealed not in everything_stored(), "not in a row, not in an envelope, not in a free page"
    assert_faces_kept_as_promised(world)


def test_a_withdrawal_at_a_kiosk_may_be_proved_before_it_is_heard_of(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    first.read()
    withdrawal, proof = consent(first.kiosk, ADA, NOON + HOUR, given=False), forgotten(first.kiosk, ADA, NOON + HOUR)
    noted(world, first.kiosk, proof, now=NOON + HOUR)
    noted(world, first.kiosk, withdrawal, now=NOON + HOUR)

    assert deletions(world, ADA) == {"door1": True}, "the second kiosk never heard of the template"
    assert second.read().templates == {}


def test_a_template_that_comes_after_its_withdrawal_is_not_kept_and_its_kiosk_is_told(
    world: World, doors: tuple[Holder, Holder], everything_stored: Callable[[], bytes]
) -> None:
    first, second = doors
    first.read()
    on_page(world, ADA, given=True, now=NOON)
    on_page(world, ADA, given=False, now=NOON + HOUR)
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON + MINUTE), now=NOON + 2 * HOUR)

    assert deletions(world, ADA) == {"door1": False}
    before = first.feeds.templates
    assert first.read(NOON + 2 * HOUR).feeds.templates > before
    assert sealed_of(ADA, FIRST, b"door1").sealed not in everything_stored()
    assert second.read().templates == {}
    assert_faces_kept_as_promised(world)


def test_a_template_that_waits_is_forgotten_with_the_consent(
    world: World, doors: tuple[Holder, Holder], everything_stored: Callable[[], bytes]
) -> None:
    first, _ = doors
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON))
    on_page(world, ADA, given=False, now=NOON + HOUR)

    assert deletions(world, ADA) == {"door1": False}
    assert sealed_of(ADA, FIRST, b"door1").sealed not in everything_stored()


def test_a_new_consent_brings_no_old_face_back(world: World, doors: tuple[Holder, Holder]) -> None:
    """A kiosk that slept through withdrawal and new consent seals the old face once more: it is to forget it."""
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    second.read()
    on_page(world, ADA, given=False, now=NOON + HOUR)
    on_page(world, ADA, given=True, now=NOON + 2 * HOUR)
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON + 3 * HOUR, resealed=True), now=NOON + 3 * HOUR)

    assert first.read(NOON + 3 * HOUR).templates == second.read(NOON + 3 * HOUR).templates == {}
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON + 4 * HOUR), now=NOON + 4 * HOUR)
    assert first.read(NOON + 4 * HOUR).templates.keys() == {ADA}
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON), now=NOON + 5 * HOUR)
    assert first.read(NOON + 5 * HOUR).templates == {ADA: sealed_of(ADA, FIRST, b"door2")}, "a late one takes no place"
    assert_faces_kept_as_promised(world)


def test_a_kiosk_that_was_told_of_an_earlier_face_must_delete_too(world: World, doors: tuple[Holder, Holder]) -> None:
    """The second kiosk read the first enrolment and slept through the second: it holds a face all the same."""
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    second.read()
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON + HOUR), now=NOON + HOUR)
    on_page(world, ADA, given=False, now=NOON + DAY)

    assert deletions(world, ADA) == {"door1": False, "door2": False}


def test_who_leaves_takes_their_face_along(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    second.read()
    with writing(world.engine) as connection:
        leave(connection, TENANT, ADA, words=WORDS, now=NOON + HOUR)

    assert second.read(NOON + HOUR).templates == {}
    assert [(line.purpose, line.given) for line in history(world, ADA)][-2:] == [
        (Purpose.PROGRAMME, False),
        (Purpose.BIOMETRIC, False),
    ]
    assert deletions(world, ADA) == {"door1": False, "door2": False}
    assert world.judge_one(first.kiosk, forgotten(first.kiosk, ADA), now=NOON + DAY) == (Outcome.NOTED, None)
    assert deletions(world, ADA) == {"door1": True, "door2": False}
    assert_faces_kept_as_promised(world)


def test_what_waited_for_a_month_is_swept(world: World, doors: tuple[Holder, Holder]) -> None:
    first, _ = doors
    noted(world, first.kiosk, enrolled(first.kiosk, ADA))

    assert sweep_waiting_templates(world.engine, NOON + WAITING_AGE_MAX) == 0
    assert sweep_waiting_templates(world.engine, NOON + WAITING_AGE_MAX + MINUTE) == 1
    on_page(world, ADA, given=True, now=NOON + MINUTE)
    assert first.read().templates == {}


def test_a_later_template_takes_the_place_of_one_that_waits(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON + MINUTE), now=NOON + HOUR)
    noted(world, first.kiosk, enrolled(first.kiosk, ADA, NOON), now=NOON + HOUR)
    on_page(world, ADA, given=True, now=NOON + HOUR)

    assert first.read().templates == {ADA: sealed_of(ADA, FIRST, b"door2")}


# -- the group ---------------------------------------------------------------------------------------------------


def test_each_kiosk_is_told_of_the_group_and_given_its_own_wrap(
    world: World, keyring: Keyring, doors: tuple[Holder, Holder]
) -> None:
    first, second = (holder.read() for holder in doors)
    third = Holder(world=world, keyring=keyring, kiosk=world.add_kiosk("door3")).read()
    assert first.group is not None
    assert second.group is not None
    assert third.group is not None

    assert first.group.key == second.group.key == third.group.key == FIRST
    assert third.group.kiosks == ("door1", "door2", "door3")
    assert first.group.wrap == wrap_of("door1", FIRST, first.kiosk)
    assert second.group.wrap == wrap_of("door2", FIRST, first.kiosk)
    assert third.group.wrap is None
    noted(world, second.kiosk, wrapped(second.kiosk, "door3"))
    third.read()
    assert third.group.wrap == wrap_of("door3", FIRST, second.kiosk)


def test_a_wrap_that_comes_late_does_not_replace_the_newer_one(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    older, newer = (wrapped(first.kiosk, "door2", NOON), wrapped(first.kiosk, "door2", NOON))
    newer_bytes = wrapped(first.kiosk, "door2", NOON + MINUTE, salt=b"with a third kiosk")
    assert older != newer
    noted(world, first.kiosk, newer_bytes, now=NOON + MINUTE)
    noted(world, first.kiosk, newer, older, now=NOON + HOUR)

    second.read()
    assert second.group is not None
    assert second.group.wrap == wrap_of("door2", FIRST, first.kiosk, b"with a third kiosk")


def test_of_two_secrets_made_at_once_the_first_to_be_heard_counts(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, second.kiosk, wrapped(second.kiosk, "door2", key=SECOND))

    second.read()
    assert second.group is not None
    assert second.group.key == FIRST
    assert second.group.wrap == wrap_of("door2", FIRST, first.kiosk)
    noted(world, second.kiosk, consent(second.kiosk, ADA), enrolled(second.kiosk, ADA, key=SECOND))
    assert first.read().templates == {}, "sealed to a secret that nobody else has"
    noted(world, second.kiosk, enrolled(second.kiosk, ADA, NOON, key=FIRST))
    assert first.read().templates.keys() == {ADA}
    assert_faces_kept_as_promised(world)


def rotation(kiosk: VirtualKiosk, member: MemberId) -> list[Envelope]:
    """A new secret for the kiosk and door1, and the member's template sealed to it."""
    return [
        wrapped(kiosk, kiosk.device, key=SECOND, previous=FIRST),
        wrapped(kiosk, "door1", key=SECOND, previous=FIRST),
        enrolled(kiosk, member, NOON + HOUR, key=SECOND, resealed=True),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (2, 0, 1)])
def test_a_new_secret_drops_what_is_under_the_old_one_until_it_is_sealed_anew(
    world: World, keyring: Keyring, doors: tuple[Holder, Holder], order: tuple[int, ...]
) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    noted(world, first.kiosk, consent(first.kiosk, BEA), enrolled(first.kiosk, BEA))
    said = rotation(second.kiosk, ADA)
    for place in order:
        noted(world, second.kiosk, said[place], now=NOON + HOUR)

    fresh = Holder(world=world, keyring=keyring, kiosk=world.add_kiosk("door3")).read()
    assert fresh.templates == {ADA: sealed_of(ADA, SECOND, b"door2")}
    assert fresh.group is not None
    assert fresh.group.key == SECOND
    first.read()
    assert first.group is not None
    assert first.group.wrap == wrap_of("door1", SECOND, second.kiosk)
    with reading(world.engine) as connection:
        state = group_state(connection, STORE)
    assert sorted(state.holders) == ["door1", "door2"]
    assert (state.templates, state.group.made_by) == (1, DeviceId("door2"))
    on_page(world, BEA, given=False, now=NOON + DAY)
    assert first.read(NOON + DAY).templates.keys() == {ADA}, "forgotten, under whatever secret it was"
    assert_faces_kept_as_promised(world)


def test_two_changes_of_the_secret_that_overtook_each_other_end_at_the_newer(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    first, second = doors
    older, newer = (
        wrapped(second.kiosk, "door2", key=SECOND, previous=FIRST),
        wrapped(second.kiosk, "door2", key=THIRD, previous=SECOND),
    )
    noted(world, second.kiosk, newer)
    first.read()
    assert first.group is not None
    assert first.group.key == FIRST, "what comes before is not known yet"
    noted(world, second.kiosk, older)
    second.read()
    assert second.group is not None
    assert (second.group.key, second.group.wrap) == (THIRD, wrap_of("door2", THIRD, second.kiosk))
    late = wrapped(first.kiosk, "door1", key=SECOND, previous=FIRST)
    noted(world, first.kiosk, late)
    first.read()
    assert (first.group.key, first.group.wrap) == (THIRD, None)


def test_the_first_secret_of_a_store_may_come_after_its_change(world: World, keyring: Keyring) -> None:
    door = Holder(world=world, keyring=keyring, kiosk=world.add_kiosk("door1"))
    made = wrapped(door.kiosk, "door1", key=FIRST)
    changed = wrapped(door.kiosk, "door1", key=SECOND, previous=FIRST)
    noted(world, door.kiosk, changed)
    noted(world, door.kiosk, made)

    door.read()
    assert door.group is not None
    assert door.group.key == SECOND


def test_a_secret_that_waits_too_long_is_dropped(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    later = NOON + WRAPS_WAITING_AGE_MAX + DAY
    noted(world, second.kiosk, wrapped(second.kiosk, "door2", key=THIRD, previous=SECOND))
    noted(world, first.kiosk, wrapped(first.kiosk, "door1"), now=later)
    noted(world, second.kiosk, wrapped(second.kiosk, "door2", key=SECOND, previous=FIRST), now=later)

    first.read(later)
    assert first.group is not None
    assert first.group.key == SECOND


def test_nobody_wraps_for_a_kiosk_of_elsewhere_or_one_that_was_revoked(
    world: World, doors: tuple[Holder, Holder]
) -> None:
    first, second = doors
    with writing(world.engine) as connection:
        revoke_device(connection, DeviceId("door2"), NOON)
    noted(world, first.kiosk, wrapped(first.kiosk, "elsewhere"), wrapped(first.kiosk, "door2"))

    with reading(world.engine) as connection:
        assert group_state(connection, STORE).holders == {"door1"}
    first.read()
    assert first.group is not None
    assert first.group.kiosks == ("door1",)
    held = second.feeds
    second.read()
    assert (second.feeds, second.group) == (held, None), "a revoked kiosk is told nothing of faces"


# -- what does not pass ------------------------------------------------------------------------------------------


def test_a_quarantined_epoch_changes_nothing(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    with writing(world.engine) as connection:
        quarantine_epoch(connection, first.kiosk.device, 1, NOON)
    receipt = world.tell(first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))

    assert {verdict.outcome for verdict in receipt.verdicts} == {Outcome.QUARANTINED}
    assert (face_text(world, ADA), second.read().templates) == (None, {})


def test_a_withdrawal_is_followed_even_in_quarantine(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    assert second.read().templates.keys() == {ADA}
    with writing(world.engine) as connection:
        quarantine_epoch(connection, first.kiosk.device, 1, NOON)
    receipt = world.tell(first.kiosk, consent(first.kiosk, ADA, NOON + HOUR, given=False), now=NOON + HOUR)

    assert {verdict.outcome for verdict in receipt.verdicts} == {Outcome.QUARANTINED}
    assert (face_text(world, ADA), second.read(NOON + HOUR).templates) == (None, {})


def test_who_consents_at_a_door_is_on_its_roster(world: World, doors: tuple[Holder, Holder]) -> None:
    """Or the other kiosks would hold the template of somebody whose consent they do not know."""
    first, second = doors
    newcomer = member_of(30)
    noted(world, first.kiosk, consent(first.kiosk, newcomer))

    assert second.read().consents[newcomer] == BIOMETRIC_TEXT_VERSION


@pytest.mark.parametrize("kind", ["changed body", "unknown epoch", "bad signature"])
def test_no_template_is_kept_aside(
    world: World, doors: tuple[Holder, Holder], everything_stored: Callable[[], bytes], kind: str
) -> None:
    """What is turned away is kept for a person to look at, but never a template: it could not be withdrawn."""
    first, _ = doors
    match kind:
        case "changed body":
            noted(world, first.kiosk, consent(first.kiosk, ADA))
            first.kiosk.seq -= 1
            said = enrolled(first.kiosk, ADA)
        case "unknown epoch":
            first.kiosk.epoch = 9
            said = enrolled(first.kiosk, ADA)
        case _:
            said = msgspec.structs.replace(enrolled(first.kiosk, ADA), signature=bytes(64))
    receipt = world.tell(first.kiosk, said)

    assert said.payload is not None
    assert Outcome.NOTED not in {verdict.outcome for verdict in receipt.verdicts}
    assert chain_digest(said.header) is not None
    stored = everything_stored()
    assert sealed_of(ADA, FIRST, b"door1").sealed not in stored
    assert said.header in stored


def test_disputes_are_listed_in_pages(world: World, doors: tuple[Holder, Holder]) -> None:
    first, second = doors
    claim = first.kiosk.claim(ADA, NOON, means=Means.PHONE)
    assert world.judge_one(first.kiosk, claim) == (Outcome.POSTED, None)
    noted(world, first.kiosk, disputed(first.kiosk, ADA, claim=bytes(16)), disputed(first.kiosk, BEA))
    noted(world, second.kiosk, disputed(second.kiosk, BEA))

    with reading(world.engine) as connection:
        found = disputes_of_store(connection, STORE, after=None, limit=2)
        rest = disputes_of_store(connection, STORE, after=found[-1].place, limit=2)
    assert [(one.device, one.member, one.claim) for one in found] == [("door1", ADA, bytes(16)), ("door1", BEA, None)]
    assert [(one.device, one.said_at, one.recorded_at) for one in rest] == [("door2", NOON, NOON)]
    assert world.balance(1) == 10, "the claim stands until a person has looked"


# -- after a restore ---------------------------------------------------------------------------------------------


def test_after_a_restore_no_face_is_known_and_everybody_is_asked_again(
    world: World, keyring: Keyring, doors: tuple[Holder, Holder]
) -> None:
    first, second = (holder.read() for holder in doors)
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    first.read()
    later = NOON + DAY
    with writing(world.engine) as connection:
        leap_feeds(connection, later)

    for holder in (first, second):
        holder.read(later)
        assert (holder.templates, holder.resets) == ({}, 1)
        assert holder.group is not None
        assert (holder.group.key, holder.group.wrap) == (None, None)
        assert holder.consents[ADA] is None
    assert history(world, ADA)[-1].words.channel is Channel.RESTORE
    first.read(later)
    assert first.resets == 1, "once is enough"
    noted(world, first.kiosk, wrapped(first.kiosk, "door1", later), wrapped(first.kiosk, "door2", later), now=later)
    again = (consent(first.kiosk, ADA, later + HOUR), enrolled(first.kiosk, ADA, later + HOUR))
    noted(world, first.kiosk, *again, now=later + HOUR)
    assert second.read(later + HOUR).templates.keys() == {ADA}
    assert_faces_kept_as_promised(world)


# -- the verifier ------------------------------------------------------------------------------------------------


def broken(world: World) -> set[FacePromise]:
    """The promises that the verifier finds broken."""
    with reading(world.engine) as connection:
        return {breach.promise for breach in verify_faces(connection)}


def test_the_verifier_sees_each_broken_promise(world: World, doors: tuple[Holder, Holder]) -> None:
    first, _ = doors
    noted(world, first.kiosk, consent(first.kiosk, ADA), enrolled(first.kiosk, ADA))
    noted(world, first.kiosk, enrolled(first.kiosk, BEA))
    assert broken(world) == set()
    m = member_table.c
    with writing(world.engine) as connection:
        connection.execute(update(member_table).where(m.id == BEA).values(face_text=3))
        connection.execute(update(member_table).where(m.id.in_([ADA, BEA])).values(erased_at=NOON))
        connection.exec_driver_sql("UPDATE template_head SET version = 0")
    assert broken(world) == {FacePromise.F1_IN_FORCE, FacePromise.F3_ERASED, FacePromise.F4_GIVEN_OUT}
    with writing(world.engine) as connection:
        columns = "tenant, member, purpose, level, text_version, language, channel"
        connection.exec_driver_sql(
            f"INSERT INTO member_consent ({columns}, number, given, recorded_at)"
            f" SELECT {columns}, number + 1, 0, recorded_at + 1 FROM member_consent WHERE given = 1"
        )
        connection.exec_driver_sql(
            "INSERT INTO template_waiting SELECT member, store, key, tenant, embedder, sealed, text_version, device,"
            " frames, resealed, enrolled_at, recorded_at FROM sealed_template WHERE removed = 0"
        )
    assert broken(world) == set(FacePromise) - {FacePromise.F5_NAMED}, "nobody named a store here"
    with writing(world.engine) as connection:
        connection.exec_driver_sql(
            f"INSERT INTO member_consent ({columns}, number, given, recorded_at)"
            f" SELECT {columns}, number + 1, 1, recorded_at + 1 FROM member_consent WHERE given = 0"
        )
    assert FacePromise.F2_CONSENTED in broken(world), "a consent given later does not cover what was there before"


def test_member_facts_say_which_text_is_in_force(world: World, doors: tuple[Holder, Holder]) -> None:
    on_page(world, ADA, given=True)
    with reading(world.engine) as connection:
        facts = member_facts(connection, TENANT, [ADA, BEA])
    assert (facts[ADA].face_text, facts[BEA].face_text) == (BIOMETRIC_TEXT_VERSION, None)


def test_second_epoch_goes_on(world: World, doors: tuple[Holder, Holder]) -> None:
    """A kiosk with a new database speaks of faces under its new epoch."""
    first, second = doors
    with writing(world.engine) as connection:
        assert issue_epoch(connection, first.kiosk.device, b"2" * 16, NOON) is not None
    again = VirtualKiosk(device=first.kiosk.device, policy=world.policy, epoch=2)
    noted(world, again, consent(again, ADA), enrolled(again, ADA))

    assert second.read().templates.keys() == {ADA}


def test_pages_kiosks_and_listeners_at_once_keep_every_promise(world: World, doors: tuple[Holder, Holder]) -> None:
    """Locks are taken in one order by all three, and nobody's withdrawal slips between two of them."""
    first, second = doors
    members = [member_of(number) for number in range(1, 9)]
    batches = {
        door.kiosk.device: [
            [said for member in some for said in (enrolled(door.kiosk, member), consent(door.kiosk, member))]
            for some in (members, members[::-1], members)
        ]
        for door in doors
    }

    def at_the_door(holder: Holder) -> None:
        for said in batches[holder.kiosk.device]:
            world.send((holder.kiosk.device, said))
            holder.read()

    def on_pages(turn: int) -> None:
        for member in members[:: 1 if turn else -1]:
            on_page(world, member, given=bool(turn % 2), now=NOON + turn * MINUTE)

    with ThreadPoolExecutor(4) as executor:
        work = [executor.submit(at_the_door, holder) for holder in doors]
        work += [executor.submit(on_pages, turn) for turn in (1, 2)]
        for one in work:
            one.result()
    assert_faces_kept_as_promised(world)
    assert first.read().templates == second.read().templates
    with reading(world.engine) as connection:
        in_force = {member for member in members if member_facts(connection, TENANT, [member])[member].face_text}
    assert first.templates.keys() <= in_force

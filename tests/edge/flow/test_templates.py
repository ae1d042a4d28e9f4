"""Templates between the cloud and `vision`: which page counts, what a proof rests on, and when leases end."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edge.channel.messages import FaceTerms, LeasesEnd, TemplatesKept, TemplatesTold
from edge.db import faces
from shared.answers import RosterEntry, TemplateEntry, TemplatePage
from shared.biometrics import Forgetting
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.envelope import TemplateForgotten
from shared.ids import MemberId
from shared.policy import LEASE_AGE_MAX
from tests.support.entrances import Kiosk, member_id, policy, sealed

ANNA, BERT, CARLA = member_id(1), member_id(2), member_id(3)
ROSTER = tuple(
    RosterEntry(member=member, nickname="A", face_text=BIOMETRIC_TEXT_VERSION) for member in (ANNA, BERT, CARLA)
)


def held(member: MemberId) -> TemplateEntry:
    return TemplateEntry(member=member, template=sealed(member))


def gone(member: MemberId) -> TemplateEntry:
    return TemplateEntry(member=member, template=None)


def proofs(kiosk: Kiosk) -> list[tuple[bytes, Forgetting]]:
    return [(fact.member, fact.why) for fact in kiosk.facts() if isinstance(fact, TemplateForgotten)]


def page(kiosk: Kiosk, *entries: TemplateEntry, base: int = 0, version: int = 1, **changes: object) -> TemplatePage:
    now_ms = milliseconds(kiosk.clock.instant)
    made = TemplatePage(base=base, version=version, more=False, issued_ms=now_ms, reset=False, entries=entries)
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready_for_faces(*ROSTER)
    made.kept()
    return made


def is_kept(kiosk: Kiosk, member: MemberId) -> bool:
    return faces.is_kept(kiosk.database.connection, member)


def said_version(kiosk: Kiosk) -> int:
    """The version of the templates that the cloud is told."""
    kiosk.agent.line_up()
    return kiosk.link.states()[-1].feeds.templates


# --- pages ------------------------------------------------------------------------------------------------------------


def test_a_page_is_passed_on_and_counts_once_vision_has_it_on_the_disk(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA), gone(BERT), version=3))
    told = kiosk.eyes.last(TemplatesTold)
    assert told is not None
    assert (told.version, told.whole, told.reset, told.why) == (3, True, False, Forgetting.WITHDRAWN)
    assert ([template.member for template in told.keep], told.forget) == ([ANNA], (BERT,))
    assert said_version(kiosk) == 0
    kiosk.kept()
    assert said_version(kiosk) == 3
    assert (is_kept(kiosk, ANNA), is_kept(kiosk, BERT)) == (True, False)


def test_pages_are_judged_against_what_vision_will_hold_by_then(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA), version=1, more=True))
    kiosk.tell(page(kiosk, held(BERT), base=1, version=2))
    kiosk.tell(page(kiosk, held(CARLA), base=5, version=6))  # one is missing in between
    kiosk.tell(page(kiosk, held(CARLA), base=0, version=1))  # older than held
    kiosk.kept()
    told = [one.version for one in kiosk.eyes.told if isinstance(one, TemplatesTold)]
    assert told[-2:] == [1, 2]
    assert (is_kept(kiosk, BERT), is_kept(kiosk, CARLA), said_version(kiosk)) == (True, False, 2)


def test_a_page_heard_while_vision_is_away_is_asked_for_again(kiosk: Kiosk) -> None:
    kiosk.agent.vision_leaves()
    told = kiosk.eyes.count(TemplatesTold)
    assert kiosk.tell(page(kiosk, held(ANNA), version=1))
    assert (kiosk.eyes.count(TemplatesTold), is_kept(kiosk, ANNA)) == (told, False)
    states = len(kiosk.link.states())
    kiosk.see()
    kiosk.clock.advance(timedelta(seconds=3))
    kiosk.agent.tick()
    assert len(kiosk.link.states()) > states
    assert kiosk.link.states()[-1].feeds.templates == 0


def test_what_vision_holds_counts_and_not_what_it_was_told(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA), version=4))
    kiosk.agent.vision_leaves()  # before it was done
    assert said_version(kiosk) == 0
    kiosk.see(templates_version=2, templates=1)
    assert said_version(kiosk) == 2
    kiosk.tell(page(kiosk, held(BERT), base=2, version=3))
    told = kiosk.eyes.last(TemplatesTold)
    assert told is not None
    assert told.version == 3


def test_the_word_that_all_is_held_gives_the_feed_its_age(kiosk: Kiosk) -> None:
    terms = kiosk.eyes.last(FaceTerms)
    assert terms is not None
    assert terms.on
    kiosk.clock.trusted = True
    kiosk.clock.advance(LEASE_AGE_MAX - timedelta(days=1))
    kiosk.deny(version=3)
    kiosk.know(*ROSTER, version=3)
    kiosk.tell_policy(policy(2, faces=True))
    kiosk.agent.tick()
    assert kiosk.agent.status().faces == "on"
    kiosk.clock.advance(timedelta(days=1, seconds=1))
    kiosk.agent.tick()
    assert kiosk.agent.status().faces == "templates too old"
    kiosk.tell_templates()
    kiosk.agent.tick()
    assert kiosk.agent.status().faces == "on"


# --- proofs -----------------------------------------------------------------------------------------------------------


def test_a_withdrawal_is_answered_with_a_signed_proof(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA), held(BERT)))
    kiosk.kept()
    kiosk.tell(page(kiosk, gone(ANNA), base=1, version=2))
    assert proofs(kiosk) == []
    kiosk.kept(ANNA)
    assert proofs(kiosk) == [(ANNA, Forgetting.WITHDRAWN)]
    assert (is_kept(kiosk, ANNA), is_kept(kiosk, BERT)) == (False, True)


def test_who_was_never_held_gets_no_proof(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, gone(ANNA)))
    kiosk.kept()
    assert proofs(kiosk) == []


def test_a_proof_is_owed_across_a_crash(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA)))
    kiosk.kept()
    kiosk.tell(page(kiosk, gone(ANNA), base=1, version=2))
    kiosk.restart()  # `vision` did it, and its answer was lost
    kiosk.see(templates_version=2)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.agent.tick()
    kiosk.kept()
    assert proofs(kiosk) == [(ANNA, Forgetting.WITHDRAWN)]


def test_a_reset_forgets_whoever_it_does_not_name_again(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA), held(BERT)))
    kiosk.kept()
    kiosk.tell(page(kiosk, held(BERT), held(CARLA), version=7, reset=True))
    kiosk.kept()
    assert proofs(kiosk) == [(ANNA, Forgetting.WITHDRAWN)]
    assert (is_kept(kiosk, BERT), is_kept(kiosk, CARLA)) == (True, True)


def test_who_comes_back_before_the_answer_is_not_said_to_be_gone(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA)))
    kiosk.kept()
    kiosk.tell(page(kiosk, gone(ANNA), base=1, version=2))
    kiosk.tell(page(kiosk, held(ANNA), base=2, version=3))
    kiosk.kept(ANNA)
    assert (proofs(kiosk), is_kept(kiosk, ANNA)) == ([], True)


def test_many_proofs_are_written_a_few_at_a_time(kiosk: Kiosk) -> None:
    members = [member_id(number) for number in range(100, 230)]
    kiosk.tell(page(kiosk, *(held(member) for member in members)))
    kiosk.kept()
    kiosk.tell(page(kiosk, *(gone(member) for member in members), base=1, version=2))
    kiosk.kept(*members)
    assert len(proofs(kiosk)) == 50
    for _ in range(3):
        kiosk.agent.tick()
    assert len(proofs(kiosk)) == len(members)
    assert {member for member, _ in proofs(kiosk)} == set(members)


def test_templates_of_another_life_are_proved_to_be_gone_and_read_anew(kiosk: Kiosk) -> None:
    kiosk.agent.hear_vision(
        TemplatesKept(version=0, issued_ms=0, templates=0, forgotten=(BERT,), why=Forgetting.RESTORED)
    )
    assert proofs(kiosk) == [(BERT, Forgetting.RESTORED)]
    kiosk.tell(page(kiosk, held(BERT), version=9, base=0))
    told = kiosk.eyes.last(TemplatesTold)
    assert told is not None
    assert told.version == 9


def test_a_vision_that_wiped_everything_is_believed(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA)))
    kiosk.kept()
    wiped = TemplatesKept(version=0, issued_ms=0, templates=0, forgotten=(), why=Forgetting.RESTORED)
    kiosk.agent.hear_vision(wiped)
    assert (is_kept(kiosk, ANNA), said_version(kiosk)) == (False, 0)


def test_a_vision_that_holds_nothing_is_believed(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA)))
    kiosk.kept()
    kiosk.agent.vision_leaves()
    kiosk.see(templates=0)
    assert not is_kept(kiosk, ANNA)


# --- leases -----------------------------------------------------------------------------------------------------------


def test_leases_end_by_the_known_time_at_start_and_every_hour(kiosk: Kiosk) -> None:
    lease = kiosk.eyes.last(LeasesEnd)
    assert lease == LeasesEnd(before_ms=milliseconds(kiosk.clock.instant - LEASE_AGE_MAX))
    count = kiosk.eyes.count(LeasesEnd)
    kiosk.clock.advance(timedelta(minutes=59))
    kiosk.agent.tick()
    assert kiosk.eyes.count(LeasesEnd) == count
    kiosk.clock.advance(timedelta(minutes=2))
    kiosk.agent.tick()
    assert kiosk.eyes.count(LeasesEnd) == count + 1


def test_a_lease_that_ran_out_is_proved(kiosk: Kiosk) -> None:
    kiosk.tell(page(kiosk, held(ANNA)))
    kiosk.kept()
    kiosk.clock.advance(timedelta(hours=2))
    kiosk.agent.tick()
    kiosk.kept(lapsed=(ANNA,))
    assert proofs(kiosk) == [(ANNA, Forgetting.LAPSED)]
    assert not is_kept(kiosk, ANNA)


def test_without_the_time_leases_end_by_the_latest_instant_ever_acted_on(kiosk: Kiosk) -> None:
    noon_ms = milliseconds(kiosk.clock.instant)
    kiosk.clock.restart("boot-2")
    kiosk.restart()
    kiosk.see()
    kiosk.agent.tick()
    lease = kiosk.eyes.last(LeasesEnd)
    assert lease is not None
    assert abs(lease.before_ms - (noon_ms - LEASE_AGE_MAX // timedelta(milliseconds=1))) < 60_000


def test_vision_hears_nothing_of_templates_before_it_knows_whose_they_are(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.see()
    kiosk.agent.tick()
    assert kiosk.eyes.told == []
    kiosk.ready(terms=policy(faces=True))
    kiosk.agent.tick()
    assert isinstance(kiosk.eyes.told[0], FaceTerms)
    assert kiosk.eyes.last(LeasesEnd) is not None


def test_a_device_that_never_knew_the_time_ends_no_lease(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.see()
    kiosk.agent.tick()
    assert kiosk.eyes.last(LeasesEnd) is None

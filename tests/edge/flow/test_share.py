"""Templates that are wanted for other stores, as far as the agent goes: asked of `vision`, written, told once."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import KnownGroup, ShareWanted, TemplateGiven
from edge.core.group_steps import RANK_WAIT_NS
from edge.flow.share import SHARE_AGAIN_NS, SHARED_A_TICK
from shared.answers import GroupPage, Receipt, RosterEntry, TemplateEntry, TemplateWanted
from shared.biometrics import SealedTemplate
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.envelope import TemplateShared
from shared.ids import MemberId
from tests.support.entrances import DEVICE, EMBEDDER, Kiosk, member_id, sealed

ANNA, BERT = member_id(1), member_id(2)
THEM = KnownGroup(store="porto", key=b"their--1")
WANTED = TemplateWanted(member=ANNA, store=THEM.store, key=THEM.key)
SECOND = timedelta(seconds=1)


def consenting(*members: MemberId) -> tuple[RosterEntry, ...]:
    return tuple(RosterEntry(member=member, face_text=BIOMETRIC_TEXT_VERSION) for member in members)


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    """Its group knows the other store's, and it holds Anna's template."""
    made = Kiosk(tmp_path)
    made.ready_for_faces(*consenting(ANNA), partners=(THEM,))
    group_of(made, DEVICE)
    made.tell_templates(TemplateEntry(member=ANNA, template=sealed(ANNA)), version=1)
    return made


def group_of(kiosk: Kiosk, *kiosks: str) -> None:
    now_ms = milliseconds(kiosk.clock.instant)
    kiosk.tell(GroupPage(base=0, version=1, more=False, issued_ms=now_ms, key=None, kiosks=kiosks, wrap=None))


def want(kiosk: Kiosk, *wanted: TemplateWanted, after: timedelta = SECOND, more: bool = False) -> None:
    """The cloud wants these and only these, and a moment passes."""
    kiosk.tell_templates(base=1, version=1, wanted=wanted, more=more)
    kiosk.clock.advance(after)
    kiosk.agent.tick()


def give(kiosk: Kiosk, member: MemberId = ANNA, group: KnownGroup = THEM) -> None:
    """`vision` has sealed it."""
    template = SealedTemplate(member=member, key=group.key, embedder=EMBEDDER, sealed=b"given " + member)
    message = TemplateGiven(member=member, store=group.store, template=template, reason=None)
    kiosk.agent.hear_vision(message)


def shared(kiosk: Kiosk) -> list[TemplateShared]:
    return [fact for fact in kiosk.facts() if isinstance(fact, TemplateShared)]


def test_what_is_wanted_is_sealed_and_told(kiosk: Kiosk) -> None:
    want(kiosk, WANTED)
    assert kiosk.eyes.last(ShareWanted) == ShareWanted(member=ANNA, store="porto", key=THEM.key)
    give(kiosk)
    (fact,) = shared(kiosk)
    assert (fact.tenant, fact.store, fact.for_store) == ("acme", "rome-1", "porto")
    assert (fact.template.member, fact.template.key) == (ANNA, THEM.key)
    assert fact.text_version == BIOMETRIC_TEXT_VERSION
    want(kiosk, WANTED)
    kiosk.agent.tick()
    assert kiosk.eyes.count(ShareWanted) == 1, "it is on its way"
    want(kiosk, WANTED, after=timedelta(microseconds=SHARE_AGAIN_NS // 1000))
    assert kiosk.eyes.count(ShareWanted) == 2, "the cloud had no use for it, and still wants it"


def test_the_envelope_is_erased_once_the_cloud_has_it(kiosk: Kiosk) -> None:
    want(kiosk, WANTED)
    give(kiosk)
    connection = kiosk.database.connection
    head = connection.execute("SELECT seq, chain FROM outbox ORDER BY seq DESC LIMIT 1").fetchone()
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=head["seq"], head=head["chain"], verdicts=()))
    row = connection.execute("SELECT payload FROM outbox WHERE seq = ?", (head["seq"],)).fetchone()
    assert row["payload"] is None


def test_what_is_no_longer_wanted_is_not_told(kiosk: Kiosk) -> None:
    want(kiosk, WANTED)
    want(kiosk)
    give(kiosk)
    assert shared(kiosk) == []


def test_what_another_kiosk_did_first_is_not_done_again(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(*consenting(ANNA), partners=(THEM,))
    group_of(kiosk, "a1", DEVICE)
    kiosk.tell_templates(TemplateEntry(member=ANNA, template=sealed(ANNA)), version=1)
    want(kiosk, WANTED)
    assert kiosk.eyes.count(ShareWanted) == 0
    want(kiosk, WANTED, after=timedelta(microseconds=RANK_WAIT_NS // 1000))
    assert kiosk.eyes.count(ShareWanted) == 1, "the other did not"


def test_a_revoked_kiosk_gives_nothing(kiosk: Kiosk) -> None:
    group_of(kiosk, "a1")
    want(kiosk, WANTED)
    assert kiosk.eyes.count(ShareWanted) == 0


def test_a_kiosk_that_was_told_of_no_group_gives_nothing(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(*consenting(ANNA), partners=(THEM,))
    kiosk.tell_templates(TemplateEntry(member=ANNA, template=sealed(ANNA)), version=1)
    want(kiosk, WANTED)
    assert kiosk.eyes.count(ShareWanted) == 0


def test_a_store_that_was_not_introduced_waits_and_is_counted(kiosk: Kiosk) -> None:
    newer = TemplateWanted(member=ANNA, store="porto", key=b"their--2")
    want(kiosk, newer, TemplateWanted(member=ANNA, store="retro", key=THEM.key))
    assert kiosk.eyes.count(ShareWanted) == 0
    assert kiosk.agent.status().shares_waiting == 2
    kiosk.see(templates=1, partners=(KnownGroup(store="porto", key=b"their--2"),))
    kiosk.agent.tick()
    assert kiosk.eyes.last(ShareWanted) == ShareWanted(member=ANNA, store="porto", key=b"their--2")
    assert kiosk.agent.status().shares_waiting == 1


def test_whose_face_is_not_held_or_who_has_no_consent_here_is_not_given(kiosk: Kiosk) -> None:
    want(kiosk, TemplateWanted(member=BERT, store="porto", key=THEM.key))
    assert kiosk.eyes.count(ShareWanted) == 0
    want(kiosk, WANTED)
    kiosk.know(RosterEntry(member=ANNA), version=2)
    give(kiosk)
    assert shared(kiosk) == []


def test_what_vision_refuses_is_tried_again_later(kiosk: Kiosk) -> None:
    want(kiosk, WANTED)
    kiosk.agent.hear_vision(TemplateGiven(member=ANNA, store="porto", template=None, reason="not_held"))
    kiosk.agent.tick()
    assert (kiosk.eyes.count(ShareWanted), shared(kiosk)) == (1, [])


def test_another_vision_is_asked_again(kiosk: Kiosk) -> None:
    want(kiosk, WANTED)
    kiosk.agent.vision_leaves()
    kiosk.agent.tick()
    assert kiosk.eyes.count(ShareWanted) == 1
    kiosk.see(templates=1, partners=(THEM,))
    kiosk.agent.tick()
    assert kiosk.eyes.count(ShareWanted) == 2


def test_many_are_given_a_few_at_a_time(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    members = [member_id(number) for number in range(1, 13)]
    kiosk.ready_for_faces(*consenting(*members), partners=(THEM,))
    group_of(kiosk, DEVICE)
    kiosk.tell_templates(*(TemplateEntry(member=one, template=sealed(one)) for one in members), version=1)
    want(kiosk, *(TemplateWanted(member=one, store="porto", key=THEM.key) for one in members))
    assert kiosk.eyes.count(ShareWanted) == SHARED_A_TICK
    for _ in range(3):
        kiosk.agent.tick()
    assert kiosk.eyes.count(ShareWanted) == len(members)


def test_a_page_that_is_not_the_last_says_nothing_of_what_is_wanted(kiosk: Kiosk) -> None:
    want(kiosk, WANTED, more=True)
    assert kiosk.eyes.count(ShareWanted) == 0

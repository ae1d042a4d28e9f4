"""The store's group of kiosks, as far as the agent goes: what `vision` is asked for, and what the cloud is told."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import (
    AdmissionTold,
    GroupChanged,
    GroupMade,
    GroupRotated,
    GroupUnchanged,
    JoinTold,
    KioskAdmitted,
    TemplatesTold,
    WrapTold,
)
from edge.core.group import GroupRequest, encode_request
from edge.core.group_steps import RANK_WAIT_NS
from edge.core.screen import ScreenName
from edge.flow.group import WINDOW_S
from shared.answers import GroupPage, Receipt
from shared.biometrics import Wrap
from shared.business_day import milliseconds
from shared.envelope import SecretWrapped, TemplateEnrolled
from shared.ids import DeviceId
from tests.support.entrances import DEVICE, GROUP, Kiosk, member_id, policy, sealed

NEW = b"group--2"
OTHER = DeviceId("kiosk2")
REQUEST = encode_request(GroupRequest(device=OTHER, sealing_public=b"k" * 32))
RANK_WAIT = timedelta(microseconds=RANK_WAIT_NS // 1000)


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready_for_faces()
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Kiosk:
    """A kiosk that wants faces and is of no group."""
    made = Kiosk(tmp_path)
    made.ready_for_faces(group=None, kiosks=())
    return made


def tell_group(kiosk: Kiosk, key: bytes | None, *kiosks: str, wrap: bytes | None = None, version: int = 1) -> None:
    """The cloud says this of the group, and a second passes."""
    now_ms = milliseconds(kiosk.clock.instant)
    page = GroupPage(base=0, version=version, more=False, issued_ms=now_ms, key=key, kiosks=kiosks, wrap=wrap)
    kiosk.tell(page)
    kiosk.agent.tick()


def change(
    kiosk: Kiosk,
    group: bytes,
    *kiosks: str,
    previous: bytes | None = None,
    wraps: tuple[Wrap, ...] = (),
    resealed: int = 0,
) -> None:
    """`vision` has another secret or list now."""
    templates = tuple(sealed(member_id(number), group) for number in range(1, resealed + 1))
    kiosk.agent.hear_vision(
        GroupChanged(group=group, previous=previous, kiosks=kiosks, wraps=wraps, resealed=templates)
    )


def wrapped(kiosk: Kiosk) -> list[SecretWrapped]:
    return [fact for fact in kiosk.facts() if isinstance(fact, SecretWrapped)]


def settle(kiosk: Kiosk) -> None:
    connection = kiosk.database.connection
    head = connection.execute("SELECT seq, chain FROM outbox ORDER BY seq DESC LIMIT 1").fetchone()
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=head["seq"], head=head["chain"], verdicts=()))


# --- the first secret -------------------------------------------------------------------------------------------------


def test_the_first_kiosk_makes_the_secret_and_tells_its_name(bare: Kiosk) -> None:
    tell_group(bare, None, DEVICE)
    assert bare.eyes.last(GroupMade) == GroupMade()
    change(bare, GROUP, DEVICE)
    (fact,) = wrapped(bare)
    assert (fact.key, fact.previous, fact.wrap) == (GROUP, None, Wrap(device=DEVICE, sealed=b""))
    bare.agent.tick()
    assert bare.agent.status().group == GROUP.hex()
    assert bare.agent.status().faces == "on"


def test_nobody_makes_a_secret_that_no_policy_wants(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(group=None, kiosks=(), terms=policy())
    tell_group(kiosk, None, DEVICE)
    assert kiosk.eyes.last(GroupMade) is None


def test_nobody_makes_a_secret_without_networks(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(group=None, kiosks=(), embedder=None)
    tell_group(kiosk, None, DEVICE)
    assert kiosk.eyes.last(GroupMade) is None


def test_of_several_new_kiosks_one_goes_first(bare: Kiosk) -> None:
    tell_group(bare, None, "a1", "b2", DEVICE)
    assert bare.eyes.last(GroupMade) is None
    bare.clock.advance(2 * RANK_WAIT)
    tell_group(bare, None, "a1", "b2", DEVICE, version=2)  # only its date is new
    assert bare.eyes.last(GroupMade) == GroupMade()


def test_what_was_asked_is_not_asked_again_at_once(bare: Kiosk) -> None:
    tell_group(bare, None, DEVICE)
    for _ in range(5):
        bare.clock.advance(timedelta(seconds=1))
        bare.agent.tick()
    assert bare.eyes.count(GroupMade) == 1
    bare.see(group=None, kiosks=())  # another process, which was asked nothing
    bare.agent.tick()
    assert bare.eyes.count(GroupMade) == 2


# --- a wrap for us ----------------------------------------------------------------------------------------------------


def test_a_wrap_for_us_is_taken(bare: Kiosk) -> None:
    tell_group(bare, GROUP, DEVICE, OTHER, wrap=b"wrap")
    assert bare.eyes.last(WrapTold) == WrapTold(key=GROUP, sealed=b"wrap")
    change(bare, GROUP, DEVICE, OTHER)
    assert wrapped(bare) == []  # there is nothing to tell
    bare.agent.tick()
    assert bare.eyes.count(WrapTold) == 1


def test_a_newer_list_of_kiosks_is_taken_from_a_new_wrap(kiosk: Kiosk) -> None:
    tell_group(kiosk, GROUP, DEVICE, OTHER, wrap=b"wrap")
    assert kiosk.eyes.last(WrapTold) == WrapTold(key=GROUP, sealed=b"wrap")


def test_a_wrap_that_is_refused_is_not_asked_for_every_second(bare: Kiosk) -> None:
    tell_group(bare, GROUP, DEVICE, OTHER, wrap=b"wrap")
    bare.agent.hear_vision(GroupUnchanged(reason="not_ours"))
    for _ in range(5):
        bare.clock.advance(timedelta(seconds=1))
        bare.agent.tick()
    assert bare.eyes.count(WrapTold) == 1
    tell_group(bare, GROUP, DEVICE, OTHER, wrap=b"another", version=2)
    assert bare.eyes.last(WrapTold) == WrapTold(key=GROUP, sealed=b"another")


def test_the_loser_of_a_race_takes_the_winners_secret(kiosk: Kiosk) -> None:
    tell_group(kiosk, NEW, DEVICE, OTHER, wrap=b"wrap")
    assert kiosk.eyes.last(WrapTold) == WrapTold(key=NEW, sealed=b"wrap")


def test_what_was_sealed_anew_is_told_again_by_another_vision(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces()
    change(kiosk, GROUP, DEVICE, resealed=60)
    kiosk.see()
    change(kiosk, GROUP, DEVICE, resealed=60)
    kiosk.agent.tick()
    resealed = [fact.template.member for fact in kiosk.facts() if isinstance(fact, TemplateEnrolled)]
    assert len(resealed) == 50 + 60


# --- a kiosk that is gone ---------------------------------------------------------------------------------------------


def test_a_revoked_kiosk_is_answered_with_a_new_secret_for_the_rest(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(kiosks=(DEVICE, OTHER, "kiosk3"))
    tell_group(kiosk, GROUP, DEVICE, "kiosk3")
    assert kiosk.eyes.last(GroupRotated) == GroupRotated(kept=(DEVICE, "kiosk3"))
    change(kiosk, NEW, DEVICE, "kiosk3", previous=GROUP, wraps=(Wrap(device="kiosk3", sealed=b"w"),), resealed=120)
    (fact,) = wrapped(kiosk)
    assert (fact.key, fact.previous, fact.wrap.device) == (NEW, GROUP, "kiosk3")
    for _ in range(3):
        kiosk.agent.tick()
    resealed = [fact for fact in kiosk.facts() if isinstance(fact, TemplateEnrolled)]
    assert [fact.template.member for fact in resealed] == [member_id(number) for number in range(1, 121)]
    assert all(fact.resealed and fact.frames == 0 and fact.template.key == NEW for fact in resealed)
    told = [one for one in kiosk.eyes.told if isinstance(one, TemplatesTold) and one.keep]
    assert sum(len(one.keep) for one in told) == 120  # `vision` hears which are written down


def test_who_stays_alone_tells_the_new_secrets_name(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(kiosks=(DEVICE, OTHER))
    tell_group(kiosk, GROUP, DEVICE)
    assert kiosk.eyes.last(GroupRotated) == GroupRotated(kept=(DEVICE,))
    change(kiosk, NEW, DEVICE, previous=GROUP)
    (fact,) = wrapped(kiosk)
    assert (fact.key, fact.previous, fact.wrap) == (NEW, GROUP, Wrap(device=DEVICE, sealed=b""))


def test_not_all_answer_at_once(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(kiosks=(DEVICE, "a1", OTHER))
    tell_group(kiosk, GROUP, DEVICE, "a1")
    assert kiosk.eyes.last(GroupRotated) is None
    kiosk.clock.advance(RANK_WAIT)
    kiosk.agent.tick()
    assert kiosk.eyes.last(GroupRotated) == GroupRotated(kept=(DEVICE, "a1"))


def test_a_kiosk_the_cloud_no_longer_lists_does_nothing(kiosk: Kiosk) -> None:
    tell_group(kiosk, NEW, OTHER, wrap=b"wrap")
    assert kiosk.eyes.last(WrapTold) is None
    assert kiosk.eyes.last(GroupRotated) is None


def test_the_clouds_word_from_before_our_change_changes_nothing(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(kiosks=(DEVICE, OTHER, "kiosk3"))
    tell_group(kiosk, GROUP, DEVICE, "kiosk3", wrap=b"old", version=4)
    change(kiosk, NEW, DEVICE, "kiosk3", previous=GROUP, wraps=(Wrap(device="kiosk3", sealed=b"w"),))
    wraps = kiosk.eyes.count(WrapTold)
    for _ in range(3):
        kiosk.agent.tick()
    settle(kiosk)
    kiosk.agent.tick()
    kiosk.restart()
    kiosk.see(group=NEW, kiosks=(DEVICE, "kiosk3"))
    kiosk.agent.tick()
    assert kiosk.eyes.count(WrapTold) == wraps
    tell_group(kiosk, b"group--3", DEVICE, "kiosk3", wrap=b"newer", version=5)
    assert kiosk.eyes.last(WrapTold) == WrapTold(key=b"group--3", sealed=b"newer")


def test_a_cloud_that_forgot_the_secrets_name_is_told_it_once(kiosk: Kiosk) -> None:
    tell_group(kiosk, None, DEVICE, OTHER, version=7)
    (fact,) = wrapped(kiosk)
    assert (fact.key, fact.previous, fact.wrap) == (GROUP, None, Wrap(device=DEVICE, sealed=b""))
    kiosk.agent.tick()
    settle(kiosk)
    kiosk.agent.tick()
    assert len(wrapped(kiosk)) == 1


# --- a new kiosk ------------------------------------------------------------------------------------------------------


def test_a_new_kiosk_shows_its_request_when_asked(bare: Kiosk) -> None:
    tell_group(bare, GROUP, DEVICE, OTHER)
    assert bare.agent.ask_join() == JoinTold(seconds=WINDOW_S, reason=None)
    screen = bare.display.last
    request = encode_request(GroupRequest(device=DEVICE, sealing_public=b"s" * 32))
    assert (screen.name, screen.code) == (ScreenName.JOIN_GROUP, request)
    change(bare, GROUP, DEVICE, OTHER)
    assert bare.display.last.name is ScreenName.IDLE


def test_who_is_of_the_group_has_nothing_to_ask(kiosk: Kiosk) -> None:
    tell_group(kiosk, GROUP, DEVICE)
    assert kiosk.agent.ask_join().reason == "this kiosk is of the group already"
    kiosk.agent.vision_leaves()
    assert kiosk.agent.ask_join().reason == "vision does not run"


def test_who_made_a_secret_of_its_own_may_ask_to_join_the_stores(kiosk: Kiosk) -> None:
    tell_group(kiosk, NEW, DEVICE, OTHER)
    assert kiosk.agent.ask_join().reason is None


def test_a_kiosk_of_the_group_takes_a_request_in_its_window(kiosk: Kiosk) -> None:
    tell_group(kiosk, GROUP, DEVICE, OTHER)
    assert kiosk.agent.ask_admission() == AdmissionTold(seconds=WINDOW_S, reason=None)
    kiosk.show(REQUEST)
    assert kiosk.eyes.last(KioskAdmitted) == KioskAdmitted(device=OTHER, sealing_public=b"k" * 32)
    change(kiosk, GROUP, DEVICE, OTHER, wraps=(Wrap(device=OTHER, sealed=b"w"),))
    (fact,) = wrapped(kiosk)
    assert (fact.key, fact.previous, fact.wrap) == (GROUP, None, Wrap(device=OTHER, sealed=b"w"))
    assert kiosk.display.last.name is ScreenName.ADMITTED
    assert kiosk.show(encode_request(GroupRequest(device=OTHER, sealing_public=b"x" * 32))).name is ScreenName.INVALID
    assert kiosk.eyes.count(KioskAdmitted) == 1


def test_outside_the_window_a_request_is_a_code_like_any_other(kiosk: Kiosk) -> None:
    tell_group(kiosk, GROUP, DEVICE, OTHER)
    assert kiosk.show(REQUEST).name is ScreenName.INVALID
    kiosk.agent.ask_admission()
    kiosk.clock.advance(timedelta(seconds=WINDOW_S))
    assert kiosk.show(REQUEST).name is ScreenName.INVALID
    assert kiosk.eyes.last(KioskAdmitted) is None


@pytest.mark.parametrize(
    "text",
    [
        "DSG1:nonsense",
        REQUEST.replace("NNVWW", "NNVWX", 1),
        encode_request(GroupRequest(device=DeviceId("stranger"), sealing_public=b"k" * 32)),
        encode_request(GroupRequest(device=DEVICE, sealing_public=b"k" * 32)),
    ],
)
def test_only_a_kiosk_of_the_store_is_admitted(kiosk: Kiosk, text: str) -> None:
    tell_group(kiosk, GROUP, DEVICE, OTHER)
    kiosk.agent.ask_admission()
    assert kiosk.show(text).name is ScreenName.INVALID
    assert kiosk.eyes.last(KioskAdmitted) is None


def test_who_holds_no_secret_admits_nobody(bare: Kiosk) -> None:
    assert bare.agent.ask_admission().reason == "this kiosk holds no secret of a group"
    bare.see()
    assert bare.agent.ask_admission().reason == "the cloud has not named the store's kiosks yet"
    bare.agent.vision_leaves()
    assert bare.agent.ask_admission().reason == "vision does not run"


def test_a_longer_list_outside_the_window_is_nobodys_admission(kiosk: Kiosk) -> None:
    tell_group(kiosk, GROUP, DEVICE, OTHER)
    kiosk.agent.ask_admission()
    kiosk.clock.advance(timedelta(seconds=WINDOW_S))
    kiosk.agent.tick()
    change(kiosk, GROUP, DEVICE, OTHER)
    assert kiosk.display.last.name is ScreenName.IDLE

"""Two stores' groups get to know each other at the screens and cameras of their kiosks, as far as the agent goes."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import (
    AdmissionTold,
    DistrustTold,
    GroupChanged,
    GroupDistrusted,
    GroupIntroduced,
    GroupUnchanged,
    JoinTold,
    KnownGroup,
    PartnerTold,
)
from edge.core.introduction import GroupIntroduction, encode_introduction
from edge.core.screen import Screen, ScreenName
from edge.flow.group import WINDOW_S
from shared.answers import GroupPage
from shared.biometrics import Wrap
from shared.business_day import milliseconds
from shared.envelope import SecretWrapped
from shared.ids import DeviceId, StoreId
from tests.support.entrances import DEVICE, GROUP, Kiosk

OTHER = DeviceId("kiosk2")
INTAKE, THEIRS = b"i" * 32, b"t" * 32
THEM = KnownGroup(store="porto", key=b"their--1")
TEXT = encode_introduction(GroupIntroduction(store=StoreId("porto"), key=THEM.key, intake_public=THEIRS))


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready_for_faces(intake_public=INTAKE, kiosks=(DEVICE, OTHER))
    tell_group(made, GROUP)
    return made


def tell_group(kiosk: Kiosk, key: bytes | None) -> None:
    now_ms = milliseconds(kiosk.clock.instant)
    kiosk.tell(GroupPage(base=0, version=1, more=False, issued_ms=now_ms, key=key, kiosks=(DEVICE, OTHER), wrap=None))


def change(kiosk: Kiosk, *partners: KnownGroup, group: bytes = GROUP, wraps: tuple[Wrap, ...] = ()) -> None:
    """`vision` knows these groups now."""
    kiosk.agent.hear_vision(
        GroupChanged(
            group=group,
            previous=None,
            kiosks=(DEVICE, OTHER),
            wraps=wraps,
            resealed=(),
            intake_public=INTAKE,
            partners=partners,
        )
    )


def test_a_kiosk_shows_its_group_to_another_store(kiosk: Kiosk) -> None:
    assert kiosk.agent.ask_introduction() == JoinTold(seconds=WINDOW_S, reason=None)
    shown = encode_introduction(GroupIntroduction(store=StoreId("rome-1"), key=GROUP, intake_public=INTAKE))
    assert kiosk.display.last == Screen(name=ScreenName.INTRODUCE, code=shown)
    change(kiosk, THEM)
    assert kiosk.display.last == Screen(name=ScreenName.INTRODUCE, code=shown), "its own group is the same still"
    change(kiosk, group=b"group--2")
    assert kiosk.display.last == Screen(name=ScreenName.IDLE), "it would introduce a group that is no more"


def test_an_introduction_held_to_the_camera_is_taken_in_its_window(kiosk: Kiosk) -> None:
    assert kiosk.agent.ask_trust() == AdmissionTold(seconds=WINDOW_S, reason=None)
    kiosk.show(TEXT)
    taken = GroupIntroduced(store="porto", key=THEM.key, intake_public=THEIRS)
    assert kiosk.eyes.last(GroupIntroduced) == taken
    change(kiosk, THEM, wraps=(Wrap(device=OTHER, sealed=b"w"),))
    assert kiosk.display.last.name is ScreenName.INTRODUCED
    (fact,) = [fact for fact in kiosk.facts() if isinstance(fact, SecretWrapped)]
    assert (fact.key, fact.previous, fact.wrap.device) == (GROUP, None, OTHER), "the group's other kiosks hear of it"
    assert kiosk.agent.status().partners == (PartnerTold(store="porto", group=THEM.key.hex()),)
    assert kiosk.show(TEXT).name is ScreenName.INVALID, "one window, one introduction"
    assert kiosk.eyes.count(GroupIntroduced) == 1


def test_outside_the_window_an_introduction_is_a_code_like_any_other(kiosk: Kiosk) -> None:
    assert kiosk.show(TEXT).name is ScreenName.INVALID
    kiosk.agent.ask_trust()
    kiosk.clock.advance(timedelta(seconds=WINDOW_S))
    assert kiosk.show(TEXT).name is ScreenName.INVALID
    assert kiosk.eyes.last(GroupIntroduced) is None


@pytest.mark.parametrize(
    "text",
    [
        "DSI1:nonsense",
        TEXT.replace("PORTO", "PARTO"),
        encode_introduction(GroupIntroduction(store=StoreId("rome-1"), key=THEM.key, intake_public=THEIRS)),
    ],
    ids=["nonsense", "misread", "this store's own"],
)
def test_nothing_else_is_taken_for_one(kiosk: Kiosk, text: str) -> None:
    kiosk.agent.ask_trust()
    assert kiosk.show(text).name is ScreenName.INVALID
    assert kiosk.eyes.last(GroupIntroduced) is None


def test_an_introduction_that_changes_nothing_shows_nothing(kiosk: Kiosk) -> None:
    kiosk.agent.ask_trust()
    kiosk.show(TEXT)
    kiosk.agent.hear_vision(GroupUnchanged(reason="full"))
    change(kiosk)
    assert kiosk.display.last.name is not ScreenName.INTRODUCED


def test_an_introduction_is_taken_back(kiosk: Kiosk) -> None:
    assert kiosk.agent.ask_distrust("porto") == DistrustTold(reason="that store was not introduced here")
    change(kiosk, THEM)
    assert kiosk.agent.ask_distrust("porto") == DistrustTold(reason=None)
    assert kiosk.eyes.last(GroupDistrusted) == GroupDistrusted(store="porto")
    kiosk.agent.vision_leaves()
    assert kiosk.agent.ask_distrust("porto") == DistrustTold(reason="vision does not run")


@pytest.mark.parametrize("ask", ["show", "trust"])
def test_what_stands_against_it_is_said(tmp_path: Path, ask: str) -> None:
    kiosk = Kiosk(tmp_path)

    def reason() -> str | None:
        return (kiosk.agent.ask_introduction() if ask == "show" else kiosk.agent.ask_trust()).reason

    assert reason() == "vision does not run"
    kiosk.ready_for_faces(group=None, kiosks=())
    assert reason() == "this kiosk holds no secret of a group"
    kiosk.see(intake_public=INTAKE)
    assert reason() == "the cloud has not named the store's kiosks yet"
    tell_group(kiosk, b"another!")
    assert reason() == "this kiosk does not hold the secret of its store's group yet"
    kiosk.see(intake_public=INTAKE, group=b"another!")
    assert reason() is None

"""What a face at the door leads to, and what undoes it."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import (
    ChallengeEnded,
    ChallengeStarts,
    CodeAccepted,
    FaceGone,
    FaceSettled,
    FaceTerms,
)
from edge.core.match import deviations
from edge.core.recognition import LIVE_MIN, QUIET_NS
from edge.core.screen import Offer, ScreenName
from edge.db import claims
from edge.flow.recognise import evidence_of
from shared.answers import DenyEntry, RevocationPage, RevokedDevice, RosterEntry
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION
from shared.envelope import ClaimMade, FaceDisputed
from shared.ids import MemberId
from shared.policy import Liveness, Means
from tests.support.entrances import (
    DEVICE,
    DOUBTFUL,
    EMBEDDER,
    GROUP,
    STRANGER,
    SURE,
    Kiosk,
    Phone,
    card,
    compared,
    member_id,
    policy,
)

ANNA, BERT = member_id(1), member_id(2)
OTHERS = tuple(member_id(number) for number in range(10, 20))
NAMES = ("Carla", "Dino", "Elena", "Franco", "Gaia", "Hans", "Irene", "Jacopo", "Katia", "Luca")


def known(member: MemberId, nickname: str | None, *, face_text: int | None = BIOMETRIC_TEXT_VERSION) -> RosterEntry:
    return RosterEntry(member=member, nickname=nickname, language="it", balance=25, balance_ms=0, face_text=face_text)


ROSTER = (
    known(ANNA, "Martina"),
    known(BERT, "Bertrando"),
    *(known(member, name, face_text=None) for member, name in zip(OTHERS, NAMES, strict=True)),
)


def open_kiosk(folder: Path, *, touch: bool = False, **terms: object) -> Kiosk:
    """A kiosk that looks at faces, under these differences of the policy."""
    kiosk = Kiosk(folder, touch=touch)
    kiosk.ready_for_faces(*ROSTER, terms=policy(1, **({"faces": True} | terms)))
    return kiosk


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    return open_kiosk(tmp_path)


@pytest.fixture
def touched(tmp_path: Path) -> Kiosk:
    return open_kiosk(tmp_path, touch=True)


def claims_of(kiosk: Kiosk) -> list[ClaimMade]:
    return [fact for fact in kiosk.facts() if isinstance(fact, ClaimMade)]


# --- recognised -----------------------------------------------------------------------------------------------------


def test_a_recognised_member_gets_the_claim_that_their_code_would_give(kiosk: Kiosk, tmp_path: Path) -> None:
    screen = kiosk.stand(ANNA)
    assert (screen.name, screen.nickname, screen.points, screen.balance) == (ScreenName.GREETING, "Martina", 10, 35)
    assert screen.offers == ()
    (claim,) = claims_of(kiosk)
    assert (claim.member, claim.means, claim.step, claim.serial) == (ANNA, Means.FACE, None, None)
    assert claim.evidence == evidence_of(compared(ANNA), ANNA, group=GROUP, embedder=EMBEDDER)
    (tmp_path / "by_code").mkdir()
    by_code = Kiosk(tmp_path / "by_code")
    by_code.ready()
    assert by_code.show(card(by_code.keys, ANNA)).claim == screen.claim
    assert kiosk.eyes.last(FaceSettled) == FaceSettled(track=1)


def test_the_evidence_tells_one_verdict_from_another_and_names_nobody() -> None:
    comparison = compared(ANNA)
    evidence = evidence_of(comparison, ANNA, group=GROUP, embedder=EMBEDDER)
    assert len(evidence) == 32
    assert evidence != evidence_of(compared(ANNA, score=SURE - 0.01), ANNA, group=GROUP, embedder=EMBEDDER)
    assert evidence != evidence_of(comparison, ANNA, group=b"group--2", embedder=EMBEDDER)
    assert evidence == evidence_of(compared(BERT), BERT, group=GROUP, embedder=EMBEDDER)
    assert f"{deviations(SURE, comparison):.2f}" == "8.54"


def test_face_and_code_on_one_day_are_one_grant(kiosk: Kiosk) -> None:
    kiosk.stand(ANNA)
    assert kiosk.show(Phone(kiosk.keys, ANNA).show(kiosk.clock.instant)).name is ScreenName.COLLECTED
    assert len(claims_of(kiosk)) == 1


def test_code_and_face_on_one_day_are_one_grant(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.clock.advance(timedelta(minutes=1))
    screen = kiosk.stand(ANNA, track=2)
    assert (screen.name, screen.points) == (ScreenName.COLLECTED, 10)
    assert len(claims_of(kiosk)) == 1


def test_one_stay_is_granted_once_and_looked_at_no_more(kiosk: Kiosk) -> None:
    kiosk.stand(ANNA)
    shown = len(kiosk.display.shown)
    kiosk.clock.advance(timedelta(seconds=1))
    kiosk.stand(ANNA)
    assert len(kiosk.display.shown) == shown


def test_a_denied_credential_says_nothing_about_a_face(kiosk: Kiosk) -> None:
    kiosk.deny(DenyEntry(member=ANNA, serial_floor=99, phones=True))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.INVALID
    assert kiosk.stand(ANNA).name is ScreenName.GREETING


@pytest.mark.parametrize("entry", [known(ANNA, "Martina", face_text=None), known(ANNA, "M", face_text=99)])
def test_without_a_consent_in_force_an_enrolled_face_is_nobodys(kiosk: Kiosk, entry: RosterEntry) -> None:
    kiosk.know(entry, version=2)
    assert kiosk.stand(ANNA).name is ScreenName.IDLE
    assert claims_of(kiosk) == []
    assert kiosk.agent.status().no_match_today == 1


def test_who_is_not_on_the_roster_is_not_served_by_face(kiosk: Kiosk) -> None:
    kiosk.know(version=2)
    assert kiosk.stand(ANNA).name is ScreenName.IDLE
    assert claims_of(kiosk) == []


def test_a_stranger_is_counted_and_nothing_else(kiosk: Kiosk) -> None:
    before = kiosk.database.connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
    shown = len(kiosk.display.shown)
    kiosk.stand(ANNA, score=STRANGER)
    kiosk.stand(ANNA, score=STRANGER)  # the same stay
    kiosk.stand(ANNA, score=STRANGER, track=2)
    assert kiosk.agent.status().no_match_today == 2
    assert len(kiosk.display.shown) == shown
    assert kiosk.database.connection.execute("SELECT count(*) FROM outbox").fetchone()[0] == before
    kiosk.clock.advance(timedelta(days=1))
    assert kiosk.agent.status().no_match_today == 0


def test_a_doubtful_face_is_asked_for_the_code(kiosk: Kiosk) -> None:
    assert kiosk.stand(ANNA, BERT, score=DOUBTFUL).name is ScreenName.SHOW_CODE
    assert claims_of(kiosk) == []


# --- liveness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "name"),
    [
        (LIVE_MIN, ScreenName.GREETING),
        (LIVE_MIN - 0.01, ScreenName.SHOW_CODE),
        (None, ScreenName.IDLE),  # looked at before `vision` heard what is asked
    ],
)
def test_a_picture_held_up_is_asked_for_the_code(kiosk: Kiosk, live: float | None, name: ScreenName) -> None:
    assert kiosk.stand(ANNA, live=live).name is name
    assert len(claims_of(kiosk)) == (name is ScreenName.GREETING)


def test_a_policy_may_ask_for_nothing(tmp_path: Path) -> None:
    kiosk = open_kiosk(tmp_path, liveness=Liveness.NONE)
    assert kiosk.stand(ANNA, live=None).name is ScreenName.GREETING


def test_a_policy_may_ask_for_a_turn_of_the_head(tmp_path: Path) -> None:
    kiosk = open_kiosk(tmp_path, liveness=Liveness.TURN)
    screen = kiosk.stand(ANNA, live=None)
    challenge = kiosk.eyes.last(ChallengeStarts)
    assert challenge is not None
    assert (screen.name, screen.side, challenge.track) == (ScreenName.TURN, challenge.side, 1)
    assert kiosk.stand(BERT, track=2, live=None).name is ScreenName.TURN  # one at a time
    kiosk.agent.hear_vision(ChallengeEnded(track=2, passed=True))
    assert claims_of(kiosk) == []
    kiosk.agent.hear_vision(ChallengeEnded(track=1, passed=True))
    assert kiosk.display.last.name is ScreenName.GREETING
    (claim,) = claims_of(kiosk)
    assert claim.member == ANNA


def test_both_sides_are_asked_for(tmp_path: Path) -> None:
    kiosk = open_kiosk(tmp_path, liveness=Liveness.TURN)
    sides = set()
    for track in range(1, 20):
        kiosk.stand(ANNA, track=track, live=None)
        sides.add(kiosk.display.last.side)
        kiosk.agent.hear_vision(FaceGone(track=track))
        assert kiosk.display.last.name is ScreenName.IDLE
    assert len(sides) == 2


def test_who_does_not_turn_is_asked_for_the_code(tmp_path: Path) -> None:
    kiosk = open_kiosk(tmp_path, liveness=Liveness.TURN)
    kiosk.stand(ANNA, live=None)
    kiosk.agent.hear_vision(ChallengeEnded(track=1, passed=False))
    assert kiosk.display.last.name is ScreenName.SHOW_CODE
    assert kiosk.stand(ANNA, live=None).name is ScreenName.SHOW_CODE
    assert claims_of(kiosk) == []


def test_a_turn_that_nobody_answers_is_over_with_its_screen(tmp_path: Path) -> None:
    kiosk = open_kiosk(tmp_path, liveness=Liveness.TURN)
    kiosk.stand(ANNA, live=None)
    kiosk.clock.advance(timedelta(seconds=9))
    kiosk.agent.tick()
    assert kiosk.display.last.name is ScreenName.IDLE
    kiosk.agent.hear_vision(ChallengeEnded(track=1, passed=True))
    assert claims_of(kiosk) == []


# --- the other path ---------------------------------------------------------------------------------------------------


def test_a_valid_code_cancels_the_face_path(kiosk: Kiosk) -> None:
    kiosk.stand(ANNA, score=DOUBTFUL, track=3)
    kiosk.show(card(kiosk.keys, BERT))
    assert kiosk.eyes.last(CodeAccepted) == CodeAccepted()
    assert kiosk.stand(ANNA, track=3).nickname == "Bertrando"  # it is still Bert's greeting
    assert kiosk.stand(ANNA, track=2).nickname == "Bertrando"
    assert [claim.member for claim in claims_of(kiosk)] == [BERT]


def test_a_code_that_is_not_accepted_cancels_nothing(kiosk: Kiosk) -> None:
    kiosk.show("DS1:nonsense")
    assert kiosk.eyes.last(CodeAccepted) is None
    assert kiosk.stand(ANNA).name is ScreenName.GREETING


# --- when faces are left alone ----------------------------------------------------------------------------------------


def test_faces_are_off_by_default(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(*ROSTER, terms=policy())
    assert kiosk.stand(ANNA).name is ScreenName.IDLE
    assert (kiosk.agent.status().faces, kiosk.display.status) == ("off by policy", kiosk.display.status)
    terms = kiosk.eyes.last(FaceTerms)
    assert terms is not None
    assert not terms.on


def test_the_terms_say_what_vision_must_know(kiosk: Kiosk) -> None:
    terms = kiosk.eyes.last(FaceTerms)
    assert terms is not None
    assert (terms.on, terms.liveness, terms.device, terms.store) == (True, Liveness.PASSIVE, DEVICE, "rome-1")
    assert len(terms.life) == 16
    assert kiosk.agent.status().faces == "on"
    assert kiosk.display.status is not None
    assert kiosk.display.status.faces
    told = kiosk.eyes.count(FaceTerms)
    kiosk.agent.tick()
    assert kiosk.eyes.count(FaceTerms) == told


@pytest.mark.parametrize(
    ("hello", "reason"),
    [({"embedder": None}, "no models"), ({"group": None}, "no group secret")],
)
def test_vision_must_have_networks_and_a_secret(tmp_path: Path, hello: dict[str, object], reason: str) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready_for_faces(*ROSTER, terms=policy(faces=True), **hello)
    assert kiosk.agent.status().faces == reason
    assert kiosk.stand(ANNA).name is ScreenName.IDLE


def test_without_vision_nobody_is_recognised_and_codes_go_on(kiosk: Kiosk) -> None:
    kiosk.agent.vision_leaves()
    assert kiosk.agent.status().faces == "vision does not run"
    assert kiosk.stand(ANNA).name is ScreenName.IDLE
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_an_unknown_time_turns_faces_off(kiosk: Kiosk) -> None:
    kiosk.clock.restart("boot-2")
    kiosk.agent.tick()
    assert kiosk.agent.status().faces == "time unknown"
    assert kiosk.stand(ANNA).name is ScreenName.IDLE


def test_a_revoked_kiosk_looks_at_nobody(kiosk: Kiosk) -> None:
    now_ms = milliseconds(kiosk.clock.instant)
    entries = (RevokedDevice(device=DEVICE, since_ms=now_ms),)
    kiosk.tell(RevocationPage(base=0, version=1, more=False, issued_ms=now_ms, reset=True, entries=entries))
    terms = kiosk.eyes.last(FaceTerms)
    assert terms is not None
    assert (terms.on, kiosk.agent.status().faces) == (False, "this kiosk is revoked")


def test_an_old_deny_list_stops_the_camera_path_only(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.clock.advance(timedelta(days=7, seconds=1))
    kiosk.agent.tick()
    assert kiosk.agent.status().faces == "deny list too old"
    assert kiosk.stand(ANNA).name is ScreenName.IDLE
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_another_vision_process_begins_anew(kiosk: Kiosk) -> None:
    kiosk.stand(ANNA)
    kiosk.see()
    kiosk.clock.advance(timedelta(seconds=10))
    kiosk.agent.tick()
    assert kiosk.stand(BERT).nickname == "Bertrando"


# --- it was somebody else ---------------------------------------------------------------------------------------------


def test_not_me_undoes_the_display_and_the_right_member_gets_their_own_claim(touched: Kiosk) -> None:
    screen = touched.stand(ANNA)
    assert screen.offers == (Offer.NOT_ME,)
    touched.agent.touch(Offer.NOT_ME, None)
    assert touched.display.last.name is ScreenName.SHOW_CODE
    wrong, disputed = touched.facts()
    assert isinstance(wrong, ClaimMade)
    assert disputed == FaceDisputed(tenant="acme", store="rome-1", member=ANNA, claim=wrong.claim)
    assert touched.show(card(touched.keys, BERT)).name is ScreenName.GREETING
    assert [claim.member for claim in claims_of(touched)] == [ANNA, BERT]


def test_not_me_of_somebody_who_had_collected_names_no_claim(touched: Kiosk) -> None:
    touched.show(card(touched.keys, ANNA))
    touched.clock.advance(timedelta(minutes=1))
    assert touched.stand(ANNA, track=5).name is ScreenName.COLLECTED
    touched.agent.touch(Offer.NOT_ME, None)
    disputed = touched.facts()[-1]
    assert isinstance(disputed, FaceDisputed)
    assert (disputed.member, disputed.claim) == (ANNA, None)


def test_no_second_attempt_by_face_follows_not_me(touched: Kiosk) -> None:
    touched.stand(ANNA)
    touched.agent.touch(Offer.NOT_ME, None)
    assert touched.eyes.last(CodeAccepted) is not None  # `vision` leaves everybody in view alone
    assert touched.stand(BERT, track=1).name is ScreenName.SHOW_CODE
    assert touched.stand(BERT, track=2).name is ScreenName.SHOW_CODE  # the same face under a new number
    touched.clock.advance(timedelta(microseconds=QUIET_NS // 1000))
    touched.agent.tick()
    assert touched.stand(BERT, track=1).name is ScreenName.IDLE
    assert touched.stand(BERT, track=3).nickname == "Bertrando"


def test_not_me_is_offered_only_where_a_face_was_greeted(touched: Kiosk) -> None:
    touched.show(card(touched.keys, ANNA))
    touched.agent.touch(Offer.NOT_ME, None)
    assert touched.display.last.name is ScreenName.GREETING
    assert len(touched.facts()) == 1


def test_a_tap_after_the_greeting_is_over_does_nothing(touched: Kiosk) -> None:
    touched.stand(ANNA)
    touched.clock.advance(timedelta(seconds=9))
    touched.agent.tick()
    touched.agent.touch(Offer.NOT_ME, None)
    assert len(touched.facts()) == 1


# --- which of these ---------------------------------------------------------------------------------------------------


def test_a_doubtful_face_picks_its_masked_nickname_among_others(touched: Kiosk) -> None:
    screen = touched.stand(ANNA, BERT, score=DOUBTFUL)
    assert (screen.name, screen.offers, len(screen.choices)) == (ScreenName.CHOOSE, (Offer.PICK,), 6)
    assert {"M•••a", "B•••o"} <= set(screen.choices)
    assert not any(name in " ".join(screen.choices) for name in ("Martina", "Bertrando", *NAMES))
    touched.agent.touch(Offer.PICK, screen.choices.index("M•••a"))
    greeting = touched.display.last
    assert (greeting.name, greeting.nickname, greeting.offers) == (ScreenName.GREETING, "Martina", (Offer.NOT_ME,))
    assert [claim.member for claim in claims_of(touched)] == [ANNA]


def test_the_same_candidates_stand_among_the_same_others_in_any_order(touched: Kiosk) -> None:
    seen = set()
    for track in range(1, 12):
        seen.add(touched.stand(ANNA, BERT, score=DOUBTFUL, track=track).choices)
        touched.agent.hear_vision(FaceGone(track=track))
        assert touched.display.last.name is ScreenName.IDLE
    assert len({frozenset(choices) for choices in seen}) == 1
    assert len(seen) > 3


@pytest.mark.parametrize("choice", ["decoy", None, 6, -1])
def test_picking_wrongly_tells_nothing_and_asks_for_the_code(touched: Kiosk, choice: str | int | None) -> None:
    screen = touched.stand(ANNA, BERT, score=DOUBTFUL)
    decoys = [at for at, masked in enumerate(screen.choices) if masked not in {"M•••a", "B•••o"}]
    touched.agent.touch(Offer.PICK, decoys[0] if isinstance(choice, str) else choice)
    assert touched.display.last.name is ScreenName.SHOW_CODE
    assert claims_of(touched) == []
    assert touched.stand(ANNA).name is ScreenName.SHOW_CODE  # once


def test_nobody_is_named_who_did_not_consent(touched: Kiosk) -> None:
    screen = touched.stand(OTHERS[0], ANNA, score=DOUBTFUL)
    touched.agent.touch(Offer.PICK, screen.choices.index("C•••a") if "C•••a" in screen.choices else 0)
    assert [claim.member for claim in claims_of(touched)] in ([], [ANNA])
    assert OTHERS[0] not in [claim.member for claim in claims_of(touched)]


def test_with_too_few_names_to_hide_among_the_code_is_asked_for(touched: Kiosk) -> None:
    touched.know(known(ANNA, "Martina"), known(BERT, "Bertrando"), version=2)
    assert touched.stand(ANNA, BERT, score=DOUBTFUL).name is ScreenName.SHOW_CODE


def test_a_code_ends_the_question(touched: Kiosk) -> None:
    touched.stand(ANNA, BERT, score=DOUBTFUL)
    assert touched.show(card(touched.keys, BERT)).name is ScreenName.GREETING
    touched.agent.touch(Offer.PICK, 0)
    assert [claim.member for claim in claims_of(touched)] == [BERT]


def test_a_question_nobody_answers_is_over(touched: Kiosk) -> None:
    touched.stand(ANNA, BERT, score=DOUBTFUL)
    touched.clock.advance(timedelta(seconds=21))
    touched.agent.tick()
    assert touched.display.last.name is ScreenName.IDLE
    touched.agent.touch(Offer.PICK, 0)
    assert claims_of(touched) == []
    assert touched.stand(ANNA, track=2).name is ScreenName.GREETING


def test_a_full_disk_grants_nothing_and_says_so(kiosk: Kiosk) -> None:
    database = kiosk.database.connection
    database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
    served = 0
    while not kiosk.agent.storage_full:
        served += 1
        kiosk.know(known(member_id(1000 + served), "Nina"), version=2 + served)
        kiosk.stand(member_id(1000 + served), track=served)
        assert served < 200
    assert kiosk.display.last.name is ScreenName.FAULT
    granted = claims.count_claims(database, None)
    kiosk.stand(ANNA, track=served + 1)
    assert kiosk.display.last.name is ScreenName.FAULT
    assert claims.count_claims(database, None) == granted

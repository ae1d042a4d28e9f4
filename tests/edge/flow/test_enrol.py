"""From a code to a face that is learnt, and from a wish to a face that is forgotten."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.messages import EnrolEnded, EnrolHinted, EnrolStarts, EnrolStops, EnrolTold, TemplatesTold
from edge.core.screen import EnrolRefusal, Offer, Screen, ScreenName, StandHint
from edge.db import faces, outbox
from edge.flow.enrol import spoken
from shared.answers import Receipt, RosterEntry
from shared.biometrics import Forgetting
from shared.consent import BIOMETRIC_TEXT_VERSION, Purpose
from shared.envelope import ClaimMade, ConsentSaid, TemplateEnrolled, TemplateForgotten
from shared.ids import MemberId
from shared.policy import Means
from tests.support.entrances import DEVICE, Kiosk, Phone, card, member_id, policy, sealed

ANNA, BERT = member_id(1), member_id(2)


def known(member: MemberId, *, consents: bool) -> RosterEntry:
    return RosterEntry(
        member=member,
        nickname="Anna",
        language="it-IT",
        balance=0,
        balance_ms=0,
        face_text=BIOMETRIC_TEXT_VERSION if consents else None,
    )


def open_kiosk(folder: Path, *, touch: bool, consents: bool = False, **terms: object) -> Kiosk:
    kiosk = Kiosk(folder, touch=touch)
    kiosk.ready_for_faces(known(ANNA, consents=consents), terms=policy(1, **({"faces": True} | terms)))
    return kiosk


@pytest.fixture
def plain(tmp_path: Path) -> Kiosk:
    """A screen nobody can tap, and a member who consented on their page."""
    return open_kiosk(tmp_path, touch=False, consents=True)


@pytest.fixture
def touched(tmp_path: Path) -> Kiosk:
    """A screen to tap, and a member who has consented to nothing yet."""
    return open_kiosk(tmp_path, touch=True)


def show_phone(kiosk: Kiosk, member: MemberId = ANNA) -> Screen:
    return kiosk.show(Phone(kiosk.keys, member).show(kiosk.clock.instant + timedelta(seconds=10)))


def on_screen(kiosk: Kiosk) -> ScreenName:
    return kiosk.display.last.name


def after_the_greeting(kiosk: Kiosk) -> Screen:
    kiosk.clock.advance(timedelta(seconds=6))
    kiosk.agent.tick()
    return kiosk.display.last


def enrolled(kiosk: Kiosk) -> None:
    """Anna agreed, was learnt, and is in use."""
    show_phone(kiosk)
    kiosk.agent.touch(Offer.RECOGNISE_ME, None)
    kiosk.agent.touch(Offer.AGREE, None)
    kiosk.learn(ANNA)
    kiosk.kept()
    kiosk.clock.advance(timedelta(minutes=10))
    kiosk.agent.tick()


def settle(kiosk: Kiosk) -> None:
    """The cloud has everything written so far."""
    head = outbox.head_of(kiosk.database.connection, DEVICE, 1)
    kiosk.tell(Receipt(device=DEVICE, epoch=1, contiguous=head.seq, head=head.chain, verdicts=()))


def outbox_bytes(kiosk: Kiosk) -> bytes:
    """Everything the outbox still holds of payloads."""
    rows = kiosk.database.connection.execute("SELECT payload FROM outbox WHERE payload IS NOT NULL")
    return b"".join(row[0] for row in rows)


# --- a consent given on the page --------------------------------------------------------------------------------------


def test_who_consented_on_their_page_and_shows_the_phone_is_learnt_after_the_greeting(plain: Kiosk) -> None:
    screen = show_phone(plain)
    assert (screen.name, screen.offers) == (ScreenName.GREETING, ())
    assert plain.eyes.last(EnrolStarts) is None
    screen = after_the_greeting(plain)
    assert (screen.name, screen.hint, screen.language) == (ScreenName.ENROL, StandHint.COME, "it")
    assert plain.eyes.last(EnrolStarts) == EnrolStarts(member=ANNA)
    plain.agent.hear_vision(EnrolHinted(member=ANNA, hint=StandHint.GOOD, taken=4, wanted=9))
    screen = plain.display.last
    assert (screen.hint, screen.taken, screen.wanted) == (StandHint.GOOD, 4, 9)


def test_a_learnt_face_is_written_before_it_is_used_and_shown(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    template = plain.learn(ANNA)
    fact = plain.facts()[-1]
    assert fact == TemplateEnrolled(
        tenant="acme", store="rome-1", template=template, frames=9, text_version=BIOMETRIC_TEXT_VERSION
    )
    told = plain.eyes.last(TemplatesTold)
    assert told is not None
    assert (told.keep, told.version, told.forget, told.whole) == ((template,), None, (), False)
    assert on_screen(plain) is ScreenName.ENROLLED
    plain.kept()
    plain.clock.advance(timedelta(minutes=1))
    assert plain.stand(ANNA, track=9).name is ScreenName.COLLECTED


def test_nobody_is_learnt_with_a_card_that_anybody_may_have_found(plain: Kiosk) -> None:
    assert plain.show(card(plain.keys, ANNA)).name is ScreenName.GREETING
    assert after_the_greeting(plain).name is ScreenName.IDLE
    assert plain.eyes.last(EnrolStarts) is None


def test_nobody_is_learnt_with_a_copy_of_a_code(plain: Kiosk) -> None:
    code = Phone(plain.keys, ANNA).show(plain.clock.instant + timedelta(seconds=10))
    plain.show(code)
    after_the_greeting(plain)
    plain.agent.hear_vision(EnrolEnded(member=ANNA, template=None, frames=0, refusal=EnrolRefusal.NOBODY))
    after_the_greeting(plain)
    starts = plain.eyes.count(EnrolStarts)
    plain.agent.see_codes((), plain.clock.uptime_ns)
    plain.agent.see_codes((code,), plain.clock.uptime_ns)
    assert on_screen(plain) is ScreenName.COLLECTED
    after_the_greeting(plain)
    assert plain.eyes.count(EnrolStarts) == starts


def test_nobody_is_learnt_twice_or_without_consent_or_while_faces_are_off(tmp_path: Path) -> None:
    for number, (consents, wanted) in enumerate(((False, True), (True, False))):
        folder = tmp_path / str(number)
        folder.mkdir()
        kiosk = open_kiosk(folder, touch=False, consents=consents, faces=wanted)
        show_phone(kiosk)
        assert after_the_greeting(kiosk).name is ScreenName.IDLE
        assert kiosk.eyes.last(EnrolStarts) is None


def test_who_is_already_known_is_not_learnt_again(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    plain.learn(ANNA)
    plain.kept()
    plain.clock.advance(timedelta(days=1))
    assert show_phone(plain).name is ScreenName.GREETING
    assert after_the_greeting(plain).name is ScreenName.IDLE
    assert plain.eyes.count(EnrolStarts) == 1


@pytest.mark.parametrize("refusal", list(EnrolRefusal))
def test_a_face_that_was_not_learnt_is_said_so_and_nothing_is_written(plain: Kiosk, refusal: EnrolRefusal) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    before = len(plain.facts())
    plain.agent.hear_vision(EnrolEnded(member=ANNA, template=None, frames=0, refusal=refusal))
    assert (plain.display.last.name, plain.display.last.refusal) == (ScreenName.NOT_ENROLLED, refusal)
    assert len(plain.facts()) == before
    assert not faces.is_kept(plain.database.connection, ANNA)


def test_a_template_of_another_member_is_not_taken(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    plain.agent.hear_vision(EnrolEnded(member=ANNA, template=sealed(BERT), frames=9, refusal=None))
    assert on_screen(plain) is ScreenName.NOT_ENROLLED
    plain.learn(BERT)  # nobody is being learnt any more
    assert [fact for fact in plain.facts() if isinstance(fact, TemplateEnrolled)] == []


def test_the_same_hand_does_not_stop_the_learning_and_another_code_does(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    show_phone(plain)
    assert on_screen(plain) is ScreenName.ENROL
    assert plain.show(card(plain.keys, BERT)).name is ScreenName.GREETING
    assert plain.eyes.last(EnrolStops) == EnrolStops()
    plain.learn(ANNA)
    assert on_screen(plain) is ScreenName.GREETING
    assert [fact for fact in plain.facts() if isinstance(fact, TemplateEnrolled)] == []


def test_a_silent_vision_does_not_hold_the_screen(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    plain.clock.advance(timedelta(seconds=16))
    plain.agent.tick()
    assert on_screen(plain) is ScreenName.IDLE
    assert plain.eyes.count(EnrolStops) == 1


def test_a_face_in_view_is_not_served_while_another_is_learnt(plain: Kiosk) -> None:
    show_phone(plain)
    after_the_greeting(plain)
    assert plain.stand(ANNA, track=7).name is ScreenName.ENROL


# --- a consent given here ---------------------------------------------------------------------------------------------


def test_a_member_may_read_and_agree_after_their_phones_code(touched: Kiosk) -> None:
    assert show_phone(touched).offers == (Offer.RECOGNISE_ME,)
    touched.agent.touch(Offer.RECOGNISE_ME, None)
    screen = touched.display.last
    assert (screen.name, screen.text_version, screen.language) == (ScreenName.CONSENT, BIOMETRIC_TEXT_VERSION, "it")
    assert screen.offers == (Offer.AGREE, Offer.DECLINE)
    touched.agent.touch(Offer.AGREE, None)
    assert touched.facts()[-1] == ConsentSaid(
        tenant="acme",
        store="rome-1",
        member=ANNA,
        purpose=Purpose.BIOMETRIC,
        given=True,
        text_version=BIOMETRIC_TEXT_VERSION,
        language="it",
        means=Means.PHONE,
    )
    assert on_screen(touched) is ScreenName.ENROL
    assert touched.eyes.last(EnrolStarts) == EnrolStarts(member=ANNA)
    touched.learn(ANNA)
    touched.kept()
    touched.clock.advance(timedelta(minutes=1))
    assert touched.stand(ANNA, track=2).name is ScreenName.COLLECTED


def test_declining_leaves_nothing(touched: Kiosk) -> None:
    show_phone(touched)
    touched.agent.touch(Offer.RECOGNISE_ME, None)
    touched.agent.touch(Offer.DECLINE, None)
    assert on_screen(touched) is ScreenName.IDLE
    touched.agent.touch(Offer.AGREE, None)
    assert [type(fact) for fact in touched.facts()] == [ClaimMade]
    assert touched.eyes.last(EnrolStarts) is None


def test_a_text_that_nobody_answers_goes_away(touched: Kiosk) -> None:
    show_phone(touched)
    touched.agent.touch(Offer.RECOGNISE_ME, None)
    touched.clock.advance(timedelta(seconds=91))
    touched.agent.tick()
    assert on_screen(touched) is ScreenName.IDLE


def test_learning_can_be_stopped(touched: Kiosk) -> None:
    show_phone(touched)
    touched.agent.touch(Offer.RECOGNISE_ME, None)
    touched.agent.touch(Offer.AGREE, None)
    assert touched.display.last.offers == (Offer.DECLINE,)
    touched.agent.touch(Offer.DECLINE, None)
    assert (touched.display.last.name, touched.eyes.count(EnrolStops)) == (ScreenName.IDLE, 1)


def test_faces_turned_off_while_the_text_is_read_learn_nobody(touched: Kiosk) -> None:
    show_phone(touched)
    touched.agent.touch(Offer.RECOGNISE_ME, None)
    touched.agent.vision_leaves()
    touched.agent.touch(Offer.AGREE, None)
    assert on_screen(touched) is ScreenName.IDLE
    assert [type(fact) for fact in touched.facts()] == [ClaimMade]


def test_a_card_is_offered_nothing(touched: Kiosk) -> None:
    assert touched.show(card(touched.keys, ANNA)).offers == ()


@pytest.mark.parametrize(
    ("asked", "language"),
    [("it", "it"), ("it-IT", "it"), ("IT", "it"), ("en-GB", "en"), ("fr", "en"), ("", "en"), (None, "en")],
)
def test_the_language_that_is_recorded_is_the_one_on_the_screen(asked: str | None, language: str) -> None:
    assert spoken(asked, ("en", "it")) == language


# --- taken back -------------------------------------------------------------------------------------------------------


def test_a_member_may_have_their_face_forgotten_and_the_proof_follows(touched: Kiosk) -> None:
    enrolled(touched)
    assert touched.show(card(touched.keys, ANNA)).offers == (Offer.FORGET_ME,)
    touched.agent.touch(Offer.FORGET_ME, None)
    withdrawn = touched.facts()[-1]
    assert isinstance(withdrawn, ConsentSaid)
    assert (withdrawn.given, withdrawn.means) == (False, Means.CARD)
    told = touched.eyes.last(TemplatesTold)
    assert told is not None
    assert (told.forget, told.why) == ((ANNA,), Forgetting.WITHDRAWN)
    assert on_screen(touched) is ScreenName.COLLECTED  # not before it is done
    touched.kept(ANNA, templates=0)
    assert on_screen(touched) is ScreenName.FORGOTTEN
    proof = touched.facts()[-1]
    assert proof == TemplateForgotten(tenant="acme", store="rome-1", member=ANNA, why=Forgetting.WITHDRAWN)
    touched.clock.advance(timedelta(minutes=1))
    touched.stand(ANNA, track=5)
    assert touched.agent.status().no_match_today == 1


def test_from_the_wish_on_a_face_is_nobodys(touched: Kiosk) -> None:
    enrolled(touched)
    touched.show(card(touched.keys, ANNA))
    touched.agent.touch(Offer.FORGET_ME, None)
    touched.clock.advance(timedelta(minutes=1))
    touched.agent.tick()
    assert touched.stand(ANNA, track=5).name is ScreenName.IDLE


def test_a_wish_that_vision_did_not_hear_is_told_again_until_it_is_done(touched: Kiosk) -> None:
    enrolled(touched)
    touched.show(card(touched.keys, ANNA))
    touched.agent.touch(Offer.FORGET_ME, None)
    touched.agent.vision_leaves()
    touched.restart()
    told_before = touched.eyes.count(TemplatesTold)
    touched.see(templates=1)
    touched.agent.tick()
    told = touched.eyes.last(TemplatesTold)
    assert told is not None
    assert told.forget == (ANNA,)
    assert touched.eyes.count(TemplatesTold) == told_before + 1
    touched.agent.link_starts()
    touched.agent.line_up()
    touched.kept(templates=0)  # it had been done before: nothing was there any more
    assert isinstance(touched.facts()[-1], TemplateForgotten)
    told_before = touched.eyes.count(TemplatesTold)
    touched.clock.advance(timedelta(minutes=2))
    touched.agent.tick()
    assert touched.eyes.count(TemplatesTold) == told_before


def test_no_envelope_carries_a_withdrawn_template_sent_or_not(touched: Kiosk) -> None:
    touched.agent.line_down()
    enrolled(touched)
    assert b"sealed " + ANNA in outbox_bytes(touched)
    touched.show(card(touched.keys, ANNA))
    touched.agent.touch(Offer.FORGET_ME, None)
    assert b"sealed " + ANNA not in outbox_bytes(touched)
    assert outbox.first_broken_link(touched.database.connection, DEVICE, 1) is None
    touched.agent.line_up()
    assert [type(fact) for fact in touched.facts()] == [ClaimMade, ConsentSaid, ConsentSaid]


def test_once_the_cloud_has_a_template_the_outbox_has_none(touched: Kiosk) -> None:
    enrolled(touched)
    assert b"sealed " + ANNA in outbox_bytes(touched)
    settle(touched)
    assert b"sealed " + ANNA not in outbox_bytes(touched)
    assert outbox.first_broken_link(touched.database.connection, DEVICE, 1) is None


def test_of_an_erased_template_nothing_is_left_in_the_file(touched: Kiosk) -> None:
    enrolled(touched)
    path = touched.database.path
    files = (path, path.with_name(f"{path.name}-wal"))
    assert any(b"sealed " + ANNA in file.read_bytes() for file in files)
    settle(touched)
    touched.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not any(b"sealed " + ANNA in file.read_bytes() for file in files)


def test_nothing_is_offered_while_nobody_is_there_to_forget(touched: Kiosk) -> None:
    enrolled(touched)
    touched.agent.vision_leaves()
    assert touched.show(card(touched.keys, ANNA)).offers == ()


# --- at the command line ----------------------------------------------------------------------------------------------


def test_staff_may_have_a_consenting_members_face_learnt(plain: Kiosk) -> None:
    told: list[EnrolTold] = []
    plain.agent.ask_enrol(ANNA, told.append)
    assert plain.eyes.last(EnrolStarts) == EnrolStarts(member=ANNA)
    plain.agent.hear_vision(EnrolHinted(member=ANNA, hint=StandHint.CLOSER, taken=1, wanted=9))
    plain.learn(ANNA)
    assert told == [
        EnrolTold(done=False, hint=StandHint.CLOSER, taken=1, wanted=9, reason=None),
        EnrolTold(done=True, hint=None, taken=0, wanted=0, reason=None),
    ]
    assert isinstance(plain.facts()[-1], TemplateEnrolled)


@pytest.mark.parametrize(("member", "reason"), [(BERT, "no consent in force")])
def test_without_a_consent_nobody_is_learnt_at_the_command_line(plain: Kiosk, member: MemberId, reason: str) -> None:
    told: list[EnrolTold] = []
    plain.agent.ask_enrol(member, told.append)
    assert [(one.done, one.reason) for one in told] == [(True, reason)]
    assert plain.eyes.last(EnrolStarts) is None


def test_the_command_line_hears_why_not(plain: Kiosk) -> None:
    told: list[EnrolTold] = []
    show_phone(plain)
    plain.agent.ask_enrol(ANNA, told.append)
    after_the_greeting(plain)
    plain.agent.hear_vision(EnrolEnded(member=ANNA, template=None, frames=0, refusal=EnrolRefusal.ANOTHERS))
    plain.clock.advance(timedelta(seconds=10))
    plain.agent.tick()
    plain.agent.ask_enrol(ANNA, told.append)
    plain.agent.hear_vision(EnrolEnded(member=ANNA, template=None, frames=0, refusal=EnrolRefusal.ANOTHERS))
    plain.agent.vision_leaves()
    plain.agent.ask_enrol(ANNA, told.append)
    assert [one.reason for one in told] == ["somebody is being served", "anothers", "vision does not run"]


def test_who_asked_and_left_stops_the_learning(plain: Kiosk) -> None:
    told: list[EnrolTold] = []
    tell = told.append
    plain.agent.ask_enrol(ANNA, tell)
    plain.agent.stop_enrol(tell)
    assert (plain.display.last.name, plain.eyes.count(EnrolStops)) == (ScreenName.IDLE, 1)
    assert [one.reason for one in told] == ["interrupted"]

"""What a member at the door gets, and what is stored when the screen changes."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.core.screen import ScreenName
from edge.db import claims, outbox
from shared.answers import DenyEntry, RosterEntry
from shared.business_day import milliseconds
from shared.envelope import ClaimMade, Opened, VisitNoted, open_envelope
from shared.receipts import is_genuine, parse_receipt
from tests.support.entrances import DEVICE, Kiosk, Phone, card, member_id, policy

ANNA, BERT = member_id(1), member_id(2)


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready()
    return made


def facts(kiosk: Kiosk) -> list[object]:
    opened = [open_envelope(e, DEVICE, kiosk.signing_key.public_key()) for e in kiosk.link.envelopes()]
    return [one.fact for one in opened if isinstance(one, Opened)]


def test_the_first_entry_of_the_day_is_granted_and_stored_before_it_is_shown(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, nickname="Anna", language="it", balance=25, balance_ms=0))
    screen = kiosk.show(card(kiosk.keys, ANNA))
    assert (screen.name, screen.nickname, screen.points, screen.balance) == (ScreenName.GREETING, "Anna", 10, 35)
    assert claims.count_claims(kiosk.database.connection, None) == 1
    (fact,) = facts(kiosk)
    assert isinstance(fact, ClaimMade)
    assert fact.claim.hex() == screen.claim
    assert (fact.amount, fact.business_day) == (10, "2026-11-20")


def test_without_a_line_the_member_is_handed_a_receipt_of_the_claim(kiosk: Kiosk) -> None:
    assert kiosk.show(card(kiosk.keys, ANNA)).code is None
    kiosk.agent.line_down()
    screen = kiosk.show(card(kiosk.keys, member_id(2)))
    assert screen.code is not None
    read = parse_receipt(screen.code)
    assert read is not None
    assert is_genuine(read, kiosk.signing_key.public_key())
    kiosk.agent.line_up()
    fact = facts(kiosk)[-1]
    assert isinstance(fact, ClaimMade)
    said = read.receipt
    assert (said.device, said.epoch, said.seq, said.policy_version) == (DEVICE, 1, 2, 1)
    assert (said.claim, said.amount, said.means, said.serial) == (fact.claim, fact.amount, fact.means, fact.serial)
    assert kiosk.show(card(kiosk.keys, member_id(2))).code is None  # collected before: it has been handed out


def test_the_second_entry_of_the_day_is_told_so(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    screen = kiosk.show(card(kiosk.keys, ANNA))
    assert (screen.name, screen.points) == (ScreenName.COLLECTED, 10)
    assert len(kiosk.link.envelopes()) == 1


def test_the_next_business_day_grants_again(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.clock.advance(timedelta(days=1))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_a_phone_held_still_through_its_next_step_is_one_visit(kiosk: Kiosk) -> None:
    phone = Phone(kiosk.keys, ANNA)
    kiosk.show(phone.show(kiosk.clock.instant))
    before = len(kiosk.display.shown)
    for _ in range(50):
        kiosk.clock.advance(timedelta(seconds=1))
        kiosk.agent.see_codes((phone.show(kiosk.clock.instant),), kiosk.clock.uptime_ns)
    assert len(kiosk.display.shown) == before


def test_a_stranger_to_the_roster_is_greeted_without_a_name_and_granted_all_the_same(kiosk: Kiosk) -> None:
    screen = kiosk.show(card(kiosk.keys, ANNA))
    assert (screen.name, screen.nickname, screen.balance) == (ScreenName.GREETING, None, None)


def test_two_members_codes_at_once_ask_for_one(kiosk: Kiosk) -> None:
    assert kiosk.show(card(kiosk.keys, ANNA), card(kiosk.keys, BERT)).name is ScreenName.ONE_CODE
    assert claims.count_claims(kiosk.database.connection, None) == 0


def test_card_and_phone_of_one_member_count_as_the_phone(kiosk: Kiosk) -> None:
    phone = Phone(kiosk.keys, ANNA)
    kiosk.clock.advance(timedelta(seconds=10))
    instant = kiosk.clock.instant
    kiosk.agent.see_codes((card(kiosk.keys, ANNA), phone.show(instant)), kiosk.clock.uptime_ns)
    (fact,) = facts(kiosk)
    assert isinstance(fact, ClaimMade)
    assert fact.step is not None


@pytest.mark.parametrize(
    "text",
    ["", "DS1:", "https://example.org", "DS1:" + "A" * 400, "DS1:%%%", "DS1:0000", "ds1:ABC", "\x00" * 20],
)
def test_every_code_that_is_none_of_ours_gets_the_same_answer(kiosk: Kiosk, text: str) -> None:
    assert kiosk.show(text).name is ScreenName.INVALID


def test_a_forged_an_expired_and_a_denied_card_get_the_same_answer_as_nonsense(kiosk: Kiosk, tmp_path: Path) -> None:
    nonsense = kiosk.show("DS1:NONSENSE")
    genuine = card(kiosk.keys, ANNA)
    forged = genuine[:-3] + ("000" if genuine[-3:] != "000" else "111")
    expired = card(kiosk.keys, ANNA, expiry_day=1000)
    kiosk.deny(DenyEntry(member=BERT, serial_floor=2))
    for text in (forged, expired, card(kiosk.keys, BERT, serial=1)):
        kiosk.clock.advance(timedelta(minutes=1))
        assert kiosk.show(text) == nonsense
    assert kiosk.show(card(kiosk.keys, BERT, serial=2)).name is ScreenName.GREETING


def test_a_phone_whose_clock_is_off_is_told_so(kiosk: Kiosk) -> None:
    screen = kiosk.show(Phone(kiosk.keys, ANNA).show(kiosk.clock.instant + timedelta(minutes=10)))
    assert screen.name is ScreenName.WRONG_TIME
    assert screen.phone_ahead_s is not None
    assert 560 <= screen.phone_ahead_s <= 600


def test_a_copy_of_an_older_step_is_not_accepted(kiosk: Kiosk) -> None:
    phone = Phone(kiosk.keys, ANNA)
    copied = phone.show(kiosk.clock.instant)
    kiosk.clock.advance(timedelta(seconds=30))
    assert kiosk.show(phone.show(kiosk.clock.instant)).name is ScreenName.GREETING
    assert kiosk.show(copied).name is ScreenName.INVALID


def test_five_failures_close_the_door_to_codes_for_a_while(kiosk: Kiosk) -> None:
    for number in range(5):
        kiosk.clock.advance(timedelta(seconds=2))
        kiosk.agent.see_codes((f"DS1:{number}",), kiosk.clock.uptime_ns)
    kiosk.clock.advance(timedelta(seconds=2))
    kiosk.agent.see_codes((card(kiosk.keys, ANNA),), kiosk.clock.uptime_ns)
    assert claims.count_claims(kiosk.database.connection, None) == 0
    kiosk.clock.advance(timedelta(seconds=2))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_the_allotment_is_never_overspent(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready(total=25)
    names = [kiosk.show(card(kiosk.keys, member_id(n))).name for n in range(1, 5)]
    assert names == [ScreenName.GREETING, ScreenName.GREETING, ScreenName.EXHAUSTED, ScreenName.EXHAUSTED]
    kiosk.allot(40, serial=2)
    assert kiosk.show(card(kiosk.keys, member_id(3))).name is ScreenName.GREETING


def test_a_late_smaller_allotment_does_not_lower_what_is_held(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.ready(total=20)
    kiosk.allot(40, serial=3)
    kiosk.allot(10, serial=2)
    assert [kiosk.show(card(kiosk.keys, member_id(n))).name for n in range(1, 5)] == [ScreenName.GREETING] * 4


def test_an_allotment_that_ended_grants_nothing(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.clock.trusted = True
    kiosk.ready()
    kiosk.clock.advance(timedelta(days=15))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.EXHAUSTED


def test_an_old_deny_list_lowers_the_reward_and_does_not_stop_it(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.clock.trusted = True
    kiosk.ready()
    kiosk.clock.advance(timedelta(days=8))
    assert kiosk.show(card(kiosk.keys, ANNA)).points == policy().reduced_points


def test_without_an_epoch_or_a_policy_the_kiosk_rests(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.PAUSED  # no issuer key yet: no code is known


def test_with_the_time_unknown_the_visit_is_noted_and_becomes_a_claim_of_its_day(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all()
    came_at = kiosk.clock.instant + timedelta(seconds=10)
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED  # once within the hour
    kiosk.clock.advance(timedelta(hours=20))
    kiosk.agent.tick()
    kiosk.tell_time()
    kiosk.agent.tick()
    noted, claim = facts(kiosk)[:2]
    assert isinstance(noted, VisitNoted)
    assert isinstance(claim, ClaimMade)
    assert claim.business_day == "2026-11-20"
    assert claim.noted_seq == 1
    row = kiosk.database.connection.execute("SELECT granted_ms FROM claim").fetchone()
    assert abs(row[0] - milliseconds(came_at)) < 1000


def test_a_visit_of_a_boot_that_is_over_is_not_dated_by_guessing(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all()
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.clock.restart("boot-2")
    kiosk.restart()
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.tell_time()
    kiosk.agent.tick()
    assert claims.count_claims(kiosk.database.connection, None) == 0
    assert claims.count_waiting_visits(kiosk.database.connection) == 1


def test_what_was_granted_survives_a_restart_with_its_chain(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.restart()
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.COLLECTED
    assert kiosk.show(card(kiosk.keys, BERT)).name is ScreenName.GREETING
    assert outbox.first_broken_link(kiosk.database.connection, DEVICE, 1) is None


def test_a_greeting_is_not_shown_again_when_something_else_changes(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.clock.advance(timedelta(seconds=30))
    kiosk.agent.line_down()
    assert kiosk.display.last.name is ScreenName.IDLE


def test_a_noted_visit_waits_for_a_budget_that_is_spent_and_then_gets_what_was_promised(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all(total=5)
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED
    kiosk.agent.tick()
    kiosk.tell_time()
    kiosk.agent.tick()
    assert claims.count_waiting_visits(kiosk.database.connection) == 1
    kiosk.allot(50, serial=2)
    kiosk.agent.tick()
    assert claims.count_waiting_visits(kiosk.database.connection) == 0
    assert claims.count_claims(kiosk.database.connection, "2026-11-20") == 1

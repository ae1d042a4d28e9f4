"""How the device learns the time, what it does not believe, and what becomes of those who came before it knew."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.core import bounds
from edge.core.screen import ScreenName
from edge.core.sync import WINDOW
from edge.db import claims, outbox
from edge.flow.keep_time import VISITS_A_TURN
from shared.answers import TimeTold
from shared.business_day import ClockTrust, milliseconds
from shared.envelope import ClaimMade, ClockStepped, Fact, Opened, VisitNoted, open_envelope
from tests.support.entrances import DEVICE, NOON, Kiosk, Phone, card, member_id

ANNA, BERT = member_id(1), member_id(2)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    """Told everything but the time."""
    made = Kiosk(tmp_path)
    made.agent.link_starts()
    made.agent.line_up()
    made.learn_all(total=5000)
    return made


def facts(kiosk: Kiosk) -> list[Fact | None]:
    opened = [open_envelope(one, DEVICE, kiosk.signing_key.public_key()) for one in kiosk.link.envelopes()]
    return [one.fact for one in opened if isinstance(one, Opened)]


def trust(kiosk: Kiosk) -> str:
    return kiosk.agent.status().clock_trust


def say_time(kiosk: Kiosk, *, nonce: bytes | None = None, ahead: timedelta = timedelta(0)) -> None:
    instant_ms = milliseconds(kiosk.clock.instant + ahead)
    kiosk.tell(TimeTold(nonce=kiosk.link.nonces()[-1] if nonce is None else nonce, instant_ms=instant_ms))


def wait(kiosk: Kiosk, duration: timedelta, step: timedelta = SECOND) -> None:
    for _ in range(duration // step):
        kiosk.clock.advance(step)
        kiosk.agent.tick()


def noted(kiosk: Kiosk) -> int:
    return claims.count_waiting_visits(kiosk.database.connection)


def granted(kiosk: Kiosk) -> int:
    return claims.count_claims(kiosk.database.connection, None)


# --- who is believed --------------------------------------------------------------------------------------------------


def test_an_answer_with_another_nonce_is_not_the_time(kiosk: Kiosk) -> None:
    say_time(kiosk, nonce=b"n" * 16)
    assert trust(kiosk) == ClockTrust.UNKNOWN
    say_time(kiosk)
    assert trust(kiosk) == ClockTrust.SYNCED


def test_an_answer_is_taken_once(kiosk: Kiosk) -> None:
    nonce = kiosk.link.nonces()[-1]
    say_time(kiosk)
    kiosk.clock.advance(SECOND)
    say_time(kiosk, nonce=nonce, ahead=-HOUR)
    assert facts(kiosk) == []


@pytest.mark.parametrize(("round_trip", "is_taken"), [(2 * SECOND, True), (2 * SECOND + SECOND / 1000, False)])
def test_an_answer_that_took_more_than_two_seconds_is_not_the_time(
    kiosk: Kiosk, round_trip: timedelta, is_taken: bool
) -> None:
    kiosk.clock.advance(round_trip)
    say_time(kiosk)
    assert (trust(kiosk) == ClockTrust.SYNCED) is is_taken


def test_a_question_asked_before_a_cut_is_not_answered_after_it(kiosk: Kiosk) -> None:
    kiosk.agent.line_down()
    say_time(kiosk)
    assert trust(kiosk) == ClockTrust.UNKNOWN


def test_while_the_time_is_unknown_it_is_asked_for_every_few_seconds_and_rarely_afterwards(kiosk: Kiosk) -> None:
    wait(kiosk, 20 * SECOND)
    assert len(kiosk.link.nonces()) == 1 + 5
    say_time(kiosk)
    wait(kiosk, 16 * MINUTE)
    assert len(kiosk.link.nonces()) == 1 + 5 + 1
    kiosk.agent.line_down()
    wait(kiosk, 2 * HOUR, MINUTE)
    assert len(kiosk.link.nonces()) == 1 + 5 + 1


def test_the_kernels_word_is_enough(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING
    assert kiosk.display.status is not None
    assert kiosk.display.status.clock_trusted


@pytest.mark.parametrize("step", [-2 * DAY, -HOUR, HOUR, DAY])
def test_a_system_clock_that_steps_under_the_kernels_word_is_never_taken_over(kiosk: Kiosk, step: timedelta) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    kiosk.clock.instant += step
    wait(kiosk, 3 * HOUR, MINUTE)
    kiosk.show(card(kiosk.keys, ANNA))
    stepped, claim = facts(kiosk)
    assert stepped == ClockStepped(offset_ms=milliseconds(NOON + step) - milliseconds(NOON), source="aside")
    assert isinstance(claim, ClaimMade)
    assert claim.business_day == "2026-11-20"


def test_every_further_step_of_a_clock_that_is_set_aside_is_a_fact_and_drift_is_not(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    for step in (-HOUR, -2 * MINUTE, -HOUR, 2 * HOUR + 2 * MINUTE):
        kiosk.clock.instant += step
        wait(kiosk, 3 * SECOND)
    offsets = [fact.offset_ms for fact in facts(kiosk) if isinstance(fact, ClockStepped)]
    assert offsets == [-3_600_000, -7_320_000]
    kiosk.clock.instant -= HOUR  # it had come back to what is believed: this is news again
    wait(kiosk, 3 * SECOND)
    offsets = [fact.offset_ms for fact in facts(kiosk) if isinstance(fact, ClockStepped)]
    assert offsets[2:] == [-3_600_000]


def test_when_the_cloud_agrees_with_a_clock_that_was_set_aside_the_step_is_taken_over(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    kiosk.clock.instant -= HOUR
    wait(kiosk, 3 * SECOND)
    kiosk.agent.line_up()
    say_time(kiosk)
    wait(kiosk, 3 * SECOND)
    told = [(fact.offset_ms, fact.source) for fact in facts(kiosk) if isinstance(fact, ClockStepped)]
    assert told == [(-3_600_000, "aside"), (-3_600_000, "cloud")]
    assert kiosk.display.status is not None
    assert trust(kiosk) == ClockTrust.SYNCED


def test_a_small_step_back_that_the_kernel_brings_within_the_boot_is_a_fact(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    kiosk.clock.instant -= MINUTE
    wait(kiosk, 11 * MINUTE, MINUTE)
    assert facts(kiosk) == [ClockStepped(offset_ms=-60_000, source="kernel")]


def test_a_step_forward_and_back_gives_nobody_a_second_grant(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    names = [kiosk.show(card(kiosk.keys, ANNA)).name]
    for step in (DAY, -2 * DAY, DAY):
        kiosk.clock.instant += step
        wait(kiosk, 11 * MINUTE, MINUTE)
        names.append(kiosk.show(card(kiosk.keys, ANNA)).name)
    assert names == [ScreenName.GREETING, *[ScreenName.COLLECTED] * 3]
    assert granted(kiosk) == 1


def test_offline_the_time_is_held_for_a_week_and_then_unknown(kiosk: Kiosk) -> None:
    say_time(kiosk)
    kiosk.agent.line_down()
    kiosk.clock.advance(7 * DAY - MINUTE)
    assert trust(kiosk) == ClockTrust.HELD
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING
    kiosk.clock.advance(MINUTE)
    assert kiosk.show(card(kiosk.keys, BERT)).name is ScreenName.NOTED


def test_a_battery_clock_is_held_to_what_was_acted_on_before_the_power_cut(kiosk: Kiosk) -> None:
    say_time(kiosk)
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.clock.battery = True
    kiosk.clock.restart("boot-2")
    kiosk.restart()
    kiosk.clock.instant -= HOUR
    assert kiosk.show(card(kiosk.keys, BERT)).name is ScreenName.NOTED
    kiosk.clock.instant += 2 * HOUR
    assert trust(kiosk) == ClockTrust.HELD
    assert kiosk.show(card(kiosk.keys, member_id(3))).name is ScreenName.GREETING


def test_after_a_power_cut_without_a_battery_clock_visits_are_noted(kiosk: Kiosk) -> None:
    say_time(kiosk)
    kiosk.clock.restart("boot-2")
    kiosk.restart()
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED


# --- a clock found off ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "is_told"), [(2 * SECOND, False), (3 * SECOND, True), (-HOUR, True)])
def test_a_clock_found_off_by_more_than_drift_is_a_fact(kiosk: Kiosk, ahead: timedelta, is_told: bool) -> None:
    say_time(kiosk)
    wait(kiosk, 16 * MINUTE, MINUTE)
    kiosk.link.sent.clear()
    wait(kiosk, 16 * MINUTE, MINUTE)
    kiosk.agent.line_up()
    say_time(kiosk, ahead=ahead)
    expected = [
        ClockStepped(
            offset_ms=milliseconds(kiosk.clock.instant + ahead) - milliseconds(kiosk.clock.instant), source="cloud"
        )
    ]
    assert facts(kiosk) == (expected if is_told else [])


def test_a_step_that_the_kernel_brought_is_a_fact_and_is_sent(kiosk: Kiosk) -> None:
    say_time(kiosk)
    kiosk.clock.advance(DAY)
    kiosk.clock.instant += MINUTE  # uptime had lost a minute to the kernel's time
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    assert facts(kiosk) == [ClockStepped(offset_ms=60_000, source="kernel")]
    wait(kiosk, HOUR, MINUTE)
    assert len(facts(kiosk)) == 1


def test_without_an_epoch_a_step_is_not_written(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    kiosk.clock.instant += MINUTE
    wait(kiosk, 11 * MINUTE, MINUTE)
    assert outbox.count_waiting(kiosk.database.connection) == 0


# --- visits -----------------------------------------------------------------------------------------------------------


def test_visits_are_dated_in_portions_so_that_nobody_at_the_door_waits(kiosk: Kiosk) -> None:
    members = 2 * VISITS_A_TURN + 7
    for number in range(1, members + 1):
        assert kiosk.show(card(kiosk.keys, member_id(number))).name is ScreenName.NOTED
    assert noted(kiosk) == members
    say_time_after_asking(kiosk)
    for left in (members - VISITS_A_TURN, members - 2 * VISITS_A_TURN, 0, 0):
        kiosk.agent.tick()
        assert (noted(kiosk), granted(kiosk)) == (left, members - left)
    assert [type(fact) for fact in facts(kiosk)] == ([VisitNoted] * members + [ClaimMade] * members)[:WINDOW]
    assert outbox.first_broken_link(kiosk.database.connection, DEVICE, 1) is None


def say_time_after_asking(kiosk: Kiosk) -> None:
    kiosk.agent.line_up()
    say_time(kiosk)


def test_two_visits_of_one_day_become_one_claim_and_of_two_days_two(kiosk: Kiosk) -> None:
    for pause in (timedelta(0), 2 * HOUR, DAY):
        kiosk.clock.advance(pause)
        assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    days = [fact.business_day for fact in facts(kiosk) if isinstance(fact, ClaimMade)]
    assert days == ["2026-11-20", "2026-11-21"]
    became = kiosk.database.connection.execute("SELECT became, reason FROM visit ORDER BY id").fetchall()
    assert [tuple(row) for row in became] == [("claim", "greeting"), ("refused", "collected"), ("claim", "greeting")]


@pytest.mark.parametrize(
    ("night", "days"),
    [
        # The hour from two to three comes twice: 04:30 there is 03:30 UTC, and the day begins at four.
        (datetime(2026, 10, 25, tzinfo=UTC), {"02:30": "2026-10-24", "03:30": "2026-10-25"}),
        # It is left out: 04:30 there is 02:30 UTC.
        (datetime(2027, 3, 28, tzinfo=UTC), {"01:30": "2027-03-27", "02:30": "2027-03-28"}),
    ],
)
def test_visits_of_a_night_in_which_the_clocks_change_become_claims_of_their_days_and_instants(
    tmp_path: Path, night: datetime, days: dict[str, str]
) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.clock.instant = night
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all(total=5000)
    moments = [night + timedelta(hours=int(at[:2]), minutes=int(at[3:])) for at in days]
    for moment in moments:
        kiosk.clock.advance(moment - kiosk.clock.instant - 10 * SECOND)
        kiosk.clock.instant -= 2000 * DAY  # what the system clock says matters to nobody
        assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.NOTED
        kiosk.clock.instant += 2000 * DAY
        assert kiosk.clock.instant == moment
    kiosk.clock.advance(3 * DAY)
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    made = [fact for fact in facts(kiosk) if isinstance(fact, ClaimMade)]
    assert [fact.business_day for fact in made] == list(days.values())
    assert claimed_at(kiosk) == [milliseconds(moment) for moment in moments]


def claimed_at(kiosk: Kiosk) -> list[int]:
    """The instants that the claims' envelopes name."""
    opened = [open_envelope(one, DEVICE, kiosk.signing_key.public_key()) for one in kiosk.link.envelopes()]
    return [one.header.wall_ms or 0 for one in opened if isinstance(one, Opened) and isinstance(one.fact, ClaimMade)]


def test_a_member_granted_before_the_visit_is_dated_gets_nothing_twice(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    say_time_after_asking(kiosk)
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING
    kiosk.agent.tick()
    assert (granted(kiosk), noted(kiosk)) == (1, 0)


def test_a_visit_still_waits_when_the_agent_restarts_in_the_same_boot(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.restart()
    kiosk.agent.link_starts()
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    assert granted(kiosk) == 1


def test_a_visit_that_finds_the_allotment_spent_waits(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    kiosk.learn_all(total=10)
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.show(card(kiosk.keys, BERT))
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    assert (granted(kiosk), noted(kiosk)) == (1, 1)


def test_a_copy_of_a_phones_code_is_not_noted_as_another_visit(kiosk: Kiosk) -> None:
    copied = Phone(kiosk.keys, ANNA).show(kiosk.clock.instant)
    assert kiosk.show(copied).name is ScreenName.NOTED
    assert kiosk.show(copied).name is ScreenName.NOTED  # the same stay, or a minute later: one visit
    kiosk.clock.advance(DAY)
    assert kiosk.show(copied).name is ScreenName.INVALID
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    assert granted(kiosk) == 1


def test_a_code_that_was_noted_is_not_granted_as_well_once_the_time_is_known(kiosk: Kiosk) -> None:
    text = Phone(kiosk.keys, ANNA).show(kiosk.clock.instant)
    assert kiosk.show(text).name is ScreenName.NOTED
    say_time_after_asking(kiosk)
    assert kiosk.show(text).name is ScreenName.INVALID  # before the visit is dated
    kiosk.agent.tick()
    assert kiosk.show(text).name is ScreenName.COLLECTED
    assert granted(kiosk) == 1


def test_a_phone_that_was_ahead_while_the_time_was_unknown_is_accepted_once_its_clock_is_right(kiosk: Kiosk) -> None:
    phone = Phone(kiosk.keys, ANNA)
    assert kiosk.show(phone.show(kiosk.clock.instant + 300 * DAY)).name is ScreenName.NOTED
    say_time_after_asking(kiosk)
    kiosk.agent.tick()
    kiosk.clock.advance(DAY)
    assert kiosk.show(phone.show(kiosk.clock.instant)).name is ScreenName.GREETING
    copied = phone.show(kiosk.clock.instant - 30 * SECOND)
    assert kiosk.show(copied).name is ScreenName.INVALID


def test_old_visits_are_dropped_in_the_end_and_those_that_can_still_be_dated_are_not(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    with kiosk.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO visit (member, boot, monotonic_ns, means, evidence, epoch, seq, became)"
            " VALUES (x'00', ?, 0, 'card', x'00', 1, 1, ?)",
            [("boot-0", "waiting"), ("boot-1", "claim"), *[("boot-1", "refused")] * bounds.VISITS_KEPT],
        )
    kiosk.agent.tick()
    say_time_after_asking(kiosk)
    wait(kiosk, HOUR + MINUTE, MINUTE)
    rows = kiosk.database.connection.execute("SELECT became, count(*) FROM visit GROUP BY became").fetchall()
    # Anna's visit was dated before the house was kept: nothing but the newest is left.
    assert [tuple(row) for row in rows] == [("refused", bounds.VISITS_KEPT)]
    assert granted(kiosk) == 1


def test_a_visit_that_can_still_be_dated_outlives_any_number_of_others(kiosk: Kiosk) -> None:
    kiosk.show(card(kiosk.keys, ANNA))
    with kiosk.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO visit (member, boot, monotonic_ns, means, evidence, epoch, seq, became)"
            " VALUES (x'00', 'boot-1', 0, 'card', x'00', 1, 1, ?)",
            [("refused",)] * (bounds.VISITS_KEPT + 1),
        )
        assert claims.prune_visits(connection, "boot-1") == 1
        assert claims.count_waiting_visits(connection) == 1
        assert claims.prune_visits(connection, "boot-2") == 1
        assert claims.count_waiting_visits(connection) == 0

"""What the cloud says: receipts, feeds, epochs and allotments, in order, out of order, twice, and for somebody else."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.core import bounds
from edge.core.screen import ScreenName
from edge.db import claims, knowledge, outbox
from shared.answers import (
    ROOT_SIGNER,
    AllotmentIssued,
    DenyEntry,
    DenyPage,
    EpochIssued,
    FeedName,
    IssuerKey,
    KeyPage,
    Outcome,
    PolicyPage,
    Reason,
    Receipt,
    RevocationPage,
    RevokedDevice,
    RosterEntry,
    RosterPage,
    SignerKey,
    TimeTold,
    Verdict,
    kind_of,
    sign_answer,
)
from shared.business_day import milliseconds
from shared.ids import MemberId
from shared.topics import Down
from tests.support.entrances import DEVICE, UNIT, Keys, Kiosk, card, member_id, policy

ANNA, BERT = member_id(1), member_id(2)


@pytest.fixture
def kiosk(tmp_path: Path) -> Kiosk:
    made = Kiosk(tmp_path)
    made.ready()
    return made


def now_ms(kiosk: Kiosk) -> int:
    return milliseconds(kiosk.clock.instant)


def chain(kiosk: Kiosk, seq: int) -> bytes:
    digest = outbox.chain_at(kiosk.database.connection, 1, seq)
    assert digest is not None
    return digest


def receipt(
    kiosk: Kiosk,
    contiguous: int,
    *verdicts: Verdict,
    missing: tuple[int, ...] = (),
    device: str = DEVICE,
    epoch: int = 1,
    head: bytes | None = None,
) -> Receipt:
    if head is None:
        head = chain(kiosk, contiguous) if contiguous else b""
    return Receipt(device=device, epoch=epoch, contiguous=contiguous, head=head, verdicts=verdicts, missing=missing)


def posted(seq: int, balance: int | None = None) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.POSTED, balance=balance)


def grant(kiosk: Kiosk, members: int) -> None:
    for number in range(1, members + 1):
        assert kiosk.show(card(kiosk.keys, member_id(number))).name is ScreenName.GREETING


def outcomes(kiosk: Kiosk) -> dict[int, tuple[str | None, str | None]]:
    rows = kiosk.database.connection.execute("SELECT seq, outcome, reason FROM claim")
    return {row["seq"]: (row["outcome"], row["reason"]) for row in rows}


def waiting(kiosk: Kiosk) -> int:
    stored = outbox.count_waiting(kiosk.database.connection)
    assert stored == kiosk.agent.sync.waiting
    return stored


# --- receipts ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_verdict_settles_and_is_kept(kiosk: Kiosk) -> None:
    grant(kiosk, 4)
    verdicts = (
        posted(1),
        Verdict(seq=2, outcome=Outcome.EXISTS),
        Verdict(seq=3, outcome=Outcome.REJECTED, reason=Reason.NO_BUDGET),
        Verdict(seq=4, outcome=Outcome.QUARANTINED, reason=Reason.UNKNOWN_POLICY),
    )
    kiosk.tell(receipt(kiosk, 4, *verdicts))
    assert waiting(kiosk) == 0
    assert outcomes(kiosk) == {
        1: ("posted", None),
        2: ("exists", None),
        3: ("rejected", "no_budget"),
        4: ("quarantined", "unknown_policy"),
    }
    assert kiosk.agent.status().rejected == 2
    assert kiosk.display.status is not None
    assert kiosk.display.status.waiting == 0


def test_verdicts_beyond_a_gap_settle_alone_and_the_missing_number_is_sent_again(kiosk: Kiosk) -> None:
    grant(kiosk, 4)
    kiosk.link.sent.clear()
    kiosk.tell(receipt(kiosk, 1, posted(1), posted(3), posted(4), missing=(2,)))
    assert waiting(kiosk) == 1
    assert [one.header for one in kiosk.link.envelopes()] == [
        one.header for one in outbox.read_envelopes(kiosk.database.connection, 1, [2])
    ]
    kiosk.tell(receipt(kiosk, 4, posted(2)))
    assert waiting(kiosk) == 0


def test_receipts_heard_twice_and_in_the_wrong_order_come_to_the_same(kiosk: Kiosk) -> None:
    grant(kiosk, 3)
    first, second = receipt(kiosk, 1, posted(1)), receipt(kiosk, 3, posted(2), posted(3))
    for heard in (second, first, second, first):
        assert kiosk.tell(heard)
    assert waiting(kiosk) == 0
    assert set(outcomes(kiosk).values()) == {("posted", None)}


@pytest.mark.parametrize(
    "changes",
    [{"device": "kiosk2"}, {"epoch": 2}, {"head": b"another history" + bytes(17)}, {"head": b""}],
)
def test_a_receipt_that_speaks_of_something_else_settles_nothing(kiosk: Kiosk, changes: dict[str, object]) -> None:
    grant(kiosk, 2)
    kiosk.tell(receipt(kiosk, 2, posted(1), posted(2), **changes))  # type: ignore[arg-type]  # fields of a table
    assert kiosk.agent.status().outbox_waiting == 2
    assert set(outcomes(kiosk).values()) == {(None, None)}


def test_a_receipt_beyond_what_was_written_is_of_another_history(kiosk: Kiosk) -> None:
    grant(kiosk, 2)
    kiosk.tell(receipt(kiosk, 5, posted(1), posted(2), head=b"h" * 32))
    assert kiosk.agent.status().outbox_waiting == 2
    assert kiosk.agent.status().epoch == 0, "this life is over"


def test_a_receipt_not_signed_by_the_cloud_settles_nothing(kiosk: Kiosk) -> None:
    grant(kiosk, 1)
    stranger = Keys(seed=99)
    heard = sign_answer(receipt(kiosk, 1, posted(1)), 1, stranger.signer)
    assert kiosk.agent.hear(Down.RECEIPT, heard)  # nothing to keep it for: the broker may forget it
    assert waiting(kiosk) == 1
    as_another_kind = sign_answer(receipt(kiosk, 1, posted(1)), 1, kiosk.keys.signer)
    assert kiosk.agent.hear(Down.EPOCH, as_another_kind)
    assert waiting(kiosk) == 1


DAMAGED_ON_THE_WAY = (Reason.BAD_SIGNATURE, Reason.BAD_DIGEST, Reason.MALFORMED)


@pytest.mark.parametrize("reason", DAMAGED_ON_THE_WAY)
def test_a_good_envelope_that_arrived_damaged_is_not_given_up(kiosk: Kiosk, reason: Reason) -> None:
    grant(kiosk, 2)
    damaged = Verdict(seq=1, outcome=Outcome.REJECTED, reason=reason)
    kiosk.tell(receipt(kiosk, 0, damaged, posted(2)))
    assert waiting(kiosk) == 1
    assert outcomes(kiosk) == {1: (None, None), 2: ("posted", None)}
    kiosk.link.sent.clear()
    wait(kiosk, 6)
    assert len(kiosk.link.envelopes()) == 1
    kiosk.tell(receipt(kiosk, 2, posted(1)))
    assert waiting(kiosk) == 0


def test_an_envelope_that_is_damaged_here_is_given_up(kiosk: Kiosk) -> None:
    grant(kiosk, 2)
    kiosk.database.connection.execute("UPDATE outbox SET payload = x'00' WHERE seq = 1")
    damaged = Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.BAD_DIGEST)
    kiosk.tell(receipt(kiosk, 0, damaged))
    assert waiting(kiosk) == 1
    assert outcomes(kiosk) == {1: ("rejected", "bad_digest"), 2: (None, None)}


def test_what_was_settled_stays_so_after_a_restart(kiosk: Kiosk) -> None:
    grant(kiosk, 4)
    kiosk.tell(receipt(kiosk, 1, posted(1), posted(3)))
    before = kiosk.agent.sync
    kiosk.restart()
    after = kiosk.agent.sync
    assert (after.head, after.settled, after.ahead) == (before.head, before.settled, before.ahead)
    assert (after.head, after.settled, after.ahead) == (4, 1, frozenset({3}))


def test_the_balance_of_a_verdict_replaces_the_rosters_and_counts_no_point_twice(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, balance=25, balance_ms=0))
    assert kiosk.show(card(kiosk.keys, ANNA)).balance == 35
    kiosk.tell(receipt(kiosk, 1, posted(1, balance=40)))
    assert kiosk.show(card(kiosk.keys, ANNA)).balance == 40


def test_a_claim_whose_verdict_was_lost_is_not_added_to_the_balance_for_ever(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, balance=25, balance_ms=0))
    kiosk.show(card(kiosk.keys, ANNA))
    kiosk.show(card(kiosk.keys, BERT))
    kiosk.tell(receipt(kiosk, 2, posted(2)))  # the receipt with the verdict on 1 never came
    kiosk.know(RosterEntry(member=ANNA, balance=35, balance_ms=now_ms(kiosk)), version=2)
    assert kiosk.show(card(kiosk.keys, ANNA)).balance == 35


# --- feeds ------------------------------------------------------------------------------------------------------------


def deny(kiosk: Kiosk, base: int, version: int, *entries: DenyEntry, more: bool = False) -> DenyPage:
    return DenyPage(base=base, version=version, more=more, issued_ms=now_ms(kiosk), reset=False, entries=entries)


def held(kiosk: Kiosk, name: FeedName) -> int:
    return knowledge.held_feed(kiosk.database.connection, name).version


def wait(kiosk: Kiosk, seconds: int) -> None:
    for _ in range(seconds):
        kiosk.clock.advance(timedelta(seconds=1))
        kiosk.agent.tick()


def test_a_gap_in_a_feed_is_not_stepped_over_and_the_cloud_is_asked_again(kiosk: Kiosk) -> None:
    wait(kiosk, 5)
    kiosk.link.sent.clear()
    kiosk.tell(deny(kiosk, 2, 3, DenyEntry(member=ANNA, phones=True, serial_floor=9)))
    assert held(kiosk, FeedName.DENY) == 1
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING
    wait(kiosk, 3)
    (state, *_) = kiosk.link.states()
    assert state.feeds.deny == 1
    kiosk.tell(deny(kiosk, 1, 2))
    kiosk.tell(deny(kiosk, 2, 3, DenyEntry(member=BERT, serial_floor=9)))
    assert held(kiosk, FeedName.DENY) == 3
    assert kiosk.show(card(kiosk.keys, BERT)).name is ScreenName.INVALID


def test_while_more_pages_are_to_come_the_feed_is_not_current_and_the_cloud_is_asked_on(kiosk: Kiosk) -> None:
    wait(kiosk, 5)
    before = knowledge.current_ms(kiosk.database.connection, FeedName.DENY)
    kiosk.link.sent.clear()
    kiosk.tell(deny(kiosk, 1, 2, more=True))
    assert knowledge.current_ms(kiosk.database.connection, FeedName.DENY) == before
    wait(kiosk, 3)
    assert [state.feeds.deny for state in kiosk.link.states()] == [2]
    kiosk.tell(deny(kiosk, 2, 3))
    assert knowledge.current_ms(kiosk.database.connection, FeedName.DENY) == now_ms(kiosk)


def test_once_everything_is_current_the_state_is_said_rarely(kiosk: Kiosk) -> None:
    wait(kiosk, 5)
    kiosk.link.sent.clear()
    wait(kiosk, 590)
    assert kiosk.link.states() == []
    wait(kiosk, 15)
    assert len(kiosk.link.states()) == 1


def test_an_old_page_replayed_by_the_broker_changes_nothing(kiosk: Kiosk) -> None:
    old = deny(kiosk, 1, 2)
    kiosk.tell(old)
    kiosk.clock.advance(timedelta(hours=1))
    kiosk.tell(deny(kiosk, 2, 3, DenyEntry(member=ANNA, serial_floor=9)))
    kiosk.tell(old)
    kiosk.tell(DenyPage(base=0, version=1, more=False, issued_ms=0, reset=True, entries=()))
    assert held(kiosk, FeedName.DENY) == 3
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.INVALID


def test_a_denial_that_is_lifted_lets_the_card_in_again(kiosk: Kiosk) -> None:
    kiosk.tell(deny(kiosk, 1, 2, DenyEntry(member=ANNA, serial_floor=9)))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.INVALID
    kiosk.tell(deny(kiosk, 2, 3, DenyEntry(member=ANNA, removed=True)))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_a_reset_forgets_what_was_held(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, nickname="Anna", balance=5, balance_ms=1))
    kiosk.know(RosterEntry(member=BERT, nickname="Bert", balance=5, balance_ms=1), version=2)
    assert knowledge.known_member(kiosk.database.connection, ANNA) is None
    assert kiosk.show(card(kiosk.keys, BERT)).nickname == "Bert"


def roster(kiosk: Kiosk, base: int, version: int, *entries: RosterEntry) -> RosterPage:
    return RosterPage(base=base, version=version, more=False, issued_ms=now_ms(kiosk), reset=False, entries=entries)


def test_a_member_who_is_removed_from_the_roster_is_forgotten(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, nickname="Anna"))
    kiosk.tell(roster(kiosk, 1, 2, RosterEntry(member=ANNA, removed=True)))
    assert kiosk.show(card(kiosk.keys, ANNA)).nickname is None


def test_an_older_balance_does_not_replace_a_newer_one(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, nickname="Anna", balance=50, balance_ms=2000))
    kiosk.tell(roster(kiosk, 1, 2, RosterEntry(member=ANNA, nickname="Nan", balance=10, balance_ms=1000)))
    known = knowledge.known_member(kiosk.database.connection, ANNA)
    assert known is not None
    assert (known.nickname, known.balance, known.balance_ms) == ("Nan", 50, 2000)


def test_the_roster_has_a_limit_and_keeps_who_was_seen_last(kiosk: Kiosk) -> None:
    kiosk.know()
    with kiosk.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO roster (member, balance, balance_ms) VALUES (?, 0, ?)",
            [(member_id(number), number) for number in range(1, bounds.ROSTER_MAX + 1)],
        )
    newest = RosterEntry(member=member_id(bounds.ROSTER_MAX + 1), balance_ms=bounds.ROSTER_MAX + 1)
    kiosk.tell(roster(kiosk, 1, 2, newest))
    assert kiosk.agent.status().roster == bounds.ROSTER_MAX
    known = [knowledge.known_member(kiosk.database.connection, member_id(n)) is not None for n in (1, 2)]
    assert known == [False, True]
    assert knowledge.known_member(kiosk.database.connection, MemberId(newest.member)) is not None


def test_a_kiosk_that_reads_its_own_name_among_the_revoked_rests(kiosk: Kiosk) -> None:
    page = RevocationPage(
        base=0,
        version=1,
        more=False,
        issued_ms=now_ms(kiosk),
        reset=True,
        entries=(RevokedDevice(device=DEVICE, since_ms=0), RevokedDevice(device="kiosk2", since_ms=0)),
    )
    kiosk.tell(page)
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.PAUSED
    kiosk.tell(RevocationPage(base=0, version=2, more=False, issued_ms=now_ms(kiosk), reset=True, entries=()))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_a_new_policy_counts_from_the_next_member_on(kiosk: Kiosk) -> None:
    grant(kiosk, 1)
    page = PolicyPage(base=0, version=2, more=False, issued_ms=now_ms(kiosk), policy=policy(version=2, points=7))
    kiosk.tell(page)
    assert kiosk.show(card(kiosk.keys, BERT)).points == 7
    assert kiosk.show(card(kiosk.keys, ANNA)).points == 10  # what she got this morning


def test_a_page_that_only_renews_the_policys_age_keeps_the_terms(kiosk: Kiosk) -> None:
    kiosk.clock.advance(timedelta(days=6))
    kiosk.tell(PolicyPage(base=1, version=1, more=False, issued_ms=now_ms(kiosk), policy=None))
    assert knowledge.current_ms(kiosk.database.connection, FeedName.POLICY) == now_ms(kiosk)
    assert kiosk.show(card(kiosk.keys, ANNA)).points == 10


def test_a_policy_over_age_pauses_the_kiosk(kiosk: Kiosk) -> None:
    kiosk.clock.trusted = True
    kiosk.agent.tick()
    wait(kiosk, 1)
    kiosk.clock.advance(timedelta(days=31))
    kiosk.allot(1000, serial=2)
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.PAUSED


def test_a_policy_that_cannot_be_used_leaves_the_one_that_can(kiosk: Kiosk) -> None:
    page = PolicyPage(base=0, version=2, more=False, issued_ms=now_ms(kiosk), policy=policy(version=2, points=-1))
    kiosk.tell(page)
    assert held(kiosk, FeedName.POLICY) == 1
    assert kiosk.show(card(kiosk.keys, ANNA)).points == 10


def keys_of(*issuers: IssuerKey, signers: tuple[SignerKey, ...], version: int, issued_ms: int) -> KeyPage:
    return KeyPage(base=0, version=version, more=False, issued_ms=issued_ms, issuers=issuers, signers=signers)


def test_keys_that_cannot_be_stored_are_ignored_and_the_old_ones_stay(kiosk: Kiosk) -> None:
    signer = SignerKey(key=1, public=kiosk.keys.signer.public_key().public_bytes_raw())
    usurper = SignerKey(key=ROOT_SIGNER, public=Keys(seed=9).root.public_key().public_bytes_raw())
    for issuers, signers in (
        ((IssuerKey(key=1, public=b"short"),), (signer,)),
        ((), (signer, signer)),
        ((), (signer, usurper)),
    ):
        assert kiosk.tell(keys_of(*issuers, signers=signers, version=2, issued_ms=now_ms(kiosk)))
    assert held(kiosk, FeedName.KEYS) == 1
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.GREETING


def test_a_signer_that_was_replaced_is_not_believed_any_more(kiosk: Kiosk) -> None:
    fresh = Keys(seed=5)
    issuer = IssuerKey(key=1, public=kiosk.keys.issuer.public_key().public_bytes_raw())
    signers = (SignerKey(key=2, public=fresh.signer.public_key().public_bytes_raw()),)
    kiosk.tell(keys_of(issuer, signers=signers, version=2, issued_ms=now_ms(kiosk)))
    page = deny(kiosk, 1, 2)
    kiosk.tell(page)
    assert held(kiosk, FeedName.DENY) == 1
    kiosk.agent.hear(kind_of(page), sign_answer(page, 2, fresh.signer))
    assert held(kiosk, FeedName.DENY) == 2


# --- epoch and allotment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"database": b"another database"}, {"device": "kiosk2"}, {"database": b""}])
def test_an_epoch_for_another_life_is_not_taken(tmp_path: Path, changes: dict[str, object]) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    signer = SignerKey(key=1, public=kiosk.keys.signer.public_key().public_bytes_raw())
    kiosk.tell(keys_of(signers=(signer,), version=1, issued_ms=now_ms(kiosk)))
    (state,) = kiosk.link.states()
    right: dict[str, object] = {"device": DEVICE, "database": state.database, "epoch": 4, "issued_ms": 1}
    kiosk.tell(EpochIssued(**(right | changes)))  # type: ignore[arg-type]  # fields of a table
    assert knowledge.life(kiosk.database.connection).epoch == 0
    kiosk.tell(EpochIssued(**right))  # type: ignore[arg-type]  # the same
    assert knowledge.life(kiosk.database.connection).epoch == 4
    assert kiosk.link.states()[-1].epoch == 4


def test_an_epoch_never_changes_within_one_life_of_the_database(kiosk: Kiosk) -> None:
    state = kiosk.link.states()[-1]
    kiosk.tell(EpochIssued(device=DEVICE, database=state.database, epoch=2, issued_ms=1))
    assert knowledge.life(kiosk.database.connection).epoch == 1


def test_before_the_epoch_the_kiosk_rests_and_asks_for_it(tmp_path: Path) -> None:
    kiosk = Kiosk(tmp_path)
    kiosk.agent.link_starts()
    kiosk.agent.line_up()
    keys = kiosk.keys
    issuer = IssuerKey(key=1, public=keys.issuer.public_key().public_bytes_raw())
    signer = SignerKey(key=1, public=keys.signer.public_key().public_bytes_raw())
    assert kiosk.show(card(keys, ANNA)).name is ScreenName.PAUSED  # no keys: good and bad codes look the same
    kiosk.tell(keys_of(issuer, signers=(signer,), version=1, issued_ms=now_ms(kiosk)))
    kiosk.tell_time()
    assert kiosk.show(card(keys, ANNA)).name is ScreenName.PAUSED  # no policy
    kiosk.tell(PolicyPage(base=0, version=1, more=False, issued_ms=now_ms(kiosk), policy=policy()))
    assert kiosk.show(card(keys, ANNA)).name is ScreenName.PAUSED  # no epoch
    said = len(kiosk.link.states())
    wait(kiosk, 9)
    assert len(kiosk.link.states()) == said + 3


@pytest.mark.parametrize("changes", [{"epoch": 2}, {"device": "kiosk2"}])
def test_an_allotment_for_another_epoch_or_device_is_not_taken(kiosk: Kiosk, changes: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "device": DEVICE,
        "campaign": "daily-2026",
        "epoch": 1,
        "serial": 2,
        "unit": UNIT,
        "total": 9999,
        "ends_ms": now_ms(kiosk) + 1000,
    }
    kiosk.tell(AllotmentIssued(**(fields | changes)))  # type: ignore[arg-type]  # fields of a table
    assert kiosk.agent.status().allotment_left == 1000


def test_a_total_below_what_is_spent_leaves_nothing_and_takes_nothing_back(kiosk: Kiosk) -> None:
    grant(kiosk, 3)
    kiosk.allot(10, serial=2)
    assert kiosk.agent.status().allotment_left == 0
    assert kiosk.show(card(kiosk.keys, member_id(9))).name is ScreenName.EXHAUSTED
    kiosk.allot(45, serial=3)
    assert kiosk.agent.status().allotment_left == 15


def test_a_campaign_without_an_allotment_grants_nothing(kiosk: Kiosk) -> None:
    terms = policy(version=2, campaign="spring")
    kiosk.tell(PolicyPage(base=0, version=2, more=False, issued_ms=now_ms(kiosk), policy=terms))
    assert kiosk.show(card(kiosk.keys, ANNA)).name is ScreenName.EXHAUSTED


def test_an_answer_to_nothing_that_was_asked_is_not_the_time(kiosk: Kiosk) -> None:
    mark = knowledge.clock_mark(kiosk.database.connection)
    kiosk.tell(TimeTold(nonce=b"n" * 16, instant_ms=0))
    assert knowledge.clock_mark(kiosk.database.connection) == mark


def test_what_is_known_of_a_member_is_never_another_members(kiosk: Kiosk) -> None:
    kiosk.know(RosterEntry(member=ANNA, nickname="Anna", balance=5, balance_ms=1))
    kiosk.tell(deny(kiosk, 1, 2, DenyEntry(member=ANNA, phones=True, serial_floor=3)))
    connection = kiosk.database.connection
    assert claims.credential_facts(connection, ANNA).phones_denied
    assert not claims.credential_facts(connection, MemberId(BERT)).phones_denied
    assert knowledge.known_member(connection, BERT) is None

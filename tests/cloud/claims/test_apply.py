"""What becomes of envelopes in the database: each fault of the line and of the kiosk, on both databases."""

from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cloud.claims.actions import REFUSED_KEPT_MAX, apply_batches
from cloud.claims.tables import envelope, refused_envelope
from cloud.devices.actions import issue_epoch, revoke_device
from cloud.kit.database import reading, writing
from cloud.members.actions import Issuer, certify_phone, deny_cards, deny_phones, issue_card, leave
from cloud.members.rules import Channel, ConsentWords, Language
from shared.answers import Outcome, Reason
from shared.envelope import Envelope, chain_digest, genesis
from shared.ids import DeviceId
from shared.policy import Means
from tests.cloud.claims.world import NOON, STORE, TENANT, World
from tests.support.kiosk import VirtualKiosk, batch_of, key_of, member_of


def test_claim_is_posted_and_receipted(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    said = kiosk.claim(member_of(1), NOON)

    receipt = world.tell(kiosk, said)

    assert receipt.contiguous == 1
    assert receipt.head == chain_digest(said.header)
    (verdict,) = receipt.verdicts
    assert (verdict.seq, verdict.outcome, verdict.balance) == (1, Outcome.POSTED, 10)
    assert world.balance(1) == 10
    world.assert_sound()


def test_repeat_brings_the_same_verdict(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    said = kiosk.claim(member_of(1), NOON)
    first = world.tell(kiosk, said)

    assert world.tell(kiosk, said) == first
    assert world.tell(kiosk, said, said) == first
    assert world.balance(1) == 10


def test_two_kiosks_claim_the_same_member_and_day(world: World) -> None:
    one, other = world.add_kiosk("door1"), world.add_kiosk("door2")
    said = [(kiosk.device, [kiosk.claim(member_of(1), NOON)]) for kiosk in (one, other)]

    verdicts = world.send(*said).verdicts

    assert [verdict.outcome for verdict in verdicts] == [Outcome.POSTED, Outcome.EXISTS]
    assert world.balance(1) == 10
    world.assert_sound()


def test_claim_that_exists_tells_the_balance(world: World) -> None:
    one, other = world.add_kiosk("door1"), world.add_kiosk("door2")
    world.tell(one, one.claim(member_of(1), NOON))

    (verdict,) = world.tell(other, other.claim(member_of(1), NOON)).verdicts

    assert (verdict.outcome, verdict.balance) == (Outcome.EXISTS, 10)


def test_gap_posts_and_is_asked_for_after_five_seconds(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    first, second, third = (kiosk.claim(member_of(number), NOON) for number in (1, 2, 3))

    receipt = world.tell(kiosk, first, third)
    assert (receipt.contiguous, receipt.missing) == (1, ())
    assert world.balance(3) == 10
    receipt = world.tell(kiosk, third, now=NOON + timedelta(seconds=5))
    assert receipt.missing == (2,)
    receipt = world.tell(kiosk, third, now=NOON + timedelta(seconds=6))
    assert receipt.missing == ()
    receipt = world.tell(kiosk, second, now=NOON + timedelta(seconds=7))

    assert (receipt.contiguous, receipt.missing) == (3, ())
    assert receipt.head == chain_digest(third.header)
    assert world.balance(2) == 10


def test_changed_body_under_an_old_number_sets_the_epoch_aside(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))
    twin = VirtualKiosk(device=kiosk.device, policy=kiosk.policy)

    assert world.judge_one(kiosk, twin.claim(member_of(2), NOON)) == (Outcome.QUARANTINED, Reason.CHANGED_BODY)
    after = kiosk.claim(member_of(3), NOON)
    assert world.judge_one(kiosk, after) == (Outcome.QUARANTINED, Reason.EPOCH_QUARANTINED)
    assert [world.balance(number) for number in (1, 2, 3)] == [10, 0, 0]
    assert _kept_aside(world) == [("changed_body", 1)]


def test_changed_body_in_the_same_message_is_found(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    twin = VirtualKiosk(device=kiosk.device, policy=kiosk.policy)
    said = [kiosk.claim(member_of(1), NOON), twin.claim(member_of(2), NOON), kiosk.claim(member_of(3), NOON)]

    receipt = world.tell(kiosk, *said)

    assert [verdict.reason for verdict in receipt.verdicts] == [None, Reason.EPOCH_QUARANTINED]
    assert [world.balance(number) for number in (1, 2, 3)] == [10, 0, 0]


def test_what_an_earlier_life_of_a_kiosk_wrote_is_posted_and_receipted_under_its_own_epoch(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))
    unsent = kiosk.claim(member_of(2), NOON)
    with writing(world.engine) as connection:
        issued = issue_epoch(connection, kiosk.device, b"another life...!", NOON)
    assert issued is not None
    assert issued.epoch == 2

    receipt = world.tell(kiosk, unsent)

    assert (receipt.epoch, receipt.contiguous) == (1, 2)
    assert [verdict.outcome for verdict in receipt.verdicts] == [Outcome.POSTED]
    assert world.balance(2) == 10
    world.assert_sound()


@pytest.mark.parametrize("later_first", [False, True])
def test_broken_chain_sets_the_epoch_aside(world: World, later_first: bool) -> None:
    kiosk = world.add_kiosk("door1")
    first = kiosk.claim(member_of(1), NOON)
    kiosk.previous = bytes(32)
    second = kiosk.claim(member_of(2), NOON)
    order = [second, first] if later_first else [first, second]

    assert world.judge_one(kiosk, order[0])[0] is Outcome.POSTED
    assert world.judge_one(kiosk, order[1]) == (Outcome.QUARANTINED, Reason.BROKEN_CHAIN)
    third = kiosk.claim(member_of(3), NOON)
    assert world.judge_one(kiosk, third) == (Outcome.QUARANTINED, Reason.EPOCH_QUARANTINED)


def test_first_envelope_must_follow_the_genesis(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    kiosk.previous = genesis(kiosk.device, 2)

    assert world.judge_one(kiosk, kiosk.claim(member_of(1), NOON)) == (Outcome.QUARANTINED, Reason.BROKEN_CHAIN)


def test_bad_signature_takes_no_number(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    true = kiosk.claim(member_of(1), NOON)
    false = msgspec.structs.replace(true, signature=key_of("somebody").sign(true.header))

    assert world.judge_one(kiosk, false) == (Outcome.REJECTED, Reason.BAD_SIGNATURE)
    assert world.judge_one(kiosk, false) == (Outcome.REJECTED, Reason.BAD_SIGNATURE)
    assert world.judge_one(kiosk, true) == (Outcome.POSTED, None)
    assert _kept_aside(world) == [("bad_signature", 1)]


def test_true_envelope_wins_over_a_forged_one_in_the_same_message(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    true = kiosk.claim(member_of(1), NOON)
    false = msgspec.structs.replace(true, signature=bytes(64))

    for order in ((false, true), (true, false)):
        (verdict,) = world.tell(kiosk, *order).verdicts
        assert verdict.outcome is Outcome.POSTED


def test_altered_payload_takes_no_number(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    true = kiosk.claim(member_of(1), NOON)
    assert true.payload is not None
    altered = msgspec.structs.replace(true, payload=true.payload.replace(b"spring", b"sprang"))

    assert world.judge_one(kiosk, altered) == (Outcome.REJECTED, Reason.BAD_DIGEST)
    assert world.judge_one(kiosk, true) == (Outcome.POSTED, None)


def test_unknown_version_is_kept_whole(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    said = kiosk.claim(member_of(1), NOON, header={"version": 2})

    assert world.judge_one(kiosk, said) == (Outcome.QUARANTINED, Reason.UNKNOWN_VERSION)
    with reading(world.engine) as connection:
        kept = connection.execute(select(refused_envelope.c.envelope)).scalar_one()
    assert msgspec.msgpack.decode(kept, type=Envelope) == said


def test_envelope_of_another_device_is_refused(world: World) -> None:
    one, other = world.add_kiosk("door1"), world.add_kiosk("door2")
    said = one.claim(member_of(1), NOON)

    assert world.judge_one(other, said) == (Outcome.REJECTED, Reason.WRONG_DEVICE)
    assert world.judge_one(one, said) == (Outcome.POSTED, None)


def test_epoch_that_was_never_issued_is_kept_aside(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    stranger = VirtualKiosk(device=kiosk.device, policy=kiosk.policy, epoch=7)

    receipt = world.tell(kiosk, stranger.claim(member_of(1), NOON))

    assert (receipt.epoch, receipt.contiguous, receipt.head) == (7, 0, genesis(kiosk.device, 7))
    assert receipt.verdicts[0].reason is Reason.UNKNOWN_EPOCH
    assert world.balance(1) == 0


def test_unreadable_header_is_kept_and_nobody_is_told(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    garbage = Envelope(header=b"\xc1", signature=b"", salt=None, payload=None)

    assert world.send((kiosk.device, [garbage])).answers == ()
    assert _kept_aside(world) == [("malformed", None)]


@pytest.mark.parametrize("header", [{"seq": 0}, {"seq": -1}, {"seq": 2**63}, {"epoch": 2**63}], ids=str)
def test_place_no_device_can_have_reached_is_refused(world: World, header: dict[str, object]) -> None:
    kiosk = world.add_kiosk("door1")

    assert world.send((kiosk.device, [kiosk.claim(member_of(1), NOON, header=header)])).answers == ()
    assert _kept_aside(world) == [("malformed", None)]


@pytest.mark.parametrize("header", [{"wall_ms": 2**64 - 1}, {"wall_ms": -1}, {"policy_version": 2**60}], ids=str)
def test_number_no_database_holds_is_refused(world: World, header: dict[str, object]) -> None:
    kiosk = world.add_kiosk("door1")

    said = kiosk.claim(member_of(1), NOON, header=header)
    assert world.judge_one(kiosk, said) == (Outcome.REJECTED, Reason.MALFORMED)


def test_text_no_database_holds_does_not_stop_the_others(world: World) -> None:
    """PostgreSQL stores no NUL in text: one such word must not poison a batch for ever."""
    kiosk = world.add_kiosk("door1")
    said = [
        kiosk.claim(member_of(1), NOON, business_day="\0", store="\0", campaign="\0", amount=2**63),
        kiosk.claim(member_of(2), NOON, header={"boot": "\0"}),
    ]

    outcomes = [verdict.outcome for verdict in world.tell(kiosk, *said).verdicts]

    assert outcomes == [Outcome.REJECTED, Outcome.POSTED]


def test_unknown_device_is_not_answered(world: World) -> None:
    stranger = VirtualKiosk(device=DeviceId("nobody"), policy=world.policy)

    assert world.send((stranger.device, [stranger.claim(member_of(1), NOON)])).answers == ()
    assert world.count_stored() == 0


def test_revoked_device_is_rejected_and_what_it_said_is_kept(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    before = kiosk.claim(member_of(1), NOON)
    first = world.tell(kiosk, before)
    with writing(world.engine) as connection:
        revoke_device(connection, kiosk.device, NOON)

    assert world.judge_one(kiosk, kiosk.claim(member_of(2), NOON)) == (Outcome.REJECTED, Reason.DEVICE_REVOKED)
    assert world.tell(kiosk, before).verdicts == first.verdicts
    assert world.count_stored() == 2


def test_claims_over_the_allotment_find_no_budget(world: World) -> None:
    kiosk = world.add_kiosk("door1", with_allotment=False)

    assert world.judge_one(kiosk, kiosk.claim(member_of(1), NOON)) == (Outcome.REJECTED, Reason.NO_BUDGET)
    assert world.balance(1) == 0
    world.assert_sound()


def test_member_who_left_is_not_known(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    words = ConsentWords(text_version=1, language=Language.ENGLISH, channel=Channel.PAGE)
    with writing(world.engine) as connection:
        leave(connection, TENANT, member_of(1), words=words, now=NOON)

    assert world.judge_one(kiosk, kiosk.claim(member_of(1), NOON)) == (Outcome.REJECTED, Reason.UNKNOWN_MEMBER)


def test_visits_and_clock_steps_are_noted(world: World) -> None:
    kiosk = world.add_kiosk("door1")

    receipt = world.tell(kiosk, kiosk.visit(member_of(1)), kiosk.clock_step(NOON))

    assert [verdict.outcome for verdict in receipt.verdicts] == [Outcome.NOTED, Outcome.NOTED]
    with reading(world.engine) as connection:
        kinds = connection.execute(select(envelope.c.kind).order_by(envelope.c.seq)).scalars().all()
    assert kinds == ["visit", "clock"]


def test_erased_visit_keeps_the_chain(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    erased = msgspec.structs.replace(kiosk.visit(member_of(1)), salt=None, payload=None)

    receipt = world.tell(kiosk, erased, kiosk.claim(member_of(2), NOON))

    assert [verdict.outcome for verdict in receipt.verdicts] == [Outcome.NOTED, Outcome.POSTED]
    assert receipt.contiguous == 2


def test_claim_whose_payload_was_taken_off_on_the_way_is_heard_when_it_comes_whole(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    whole = kiosk.claim(member_of(1), NOON)
    stripped = msgspec.structs.replace(whole, salt=None, payload=None)

    assert world.judge_one(kiosk, stripped) == (Outcome.REJECTED, Reason.BAD_DIGEST)
    receipt = world.tell(kiosk, whole)

    assert [verdict.outcome for verdict in receipt.verdicts] == [Outcome.POSTED]
    assert receipt.contiguous == 1


def test_erasure_takes_payload_salt_and_member_and_nothing_else(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))
    with writing(world.engine) as connection:
        connection.execute(envelope.update().values(payload=None, salt=None, member=None))

    for change in ({"outcome": "rejected"}, {"payload": b"other"}, {"member": bytes(10)}, {"header": b""}):
        with pytest.raises(DBAPIError), writing(world.engine) as connection:
            connection.execute(envelope.update().values(**change))
    with pytest.raises(DBAPIError), writing(world.engine) as connection:
        connection.execute(envelope.delete())


def test_database_that_fails_in_the_middle_leaves_nothing_half_done(world: World) -> None:
    """The last write of a batch fails; the same batch is judged again later as if it came the first time."""
    kiosk = world.add_kiosk("door1")
    said = [(kiosk.device, batch_of(kiosk.claim(member_of(1), NOON), kiosk.claim(member_of(2), NOON)))]
    trap = _trap(world)
    with writing(world.engine) as connection:
        for statement in trap.set:
            connection.exec_driver_sql(statement)

    with pytest.raises(DBAPIError), writing(world.engine) as connection:
        apply_batches(connection, said, NOON)
    assert (world.count_stored(), world.balance(1)) == (0, 0)
    world.assert_sound()

    with writing(world.engine) as connection:
        for statement in trap.release:
            connection.exec_driver_sql(statement)
    assert [verdict.outcome for verdict in world.apply(said).verdicts] == [Outcome.POSTED, Outcome.POSTED]
    assert (world.count_stored(), world.balance(1), world.balance(2)) == (2, 10, 10)
    world.assert_sound()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_and_repetition_ends_in_the_same_ledger(world: World, data: st.DataObject) -> None:
    """O5: what is posted depends on what was said, not on how often or in which order it arrived."""
    number = len(world.kiosks)
    one, other = world.add_kiosk(f"a{number}"), world.add_kiosk(f"b{number}")
    at = NOON + timedelta(days=number)
    said = [(one.device, one.claim(member_of(each), at)) for each in (1, 2, 3, 4)]
    said += [(other.device, other.claim(member_of(each), at)) for each in (3, 4, 5, 6)]
    before = [world.balance(each) for each in range(1, 7)]
    sending = data.draw(st.permutations(said * 2))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sending) - 1), max_size=5)))

    contiguous: dict[str, int] = {}
    for start, end in zip([0, *cuts], [*cuts, len(sending)], strict=True):
        told = world.send(*((device, [each]) for device, each in sending[start:end]), now=at)
        contiguous |= {receipt.device: receipt.contiguous for receipt in told.receipts}

    assert [world.balance(each) - was for each, was in zip(range(1, 7), before, strict=True)] == [10] * 6
    assert contiguous == {one.device: 4, other.device: 4}
    world.assert_sound()


def _kept_aside(world: World) -> list[tuple[str, int | None]]:
    """Reason and number of what was turned away."""
    with reading(world.engine) as connection:
        rows = connection.execute(select(refused_envelope.c.reason, refused_envelope.c.seq))
        return [(reason, seq) for reason, seq in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Statements that make saving a stream fail, and those that end it."""

    set: tuple[str, ...]
    release: tuple[str, ...]


def _trap(world: World) -> Trap:
    if world.engine.dialect.name == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        return Trap(
            set=(f"CREATE TRIGGER trap BEFORE UPDATE ON envelope_stream {refuse}",), release=("DROP TRIGGER trap",)
        )
    return Trap(
        set=("CREATE TRIGGER trap BEFORE UPDATE ON envelope_stream FOR EACH ROW EXECUTE FUNCTION refuse_change()",),
        release=("DROP TRIGGER trap ON envelope_stream",),
    )


def test_denied_credentials_are_rejected_from_the_moment_of_their_denial(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    phones, cards = member_of(1), member_of(2)
    public = kiosk.public_key
    issuer = Issuer(id=1, key=key_of("issuer"))
    with writing(world.engine) as connection:
        certify_phone(connection, issuer, TENANT, phones, public_key=public, now=NOON - timedelta(days=2))
        issue_card(connection, issuer, TENANT, cards, now=NOON - timedelta(days=2))
        deny_phones(connection, TENANT, phones, now=NOON)
        deny_cards(connection, TENANT, cards, now=NOON)
    before = NOON - timedelta(days=1)

    receipt = world.tell(
        kiosk,
        kiosk.claim(phones, before),
        kiosk.claim(cards, before, means=Means.CARD),
        kiosk.claim(phones, NOON),
        kiosk.claim(cards, NOON, means=Means.CARD),
    )

    assert [verdict.reason for verdict in receipt.verdicts] == [None, None, *[Reason.DENIED_CREDENTIAL] * 2]


def test_terms_of_before_are_good_and_those_of_nobody_are_not(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    old = kiosk.claim(member_of(1), NOON)
    kiosk.policy = world.reissue(points=20)
    new = kiosk.claim(member_of(2), NOON)
    none = kiosk.claim(member_of(3), NOON, header={"policy_version": 3})

    receipt = world.tell(kiosk, old, new, none)

    assert [verdict.balance for verdict in receipt.verdicts] == [10, 20, None]
    assert receipt.verdicts[2].reason is Reason.UNKNOWN_POLICY


def test_no_more_is_kept_aside_of_a_device_than_anybody_reads(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    row = {
        "device": kiosk.device,
        "tenant": TENANT,
        "store": STORE,
        "outcome": "rejected",
        "reason": "malformed",
        "envelope": b"",
        "recorded_us": 0,
    }
    rows = [row | {"id": number.to_bytes(32, "big")} for number in range(REFUSED_KEPT_MAX - 1)]
    with writing(world.engine) as connection:
        connection.execute(refused_envelope.insert(), rows)

    for number in range(3):
        forged = msgspec.structs.replace(kiosk.claim(member_of(number), NOON), signature=bytes(64))
        assert world.judge_one(kiosk, forged) == (Outcome.REJECTED, Reason.BAD_SIGNATURE)
    assert len(_kept_aside(world)) == REFUSED_KEPT_MAX

"""A member proves a claim that the kiosk did not deliver: posted once, whichever of the two comes first."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cloud.claims.actions import hand_in_receipt, review_receipt
from cloud.claims.queries import receipts_of_store
from cloud.claims.rules import RECEIPT_AGE_MAX, Decision, ReceiptRefusal, ReviewRefusal, read_receipt, receipt_fault
from cloud.devices.actions import quarantine_epoch, revoke_device
from cloud.kit.database import reading, writing
from shared.answers import Outcome, Reason, Verdict
from shared.business_day import milliseconds
from shared.ids import ClaimId, DeviceId, MemberId, RuleId, StoreId, TenantId, derive_claim_id
from shared.policy import Means, Policy
from shared.receipts import MemberReceipt, write_receipt
from tests.cloud.claims.world import NOON, STORE, TENANT, World
from tests.support.kiosk import VirtualKiosk, key_of, member_of

YES = Decision(is_released=True, reviewer="anna", note="the kiosk burnt, we saw it")


def name_of(policy: Policy, member: MemberId, at: datetime) -> ClaimId:
    """The claim's id as the kiosk derives it."""
    return derive_claim_id(
        policy.naming_key,
        tenant=TenantId(policy.tenant),
        rule=RuleId(policy.rule),
        store=StoreId(policy.store),
        business_day=policy.calendar.business_day(at),
        member=member,
    )


def receipt_of(kiosk: VirtualKiosk, number: int = 1, at: datetime = NOON, /, **changes: int) -> str:
    """The text that the kiosk showed to the member at the instant."""
    receipt = MemberReceipt(
        device=kiosk.device,
        epoch=1,
        seq=1,
        policy_version=kiosk.policy.version,
        wall_ms=milliseconds(at),
        amount=kiosk.policy.points,
        reduced=False,
        means=Means.PHONE,
        serial=0,
        claim=name_of(kiosk.policy, member_of(number), at),
    )
    return write_receipt(kiosk.signing_key, replace(receipt, **changes))  # type: ignore[arg-type]  # fields of a table


def hand_in(world: World, text: str, number: int = 1, now: datetime = NOON) -> Verdict | ReceiptRefusal:
    """What becomes of the text that the member hands in."""
    with writing(world.engine) as connection:
        return hand_in_receipt(connection, TENANT, member_of(number), text, now)


def test_claim_that_was_never_delivered_is_posted_once(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    text = receipt_of(kiosk)

    first = hand_in(world, f" {text}\n")

    assert first == Verdict(seq=1, outcome=Outcome.POSTED, balance=10)
    assert hand_in(world, text) == first
    assert world.balance(1) == 10
    assert world.judge_one(kiosk, kiosk.claim(member_of(1), NOON)) == (Outcome.EXISTS, None)
    world.assert_sound()


def test_claim_that_was_delivered_is_there_already(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))

    assert hand_in(world, receipt_of(kiosk)) == Verdict(seq=1, outcome=Outcome.EXISTS, balance=10)
    assert world.balance(1) == 10


def test_whoever_photographs_anothers_receipt_gets_nothing_and_takes_nothing(world: World) -> None:
    text = receipt_of(world.add_kiosk("door1"))

    assert hand_in(world, text, number=2) is ReceiptRefusal.ANOTHERS
    assert isinstance(hand_in(world, text), Verdict)
    assert (world.balance(1), world.balance(2)) == (10, 0)


def test_what_no_device_of_ours_signed_is_not_taken(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    stranger = VirtualKiosk(device=DeviceId("nobody"), policy=kiosk.policy)
    forger = replace_key(kiosk)

    assert hand_in(world, "DS1:NONSENSE") is ReceiptRefusal.UNREADABLE
    assert hand_in(world, receipt_of(stranger)) is ReceiptRefusal.UNKNOWN_DEVICE
    assert hand_in(world, receipt_of(forger)) is ReceiptRefusal.FORGED
    with writing(world.engine) as connection:
        other = hand_in_receipt(connection, TenantId("bianchi"), member_of(1), receipt_of(kiosk), NOON)
    assert other is ReceiptRefusal.UNKNOWN_DEVICE


def replace_key(kiosk: VirtualKiosk) -> VirtualKiosk:
    """A machine that calls itself the kiosk and has another key."""
    forger = VirtualKiosk(device=kiosk.device, policy=kiosk.policy)
    forger.signing_key = key_of(DeviceId("forger"))
    return forger


@pytest.mark.parametrize(
    ("age", "fault"),
    [
        (RECEIPT_AGE_MAX, None),
        (RECEIPT_AGE_MAX + timedelta(milliseconds=1), ReceiptRefusal.OVER_AGE),
        (-timedelta(hours=36), None),
        (-timedelta(hours=36, milliseconds=1), ReceiptRefusal.OVER_AGE),
    ],
)
def test_a_receipt_is_good_for_a_month(world: World, age: timedelta, fault: ReceiptRefusal | None) -> None:
    read = MemberReceipt(
        device=DeviceId("door1"),
        epoch=1,
        seq=1,
        policy_version=1,
        wall_ms=milliseconds(NOON - age),
        amount=10,
        reduced=False,
        means=Means.CARD,
        serial=1,
        claim=ClaimId(bytes(16)),
    )
    assert receipt_fault(read, milliseconds(NOON)) is fault
    kiosk = world.add_kiosk("door1")
    assert (hand_in(world, receipt_of(kiosk, 1, NOON - age)) is ReceiptRefusal.OVER_AGE) is (fault is not None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": 11}, Reason.WRONG_TERMS),
        ({"policy_version": 99}, Reason.UNKNOWN_POLICY),
    ],
    ids=str,
)
def test_receipt_that_is_wrong_is_rejected_for_that(world: World, changes: dict[str, int], reason: Reason) -> None:
    text = receipt_of(world.add_kiosk("door1"), 1, NOON, **changes)

    assert hand_in(world, text) == Verdict(seq=1, outcome=Outcome.REJECTED, reason=reason)


def test_receipts_say_the_claim_as_its_envelope_would(world: World) -> None:
    receipt = MemberReceipt(
        device=DeviceId("door1"),
        epoch=2,
        seq=3,
        policy_version=1,
        wall_ms=milliseconds(NOON),
        amount=4,
        reduced=True,
        means=Means.CARD,
        serial=7,
        claim=ClaimId(bytes(16)),
    )
    header, claim = read_receipt(receipt, member_of(1), world.policy)
    assert (header.epoch, header.seq, header.business_day, claim.business_day) == (2, 3, "2026-03-02", "2026-03-02")
    assert (claim.amount, claim.reduced, claim.means, claim.serial, claim.member) == (
        4, True, Means.CARD, 7, member_of(1),
    )  # fmt: skip


def test_receipts_of_a_revoked_kiosk_wait_for_a_person(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    delivered = receipt_of(kiosk)
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))
    with writing(world.engine) as connection:
        revoke_device(connection, kiosk.device, NOON)

    assert hand_in(world, delivered) == Verdict(seq=1, outcome=Outcome.EXISTS, balance=10)
    waits = [hand_in(world, receipt_of(kiosk, number), number) for number in (2, 3)]
    assert waits == [Verdict(seq=1, outcome=Outcome.QUARANTINED, reason=Reason.DEVICE_REVOKED)] * 2

    with reading(world.engine) as connection:
        found = receipts_of_store(connection, STORE, outcome=Outcome.QUARANTINED, after=b"", limit=9)
        known = receipts_of_store(connection, STORE, outcome=None, after=b"", limit=9)
    ids = {one.member: one.id for one in found}
    settled = next(one.id for one in known if one.outcome is Outcome.EXISTS)
    with writing(world.engine) as connection:
        assert review_receipt(connection, ids[member_of(2)], replace(YES, note=""), NOON) is ReviewRefusal.UNUSABLE_NOTE
        posted = review_receipt(connection, ids[member_of(2)], YES, NOON)
        rejected = review_receipt(connection, ids[member_of(3)], replace(YES, is_released=False), NOON)
        assert review_receipt(connection, ids[member_of(3)], YES, NOON) is ReviewRefusal.DECIDED
        assert review_receipt(connection, settled, YES, NOON) is ReviewRefusal.NOT_QUARANTINED
        assert review_receipt(connection, bytes(16), YES, NOON) is ReviewRefusal.UNKNOWN_ENVELOPE
    assert posted == Verdict(seq=1, outcome=Outcome.POSTED, balance=10)
    assert rejected == Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.DEVICE_REVOKED)
    assert [world.balance(number) for number in (1, 2, 3)] == [10, 10, 0]
    world.assert_sound()


def test_receipts_of_an_epoch_that_is_set_aside_or_was_never_issued_wait(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        quarantine_epoch(connection, kiosk.device, 1, NOON)

    waits = [hand_in(world, receipt_of(kiosk, epoch=epoch)) for epoch in (1, 9)]

    assert [one.reason for one in waits if isinstance(one, Verdict)] == [
        Reason.EPOCH_QUARANTINED,
        Reason.UNKNOWN_EPOCH,
    ]

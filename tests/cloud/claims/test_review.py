"""A person decides about what waits in quarantine: it posts or is rejected, once, and its kiosk is told."""

from dataclasses import replace

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from cloud.broker.ingest import Ingest
from cloud.campaigns.queries import allotments_after
from cloud.claims.actions import REVIEWED, review_envelope, tell_reviews
from cloud.claims.queries import EnvelopeKey, claims_of_store, quarantine_of_store
from cloud.claims.rules import NOTE_LENGTH_MAX, Decision, ReviewRefusal, review_fault
from cloud.kit.database import reading, writing
from cloud.kit.keyring import create_keyring
from cloud.kit.tables import event
from shared.answers import Outcome, Reason, Verdict
from shared.envelope import ClaimMade, ClockStepped, Fact
from shared.ids import DeviceId
from shared.policy import Means
from shared.topics import Down
from tests.cloud.claims.world import CAMPAIGN, NOON, STORE, TENANT, World
from tests.support.kiosk import VirtualKiosk, member_of

GOOD = Decision(is_released=True, reviewer="anna", note="the card of the kiosk was copied by us")
BAD = replace(GOOD, is_released=False)


def forked(world: World, *, visit: bool = False) -> VirtualKiosk:
    """A kiosk whose first envelope is posted, whose second broke the chain, and whose third waits behind it."""
    kiosk = world.add_kiosk("door1")
    world.tell(kiosk, kiosk.claim(member_of(1), NOON))
    kiosk.previous = bytes(32)
    world.tell(kiosk, kiosk.claim(member_of(2), NOON))
    world.tell(kiosk, kiosk.visit(member_of(3)) if visit else kiosk.claim(member_of(3), NOON))
    return kiosk


def decide(world: World, seq: int, decision: Decision = GOOD, device: str = "door1") -> Verdict | ReviewRefusal:
    """What follows from the decision about the envelope under the number."""
    with writing(world.engine) as connection:
        return review_envelope(connection, (DeviceId(device), 1, seq), decision, NOON)


def waiting(world: World) -> list[EnvelopeKey]:
    """What waits for a person."""
    with reading(world.engine) as connection:
        return [one.key for one in quarantine_of_store(connection, STORE, after=None, limit=9)]


def test_released_claim_is_posted_from_the_allotment_and_waits_no_more(world: World) -> None:
    forked(world)
    assert [key[2] for key in waiting(world)] == [2, 3]

    assert decide(world, 2) == Verdict(seq=2, outcome=Outcome.POSTED, balance=10)

    assert [world.balance(number) for number in (1, 2, 3)] == [10, 10, 0]
    assert [key[2] for key in waiting(world)] == [3]
    with reading(world.engine) as connection:
        (allotment,) = allotments_after(connection, TENANT, CAMPAIGN, ("", 0), 9)
        shown = claims_of_store(connection, STORE, day=None, outcome=Outcome.QUARANTINED, after=None, limit=9)
        (recorded,) = connection.execute(select(event.c.body).where(event.c.topic == REVIEWED)).scalars()
    assert allotment.spent == 20
    assert [None if one.review is None else one.review.reviewer for one in shown] == ["anna", None]
    assert msgspec.json.decode(recorded) == {
        "device": "door1", "epoch": 1, "seq": 2, "outcome": "posted", "by": "anna",
    }  # fmt: skip
    world.assert_sound()


def test_rejected_envelope_is_rejected_for_what_it_waited_for(world: World) -> None:
    forked(world, visit=True)

    assert decide(world, 2, BAD) == Verdict(seq=2, outcome=Outcome.REJECTED, reason=Reason.BROKEN_CHAIN)
    assert decide(world, 3, BAD) == Verdict(seq=3, outcome=Outcome.REJECTED, reason=Reason.EPOCH_QUARANTINED)
    assert (waiting(world), world.balance(2)) == ([], 0)


def test_a_decision_is_final(world: World) -> None:
    forked(world)
    decide(world, 2, BAD)

    assert decide(world, 2) is ReviewRefusal.DECIDED
    assert world.balance(2) == 0


def test_released_claim_that_was_made_elsewhere_too_is_there_already(world: World) -> None:
    forked(world)
    other = world.add_kiosk("door2")
    world.tell(other, other.claim(member_of(2), NOON))

    assert decide(world, 2) == Verdict(seq=2, outcome=Outcome.EXISTS, balance=10)


def test_released_claim_that_is_wrong_is_rejected_for_that(world: World) -> None:
    kiosk = forked(world)
    world.tell(kiosk, kiosk.claim(member_of(99), NOON), kiosk.claim(member_of(4), NOON, amount=99))

    assert decide(world, 4) == Verdict(seq=4, outcome=Outcome.REJECTED, reason=Reason.UNKNOWN_MEMBER)
    assert decide(world, 5) == Verdict(seq=5, outcome=Outcome.REJECTED, reason=Reason.WRONG_TERMS)


def test_what_is_not_in_quarantine_is_not_decided(world: World) -> None:
    forked(world, visit=True)

    assert decide(world, 1) is ReviewRefusal.NOT_QUARANTINED
    assert decide(world, 3) is ReviewRefusal.NOT_A_CLAIM
    assert decide(world, 9) is ReviewRefusal.UNKNOWN_ENVELOPE
    assert decide(world, 1, device="door9") is ReviewRefusal.UNKNOWN_ENVELOPE
    assert decide(world, 2, replace(GOOD, note=" ")) is ReviewRefusal.UNUSABLE_NOTE


def test_kiosk_is_told_once_and_again_when_it_repeats(world: World) -> None:
    kiosk = world.add_kiosk("door1")
    kiosk.previous = bytes(32)
    said = kiosk.claim(member_of(2), NOON)
    before = world.tell(kiosk, said)
    verdict = decide(world, 1)

    with writing(world.engine) as connection:
        ((device, receipt),) = tell_reviews(connection, NOON)
    assert (device, receipt.verdicts) == (kiosk.device, (verdict,))
    assert (receipt.contiguous, receipt.head, receipt.missing) == (before.contiguous, before.head, ())
    with writing(world.engine) as connection:
        assert tell_reviews(connection, NOON) == ()
    assert world.tell(kiosk, said).verdicts == (verdict,)


def test_receipt_leaves_with_the_news(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    keyring = create_keyring(tmp_path_factory.mktemp("keys") / "keys", ["localhost"], NOON)
    ingest = Ingest(world.engine, keyring, clock=lambda: NOON, registry=CollectorRegistry())
    forked(world)
    decide(world, 2)

    assert [(one.device, one.kind) for one in ingest.bring_news()] == [("door1", Down.RECEIPT)]
    assert ingest.bring_news() == []


CLAIM = ClaimMade(
    tenant="t",
    store="s",
    campaign="c",
    rule="r",
    business_day="2026-03-02",
    zone="Europe/Rome",
    cutoff_hour=4,
    member=bytes(10),
    claim=bytes(16),
    amount=1,
    unit="PT:a",
    means=Means.CARD,
    reduced=False,
    evidence=bytes(32),
    step=None,
    serial=1,
    allotment=1,
)
WAITS = Verdict(seq=1, outcome=Outcome.QUARANTINED, reason=Reason.BROKEN_CHAIN)


@pytest.mark.parametrize(
    ("decision", "verdict", "fact", "fault"),
    [
        (GOOD, WAITS, CLAIM, None),
        (BAD, WAITS, CLAIM, None),
        (BAD, WAITS, None, None),
        (GOOD, WAITS, None, ReviewRefusal.NOT_A_CLAIM),
        (GOOD, WAITS, ClockStepped(offset_ms=1, source="cloud"), ReviewRefusal.NOT_A_CLAIM),
        (GOOD, Verdict(seq=1, outcome=Outcome.POSTED), CLAIM, ReviewRefusal.NOT_QUARANTINED),
        (replace(GOOD, note="\t"), WAITS, CLAIM, ReviewRefusal.UNUSABLE_NOTE),
        (replace(GOOD, note="x" * NOTE_LENGTH_MAX), WAITS, CLAIM, None),
        (replace(GOOD, note="x" * (NOTE_LENGTH_MAX + 1)), WAITS, CLAIM, ReviewRefusal.UNUSABLE_NOTE),
    ],
)
def test_what_may_be_decided(
    decision: Decision, verdict: Verdict, fact: Fact | None, fault: ReviewRefusal | None
) -> None:
    assert review_fault(decision, verdict, fact) is fault

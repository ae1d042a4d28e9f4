"""Every judgement and every reason, as tables over the pure rules."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.claims.rules import (
    AHEAD_MAX,
    CARRIED,
    CLOCK_SLACK_MS,
    Claimant,
    Dispute,
    EpochState,
    Facts,
    Judgement,
    Link,
    Neighbours,
    Noted,
    Post,
    Quarantine,
    Reject,
    Repeat,
    Speaker,
    Stream,
    Terms,
    TurnAway,
    draft_late,
    is_carried_only,
    iso_day,
    judge,
    member_named,
    number_fault,
    open_stream,
    size_fault,
    turn_away,
)
from cloud.devices.rules import Wrapping
from cloud.ledger.rules import Code, EntryKind
from cloud.members.rules import Enrolment, FaceProof, SpokenConsent
from shared.answers import Outcome, Reason
from shared.biometrics import Forgetting
from shared.business_day import ClockTrust, instant_of, milliseconds
from shared.consent import Purpose
from shared.envelope import Envelope, EnvelopeFault, Opened, open_envelope
from shared.ids import CampaignId, ClaimId, DeviceId, MemberId, RuleId, StoreId, TenantId, derive_claim_id
from shared.policy import POLICY_AGE_MAX, Means, Policy
from tests.cloud.claims.faces import FIRST, consent, disputed, enrolled, forgotten, sealed_of, shared, wrapped
from tests.cloud.claims.world import NOON
from tests.support.kiosk import VirtualKiosk, member_of

DEVICE = DeviceId("door1")
MEMBER = member_of(1)
POLICY = Policy(
    version=3,
    issued_ms=milliseconds(NOON - timedelta(days=1)),
    tenant="rossi",
    programme="bottega",
    merchant="rossi-spa",
    store="centro",
    store_name="Centro",
    zone="Europe/Rome",
    cutoff_hour=4,
    campaign="spring",
    rule="daily",
    unit="PT:consumption",
    points=10,
    reduced_points=4,
    naming_key=bytes(range(32)),
)
SPEAKER = Speaker(
    device=DEVICE,
    tenant=TenantId("rossi"),
    store=StoreId("centro"),
    public_key=VirtualKiosk(device=DEVICE, policy=POLICY).public_key,
    revoked=False,
    epochs=frozenset({1, 2}),
    quarantined=frozenset({2}),
)
FACTS = Facts(
    speaker=SPEAKER,
    epoch=EpochState.OPEN,
    neighbours=Neighbours(),
    terms=Terms(policy=POLICY, superseded_ms=None),
    claimant=Claimant(member=MEMBER),
    now_ms=milliseconds(NOON),
)


def kiosk(policy: Policy = POLICY) -> VirtualKiosk:
    """A kiosk that said nothing yet."""
    return VirtualKiosk(device=DEVICE, policy=policy)


def opened(said: Envelope) -> Opened:
    """The envelope, opened."""
    read = open_envelope(said, DEVICE, kiosk().signing_key.public_key())
    assert isinstance(read, Opened)
    return read


def judged(said: Envelope, **changes: Any) -> Judgement:  # Any: one of the facts
    """The judgement on the envelope with these facts changed."""
    return judge(opened(said), replace(FACTS, **changes))


def reason_of(said: Envelope, **changes: Any) -> Reason | None:  # Any: one of the facts
    """Why the claim is rejected, None when it is posted."""
    judgement = judged(said, **changes)
    if isinstance(judgement, Post):
        return None
    assert isinstance(judgement, Reject)
    return judgement.reason


def name(member: MemberId, policy: Policy = POLICY) -> ClaimId:
    """The claim's id on the day of NOON."""
    return derive_claim_id(
        policy.naming_key,
        tenant=TenantId(policy.tenant),
        rule=RuleId(policy.rule),
        store=StoreId(policy.store),
        business_day=policy.calendar.business_day(NOON),
        member=member,
    )


def test_good_claim_is_an_entry_from_the_allotment_to_the_member() -> None:
    judgement = judged(kiosk().claim(MEMBER, NOON))

    assert isinstance(judgement, Post)
    assert (judgement.campaign, judgement.member, judgement.amount) == (CampaignId("spring"), MEMBER, 10)
    assert judgement.draft.id == name(MEMBER)
    assert judgement.draft.effective_at == NOON
    assert [leg.amount for leg in judgement.draft.postings] == [-10, 10]
    assert judgement.draft.postings[0].account.subject == "spring:door1:1"


def test_merged_member_is_granted_under_the_name_that_stays() -> None:
    other = member_of(2)

    judgement = judged(kiosk().claim(MEMBER, NOON), claimant=Claimant(member=other))

    assert isinstance(judgement, Post)
    assert (judgement.member, judgement.draft.id) == (other, name(other))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"member": bytes(9)}, Reason.MALFORMED),
        ({"claim": bytes(15)}, Reason.MALFORMED),
        ({"tenant": "other"}, Reason.WRONG_TERMS),
        ({"store": "porto"}, Reason.WRONG_TERMS),
        ({"campaign": "autumn"}, Reason.WRONG_TERMS),
        ({"rule": "weekly"}, Reason.WRONG_TERMS),
        ({"unit": "PT:guide"}, Reason.WRONG_TERMS),
        ({"zone": "Europe/Lisbon"}, Reason.WRONG_TERMS),
        ({"cutoff_hour": 0}, Reason.WRONG_TERMS),
        ({"amount": 11}, Reason.WRONG_TERMS),
        ({"amount": 4}, Reason.WRONG_TERMS),
        ({"reduced": True}, Reason.WRONG_TERMS),
        ({"amount": 4, "reduced": True}, None),
        ({"means": Means.FACE}, Reason.WRONG_TERMS),
        ({"means": Means.STAFF}, None),
        ({"business_day": "2026-03-03"}, Reason.WRONG_DAY),
        ({"claim": bytes(16)}, Reason.WRONG_CLAIM_ID),
        ({"member": member_of(2)}, Reason.WRONG_CLAIM_ID),
    ],
    ids=str,
)
def test_claim_must_say_what_the_terms_say(
    changes: dict[str, Any],  # Any: a field of the claim
    reason: Reason | None,
) -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON, **changes)) is reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"business_day": None}, Reason.WRONG_DAY),
        ({"business_day": "2026-03-01"}, Reason.WRONG_DAY),
        ({"trust": ClockTrust.UNKNOWN}, Reason.WRONG_DAY),
        ({"trust": ClockTrust.HELD}, None),
        ({"wall_ms": None}, Reason.WRONG_DAY),
        ({"wall_ms": 0}, Reason.WRONG_DAY),
        ({"wall_ms": milliseconds(NOON) + 86_400_000}, Reason.WRONG_DAY),
    ],
    ids=str,
)
def test_day_follows_from_a_time_that_can_be_believed(header: dict[str, object], reason: Reason | None) -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON, header=header)) is reason


@pytest.mark.parametrize(("ahead_ms", "reason"), [(CLOCK_SLACK_MS, None), (CLOCK_SLACK_MS + 1, Reason.WRONG_DAY)])
def test_time_may_lie_a_day_and_a_half_ahead(ahead_ms: int, reason: Reason | None) -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON), now_ms=milliseconds(NOON) - ahead_ms) is reason


def test_claim_from_weeks_ago_is_as_good() -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON), now_ms=milliseconds(NOON + timedelta(days=90))) is None


def test_unknown_policy() -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON), terms=None) is Reason.UNKNOWN_POLICY


def test_policy_of_another_store_binds_nobody_here() -> None:
    elsewhere = msgspec.structs.replace(POLICY, store="porto")
    said = kiosk(elsewhere).claim(MEMBER, NOON)

    assert reason_of(said, terms=Terms(policy=elsewhere, superseded_ms=None)) is Reason.WRONG_TERMS


def test_nothing_is_granted_of_a_reduced_amount_of_zero() -> None:
    nothing = msgspec.structs.replace(POLICY, reduced_points=0)
    said = kiosk(nothing).claim(MEMBER, NOON, amount=0, reduced=True)

    assert reason_of(said, terms=Terms(policy=nothing, superseded_ms=None)) is Reason.WRONG_TERMS


def test_cards_are_reduced_where_the_terms_say_so() -> None:
    terms = Terms(policy=msgspec.structs.replace(POLICY, cards_reduced=True), superseded_ms=None)

    full = kiosk().claim(MEMBER, NOON, means=Means.CARD)
    reduced = kiosk().claim(MEMBER, NOON, means=Means.CARD, amount=4, reduced=True)

    assert reason_of(full, terms=terms) is Reason.WRONG_TERMS
    assert reason_of(reduced, terms=terms) is None
    assert reason_of(kiosk().claim(MEMBER, NOON), terms=terms) is None


def test_faces_count_where_the_terms_allow_them() -> None:
    terms = Terms(policy=msgspec.structs.replace(POLICY, faces=True), superseded_ms=None)

    assert reason_of(kiosk().claim(MEMBER, NOON, means=Means.FACE), terms=terms) is None


@pytest.mark.parametrize(("late_ms", "reason"), [(0, None), (1, Reason.WRONG_TERMS)])
def test_terms_that_were_replaced_hold_for_the_age_of_a_policy(late_ms: int, reason: Reason | None) -> None:
    replaced = milliseconds(NOON - POLICY_AGE_MAX) - CLOCK_SLACK_MS - late_ms

    assert reason_of(kiosk().claim(MEMBER, NOON), terms=Terms(policy=POLICY, superseded_ms=replaced)) is reason


def test_replaced_terms_with_an_unknown_time_are_a_matter_of_the_day() -> None:
    said = kiosk().claim(MEMBER, NOON, header={"wall_ms": None})

    assert reason_of(said, terms=Terms(policy=POLICY, superseded_ms=1)) is Reason.WRONG_DAY


@pytest.mark.parametrize("claimant", [None, Claimant(member=MEMBER, erased=True)], ids=["nobody", "erased"])
def test_unknown_member(claimant: Claimant | None) -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON), claimant=claimant) is Reason.UNKNOWN_MEMBER


@pytest.mark.parametrize(
    ("means", "serial", "denied", "reason"),
    [
        (Means.CARD, 1, Claimant(member=MEMBER, serial_floor=1), None),
        (Means.CARD, 1, Claimant(member=MEMBER, serial_floor=2), Reason.DENIED_CREDENTIAL),
        (Means.CARD, None, Claimant(member=MEMBER, serial_floor=1), Reason.DENIED_CREDENTIAL),
        (
            Means.CARD,
            1,
            Claimant(member=MEMBER, serial_floor=2, denied_cards={1: milliseconds(NOON)}),
            Reason.DENIED_CREDENTIAL,
        ),
        (Means.CARD, 1, Claimant(member=MEMBER, serial_floor=2, denied_cards={1: milliseconds(NOON) + 1}), None),
        (Means.PHONE, None, Claimant(member=MEMBER, serial_floor=9), None),
        (Means.PHONE, None, Claimant(member=MEMBER, phones_denied_ms=milliseconds(NOON)), Reason.DENIED_CREDENTIAL),
        (Means.PHONE, None, Claimant(member=MEMBER, phones_denied_ms=milliseconds(NOON) + 1), None),
        (Means.STAFF, None, Claimant(member=MEMBER, serial_floor=9, phones_denied_ms=0), None),
    ],
)
def test_denial_holds_from_its_moment_on(
    means: Means, serial: int | None, denied: Claimant, reason: Reason | None
) -> None:
    assert reason_of(kiosk().claim(MEMBER, NOON, means=means, serial=serial), claimant=denied) is reason


def test_late_claim_is_the_same_entry_out_of_the_contingency() -> None:
    judgement = judged(kiosk().claim(MEMBER, NOON))
    assert isinstance(judgement, Post)

    late = draft_late(judgement)

    assert (late.id, late.kind, late.effective_at) == (name(MEMBER), EntryKind.GRANT_LATE, NOON)
    assert (late.postings[0].account.code, late.postings[0].account.subject) == (Code.CONTINGENCY, "spring")
    assert late.postings[1] == judgement.draft.postings[1]


def test_rejected_claim_drew_from_the_allotment_once_its_terms_were_ours() -> None:
    with_terms = judged(kiosk().claim(MEMBER, NOON), claimant=None)
    without = judged(kiosk().claim(MEMBER, NOON, amount=10**9))

    assert with_terms == Reject(reason=Reason.UNKNOWN_MEMBER, campaign=CampaignId("spring"), amount=10)
    assert without == Reject(reason=Reason.WRONG_TERMS)


@pytest.mark.parametrize(
    ("changes", "judgement"),
    [
        ({"epoch": EpochState.UNKNOWN}, TurnAway(outcome=Outcome.QUARANTINED, reason=Reason.UNKNOWN_EPOCH)),
        (
            {"neighbours": Neighbours(same=bytes(32))},
            TurnAway(outcome=Outcome.QUARANTINED, reason=Reason.CHANGED_BODY, whole_epoch=True),
        ),
        ({"speaker": replace(SPEAKER, revoked=True)}, Reject(reason=Reason.DEVICE_REVOKED)),
        ({"epoch": EpochState.QUARANTINED}, Quarantine(reason=Reason.EPOCH_QUARANTINED)),
        (
            {"neighbours": Neighbours(before=bytes(32))},
            Quarantine(reason=Reason.BROKEN_CHAIN, whole_epoch=True),
        ),
        (
            {"neighbours": Neighbours(named_by_next=bytes(32))},
            Quarantine(reason=Reason.BROKEN_CHAIN, whole_epoch=True),
        ),
    ],
    ids=str,
)
def test_place_is_judged_before_the_fact(changes: dict[str, object], judgement: Judgement) -> None:
    assert judged(kiosk().claim(MEMBER, NOON), **changes) == judgement


def test_repeat_is_recognised_even_of_a_device_that_was_revoked_since() -> None:
    said = kiosk().claim(MEMBER, NOON)
    stored = Neighbours(same=opened(said).chain)

    assert judged(said, neighbours=stored, speaker=replace(SPEAKER, revoked=True)) == Repeat()


def test_what_claims_nothing_is_noted() -> None:
    door = kiosk()
    erased = msgspec.structs.replace(door.visit(MEMBER), salt=None, payload=None)

    assert [judged(said) for said in (door.visit(MEMBER), door.clock_step(NOON), erased)] == [Noted()] * 3


def test_a_claim_without_its_payload_waits_for_the_whole_one() -> None:
    stripped = msgspec.structs.replace(kiosk().claim(MEMBER, NOON), salt=None, payload=None)

    assert judged(stripped) == TurnAway(outcome=Outcome.REJECTED, reason=Reason.BAD_DIGEST)


@pytest.mark.parametrize("fault", EnvelopeFault)
def test_every_fault_has_its_reason(fault: EnvelopeFault) -> None:
    away = turn_away(fault)

    assert away.reason.value == fault.value
    assert (away.outcome is Outcome.QUARANTINED) == (fault is EnvelopeFault.UNKNOWN_VERSION)


@pytest.mark.parametrize(
    ("epoch", "state"), [(1, EpochState.OPEN), (2, EpochState.QUARANTINED), (3, EpochState.UNKNOWN)]
)
def test_epoch_state(epoch: int, state: EpochState) -> None:
    assert SPEAKER.epoch_state(epoch) is state


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"salt": None, "payload": None}, None),
        ({"salt": bytes(15)}, EnvelopeFault.MALFORMED),
        ({"salt": bytes(17)}, EnvelopeFault.MALFORMED),
        ({"payload": bytes(4097)}, EnvelopeFault.MALFORMED),
        ({"signature": bytes(65)}, EnvelopeFault.MALFORMED),
        ({"header": bytes(2049)}, EnvelopeFault.MALFORMED),
    ],
    ids=lambda value: str(value)[:40],
)
def test_sizes(changes: dict[str, Any], fault: EnvelopeFault | None) -> None:  # Any: a field of the envelope
    assert size_fault(msgspec.structs.replace(kiosk().claim(MEMBER, NOON), **changes)) is fault


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ({}, None),
        ({"seq": 2**53}, None),
        ({"seq": 2**53 + 1}, EnvelopeFault.MALFORMED),
        ({"seq": 0}, EnvelopeFault.MALFORMED),
        ({"epoch": -1}, EnvelopeFault.MALFORMED),
        ({"policy_version": -1}, EnvelopeFault.MALFORMED),
        ({"monotonic_ms": -1}, EnvelopeFault.MALFORMED),
        ({"wall_ms": -1}, EnvelopeFault.MALFORMED),
        ({"wall_ms": None}, None),
    ],
    ids=str,
)
def test_numbers(header: dict[str, object], fault: EnvelopeFault | None) -> None:
    assert number_fault(opened(kiosk().claim(MEMBER, NOON, header=header)).header) is fault


@pytest.mark.parametrize(
    ("text", "day"), [("2026-03-02", "2026-03-02"), ("20260302", None), ("2026-W10-1", None), ("", None), ("\0", None)]
)
def test_iso_day(text: str, day: str | None) -> None:
    assert iso_day(text) == day


# -- the stream --------------------------------------------------------------------------------------------------


def stream(*, contiguous: int = 0, highest: int = 0) -> Stream:
    """A stream of which so much is stored."""
    made = open_stream(DEVICE, 1)
    made.contiguous, made.highest, made.read_until = contiguous, highest, contiguous + AHEAD_MAX
    return made


def link(number: int) -> Link:
    """The place of the number in a chain that holds."""
    return Link(chain=bytes([number]), previous=bytes([number - 1]))


@given(st.permutations(range(1, 9)))
def test_stream_moves_on_when_the_gap_closes(order: list[int]) -> None:
    heard = stream()
    for seq in order:
        heard.place(seq, link(seq))
        stored = set(order[: order.index(seq) + 1])
        gapless = next(number for number in range(10) if number + 1 not in stored)
        assert heard.contiguous == gapless
        assert heard.head == (bytes([gapless]) if gapless else open_stream(DEVICE, 1).head)
        assert all(heard.holds(number) for number in stored)
        assert not heard.holds(9)
    assert (heard.highest, heard.missing(0)) == (8, ())


@pytest.mark.parametrize(
    ("contiguous", "highest", "seq", "unread"),
    [
        (0, 0, 1, ()),
        (5, 5, 6, ()),  # what follows the head needs nothing
        (5, 5, 9, ()),  # nothing is stored next to it
        (5, 8, 9, (8,)),  # the one before is stored beyond a gap
        (5, 8, 10, ()),
        (5, 8, 7, (6, 7, 8)),
        (5, 5, 3, (2, 3, 4)),
    ],
)
def test_stream_knows_what_it_must_read(contiguous: int, highest: int, seq: int, unread: tuple[int, ...]) -> None:
    assert stream(contiguous=contiguous, highest=highest).unread(seq) == unread


def test_neighbours() -> None:
    heard = stream()
    heard.place(1, link(1))
    heard.place(3, link(3))

    assert heard.neighbours(2) == Neighbours(before=bytes([1]), named_by_next=bytes([2]))
    assert heard.neighbours(3) == Neighbours(same=bytes([3]))
    assert heard.neighbours(4) == Neighbours(before=bytes([3]))
    assert open_stream(DEVICE, 1).neighbours(1) == Neighbours(before=open_stream(DEVICE, 1).head)


def test_gap_is_asked_for_again_and_again_but_not_always() -> None:
    heard = stream()
    heard.place(4, link(4))

    asked = [heard.missing(second * 1_000_000) for second in (0, 4, 5, 9, 10)]

    assert asked == [(), (), (1, 2, 3), (), (1, 2, 3)]


def test_no_more_is_asked_for_than_a_kiosk_sends_at_once() -> None:
    heard = stream()
    heard.place(100_000, link(1))
    heard.missing(0)

    assert heard.missing(5_000_000) == tuple(range(1, 101))


def test_nothing_is_asked_for_where_nobody_looked() -> None:
    heard = stream(contiguous=0, highest=2 * AHEAD_MAX)
    heard.links.update({number: link(1) for number in range(2, AHEAD_MAX + 1)})
    heard.place(1, link(1))
    heard.missing(0)

    assert heard.contiguous == AHEAD_MAX
    assert heard.missing(5_000_000) == ()


# -- faces -------------------------------------------------------------------------------------------------------


def effect_of(said: Envelope, **changes: Any) -> object:  # Any: one of the facts
    """What follows from the fact, which is noted."""
    judgement = judged(said, **changes)
    assert isinstance(judgement, Noted)
    return judgement.effect


ERASED = Claimant(member=MEMBER, erased=True)
HELD_CLOCK, NO_CLOCK = {"trust": ClockTrust.HELD}, {"trust": ClockTrust.UNKNOWN}


@pytest.mark.parametrize(
    ("given", "shift", "header", "expected"),
    [
        (True, timedelta(), {}, NOON),
        (True, timedelta(hours=-9), {}, NOON - timedelta(hours=9)),
        (True, timedelta(hours=-9), HELD_CLOCK, NOON - timedelta(hours=9)),
        (True, timedelta(hours=9), {}, NOON),
        (True, timedelta(), NO_CLOCK, None),
        (True, timedelta(), {"wall_ms": None}, None),
        (True, timedelta(), {"wall_ms": 0}, None),
        (True, timedelta(milliseconds=CLOCK_SLACK_MS + 1), {}, None),
        (False, timedelta(hours=-9), {}, NOON - timedelta(hours=9)),
        (False, timedelta(hours=-9), HELD_CLOCK, NOON),
        (False, timedelta(hours=-9), NO_CLOCK, NOON),
        (False, timedelta(), {"wall_ms": None}, NOON),
    ],
)
def test_when_a_consent_was_said(given: bool, shift: timedelta, header: dict[str, object], expected: object) -> None:
    """A consent needs a time that can be believed; a withdrawal is never put back by a clock that may be slow."""
    said = consent(kiosk(), MEMBER, NOON + shift, given=given, header=header)
    if expected is None:
        assert reason_of(said) is Reason.WRONG_DAY
        return
    effect = effect_of(said)
    assert isinstance(effect, SpokenConsent)
    assert (effect.given, effect.said_at, effect.origin.seq) == (given, expected, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant": "nord"}, Reason.WRONG_TERMS),
        ({"store": "porto"}, Reason.WRONG_TERMS),
        ({"purpose": Purpose.MARKETING}, Reason.WRONG_TERMS),
        ({"language": "xx"}, Reason.WRONG_TERMS),
        ({"text_version": -1}, Reason.WRONG_TERMS),
        ({"text_version": 2**53 + 1}, Reason.WRONG_TERMS),
        ({"means": Means.FACE}, Reason.WRONG_TERMS),
        ({"means": Means.STAFF}, Reason.WRONG_TERMS),
    ],
)
def test_consent_that_cannot_stand(changes: dict[str, Any], reason: Reason) -> None:  # Any: values of fields
    assert reason_of(consent(kiosk(), MEMBER, NOON, **changes)) is reason


@pytest.mark.parametrize("means", list(Means))
def test_withdrawal_needs_no_code(means: Means) -> None:
    assert isinstance(effect_of(consent(kiosk(), MEMBER, NOON, given=False, means=means)), SpokenConsent)


def test_whose_face_it_must_be() -> None:
    for said in (consent(kiosk(), MEMBER), enrolled(kiosk(), MEMBER)):
        assert reason_of(said, claimant=None) is Reason.UNKNOWN_MEMBER
        assert reason_of(said, claimant=ERASED) is Reason.UNKNOWN_MEMBER
    assert effect_of(consent(kiosk(), MEMBER, given=False), claimant=ERASED) is None
    assert reason_of(forgotten(kiosk(), MEMBER), claimant=None) is Reason.UNKNOWN_MEMBER
    assert isinstance(effect_of(forgotten(kiosk(), MEMBER), claimant=ERASED), FaceProof)
    assert reason_of(disputed(kiosk(), MEMBER), claimant=None) is Reason.UNKNOWN_MEMBER


@pytest.mark.parametrize(
    ("at", "expected"), [(NOON - timedelta(days=1), NOON - timedelta(days=1)), (None, instant_of(0))]
)
def test_a_template_is_carried_with_its_time(at: datetime | None, expected: datetime) -> None:
    effect = effect_of(enrolled(kiosk(), MEMBER, at, resealed=True))
    assert isinstance(effect, Enrolment)
    assert (effect.sealed, effect.key, effect.member) == (
        sealed_of(MEMBER, FIRST, DEVICE.encode()).sealed,
        FIRST,
        MEMBER,
    )
    assert (effect.device, effect.enrolled_at, effect.resealed) == (DEVICE, expected, True)


@pytest.mark.parametrize("changes", [{"text_version": 2**60}, {"frames": -1}, {"store": "porto"}])
def test_template_that_cannot_stand(changes: dict[str, Any]) -> None:  # Any: values of fields
    assert reason_of(enrolled(kiosk(), MEMBER, NOON, **changes)) is Reason.WRONG_TERMS


def test_proof_wrap_and_dispute_go_on_as_they_are() -> None:
    proof = effect_of(forgotten(kiosk(), MEMBER, why=Forgetting.LAPSED))
    assert isinstance(proof, FaceProof)
    assert (proof.member, proof.why, proof.origin.device) == (MEMBER, Forgetting.LAPSED, DEVICE)
    wrap = effect_of(wrapped(kiosk(), "door2", key=FIRST), claimant=None)
    assert isinstance(wrap, Wrapping)
    assert (wrap.device, wrap.key, wrap.previous, wrap.origin.device) == ("door2", FIRST, None, DEVICE)
    assert wrap.said_at == NOON
    unknown = kiosk().say(opened(wrapped(kiosk(), "door2")).fact, None, {})  # type: ignore[arg-type]  # it was not erased
    timeless = effect_of(unknown)
    assert isinstance(timeless, Wrapping)
    assert timeless.said_at == NOON
    dispute = effect_of(disputed(kiosk(), MEMBER, claim=bytes(16)))
    assert isinstance(dispute, Dispute)
    assert (dispute.member, dispute.claim, dispute.wall_ms) == (MEMBER, bytes(16), milliseconds(NOON))
    assert isinstance(effect_of(disputed(kiosk(), MEMBER)), Dispute)
    assert reason_of(disputed(kiosk(), MEMBER, claim=bytes(15))) is Reason.WRONG_TERMS


def test_a_face_is_granted_where_the_policy_has_faces_on() -> None:
    said = kiosk().claim(MEMBER, NOON, means=Means.FACE)
    assert reason_of(said) is Reason.WRONG_TERMS
    with_faces = msgspec.structs.replace(POLICY, faces=True)
    assert reason_of(said, terms=Terms(policy=with_faces, superseded_ms=None)) is None


def test_only_a_withdrawal_is_followed_in_quarantine() -> None:
    quarantined = {"epoch": EpochState.QUARANTINED}
    withdrawn = judged(consent(kiosk(), MEMBER, given=False), **quarantined)
    assert isinstance(withdrawn, Quarantine)
    assert isinstance(withdrawn.effect, SpokenConsent)
    for said, changes in (
        (consent(kiosk(), MEMBER), quarantined),
        (enrolled(kiosk(), MEMBER), quarantined),
        (consent(kiosk(), MEMBER, given=False), quarantined | {"claimant": None}),
        (consent(kiosk(), MEMBER, given=False), quarantined | {"claimant": ERASED}),
    ):
        assert judged(said, **changes) == Quarantine(reason=Reason.EPOCH_QUARANTINED)


def test_whom_a_fact_names_and_what_is_only_carried() -> None:
    facts = {
        "consent": consent(kiosk(), MEMBER),
        "template": enrolled(kiosk(), MEMBER),
        "shared": shared(kiosk(), MEMBER),
        "forgotten": forgotten(kiosk(), MEMBER),
        "disputed": disputed(kiosk(), MEMBER),
        "visit": kiosk().visit(MEMBER),
        "claim": kiosk().claim(MEMBER, NOON),
        "clock": kiosk().clock_step(NOON),
        "secret": wrapped(kiosk(), "door2"),
    }
    read = {name: opened(said).fact for name, said in facts.items()}
    assert {name for name, fact in read.items() if member_named(fact) == MEMBER} == facts.keys() - {"clock", "secret"}
    assert {name for name, fact in read.items() if is_carried_only(fact)} == {"template", "shared", "secret"} == CARRIED
    assert member_named(None) is None

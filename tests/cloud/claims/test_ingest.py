"""From bytes to signed bytes: what devices are told, and that nothing is told before it is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from cloud.broker.ingest import ENVELOPES_MAX, Ingest
from cloud.broker.messages import Inbound, Outbound
from cloud.devices.actions import issue_epoch, quarantine_epoch, revoke_device
from cloud.kit.database import writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.members.actions import deny_phones, mark_seen
from shared.answers import (
    ROOT_SIGNER,
    AllotmentIssued,
    Answer,
    DenyPage,
    EpochIssued,
    GroupPage,
    KeyPage,
    PolicyPage,
    Receipt,
    RevocationPage,
    RosterPage,
    TimeTold,
    open_answer,
)
from shared.business_day import milliseconds
from shared.envelope import BATCH_MAX, Batch, FeedVersions, TimeAsked, encode
from shared.ids import DeviceId
from shared.signing import load_public_key
from shared.topics import Up
from tests.cloud.claims.world import NOON, STORE, TENANT, World
from tests.support.kiosk import VirtualKiosk, batch_of, member_of

Kind = TypeVar("Kind")
UP_TO_DATE = FeedVersions(keys=1, policy=1, roster=0, deny=0, revocations=0)


@dataclass(slots=True)
class HandClock:
    """A clock that stands until told to move."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@dataclass(slots=True, kw_only=True)
class Cloud:
    """An ingest with its clock and its measures, and the device's way of reading its answers."""

    ingest: Ingest
    clock: HandClock
    registry: CollectorRegistry
    signers: dict[int, Ed25519PublicKey] = field(default_factory=dict)

    def hear(self, *inbound: Inbound) -> list[Answer]:
        """What the devices read, every signature checked."""
        return self.open(self.ingest(inbound))

    def open(self, outbound: object) -> list[Answer]:
        """The answers in the messages."""
        assert isinstance(outbound, list | tuple)
        answers = []
        for message in outbound:
            assert isinstance(message, Outbound)
            answer = open_answer(message.kind, message.data, self.signers)
            assert answer is not None
            answers.append(answer)
        return answers

    def counted(self, name: str, **labels: str) -> float:
        """What a counter stands at."""
        return self.registry.get_sample_value(f"{name}_total", labels) or 0.0


@pytest.fixture(scope="module")
def keyring(memory_folder: Path) -> Keyring:
    """The cloud's keys."""
    return create_keyring(memory_folder / "ingest-keys", ["localhost"], NOON)


@pytest.fixture
def cloud(world: World, keyring: Keyring) -> Cloud:
    """The ingest on the world's database."""
    clock, registry = HandClock(), CollectorRegistry()
    root = load_public_key(keyring.root_public)
    assert root is not None
    return Cloud(
        ingest=Ingest(world.engine, keyring, clock=clock, registry=registry),
        clock=clock,
        registry=registry,
        signers={ROOT_SIGNER: root, keyring.signer_id: keyring.signer_key.public_key()},
    )


def event(kiosk: VirtualKiosk, *said: Batch) -> list[Inbound]:
    """The batches as messages."""
    return [Inbound(device=kiosk.device, kind=Up.EVENT, data=encode(batch)) for batch in said]


def state(kiosk: VirtualKiosk, **changes: object) -> Inbound:
    """The kiosk's birth message with these fields changed."""
    said = msgspec.structs.replace(kiosk.state(feeds=UP_TO_DATE), **changes)
    return Inbound(device=kiosk.device, kind=Up.STATE, data=encode(said))


def only(answers: list[Answer], kind: type[Kind]) -> list[Kind]:
    """The answers of that kind."""
    return [answer for answer in answers if isinstance(answer, kind)]


def test_claim_is_answered_with_a_signed_receipt(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")

    (receipt,) = cloud.hear(*event(kiosk, batch_of(kiosk.claim(member_of(1), NOON))))

    assert isinstance(receipt, Receipt)
    assert (receipt.contiguous, receipt.verdicts[0].balance) == (1, 10)
    assert cloud.counted("doorstep_envelopes", outcome="posted") == 1


def test_messages_of_one_device_share_a_receipt(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    batches = [batch_of(kiosk.claim(member_of(number), NOON)) for number in (1, 2, 3)]

    (receipt,) = only(cloud.hear(*event(kiosk, *batches)), Receipt)

    assert [verdict.seq for verdict in receipt.verdicts] == [1, 2, 3]


def test_low_allotment_is_answered_with_a_top_up(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    days = [NOON - timedelta(days=back) for back in (2, 1, 0)]
    said = [kiosk.claim(member_of(number), day) for day in days for number in range(1, 27)]

    receipt, issued = cloud.hear(*event(kiosk, batch_of(*said)))

    assert isinstance(receipt, Receipt)
    assert isinstance(issued, AllotmentIssued)
    assert (issued.serial, issued.total) == (2, 1780)


@pytest.mark.parametrize("kind", Up)
def test_garbage_is_counted_and_dropped(world: World, cloud: Cloud, kind: Up) -> None:
    kiosk = world.add_kiosk("door1")
    garbage = [Inbound(device=kiosk.device, kind=kind, data=data) for data in (b"", b"\xc1", b"\x80", bytes(300_000))]

    (receipt,) = cloud.hear(*garbage, *event(kiosk, batch_of(kiosk.claim(member_of(1), NOON))))

    assert isinstance(receipt, Receipt)
    assert cloud.counted("doorstep_undecodable_messages", kind=kind.value) == 4


def test_more_envelopes_than_a_message_may_hold_are_dropped(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    one = kiosk.claim(member_of(1), NOON)

    assert cloud.hear(*event(kiosk, batch_of(*[one] * (BATCH_MAX + 1)))) == []
    assert cloud.hear(*event(kiosk, Batch(envelopes=()))) == []


def test_backlog_of_weeks_is_stored_in_parts(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    messages = ENVELOPES_MAX // BATCH_MAX + 1
    batches = [batch_of(*(kiosk.clock_step(NOON) for _ in range(BATCH_MAX))) for _ in range(messages)]

    receipts = only(cloud.hear(*event(kiosk, *batches)), Receipt)

    assert [receipt.contiguous for receipt in receipts] == [ENVELOPES_MAX, ENVELOPES_MAX + BATCH_MAX]
    assert world.count_stored() == messages * BATCH_MAX


def test_question_for_the_time_is_answered_with_its_nonce(world: World, cloud: Cloud) -> None:
    asked = Inbound(device=DeviceId("door1"), kind=Up.TIME, data=encode(TimeAsked(nonce=bytes(16))))

    assert cloud.hear(asked) == [TimeTold(nonce=bytes(16), instant_ms=milliseconds(NOON))]


def test_new_database_is_given_an_epoch_and_an_allotment_for_it(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")

    answers = cloud.hear(state(kiosk, database=b"n" * 16, epoch=0, feeds=FeedVersions()))

    (epoch,), (allotment,) = only(answers, EpochIssued), only(answers, AllotmentIssued)
    assert (epoch.epoch, allotment.epoch, allotment.total) == (2, 2, 1000)
    assert answers.index(epoch) < answers.index(allotment)
    pages = (KeyPage, PolicyPage, DenyPage, RevocationPage, RosterPage)
    assert all(only(answers, page) for page in pages)


def test_known_database_is_given_its_allotment_again(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")

    answers = [cloud.hear(state(kiosk, session=session)) for session in (1, 2)]

    assert only(answers[0], EpochIssued) == []
    assert only(answers[0], AllotmentIssued) == only(answers[1], AllotmentIssued) != []


def test_epoch_that_is_set_aside_is_allotted_nothing(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        quarantine_epoch(connection, kiosk.device, 1, NOON)

    assert only(cloud.hear(state(kiosk)), AllotmentIssued) == []


def test_revoked_device_is_told_that_and_allotted_nothing(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        revoke_device(connection, kiosk.device, NOON)

    answers = cloud.hear(state(kiosk))

    assert only(answers, AllotmentIssued) == []
    assert [entry.device for page in only(answers, RevocationPage) for entry in page.entries] == ["door1"]


@pytest.mark.parametrize("change", [{"device": "door2"}, {"online": False}], ids=str)
def test_state_of_somebody_else_or_a_goodbye_is_not_answered(
    world: World, cloud: Cloud, change: dict[str, object]
) -> None:
    assert cloud.hear(state(world.add_kiosk("door1"), **change)) == []


def test_stranger_is_not_answered(world: World, cloud: Cloud) -> None:
    assert cloud.hear(state(VirtualKiosk(device=DeviceId("nobody"), policy=world.policy))) == []


def test_failing_database_tells_nobody_anything(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    said = event(kiosk, batch_of(kiosk.claim(member_of(1), NOON)))
    with writing(world.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_chain RENAME TO elsewhere")

    with pytest.raises(DBAPIError):
        cloud.hear(*said)
    assert world.count_stored() == 0
    with writing(world.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger_chain")

    assert [receipt.contiguous for receipt in only(cloud.hear(*said), Receipt)] == [1]


# -- news --------------------------------------------------------------------------------------------------------


def news(cloud: Cloud) -> list[Answer]:
    """What is brought to kiosks now."""
    return cloud.open(cloud.ingest.bring_news())


def online(world: World, cloud: Cloud, name: str) -> VirtualKiosk:
    """A kiosk that has just been told everything."""
    kiosk = world.add_kiosk(name)
    cloud.hear(state(kiosk))
    return kiosk


def new_terms(world: World) -> None:
    """The store's reward changes."""
    world.reissue(points=20)


def denial(world: World) -> None:
    """A member's phones are denied."""
    with writing(world.engine) as connection:
        deny_phones(connection, TENANT, member_of(1), now=NOON)


def revocation(world: World) -> None:
    """Another kiosk of the tenant is revoked; the group of its store is told as well."""
    world.add_kiosk("stolen")
    with writing(world.engine) as connection:
        revoke_device(connection, DeviceId("stolen"), NOON)


@pytest.mark.parametrize(
    ("happens", "kinds"),
    [(new_terms, [PolicyPage]), (denial, [DenyPage]), (revocation, [RevocationPage, GroupPage])],
)
def test_news_is_brought_at_once_and_once(
    world: World, cloud: Cloud, happens: Callable[[World], None], kinds: list[type[Answer]]
) -> None:
    online(world, cloud, "door1")
    assert news(cloud) == []
    happens(world)

    assert [type(page) for page in news(cloud)] == kinds
    assert news(cloud) == []


def test_roster_is_brought_every_half_minute(world: World, cloud: Cloud) -> None:
    kiosk = online(world, cloud, "door1")
    cloud.hear(*event(kiosk, batch_of(kiosk.claim(member_of(1), NOON))))

    assert news(cloud) == []
    cloud.clock.now += timedelta(seconds=30)
    (page,) = news(cloud)
    assert isinstance(page, RosterPage)
    assert [entry.balance for entry in page.entries] == [10]
    with writing(world.engine) as connection:
        mark_seen(connection, STORE, [member_of(2)], NOON)
    assert news(cloud) == []


def test_kiosk_that_said_goodbye_is_brought_nothing(world: World, cloud: Cloud) -> None:
    kiosk = online(world, cloud, "door1")
    cloud.hear(state(kiosk, online=False))
    new_terms(world)

    assert news(cloud) == []


def test_late_goodbye_hides_no_newer_birth(world: World, cloud: Cloud) -> None:
    kiosk = world.add_kiosk("door1")
    cloud.hear(state(kiosk, session=2), state(kiosk, session=1, online=False))
    new_terms(world)

    assert [type(page) for page in news(cloud)] == [PolicyPage]


def test_second_database_of_a_device_is_a_second_epoch(world: World, cloud: Cloud) -> None:
    """The restored image keeps its epoch; a new database must not be taken for the old one."""
    kiosk = world.add_kiosk("door1")
    with writing(world.engine) as connection:
        second = issue_epoch(connection, kiosk.device, b"2" * 16, NOON)
    assert second is not None

    answers = cloud.hear(state(kiosk, database=b"2" * 16, epoch=0))

    assert [issued.epoch for issued in only(answers, AllotmentIssued)] == [second.epoch] == [2]

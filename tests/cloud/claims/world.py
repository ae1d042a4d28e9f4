"""A tenant with a store, a campaign, members and kiosks, set up through the domains' own functions.

Also what the claims bench runs on: nothing here needs pytest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, func, select

from cloud.campaigns.actions import allot, create_campaign
from cloud.campaigns.rules import Campaign
from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant, set_daily_reward
from cloud.catalogue.rules import FaceRules, Merchant, Programme, Store
from cloud.claims.actions import apply_batches
from cloud.claims.tables import envelope
from cloud.devices.actions import issue_epoch
from cloud.devices.tables import device
from cloud.kit.database import reading, writing
from cloud.ledger.queries import balance_of
from cloud.ledger.rules import member_account
from cloud.ledger.verify import verify
from cloud.members.tables import member
from shared.answers import AllotmentIssued, Outcome, Reason, Receipt, Verdict
from shared.envelope import Batch, Envelope
from shared.ids import CampaignId, DeviceId, MemberId, StoreId, TenantId
from shared.policy import Policy
from tests.support.kiosk import VirtualKiosk, batch_of, member_of

NOON = datetime(2026, 3, 2, 11, tzinfo=UTC)
TENANT = TenantId("rossi")
STORE = StoreId("centro")
CAMPAIGN = CampaignId("spring")
UNIT = "PT:consumption"
FORTY = tuple(map(member_of, range(1, 41)))


@dataclass(slots=True, kw_only=True)
class World:
    """The engine of a database in which all of this is, and what the tests ask of it."""

    engine: Engine
    policy: Policy
    kiosks: dict[DeviceId, VirtualKiosk] = field(default_factory=dict)

    def add_kiosk(
        self, name: str, *, now: datetime = NOON, with_allotment: bool = True, policy: Policy | None = None
    ) -> VirtualKiosk:
        """A kiosk at the store, or the policy's, with an epoch and, unless told otherwise, a full allotment."""
        kiosk = VirtualKiosk(device=DeviceId(name), policy=policy or self.policy)
        with writing(self.engine) as connection:
            _register(connection, kiosk, now)
            if with_allotment:
                self.allot(connection, kiosk.device, now=now)
        self.kiosks[kiosk.device] = kiosk
        return kiosk

    def allot(
        self, connection: Connection, device: DeviceId, *, epoch: int = 1, is_settled: bool = True, now: datetime = NOON
    ) -> AllotmentIssued | None:
        """What the device is told when it shows itself."""
        return allot(
            connection,
            tenant=TENANT,
            id=CAMPAIGN,
            device=device,
            epoch=epoch,
            points_a_claim=self.policy.points,
            is_settled=is_settled,
            now=now,
        )

    def add_store(self, store: StoreId, *, faces: bool = True, now: datetime = NOON) -> Policy:
        """Another store of the programme; its terms."""
        place = Store(
            id=store,
            tenant=TENANT,
            merchant="rossi-spa",
            programme="bottega",
            name=store.capitalize(),
            zone="Europe/Rome",
            cutoff_hour=4,
        )
        with writing(self.engine) as connection:
            assert create_store(connection, place, now) == place
            made = set_daily_reward(
                connection,
                store,
                points=10,
                reduced_points=4,
                campaign=CAMPAIGN,
                cards_reduced=False,
                now=now,
                faces=FaceRules(recognised=faces),
            )
        assert isinstance(made, Policy)
        return made

    def reissue(self, *, points: int, now: datetime = NOON, **changes: bool) -> Policy:
        """The next version of the store's terms."""
        with writing(self.engine) as connection:
            made = set_daily_reward(
                connection,
                STORE,
                points=points,
                reduced_points=1,
                campaign=CAMPAIGN,
                cards_reduced=changes.get("cards_reduced", False),
                now=now,
            )
        assert isinstance(made, Policy)
        self.policy = made
        return made

    def send(self, *said: tuple[DeviceId, Sequence[Envelope]], now: datetime = NOON) -> "Told":
        """What the cloud answers to messages of these devices, handled in one transaction."""
        batches = [(id, batch_of(*envelopes)) for id, envelopes in said]
        return self.apply(batches, now=now)

    def apply(self, batches: Sequence[tuple[DeviceId, Batch]], *, now: datetime = NOON) -> "Told":
        """The same for messages ready made."""
        with writing(self.engine) as connection:
            answers = apply_batches(connection, batches, now)
        return Told(answers=answers)

    def tell(self, kiosk: VirtualKiosk, *envelopes: Envelope, now: datetime = NOON) -> Receipt:
        """The one receipt for the kiosk's envelopes."""
        (receipt,) = self.send((kiosk.device, envelopes), now=now).receipts
        return receipt

    def judge_one(self, kiosk: VirtualKiosk, said: Envelope, *, now: datetime = NOON) -> tuple[Outcome, Reason | None]:
        """What became of one envelope."""
        (verdict,) = self.tell(kiosk, said, now=now).verdicts
        return verdict.outcome, verdict.reason

    def balance(self, number: int) -> int:
        """What the member holds."""
        with reading(self.engine) as connection:
            balance = balance_of(connection, member_account(TENANT, member_of(number), UNIT))
        return 0 if balance is None else balance.amount

    def count_stored(self) -> int:
        """How many envelopes are stored."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(envelope)).scalar_one()

    def assert_sound(self) -> None:
        """The ledger keeps every promise."""
        with reading(self.engine) as connection:
            assert verify(connection) == ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the cloud answered."""

    answers: tuple[tuple[DeviceId, Receipt | AllotmentIssued], ...]

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """The receipts among it."""
        return tuple(answer for _, answer in self.answers if isinstance(answer, Receipt))

    @property
    def allotments(self) -> tuple[AllotmentIssued, ...]:
        """The allotments among it."""
        return tuple(answer for _, answer in self.answers if isinstance(answer, AllotmentIssued))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All verdicts, by device, epoch and number."""
        return tuple(verdict for receipt in self.receipts for verdict in receipt.verdicts)


def create_world(
    engine: Engine,
    *,
    members: Iterable[MemberId] = FORTY,
    budget: int = 1_000_000,
    allotment_points: int = 1000,
    contingency: int = 0,
    now: datetime = NOON,
) -> World:
    """The catalogue, a funded campaign, the store's first policy and its members; no kiosk yet."""
    merchant = Merchant(id="rossi-spa", tenant=TENANT, name="Rossi S.p.A.")
    programme = Programme(id="bottega", tenant=TENANT, name="Bottega", unit=UNIT)
    store = Store(
        id=STORE,
        tenant=TENANT,
        merchant=merchant.id,
        programme=programme.id,
        name="Centro",
        zone="Europe/Rome",
        cutoff_hour=4,
    )
    campaign = Campaign(tenant=TENANT, id=CAMPAIGN, name="Spring", unit=UNIT, allotment_points=allotment_points)
    with writing(engine) as connection:
        create_tenant(connection, TENANT, "Rossi", bytes(range(32)), now)
        create_merchant(connection, merchant, now)
        create_programme(connection, programme, now)
        assert create_store(connection, store, now) == store
        assert create_campaign(connection, campaign, budget=budget, contingency=contingency, now=now) == campaign
        policy = set_daily_reward(
            connection, STORE, points=10, reduced_points=4, campaign=CAMPAIGN, cards_reduced=False, now=now
        )
        assert isinstance(policy, Policy)
        _join(connection, members, now)
    return World(engine=engine, policy=policy)


def _join(connection: Connection, members: Iterable[MemberId], now: datetime) -> None:
    """Rows as `join` writes them, without a statement each: the bench wants tens of thousands."""
    rows = [
        {
            "tenant": TENANT,
            "id": id,
            "programme": "bottega",
            "language": "it",
            "level": 1,
            "joined_at": now,
            "card_serial": 0,
            "serial_floor": 0,
            "phones_denied": 0,
        }
        for id in members
    ]
    connection.execute(member.insert(), rows)


def _register(connection: Connection, kiosk: VirtualKiosk, now: datetime) -> None:
    """A confirmed device, as provisioning leaves it, with its first epoch."""
    connection.execute(
        device.insert().values(
            id=kiosk.device,
            tenant=TENANT,
            store=kiosk.policy.store,
            tls_public=b"tls " + kiosk.public_key,
            signing_public=kiosk.public_key,
            fingerprint=kiosk.device,
            poll_digest=b"poll " + kiosk.public_key,
            claimed_at=now,
            confirmed_at=now,
        )
    )
    issued = issue_epoch(connection, kiosk.device, bytes(16), now)
    assert issued is not None
    assert issued.epoch == 1

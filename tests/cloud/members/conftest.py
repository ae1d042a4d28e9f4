"""A tenant with one programme and two stores, and members of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant
from cloud.catalogue.rules import Merchant, Programme, Store, Tenant
from cloud.kit.database import writing
from cloud.members.actions import Issuer, Joining, join
from cloud.members.rules import Channel, ConsentWords, Language, Member
from shared.consent import DataLevel
from shared.ids import MemberId, StoreId, TenantId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TENANT = TenantId("rossi")
PROGRAMME = "bottega"
UNIT = "PT:consumption"
CENTRO = StoreId("centro")
PORTO = StoreId("porto")
WORDS = ConsentWords(text_version=1, language=Language.ENGLISH, channel=Channel.PAGE)


@dataclass(slots=True, kw_only=True)
class Town:
    """The engine of a database that holds the catalogue, and a source of fresh members."""

    engine: Engine
    issuer: Issuer = field(
        default_factory=lambda: Issuer(id=1, key=Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    )
    joined: int = 0

    def join(self, *, nickname: str | None = None, store: StoreId | None = None, now: datetime = NOON) -> Member:
        """A new member, committed."""
        with writing(self.engine) as connection:
            return self.join_within(connection, nickname=nickname, store=store, now=now)

    def join_within(
        self, connection: Connection, *, nickname: str | None, store: StoreId | None, now: datetime
    ) -> Member:
        """A new member, in the caller's transaction."""
        self.joined += 1
        joining = Joining(
            tenant=TENANT,
            programme=PROGRAMME,
            store=store,
            nickname=nickname,
            language=Language.ENGLISH,
            level=DataLevel.PSEUDONYM,
            words=WORDS,
        )
        id = MemberId(self.joined.to_bytes(10, "big"))
        member = join(connection, joining, id=id, secret_digest=bytes(22) + id, now=now)
        assert isinstance(member, Member)
        return member


@pytest.fixture
def town(engine: Engine) -> Town:
    """The catalogue is there, nobody has joined."""
    with writing(engine) as connection:
        assert isinstance(create_tenant(connection, TENANT, "Rossi", bytes(32), NOON), Tenant)
        merchant = Merchant(id="rossi-spa", tenant=TENANT, name="Rossi S.p.A.")
        assert create_merchant(connection, merchant, NOON) == merchant
        programme = Programme(id=PROGRAMME, tenant=TENANT, name="Bottega", unit=UNIT)
        assert create_programme(connection, programme, NOON) == programme
        for id in (CENTRO, PORTO):
            store = Store(
                id=id,
                tenant=TENANT,
                merchant=merchant.id,
                programme=PROGRAMME,
                name=id.capitalize(),
                zone="Europe/Rome",
                cutoff_hour=4,
            )
            assert create_store(connection, store, NOON) == store
    return Town(engine=engine)

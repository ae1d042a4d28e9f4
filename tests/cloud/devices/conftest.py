"""A tenant with a store, the cloud's keys, and a door through which kiosks are claimed."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant
from cloud.catalogue.rules import Merchant, Programme, Store
from cloud.devices.actions import Claimed, claim_device, confirm_device, issue_claim_code
from cloud.devices.queries import Certificate
from cloud.devices.rules import DeviceRefusal
from cloud.kit.database import writing
from cloud.kit.keyring import Keyring, create_keyring
from shared.ids import DeviceId, StoreId, TenantId
from shared.provisioning import ClaimCode
from tests.cloud.devices.kiosk import Kiosk

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NORD = TenantId("nord")
STORE = StoreId("milano-1")


def counting_random() -> Callable[[int], bytes]:
    """Bytes that are never twice the same and always the same in each run."""
    numbers = itertools.count()
    return lambda length: hashlib.sha256(next(numbers).to_bytes(8, "big")).digest()[:length]


@dataclass(slots=True, kw_only=True)
class Registry:
    """The engine of a database with a store, the keys, and the steps from a code to a certificate, each committed."""

    engine: Engine
    keyring: Keyring
    random: Callable[[int], bytes]

    def issue_code(self, *, store: StoreId = STORE, now: datetime = NOW) -> ClaimCode:
        """A fresh code of the store."""
        with writing(self.engine) as connection:
            code = issue_claim_code(connection, self.keyring, store, now, self.random)
        assert isinstance(code, ClaimCode)
        return code

    def claim(
        self,
        kiosk: Kiosk,
        secret: bytes,
        *,
        csr_pem: str | None = None,
        proof: bytes | None = None,
        now: datetime = NOW,
    ) -> Claimed | DeviceRefusal:
        """What becomes of the kiosk's claim."""
        pem = kiosk.csr_pem if csr_pem is None else csr_pem
        with writing(self.engine) as connection:
            return claim_device(
                connection,
                secret=secret,
                csr_pem=pem,
                signing_public=kiosk.signing_public,
                proof=kiosk.prove_claim(secret, pem) if proof is None else proof,
                now=now,
                random=self.random,
            )

    def claimed(self, kiosk: Kiosk, *, now: datetime = NOW) -> Claimed:
        """The kiosk, waiting for its confirmation."""
        claimed = self.claim(kiosk, self.issue_code(now=now).secret, now=now)
        assert isinstance(claimed, Claimed)
        return claimed

    def confirm(self, id: DeviceId, fingerprint: str, *, now: datetime = NOW) -> Certificate | DeviceRefusal:
        """What becomes of the confirmation."""
        with writing(self.engine) as connection:
            return confirm_device(connection, self.keyring, id, fingerprint, now)

    def certified(self, kiosk: Kiosk, *, now: datetime = NOW) -> DeviceId:
        """The kiosk, ready to work."""
        claimed = self.claimed(kiosk, now=now)
        assert isinstance(self.confirm(claimed.device.id, kiosk.fingerprint, now=now), Certificate)
        return claimed.device.id


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """The cloud's keys."""
    return create_keyring(tmp_path_factory.mktemp("cloud") / "keys", ["localhost"], NOW)


@pytest.fixture
def registry(engine: Engine, keyring: Keyring) -> Registry:
    """A database with one store and no device."""
    merchant = Merchant(id="caffe", tenant=NORD, name="Caffè")
    programme = Programme(id="club", tenant=NORD, name="Club", unit="PT:consumption")
    with writing(engine) as connection:
        create_tenant(connection, NORD, "Nord", b"k" * 32, NOW)
        create_merchant(connection, merchant, NOW)
        create_programme(connection, programme, NOW)
        for number in (1, 2):
            store = Store(
                id=StoreId(f"milano-{number}"),
                tenant=NORD,
                merchant=merchant.id,
                programme=programme.id,
                name=f"Milano {number}",
                zone="Europe/Rome",
                cutoff_hour=4,
            )
            assert create_store(connection, store, NOW) == store
    return Registry(engine=engine, keyring=keyring, random=counting_random())

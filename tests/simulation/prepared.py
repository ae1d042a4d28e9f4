"""What every seed starts from, made once a process: keys, a catalogue with two stores, confirmed kiosks, members.

A world works on copies of the files made here. All keys and ids follow from fixed labels, so that the bytes on the
wire are the same in every process.
"""

import hashlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant
from cloud.catalogue.rules import Merchant, Programme, Store
from cloud.devices.actions import Claimed, claim_device, confirm_device, issue_claim_code
from cloud.devices.queries import Certificate
from cloud.kit.database import open_engine, writing
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.upgrade import upgrade
from cloud.members.actions import Issuer, Joining, PrintedCard, certify_phone, issue_card, join
from cloud.members.rules import Channel, ConsentWords, Language
from edge.db.database import load_migrations, migrate
from shared.answers import ROOT_SIGNER, IssuerKey, KeyPage, SignerKey, sign_answer
from shared.business_day import StoreCalendar, milliseconds
from shared.consent import DataLevel
from shared.ids import DeviceId, MemberId, StoreId, TenantId
from shared.provisioning import ClaimCode
from tests.cloud.devices.kiosk import Kiosk as UnclaimedKiosk

TENANT: Final = TenantId("acme")
PROGRAMME: Final = "club"
UNIT: Final = "PT:consumption"
ROME, YORK = StoreId("rome-1"), StoreId("york-1")
CALENDARS: Final = {
    ROME: StoreCalendar(zone="Europe/Rome", cutoff_hour=4),
    YORK: StoreCalendar(zone="America/New_York", cutoff_hour=2),  # the hour that comes twice, or not at all
}
KIOSKS_A_STORE: Final = 4
MEMBERS_MAX: Final = 300
STRANGERS: Final = 2 * KIOSKS_A_STORE  # who have joined and come to no door before the end
WORDS: Final = ConsentWords(text_version=1, language=Language.ITALIAN, channel=Channel.PAGE)

# The nights on which clocks change in New York and in Rome, and one week in which nothing does.
ERAS: Final = (
    datetime(2026, 3, 6, 5, tzinfo=UTC),
    datetime(2026, 3, 27, 5, tzinfo=UTC),
    datetime(2026, 6, 12, 5, tzinfo=UTC),
    datetime(2026, 10, 23, 5, tzinfo=UTC),
    datetime(2026, 10, 30, 5, tzinfo=UTC),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A kiosk that the cloud confirmed."""

    device: DeviceId
    store: StoreId
    signing_key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneKey:
    """A phone's key and the certificate for it."""

    key: Ed25519PrivateKey
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a member was given. Everybody has a card, about half a phone."""

    member: MemberId
    card: str
    phone: PhoneKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A cloud in which everybody has joined and nobody was seen: its file, its kiosks and its members."""

    cloud: Path
    kiosks: tuple[Identity, ...]
    people: tuple[Credentials, ...]


class Prepared:
    """The folder with all of it, removed at the end."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="ds-sim-", dir=memory if memory.is_dir() else None)
        self.folder = Path(self._folder.name)
        self.keyring = _fixed_keyring(self.folder / "keys")
        self.issuer = Issuer(id=self.keyring.issuer_id, key=self.keyring.issuer_key)
        self._cloud = self.folder / "cloud.db"
        self.engine = open_engine(f"sqlite:///{self._cloud}")
        self._kiosk = self.folder / "kiosk.db"
        _migrate_kiosk(self._kiosk)
        self._empty = self.folder / "empty.db"
        upgrade(self.engine)
        self._keep(self._empty)
        self._towns: dict[datetime, Town] = {}

    def close(self) -> None:
        """The folder is gone."""
        self.engine.dispose()
        self._folder.cleanup()

    @property
    def root_key(self) -> Ed25519PrivateKey:
        """The root whose public half kiosks pin."""
        return _fixed_key("root")

    @property
    def cloud_path(self) -> Path:
        """The file behind `engine`."""
        return self._cloud

    def open_town(self, era: datetime) -> Town:
        """The town as it is in that era; `engine` stands on a fresh copy of it."""
        if era not in self._towns:
            self._restore(self._empty)
            with writing(self.engine) as connection:
                kiosks, people = _settle_town(connection, self.keyring, self.issuer, era)
            kept = self.folder / f"{era:%Y%m%d}.db"
            self._keep(kept)
            self._towns[era] = Town(cloud=kept, kiosks=kiosks, people=people)
        self._restore(self._towns[era].cloud)
        return self._towns[era]

    def new_kiosk_file(self, name: str) -> Path:
        """A fresh database of a kiosk: migrated, and nobody's yet."""
        path = self.folder / f"{name}.db"
        remove_database(path)
        shutil.copyfile(self._kiosk, path)
        return path

    def _keep(self, path: Path) -> None:
        self.engine.dispose()
        shutil.copyfile(self._cloud, path)

    def _restore(self, path: Path) -> None:
        self.engine.dispose()
        remove_database(self._cloud)
        shutil.copyfile(path, self._cloud)


def remove_database(path: Path) -> None:
    """The file is gone, and what SQLite and a kiosk keep beside it."""
    for suffix in ("", "-wal", "-shm", "-sums"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _fixed_bytes(label: str, length: int = 32) -> bytes:
    return hashlib.sha256(label.encode()).digest()[:length]


def _fixed_key(label: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_fixed_bytes(f"key {label}"))


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _fixed_keyring(folder: Path) -> Keyring:
    """A keyring whose Ed25519 keys are always the same; its CA is fresh, and nothing of it crosses this wire."""
    made = create_keyring(folder, ["localhost"], ERAS[0])
    root, signer, issuer = _fixed_key("root"), _fixed_key("signer"), _fixed_key("issuer")
    page = KeyPage(
        base=0,
        version=1,
        more=False,
        issued_ms=milliseconds(ERAS[0]),
        issuers=(IssuerKey(key=made.issuer_id, public=_raw(issuer)),),
        signers=(SignerKey(key=made.signer_id, public=_raw(signer)),),
    )
    return replace(
        made,
        root_public=_raw(root),
        signer_key=signer,
        issuer_key=issuer,
        key_page=page,
        key_page_signed=sign_answer(page, ROOT_SIGNER, root),
    )


def _migrate_kiosk(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, load_migrations())
    connection.close()


def _settle_town(
    connection: Connection, keyring: Keyring, issuer: Issuer, now: datetime
) -> tuple[tuple[Identity, ...], tuple[Credentials, ...]]:
    merchant = Merchant(id="acme-shops", tenant=TENANT, name="Acme S.p.A.")
    programme = Programme(id=PROGRAMME, tenant=TENANT, name="Club", unit=UNIT)
    create_tenant(connection, TENANT, "Acme", _fixed_bytes("naming"), now)
    create_merchant(connection, merchant, now)
    create_programme(connection, programme, now)
    for id, calendar in CALENDARS.items():
        store = Store(
            id=id,
            tenant=TENANT,
            merchant=merchant.id,
            programme=PROGRAMME,
            name=f"Acme {id}",
            zone=calendar.zone,
            cutoff_hour=calendar.cutoff_hour,
        )
        assert create_store(connection, store, now) == store
    numbers = itertools.count()

    def random(length: int) -> bytes:
        return _fixed_bytes(f"random {next(numbers)}", length)

    stores = [store for store in (ROME, YORK) for _ in range(KIOSKS_A_STORE)]
    kiosks = tuple(_provision(connection, keyring, store, now, random) for store in stores)
    people = tuple(join_member(connection, issuer, number, now) for number in range(MEMBERS_MAX + STRANGERS))
    return kiosks, people


def _provision(
    connection: Connection, keyring: Keyring, store: StoreId, now: datetime, random: Callable[[int], bytes]
) -> Identity:
    """A kiosk that went the whole way from a claim code to a certificate."""
    tls_key = ec.derive_private_key(int.from_bytes(random(31), "big") + 1, ec.SECP256R1())
    kiosk = UnclaimedKiosk(tls_key=tls_key, signing_key=Ed25519PrivateKey.from_private_bytes(random(32)))
    code = issue_claim_code(connection, keyring, store, now, random)
    assert isinstance(code, ClaimCode)
    csr_pem = kiosk.csr_pem
    claimed = claim_device(
        connection,
        secret=code.secret,
        csr_pem=csr_pem,
        signing_public=kiosk.signing_public,
        proof=kiosk.prove_claim(code.secret, csr_pem),
        now=now,
        random=random,
    )
    assert isinstance(claimed, Claimed)
    confirmed = confirm_device(connection, keyring, claimed.device.id, kiosk.fingerprint, now)
    assert isinstance(confirmed, Certificate)
    return Identity(device=claimed.device.id, store=store, signing_key=kiosk.signing_key)


def join_member(connection: Connection, issuer: Issuer, number: int, now: datetime) -> Credentials:
    """A new member with their credentials, in the caller's transaction."""
    id = MemberId(_fixed_bytes(f"member {number}", 10))
    joining = Joining(
        tenant=TENANT,
        programme=PROGRAMME,
        store=None,
        nickname=f"Member {number}" if number % 3 else None,
        language=Language.ITALIAN,
        level=DataLevel.PSEUDONYM,
        words=WORDS,
    )
    join(connection, joining, id=id, secret_digest=_fixed_bytes(f"secret {number}"), now=now)
    card = issue_card(connection, issuer, TENANT, id, now=now)
    assert isinstance(card, PrintedCard)
    if number % 2:
        return Credentials(member=id, card=card.text, phone=None)
    key = _fixed_key(f"phone {number}")
    certificate = certify_phone(connection, issuer, TENANT, id, public_key=_raw(key), now=now)
    assert isinstance(certificate, bytes)
    return Credentials(member=id, card=card.text, phone=PhoneKey(key=key, certificate=certificate))

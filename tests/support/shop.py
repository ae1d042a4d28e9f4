"""A whole shop for a test: broker, cloud and kiosks as the processes they are, on free ports in a folder of its own.

Everything is made through the real doors: `doorstep-cloud init` and `serve`, the catalogue over HTTP, each kiosk
provisioned with a claim code. Only members in bulk go straight into the database, because the page lets no more in
than a queue of people. A kiosk's processes are started one by one, so that each can be killed alone.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from cloud.cli.shop import Catalogue, Children, CloudService, Ports, fill_catalogue, find_mosquitto, provision_kiosk
from cloud.config import environment_of_child
from cloud.kit.database import open_engine, writing
from cloud.kit.keyring import load_keyring
from cloud.members.actions import Issuer, Joining, PrintedCard, issue_card, join
from cloud.members.rules import CONSENT_TEXT_VERSION, Channel, ConsentWords, Language, Member
from edge.channel.messages import StatusTold
from edge.db.reading import open_for_reading
from shared.consent import DataLevel
from shared.ids import MemberId, StoreId, TenantId
from tests.support.agent_peer import ask_status
from tests.support.mosquitto import HOST, free_port, wait_until

PROCESSES = ("agent", "capture", "vision", "link", "web")
MEMORY = Path("/dev/shm")
CLAIMS = "SELECT lower(hex(claim)) AS claim, lower(hex(member)) AS member, amount, outcome FROM claim ORDER BY seq"
PAGE = 200
JOINED_AT_ONCE = 500
START_S = 60.0


class KeptClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as a kiosk keeps it; `outcome` is the cloud's, None while it waits."""

    claim: str
    member: str
    amount: int
    outcome: str | None


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """A journal entry as the API tells it."""

    id: str
    sequence: int
    kind: str


class PostedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the journal; `next` is where it goes on."""

    items: tuple[Posted, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A member with a card."""

    member: MemberId
    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopKiosk:
    """A provisioned kiosk of the shop."""

    name: str
    home: Path
    device: str
    screen_port: int

    @property
    def database(self) -> Path:
        """Its database."""
        return self.home / "doorstep.db"

    @property
    def agent_socket(self) -> Path:
        """Where its agent listens."""
        return self.home / "run" / "agent.sock"

    @property
    def frames(self) -> Path:
        """Its newest frame."""
        return self.home / "run" / "frames"

    def process(self, role: str) -> str:
        """What the shop calls one of its processes."""
        return f"{self.name}-{role}"

    def set(self, *, camera: str = "synthetic:", width: int = 640, height: int = 360) -> None:
        """What people would set."""
        size = f"camera_width = {width}\ncamera_height = {height}\n"
        self.home.joinpath("settings.toml").write_text(f'camera = "{camera}"\n{size}screen_port = {self.screen_port}\n')

    def claims(self) -> tuple[KeptClaim, ...]:
        """The claims in its database now, oldest first; the agent may run or not."""
        if not self.database.exists():
            return ()
        database = open_for_reading(self.database)
        try:
            rows = list(database.query(CLAIMS))
        finally:
            database.close()
        return msgspec.convert(rows, tuple[KeptClaim, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopBrokerFiles:
    """What the shop's broker trusts."""

    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopBroker:
    """The shop's broker as a plain client reaches it."""

    port: int
    files: ShopBrokerFiles


class Shop:
    """A shop that is open: everything but the kiosks' processes runs once `open` returned."""

    def __init__(
        self, folder: Path, kiosks: int, database: str | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.catalogue = Catalogue(budget=10_000_000, allotment_points=100_000)
        self._ports = Ports(
            host=HOST, cloud=free_port(), broker=free_port(), screens=tuple(free_port() for _ in range(kiosks))
        )
        home = folder / "cloud"
        environment = {**environment_of_child(os.environ, home, Path(sys.executable).parent), **(variables or {})}
        self.database = database or f"sqlite:///{home / 'doorstep.db'}"
        self.children = Children(logs=folder, environment={**environment, "DOORSTEP_DATABASE": self.database})
        self.cloud = CloudService(self.children, home, self._ports)
        self.kiosks: tuple[ShopKiosk, ...] = ()
        self._api: httpx.Client | None = None
        self._guests = 0

    @property
    def api(self) -> httpx.Client:
        """The API, for somebody who may do everything."""
        assert self._api is not None, "the shop is not open"
        return self._api

    @property
    def broker_place(self) -> tuple[str, ...]:
        """The options by which a command of the cloud finds the broker."""
        return ("--broker-host", HOST, "--broker-port", str(self._ports.broker))

    @property
    def broker_reached(self) -> "ShopBroker":
        """Its broker, for a plain client."""
        return ShopBroker(port=self._ports.broker, files=ShopBrokerFiles(authority=self.cloud.authority))

    def open(self) -> None:
        """Broker and cloud serve, the catalogue is filled, the kiosks are provisioned."""
        self.cloud.start()
        self.furnish()

    def open_beside(self, *options: str) -> None:
        """What `open` does once there is an installation, with these options of `serve` for the broker."""
        serve = ["doorstep-cloud", "serve", "--host", HOST, "--port", str(self._ports.cloud), "--name", HOST]
        self.children.start("cloud", [*serve, *options])
        wait_until(self._is_cloud_there, "the cloud serves", START_S)
        self.cloud.token_file.write_text(self.ask("doorstep-cloud", "admin", "token", "--name", "shop").strip())
        self.furnish()

    def _is_cloud_there(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self._ports.cloud), timeout=1):
            return True
        return False

    def furnish(self) -> None:
        """The catalogue of a cloud that serves is filled, the kiosks are provisioned."""
        self._api = self.cloud.open_api(as_admin=True)
        fill_catalogue(self._api, self.catalogue)
        with ThreadPoolExecutor() as technicians:
            self.kiosks = tuple(technicians.map(self._provision, range(len(self._ports.screens))))

    def close(self) -> None:
        """Nothing of it runs any more."""
        self.children.stop_all()
        if self._api is not None:
            self._api.close()

    def add_kiosk(self, store: str) -> ShopKiosk:
        """One more kiosk, provisioned for that store of the catalogue."""
        kiosk = self._provision_at(len(self.kiosks), store, free_port())
        self.kiosks = (*self.kiosks, kiosk)
        return kiosk

    def _provision(self, number: int) -> ShopKiosk:
        return self._provision_at(number, self.catalogue.store, self._ports.screens[number])

    def _provision_at(self, number: int, store: str, screen_port: int) -> ShopKiosk:
        name = f"kiosk-{number + 1}"
        home = self.folder / name
        device = provision_kiosk(self.children, self.api, home=home, cloud=self.cloud.address, store=store)
        kiosk = ShopKiosk(name=name, home=home, device=device, screen_port=screen_port)
        kiosk.set()
        return kiosk

    # --- processes --------------------------------------------------------------------------------------------------

    def start(self, kiosk: ShopKiosk, *roles: str) -> None:
        """Starts processes of a kiosk, all of them when none is named."""
        for role in roles or PROCESSES:
            command = [sys.executable, "-m", "edge.app", role, str(kiosk.home), str(kiosk.home / "run")]
            self.children.start(kiosk.process(role), command)

    def end_kiosks(self) -> None:
        """Whatever runs of the kiosks ends in order."""
        self.children.stop(*(name for name in self.children.running if name.startswith("kiosk-")))

    def mend(self) -> None:
        """Broker and cloud run, whatever a test did to them."""
        if not self.cloud.broker.is_up:
            self.cloud.broker.join()
        if "cloud" not in self.children.running:
            self.cloud.serve()

    def await_ready(self) -> None:
        """Returns once every kiosk whose agent and link were started has been told all it needs to grant."""
        wait_until(lambda: all(map(_may_grant, self.kiosks)), "the kiosks may grant", START_S)

    def read_log(self, name: str) -> str:
        """What a process said so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def ask(self, *command: str) -> str:
        """What one of our commands prints. Raises: ShopFailed when its exit code is not 0."""
        return self.children.ask(command)

    def status(self, kiosk: ShopKiosk) -> StatusTold:
        """What `doorstep-edge status --json` says."""
        return msgspec.json.decode(
            self.ask("doorstep-edge", "status", "--json", "--home", str(kiosk.home)), type=StatusTold
        )

    # --- members and the ledger -------------------------------------------------------------------------------------

    def enrol(self, count: int) -> list[Guest]:
        """New members with a card each."""
        keyring = load_keyring(self.cloud.home / "keys")
        issuer = Issuer(id=keyring.issuer_id, key=keyring.issuer_key)
        engine = open_engine(self.database)
        guests: list[Guest] = []
        try:
            while len(guests) < count:
                with writing(engine) as connection:
                    for _ in range(min(JOINED_AT_ONCE, count - len(guests))):
                        self._guests += 1
                        member = MemberId(self._guests.to_bytes(10, "big"))
                        joining, now = self._joining(self._guests), datetime.now(UTC)
                        digest = hashlib.sha256(member).digest()
                        assert isinstance(join(connection, joining, id=member, secret_digest=digest, now=now), Member)
                        card = issue_card(connection, issuer, joining.tenant, member, now=now)
                        assert isinstance(card, PrintedCard)
                        guests.append(Guest(member=member, card=card.text))
        finally:
            engine.dispose()
        return guests

    def _joining(self, number: int) -> Joining:
        words = ConsentWords(text_version=CONSENT_TEXT_VERSION, language=Language.ENGLISH, channel=Channel.COUNTER)
        return Joining(
            tenant=TenantId(self.catalogue.tenant),
            programme=self.catalogue.programme,
            store=StoreId(self.catalogue.store),
            nickname=f"Guest {number}",
            language=Language.ENGLISH,
            level=DataLevel.PSEUDONYM,
            words=words,
        )

    def grants(self) -> list[str]:
        """The claims the ledger has posted, in the order of its journal."""
        found: list[str] = []
        after: str | None = None
        while True:
            given = {} if after is None else {"cursor": after}
            parameters: dict[str, str | int] = {"tenant": self.catalogue.tenant, "limit": PAGE, **given}
            answer = self.api.get("/v1/ledger/entries", params=parameters).raise_for_status()
            page = msgspec.json.decode(answer.content, type=PostedPage)
            found += [entry.id for entry in page.items if entry.kind in ("grant_daily", "grant_late")]
            if page.next is None:
                return found
            after = page.next

    def settle(self, within_s: float) -> None:
        """Returns once every kiosk is on the line and has a receipt for everything it wrote."""
        wait_until(self._is_settled, "the kiosks settle", within_s)

    def _is_settled(self) -> bool:
        self.assert_all_run()
        return all(map(_is_settled, self.kiosks))

    def assert_all_run(self) -> None:
        """No process ended by itself."""
        ended = self.children.ended()
        assert ended is None, f"{ended} ended by itself: {self.read_log(ended)[-2000:]}"


def _is_settled(kiosk: ShopKiosk) -> bool:
    told = ask_status(kiosk.agent_socket)
    return told is not None and told.online and told.outbox_waiting == 0


def _may_grant(kiosk: ShopKiosk) -> bool:
    told = ask_status(kiosk.agent_socket)
    return told is not None and told.policy_version > 0 and told.allotment_left > 0 and told.business_day is not None


def no_shop() -> str | None:
    """Why there can be no shop here, or None."""
    return None if shutil.which(find_mosquitto()) else "mosquitto is not installed (apt install mosquitto)"


@contextlib.contextmanager
def open_shop(kiosks: int = 2, database: str | None = None, **variables: str) -> Iterator[Shop]:
    """A shop whose kiosks are provisioned and not started; gone with its folder at the end. Skips without Mosquitto.

    `database` is the cloud's, None for SQLite in the same folder. Its programs run with these environment variables,
    too.
    """
    reason = no_shop()
    if reason is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="ds-shop-") as folder:
        shop = Shop(Path(folder), kiosks, database, variables)
        try:
            shop.open()
            yield shop
        finally:
            shop.close()


def verify_all(shop: Shop) -> None:
    """The ledger is sound and so is every kiosk's database. Raises: ShopFailed."""
    shop.ask("doorstep-cloud", "verify")
    for kiosk in shop.kiosks:
        shop.ask("doorstep-edge", "db", "verify", "--home", str(kiosk.home))


def claims_of(kiosks: Sequence[ShopKiosk]) -> set[str]:
    """The claims that these kiosks keep."""
    return {claim.claim for kiosk in kiosks for claim in kiosk.claims()}

"""The member page on a real HTTPS listener beside a test, and its pictures for the documents:
`python -m tests.browser.member_stand docs/screens`.
"""

import base64
import hashlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy import Engine

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant
from cloud.catalogue.rules import Merchant, Programme, Store
from cloud.kit.database import open_engine, writing
from cloud.kit.keyring import KeyFiles, Keyring, create_keyring
from cloud.kit.problems import install_problems
from cloud.kit.services import Services
from cloud.kit.upgrade import upgrade
from cloud.ledger.actions import post
from cloud.ledger.rules import EntryDraft, EntryKind, Posting, issuance_account, member_account
from cloud.members import page as member_page
from cloud.members.api import router
from shared.ids import MemberId, StoreId, TenantId, parse_member
from tests.support.chromium import FLAGS, PROGRAM

TENANT = TenantId("aurora")
PROGRAMME = "bottega-aurora"
STORE = StoreId("bottega-aurora-centro")
UNIT = "PT:consumption"
PHONE = (390, 844)
START_S = 20


@dataclass(slots=True, kw_only=True)
class MemberStand:
    """The running page. `clock_shift` moves the cloud's clock away from the machine's."""

    url: str
    engine: Engine
    keyring: Keyring
    server_certificate: x509.Certificate
    clock_shift: timedelta = timedelta(0)

    def now(self) -> datetime:
        """The instant in the cloud."""
        return datetime.now(UTC) + self.clock_shift

    @property
    def join_url(self) -> str:
        """Where the code at the entrance leads."""
        return f"{self.url}/join?programme={PROGRAMME}&store={STORE}"

    def give(self, member: MemberId, points: int) -> None:
        """The member has that many points more."""
        target, source = member_account(TENANT, member, UNIT), issuance_account(TENANT, UNIT)
        legs = (Posting(account=target, amount=points), Posting(account=source, amount=-points))
        draft = EntryDraft(
            id=os.urandom(16), tenant=TENANT, kind=EntryKind.MINT, effective_at=self.now(), postings=legs
        )
        with writing(self.engine) as connection:
            post(connection, [draft], recorded_at=self.now())


@contextmanager
def member_stand() -> Iterator[MemberStand]:
    """A cloud with one programme and one store, its API and its member page on https://localhost."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ds-page-", dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        keyring = create_keyring(folder / "keys", ["localhost"], datetime.now(UTC))
        engine = open_engine(f"sqlite:///{folder / 'cloud.db'}")
        upgrade(engine)
        _fill_catalogue(engine)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://localhost:{listener.getsockname()[1]}"
            keys = KeyFiles(folder=folder / "keys")
            certificate = x509.load_pem_x509_certificate(keys.server_certificate.read_bytes())
            stand = MemberStand(url=url, engine=engine, keyring=keyring, server_certificate=certificate)
            with _serving(stand, keys, listener):
                yield stand
        engine.dispose()


@contextmanager
def trusting_chromium(stand: MemberStand) -> Iterator[Browser]:
    """A headless browser that trusts this one server's key, as a phone trusts a cloud with a proper certificate.

    Playwright's `ignore_https_errors` would not do: it lets pages in, but no service worker.
    """
    spki = stand.server_certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    flags = (*FLAGS, f"--ignore-certificate-errors-spki-list={pin}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def open_phone(browser: Browser, *, language: str = "en", size: tuple[int, int] = PHONE) -> BrowserContext:
    """A phone of its own, with nothing kept and nobody's traces."""
    return browser.new_context(
        ignore_https_errors=True,  # for what Playwright itself fetches
        locale="it-IT" if language == "it" else "en-GB",
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        reduced_motion="reduce",
        timezone_id="Europe/Rome",
    )


def join(page: Page, stand: MemberStand, nickname: str = "Giulia") -> None:
    """Joins as anybody would; returns when the first code is drawn."""
    page.goto(stand.join_url)
    page.locator("#join-nickname").fill(nickname)
    page.locator("#join-form button").click()
    page.locator("#code[data-step]").wait_for()


@contextmanager
def _serving(stand: MemberStand, files: KeyFiles, listener: socket.socket) -> Iterator[None]:
    services = Services(engine=stand.engine, keyring=stand.keyring, clock=stand.now, random=os.urandom)
    app = FastAPI()
    install_problems(app)
    app.include_router(router(services))
    app.include_router(member_page.router())
    config = uvicorn.Config(
        app, ssl_certfile=files.server_certificate, ssl_keyfile=files.server_key, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert server.started
        yield
    finally:
        server.should_exit = True
        thread.join()


def _fill_catalogue(engine: Engine) -> None:
    now = datetime.now(UTC)
    merchant = Merchant(id="aurora-srl", tenant=TENANT, name="Aurora S.r.l.")
    programme = Programme(id=PROGRAMME, tenant=TENANT, name="Bottega Aurora", unit=UNIT)
    store = Store(
        id=STORE,
        tenant=TENANT,
        merchant=merchant.id,
        programme=PROGRAMME,
        name="Via Garibaldi 8",
        zone="Europe/Rome",
        cutoff_hour=4,
    )
    with writing(engine) as connection:
        create_tenant(connection, TENANT, "Aurora", bytes(32), now)
        create_merchant(connection, merchant, now)
        create_programme(connection, programme, now)
        assert create_store(connection, store, now) == store


def _take_pictures(browser: Browser, stand: MemberStand, language: str, folder: Path) -> None:
    with open_phone(browser, language=language) as phone:
        page = phone.new_page()
        page.goto(stand.join_url)
        page.locator("#join-form button").wait_for()
        page.screenshot(path=folder / f"member-join-{language}.png", full_page=True)
        join(page, stand)
        id = page.evaluate("async () => (await import('/member/keep.js')).load().then((kept) => kept.me.member)")
        stand.give(_member(id), 1240)
        page.locator("#balance", has_text="240").wait_for()
        page.screenshot(path=folder / f"member-code-{language}.png")
        page.locator("nav [data-to=card]").click()
        page.locator("#card-make").click()
        page.locator("#paper-code svg").wait_for()
        page.locator("#toast:empty").wait_for(state="attached")
        page.screenshot(path=folder / f"member-card-{language}.png")
        page.locator("nav [data-to=data]").click()
        page.locator("#history li").first.wait_for()
        page.screenshot(path=folder / f"member-data-{language}.png")


def _member(text: str) -> MemberId:
    member = parse_member(text)
    assert member is not None
    return member


def main(folder: Path) -> None:
    """Writes the pictures in both languages."""
    with member_stand() as stand, trusting_chromium(stand) as browser:
        for language in ("en", "it"):
            _take_pictures(browser, stand, language, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

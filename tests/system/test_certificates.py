"""Certificates that live seconds, in a shop of real processes: renewed under load, after their end, and refused.

Twenty seconds stand for the ninety days: a renewal falls due after some thirteen of them.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from edge.channel.messages import StatusTold
from edge.core.certificate import RenewalState
from tests.support.agent_peer import Doorman, ask_status
from tests.support.mosquitto import wait_until
from tests.support.shop import Guest, Shop, ShopKiosk, claims_of, open_shop

LIFE_S = 20
WAIT_S = 90.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop of two kiosks whose certificates are good for twenty seconds."""
    with open_shop(kiosks=2, DOORSTEP_CERTIFICATE_LIFE=f"{LIFE_S}s") as shop:
        yield shop


@pytest.fixture
def kiosk(shop: Shop) -> Iterator[ShopKiosk]:
    """The first kiosk, with agent and link."""
    yield start(shop, shop.kiosks[0])
    shop.end_kiosks()


def start(shop: Shop, kiosk: ShopKiosk) -> ShopKiosk:
    shop.start(kiosk, "agent", "link")
    wait_until(lambda: status(kiosk).online and status(kiosk).allotment_left > 0, "the kiosk may grant", WAIT_S)
    return kiosk


def status(kiosk: ShopKiosk) -> StatusTold:
    told: list[StatusTold] = []

    def is_told() -> bool:
        told.extend(filter(None, [ask_status(kiosk.agent_socket)]))
        return bool(told)

    wait_until(is_told, "the agent answers", WAIT_S)
    return told[-1]


def show(door: Doorman, kiosk: ShopKiosk, guests: Iterator[Guest]) -> None:
    """The next guest is served; the claim is in the database when this returns."""
    before = len(kiosk.claims())
    door.show(next(guests).card)
    wait_until(lambda: len(kiosk.claims()) == before + 1, "the guest is served", WAIT_S)


def test_renewals_under_load_lose_nothing(shop: Shop, kiosk: ShopKiosk) -> None:
    known, kept_before = set(shop.grants()), claims_of([kiosk])
    guests = iter(shop.enrol(3000))
    ends: set[str | None] = set()
    with Doorman(kiosk.agent_socket) as door:

        def is_renewed_twice() -> bool:
            show(door, kiosk, guests)
            ends.add(status(kiosk).certificate_ends)
            return len(ends - {None}) >= 3

        wait_until(is_renewed_twice, "two certificates came after the first", WAIT_S)
    wait_until(lambda: (told := status(kiosk)).online and told.outbox_waiting == 0, "all is settled", WAIT_S)
    kept = claims_of([kiosk]) - kept_before
    posted = [claim for claim in shop.grants() if claim not in known]
    assert len(kept) > 20
    assert sorted(posted) == sorted(kept)
    shop.ask("doorstep-cloud", "verify")
    shop.ask("doorstep-edge", "db", "verify", "--home", str(kiosk.home))


def test_a_shop_that_was_closed_past_the_end_of_its_certificate_settles(shop: Shop, kiosk: ShopKiosk) -> None:
    shop.children.stop(kiosk.process("link"))
    old = certificate_end(shop, kiosk)
    guests = iter(shop.enrol(5))
    with Doorman(kiosk.agent_socket) as door:
        for _ in range(5):
            show(door, kiosk, guests)
    wait_until(lambda: datetime.now(UTC) > old, "the certificate ends", WAIT_S)
    assert status(kiosk).outbox_waiting >= 5
    shop.start(kiosk, "link")
    wait_until(lambda: (told := status(kiosk)).online and told.outbox_waiting == 0, "all is settled", WAIT_S)
    assert certificate_end(shop, kiosk) > old
    assert claims_of([kiosk]) <= set(shop.grants())


def test_a_revoked_kiosk_renews_neither_before_nor_after_the_end(shop: Shop) -> None:
    kiosk = start(shop, shop.kiosks[1])
    shop.ask("doorstep-cloud", "devices", "revoke", kiosk.device)
    end = certificate_end(shop, kiosk)

    def is_refused() -> bool:
        told = status(kiosk)
        return told.renewal is RenewalState.FAILED and told.renewal_reason == "The device was revoked"

    wait_until(is_refused, "a renewal is refused", WAIT_S)
    shop.children.stop(kiosk.process("link"))
    wait_until(lambda: datetime.now(UTC) > end, "the certificate ends", WAIT_S)
    shop.start(kiosk, "link")
    wait_until(is_refused, "a renewal is refused after the end, too", WAIT_S)
    assert not status(kiosk).online
    assert certificate_end(shop, kiosk) == end, "the cloud made no other"
    shop.end_kiosks()


def certificate_end(shop: Shop, kiosk: ShopKiosk) -> datetime:
    """Until when the newest certificate is good, as `doorstep-cloud devices list` says."""
    lines = map(json.loads, shop.ask("doorstep-cloud", "devices", "list", "--json").splitlines())
    return next(datetime.fromisoformat(line["certificate_expires_at"]) for line in lines if line["id"] == kiosk.device)

"""The broker dies in the middle of a rush and comes back knowing nothing; the kiosks go on granting meanwhile."""

from contextlib import ExitStack
from typing import Self

import pytest

from tests.support.agent_peer import Doorman, Watcher, ask_status
from tests.support.mosquitto import wait_until
from tests.support.shop import Guest, Shop, ShopKiosk, claims_of, verify_all

pytestmark = pytest.mark.timeout(300)

BEFORE, ALONE, BOTH_DOORS, AFTER = 10, 40, 15, 10
GREETED_S = 20.0
SETTLE_S = 120.0  # a kiosk that lost its line looks for it at growing, random intervals, a minute at most


class Door:
    """A kiosk with somebody who shows it codes and somebody who watches its screen."""

    def __init__(self, kiosk: ShopKiosk) -> None:
        self.kiosk = kiosk
        self.doorman = Doorman(kiosk.agent_socket)
        self.watcher = Watcher(kiosk.agent_socket)

    def serve(self, guests: list[Guest]) -> None:
        """They come one after the other and each is greeted."""
        for guest in guests:
            before = len(self.watcher.claims)
            self.doorman.show(guest.card)
            self._await_more_than(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.doorman.close()
        self.watcher.close()

    def _await_more_than(self, before: int) -> None:
        wait_until(lambda: len(self.watcher.claims) > before, f"{self.kiosk.name} greets", GREETED_S)

    def is_online(self) -> bool:
        """What its screen says."""
        told = ask_status(self.kiosk.agent_socket)
        assert told is not None
        return told.online


def test_a_broker_that_dies_and_comes_back_empty_costs_nobody_a_point(shop: Shop) -> None:
    for kiosk in shop.kiosks:
        shop.start(kiosk, "agent", "link")
    shop.await_ready()
    shop.settle(SETTLE_S)
    with ExitStack() as stack:
        _cut_and_join(shop, [stack.enter_context(Door(kiosk)) for kiosk in shop.kiosks])


def _cut_and_join(shop: Shop, doors: list[Door]) -> None:
    known = set(shop.grants())
    guests = shop.enrol(BEFORE + ALONE + AFTER)
    before, alone, after = guests[:BEFORE], guests[BEFORE:-AFTER], guests[-AFTER:]

    doors[0].serve(before)
    shop.cloud.broker.crash()
    doors[0].serve(alone[: ALONE // 2 + BOTH_DOORS])
    doors[1].serve(alone[ALONE // 2 :])
    wait_until(lambda: not any(door.is_online() for door in doors), "both screens say that the line is down", 30)
    waiting = [shop.status(door.kiosk).outbox_waiting for door in doors]
    assert waiting[0] >= ALONE // 2 + BOTH_DOORS
    assert waiting[1] == ALONE // 2
    assert len(set(shop.grants()) - known) <= BEFORE

    shop.cloud.broker.join()
    doors[1].serve(after)
    shop.settle(SETTLE_S)

    granted = [claim for claim in shop.grants() if claim not in known]
    assert len(granted) == len(set(granted)) == len(guests)
    assert set(granted) == claims_of(shop.kiosks) - known == doors[0].watcher.claims | doors[1].watcher.claims
    outcomes = [claim.outcome for kiosk in shop.kiosks for claim in kiosk.claims() if claim.claim in granted]
    assert outcomes.count("posted") == len(guests)
    assert outcomes.count("exists") == len(outcomes) - len(guests) == BOTH_DOORS, "twice at a door, once in the ledger"
    verify_all(shop)

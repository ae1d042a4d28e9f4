"""Many kiosks at one cloud that has several workers: everything settles once, whichever worker takes it or dies."""

import json
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from tests.support.shop import Shop, open_shop

WORKERS = (2, 3)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What `simulate-fleet --json` prints, as far as it matters here."""

    kiosks: int
    claims: int
    posted: int
    lost: int
    doubled: int
    sound: bool


@pytest.fixture(scope="module")
def chain() -> Iterator[Shop]:
    """A cloud with its broker and two further workers; no kiosk of its own."""
    with open_shop(kiosks=0) as shop:
        for number in WORKERS:
            start(shop, number)
        yield shop


def start(shop: Shop, number: int) -> None:
    """A further worker runs and is at the broker."""
    command = ("doorstep-cloud", "work", "--number", str(number), *shop.broker_place)
    shop.children.start(f"worker-{number}", command)
    deadline_s = time.monotonic() + 30
    while "the broker is here" not in shop.read_log(f"worker-{number}"):
        assert time.monotonic() < deadline_s, shop.read_log(f"worker-{number}")
        time.sleep(0.05)


def simulate(shop: Shop, *options: str) -> Said:
    """What the command said."""
    told = shop.ask("doorstep-cloud", "simulate-fleet", "--json", *shop.broker_place, *options)
    return msgspec.json.decode(told, type=Said)


def test_a_fleet_that_comes_back_settles_once(chain: Shop) -> None:
    said = simulate(chain, "--kiosks", "24", "--queued", "20", "--cut", "0.5", "--spread", "1")
    assert said == Said(kiosks=24, claims=480, posted=480, lost=0, doubled=0, sound=True)
    for number in WORKERS:
        chain.children.stop(f"worker-{number}")
        handled = [json.loads(line) for line in chain.read_log(f"worker-{number}").splitlines()][-1]
        assert handled["event"] == "the worker ends"
        assert handled["batches"] > 0, "a worker that was given nothing shows nothing"
        start(chain, number)


def test_a_worker_that_dies_in_the_storm_loses_nothing(chain: Shop) -> None:
    killed = threading.Timer(4.0, lambda: chain.children.kill("worker-2"))
    killed.start()
    try:
        said = simulate(chain, "--kiosks", "24", "--queued", "40", "--cut", "0.5", "--spread", "6")
    finally:
        killed.join()
    assert (said.posted, said.lost, said.doubled, said.sound) == (960, 0, 0, True)
    start(chain, 2)

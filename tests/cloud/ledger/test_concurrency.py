"""Real threads and processes hammer one hot account: no point is lost, made or granted twice, and nobody deadlocks."""

import multiprocessing
from collections import Counter
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat

import pytest
from sqlalchemy import Engine

from cloud.kit.database import open_engine, reading, writing
from cloud.ledger.actions import post
from cloud.ledger.queries import balance_of
from cloud.ledger.rules import Posted
from cloud.ledger.verify import verify
from shared.ids import TenantId
from tests.cloud.ledger.world import ANNA, BRUNO, KIOSK, NOON, allotment, grant, mint, wallet

WRITERS = 4
CLAIMS = 60  # each tried by every writer, in an order of its own
ALLOTTED = 40  # points, one a claim: a third of the claims finds the kiosk empty


def _hammer(url: str, writer: int) -> Counter[str]:
    """What became of the drafts of one writer, posted in small batches through an engine of its own."""
    engine = open_engine(url)
    outcomes: Counter[str] = Counter()
    numbers = [(number * (2 * writer + 1) + 7 * writer) % CLAIMS for number in range(CLAIMS)]
    for start in range(0, CLAIMS, 4):
        drafts = [grant(100 + n, 1, ANNA if n % 2 else BRUNO) for n in numbers[start : start + 4]]
        elsewhere = TenantId(f"tenant{(writer + start) % 3}")  # batches that lock several chains, in any order
        with writing(engine) as connection:
            done = post(connection, [*drafts, mint(1000 * writer + start, 1, elsewhere)], recorded_at=NOON)
        outcomes.update(type(outcome).__name__ for outcome in done[:-1])
        assert isinstance(done[-1], Posted)
    engine.dispose()
    return outcomes


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_writers_on_one_hot_account(engine: Engine, database_url: str, kind: str) -> None:
    with writing(engine) as connection:
        post(connection, [mint(1, 1000), allotment(1, ALLOTTED)], recorded_at=NOON)
    with _executor(kind) as executor:
        outcomes = sum(executor.map(_hammer, repeat(database_url), range(WRITERS)), Counter[str]())
    assert outcomes["Posted"] == ALLOTTED
    assert outcomes["Conflict"] == 0
    assert sum(outcomes.values()) == WRITERS * CLAIMS
    with reading(engine) as connection:
        assert verify(connection) == ()
        balances = [balance_of(connection, key) for key in (KIOSK, wallet(ANNA), wallet(BRUNO))]
    amounts = [balance.amount for balance in balances if balance is not None]
    assert (amounts[0], sum(amounts)) == (0, ALLOTTED)


def _executor(kind: str) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(WRITERS)
    return ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn"))

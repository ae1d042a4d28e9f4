"""Posting: what each draft becomes, alone and in a batch, on both databases."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from cloud.kit.database import reading, writing
from cloud.ledger.actions import post
from cloud.ledger.queries import balance_of, balances_of, entries
from cloud.ledger.rules import (
    AMOUNT_MAX,
    Conflict,
    EntryDraft,
    EntryKind,
    Exists,
    LimitExceeded,
    Outcome,
    Posted,
    issuance_account,
)
from cloud.ledger.tables import journal_entry, posting
from cloud.ledger.verify import verify
from shared.ids import MemberId, TenantId
from tests.cloud.ledger.world import (
    ANNA,
    BRUNO,
    BUDGET,
    KIOSK,
    NOON,
    TENANT,
    UNIT,
    allotment,
    entry_id,
    grant,
    mint,
    wallet,
)


def put(engine: Engine, *drafts: EntryDraft) -> tuple[Outcome, ...]:
    with writing(engine) as connection:
        return post(connection, drafts, recorded_at=NOON)


def held(engine: Engine, member: MemberId) -> int:
    with reading(engine) as connection:
        balance = balance_of(connection, wallet(member))
    return 0 if balance is None else balance.amount


def count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(journal_entry)).scalar_one()


def test_points_flow_from_issuance_to_the_member(engine: Engine) -> None:
    outcomes = put(engine, mint(1, 100), allotment(1, 60), grant(2, 5))
    assert [type(outcome) for outcome in outcomes] == [Posted] * 3
    last = outcomes[-1]
    assert isinstance(last, Posted)
    assert [(b.account, b.amount, b.version) for b in last.balances] == [(KIOSK, 55, 2), (wallet(ANNA), 5, 1)]
    issuance = issuance_account(TENANT, UNIT)
    with reading(engine) as connection:
        balances = balances_of(connection, [issuance, BUDGET, KIOSK, wallet(ANNA), wallet(BRUNO)])
        assert verify(connection) == ()
    assert {key: balance.amount for key, balance in balances.items()} == {
        issuance: 100,
        BUDGET: 40,
        KIOSK: 55,
        wallet(ANNA): 5,
    }


def test_nothing_to_post_is_nothing_done(engine: Engine) -> None:
    assert put(engine) == ()


def test_the_same_entry_twice_is_once(engine: Engine) -> None:
    first = put(engine, mint(1, 100), allotment(1, 60), grant(2, 5))
    again = put(engine, mint(1, 100), allotment(1, 60), grant(2, 5))
    assert [outcome.sequence for outcome in first if isinstance(outcome, Posted)] == [1, 2, 3]
    assert again == (
        Exists(id=entry_id(1), sequence=1),
        Exists(id=allotment(1, 60).id, sequence=2),
        Exists(id=entry_id(2), sequence=3),
    )
    assert (count(engine), held(engine, ANNA)) == (3, 5)


@pytest.mark.parametrize(
    "changed",
    [
        grant(2, 6),
        grant(2, 5, BRUNO),
        replace(grant(2, 5), reason="again"),
        replace(grant(2, 5), kind=EntryKind.MINT),
        replace(grant(2, 5), effective_at=NOON.replace(microsecond=1)),
    ],
)
def test_another_body_under_a_known_id_changes_nothing(engine: Engine, changed: EntryDraft) -> None:
    put(engine, mint(1, 100), allotment(1, 60), grant(2, 5))
    assert put(engine, changed) == (Conflict(id=entry_id(2), sequence=3),)
    assert (count(engine), held(engine, ANNA), held(engine, BRUNO)) == (3, 5, 0)


def test_repeats_inside_one_batch(engine: Engine) -> None:
    outcomes = put(engine, mint(1, 100), allotment(1, 60), grant(2, 5), grant(2, 5), grant(2, 7))
    assert outcomes[3:] == (Exists(id=entry_id(2), sequence=3), Conflict(id=entry_id(2), sequence=3))
    assert held(engine, ANNA) == 5


def test_a_limit_holds_after_every_entry_and_stops_no_other(engine: Engine) -> None:
    outcomes = put(engine, mint(1, 10), allotment(1, 10), grant(2, 6), grant(3, 5), grant(4, 4, BRUNO), grant(5, 1))
    assert outcomes[3] == LimitExceeded(id=entry_id(3), account=KIOSK, balance=4, amount=-5)
    assert isinstance(outcomes[4], Posted)
    assert outcomes[5] == LimitExceeded(id=entry_id(5), account=KIOSK, balance=0, amount=-1)
    assert (held(engine, ANNA), held(engine, BRUNO)) == (6, 4)


def test_what_failed_its_limit_may_succeed_later(engine: Engine) -> None:
    assert isinstance(put(engine, mint(1, 10), grant(2, 5))[1], LimitExceeded)
    assert isinstance(put(engine, allotment(1, 10), grant(2, 5))[1], Posted)


def test_what_failed_its_limit_may_succeed_in_the_same_batch(engine: Engine) -> None:
    outcomes = put(engine, grant(2, 5), mint(1, 10), allotment(1, 10), grant(2, 5))
    assert [type(outcome) for outcome in outcomes] == [LimitExceeded, Posted, Posted, Posted]


def test_an_unopened_account_has_nothing_to_give(engine: Engine) -> None:
    assert put(engine, allotment(1, 1)) == (LimitExceeded(id=allotment(1, 1).id, account=BUDGET, balance=0, amount=-1),)
    assert count(engine) == 0


def test_a_balance_never_leaves_the_column(engine: Engine) -> None:
    """4,612 entries of 10^15 would pass 2^62; the limit speaks before the database would."""
    outcomes = put(engine, *(mint(number, AMOUNT_MAX) for number in range(4700)))
    assert isinstance(outcomes[4610], Posted)
    assert all(isinstance(outcome, LimitExceeded) for outcome in outcomes[4611:])


def test_a_transaction_rolled_back_leaves_no_trace(engine: Engine) -> None:
    class PowerCut(Exception):
        """The moment before the commit."""

    def interrupted() -> None:
        with writing(engine) as connection:
            post(connection, [mint(1, 10)], recorded_at=NOON)
            raise PowerCut

    with pytest.raises(PowerCut):
        interrupted()
    assert count(engine) == 0
    assert isinstance(put(engine, mint(1, 10))[0], Posted)
    with reading(engine) as connection:
        assert verify(connection) == ()


def test_tenants_have_chains_of_their_own(engine: Engine) -> None:
    butchers = TenantId("butchers")
    outcomes = put(engine, mint(1, 10), mint(1, 20, butchers), mint(2, 30), mint(2, 40, butchers))
    assert [outcome.sequence for outcome in outcomes if isinstance(outcome, Posted)] == [1, 1, 2, 2]
    with reading(engine) as connection:
        assert [entry.sequence for entry in entries(connection, butchers, limit=10)] == [1, 2]
        assert verify(connection) == ()


CHANGES = {
    "sqlite": ("INSERT OR REPLACE INTO {table} SELECT * FROM {table}",),
    "postgresql": ("TRUNCATE {table} CASCADE",),
}


@pytest.mark.parametrize("table", ["journal_entry", "posting"])
def test_what_is_recorded_cannot_be_changed(engine: Engine, table: str) -> None:
    put(engine, mint(1, 10))
    for change in ("UPDATE {table} SET sequence = 2", "DELETE FROM {table}", *CHANGES[engine.dialect.name]):
        with pytest.raises(DBAPIError, match="is insert-only"), writing(engine) as connection:
            connection.execute(text(change.format(table=table)))
    assert count(engine) == 1


def test_the_database_itself_refuses_an_overdraft(engine: Engine) -> None:
    put(engine, mint(1, 10))
    with pytest.raises(DBAPIError, match="ck_account_floor"), writing(engine) as connection:
        connection.execute(text("UPDATE account SET balance = -1 WHERE code = 2010"))


def test_the_database_itself_refuses_another_tenants_account(engine: Engine) -> None:
    put(engine, mint(1, 10), mint(1, 10, TenantId("butchers")))
    row = posting.insert().values(
        tenant="butchers", sequence=1, leg=7, account=BUDGET.id, amount=1, previous_balance=0, balance=1, version=1
    )
    with pytest.raises(DBAPIError, match=r"FOREIGN KEY|foreign key"), writing(engine) as connection:
        connection.execute(row)


def test_a_reading_transaction_cannot_post(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match=r"readonly|read-only"), reading(engine) as connection:
        post(connection, [mint(1, 10)], recorded_at=NOON)


# -- against an oracle that knows nothing of the implementation ----------------------------------------------------


class Oracle:
    """The ledger as a person with paper would keep it: a list of entries and a sum for each account."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, EntryDraft] = {}
        self.sums: dict[tuple[int, str], int] = {}

    def post(self, draft: EntryDraft) -> type[Outcome]:
        if draft.id in self.bodies:
            return Exists if self.bodies[draft.id] == draft else Conflict
        after = {
            (int(leg.account.code), leg.account.subject): self.sums.get((int(leg.account.code), leg.account.subject), 0)
            + leg.amount
            for leg in draft.postings
        }
        if any(total < 0 and code != 1000 for (code, _), total in after.items()):
            return LimitExceeded
        self.bodies[draft.id] = draft
        self.sums |= after
        return Posted


_tenants = iter(range(1_000_000))


def _draft(tenant: TenantId) -> st.SearchStrategy[EntryDraft]:
    numbers, amounts = st.integers(1, 12), st.integers(1, 9)
    return st.one_of(
        st.builds(lambda n, a: mint(100 + n, 5 * a, tenant), st.integers(1, 4), amounts),
        st.builds(lambda n, a: allotment(n, 3 * a, tenant), st.integers(1, 4), amounts),
        st.builds(lambda n, a, m: grant(n, a, m, tenant), numbers, amounts, st.sampled_from([ANNA, BRUNO])),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batches_do_what_the_oracle_does(engine: Engine, data: st.DataObject) -> None:
    tenant = TenantId(f"tenant{next(_tenants)}")
    oracle = Oracle()
    for batch in data.draw(st.lists(st.lists(_draft(tenant), max_size=12), max_size=4)):
        assert [type(outcome) for outcome in put(engine, *batch)] == [oracle.post(draft) for draft in batch]
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT code, subject, balance FROM account WHERE tenant = :t"), {"t": tenant})
        assert {(code, subject): balance for code, subject, balance in rows} == oracle.sums
        assert sum(oracle.sums.values()) == 0
        journal = entries(connection, tenant, limit=100)
        assert {entry.id for entry in journal} == set(oracle.bodies)


def test_both_ways_to_batch_end_alike(engine: Engine) -> None:
    """One at a time or all at once: the same chain, byte for byte, on either database."""
    alone, together = TenantId("alone"), TenantId("together")
    drafts = [
        (mint(1, 50, t), allotment(1, 20, t), grant(2, 5, ANNA, t), grant(3, 5, BRUNO, t)) for t in (alone, together)
    ]
    for draft in drafts[0]:
        put(engine, draft)
    put(engine, *drafts[1])
    with reading(engine) as connection:
        first, second = (
            [(e.id[-1], e.sequence, [leg.amount for leg in e.postings]) for e in entries(connection, t, limit=9)]
            for t in (alone, together)
        )
        digests = [entry.digest.hex() for entry in entries(connection, alone, limit=9)]
    assert [row[1:] for row in first] == [row[1:] for row in second]
    assert digests[-1] == "5eead75fde2d693909999a6f6713bb5d73e5886283d0876e7ecde7e764c78034"

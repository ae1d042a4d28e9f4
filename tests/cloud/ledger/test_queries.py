"""What members, statements and trial balances read from a small ledger."""

import pytest
from sqlalchemy import Engine

from cloud.kit.database import reading, writing
from cloud.ledger.actions import post
from cloud.ledger.queries import balance_of, balances_of, balances_of_member, entries, statement, totals_by_code
from cloud.ledger.rules import AccountKey, Code, EntryDraft, EntryKind, Posting, issuance_account
from shared.ids import TenantId
from tests.cloud.ledger.world import ANNA, BRUNO, NOON, TENANT, UNIT, allotment, entry_id, grant, mint, wallet

GUIDE = "PT:guide"


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    """Anna has consumption points, guide points and pending ones; Bruno has consumption points."""
    anna = wallet(ANNA).subject
    others = [
        AccountKey(tenant=TENANT, code=Code.MEMBER_AVAILABLE, unit=GUIDE, subject=anna),
        AccountKey(tenant=TENANT, code=Code.MEMBER_PENDING, unit=GUIDE, subject=anna),
    ]
    gifts = [
        EntryDraft(
            id=entry_id(50 + number),
            tenant=TENANT,
            kind=EntryKind.MINT,
            effective_at=NOON,
            postings=(
                Posting(account=issuance_account(TENANT, GUIDE), amount=-3),
                Posting(account=account, amount=3),
            ),
        )
        for number, account in enumerate(others)
    ]
    with writing(engine) as connection:
        drafts = [mint(1, 100), allotment(1, 60), grant(2, 5), grant(3, 7, BRUNO), grant(4, 5), *gifts]
        post(connection, drafts, recorded_at=NOON)
    return engine


def test_all_that_a_member_has(ledger: Engine) -> None:
    with reading(ledger) as connection:
        balances = balances_of_member(connection, TENANT, ANNA)
        assert balances_of_member(connection, TenantId("butchers"), ANNA) == ()
    assert [(b.account.code, b.account.unit, b.amount, b.version) for b in balances] == [
        (Code.MEMBER_PENDING, GUIDE, 3, 1),
        (Code.MEMBER_AVAILABLE, UNIT, 10, 2),
        (Code.MEMBER_AVAILABLE, GUIDE, 3, 1),
    ]


def test_balances_of_accounts_nobody_used(ledger: Engine) -> None:
    with reading(ledger) as connection:
        assert balance_of(connection, AccountKey(tenant=TENANT, code=Code.BREAKAGE, unit=UNIT, subject="")) is None
        assert balances_of(connection, []) == {}
        assert {key.subject: b.amount for key, b in balances_of(connection, [wallet(ANNA), wallet(BRUNO)]).items()} == {
            wallet(ANNA).subject: 10,
            wallet(BRUNO).subject: 7,
        }


def test_a_statement_opens_moves_and_closes(ledger: Engine) -> None:
    with reading(ledger) as connection:
        lines = statement(connection, wallet(ANNA), limit=10)
        issued = statement(connection, issuance_account(TENANT, UNIT), limit=10)
        assert statement(connection, wallet(ANNA), limit=10, before=2) == lines[1:]
    assert [(line.sequence, line.amount, line.balance, line.version) for line in lines] == [(5, 5, 10, 2), (3, 5, 5, 1)]
    assert [(line.amount, line.balance) for line in issued] == [(100, 100)]


def test_the_journal_in_order(ledger: Engine) -> None:
    with reading(ledger) as connection:
        found = entries(connection, TENANT, limit=2, after=3)
    assert [(entry.sequence, entry.id, entry.kind) for entry in found] == [
        (4, entry_id(3), "grant_daily"),
        (5, entry_id(4), "grant_daily"),
    ]


def test_the_trial_balance_balances(ledger: Engine) -> None:
    with reading(ledger) as connection:
        totals = totals_by_code(connection, TENANT)
    assert [(total.unit, total.code, total.accounts, total.amount) for total in totals] == [
        (UNIT, Code.ISSUANCE, 1, 100),
        (UNIT, Code.BUDGET, 1, 40),
        (UNIT, Code.KIOSK_BUDGET, 1, 43),
        (UNIT, Code.MEMBER_AVAILABLE, 2, 17),
        (GUIDE, Code.ISSUANCE, 1, 6),
        (GUIDE, Code.MEMBER_PENDING, 1, 3),
        (GUIDE, Code.MEMBER_AVAILABLE, 1, 3),
    ]

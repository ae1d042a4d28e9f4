"""Reading the ledger: balances, statements, the journal, sums. Amounts come out on each account's normal side."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, func, select

from cloud.kit.bulk import KeyedSelect
from cloud.kit.instants import from_microseconds
from cloud.ledger.rules import AccountKey, Balance, Code, on_normal_side
from cloud.ledger.tables import account, journal_entry, posting
from shared.ids import MemberId, TenantId, format_member

MEMBER_CODES = (Code.MEMBER_PENDING, Code.MEMBER_AVAILABLE, Code.MEMBER_DEBT)

_find_balances = KeyedSelect(
    account, [account.c.tenant, account.c.id], [account.c.id, account.c.balance, account.c.version]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One posting of an account: what moved, what the account held after it, and why."""

    entry: bytes
    sequence: int
    kind: str
    effective_at: datetime
    recorded_at: datetime
    amount: int
    balance: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPosting:
    """One leg of a recorded entry, credit-positive as it is stored."""

    account: AccountKey
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEntry:
    """An entry of the journal with its place in the chain."""

    id: bytes
    sequence: int
    kind: str
    reason: str
    effective_at: datetime
    recorded_at: datetime
    digest: bytes
    postings: tuple[RecordedPosting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTotal:
    """What all accounts under a code hold together in one unit, on their normal side."""

    unit: str
    code: Code
    accounts: int
    amount: int


def balance_of(connection: Connection, key: AccountKey) -> Balance | None:
    """The account's balance, or None when nothing was ever posted to it."""
    return balances_of(connection, [key]).get(key)


def balances_of(connection: Connection, keys: Sequence[AccountKey]) -> dict[AccountKey, Balance]:
    """The balances of those accounts that something was posted to, in one statement."""
    by_id = {key.id: key for key in keys}
    rows = _find_balances.fetch(connection, [(key.tenant, key.id) for key in by_id.values()])
    found = ((by_id[account_id], balance, version) for account_id, balance, version in rows)
    return {
        key: Balance(account=key, amount=on_normal_side(key.code, balance), version=version)
        for key, balance, version in found
    }


def balances_of_member(connection: Connection, tenant: TenantId, member: MemberId) -> tuple[Balance, ...]:
    """All that the member has, owes and awaits, by code and unit."""
    c = account.c
    rows = connection.execute(
        select(c.code, c.unit, c.subject, c.balance, c.version)
        .where(c.tenant == tenant, c.code.in_(MEMBER_CODES), c.subject == format_member(member))
        .order_by(c.code, c.unit)
    )
    return tuple(_balance(tenant, *row) for row in rows)


def statement(
    connection: Connection, key: AccountKey, *, limit: int, before: int | None = None
) -> tuple[StatementLine, ...]:
    """Up to `limit` lines of the account, newest first; `before` is the version of the last line already read."""
    query = (
        select(journal_entry, posting.c.amount, posting.c.balance, posting.c.version)
        .join(journal_entry, (journal_entry.c.tenant == posting.c.tenant) & _same_sequence)
        .where(posting.c.tenant == key.tenant, posting.c.account == key.id)
        .order_by(posting.c.version.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(posting.c.version < before)
    return tuple(
        StatementLine(
            entry=row.id,
            sequence=row.sequence,
            kind=row.kind,
            effective_at=from_microseconds(row.effective_us),
            recorded_at=from_microseconds(row.recorded_us),
            amount=on_normal_side(key.code, row.amount),
            balance=on_normal_side(key.code, row.balance),
            version=row.version,
        )
        for row in connection.execute(query)
    )


def entries(connection: Connection, tenant: TenantId, *, limit: int, after: int = 0) -> tuple[RecordedEntry, ...]:
    """Up to `limit` entries of the tenant's journal in order, from the one after sequence number `after`."""
    last = after + limit
    query = (
        select(journal_entry, posting.c.amount, account.c.code, account.c.unit, account.c.subject)
        .join(posting, (posting.c.tenant == journal_entry.c.tenant) & _same_sequence)
        .join(account, (account.c.tenant == posting.c.tenant) & (account.c.id == posting.c.account))
        .where(journal_entry.c.tenant == tenant, journal_entry.c.sequence.between(after + 1, last))
        .order_by(journal_entry.c.sequence, posting.c.leg)
    )
    recorded = []
    for _, group in groupby(connection.execute(query), key=lambda row: row.sequence):
        rows = list(group)
        first = rows[0]
        recorded.append(
            RecordedEntry(
                id=first.id,
                sequence=first.sequence,
                kind=first.kind,
                reason=first.reason,
                effective_at=from_microseconds(first.effective_us),
                recorded_at=from_microseconds(first.recorded_us),
                digest=first.digest,
                postings=tuple(
                    RecordedPosting(
                        account=AccountKey(tenant=tenant, code=Code(row.code), unit=row.unit, subject=row.subject),
                        amount=row.amount,
                    )
                    for row in rows
                ),
            )
        )
    return tuple(recorded)


def totals_by_code(connection: Connection, tenant: TenantId) -> tuple[CodeTotal, ...]:
    """The tenant's trial balance: what each kind of account holds in each unit."""
    c = account.c
    rows = connection.execute(
        select(c.unit, c.code, func.count(), func.sum(c.balance))
        .where(c.tenant == tenant)
        .group_by(c.unit, c.code)
        .order_by(c.unit, c.code)
    )
    return tuple(
        CodeTotal(unit=unit, code=Code(code), accounts=accounts, amount=on_normal_side(Code(code), int(total)))
        for unit, code, accounts, total in rows
    )


_same_sequence = posting.c.sequence == journal_entry.c.sequence


def _balance(tenant: TenantId, code: int, unit: str, subject: str, balance: int, version: int) -> Balance:
    key = AccountKey(tenant=tenant, code=Code(code), unit=unit, subject=subject)
    return Balance(account=key, amount=on_normal_side(key.code, balance), version=version)

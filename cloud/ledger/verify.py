"""The verifier: reads the whole ledger, names what is broken and repairs nothing.

It trusts no constraint, trigger or cache: it also runs on a restored or tampered database in which those are gone.
The journal is read as a stream and everything else is asked of the database, so memory does not grow with the
ledger. Breaches are bounded a check: a database broken in one way a million times is told a hundred times.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Over, Row, Select, and_, case, func, or_, select
from sqlalchemy.engine.interfaces import CoreExecuteOptionsParameter
from sqlalchemy.sql.functions import FunctionElement

from cloud.ledger.rules import (
    FLOORLESS_CODES,
    GRANTS,
    SET_APART,
    AccountKey,
    Code,
    EntryKind,
    body_digest,
    chain_digest,
    genesis_digest,
    sum_by_unit,
)
from cloud.ledger.tables import account, journal_entry, ledger_chain, posting
from shared.ids import TenantId

ESCROW_CODES = frozenset({Code.BUDGET, Code.KIOSK_BUDGET, Code.CONTINGENCY})  # a campaign's own accounts
BREACHES_MAX = 100  # of one check
ROWS_AT_ONCE = 2000
_STREAM: CoreExecuteOptionsParameter = {"yield_per": ROWS_AT_ONCE}


class Invariant(StrEnum):
    """What the ledger promises; the numbers are those of its design."""

    L1_BALANCED = "L1: the amounts of an entry sum to zero in each unit"
    L2_LIMIT = "L2: no account is past its limit after any entry"
    L3_CHAIN = "L3: the journal is as it was recorded"
    L4_ONCE = "L4: an id names one entry with one body"
    L5_STEPS = "L5: each posting of an account starts where the one before ended"
    L6_CACHE = "L6: an account holds what its postings sum to"
    L14_GRANT_ONCE = "L14: a claim is granted once"
    L15_ALLOTMENT = "L15: a kiosk's epoch grants no more than it was allotted"
    L17_TENANT = "L17: no entry joins two tenants"
    L19_ESCROW = "L19: what a campaign was funded with is in its budget, its contingency, at its kiosks or granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A promise that does not hold: which, whose, where, and what was found."""

    invariant: Invariant
    tenant: str
    where: str
    found: str


def verify(connection: Connection) -> tuple[Breach, ...]:
    """Everything that is broken, empty when the ledger is sound. Wants a reading transaction: one snapshot."""
    checks = (_journal, _repeated_ids, _limits, _steps, _caches, _strays, _epochs, _escrow)
    return tuple(breach for check in checks for breach in islice(check(connection), BREACHES_MAX))


# -- the journal, as a stream ------------------------------------------------------------------------------------

_JOURNAL = (
    select(journal_entry, posting.c.amount, account.c.code, account.c.unit, account.c.subject)
    .outerjoin(
        posting, and_(posting.c.tenant == journal_entry.c.tenant, posting.c.sequence == journal_entry.c.sequence)
    )
    .outerjoin(account, and_(account.c.tenant == posting.c.tenant, account.c.id == posting.c.account))
    .order_by(journal_entry.c.tenant, journal_entry.c.sequence, posting.c.leg)
)
_HEADS = select(ledger_chain).order_by(ledger_chain.c.tenant)

JoinRow = Row[*tuple[Any, ...]]  # Any: which columns a join brings is chosen at run time
JoinSelect = Select[*tuple[Any, ...]]  # Any: as above


def _journal(connection: Connection) -> Iterator[Breach]:
    """L1, L3 and the body half of L4: recomputes every digest from what the rows say."""
    heads = {head.tenant: head for head in connection.execute(_HEADS)}
    with connection.execute(_JOURNAL, execution_options=_STREAM) as rows:
        yield from _chains(rows, heads)
    for tenant, head in heads.items():
        if (head.sequence, head.digest) != (0, genesis_digest(tenant)):
            yield _broken(tenant, head.sequence, "the head names an entry and there is none")


def _chains(rows: Iterable[JoinRow], heads: dict[str, JoinRow]) -> Iterator[Breach]:
    """What is wrong in each tenant's chain; takes the heads it has seen out of `heads`."""
    for tenant, of_tenant in groupby(rows, key=lambda row: row.tenant):
        sequence, digest = 0, genesis_digest(tenant)
        for number, of_entry in groupby(of_tenant, key=lambda row: row.sequence):
            entry = list(of_entry)
            sequence += 1
            if number != sequence:
                yield _broken(tenant, sequence, f"the next entry is number {number}")
                sequence = number
            yield from _balanced(entry)
            digest, breaches = _linked(entry, digest)
            yield from breaches
        head = heads.pop(tenant, None)
        if head is None or (head.sequence, head.digest) != (sequence, digest):
            yield _broken(tenant, sequence, "the head does not name the last entry")


def _balanced(entry: list[JoinRow]) -> Iterator[Breach]:
    first = entry[0]
    if first.amount is None:
        yield Breach(
            invariant=Invariant.L1_BALANCED, tenant=first.tenant, where=f"entry {first.sequence}", found="no postings"
        )
        return
    for unit, total in sum_by_unit((row.unit or "?", row.amount) for row in entry).items():
        if total:
            yield Breach(
                invariant=Invariant.L1_BALANCED,
                tenant=first.tenant,
                where=f"entry {first.sequence}",
                found=f"{unit} sums to {total}",
            )


def _linked(entry: list[JoinRow], previous: bytes) -> tuple[bytes, list[Breach]]:
    """The digest the chain goes on with (the recorded one, so that one change is told once), and what is wrong."""
    first = entry[0]
    body = body_digest(
        first.id,
        first.tenant,
        first.kind,
        first.effective_us,
        first.reason,
        [(row.code, row.unit, row.subject, row.amount) for row in entry if row.amount is not None],
    )
    breaches = []
    if body != first.body_digest:
        breaches.append(_broken(first.tenant, first.sequence, "the body is not what was recorded"))
    if chain_digest(previous, first.sequence, first.recorded_us, first.body_digest) != first.digest:
        breaches.append(_broken(first.tenant, first.sequence, "the link to the entry before does not hold"))
    return first.digest, breaches


def _broken(tenant: str, sequence: int, found: str) -> Breach:
    return Breach(invariant=Invariant.L3_CHAIN, tenant=tenant, where=f"entry {sequence}", found=found)


# -- the rest, asked of the database -----------------------------------------------------------------------------


def _repeated_ids(connection: Connection) -> Iterator[Breach]:
    c = journal_entry.c
    query = select(c.tenant, c.id, func.count().label("times"), func.min(c.kind).label("kind"))
    for row in connection.execute(query.group_by(c.tenant, c.id).having(func.count() > 1).limit(BREACHES_MAX)):
        is_grant = row.kind in GRANTS
        yield Breach(
            invariant=Invariant.L14_GRANT_ONCE if is_grant else Invariant.L4_ONCE,
            tenant=row.tenant,
            where=f"id {row.id.hex()}",
            found=f"{row.times} entries",
        )


def _limits(connection: Connection) -> Iterator[Breach]:
    """L2, in the caches and in every posting."""
    has_floor = account.c.code.not_in(sorted(FLOORLESS_CODES))
    cached = select(account, account.c.balance.label("held")).where(account.c.balance < 0, has_floor)
    posted = select(account, posting.c.balance.label("held")).join(account, _of_account)
    yield from _accounts(connection, cached, Invariant.L2_LIMIT, "the account holds {held}")
    yield from _accounts(
        connection, posted.where(posting.c.balance < 0, has_floor), Invariant.L2_LIMIT, "a posting left {held}"
    )


def _steps(connection: Connection) -> Iterator[Breach]:
    """L5: balances and versions without a gap, and in the order of the journal."""
    c = posting.c
    walk = select(
        c.tenant,
        c.account,
        c.sequence,
        c.amount,
        c.previous_balance,
        c.balance,
        c.version,
        _in_order(func.row_number()).label("number"),
        func.coalesce(_in_order(func.lag(c.balance)), 0).label("before"),
        func.coalesce(_in_order(func.lag(c.sequence)), 0).label("earlier"),
    ).subquery()
    wrong = select(walk).where(
        or_(
            walk.c.version != walk.c.number,
            walk.c.previous_balance != walk.c.before,
            walk.c.balance != walk.c.previous_balance + walk.c.amount,
            walk.c.sequence <= walk.c.earlier,
        )
    )
    for row in connection.execute(wrong.limit(BREACHES_MAX)):
        yield Breach(
            invariant=Invariant.L5_STEPS,
            tenant=row.tenant,
            where=f"account {row.account.hex()}, posting {row.number} (entry {row.sequence})",
            found=f"version {row.version}: {row.previous_balance} to {row.balance}, after {row.before}",
        )


def _caches(connection: Connection) -> Iterator[Breach]:
    """L6: cached balance and version against the postings' sum and count."""
    c = posting.c
    proof = (
        select(c.tenant, c.account, func.sum(c.amount).label("total"), func.count().label("times"))
        .group_by(c.tenant, c.account)
        .subquery()
    )
    held = func.coalesce(proof.c.total, 0)
    times = func.coalesce(proof.c.times, 0)
    query = (
        select(account, held.label("held"), times.label("times"))
        .outerjoin(proof, and_(proof.c.tenant == account.c.tenant, proof.c.account == account.c.id))
        .where(or_(account.c.balance != held, account.c.version != times))
    )
    yield from _accounts(
        connection, query, Invariant.L6_CACHE, "cached {balance} after {version}, postings sum to {held} after {times}"
    )


def _strays(connection: Connection) -> Iterator[Breach]:
    """L17 and what hangs in the air: postings whose account or entry is not the tenant's, keys that name another."""
    c = posting.c
    query = (
        select(c.tenant, c.sequence, c.leg, account.c.id.label("account"), journal_entry.c.id.label("entry"))
        .outerjoin(account, _of_account)
        .outerjoin(journal_entry, and_(journal_entry.c.tenant == c.tenant, journal_entry.c.sequence == c.sequence))
        .where(or_(account.c.id.is_(None), journal_entry.c.id.is_(None)))
    )
    for row in connection.execute(query.limit(BREACHES_MAX)):
        missing = "account" if row.account is None else "entry"
        yield Breach(
            invariant=Invariant.L17_TENANT,
            tenant=row.tenant,
            where=f"entry {row.sequence}, leg {row.leg}",
            found=f"the tenant has no such {missing}",
        )
    with connection.execute(select(account), execution_options=_STREAM) as accounts:
        for account_row in accounts:
            if _account_id(account_row) != account_row.id:
                yield _about_account(account_row, Invariant.L17_TENANT, "the id does not belong to the key")


def _epochs(connection: Connection) -> Iterator[Breach]:
    """L15: what each kiosk epoch granted against what it was allotted and has not given back.

    What the contingency granted for it is not among it: that account has a limit of its own (L2).
    """
    is_grant = journal_entry.c.kind.in_(sorted(kind.value for kind in GRANTS))
    granted = case((is_grant, -posting.c.amount), else_=0)
    allotted = case((is_grant, 0), else_=posting.c.amount)
    sums = (
        select(
            posting.c.tenant,
            posting.c.account,
            func.sum(granted).label("granted"),
            func.sum(allotted).label("allotted"),
        )
        .join(journal_entry, and_(journal_entry.c.tenant == posting.c.tenant, _of_entry))
        .group_by(posting.c.tenant, posting.c.account)
        .subquery()
    )
    query = (
        select(account, sums.c.granted, sums.c.allotted)
        .join(sums, and_(sums.c.tenant == account.c.tenant, sums.c.account == account.c.id))
        .where(account.c.code == Code.KIOSK_BUDGET, sums.c.granted > sums.c.allotted)
    )
    yield from _accounts(connection, query, Invariant.L15_ALLOTMENT, "granted {granted} of {allotted}")


def _escrow(connection: Connection) -> Iterator[Breach]:
    """L19: what is set apart stays with its campaign, and a campaign is funded by mints and pays out grants.

    So funded = budget + contingency + at kiosks + granted. Memory grows with the campaigns, not with their kiosks.
    """
    kind = journal_entry.c.kind
    is_within = kind.in_(sorted(one.value for one in SET_APART))
    is_backwards = or_(
        and_(kind == EntryKind.MINT, posting.c.amount < 0),
        and_(kind.in_(sorted(one.value for one in GRANTS)), posting.c.amount > 0),
    )
    query = (
        select(
            account.c.tenant,
            account.c.unit,
            account.c.subject,
            func.sum(case((is_within, posting.c.amount), else_=0)).label("moved"),
            func.sum(case((is_backwards, 1), else_=0)).label("wrong"),
        )
        .join(posting, _of_account)
        .join(journal_entry, and_(journal_entry.c.tenant == posting.c.tenant, _of_entry))
        .where(account.c.code.in_(sorted(ESCROW_CODES)))
        .group_by(account.c.tenant, account.c.id, account.c.unit, account.c.subject)
    )
    moved: dict[tuple[str, str, str], int] = {}
    with connection.execute(query, execution_options=_STREAM) as rows:
        for row in rows:
            campaign = (row.tenant, row.subject.partition(":")[0], row.unit)
            moved[campaign] = moved.get(campaign, 0) + int(row.moved)
            if row.wrong:
                yield Breach(
                    invariant=Invariant.L19_ESCROW,
                    tenant=row.tenant,
                    where=f"campaign {row.subject} {row.unit}",
                    found=f"{row.wrong} entries go the wrong way",
                )
    for (tenant, name, unit), total in sorted(moved.items()):
        if total:
            yield Breach(
                invariant=Invariant.L19_ESCROW,
                tenant=tenant,
                where=f"campaign {name} {unit}",
                found=f"moves between its accounts sum to {total}",
            )


_of_account = and_(account.c.tenant == posting.c.tenant, account.c.id == posting.c.account)
_of_entry = posting.c.sequence == journal_entry.c.sequence


def _in_order(function: FunctionElement[int]) -> Over[int]:
    """The function over the postings of each account, first to last."""
    return function.over(partition_by=(posting.c.tenant, posting.c.account), order_by=posting.c.version)


def _accounts(connection: Connection, query: JoinSelect, invariant: Invariant, found: str) -> Iterable[Breach]:
    for row in connection.execute(query.limit(BREACHES_MAX)):
        yield _about_account(row, invariant, found.format_map(row._mapping))


def _about_account(row: JoinRow, invariant: Invariant, found: str) -> Breach:
    where = f"account {row.code} {row.unit} {row.subject}".rstrip()
    return Breach(invariant=invariant, tenant=row.tenant, where=where, found=found)


def _account_id(row: JoinRow) -> bytes | None:
    try:
        code = Code(row.code)
    except ValueError:
        return None
    return AccountKey(tenant=TenantId(row.tenant), code=code, unit=row.unit, subject=row.subject).id

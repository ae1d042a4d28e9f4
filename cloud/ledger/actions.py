"""Posting: the only place that writes the ledger.

A batch costs seven statements however long it is, eight when it is for several tenants. The rows of `ledger_chain`
are locked first, in tenant order, and everything else is read after, so what is read cannot change before the commit:
no id can be taken and no balance spent in between, on either database. Call `post` after the domain's own locks:
whoever waits for a head holds nothing another poster of the tenant needs.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Select, select

from cloud.kit.bulk import BulkInsert, InsertNew, KeyedSelect
from cloud.kit.instants import to_microseconds
from cloud.ledger.rules import Batch, Chain, EntryDraft, KnownEntry, Outcome, Standing, genesis_digest
from cloud.ledger.tables import account, journal_entry, ledger_chain, posting

_see_chains = select(ledger_chain.c.tenant, ledger_chain.c.sequence, ledger_chain.c.digest).order_by(
    ledger_chain.c.tenant
)
_lock_chains = _see_chains.with_for_update()
_open_chains = InsertNew(ledger_chain, list(ledger_chain.c))
_save_chains = BulkInsert(ledger_chain, list(ledger_chain.c), update=[ledger_chain.c.sequence, ledger_chain.c.digest])
_find_entries = KeyedSelect(
    journal_entry,
    [journal_entry.c.tenant, journal_entry.c.id],
    [journal_entry.c.tenant, journal_entry.c.id, journal_entry.c.sequence, journal_entry.c.body_digest],
)
_find_accounts = KeyedSelect(
    account, [account.c.tenant, account.c.id], [account.c.id, account.c.balance, account.c.version]
)
_save_accounts = BulkInsert(account, list(account.c), update=[account.c.balance, account.c.version])
_save_entries = BulkInsert(journal_entry, list(journal_entry.c))
_save_postings = BulkInsert(posting, list(posting.c))


def post(connection: Connection, drafts: Sequence[EntryDraft], *, recorded_at: datetime) -> tuple[Outcome, ...]:
    """What became of each draft, in their order; all that was posted is part of the caller's transaction.

    Drafts apply one after the other: each sees the balances the one before left, and one that fails its limit stops
    no other. Needs a writing transaction.
    """
    if not drafts:
        return ()
    batch = Batch(
        chains=_lock(connection, {draft.tenant for draft in drafts}),
        known=_known(connection, drafts),
        standings=_standings(connection, drafts),
        recorded_us=to_microseconds(recorded_at),
    )
    outcomes = tuple(batch.apply(draft) for draft in drafts)
    _save(connection, batch)
    return outcomes


def _lock(connection: Connection, tenants: set[str]) -> dict[str, Chain]:
    """The tenants' heads, locked until the transaction ends; a tenant's first entry opens its chain.

    With several tenants chains are opened before any is locked: who held one lock while waiting for another's new row
    could be waited for in turn.
    """
    if len(tenants) > 1:
        _open_missing(connection, tenants)
    chains = _heads(connection, _lock_chains, tenants)
    if len(chains) < len(tenants):
        _open_missing(connection, tenants)
        chains = _heads(connection, _lock_chains, tenants)
    return chains


def _open_missing(connection: Connection, tenants: set[str]) -> None:
    missing = sorted(tenants - _heads(connection, _see_chains, tenants).keys())
    _open_chains.run(connection, [(tenant, 0, genesis_digest(tenant)) for tenant in missing])


def _heads(connection: Connection, query: Select[str, int, bytes], tenants: set[str]) -> dict[str, Chain]:
    rows = connection.execute(query.where(ledger_chain.c.tenant.in_(sorted(tenants))))
    return {tenant: Chain(sequence=sequence, digest=digest) for tenant, sequence, digest in rows}


def _known(connection: Connection, drafts: Sequence[EntryDraft]) -> dict[tuple[str, bytes], KnownEntry]:
    keys = {(draft.tenant, draft.id) for draft in drafts}
    rows = _find_entries.fetch(connection, list(keys))
    return {(tenant, entry): (sequence, digest) for tenant, entry, sequence, digest in rows}


def _standings(connection: Connection, drafts: Sequence[EntryDraft]) -> dict[bytes, Standing]:
    keys = {(draft.tenant, posting.account.id) for draft in drafts for posting in draft.postings}
    rows = _find_accounts.fetch(connection, list(keys))
    return {account_id: Standing(balance=balance, version=version) for account_id, balance, version in rows}


def _save(connection: Connection, batch: Batch) -> None:
    if not batch.entries:
        return
    heads = [(tenant, chain.sequence, chain.digest) for tenant, chain in batch.chains.items()]
    _save_accounts.run(connection, batch.account_rows())
    _save_entries.run(connection, batch.entries)
    _save_postings.run(connection, batch.postings)
    _save_chains.run(connection, heads)

"""The ledger as the API shows it: ids in hex, instants as RFC 3339, balances on the account's normal side."""

from datetime import datetime

from pydantic import BaseModel

from cloud.ledger.queries import CodeTotal, RecordedEntry, StatementLine
from cloud.ledger.rules import AccountKey, Balance, Side, side_of


class AccountOut(BaseModel):
    """What names an account."""

    code: int
    unit: str
    subject: str
    side: Side

    @classmethod
    def of(cls, key: AccountKey) -> "AccountOut":
        """The account's name for the wire."""
        return cls(code=int(key.code), unit=key.unit, subject=key.subject, side=side_of(key.code))


class BalanceOut(BaseModel):
    """What an account holds after `version` postings."""

    account: AccountOut
    balance: int
    version: int

    @classmethod
    def of(cls, balance: Balance) -> "BalanceOut":
        """The balance for the wire."""
        return cls(account=AccountOut.of(balance.account), balance=balance.amount, version=balance.version)


class StatementLineOut(BaseModel):
    """One movement of an account and the balance it left."""

    entry: str
    sequence: int
    kind: str
    effective_at: datetime
    recorded_at: datetime
    amount: int
    balance: int
    version: int

    @classmethod
    def of(cls, line: StatementLine) -> "StatementLineOut":
        """The line for the wire."""
        return cls(
            entry=line.entry.hex(),
            sequence=line.sequence,
            kind=line.kind,
            effective_at=line.effective_at,
            recorded_at=line.recorded_at,
            amount=line.amount,
            balance=line.balance,
            version=line.version,
        )


class PostingOut(BaseModel):
    """One leg of an entry: above zero arrives, below zero leaves; the legs of a unit sum to zero."""

    account: AccountOut
    amount: int


class EntryOut(BaseModel):
    """An entry of the journal; `digest` chains it to all before it."""

    id: str
    sequence: int
    kind: str
    reason: str
    effective_at: datetime
    recorded_at: datetime
    digest: str
    postings: tuple[PostingOut, ...]

    @classmethod
    def of(cls, entry: RecordedEntry) -> "EntryOut":
        """The entry for the wire."""
        return cls(
            id=entry.id.hex(),
            sequence=entry.sequence,
            kind=entry.kind,
            reason=entry.reason,
            effective_at=entry.effective_at,
            recorded_at=entry.recorded_at,
            digest=entry.digest.hex(),
            postings=tuple(PostingOut(account=AccountOut.of(leg.account), amount=leg.amount) for leg in entry.postings),
        )


class TotalOut(BaseModel):
    """What all accounts under a code hold together in one unit."""

    unit: str
    code: int
    side: Side
    accounts: int
    balance: int

    @classmethod
    def of(cls, total: CodeTotal) -> "TotalOut":
        """The total for the wire."""
        return cls(
            unit=total.unit,
            code=int(total.code),
            side=side_of(total.code),
            accounts=total.accounts,
            balance=total.amount,
        )

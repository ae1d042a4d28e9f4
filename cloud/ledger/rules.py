"""What the ledger is: accounts and their limits, balanced entries, how a batch applies, how the chain is computed.

Pure. Amounts are credit-positive: an amount above zero arrives in the account, one below leaves it, and the amounts
of an entry sum to zero per unit. So what members and budgets hold is stored as a positive number and what issuance
has put out as a negative one, and every limit is a floor. People are shown balances on the account's normal side.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from cloud.errors import EntryMalformed
from cloud.kit.instants import to_microseconds
from shared.ids import CampaignId, ClaimId, DeviceId, MemberId, TenantId, format_member
from shared.points import Points

ENTRY_ID_BYTES = 16
ACCOUNT_ID_BYTES = 16
POSTINGS_MAX = 100  # of one entry; a longer list is a batch of entries
AMOUNT_MAX = 10**15  # of one posting
BALANCE_MAX = 2**62  # far inside 64 bits, so that one more posting cannot overflow the column


class Code(IntEnum):
    """The chart of accounts. The grain of each, in brackets, is what its subject names."""

    ISSUANCE = 1000  # (tenant): the only source of points
    CASH_IN = 1100  # (provider)
    CASH_OUT = 1200  # (provider)
    DEPOSIT = 2000  # (merchant)
    BUDGET = 2010  # (campaign)
    STORE_BUDGET = 2020  # (campaign, store)
    KIOSK_BUDGET = 2030  # (campaign, device, epoch): the offline limit
    CONTINGENCY = 2040  # (campaign): pays for claims that no allotment pays for any more
    MEMBER_PENDING = 2100  # (member)
    MEMBER_AVAILABLE = 2110  # (member)
    MEMBER_DEBT = 2120  # (member)
    GIFT_CARD = 2200  # (instrument)
    STORE_CREDIT = 2300  # (instrument)
    COUPON_USES = 2400  # (instrument)
    CAP_COUNTER = 2500  # (rule, subject, period)
    VALIDATOR_STAKE = 2600  # (validator)
    VALIDATOR_REWARD = 2610  # (validator)
    REDEEMED = 3000  # (store)
    BREAKAGE = 3100  # (tenant)
    FORFEITED = 3110  # (tenant)
    SETTLEMENT = 4000  # (issuer group, acceptor group)
    LIABILITY = 4100  # (tenant)
    OFFLINE_LOSS = 5000  # (merchant)
    ADJUSTMENTS = 6000  # (tenant)
    ROUNDING = 6100  # (tenant)
    OPENING = 9000  # (tenant)


class Side(StrEnum):
    """The side on which an account normally stands and on which people are shown its balance."""

    DEBIT = "debit"
    CREDIT = "credit"


DEBIT_CODES: Final = frozenset({Code.ISSUANCE, Code.CASH_IN, Code.MEMBER_DEBT, Code.OFFLINE_LOSS})

# A debit account without a floor may go as low as it likes. MEMBER_DEBT stays at zero until debt limits exist.
FLOORLESS_CODES: Final = frozenset(
    {
        Code.ISSUANCE,
        Code.CASH_IN,
        Code.REDEEMED,
        Code.BREAKAGE,
        Code.FORFEITED,
        Code.SETTLEMENT,
        Code.LIABILITY,
        Code.OFFLINE_LOSS,
        Code.ADJUSTMENTS,
        Code.ROUNDING,
        Code.OPENING,
    }
)


def side_of(code: Code) -> Side:
    """The normal side of accounts under the code."""
    return Side.DEBIT if code in DEBIT_CODES else Side.CREDIT


def floor_of(code: Code) -> int | None:
    """The lowest stored balance an account under the code may have, or None when there is no limit."""
    return None if code in FLOORLESS_CODES else 0


def on_normal_side(code: Code, balance: int) -> int:
    """The stored (credit-positive) balance as people are shown it."""
    return -balance if code in DEBIT_CODES else balance


class EntryKind(StrEnum):
    """Why value moved."""

    MINT = "mint"
    ALLOT = "allot"
    ALLOT_RETURN = "allot_return"
    CONTINGENCY = "contingency"
    GRANT_DAILY = "grant_daily"
    GRANT_LATE = "grant_late"


GRANTS: Final = frozenset({EntryKind.GRANT_DAILY, EntryKind.GRANT_LATE})
"""Kinds whose entry id is a claim's, so that a claim is granted once whichever account pays."""

SET_APART: Final = frozenset({EntryKind.ALLOT, EntryKind.ALLOT_RETURN, EntryKind.CONTINGENCY})
"""Kinds that move points between the accounts of one campaign and nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """What names an account. Its 16-byte id is derived from the key, so nobody has to look one up."""

    tenant: TenantId
    code: Code
    unit: str
    subject: str
    id: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        name = msgspec.json.encode(("DSLA1", self.tenant, int(self.code), self.unit, self.subject))
        object.__setattr__(self, "id", hashlib.sha256(name).digest()[:ACCOUNT_ID_BYTES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One leg: `amount` arrives in the account, or leaves it when negative. Never zero."""

    account: AccountKey
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDraft:
    """A journal entry somebody wants posted. It cannot be unbalanced, touch an account twice or cross tenants.

    `id` is 16 bytes of the caller's, unique in the tenant; a natural key hashed makes a repeat harmless.
    `effective_at` is when it happened (aware), `reason` why, for repairs. Raises: EntryMalformed.
    """

    id: bytes
    tenant: TenantId
    kind: EntryKind
    effective_at: datetime
    postings: tuple[Posting, ...]
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.id) != ENTRY_ID_BYTES:
            raise EntryMalformed("an entry id has 16 bytes", "id")
        if self.effective_at.tzinfo is None:
            raise EntryMalformed("the instant must be aware", "effective_at")
        if not 2 <= len(self.postings) <= POSTINGS_MAX:
            raise EntryMalformed("an entry has 2 to 100 postings", "postings")
        if len({posting.account.id for posting in self.postings}) != len(self.postings):
            raise EntryMalformed("an entry touches an account once", "postings")
        for posting in self.postings:
            if posting.account.tenant != self.tenant:
                raise EntryMalformed("an entry stays inside one tenant", "postings")
            if not 0 < abs(posting.amount) <= AMOUNT_MAX:
                raise EntryMalformed("an amount is a whole number between 1 and 10^15, or its negative", "postings")
        if any(sum_by_unit((posting.account.unit, posting.amount) for posting in self.postings).values()):
            raise EntryMalformed("the amounts of each unit sum to zero", "postings")


def sum_by_unit(legs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The sum of the amounts of each unit."""
    sums: dict[str, int] = {}
    for unit, amount in legs:
        sums[unit] = sums.get(unit, 0) + amount
    return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An account after some entry, on its normal side. `version` counts its postings."""

    account: AccountKey
    amount: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """The entry is in the ledger; `balances` follow its postings."""

    id: bytes
    sequence: int
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """The very same entry was posted before, at this place of the tenant's journal. Nothing changed."""

    id: bytes
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Another entry was posted under this id, at this place of the tenant's journal. Nothing changed."""

    id: bytes
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitExceeded:
    """The entry would take the account past its limit. `balance` is what it holds, on its normal side."""

    id: bytes
    account: AccountKey
    balance: int
    amount: int


Outcome = Posted | Exists | Conflict | LimitExceeded


# -- the chain ---------------------------------------------------------------------------------------------------


def body_digest(
    entry: bytes,
    tenant: str,
    kind: str,
    effective_us: int,
    reason: str,
    legs: Sequence[tuple[int, str, str, int]],
) -> bytes:
    """SHA-256 of the entry's canonical form: a JSON array without spaces, the id in hex, legs (code, unit, subject,
    amount) in their order. `effective_us` counts microseconds since 1970-01-01 UTC.
    """
    form = msgspec.json.encode(("DSLE1", entry.hex(), tenant, kind, effective_us, reason, legs))
    return hashlib.sha256(form).digest()


def genesis_digest(tenant: str) -> bytes:
    """The digest a tenant's chain starts from."""
    return hashlib.sha256(b"DSLG1" + tenant.encode()).digest()


def chain_digest(previous: bytes, sequence: int, recorded_us: int, body: bytes) -> bytes:
    """The digest of an entry at its place: everything before it, its number, when it was recorded, what it says."""
    place = sequence.to_bytes(8, "big") + recorded_us.to_bytes(8, "big", signed=True)
    return hashlib.sha256(b"DSLC1" + previous + place + body).digest()


# -- applying a batch --------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Chain:
    """The head of a tenant's journal: how many entries it has and the digest of the last."""

    sequence: int
    digest: bytes


@dataclass(slots=True, kw_only=True)
class Standing:
    """An account's stored balance and the number of its postings, as the batch goes on."""

    balance: int
    version: int


EntryRow = tuple[str, int, bytes, str, str, int, int, bytes, bytes]
PostingRow = tuple[str, int, int, bytes, int, int, int, int]
AccountRow = tuple[str, bytes, int, str, str, int, int]
KnownEntry = tuple[int, bytes]


class Batch:
    """A batch being applied in memory: give it what the database holds, apply drafts in order, save its rows.

    `entries` and `postings` are the new rows in the column order of tables.py; `touched` the accounts to save.
    """

    def __init__(
        self,
        *,
        chains: Mapping[str, Chain],
        known: Mapping[tuple[str, bytes], KnownEntry],
        standings: Mapping[bytes, Standing],
        recorded_us: int,
    ) -> None:
        self.chains = dict(chains)
        self.entries: list[EntryRow] = []
        self.postings: list[PostingRow] = []
        self.touched: dict[bytes, AccountKey] = {}
        self._known = dict(known)
        self._standings = dict(standings)
        self._recorded_us = recorded_us

    def apply(self, draft: EntryDraft) -> Outcome:
        """What becomes of the draft. Only a posted one leaves a trace."""
        effective_us = to_microseconds(draft.effective_at)
        digest = body_digest(
            draft.id,
            draft.tenant,
            draft.kind.value,
            effective_us,
            draft.reason,
            [(int(p.account.code), p.account.unit, p.account.subject, p.amount) for p in draft.postings],
        )
        known = self._known.get((draft.tenant, draft.id))
        if known is not None:
            sequence, first = known
            is_same = first == digest
            return Exists(id=draft.id, sequence=sequence) if is_same else Conflict(id=draft.id, sequence=sequence)
        return self._first_past_limit(draft) or self._post(draft, effective_us, digest)

    def account_rows(self) -> list[AccountRow]:
        """The accounts this batch changed, as they are now, in id order."""
        return [
            (key.tenant, key.id, int(key.code), key.unit, key.subject, now.balance, now.version)
            for key, now in ((self.touched[id], self._standings[id]) for id in sorted(self.touched))
        ]

    def _first_past_limit(self, draft: EntryDraft) -> LimitExceeded | None:
        for posting in draft.postings:
            key = posting.account
            standing = self._standings.get(key.id)
            balance = 0 if standing is None else standing.balance
            after = balance + posting.amount
            if (after < 0 and posting.amount < 0 and key.code not in FLOORLESS_CODES) or abs(after) > BALANCE_MAX:
                shown = on_normal_side(key.code, balance)
                return LimitExceeded(id=draft.id, account=key, balance=shown, amount=posting.amount)
        return None

    def _post(self, draft: EntryDraft, effective_us: int, body: bytes) -> Posted:
        chain = self.chains[draft.tenant]
        chain.sequence += 1
        chain.digest = chain_digest(chain.digest, chain.sequence, self._recorded_us, body)
        sequence = chain.sequence
        self._known[draft.tenant, draft.id] = (sequence, body)
        self.entries.append(
            (
                draft.tenant,
                sequence,
                draft.id,
                draft.kind.value,
                draft.reason,
                effective_us,
                self._recorded_us,
                body,
                chain.digest,
            )
        )
        legs = enumerate(draft.postings)
        return Posted(
            id=draft.id, sequence=sequence, balances=tuple(self._move(sequence, leg, posting) for leg, posting in legs)
        )

    def _move(self, sequence: int, leg: int, posting: Posting) -> Balance:
        key = posting.account
        standing = self._standings.get(key.id)
        if standing is None:
            standing = self._standings[key.id] = Standing(balance=0, version=0)
        before = standing.balance
        standing.balance += posting.amount
        standing.version += 1
        self.touched[key.id] = key
        self.postings.append(
            (key.tenant, sequence, leg, key.id, posting.amount, before, standing.balance, standing.version)
        )
        return Balance(account=key, amount=on_normal_side(key.code, standing.balance), version=standing.version)


# -- accounts and transfers --------------------------------------------------------------------------------------


def issuance_account(tenant: TenantId, unit: str) -> AccountKey:
    """Where the tenant's points of this unit come from; it owes all that was ever minted."""
    return AccountKey(tenant=tenant, code=Code.ISSUANCE, unit=unit, subject="")


def budget_account(tenant: TenantId, campaign: CampaignId, unit: str) -> AccountKey:
    """What a campaign may still give."""
    return AccountKey(tenant=tenant, code=Code.BUDGET, unit=unit, subject=_subject(campaign))


def kiosk_account(tenant: TenantId, campaign: CampaignId, device: DeviceId, epoch: int, unit: str) -> AccountKey:
    """What one life of a kiosk may still give of a campaign, cut off from everybody."""
    subject = _subject(campaign, device, str(epoch))
    return AccountKey(tenant=tenant, code=Code.KIOSK_BUDGET, unit=unit, subject=subject)


def contingency_account(tenant: TenantId, campaign: CampaignId, unit: str) -> AccountKey:
    """What a campaign set aside for claims that come when their kiosk's allotment is used up or was taken back."""
    return AccountKey(tenant=tenant, code=Code.CONTINGENCY, unit=unit, subject=_subject(campaign))


def member_account(tenant: TenantId, member: MemberId, unit: str) -> AccountKey:
    """What a member may spend."""
    return AccountKey(tenant=tenant, code=Code.MEMBER_AVAILABLE, unit=unit, subject=format_member(member))


def mint(*, id: bytes, tenant: TenantId, campaign: CampaignId, points: Points, effective_at: datetime) -> EntryDraft:
    """New points for a campaign's budget."""
    source = issuance_account(tenant, points.unit)
    target = budget_account(tenant, campaign, points.unit)
    return _transfer(id, EntryKind.MINT, source, target, points, effective_at)


def allot(
    *,
    tenant: TenantId,
    campaign: CampaignId,
    device: DeviceId,
    epoch: int,
    serial: int,
    points: Points,
    effective_at: datetime,
) -> EntryDraft:
    """Points of the budget set aside for one kiosk's epoch. One serial allots once, however often it is tried."""
    source = budget_account(tenant, campaign, points.unit)
    target = kiosk_account(tenant, campaign, device, epoch, points.unit)
    id = derive_entry_id(EntryKind.ALLOT, tenant, target.subject, points.unit, str(serial))
    return _transfer(id, EntryKind.ALLOT, source, target, points, effective_at)


def return_allotment(
    *,
    tenant: TenantId,
    campaign: CampaignId,
    device: DeviceId,
    epoch: int,
    serial: int,
    points: Points,
    effective_at: datetime,
) -> EntryDraft:
    """What an epoch did not use, back in the budget. One serial returns once."""
    source = kiosk_account(tenant, campaign, device, epoch, points.unit)
    target = budget_account(tenant, campaign, points.unit)
    id = derive_entry_id(EntryKind.ALLOT_RETURN, tenant, source.subject, points.unit, str(serial))
    return _transfer(id, EntryKind.ALLOT_RETURN, source, target, points, effective_at)


def set_aside(
    *, id: bytes, tenant: TenantId, campaign: CampaignId, points: Points, effective_at: datetime
) -> EntryDraft:
    """Points of the budget that no kiosk is allotted: they pay for claims that come late."""
    source = budget_account(tenant, campaign, points.unit)
    target = contingency_account(tenant, campaign, points.unit)
    return _transfer(id, EntryKind.CONTINGENCY, source, target, points, effective_at)


def grant_daily(
    *,
    claim: ClaimId,
    tenant: TenantId,
    campaign: CampaignId,
    device: DeviceId,
    epoch: int,
    member: MemberId,
    points: Points,
    effective_at: datetime,
) -> EntryDraft:
    """The daily reward, out of the kiosk's allotment. The claim id is the entry id, so a claim posts once."""
    source = kiosk_account(tenant, campaign, device, epoch, points.unit)
    target = member_account(tenant, member, points.unit)
    return _transfer(claim, EntryKind.GRANT_DAILY, source, target, points, effective_at)


def grant_late(
    *,
    claim: ClaimId,
    tenant: TenantId,
    campaign: CampaignId,
    member: MemberId,
    points: Points,
    effective_at: datetime,
) -> EntryDraft:
    """The daily reward, out of the campaign's contingency. Its id is that of `grant_daily`: it is the same claim."""
    source = contingency_account(tenant, campaign, points.unit)
    target = member_account(tenant, member, points.unit)
    return _transfer(claim, EntryKind.GRANT_LATE, source, target, points, effective_at)


def derive_entry_id(*natural_key: str) -> bytes:
    """Sixteen bytes that the same natural key always gives."""
    return hashlib.sha256(msgspec.json.encode(("DSLI1", *natural_key))).digest()[:ENTRY_ID_BYTES]


def _transfer(
    id: bytes, kind: EntryKind, source: AccountKey, target: AccountKey, points: Points, effective_at: datetime
) -> EntryDraft:
    if points.amount <= 0:
        raise EntryMalformed("a transfer moves at least one", "points")
    legs = (Posting(account=source, amount=-points.amount), Posting(account=target, amount=points.amount))
    return EntryDraft(id=id, tenant=source.tenant, kind=kind, effective_at=effective_at, postings=legs)


def _subject(*parts: str) -> str:
    """The parts joined by colons, none of which may hold one: two subjects must not read alike."""
    if any(":" in part for part in parts):
        raise EntryMalformed("a part of a subject holds no colon", "subject")
    return ":".join(parts)

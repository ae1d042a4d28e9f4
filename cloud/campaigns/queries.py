"""Reading campaigns, their budgets and allotments, in whatever transaction the caller is in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, func, select, tuple_

from cloud.campaigns.rules import Allotment, AllotmentKey, Campaign, Pace
from cloud.campaigns.tables import allotment, campaign
from cloud.ledger.queries import balances_of
from cloud.ledger.rules import AccountKey, Code, EntryKind, budget_account, contingency_account
from cloud.ledger.tables import account, journal_entry, posting
from shared.ids import CampaignId, DeviceId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAllotment:
    """An allotment with its unit."""

    allotment: Allotment
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """Where a campaign's points are: `minted` in all, of which `budget` may still be allotted, `held` lie at kiosks,
    `contingency` waits for late claims and `granted` went to members, `granted_late` of it out of the contingency.

    `returned` is what was allotted, not used and taken back, in all. `epochs` counts the kiosk epochs that were ever
    allotted to.
    """

    minted: int
    budget: int
    held: int
    contingency: int
    granted_late: int
    returned: int
    epochs: int

    @property
    def granted(self) -> int:
        """What is neither in the budget, nor at a kiosk, nor set aside any more."""
        return self.minted - self.budget - self.held - self.contingency


def campaign_by_id(connection: Connection, tenant: TenantId, id: CampaignId) -> Campaign | None:
    """The campaign, or None."""
    row = connection.execute(select(campaign).where(campaign.c.tenant == tenant, campaign.c.id == id)).one_or_none()
    return None if row is None else read_campaign(row)


def campaigns_after(connection: Connection, tenant: TenantId, after: str, limit: int) -> tuple[Campaign, ...]:
    """At most `limit` campaigns of the tenant whose id comes after the one given, in id order."""
    query = select(campaign).where(campaign.c.tenant == tenant, campaign.c.id > after)
    return tuple(read_campaign(row) for row in connection.execute(query.order_by(campaign.c.id).limit(limit)))


def funds_of(connection: Connection, of: Campaign) -> Funds:
    """Where the campaign's points are, as the ledger says."""
    source, reserve = budget_account(of.tenant, of.id, of.unit), contingency_account(of.tenant, of.id, of.unit)
    balances = balances_of(connection, [source, reserve])

    def posted(to: AccountKey, kind: EntryKind) -> int:
        query = select(_sum(posting.c.amount)).join(journal_entry, _same_entry)
        of_kind = query.where(posting.c.tenant == of.tenant, posting.c.account == to.id, journal_entry.c.kind == kind)
        return int(connection.execute(of_kind).scalar_one())

    held = select(_sum(account.c.balance)).where(
        account.c.tenant == of.tenant,
        account.c.code == int(Code.KIOSK_BUDGET),
        account.c.subject.between(f"{of.id}:", f"{of.id};"),  # ";" follows ":" in ASCII: all that begin with the id
        account.c.unit == of.unit,
    )
    c = allotment.c
    epochs = select(func.count()).where(c.tenant == of.tenant, c.campaign == of.id)
    return Funds(
        minted=posted(source, EntryKind.MINT),
        budget=balances[source].amount if source in balances else 0,
        held=int(connection.execute(held).scalar_one()),
        contingency=balances[reserve].amount if reserve in balances else 0,
        granted_late=-posted(reserve, EntryKind.GRANT_LATE),
        returned=posted(source, EntryKind.ALLOT_RETURN),
        epochs=connection.execute(epochs).scalar_one(),
    )


_same_entry = (journal_entry.c.tenant == posting.c.tenant) & (journal_entry.c.sequence == posting.c.sequence)


def _sum(column: Column[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


def allotments_after(
    connection: Connection, tenant: TenantId, id: CampaignId, after: tuple[str, int], limit: int
) -> tuple[Allotment, ...]:
    """At most `limit` allotments of the campaign that come after (device, epoch), in that order."""
    c = allotment.c
    query = _allotments.where(c.tenant == tenant, c.campaign == id, tuple_(c.device, c.epoch) > tuple_(*after))
    return tuple(read_allotment(row) for row in connection.execute(query.order_by(c.device, c.epoch).limit(limit)))


def lock_allotments(connection: Connection, keys: Collection[AllotmentKey]) -> Mapping[AllotmentKey, HeldAllotment]:
    """Those of the allotments that there are, their rows locked in key order until the transaction ends."""
    if not keys:
        return {}
    c = allotment.c
    names = sorted((key.tenant, key.campaign, key.device, key.epoch) for key in keys)
    query = (
        _allotments.where(tuple_(c.tenant, c.campaign, c.device, c.epoch).in_(names))
        .order_by(c.tenant, c.campaign, c.device, c.epoch)
        .with_for_update(of=allotment)
    )
    held = (HeldAllotment(allotment=read_allotment(row), unit=row.unit) for row in connection.execute(query))
    return {one.allotment.key: one for one in held}


def ended_allotments(connection: Connection, ended_by: datetime, limit: int) -> tuple[AllotmentKey, ...]:
    """At most `limit` allotments that ended by then and were not taken back, those that ended first."""
    c = allotment.c
    query = select(c.tenant, c.campaign, c.device, c.epoch).where(c.ends_at <= ended_by, c.returned_at.is_(None))
    rows = connection.execute(query.order_by(c.ends_at).limit(limit))
    return tuple(
        AllotmentKey(
            tenant=TenantId(row.tenant), campaign=CampaignId(row.campaign), device=DeviceId(row.device), epoch=row.epoch
        )
        for row in rows
    )


def earlier_pace(connection: Connection, tenant: TenantId, device: DeviceId) -> Pace | None:
    """The pace of the kiosk under the allotment that it was told last, whatever campaign or epoch that was; or None."""
    c = allotment.c
    query = select(c.claims_since, c.claims, c.claims_before).where(c.tenant == tenant, c.device == device)
    row = connection.execute(query.order_by(c.issued_at.desc(), c.epoch.desc()).limit(1)).one_or_none()
    if row is None or row.claims_since is None:
        return None
    return Pace(since=row.claims_since, claims=row.claims, before=row.claims_before)


_allotments = select(allotment, campaign.c.allotment_points, campaign.c.unit).join(
    campaign, (campaign.c.tenant == allotment.c.tenant) & (campaign.c.id == allotment.c.campaign)
)


def read_campaign(row: Row[Any]) -> Campaign:  # Any: a row of the table's own columns
    """The campaign in a row of all columns of the table."""
    return Campaign(
        tenant=TenantId(row.tenant),
        id=CampaignId(row.id),
        name=row.name,
        unit=row.unit,
        allotment_points=row.allotment_points,
    )


def read_allotment(row: Row[Any]) -> Allotment:  # Any: a row that has the table's columns and its campaign's
    """The allotment in a row that has all columns of the table and `allotment_points` of its campaign.

    One from before sizes were measured is as large as the campaign allows and counts from its issue on.
    """
    key = AllotmentKey(
        tenant=TenantId(row.tenant),
        campaign=CampaignId(row.campaign),
        device=DeviceId(row.device),
        epoch=row.epoch,
    )
    return Allotment(
        key=key,
        serial=row.serial,
        total=row.total,
        spent=row.spent,
        ends_at=row.ends_at,
        issued_at=row.issued_at,
        size=row.allotment_points if row.size is None else min(row.size, row.allotment_points),
        pace=Pace(since=row.claims_since or row.issued_at, claims=row.claims, before=row.claims_before),
        returned=row.returned,
        returned_at=row.returned_at,
    )

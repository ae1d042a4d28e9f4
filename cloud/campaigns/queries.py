"""Reading campaigns, their budgets and allotments, in whatever transaction the caller is in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, func, select, tuple_

from cloud.campaigns.rules import Allotment, AllotmentKey, Campaign
from cloud.campaigns.tables import allotment, campaign
from cloud.ledger.queries import balance_of
from cloud.ledger.rules import Code, EntryKind, budget_account
from cloud.ledger.tables import account, journal_entry, posting
from shared.ids import CampaignId, DeviceId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAllotment:
    """An allotment with the size of a full one and its unit."""

    allotment: Allotment
    size: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """Where a campaign's points are: `minted` in all, of which `budget` may still be allotted, `held` lie at kiosks and
    `granted` went to members. `epochs` counts the kiosk epochs that were ever allotted to.
    """

    minted: int
    budget: int
    held: int
    epochs: int

    @property
    def granted(self) -> int:
        """What is neither in the budget nor at a kiosk any more."""
        return self.minted - self.budget - self.held


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
    source = budget_account(of.tenant, of.id, of.unit)
    budget = balance_of(connection, source)
    same_entry = (journal_entry.c.tenant == posting.c.tenant) & (journal_entry.c.sequence == posting.c.sequence)
    minted = (
        select(_sum(posting.c.amount))
        .join(journal_entry, same_entry)
        .where(
            posting.c.tenant == of.tenant, posting.c.account == source.id, journal_entry.c.kind == EntryKind.MINT.value
        )
    )
    held = select(_sum(account.c.balance)).where(
        account.c.tenant == of.tenant,
        account.c.code == int(Code.KIOSK_BUDGET),
        account.c.subject.between(f"{of.id}:", f"{of.id};"),  # ";" follows ":" in ASCII: all that begin with the id
        account.c.unit == of.unit,
    )
    c = allotment.c
    epochs = select(func.count()).where(c.tenant == of.tenant, c.campaign == of.id)
    return Funds(
        minted=int(connection.execute(minted).scalar_one()),
        budget=0 if budget is None else budget.amount,
        held=int(connection.execute(held).scalar_one()),
        epochs=connection.execute(epochs).scalar_one(),
    )


def _sum(column: Column[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


def allotments_after(
    connection: Connection, tenant: TenantId, id: CampaignId, after: tuple[str, int], limit: int
) -> tuple[Allotment, ...]:
    """At most `limit` allotments of the campaign that come after (device, epoch), in that order."""
    c = allotment.c
    query = select(allotment).where(c.tenant == tenant, c.campaign == id, tuple_(c.device, c.epoch) > tuple_(*after))
    return tuple(read_allotment(row) for row in connection.execute(query.order_by(c.device, c.epoch).limit(limit)))


def lock_allotments(connection: Connection, keys: Collection[AllotmentKey]) -> Mapping[AllotmentKey, HeldAllotment]:
    """Those of the allotments that there are, their rows locked in key order until the transaction ends."""
    if not keys:
        return {}
    c = allotment.c
    names = sorted((key.tenant, key.campaign, key.device, key.epoch) for key in keys)
    query = (
        select(allotment, campaign.c.allotment_points, campaign.c.unit)
        .join(campaign, (campaign.c.tenant == c.tenant) & (campaign.c.id == c.campaign))
        .where(tuple_(c.tenant, c.campaign, c.device, c.epoch).in_(names))
        .order_by(c.tenant, c.campaign, c.device, c.epoch)
        .with_for_update(of=allotment)
    )
    held = (
        HeldAllotment(allotment=read_allotment(row), size=row.allotment_points, unit=row.unit)
        for row in connection.execute(query)
    )
    return {one.allotment.key: one for one in held}


def read_campaign(row: Row[Any]) -> Campaign:  # Any: a row of the table's own columns
    """The campaign in a row of all columns of the table."""
    return Campaign(
        tenant=TenantId(row.tenant),
        id=CampaignId(row.id),
        name=row.name,
        unit=row.unit,
        allotment_points=row.allotment_points,
    )


def read_allotment(row: Row[Any]) -> Allotment:  # Any: a row that has the table's columns
    """The allotment in a row that has all columns of the table."""
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
    )

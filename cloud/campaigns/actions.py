"""Making and funding campaigns, and telling kiosks how much of them they may grant.

Every function works inside the caller's writing transaction. Order of locks: allotments in key order, then the
ledger's head; who draws locks with `lock_allotments` before anything is posted.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from cloud.campaigns.queries import HeldAllotment, campaign_by_id, lock_allotments
from cloud.campaigns.rules import (
    BUDGET_POINTS_MAX,
    Allotment,
    AllotmentKey,
    Campaign,
    CampaignRefusal,
    campaign_fault,
    draw,
    issue,
    needs_top_up,
    plan_top_up,
    renew,
    tell,
)
from cloud.campaigns.tables import allotment, campaign
from cloud.catalogue.queries import tenant_by_id
from cloud.catalogue.rules import Programme, programme_fault
from cloud.kit.bulk import BulkInsert, InsertNew
from cloud.kit.instants import to_microseconds
from cloud.ledger.actions import post
from cloud.ledger.queries import balances_of
from cloud.ledger.rules import Conflict, Exists, LimitExceeded, Posted, derive_entry_id, kiosk_account, mint
from cloud.ledger.rules import allot as allot_entry
from shared.answers import AllotmentIssued
from shared.ids import CampaignId, DeviceId, TenantId
from shared.points import Points

_new_campaign = InsertNew(campaign, list(campaign.c))
_a = allotment.c
_save_allotments = BulkInsert(
    allotment, list(allotment.c), update=[_a.serial, _a.total, _a.spent, _a.ends_at, _a.issued_at]
)


def create_campaign(
    connection: Connection, wanted: Campaign, *, budget: int, now: datetime
) -> Campaign | CampaignRefusal:
    """The campaign with its first budget, made and funded unless it was there."""
    fault = _name_fault(connection, wanted) or campaign_fault(wanted)
    if fault is not None:
        return fault
    if not 0 <= budget <= BUDGET_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_BUDGET
    row = (wanted.tenant, wanted.id, wanted.name, wanted.unit, wanted.allotment_points, to_microseconds(now))
    is_new = bool(_new_campaign.run(connection, [row]))
    if campaign_by_id(connection, wanted.tenant, wanted.id) != wanted:
        return CampaignRefusal.TAKEN
    if is_new and budget:
        add_budget(connection, wanted.tenant, wanted.id, budget, key="first", now=now)
    return wanted


def add_budget(
    connection: Connection, tenant: TenantId, id: CampaignId, points: int, *, key: str, now: datetime
) -> Campaign | CampaignRefusal:
    """The campaign with that many points more to allot, minted once for each `key`."""
    held = campaign_by_id(connection, tenant, id)
    if held is None:
        return CampaignRefusal.UNKNOWN_CAMPAIGN
    if not 0 < points <= BUDGET_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_BUDGET
    entry = mint(
        id=derive_entry_id("mint", tenant, id, key),
        tenant=tenant,
        campaign=id,
        points=Points(amount=points, unit=held.unit),
        effective_at=now,
    )
    (outcome,) = post(connection, [entry], recorded_at=now)
    match outcome:
        case Posted() | Exists():
            return held
        case Conflict():  # the key was used for another amount or at another instant: the first counts
            return CampaignRefusal.TAKEN
        case LimitExceeded():
            return CampaignRefusal.UNUSABLE_BUDGET


def allot(
    connection: Connection, *, tenant: TenantId, id: CampaignId, device: DeviceId, epoch: int, now: datetime
) -> AllotmentIssued | None:
    """What a kiosk that is online may grant of the campaign: given on first sight, topped up and renewed later.

    Asked again within the day it is the same, unless claims arrived. None when there is no such campaign. The caller
    holds the device's row, so that two workers do not both see it first.
    """
    scheme = campaign_by_id(connection, tenant, id)
    if scheme is None:
        return None
    key = AllotmentKey(tenant=tenant, campaign=id, device=device, epoch=epoch)
    found = lock_allotments(connection, [key]).get(key)
    held = None if found is None else found.allotment
    fresh = _top_up(connection, {key: held}, {key: scheme.allotment_points}, {key: scheme.unit}, now)
    current = fresh.get(key) or (None if held is None else renew(held, now))
    assert current is not None, "what does not exist needs a top-up"
    if current != held:
        _save(connection, [current])
    return tell(current, scheme.unit)


def record_draws(
    connection: Connection, held: Mapping[AllotmentKey, HeldAllotment], drawn: Mapping[AllotmentKey, int], now: datetime
) -> tuple[AllotmentIssued, ...]:
    """What kiosks have to be told after claims drew these points from their allotments (as locked before).

    Allotments that are near their end are filled again. Draws on what was never allotted are left out: the ledger
    found nothing to post them from.
    """
    after = {key: draw(held[key].allotment, points) for key, points in drawn.items() if key in held and points}
    low = {key: one for key, one in after.items() if needs_top_up(one, held[key].size)}
    sizes, units = {key: held[key].size for key in low}, {key: held[key].unit for key in low}
    fresh = _top_up(connection, low, sizes, units, now)
    _save(connection, [fresh.get(key, one) for key, one in after.items()])
    return tuple(tell(one, units[key]) for key, one in fresh.items())


def _top_up(
    connection: Connection,
    held: Mapping[AllotmentKey, Allotment | None],
    sizes: Mapping[AllotmentKey, int],
    units: Mapping[AllotmentKey, str],
    now: datetime,
) -> dict[AllotmentKey, Allotment]:
    """Those of the allotments that were low and could be filled, as far as their budgets reach."""
    accounts = {key: kiosk_account(key.tenant, key.campaign, key.device, key.epoch, units[key]) for key in held}
    balances = balances_of(connection, list(accounts.values()))
    funds = {key: balances[account].amount if account in balances else 0 for key, account in accounts.items()}
    filled: dict[AllotmentKey, Allotment] = {}
    for key, one in held.items():
        plan = plan_top_up(one, sizes[key], funds[key])
        if plan is None:
            continue
        moved = _move(connection, key, one, Points(amount=plan.points, unit=units[key]), now)
        fresh = issue(key, one, funds[key] + moved, now)
        if one is None or fresh.total > one.total:
            filled[key] = fresh
    return filled


def _move(connection: Connection, key: AllotmentKey, held: Allotment | None, wanted: Points, now: datetime) -> int:
    """How many points went from the budget to the kiosk's account: those wanted, or all there were."""
    if wanted.amount == 0:
        return 0
    entry = allot_entry(
        tenant=key.tenant,
        campaign=key.campaign,
        device=key.device,
        epoch=key.epoch,
        serial=1 if held is None else held.serial + 1,
        points=wanted,
        effective_at=now,
    )
    (outcome,) = post(connection, [entry], recorded_at=now)
    match outcome:
        case Posted():
            return wanted.amount
        case LimitExceeded(balance=left):
            return _move(connection, key, held, Points(amount=left, unit=wanted.unit), now)
        case Exists() | Conflict():
            raise AssertionError("a serial allots once, and its row is locked")


def _save(connection: Connection, changed: list[Allotment]) -> None:
    _save_allotments.run(
        connection,
        [
            (
                one.key.tenant,
                one.key.campaign,
                one.key.device,
                one.key.epoch,
                one.serial,
                one.total,
                one.spent,
                to_microseconds(one.ends_at),
                to_microseconds(one.issued_at),
            )
            for one in changed
        ],
    )


def _name_fault(connection: Connection, wanted: Campaign) -> CampaignRefusal | None:
    """What is wrong with the campaign's id, name or unit: they follow the rules of a programme's."""
    named = Programme(id=wanted.id, tenant=wanted.tenant, name=wanted.name, unit=wanted.unit)
    fault = programme_fault(named)
    if fault is not None:
        return CampaignRefusal(fault.value)
    return None if tenant_by_id(connection, wanted.tenant) is not None else CampaignRefusal.UNKNOWN_TENANT

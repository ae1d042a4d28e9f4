"""Making and funding campaigns, and telling kiosks how much of them they may grant.

Every function but `return_ended` works inside the caller's writing transaction. Order of locks: allotments in key
order, then the ledger's head; who draws locks with `lock_allotments` before anything is posted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from cloud.campaigns.queries import (
    HeldAllotment,
    campaign_by_id,
    earlier_pace,
    ended_allotments,
    lock_allotments,
)
from cloud.campaigns.rules import (
    BUDGET_POINTS_MAX,
    RETURN_AFTER,
    Allotment,
    AllotmentKey,
    Campaign,
    CampaignRefusal,
    Drawn,
    Pace,
    TopUp,
    campaign_fault,
    draw,
    full_size,
    is_over,
    issue,
    needs_top_up,
    plan_top_up,
    renew,
    take_back,
    tell,
)
from cloud.campaigns.tables import allotment, campaign
from cloud.catalogue.queries import tenant_by_id
from cloud.catalogue.rules import Programme, programme_fault
from cloud.devices.queries import newest_epochs
from cloud.kit.bulk import BulkInsert, InsertNew
from cloud.kit.database import writing
from cloud.kit.instants import to_microseconds
from cloud.ledger.actions import post
from cloud.ledger.queries import balances_of
from cloud.ledger.rules import (
    Conflict,
    Exists,
    LimitExceeded,
    Posted,
    derive_entry_id,
    kiosk_account,
    mint,
    return_allotment,
    set_aside,
)
from cloud.ledger.rules import allot as allot_entry
from shared.answers import AllotmentIssued
from shared.ids import CampaignId, DeviceId, TenantId
from shared.points import Points

RETURNS_MAX: Final = 500  # allotments taken back in one transaction: some 0.1 s

_new_campaign = InsertNew(campaign, list(campaign.c))
_a = allotment.c
_save_allotments = BulkInsert(allotment, list(_a), update=list(_a)[len(allotment.primary_key) :])


def create_campaign(
    connection: Connection, wanted: Campaign, *, budget: int, now: datetime, contingency: int = 0
) -> Campaign | CampaignRefusal:
    """The campaign with its first budget, made and funded unless it was there.

    So much as `contingency` says of the budget is set aside for claims that come late.
    """
    fault = _name_fault(connection, wanted) or campaign_fault(wanted)
    if fault is not None:
        return fault
    if not 0 <= budget <= BUDGET_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_BUDGET
    if not 0 <= contingency <= budget:
        return CampaignRefusal.UNUSABLE_CONTINGENCY
    row = (wanted.tenant, wanted.id, wanted.name, wanted.unit, wanted.allotment_points, to_microseconds(now))
    is_new = bool(_new_campaign.run(connection, [row]))
    if campaign_by_id(connection, wanted.tenant, wanted.id) != wanted:
        return CampaignRefusal.TAKEN
    if is_new and budget:
        add_budget(connection, wanted.tenant, wanted.id, budget, key="first", now=now)
    if is_new and contingency:
        add_contingency(connection, wanted.tenant, wanted.id, contingency, key="first", now=now)
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


def add_contingency(
    connection: Connection, tenant: TenantId, id: CampaignId, points: int, *, key: str, now: datetime
) -> Campaign | CampaignRefusal:
    """The campaign with that many points more of its budget set aside for late claims, once for each `key`."""
    held = campaign_by_id(connection, tenant, id)
    if held is None:
        return CampaignRefusal.UNKNOWN_CAMPAIGN
    if not 0 < points <= BUDGET_POINTS_MAX:
        return CampaignRefusal.UNUSABLE_CONTINGENCY
    entry = set_aside(
        id=derive_entry_id("contingency", tenant, id, key),
        tenant=tenant,
        campaign=id,
        points=Points(amount=points, unit=held.unit),
        effective_at=now,
    )
    (outcome,) = post(connection, [entry], recorded_at=now)
    match outcome:
        case Posted() | Exists():
            return held
        case Conflict():
            return CampaignRefusal.TAKEN
        case LimitExceeded():
            return CampaignRefusal.UNUSABLE_CONTINGENCY


def allot(
    connection: Connection,
    *,
    tenant: TenantId,
    id: CampaignId,
    device: DeviceId,
    epoch: int,
    points_a_claim: int,
    is_settled: bool,
    now: datetime,
) -> AllotmentIssued | None:
    """What a kiosk that is online may grant of the campaign: given on first sight, topped up and renewed later.

    Asked again within the day it is the same, unless claims arrived. None when there is no such campaign. What was
    taken back is given anew once the kiosk `is_settled`: as long as claims may be on the way nobody knows how much of
    its total it still has. The caller holds the device's row, so that two workers do not both see it first.
    """
    scheme = campaign_by_id(connection, tenant, id)
    if scheme is None:
        return None
    key = AllotmentKey(tenant=tenant, campaign=id, device=device, epoch=epoch)
    found = lock_allotments(connection, [key]).get(key)
    held = None if found is None else found.allotment
    pace = (earlier_pace(connection, tenant, device) or Pace(since=now)) if held is None else held.pace
    size = full_size(pace, points_a_claim, scheme.allotment_points, now)
    if held is not None and held.returned_at is not None and not is_settled:
        return tell(held, scheme.unit)
    wanted = _Wanted(held=held, size=size, points_a_claim=points_a_claim, pace=pace, unit=scheme.unit)
    current = _top_up(connection, {key: wanted}, now).get(key) or (None if held is None else renew(held, size, now))
    assert current is not None, "what does not exist needs a top-up"
    if current != held:
        _save(connection, [current])
    return tell(current, scheme.unit)


def record_draws(
    connection: Connection,
    held: Mapping[AllotmentKey, HeldAllotment],
    drawn: Mapping[AllotmentKey, Drawn],
    now: datetime,
) -> tuple[AllotmentIssued, ...]:
    """What kiosks have to be told after claims drew these points from their allotments (as locked before).

    Allotments that are near their end are filled again, unless the rest was taken back (the kiosk has to show itself
    first) or the kiosk has another database by now. Draws on what was never allotted are left out.
    """
    after = {key: draw(held[key].allotment, more, now) for key, more in drawn.items() if key in held and more.points}
    takes = {key: -(-drawn[key].points // max(1, drawn[key].claims)) for key in after}
    low = {
        key: one for key, one in after.items() if one.returned_at is None and needs_top_up(one, one.size, takes[key])
    }
    newest = newest_epochs(connection, {key.device for key in low}) if low else {}
    wanted = {
        key: _Wanted(held=one, size=one.size, points_a_claim=takes[key], pace=one.pace, unit=held[key].unit)
        for key, one in low.items()
        if newest.get(key.device, 0) <= key.epoch
    }
    fresh = _top_up(connection, wanted, now)
    _save(connection, [fresh.get(key, one) for key, one in after.items()])
    return tuple(tell(one, wanted[key].unit) for key, one in fresh.items())


def note_draws(
    connection: Connection,
    held: Mapping[AllotmentKey, HeldAllotment],
    drawn: Mapping[AllotmentKey, Drawn],
    now: datetime,
) -> None:
    """The draws count (the allotments as locked before) and nothing is filled again: a person let them through."""
    _save(connection, [draw(held[key].allotment, more, now) for key, more in drawn.items() if key in held])


def return_ended(engine: Engine, now: datetime, *, at_once: int = RETURNS_MAX) -> int:
    """How many points went back into budgets from allotments that are over; nothing more when it is called again.

    Meant for every hour. It works in transactions of so many allotments `at_once`, so that claims do not wait long.
    """
    points = 0
    while True:
        with writing(engine) as connection:
            keys = ended_allotments(connection, now - RETURN_AFTER, at_once)
            points += _take_back(connection, keys, now)
        if len(keys) < at_once:
            return points


def _take_back(connection: Connection, keys: Sequence[AllotmentKey], now: datetime) -> int:
    """The points that went back from those of the allotments that are over, now that their rows are locked."""
    locked = lock_allotments(connection, keys)
    over = {key: one for key, one in locked.items() if is_over(one.allotment, now)}
    funds = _funds(connection, {key: one.unit for key, one in over.items()})
    entries = [
        return_allotment(
            tenant=key.tenant,
            campaign=key.campaign,
            device=key.device,
            epoch=key.epoch,
            serial=one.allotment.serial,
            points=Points(amount=funds[key], unit=one.unit),
            effective_at=now,
        )
        for key, one in over.items()
        if funds[key]
    ]
    outcomes = post(connection, entries, recorded_at=now)
    assert all(isinstance(outcome, Posted) for outcome in outcomes), "a serial returns once, and its row is locked"
    _save(connection, [take_back(one.allotment, funds[key], now) for key, one in over.items()])
    return sum(funds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An allotment that may have to be filled: as it is held, None for none yet, as large as it should be, and what one
    claim takes of it."""

    held: Allotment | None
    size: int
    points_a_claim: int
    pace: Pace
    unit: str


def _funds(connection: Connection, units: Mapping[AllotmentKey, str]) -> dict[AllotmentKey, int]:
    """What each kiosk's account holds."""
    accounts = {
        key: kiosk_account(key.tenant, key.campaign, key.device, key.epoch, unit) for key, unit in units.items()
    }
    balances = balances_of(connection, list(accounts.values()))
    return {key: balances[account].amount if account in balances else 0 for key, account in accounts.items()}


def _top_up(
    connection: Connection, wanted: Mapping[AllotmentKey, _Wanted], now: datetime
) -> dict[AllotmentKey, Allotment]:
    """Those of the allotments that were low and could be filled, as far as their budgets reach."""
    funds = _funds(connection, {key: one.unit for key, one in wanted.items()})
    filled: dict[AllotmentKey, Allotment] = {}
    for key, one in wanted.items():
        plan = plan_top_up(one.held, one.size, funds[key], one.points_a_claim)
        if plan is None:
            continue
        moved = _move(connection, key, one, plan, now)
        fresh = issue(key, one.held, funds=funds[key] + moved, size=one.size, pace=one.pace, now=now)
        if one.held is None or fresh.total > one.held.total or (one.held.returned_at and moved >= plan.points_min):
            filled[key] = fresh
    return filled


def _move(connection: Connection, key: AllotmentKey, wanted: _Wanted, plan: TopUp, now: datetime) -> int:
    """How many points went from the budget to the kiosk's account: those planned, or all there were.

    None when there were fewer than the plan needs at least.
    """
    if plan.points == 0 or plan.points < plan.points_min:
        return 0
    entry = allot_entry(
        tenant=key.tenant,
        campaign=key.campaign,
        device=key.device,
        epoch=key.epoch,
        serial=1 if wanted.held is None else wanted.held.serial + 1,
        points=Points(amount=plan.points, unit=wanted.unit),
        effective_at=now,
    )
    (outcome,) = post(connection, [entry], recorded_at=now)
    match outcome:
        case Posted():
            return plan.points
        case LimitExceeded(balance=left):
            return _move(connection, key, wanted, replace(plan, points=left), now)
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
                one.size,
                to_microseconds(one.pace.since),
                one.pace.claims,
                one.pace.before,
                one.returned,
                None if one.returned_at is None else to_microseconds(one.returned_at),
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

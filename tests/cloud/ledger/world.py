"""The names and instants the ledger's tests speak of, and short ways to write its transfers."""

from datetime import UTC, datetime

from cloud.ledger.rules import (
    AccountKey,
    EntryDraft,
    allot,
    budget_account,
    grant_daily,
    grant_late,
    kiosk_account,
    member_account,
    set_aside,
)
from cloud.ledger.rules import mint as mint_rule
from shared.ids import CampaignId, ClaimId, DeviceId, MemberId, TenantId
from shared.points import Points

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNIT = "PT:consumption"
TENANT = TenantId("bakers")
CAMPAIGN = CampaignId("spring")
DEVICE = DeviceId("door1")
ANNA = MemberId(b"anna-00001")
BRUNO = MemberId(b"bruno-0002")

BUDGET = budget_account(TENANT, CAMPAIGN, UNIT)
KIOSK = kiosk_account(TENANT, CAMPAIGN, DEVICE, 1, UNIT)


def points(amount: int) -> Points:
    """Consumption points."""
    return Points(amount=amount, unit=UNIT)


def entry_id(number: int) -> bytes:
    """The id of the test's n-th entry."""
    return number.to_bytes(16, "big")


def mint(number: int, amount: int, tenant: TenantId = TENANT) -> EntryDraft:
    """New points for the campaign."""
    return mint_rule(id=entry_id(number), tenant=tenant, campaign=CAMPAIGN, points=points(amount), effective_at=NOON)


def allotment(serial: int, amount: int, tenant: TenantId = TENANT) -> EntryDraft:
    """Points for the kiosk at the door."""
    return allot(
        tenant=tenant,
        campaign=CAMPAIGN,
        device=DEVICE,
        epoch=1,
        serial=serial,
        points=points(amount),
        effective_at=NOON,
    )


def grant(number: int, amount: int, member: MemberId = ANNA, tenant: TenantId = TENANT) -> EntryDraft:
    """The daily reward."""
    return grant_daily(
        claim=ClaimId(entry_id(number)),
        tenant=tenant,
        campaign=CAMPAIGN,
        device=DEVICE,
        epoch=1,
        member=member,
        points=points(amount),
        effective_at=NOON,
    )


def reserve(number: int, amount: int) -> EntryDraft:
    """Points set aside for what comes late."""
    return set_aside(id=entry_id(number), tenant=TENANT, campaign=CAMPAIGN, points=points(amount), effective_at=NOON)


def late_grant(number: int, amount: int, member: MemberId = ANNA) -> EntryDraft:
    """The daily reward, late."""
    return grant_late(
        claim=ClaimId(entry_id(number)),
        tenant=TENANT,
        campaign=CAMPAIGN,
        member=member,
        points=points(amount),
        effective_at=NOON,
    )


def wallet(member: MemberId) -> AccountKey:
    """The member's spendable points."""
    return member_account(TENANT, member, UNIT)

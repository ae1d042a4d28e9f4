"""Entries that cannot stand are refused when they are built; ids and digests are what they were when first issued."""

from dataclasses import replace
from datetime import datetime

import pytest

from cloud.errors import EntryMalformed
from cloud.ledger.rules import (
    AMOUNT_MAX,
    AccountKey,
    Code,
    EntryDraft,
    Posting,
    Side,
    body_digest,
    budget_account,
    chain_digest,
    derive_entry_id,
    floor_of,
    genesis_digest,
    kiosk_account,
    on_normal_side,
    return_allotment,
    set_aside,
    side_of,
)
from shared.ids import CampaignId, DeviceId, TenantId
from tests.cloud.ledger.world import (
    BUDGET,
    CAMPAIGN,
    DEVICE,
    KIOSK,
    NOON,
    TENANT,
    UNIT,
    allotment,
    entry_id,
    grant,
    late_grant,
    mint,
    points,
)

GOOD = mint(1, 10)
OTHER_UNIT = AccountKey(tenant=TENANT, code=Code.BUDGET, unit="MONEY:EUR", subject="spring")
OTHER_TENANT = budget_account(TenantId("butchers"), CAMPAIGN, UNIT)


def _legs(*legs: tuple[AccountKey, int]) -> tuple[Posting, ...]:
    return tuple(Posting(account=account, amount=amount) for account, amount in legs)


@pytest.mark.parametrize(
    ("postings", "field"),
    [
        ((), "postings"),
        (_legs((BUDGET, 1)), "postings"),
        (_legs((BUDGET, 0), (KIOSK, 0)), "postings"),
        (_legs((BUDGET, -1), (KIOSK, 2)), "postings"),
        (_legs((BUDGET, -1), (BUDGET, 1)), "postings"),
        (_legs((OTHER_UNIT, -1), (KIOSK, 1)), "postings"),
        (_legs((OTHER_TENANT, -1), (KIOSK, 1)), "postings"),
        (_legs((BUDGET, -AMOUNT_MAX - 1), (KIOSK, AMOUNT_MAX + 1)), "postings"),
        (
            _legs(*((kiosk_account(TENANT, CAMPAIGN, DEVICE, n, UNIT), 1 if n % 2 else -1) for n in range(102))),
            "postings",
        ),
    ],
)
def test_an_entry_that_cannot_stand_is_refused(postings: tuple[Posting, ...], field: str) -> None:
    with pytest.raises(EntryMalformed) as refused:
        replace(GOOD, postings=postings)
    assert refused.value.field == field


@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_id_has_sixteen_bytes(length: int) -> None:
    with pytest.raises(EntryMalformed):
        replace(GOOD, id=b"x" * length)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(EntryMalformed):
        replace(GOOD, effective_at=datetime(2026, 3, 1))  # noqa: DTZ001 - the very thing that is refused


@pytest.mark.parametrize("amount", [0, -1])
def test_a_transfer_moves_something_forward(amount: int) -> None:
    with pytest.raises(EntryMalformed):
        grant(1, amount)


def test_a_subject_cannot_be_forged_by_a_colon() -> None:
    with pytest.raises(EntryMalformed):
        budget_account(TENANT, CampaignId("spring:door1:1"), UNIT)


def test_two_units_may_balance_side_by_side() -> None:
    euros = AccountKey(tenant=TENANT, code=Code.DEPOSIT, unit="MONEY:EUR", subject="m")
    entry = replace(GOOD, postings=_legs((BUDGET, -5), (KIOSK, 5), (OTHER_UNIT, 7), (euros, -7)))
    assert len(entry.postings) == 4


def test_the_largest_amount_stands() -> None:
    assert mint(1, AMOUNT_MAX).postings[1].amount == AMOUNT_MAX


def test_transfers_join_the_accounts_they_name() -> None:
    def joined(draft: EntryDraft) -> list[tuple[Code, str, int]]:
        return [(leg.account.code, leg.account.subject, leg.amount) for leg in draft.postings]

    back = return_allotment(
        tenant=TENANT, campaign=CAMPAIGN, device=DEVICE, epoch=1, serial=1, points=points(4), effective_at=NOON
    )
    assert joined(mint(1, 9)) == [(Code.ISSUANCE, "", -9), (Code.BUDGET, "spring", 9)]
    assert joined(allotment(1, 8)) == [(Code.BUDGET, "spring", -8), (Code.KIOSK_BUDGET, "spring:door1:1", 8)]
    assert joined(back) == [(Code.KIOSK_BUDGET, "spring:door1:1", -4), (Code.BUDGET, "spring", 4)]
    assert joined(grant(1, 5)) == [
        (Code.KIOSK_BUDGET, "spring:door1:1", -5),
        (Code.MEMBER_AVAILABLE, "mfxg4yjngaydambr", 5),
    ]
    aside = set_aside(id=entry_id(9), tenant=TENANT, campaign=CAMPAIGN, points=points(3), effective_at=NOON)
    assert joined(aside) == [(Code.BUDGET, "spring", -3), (Code.CONTINGENCY, "spring", 3)]
    assert joined(late_grant(1, 5)) == [
        (Code.CONTINGENCY, "spring", -5),
        (Code.MEMBER_AVAILABLE, "mfxg4yjngaydambr", 5),
    ]
    assert late_grant(1, 5).id == grant(1, 5).id
    assert allotment(1, 8).id != back.id


def test_an_allotment_is_named_by_kiosk_epoch_and_serial() -> None:
    assert allotment(1, 8).id == allotment(1, 9).id
    assert allotment(1, 8).id != allotment(2, 8).id


def test_accounts_differ_when_any_part_differs() -> None:
    keys = {
        kiosk_account(TENANT, CAMPAIGN, DEVICE, 1, UNIT).id,
        kiosk_account(TENANT, CAMPAIGN, DEVICE, 2, UNIT).id,
        kiosk_account(TENANT, CAMPAIGN, DeviceId("door2"), 1, UNIT).id,
        kiosk_account(TENANT, CAMPAIGN, DEVICE, 1, "PT:guide").id,
        kiosk_account(TenantId("butchers"), CAMPAIGN, DEVICE, 1, UNIT).id,
        AccountKey(tenant=TENANT, code=Code.BUDGET, unit=UNIT, subject="spring:door1:1").id,
    }
    assert len(keys) == 6


def test_people_see_balances_on_the_normal_side() -> None:
    assert (side_of(Code.ISSUANCE), on_normal_side(Code.ISSUANCE, -100)) == (Side.DEBIT, 100)
    assert (side_of(Code.BUDGET), on_normal_side(Code.BUDGET, 100)) == (Side.CREDIT, 100)
    assert (floor_of(Code.ISSUANCE), floor_of(Code.BUDGET), floor_of(Code.MEMBER_DEBT)) == (None, 0, 0)


def test_golden_ids_and_digests() -> None:
    """A change here makes every recorded ledger unverifiable: write a new version of the form instead."""
    body = body_digest(
        bytes(16), "bakers", "mint", 1_772_366_400_000_000, "", [(1000, UNIT, "", -5), (2010, UNIT, "s", 5)]
    )
    assert KIOSK.id.hex() == "0d2601762c9bfae4b7c5cea2ff8a2640"
    assert derive_entry_id("allot", "bakers").hex() == "1cb3d46c0ccfa1182dee705276b5b04d"
    assert body.hex() == "7144200e2592012d473c9186ae3efbaec611f5dd50986edd4bba2c4e1b826df7"
    assert genesis_digest("bakers").hex() == "cf1dde3bb7d62b0d8740347be8e6a226680e8f4229a862a4845bf0acef6bec2c"
    assert (
        chain_digest(genesis_digest("bakers"), 1, 1_772_366_400_000_000, body).hex()
        == "7f1867756673d63d020b689f6a65312b59d6c78e00c2481d6f7a6dbfece9d2c2"
    )

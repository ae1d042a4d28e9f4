"""Which page of a feed may be applied, and when the cloud must be asked for one that is missing."""

import msgspec
import pytest

from edge.core.feeds import HeldFeed, PageVerdict, judge_page
from shared.answers import (
    DenyEntry,
    DenyPage,
    GroupPage,
    HubLease,
    IssuerKey,
    KeyPage,
    Page,
    PolicyPage,
    RevocationPage,
    RosterEntry,
    RosterPage,
    SignerKey,
    StoreKiosk,
    StorePage,
    TemplateEntry,
    TemplatePage,
)
from shared.policy import Policy
from tests.support.entrances import policy

HELD = HeldFeed(version=7, issued_ms=1000)
KEY = b"k" * 32


def deny(base: int, version: int, *, issued_ms: int = 1000, reset: bool = False) -> DenyPage:
    entries = (DenyEntry(member=b"m" * 10),)
    return DenyPage(base=base, version=version, more=False, issued_ms=issued_ms, reset=reset, entries=entries)


def revocations(base: int, version: int, *, reset: bool = False) -> RevocationPage:
    return RevocationPage(base=base, version=version, more=False, issued_ms=1000, reset=reset, entries=())


def roster(base: int, version: int, *, reset: bool = False) -> RosterPage:
    entries = (RosterEntry(member=b"m" * 10),)
    return RosterPage(base=base, version=version, more=False, issued_ms=1000, reset=reset, entries=entries)


def terms(version: int, held_policy: Policy | None, *, issued_ms: int = 1000) -> PolicyPage:
    return PolicyPage(base=0, version=version, more=False, issued_ms=issued_ms, policy=held_policy)


def keys(
    *issuers: tuple[int, bytes], signers: tuple[tuple[int, bytes], ...] = ((1, KEY),), version: int = 8
) -> KeyPage:
    return KeyPage(
        base=0,
        version=version,
        more=False,
        issued_ms=1000,
        issuers=tuple(IssuerKey(key=number, public=public) for number, public in issuers),
        signers=tuple(SignerKey(key=number, public=public) for number, public in signers),
    )


def templates(base: int, version: int, *, reset: bool = False) -> TemplatePage:
    entries = (TemplateEntry(member=b"m" * 10, template=None),)
    return TemplatePage(base=base, version=version, more=False, issued_ms=1000, reset=reset, entries=entries)


def group(version: int, *, issued_ms: int = 1000) -> GroupPage:
    return GroupPage(base=0, version=version, more=False, issued_ms=issued_ms, key=None, kiosks=("a",), wrap=None)


def store(version: int, **changes: object) -> StorePage:
    page = StorePage(
        base=0,
        version=version,
        more=False,
        issued_ms=1000,
        kiosks=(StoreKiosk(device="a", public=KEY),),
        owners=("a",),
        following=("a", "b"),
        following_from="2026-03-03",
        hub=HubLease(device="a", ends_ms=1),
    )
    return msgspec.structs.replace(page, **changes)


@pytest.mark.parametrize(
    ("page", "verdict"),
    [
        # The store's network is always told whole, and only if it can be used.
        (store(7), PageVerdict.APPLY),
        (store(6), PageVerdict.IGNORE),
        (store(9, following=None, following_from=None), PageVerdict.APPLY),
        (store(9, kiosks=(StoreKiosk(device="a", public=b"k"),)), PageVerdict.IGNORE),
        (store(9, kiosks=(StoreKiosk(device="a", public=KEY),) * 41), PageVerdict.IGNORE),
        (store(9, owners=("a/b",)), PageVerdict.IGNORE),
        (store(9, following=("a",) * 41), PageVerdict.IGNORE),
        (store(9, following_from="soon"), PageVerdict.IGNORE),
        # The group is always told whole; templates are a log of changes like the roster.
        (group(7), PageVerdict.APPLY),
        (group(12), PageVerdict.APPLY),
        (group(6), PageVerdict.IGNORE),
        (group(8, issued_ms=999), PageVerdict.IGNORE),
        (templates(7, 8), PageVerdict.APPLY),
        (templates(8, 9), PageVerdict.ASK),
        (templates(0, 9, reset=True), PageVerdict.APPLY),
        # The next page, the same version again (only its age is renewed), and a page after a gap.
        (deny(7, 8), PageVerdict.APPLY),
        (deny(7, 7), PageVerdict.APPLY),
        (deny(8, 9), PageVerdict.ASK),
        (deny(6, 8), PageVerdict.ASK),
        (revocations(7, 8), PageVerdict.APPLY),
        (revocations(9, 10), PageVerdict.ASK),
        (roster(7, 8), PageVerdict.APPLY),
        (roster(9, 10), PageVerdict.ASK),
        # A reset begins anew from nothing; the pages after it are steps like any other.
        (deny(0, 9, reset=True), PageVerdict.APPLY),
        (deny(8, 9, reset=True), PageVerdict.ASK),
        (deny(0, 9), PageVerdict.ASK),
        # What is older than what is held is never applied, whoever signed it.
        (deny(5, 6), PageVerdict.IGNORE),
        (deny(0, 6, reset=True), PageVerdict.IGNORE),
        (deny(7, 8, issued_ms=999), PageVerdict.IGNORE),
        (terms(6, policy(version=6)), PageVerdict.IGNORE),
        (keys((1, KEY), version=6), PageVerdict.IGNORE),
        # A policy is always whole, and names its own version.
        (terms(8, policy(version=8)), PageVerdict.APPLY),
        (terms(12, policy(version=12)), PageVerdict.APPLY),
        (terms(8, policy(version=9)), PageVerdict.IGNORE),
        (terms(8, policy(version=8, points=0)), PageVerdict.IGNORE),
        (terms(7, None), PageVerdict.APPLY),
        (terms(8, None), PageVerdict.ASK),
        # The key set is whole, too; a page that could not be stored is not begun.
        (keys((1, KEY), (2, KEY)), PageVerdict.APPLY),
        (keys(), PageVerdict.APPLY),
        (keys((1, KEY[:31])), PageVerdict.IGNORE),
        (keys((1, KEY), (1, b"x" * 32)), PageVerdict.IGNORE),
        (keys((1, KEY), signers=((1, b""),)), PageVerdict.IGNORE),
        (keys((1, KEY), signers=((2, KEY), (2, KEY))), PageVerdict.IGNORE),
        (keys((1, KEY), signers=((0, KEY),)), PageVerdict.IGNORE),
    ],
)
def test_a_page_fits_one_place(page: Page, verdict: PageVerdict) -> None:
    assert judge_page(page, HELD) is verdict


def test_a_new_kiosk_reads_every_feed_from_its_beginning() -> None:
    nothing = HeldFeed()
    assert judge_page(deny(0, 3), nothing) is PageVerdict.APPLY
    assert judge_page(terms(5, policy(version=5)), nothing) is PageVerdict.APPLY
    assert judge_page(terms(5, None), nothing) is PageVerdict.ASK
    assert judge_page(roster(3, 4), nothing) is PageVerdict.ASK

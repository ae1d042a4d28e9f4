"""Whether a page of a feed may be applied to what this device holds."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import assert_never

from shared.answers import (
    ROOT_SIGNER,
    DenyPage,
    GroupPage,
    KeyPage,
    Page,
    PolicyPage,
    RevocationPage,
    RosterPage,
    StorePage,
    TemplatePage,
)
from shared.biometrics import KIOSKS_MAX
from shared.ids import parse_device
from shared.policy import policy_fault
from shared.signing import PUBLIC_KEY_BYTES


class PageVerdict(StrEnum):
    """APPLY it; IGNORE it (older than held, or unusable); ASK the cloud, because pages in between are missing."""

    APPLY = "apply"
    IGNORE = "ignore"
    ASK = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFeed:
    """The version held and the newest `issued_ms` ever applied; zeros when nothing is held."""

    version: int = 0
    issued_ms: int = 0


def judge_page(page: Page, held: HeldFeed) -> PageVerdict:
    """What to do with a page. A page older than the held one is never applied, whoever signed it."""
    if page.issued_ms < held.issued_ms or page.version < held.version:
        return PageVerdict.IGNORE
    match page:
        case KeyPage():
            return PageVerdict.APPLY if _are_keys(page) else PageVerdict.IGNORE
        case PolicyPage(policy=None):
            return PageVerdict.APPLY if page.version == held.version else PageVerdict.ASK
        case PolicyPage(policy=policy):
            assert policy is not None
            usable = policy_fault(policy) is None and policy.version == page.version
            return PageVerdict.APPLY if usable else PageVerdict.IGNORE
        case GroupPage():
            return PageVerdict.APPLY
        case StorePage():
            return PageVerdict.APPLY if store_fault(page) is None else PageVerdict.IGNORE
        case DenyPage() | RevocationPage() | RosterPage() | TemplatePage():
            fits = page.base == held.version or (page.reset and page.base == 0)
            return PageVerdict.APPLY if fits else PageVerdict.ASK
        case _:
            assert_never(page)


def store_fault(page: StorePage) -> str | None:
    """What makes the page unusable, or None."""
    if len(page.kiosks) > KIOSKS_MAX or any(len(kiosk.public) != PUBLIC_KEY_BYTES for kiosk in page.kiosks):
        return "kiosks"
    lists = (page.owners, page.following or ())
    if not all(len(owners) <= KIOSKS_MAX and all(map(parse_device, owners)) for owners in lists):
        return "owners"
    try:
        date.fromisoformat(page.following_from or "1970-01-01")
    except ValueError:
        return "following_from"
    return None


def _are_keys(page: KeyPage) -> bool:
    """True when every key has its length and a number of its own, and no signer takes the root's place."""
    lengths = {len(key.public) for key in page.issuers} | {len(key.public) for key in page.signers}
    issuers, signers = {key.key for key in page.issuers}, {key.key for key in page.signers}
    return (
        lengths <= {PUBLIC_KEY_BYTES}
        and (len(issuers), len(signers)) == (len(page.issuers), len(page.signers))
        and ROOT_SIGNER not in signers
    )

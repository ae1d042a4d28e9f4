"""What a catalogue entry may be, and how a store and its terms become the policy that kiosks act on. Pure."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from shared.business_day import CUTOFF_HOUR_MAX, StoreCalendar, milliseconds
from shared.ids import CampaignId, RuleId, StoreId, TenantId
from shared.policy import InstantTerms, Liveness, Policy, policy_fault

ID_LENGTH_MAX = 40
NAME_LENGTH_MAX = 80  # what a greeting line of the kiosk's screen can hold
DAILY_RULE: Final = RuleId("daily")
"""One name whatever the campaign, since the claim id is derived from it: a campaign that changes at noon must not
open the same day a second time."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_UNIT = re.compile(r"[A-Z]{2,8}:[a-z0-9-]{1,32}")


class CatalogueRefusal(StrEnum):
    """Why an entry was not made or changed."""

    UNUSABLE_ID = "unusable_id"
    UNUSABLE_NAME = "unusable_name"
    UNUSABLE_UNIT = "unusable_unit"
    UNUSABLE_TERMS = "unusable_terms"
    UNKNOWN_ZONE = "unknown_zone"
    UNUSABLE_CUTOFF = "unusable_cutoff"
    UNKNOWN_TENANT = "unknown_tenant"
    UNKNOWN_MERCHANT = "unknown_merchant"
    UNKNOWN_PROGRAMME = "unknown_programme"
    UNKNOWN_STORE = "unknown_store"
    OTHER_TENANT = "other_tenant"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A loyalty group. `naming_key` derives claim ids and mints nothing."""

    id: TenantId
    name: str
    naming_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """A company of the tenant that runs stores."""

    id: str
    tenant: TenantId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """What members take part in; `unit` is the kind of points it gives, for example `PT:consumption`."""

    id: str
    tenant: TenantId
    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A shop with a door, in its time zone and with the hour at which its business day begins."""

    id: StoreId
    tenant: TenantId
    merchant: str
    programme: str
    name: str
    zone: str
    cutoff_hour: int

    @property
    def calendar(self) -> StoreCalendar:
        """The store's zone and cut-off."""
        return StoreCalendar(zone=self.zone, cutoff_hour=self.cutoff_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceRules:
    """Whether the store's kiosks recognise consenting members, how rarely wrongly, and what a face must show.

    The defaults are those of the policy: off, 3000 of a million strangers, not a picture.
    """

    recognised: bool = False
    false_positives_ppm: int = 3000
    liveness: Liveness = Liveness.PASSIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReward:
    """The terms of the daily reward at a store; amounts are in the programme's unit. `instant` is a coupon with it."""

    campaign: CampaignId
    points: int
    reduced_points: int
    cards_reduced: bool = False
    faces: FaceRules = field(default_factory=FaceRules)
    instant: InstantTerms | None = None


def is_usable_id(text: str) -> bool:
    """True for lower-case letters and digits in words joined by single hyphens, at most 40 characters."""
    return len(text) <= ID_LENGTH_MAX and _ID.fullmatch(text) is not None


def is_usable_name(text: str) -> bool:
    """True for 1 to 80 printable characters that neither begin nor end with a space."""
    return 0 < len(text) <= NAME_LENGTH_MAX and text.isprintable() and text == text.strip()


def entry_fault(id: str, name: str) -> CatalogueRefusal | None:
    """What is wrong with the id or the name of any entry, or None."""
    if not is_usable_id(id):
        return CatalogueRefusal.UNUSABLE_ID
    return None if is_usable_name(name) else CatalogueRefusal.UNUSABLE_NAME


def programme_fault(programme: Programme) -> CatalogueRefusal | None:
    """What is wrong with the programme by itself, or None."""
    if not _UNIT.fullmatch(programme.unit):
        return CatalogueRefusal.UNUSABLE_UNIT
    return entry_fault(programme.id, programme.name)


def store_fault(store: Store) -> CatalogueRefusal | None:
    """What is wrong with the store by itself, or None."""
    if not _is_zone(store.zone):
        return CatalogueRefusal.UNKNOWN_ZONE
    if not 0 <= store.cutoff_hour <= CUTOFF_HOUR_MAX:
        return CatalogueRefusal.UNUSABLE_CUTOFF
    return entry_fault(store.id, store.name)


def compile_policy(
    tenant: Tenant, programme: Programme, store: Store, reward: DailyReward, *, version: int, now: datetime
) -> Policy | CatalogueRefusal:
    """The policy of the store under these terms, one that every kiosk accepts."""
    policy = Policy(
        version=version,
        issued_ms=milliseconds(now),
        tenant=tenant.id,
        programme=programme.id,
        merchant=store.merchant,
        store=store.id,
        store_name=store.name,
        zone=store.zone,
        cutoff_hour=store.cutoff_hour,
        campaign=reward.campaign,
        rule=DAILY_RULE,
        unit=programme.unit,
        points=reward.points,
        reduced_points=reward.reduced_points,
        naming_key=tenant.naming_key,
        cards_reduced=reward.cards_reduced,
        faces=reward.faces.recognised,
        face_false_positives_ppm=reward.faces.false_positives_ppm,
        liveness=reward.faces.liveness,
        instant=reward.instant,
    )
    names = (reward.campaign, *(() if reward.instant is None else (reward.instant.series,)))
    usable = policy_fault(policy) is None and all(map(is_usable_id, names))
    return policy if usable else CatalogueRefusal.UNUSABLE_TERMS


def say_the_same(one: Policy, other: Policy) -> bool:
    """True when two policies differ in nothing but their number and their date."""
    return msgspec.structs.replace(one, version=other.version, issued_ms=other.issued_ms) == other


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of the zone data, such as "Europe"
        return False
    return True

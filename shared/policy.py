"""The compiled, versioned terms a device acts on, and how old each thing it knows may grow.

The catalogue compiles a policy, signs it and sends it down; a kiosk decides by it and names its version in every
claim. Nothing in it mints value: the naming key only derives claim ids.
"""

from datetime import timedelta
from enum import StrEnum

import msgspec

from shared.business_day import StoreCalendar


class Means(StrEnum):
    """How a member was recognised."""

    CARD = "card"
    PHONE = "phone"
    FACE = "face"
    STAFF = "staff"


# How long what a kiosk was told may be acted on. One table for both halves.
ALLOTMENT_AGE_MAX = timedelta(days=14)
POLICY_AGE_MAX = timedelta(days=30)
DENY_LIST_AGE_MAX = timedelta(days=7)
LEASE_AGE_MAX = timedelta(days=30)
CERTIFICATE_AGE_MAX = timedelta(days=90)

NAMING_KEY_BYTES = 32


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The daily-reward terms of one store.

    `points` is granted once a business day; `reduced_points` instead when the deny list is over age, and for
    cards when `cards_reduced`. Units are names such as `PT:consumption`. `version` grows by one per compilation
    and `issued_ms` is the compilation's instant.
    """

    version: int
    issued_ms: int
    tenant: str
    programme: str
    merchant: str
    store: str
    store_name: str
    zone: str
    cutoff_hour: int
    campaign: str
    rule: str
    unit: str
    points: int
    reduced_points: int
    naming_key: bytes
    cards_reduced: bool = False
    faces: bool = False
    privacy_text_version: int = 1

    @property
    def calendar(self) -> StoreCalendar:
        """The store's zone and cut-off."""
        return StoreCalendar(zone=self.zone, cutoff_hour=self.cutoff_hour)


def policy_fault(policy: Policy) -> str | None:
    """What makes the terms unusable, or None. A device refuses such a policy and keeps the one it has."""
    if policy.points <= 0 or not 0 <= policy.reduced_points <= policy.points:
        return "points"
    if not 0 <= policy.cutoff_hour <= 12:
        return "cutoff_hour"
    if len(policy.naming_key) != NAMING_KEY_BYTES:
        return "naming_key"
    if not all((policy.tenant, policy.store, policy.campaign, policy.rule, policy.unit)):
        return "names"
    return None

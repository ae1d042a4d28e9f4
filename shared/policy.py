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


class Liveness(StrEnum):
    """What a face must show before it counts: nothing, that it does not look like a picture, or a turn of the head.

    A deterrent against a photograph held up, not security: what can be measured of it is on the models' cards.
    """

    NONE = "none"
    PASSIVE = "passive"
    TURN = "turn"


class InstantMode(StrEnum):
    """Who may show the coupon of a claim, when kiosks may not hear each other.

    FREE: every kiosk; a member who goes to two that cannot hear each other gets it twice. OWNER: one kiosk of the
    store, another for each member and day. HUB: whoever asks first, where kiosks hear each other; else as OWNER.
    """

    FREE = "free"
    OWNER = "owner"
    HUB = "hub"


INSTANT_A_DAY_MAX = 10_000  # coupons of one kiosk in one day: more people do not come through a door
SERIES_LENGTH_MAX = 40
LABEL_LENGTH_MAX = 60  # one line of the kiosk's screen


class InstantTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon that comes with the daily reward and cannot be taken back once it was shown.

    `series` names the issue, `label` says in the merchant's words what it is good for. `a_day` is how many one kiosk
    may show in one epoch and business day: what a kiosk that hears nobody can give away at most. `mode` is who may.
    """

    mode: InstantMode
    series: str
    label: str
    a_day: int


# How long what a kiosk was told may be acted on. One table for both halves.
ALLOTMENT_AGE_MAX = timedelta(days=14)
POLICY_AGE_MAX = timedelta(days=30)
DENY_LIST_AGE_MAX = timedelta(days=7)
LEASE_AGE_MAX = timedelta(days=30)
CERTIFICATE_AGE_MAX = timedelta(days=90)

NAMING_KEY_BYTES = 32
FACE_FALSE_POSITIVES_PPM_MAX = 100_000  # one stranger in ten: beyond, recognition is no recognition


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The daily-reward terms of one store.

    `points` is granted once a business day; `reduced_points` instead when the deny list is over age, and for
    cards when `cards_reduced`. Units are names such as `PT:consumption`. `version` grows by one per compilation
    and `issued_ms` is the compilation's instant. `faces` turns recognition on; `face_false_positives_ppm` is how many
    of a million strangers' visits may be taken for a member's (3000 as in NIST's identification tests), `liveness`
    what a face must show. `instant` is the coupon that comes with it, None for none.
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
    face_false_positives_ppm: int = 3000
    liveness: Liveness = Liveness.PASSIVE
    privacy_text_version: int = 1
    instant: InstantTerms | None = None

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
    if not 1 <= policy.face_false_positives_ppm <= FACE_FALSE_POSITIVES_PPM_MAX:
        return "face_false_positives_ppm"
    if not all((policy.tenant, policy.store, policy.campaign, policy.rule, policy.unit)):
        return "names"
    return None if policy.instant is None or _is_usable(policy.instant) else "instant"


def _is_usable(terms: InstantTerms) -> bool:
    return (
        1 <= terms.a_day <= INSTANT_A_DAY_MAX
        and 0 < len(terms.series) <= SERIES_LENGTH_MAX
        and terms.series.isascii()
        and 0 < len(terms.label) <= LABEL_LENGTH_MAX
        and terms.label.isprintable()
    )

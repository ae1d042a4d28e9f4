"""What the catalogue's API takes and gives."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cloud.catalogue.rules import ID_LENGTH_MAX, NAME_LENGTH_MAX, Merchant, Programme, Store, Tenant
from shared.business_day import CUTOFF_HOUR_MAX, instant_of
from shared.policy import (
    FACE_FALSE_POSITIVES_PPM_MAX,
    INSTANT_A_DAY_MAX,
    LABEL_LENGTH_MAX,
    InstantMode,
    InstantTerms,
    Policy,
)

POINTS_MAX = 10**9  # of one reward

Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=ID_LENGTH_MAX,
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        description="Lower-case letters and digits in words joined by hyphens; unique in the installation.",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]


class _Body(BaseModel):
    """A request: exact types and no field we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewTenant(_Body):
    """A loyalty group."""

    id: Id
    name: Name


class NewMerchant(_Body):
    """A company that runs stores."""

    id: Id
    tenant: Id
    name: Name


class NewProgramme(_Body):
    """What members take part in."""

    id: Id
    tenant: Id
    name: Name
    unit: Annotated[str, Field(max_length=41, description="The kind of points, for example `PT:consumption`.")]


class NewStore(_Body):
    """A shop with a door."""

    id: Id
    tenant: Id
    merchant: Id
    programme: Id
    name: Name
    zone: Annotated[str, Field(max_length=64, description="IANA name, for example `Europe/Rome`.")]
    cutoff_hour: Annotated[int, Field(ge=0, le=CUTOFF_HOUR_MAX)] = 0


class CouponTerms(_Body):
    """A coupon that kiosks show with the daily reward, and that cannot be taken back once it was shown."""

    mode: Annotated[
        Literal["free", "owner", "hub"],
        Field(
            description="Who may show a member's coupon of a day: every kiosk, which may give it twice; one kiosk of"
            " the store; or whichever is asked first, where kiosks hear each other, else that one."
        ),
    ]
    series: Id
    label: Annotated[
        str,
        Field(min_length=1, max_length=LABEL_LENGTH_MAX, description="What it is good for, in the merchant's words."),
    ]
    a_day: Annotated[
        int, Field(ge=1, le=INSTANT_A_DAY_MAX, description="How many one kiosk may show in one business day.")
    ]

    def terms(self) -> InstantTerms:
        """The terms as a policy holds them."""
        return InstantTerms(mode=InstantMode(self.mode), series=self.series, label=self.label, a_day=self.a_day)

    @classmethod
    def of(cls, terms: InstantTerms) -> Self:
        """The terms as callers see them."""
        return cls(mode=terms.mode.value, series=terms.series, label=terms.label, a_day=terms.a_day)


class DailyRewardTerms(_Body):
    """The daily reward at a store, in the unit of its programme. What is left out is as it is by default.

    `faces` lets kiosks recognise members who consented to that; codes always work.
    """

    campaign: Id
    points: Annotated[int, Field(ge=1, le=POINTS_MAX)]
    reduced_points: Annotated[int, Field(ge=0, le=POINTS_MAX)]
    cards_reduced: bool = False
    faces: bool = False
    face_false_positives_ppm: Annotated[
        int,
        Field(
            ge=1,
            le=FACE_FALSE_POSITIVES_PPM_MAX,
            description="How many of a million strangers' visits may be taken for a member's.",
        ),
    ] = 3000
    liveness: Annotated[
        Literal["none", "passive", "turn"],
        Field(description="What a face must show: nothing, that it is no picture, or a turn of the head."),
    ] = "passive"
    instant: CouponTerms | None = None


class TenantView(BaseModel):
    """A loyalty group. Its naming key is not shown."""

    id: str
    name: str

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """The tenant as callers see it."""
        return cls(id=tenant.id, name=tenant.name)


class MerchantView(BaseModel):
    """A company that runs stores."""

    id: str
    tenant: str
    name: str

    @classmethod
    def of(cls, merchant: Merchant) -> Self:
        """The merchant as callers see it."""
        return cls(id=merchant.id, tenant=merchant.tenant, name=merchant.name)


class ProgrammeView(BaseModel):
    """What members take part in."""

    id: str
    tenant: str
    name: str
    unit: str

    @classmethod
    def of(cls, programme: Programme) -> Self:
        """The programme as callers see it."""
        return cls(id=programme.id, tenant=programme.tenant, name=programme.name, unit=programme.unit)


class StoreView(BaseModel):
    """A shop with a door."""

    id: str
    tenant: str
    merchant: str
    programme: str
    name: str
    zone: str
    cutoff_hour: int

    @classmethod
    def of(cls, store: Store) -> Self:
        """The store as callers see it."""
        return cls(
            id=store.id,
            tenant=store.tenant,
            merchant=store.merchant,
            programme=store.programme,
            name=store.name,
            zone=store.zone,
            cutoff_hour=store.cutoff_hour,
        )


class PolicyView(BaseModel):
    """The terms that the kiosks of a store act on. The naming key is not shown."""

    store: str
    version: int
    issued_at: datetime
    campaign: str
    rule: str
    unit: str
    points: int
    reduced_points: int
    cards_reduced: bool
    faces: bool
    face_false_positives_ppm: int
    liveness: str
    instant: CouponTerms | None
    zone: str
    cutoff_hour: int

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """The policy as callers see it."""
        return cls(
            store=policy.store,
            version=policy.version,
            issued_at=instant_of(policy.issued_ms),
            campaign=policy.campaign,
            rule=policy.rule,
            unit=policy.unit,
            points=policy.points,
            reduced_points=policy.reduced_points,
            cards_reduced=policy.cards_reduced,
            faces=policy.faces,
            face_false_positives_ppm=policy.face_false_positives_ppm,
            liveness=policy.liveness.value,
            instant=None if policy.instant is None else CouponTerms.of(policy.instant),
            zone=policy.zone,
            cutoff_hour=policy.cutoff_hour,
        )

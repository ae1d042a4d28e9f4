"""What the campaigns' API takes and gives. Amounts are whole points of the campaign's unit."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cloud.campaigns.queries import Funds
from cloud.campaigns.rules import ALLOTMENT_POINTS_MAX, BUDGET_POINTS_MAX, Allotment, Campaign
from cloud.catalogue.schemas import Id

Unit = Annotated[str, Field(max_length=48, pattern=r"^[A-Z]{2,8}:[a-z0-9-]{1,32}$", examples=["PT:consumption"])]


class _Body(BaseModel):
    """A request: exact types and no field we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewCampaign(_Body):
    """A campaign with its first budget. A kiosk's full allotment is `allotment_points`."""

    id: Id
    tenant: Id
    name: Annotated[str, Field(min_length=1, max_length=80)]
    unit: Unit
    budget: Annotated[int, Field(ge=0, le=BUDGET_POINTS_MAX)]
    allotment_points: Annotated[int, Field(gt=0, le=ALLOTMENT_POINTS_MAX)]


class MoreBudget(_Body):
    """Points to mint into a campaign's budget."""

    points: Annotated[int, Field(gt=0, le=BUDGET_POINTS_MAX)]


class CampaignView(BaseModel):
    """A campaign."""

    id: str
    tenant: str
    name: str
    unit: str
    allotment_points: int

    @classmethod
    def of(cls, campaign: Campaign) -> "CampaignView":
        """The campaign for the wire."""
        return cls(
            id=campaign.id,
            tenant=campaign.tenant,
            name=campaign.name,
            unit=campaign.unit,
            allotment_points=campaign.allotment_points,
        )


class FundedCampaignView(CampaignView):
    """A campaign and where its points are: in the budget, held by kiosks, or granted to members."""

    minted: int
    budget: int
    held: int
    granted: int
    epochs: int

    @classmethod
    def with_funds(cls, campaign: Campaign, funds: Funds) -> "FundedCampaignView":
        """The campaign with its funds for the wire."""
        return cls(
            **CampaignView.of(campaign).model_dump(),
            minted=funds.minted,
            budget=funds.budget,
            held=funds.held,
            granted=funds.granted,
            epochs=funds.epochs,
        )


class AllotmentView(BaseModel):
    """What one life of a kiosk's database may grant in all, what its claims have drawn so far, and until when."""

    device: str
    epoch: int
    serial: int
    total: int
    spent: int
    ends_at: datetime
    issued_at: datetime

    @classmethod
    def of(cls, allotment: Allotment) -> "AllotmentView":
        """The allotment for the wire."""
        return cls(
            device=allotment.key.device,
            epoch=allotment.key.epoch,
            serial=allotment.serial,
            total=allotment.total,
            spent=allotment.spent,
            ends_at=allotment.ends_at,
            issued_at=allotment.issued_at,
        )

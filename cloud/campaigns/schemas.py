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
    """A campaign with its first budget. A kiosk's full allotment is at most `allotment_points`.

    So much as `contingency` says of the budget is allotted to nobody: it pays for claims that come late.
    """

    id: Id
    tenant: Id
    name: Annotated[str, Field(min_length=1, max_length=80)]
    unit: Unit
    budget: Annotated[int, Field(ge=0, le=BUDGET_POINTS_MAX)]
    allotment_points: Annotated[int, Field(gt=0, le=ALLOTMENT_POINTS_MAX)]
    contingency: Annotated[int, Field(ge=0, le=BUDGET_POINTS_MAX)] = 0


class MoreBudget(_Body):
    """Points to mint into a campaign's budget."""

    points: Annotated[int, Field(gt=0, le=BUDGET_POINTS_MAX)]


class MoreContingency(_Body):
    """Points of a campaign's budget to set aside for claims that come late."""

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
    """A campaign and where its points are: in the budget, held by kiosks, set aside, or granted to members.

    `granted_late` is what the contingency paid; `returned` what kiosks did not use in time, in all.
    """

    minted: int
    budget: int
    held: int
    contingency: int
    granted: int
    granted_late: int
    returned: int
    epochs: int

    @classmethod
    def with_funds(cls, campaign: Campaign, funds: Funds) -> "FundedCampaignView":
        """The campaign with its funds for the wire."""
        return cls(
            **CampaignView.of(campaign).model_dump(),
            minted=funds.minted,
            budget=funds.budget,
            held=funds.held,
            contingency=funds.contingency,
            granted=funds.granted,
            granted_late=funds.granted_late,
            returned=funds.returned,
            epochs=funds.epochs,
        )


class AllotmentView(BaseModel):
    """What one life of a kiosk's database may grant in all, what its claims have drawn so far, and until when.

    `size` is how much it holds when full, by the visits it had. `returned` went back into the budget in all, and since
    `returned_at` nothing covers what is left of the total.
    """

    device: str
    epoch: int
    serial: int
    total: int
    spent: int
    ends_at: datetime
    issued_at: datetime
    size: int
    returned: int
    returned_at: datetime | None

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
            size=allotment.size,
            returned=allotment.returned,
            returned_at=allotment.returned_at,
        )

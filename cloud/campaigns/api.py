"""Campaigns over HTTP: an administrator makes and funds them, whoever works with the tenant sees where points are."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy import Connection

from cloud.campaigns.actions import add_budget, add_contingency, create_campaign
from cloud.campaigns.queries import allotments_after, campaign_by_id, campaigns_after, funds_of
from cloud.campaigns.rules import Campaign, CampaignRefusal
from cloud.campaigns.schemas import (
    AllotmentView,
    CampaignView,
    FundedCampaignView,
    MoreBudget,
    MoreContingency,
    NewCampaign,
)
from cloud.catalogue.schemas import Id
from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.idempotency import WriteRequest, answer_once, write_request
from cloud.kit.pagination import BAD_CURSOR, LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from shared.ids import CampaignId, TenantId

TAKEN: Final = ProblemKind(name="campaign-taken", status=409, title="Another campaign has this id")

TenantQuery = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Needed by who may read any tenant; others read their own."),
]


def router(services: Services) -> APIRouter:
    """The routes under /v1/campaigns."""
    routes = APIRouter(
        prefix="/v1/campaigns", tags=["campaigns"], responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST)
    )
    gate = Gate(services.engine, services.clock)
    _add_writing(routes, services, gate)
    _add_reading(routes, services, gate)
    return routes


def _add_writing(routes: APIRouter, services: Services, gate: Gate) -> None:
    writer = Depends(write_request(gate.requires(Scope.ADMIN), services.clock))

    @routes.post("", status_code=201, response_model=CampaignView, responses=document(NOT_FOUND, TAKEN))
    def post_campaign(body: NewCampaign, request: Annotated[WriteRequest, writer]) -> Response:
        """Makes a campaign and mints its first budget. The same again is the same campaign and mints nothing."""
        wanted = Campaign(
            tenant=request.principal.tenant_or(body.tenant),
            id=CampaignId(body.id),
            name=body.name,
            unit=body.unit,
            allotment_points=body.allotment_points,
        )
        with writing(services.engine) as connection:

            def write() -> CampaignView:
                made = create_campaign(
                    connection, wanted, budget=body.budget, contingency=body.contingency, now=request.at
                )
                return CampaignView.of(_made(made))

            return answer_once(connection, request, write, status=201)

    @routes.post("/{campaign}/budget", response_model=FundedCampaignView, responses=document(NOT_FOUND))
    def post_budget(
        campaign: Id, body: MoreBudget, request: Annotated[WriteRequest, writer], tenant: TenantQuery = None
    ) -> Response:
        """Mints points into the campaign's budget. With an Idempotency-Key a retry mints nothing more."""
        owner = request.principal.tenant_or(tenant)
        with writing(services.engine) as connection:

            def write() -> FundedCampaignView:
                key = services.random(16).hex()
                made = _made(add_budget(connection, owner, CampaignId(campaign), body.points, key=key, now=request.at))
                return FundedCampaignView.with_funds(made, funds_of(connection, made))

            return answer_once(connection, request, write)

    @routes.post("/{campaign}/contingency", response_model=FundedCampaignView, responses=document(NOT_FOUND))
    def post_contingency(
        campaign: Id, body: MoreContingency, request: Annotated[WriteRequest, writer], tenant: TenantQuery = None
    ) -> Response:
        """Sets points of the budget aside for claims that come late. With an Idempotency-Key a retry sets none more."""
        owner = request.principal.tenant_or(tenant)
        with writing(services.engine) as connection:

            def write() -> FundedCampaignView:
                key, id = services.random(16).hex(), CampaignId(campaign)
                made = _made(add_contingency(connection, owner, id, body.points, key=key, now=request.at))
                return FundedCampaignView.with_funds(made, funds_of(connection, made))

            return answer_once(connection, request, write)


def _add_reading(routes: APIRouter, services: Services, gate: Gate) -> None:
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.get("", responses=document(BAD_CURSOR))
    def get_campaigns(
        principal: Annotated[Principal, reader],
        tenant: TenantQuery = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[CampaignView]:
        """The tenant's campaigns."""
        after = decode_cursor(cursor, str) or ""
        with reading(services.engine) as connection:
            found = campaigns_after(connection, principal.tenant_or(tenant), after, limit + 1)
        shown, has_more = cut(found, limit)
        return Page(items=tuple(map(CampaignView.of, shown)), next=encode_cursor(shown[-1].id) if has_more else None)

    @routes.get("/{campaign}", responses=document(NOT_FOUND))
    def get_campaign(
        campaign: Id, principal: Annotated[Principal, reader], tenant: TenantQuery = None
    ) -> FundedCampaignView:
        """A campaign and where its points are."""
        with reading(services.engine) as connection:
            held = _held(connection, principal.tenant_or(tenant), campaign)
            return FundedCampaignView.with_funds(held, funds_of(connection, held))

    @routes.get("/{campaign}/allotments", responses=document(NOT_FOUND, BAD_CURSOR))
    def get_allotments(
        campaign: Id,
        principal: Annotated[Principal, reader],
        tenant: TenantQuery = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[AllotmentView]:
        """What each kiosk may grant of the campaign, by device and epoch."""
        after = decode_cursor(cursor, tuple[str, int]) or ("", 0)
        with reading(services.engine) as connection:
            held = _held(connection, principal.tenant_or(tenant), campaign)
            found = allotments_after(connection, held.tenant, held.id, after, limit + 1)
        shown, has_more = cut(found, limit)
        following = encode_cursor((shown[-1].key.device, shown[-1].key.epoch)) if has_more else None
        return Page(items=tuple(map(AllotmentView.of, shown)), next=following)


def _held(connection: Connection, tenant: TenantId, id: str) -> Campaign:
    """The campaign of the tenant. Raises: ProblemError."""
    held = campaign_by_id(connection, tenant, CampaignId(id))
    if held is None:
        raise ProblemError(NOT_FOUND)
    return held


def _made(made: Campaign | CampaignRefusal) -> Campaign:
    """What was made, or the problem that stands for the refusal."""
    match made:
        case Campaign():
            return made
        case CampaignRefusal.TAKEN:
            raise ProblemError(TAKEN)
        case CampaignRefusal.UNKNOWN_TENANT | CampaignRefusal.UNKNOWN_CAMPAIGN:
            raise ProblemError(NOT_FOUND)
        case _:
            raise ProblemError(INVALID_REQUEST, made.value)

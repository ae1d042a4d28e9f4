"""The catalogue over HTTP: an administrator makes entries and sets terms, whoever works with a tenant reads them."""

from collections.abc import Callable
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant, set_daily_reward
from cloud.catalogue.queries import policy_in_force, store_by_id, stores_after
from cloud.catalogue.rules import CatalogueRefusal, FaceRules, Merchant, Programme, Store
from cloud.catalogue.schemas import (
    DailyRewardTerms,
    Id,
    MerchantView,
    NewMerchant,
    NewProgramme,
    NewStore,
    NewTenant,
    PolicyView,
    ProgrammeView,
    StoreView,
    TenantView,
)
from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.idempotency import WriteRequest, answer_once, write_request
from cloud.kit.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from shared.ids import CampaignId, StoreId, TenantId
from shared.policy import NAMING_KEY_BYTES, Liveness

TAKEN: Final = ProblemKind(name="id-taken", status=409, title="The id belongs to something else already")

_UNKNOWN: Final = {
    CatalogueRefusal.UNKNOWN_TENANT,
    CatalogueRefusal.UNKNOWN_MERCHANT,
    CatalogueRefusal.UNKNOWN_PROGRAMME,
    CatalogueRefusal.UNKNOWN_STORE,
    CatalogueRefusal.OTHER_TENANT,
}

Made = TypeVar("Made")


def router(services: Services) -> APIRouter:
    """The catalogue's routes."""
    routes = APIRouter(
        prefix="/v1", tags=["catalogue"], responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST)
    )
    gate = Gate(services.engine, services.clock)
    _add_entries(routes, services, gate)
    _add_terms(routes, services, gate)
    return routes


def _add_entries(routes: APIRouter, services: Services, gate: Gate) -> None:
    writer = Depends(write_request(gate.requires(Scope.ADMIN), services.clock))
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.post("/tenants", status_code=201, response_model=TenantView, responses=document(TAKEN))
    def post_tenant(body: NewTenant, request: Annotated[WriteRequest, writer]) -> Response:
        """Makes a tenant. The same again is the same tenant."""
        key = services.random(NAMING_KEY_BYTES)

        def write(connection: Connection) -> TenantView:
            tenant = create_tenant(connection, _own(request, body.id), body.name, key, request.at)
            return TenantView.of(_made(tenant))

        return _answer(services, request, write)

    @routes.post("/merchants", status_code=201, response_model=MerchantView, responses=document(TAKEN))
    def post_merchant(body: NewMerchant, request: Annotated[WriteRequest, writer]) -> Response:
        """Makes a merchant of a tenant."""
        wanted = Merchant(id=body.id, tenant=_own(request, body.tenant), name=body.name)
        return _answer(services, request, lambda c: MerchantView.of(_made(create_merchant(c, wanted, request.at))))

    @routes.post("/programmes", status_code=201, response_model=ProgrammeView, responses=document(TAKEN))
    def post_programme(body: NewProgramme, request: Annotated[WriteRequest, writer]) -> Response:
        """Makes a programme of a tenant."""
        wanted = Programme(id=body.id, tenant=_own(request, body.tenant), name=body.name, unit=body.unit)
        return _answer(services, request, lambda c: ProgrammeView.of(_made(create_programme(c, wanted, request.at))))

    @routes.post("/stores", status_code=201, response_model=StoreView, responses=document(TAKEN))
    def post_store(body: NewStore, request: Annotated[WriteRequest, writer]) -> Response:
        """Makes a store of a merchant that takes part in a programme."""
        wanted = Store(
            id=StoreId(body.id),
            tenant=_own(request, body.tenant),
            merchant=body.merchant,
            programme=body.programme,
            name=body.name,
            zone=body.zone,
            cutoff_hour=body.cutoff_hour,
        )
        return _answer(services, request, lambda c: StoreView.of(_made(create_store(c, wanted, request.at))))

    @routes.get("/stores")
    def get_stores(
        principal: Annotated[Principal, reader], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[StoreView]:
        """The stores of the caller's tenant, or all of them."""
        with reading(services.engine) as connection:
            rows = stores_after(connection, decode_cursor(cursor, str) or "", limit + 1, principal.tenant)
        shown, has_more = cut(rows, limit)
        return Page(items=tuple(map(StoreView.of, shown)), next=encode_cursor(shown[-1].id) if has_more else None)

    @routes.get("/stores/{store}", responses=document(NOT_FOUND))
    def get_store(store: Id, principal: Annotated[Principal, reader]) -> StoreView:
        """A store."""
        with reading(services.engine) as connection:
            return StoreView.of(_visible(connection, store, principal))


def _add_terms(routes: APIRouter, services: Services, gate: Gate) -> None:
    writer = Depends(write_request(gate.requires(Scope.ADMIN, Scope.MERCHANT), services.clock))
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.put("/stores/{store}/daily-reward", response_model=PolicyView, responses=document(NOT_FOUND))
    def put_daily_reward(store: Id, body: DailyRewardTerms, request: Annotated[WriteRequest, writer]) -> Response:
        """Sets the terms of the daily reward; the kiosks of the store get them as the next policy version."""

        def write(connection: Connection) -> PolicyView:
            place = _visible(connection, store, request.principal)
            policy = set_daily_reward(
                connection,
                place.id,
                points=body.points,
                reduced_points=body.reduced_points,
                campaign=CampaignId(body.campaign),
                cards_reduced=body.cards_reduced,
                faces=FaceRules(
                    recognised=body.faces,
                    false_positives_ppm=body.face_false_positives_ppm,
                    liveness=Liveness(body.liveness),
                ),
                instant=None if body.instant is None else body.instant.terms(),
                now=request.at,
            )
            return PolicyView.of(_made(policy))

        return _answer(services, request, write, status=200)

    @routes.get("/stores/{store}/policy", responses=document(NOT_FOUND))
    def get_policy(store: Id, principal: Annotated[Principal, reader]) -> PolicyView:
        """The policy in force."""
        with reading(services.engine) as connection:
            policy = policy_in_force(connection, _visible(connection, store, principal).id)
        if policy is None:
            raise ProblemError(NOT_FOUND, "the store has no terms yet")
        return PolicyView.of(policy)


def _answer(
    services: Services, request: WriteRequest, write: Callable[[Connection], BaseModel], status: int = 201
) -> Response:
    with writing(services.engine) as connection:
        return answer_once(connection, request, lambda: write(connection), status=status)


def _own(request: WriteRequest, asked: str) -> TenantId:
    """The tenant asked for, which must be one the caller may write to."""
    return request.principal.tenant_or(asked)


def _visible(connection: Connection, id: str, principal: Principal) -> Store:
    """The store; another tenant's is as good as none."""
    store = store_by_id(connection, StoreId(id))
    if store is None or principal.tenant not in (None, store.tenant):
        raise ProblemError(NOT_FOUND)
    return store


def _made(made: Made | CatalogueRefusal) -> Made:
    """What was made, or the problem that stands for the refusal."""
    if not isinstance(made, CatalogueRefusal):
        return made
    if made is CatalogueRefusal.TAKEN:
        raise ProblemError(TAKEN)
    raise ProblemError(NOT_FOUND if made in _UNKNOWN else INVALID_REQUEST, made.value)

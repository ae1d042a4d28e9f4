"""Claims over HTTP: what kiosks said of a store's day and what became of it. Read only: claims come by the broker."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection

from cloud.catalogue.queries import store_by_id
from cloud.catalogue.rules import Store
from cloud.catalogue.schemas import Id
from cloud.claims.queries import claims_of_store, coupon_totals, disputes_of_store, refused_of_store
from cloud.claims.schemas import ClaimView, CouponTotalsView, Day, DisputeView, RefusedView
from cloud.errors import ProblemError
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading
from cloud.kit.pagination import BAD_CURSOR, LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from shared.answers import Outcome
from shared.ids import DeviceId, StoreId


def router(services: Services) -> APIRouter:
    """The routes that show claims, below their store."""
    routes = APIRouter(
        prefix="/v1/stores/{store}",
        tags=["claims"],
        responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST, NOT_FOUND, BAD_CURSOR),
    )
    reader = Depends(Gate(services.engine, services.clock).requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.get("/claims")
    def get_claims(
        store: Id,
        principal: Annotated[Principal, reader],
        day: Annotated[Day | None, Query(description="Of one business day alone.")] = None,
        outcome: Annotated[Outcome | None, Query(description="Those with this outcome alone.")] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ClaimView]:
        """Claims made at the store with their verdicts, by day, device, epoch and number."""
        after = decode_cursor(cursor, tuple[str, str, int, int])
        with reading(services.engine) as connection:
            found = claims_of_store(
                connection,
                _visible(connection, store, principal).id,
                day=day,
                outcome=outcome,
                after=None if after is None else (after[0], DeviceId(after[1]), after[2], after[3]),
                limit=limit + 1,
            )
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].place) if has_more else None
        return Page(items=tuple(map(ClaimView.of, shown)), next=following)

    @routes.get("/refused-envelopes")
    def get_refused(
        store: Id, principal: Annotated[Principal, reader], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[RefusedView]:
        """What was turned away at the store: bytes that took no number in any device's chain."""
        after = _read_id(decode_cursor(cursor, str))
        with reading(services.engine) as connection:
            found = refused_of_store(
                connection, _visible(connection, store, principal).id, after=after, limit=limit + 1
            )
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].id.hex()) if has_more else None
        return Page(items=tuple(map(RefusedView.of, shown)), next=following)

    @routes.get("/face-disputes")
    def get_disputes(
        store: Id, principal: Annotated[Principal, reader], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[DisputeView]:
        """Greetings that somebody at the door said were another's, for a person to look at."""
        after = decode_cursor(cursor, tuple[str, int, int])
        with reading(services.engine) as connection:
            found = disputes_of_store(
                connection,
                _visible(connection, store, principal).id,
                after=None if after is None else (DeviceId(after[0]), after[1], after[2]),
                limit=limit + 1,
            )
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].place) if has_more else None
        return Page(items=tuple(map(DisputeView.of, shown)), next=following)

    @routes.get("/coupons")
    def get_coupons(store: Id, principal: Annotated[Principal, reader]) -> list[CouponTotalsView]:
        """What became of the coupons that came with claims, by campaign and series."""
        with reading(services.engine) as connection:
            totals = coupon_totals(connection, _visible(connection, store, principal).id)
        return list(map(CouponTotalsView.of, totals))

    return routes


def _read_id(text: str | None) -> bytes:
    """The id in a cursor; nothing comes before the empty one. Raises: ProblemError."""
    try:
        return bytes.fromhex(text or "")
    except ValueError as error:
        raise ProblemError(BAD_CURSOR) from error


def _visible(connection: Connection, id: str, principal: Principal) -> Store:
    """The store; another tenant's is as good as none. Raises: ProblemError."""
    store = store_by_id(connection, StoreId(id))
    if store is None or principal.tenant not in (None, store.tenant):
        raise ProblemError(NOT_FOUND)
    return store

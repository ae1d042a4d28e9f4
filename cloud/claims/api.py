"""Claims over HTTP: what kiosks said of a store's day and what became of it. Claims themselves come by the broker.

The one thing that is written is what a person decides about an envelope in quarantine.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from sqlalchemy import Connection

from cloud.catalogue.queries import store_by_id
from cloud.catalogue.rules import Store
from cloud.catalogue.schemas import Id
from cloud.claims.actions import hand_in_receipt, review_envelope, review_receipt
from cloud.claims.queries import (
    claims_of_store,
    coupon_totals,
    disputes_of_store,
    quarantine_of_store,
    receipt_by_id,
    receipts_of_store,
    refused_of_store,
    stands_in,
)
from cloud.claims.rules import Decision, ReceiptRefusal, ReviewRefusal
from cloud.claims.schemas import (
    ClaimView,
    CouponTotalsView,
    Day,
    DisputeView,
    HandedText,
    NewReview,
    ReceiptView,
    RefusedView,
    VerdictView,
)
from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.idempotency import WriteRequest, answer_once, write_request
from cloud.kit.pagination import BAD_CURSOR, LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from cloud.members.api import OwnDoor, Session
from shared.answers import Outcome, Verdict
from shared.ids import DeviceId, MemberId, StoreId, TenantId, parse_member

NOT_WAITING: Final = ProblemKind(
    name="not-waiting", status=409, title="The envelope is not in quarantine, or somebody has decided already"
)
RECEIPT_REFUSED: Final = ProblemKind(name="receipt-refused", status=422, title="The receipt is not taken")
NOT_A_CLAIM: Final = ProblemKind(name="not-a-claim", status=409, title="Only a claim can be released")


def router(services: Services) -> APIRouter:
    """The routes that show claims, below their store."""
    routes = APIRouter(
        prefix="/v1/stores/{store}",
        tags=["claims"],
        responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST, NOT_FOUND, BAD_CURSOR),
    )
    gate = Gate(services.engine, services.clock)
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.get("/claims")
    def get_claims(
        store: Id,
        principal: Annotated[Principal, reader],
        day: Annotated[Day | None, Query(description="Of one business day alone.")] = None,
        outcome: Annotated[Outcome | None, Query(description="Those with this outcome alone.")] = None,
        device: Annotated[Id | None, Query(description="Of one kiosk alone.")] = None,
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
                device=None if device is None else DeviceId(device),
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

    @routes.get("/quarantine")
    def get_quarantine(
        store: Id, principal: Annotated[Principal, reader], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[ClaimView]:
        """What waits for a person: envelopes of an epoch whose history forked, of any kind."""
        after = decode_cursor(cursor, tuple[str, int, int])
        with reading(services.engine) as connection:
            found = quarantine_of_store(
                connection,
                _visible(connection, store, principal).id,
                after=None if after is None else (DeviceId(after[0]), after[1], after[2]),
                limit=limit + 1,
            )
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].key) if has_more else None
        return Page(items=tuple(map(ClaimView.of, shown)), next=following)

    writer = Depends(write_request(gate.requires(Scope.ADMIN, Scope.MERCHANT), services.clock))

    @routes.post(
        "/quarantine/{device}/{epoch}/{seq}", response_model=VerdictView, responses=document(NOT_WAITING, NOT_A_CLAIM)
    )
    def post_review(
        store: Id, device: Id, epoch: int, seq: int, body: NewReview, request: Annotated[WriteRequest, writer]
    ) -> Response:
        """Lets a claim in quarantine count, or rejects the envelope. Final; its kiosk is told."""
        decision = Decision(is_released=body.release, reviewer=request.principal.name, note=body.note)
        with writing(services.engine) as connection:
            place = _visible(connection, store, request.principal).id

            def write() -> VerdictView:
                key = (DeviceId(device), epoch, seq)
                if not stands_in(connection, place, key):
                    raise ProblemError(NOT_FOUND)
                return VerdictView.of(_decided(review_envelope(connection, key, decision, request.at)))

            return answer_once(connection, request, write)

    @routes.get("/claim-receipts")
    def get_receipts(
        store: Id,
        principal: Annotated[Principal, reader],
        outcome: Annotated[Outcome | None, Query(description="Those with this outcome alone.")] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ReceiptView]:
        """Receipts of the store's kiosks that members handed in; those in quarantine wait for a person."""
        after = _read_id(decode_cursor(cursor, str))
        with reading(services.engine) as connection:
            place = _visible(connection, store, principal).id
            found = receipts_of_store(connection, place, outcome=outcome, after=after, limit=limit + 1)
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].id.hex()) if has_more else None
        return Page(items=tuple(map(ReceiptView.of, shown)), next=following)

    @routes.post("/claim-receipts/{receipt}", response_model=VerdictView, responses=document(NOT_WAITING))
    def post_receipt_review(
        store: Id,
        receipt: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
        body: NewReview,
        request: Annotated[WriteRequest, writer],
    ) -> Response:
        """Lets a receipt in quarantine count, or rejects it. Final."""
        decision = Decision(is_released=body.release, reviewer=request.principal.name, note=body.note)
        with writing(services.engine) as connection:
            place = _visible(connection, store, request.principal).id

            def write() -> VerdictView:
                known = receipt_by_id(connection, bytes.fromhex(receipt))
                if known is None or known.store != place:
                    raise ProblemError(NOT_FOUND)
                return VerdictView.of(_decided(review_receipt(connection, known.id, decision, request.at)))

            return answer_once(connection, request, write)

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

    _add_coupons(routes, services, gate)
    return routes


def _add_coupons(routes: APIRouter, services: Services, gate: Gate) -> None:
    """Adds what is told of coupons."""
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))

    @routes.get("/coupons")
    def get_coupons(store: Id, principal: Annotated[Principal, reader]) -> list[CouponTotalsView]:
        """What became of the coupons that came with claims, by campaign and series."""
        with reading(services.engine) as connection:
            totals = coupon_totals(connection, _visible(connection, store, principal).id)
        return list(map(CouponTotalsView.of, totals))


def receipts_router(services: Services) -> APIRouter:
    """The routes under which a receipt is handed in: by the member, and by staff for one."""
    routes = APIRouter(
        prefix="/v1",
        tags=["claims"],
        responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST, NOT_FOUND, RECEIPT_REFUSED),
    )
    own = OwnDoor(services)
    gate = Gate(services.engine, services.clock)
    writer = Depends(write_request(gate.requires(Scope.ADMIN, Scope.MERCHANT), services.clock))

    def hand_in(tenant: TenantId, member: MemberId, body: HandedText, request: WriteRequest) -> Response:
        with writing(services.engine) as connection:

            def write() -> VerdictView:
                made = hand_in_receipt(connection, tenant, member, body.text, request.at)
                if isinstance(made, ReceiptRefusal):
                    raise ProblemError(RECEIPT_REFUSED, made.value)
                return VerdictView.of(made)

            return answer_once(connection, request, write)

    @routes.post("/me/claim-receipts", response_model=VerdictView)
    def post_own_receipt(
        body: HandedText,
        me: Annotated[Session, Depends(own.session)],
        request: Annotated[WriteRequest, Depends(own.write)],
    ) -> Response:
        """Hands in the receipt of a visit. The points are the member's once, whether the kiosk told of it or not."""
        return hand_in(me.tenant, me.member, body, request)

    @routes.post("/members/{member}/claim-receipts", response_model=VerdictView)
    def post_receipt(
        member: str,
        body: HandedText,
        request: Annotated[WriteRequest, writer],
        tenant: Annotated[Id | None, Query()] = None,
    ) -> Response:
        """Hands in a member's receipt for them."""
        id = parse_member(member)
        if id is None:
            raise ProblemError(NOT_FOUND)
        return hand_in(request.principal.tenant_or(tenant), id, body, request)

    return routes


def _decided(made: Verdict | ReviewRefusal) -> Verdict:
    """The verdict, or the problem that stands for the refusal."""
    match made:
        case Verdict():
            return made
        case ReviewRefusal.UNKNOWN_ENVELOPE:
            raise ProblemError(NOT_FOUND)
        case ReviewRefusal.NOT_QUARANTINED | ReviewRefusal.DECIDED:
            raise ProblemError(NOT_WAITING)
        case ReviewRefusal.NOT_A_CLAIM:
            raise ProblemError(NOT_A_CLAIM)
        case ReviewRefusal.UNUSABLE_NOTE:
            raise ProblemError(INVALID_REQUEST, made.value)


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

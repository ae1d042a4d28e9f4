"""Reading the ledger over HTTP, for auditors and administrators. Nothing is posted here: domains post."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Engine

from cloud.errors import ProblemError
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading
from cloud.kit.pagination import BAD_CURSOR, LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_position, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.ledger.queries import balance_of, entries, statement, totals_by_code
from cloud.ledger.rules import AccountKey, Code
from cloud.ledger.schemas import BalanceOut, EntryOut, StatementLineOut, TotalOut

TenantQuery = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Needed by who may read any tenant; others read their own."),
]
CodePath = Annotated[Code, Path(description="The account's code in the chart, for example 2110.")]
UnitPath = Annotated[str, Path(max_length=64, description="For example `PT:consumption`.")]
SubjectPath = Annotated[str, Path(max_length=200, description="What the account is about; `-` for the tenant itself.")]


def create_router(engine: Engine, gate: Gate) -> APIRouter:
    """The routes under /v1/ledger."""
    router = APIRouter(
        prefix="/v1/ledger", tags=["ledger"], responses=document(UNAUTHENTICATED, MISSING_SCOPE, INVALID_REQUEST)
    )
    reader = gate.requires(Scope.AUDITOR, Scope.ADMIN)

    def account(
        principal: Annotated[Principal, Depends(reader)],
        code: CodePath,
        unit: UnitPath,
        subject: SubjectPath,
        tenant: TenantQuery = None,
    ) -> AccountKey:
        """The account of the path, in the principal's tenant."""
        named = "" if subject == "-" else subject
        return AccountKey(tenant=principal.tenant_or(tenant), code=code, unit=unit, subject=named)

    @router.get("/accounts/{code}/{unit}/{subject}/balance", responses=document(NOT_FOUND))
    def read_balance(key: Annotated[AccountKey, Depends(account)]) -> BalanceOut:
        """What the account holds."""
        with reading(engine) as connection:
            balance = balance_of(connection, key)
        if balance is None:
            raise ProblemError(NOT_FOUND)
        return BalanceOut.of(balance)

    @router.get("/accounts/{code}/{unit}/{subject}/statement", responses=document(BAD_CURSOR))
    def read_statement(
        key: Annotated[AccountKey, Depends(account)], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[StatementLineOut]:
        """The account's movements, newest first."""
        before = decode_position(cursor)
        with reading(engine) as connection:
            lines, has_more = cut(statement(connection, key, limit=limit + 1, before=before), limit)
        following = encode_cursor(lines[-1].version) if has_more else None
        return Page(items=tuple(map(StatementLineOut.of, lines)), next=following)

    @router.get("/entries", responses=document(BAD_CURSOR))
    def read_entries(
        principal: Annotated[Principal, Depends(reader)],
        tenant: TenantQuery = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[EntryOut]:
        """The journal, oldest first."""
        after = decode_position(cursor) or 0
        with reading(engine) as connection:
            found = entries(connection, principal.tenant_or(tenant), limit=limit + 1, after=after)
        shown, has_more = cut(found, limit)
        following = encode_cursor(shown[-1].sequence) if has_more else None
        return Page(items=tuple(map(EntryOut.of, shown)), next=following)

    @router.get("/totals")
    def read_totals(
        principal: Annotated[Principal, Depends(reader)], tenant: TenantQuery = None
    ) -> tuple[TotalOut, ...]:
        """The trial balance: what the accounts under each code hold together."""
        with reading(engine) as connection:
            return tuple(map(TotalOut.of, totals_by_code(connection, principal.tenant_or(tenant))))

    return router

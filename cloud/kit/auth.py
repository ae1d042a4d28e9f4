"""Who calls the API: bearer tokens with scopes. The secret is shown once; at rest there is only its SHA-256.

A plain hash is enough because the secret is 256 random bits, which no dictionary holds. Every refusal of a
credential reads the same, whatever was wrong with it.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, Engine, RowMapping, select

from cloud.errors import ProblemError
from cloud.kit.database import reading
from cloud.kit.problems import MISSING_SCOPE, UNAUTHENTICATED
from cloud.kit.tables import api_token
from shared.ids import TenantId

SECRET_PREFIX = "dst_"  # noqa: S105 - what a secret scanner looks for, not a secret
ENTROPY_BYTES = 32
SECRET_LENGTH_MAX = 128  # longer than any we issue; nothing longer is hashed
TOKEN_ID_BYTES = 10


class Scope(StrEnum):
    """What a token may do. Scopes do not imply each other; the first administrator's token holds them all."""

    ADMIN = "admin"
    MERCHANT = "merchant"
    POS = "pos"
    MEMBER = "member"
    AUDITOR = "auditor"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling. `tenant` is None for those who run the installation and may name any tenant."""

    token_id: str
    name: str
    scopes: frozenset[Scope]
    tenant: TenantId | None

    def tenant_or(self, asked: str | None) -> TenantId:
        """The tenant the call is about: the principal's own, or the one asked for by who may name any.

        Raises: ProblemError when it asks for another's, or may name any and names none.
        """
        if self.tenant is None and asked is not None:
            return TenantId(asked)
        if self.tenant is None or asked not in (None, self.tenant):
            raise ProblemError(MISSING_SCOPE)
        return self.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A new token: the only moment at which its secret is known."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is kept of a token."""

    id: str
    name: str
    scopes: frozenset[Scope]
    tenant: TenantId | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


def issue_token(
    connection: Connection,
    *,
    entropy: bytes,
    name: str,
    scopes: frozenset[Scope],
    tenant: TenantId | None,
    now: datetime,
    lifetime: timedelta,
) -> IssuedToken:
    """A token good from now for `lifetime`. `entropy` is 32 random bytes."""
    assert len(entropy) == ENTROPY_BYTES
    secret = SECRET_PREFIX + base64.urlsafe_b64encode(entropy).rstrip(b"=").decode()
    digest = _digest(secret)
    token_id = base64.b32encode(digest[:TOKEN_ID_BYTES]).decode().lower()
    connection.execute(
        api_token.insert().values(
            id=token_id,
            digest=digest,
            name=name,
            scopes=" ".join(sorted(scopes)),
            tenant=tenant,
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    return IssuedToken(id=token_id, secret=secret)


def revoke_token(connection: Connection, token_id: str, now: datetime) -> bool:
    """True when this call ended the token; False when there is none or it was ended before."""
    c = api_token.c
    ended = connection.execute(
        api_token.update().where(c.id == token_id, c.revoked_at.is_(None)).values(revoked_at=now)
    )
    return ended.rowcount == 1


def list_tokens(connection: Connection) -> tuple[TokenRecord, ...]:
    """Every token, ended ones too, oldest first."""
    rows = connection.execute(select(api_token).order_by(api_token.c.created_at, api_token.c.id)).mappings()
    return tuple(_record(row) for row in rows)


def authenticate(connection: Connection, secret: str, now: datetime) -> Principal | None:
    """Whose secret this is, or None when it is unknown, expired or revoked."""
    if not secret.startswith(SECRET_PREFIX) or len(secret) > SECRET_LENGTH_MAX:
        return None
    row = connection.execute(select(api_token).where(api_token.c.digest == _digest(secret))).mappings().one_or_none()
    if row is None:
        return None
    token = _record(row)
    if token.revoked_at is not None or not token.created_at <= now < token.expires_at:
        return None
    return Principal(token_id=token.id, name=token.name, scopes=token.scopes, tenant=token.tenant)


class Gate:
    """Lets requests in. `now` is the service's clock."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._bearer = HTTPBearer(auto_error=False, description="A token from `doorstep-cloud admin token`.")

    def requires(self, *scopes: Scope) -> Callable[[HTTPAuthorizationCredentials | None], Principal]:
        """A dependency that gives the principal when its token holds one of the scopes, else ends in 401 or 403."""
        allowed = frozenset(scopes)

        def principal(
            credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(self._bearer)],
        ) -> Principal:
            found = self._identify(credentials)
            if found is None:
                raise ProblemError(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
            if not allowed & found.scopes:
                raise ProblemError(MISSING_SCOPE)
            return found

        return principal

    def _identify(self, credentials: HTTPAuthorizationCredentials | None) -> Principal | None:
        if credentials is None:
            return None
        with reading(self._engine) as connection:
            return authenticate(connection, credentials.credentials, self._now())


def _record(row: RowMapping) -> TokenRecord:
    return TokenRecord(
        id=row["id"],
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"].split())),
        tenant=row["tenant"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

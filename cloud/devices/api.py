"""Devices over HTTP: provisioning, open to whoever holds a code, and the registry, for administrators.

What a device fetches before it has a certificate comes over TLS whose authority it checked against the code's pin.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection

from cloud.catalogue.queries import store_by_id
from cloud.catalogue.schemas import Id
from cloud.devices.actions import (
    claim_device,
    collect_claim,
    confirm_device,
    issue_claim_code,
    renew_certificate,
    revoke_device,
)
from cloud.devices.queries import (
    Certificate,
    certificate_ends,
    device_by_id,
    devices_after,
    group_state,
    newest_certificate,
    set_aside_of,
    statuses_of,
)
from cloud.devices.rules import ATTEMPT_WINDOW, CODE_LIFE, Attempts, Device, DeviceRefusal
from cloud.devices.schemas import (
    ClaimCodeView,
    ClaimView,
    Confirmation,
    ConfirmedView,
    DeviceName,
    DeviceView,
    GroupView,
    NewClaim,
    Renewal,
    WaitingView,
)
from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from shared.brokers import BrokerPlace
from shared.ids import DeviceId, StoreId
from shared.policy import CERTIFICATE_AGE_MAX
from shared.provisioning import format_code, parse_secret

RENEWALS_MAX: Final = 60  # an address, a minute: a shopping mall that opens again behind one line
POLLS_MAX: Final = 1200  # an address, a minute: twenty kiosks behind one line that ask every second

UNKNOWN_CODE: Final = ProblemKind(name="unknown-claim-code", status=404, title="The claim code is not known")
CODE_USED: Final = ProblemKind(name="claim-code-used", status=409, title="The claim code was used by another device")
CODE_EXPIRED: Final = ProblemKind(name="claim-code-expired", status=410, title="The claim code has expired")
BAD_CSR: Final = ProblemKind(name="bad-certificate-request", status=422, title="The certificate request is not usable")
BAD_PROOF: Final = ProblemKind(name="bad-proof", status=403, title="The proof is not the signing key's")
WRONG_FINGERPRINT: Final = ProblemKind(
    name="wrong-fingerprint", status=409, title="This is not the fingerprint of the device"
)
CLAIM_EXPIRED: Final = ProblemKind(name="claim-expired", status=410, title="The claim was not confirmed in time")
UNKNOWN_CERTIFICATE: Final = ProblemKind(
    name="unknown-certificate", status=409, title="This is not the device's newest certificate"
)
REVOKED: Final = ProblemKind(name="device-revoked", status=410, title="The device was revoked")
TOO_MANY_CERTIFICATES: Final = ProblemKind(
    name="too-many-certificates", status=429, title="The device has too many certificates in force"
)
TOO_MANY: Final = ProblemKind(name="too-many-attempts", status=429, title="Too many attempts from this address")

_PROBLEMS: Final = {
    DeviceRefusal.UNKNOWN_STORE: NOT_FOUND,
    DeviceRefusal.UNKNOWN_CODE: UNKNOWN_CODE,
    DeviceRefusal.CODE_USED: CODE_USED,
    DeviceRefusal.CODE_EXPIRED: CODE_EXPIRED,
    DeviceRefusal.BAD_REQUEST: BAD_CSR,
    DeviceRefusal.BAD_PROOF: BAD_PROOF,
    DeviceRefusal.UNKNOWN_DEVICE: NOT_FOUND,
    DeviceRefusal.WRONG_FINGERPRINT: WRONG_FINGERPRINT,
    DeviceRefusal.CLAIM_EXPIRED: CLAIM_EXPIRED,
    DeviceRefusal.UNKNOWN_CERTIFICATE: UNKNOWN_CERTIFICATE,
    DeviceRefusal.TOO_MANY_CERTIFICATES: TOO_MANY_CERTIFICATES,
    DeviceRefusal.REVOKED: REVOKED,
}

Made = TypeVar("Made")


def router(
    services: Services,
    *,
    broker: BrokerPlace,
    on_devices_changed: Callable[[], None],
    certificate_life: timedelta = CERTIFICATE_AGE_MAX,
    polls_max: int = POLLS_MAX,
) -> APIRouter:
    """The devices' routes. `broker` is where devices find it; the callable makes the broker know who may speak."""
    routes = APIRouter(prefix="/v1", responses=document(INVALID_REQUEST))
    _add_provisioning(routes, services, broker, polls_max, certificate_life)
    _add_registry(routes, services, on_devices_changed, certificate_life)
    return routes


def _add_provisioning(
    routes: APIRouter, services: Services, broker: BrokerPlace, polls_max: int, certificate_life: timedelta
) -> None:
    tries, polls, renewals = Attempts(), Attempts(allowed=polls_max), Attempts(allowed=RENEWALS_MAX)
    bearer = HTTPBearer(auto_error=False, scheme_name="PollToken", description="`poll_token` of the claim.")

    @routes.get("/provisioning/ca", tags=["provisioning"], response_class=Response)
    def get_ca() -> Response:
        """The authority's certificate, to be compared with the pin in the claim code before it is trusted."""
        return Response(services.keyring.ca_pem, media_type="application/x-pem-file")

    @routes.post(
        "/provisioning/claims",
        tags=["provisioning"],
        status_code=201,
        responses=document(UNKNOWN_CODE, CODE_USED, CODE_EXPIRED, BAD_PROOF, TOO_MANY),
    )
    def post_claim(body: NewClaim, request: Request) -> ClaimView:
        """Claims the calling kiosk for the code's store. The same keys may ask again and get the same answer."""
        _count(tries, request, services)
        secret = parse_secret(body.code)
        if secret is None:
            raise ProblemError(UNKNOWN_CODE)
        with writing(services.engine) as connection:
            claimed = claim_device(
                connection,
                secret=secret,
                csr_pem=body.csr_pem,
                signing_public=bytes.fromhex(body.signing_public_key),
                proof=bytes.fromhex(body.proof),
                now=services.clock(),
                random=services.random,
            )
        done = _made(claimed)
        return ClaimView(device=done.device.id, fingerprint=done.device.fingerprint, poll_token=done.poll_token)

    @routes.get(
        "/provisioning/claims/{device}", tags=["provisioning"], responses=document(NOT_FOUND, REVOKED, TOO_MANY)
    )
    def get_claim(
        device: DeviceName,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> WaitingView | ConfirmedView:
        """Whether the device was confirmed, and with what it connects then."""
        _count(polls, request, services)
        token = "" if credentials is None else credentials.credentials
        with reading(services.engine) as connection:
            known = collect_claim(connection, DeviceId(device), token)
            if known is None:
                raise ProblemError(NOT_FOUND)
            if known.revoked_at is not None:
                raise ProblemError(REVOKED)
            certificate = newest_certificate(connection, known.id)
            if certificate is None:
                return WaitingView(device=known.id, fingerprint=known.fingerprint)
            return _confirmed(connection, services, known, certificate, broker)

    @routes.post(
        "/provisioning/renewals",
        tags=["provisioning"],
        responses=document(NOT_FOUND, BAD_PROOF, UNKNOWN_CERTIFICATE, REVOKED, TOO_MANY, TOO_MANY_CERTIFICATES),
    )
    def post_renewal(body: Renewal, request: Request) -> ConfirmedView:
        """The device's next certificate, also when the last one has expired: a store may be closed for months."""
        _count(renewals, request, services)
        with writing(services.engine) as connection:
            renewed = renew_certificate(
                connection,
                services.keyring,
                DeviceId(body.device),
                serial=body.serial,
                csr_pem=body.csr_pem,
                proof=bytes.fromhex(body.proof),
                now=services.clock(),
                life=certificate_life,
            )
            certificate = _made(renewed)
            known = device_by_id(connection, certificate.device)
            assert known is not None
            return _confirmed(connection, services, known, certificate, broker)


def _add_registry(
    routes: APIRouter, services: Services, on_devices_changed: Callable[[], None], certificate_life: timedelta
) -> None:
    gate = Gate(services.engine, services.clock)
    admin = Depends(gate.requires(Scope.ADMIN))
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))
    refusals = document(UNAUTHENTICATED, MISSING_SCOPE, NOT_FOUND)

    @routes.post("/stores/{store}/claim-codes", tags=["devices"], status_code=201, responses=refusals)
    def post_claim_code(store: str, principal: Annotated[Principal, admin]) -> ClaimCodeView:
        """A code with which one kiosk of the store is claimed within the hour. It is shown this once."""
        now = services.clock()
        with writing(services.engine) as connection:
            place = store_by_id(connection, StoreId(store))
            if place is None or principal.tenant not in (None, place.tenant):
                raise ProblemError(NOT_FOUND)
            code = _made(issue_claim_code(connection, services.keyring, place.id, now, services.random))
        return ClaimCodeView(code=format_code(code), store=store, expires_at=now + CODE_LIFE)

    @routes.get("/devices", tags=["devices"], responses=document(UNAUTHENTICATED, MISSING_SCOPE))
    def get_devices(
        principal: Annotated[Principal, reader], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[DeviceView]:
        """The devices of the caller's tenant, or all of them."""
        with reading(services.engine) as connection:
            rows = devices_after(connection, decode_cursor(cursor, str) or "", limit + 1, principal.tenant)
            shown, has_more = cut(rows, limit)
            ids = [device.id for device in shown]
            statuses, ends = statuses_of(connection, ids), certificate_ends(connection, ids)
            aside = set_aside_of(connection, ids)
        items = tuple(
            DeviceView.of(device, statuses.get(device.id), ends.get(device.id), aside.get(device.id, ()))
            for device in shown
        )
        return Page(items=items, next=encode_cursor(shown[-1].id) if has_more else None)

    @routes.get("/stores/{store}/group", tags=["devices"], responses=refusals)
    def get_group(store: Id, principal: Annotated[Principal, reader]) -> GroupView:
        """The store's kiosks that share a secret for faces, and which of them can open it."""
        with reading(services.engine) as connection:
            place = store_by_id(connection, StoreId(store))
            if place is None or principal.tenant not in (None, place.tenant):
                raise ProblemError(NOT_FOUND)
            return GroupView.of(group_state(connection, place.id))

    @routes.get("/devices/{device}", tags=["devices"], responses=refusals)
    def get_device(device: DeviceName, principal: Annotated[Principal, reader]) -> DeviceView:
        """A device and how it last showed itself."""
        with reading(services.engine) as connection:
            return _shown(connection, _visible(connection, device, principal))

    @routes.post(
        "/devices/{device}/confirm",
        tags=["devices"],
        responses=refusals | document(WRONG_FINGERPRINT, CLAIM_EXPIRED),
    )
    def post_confirm(device: DeviceName, body: Confirmation, principal: Annotated[Principal, admin]) -> DeviceView:
        """Certifies the device whose screen shows this fingerprint."""
        with writing(services.engine) as connection:
            known = _visible(connection, device, principal)
            now = services.clock()
            _made(confirm_device(connection, services.keyring, known.id, body.fingerprint, now, certificate_life))
            shown = _shown(connection, _visible(connection, device, principal))
        on_devices_changed()
        return shown

    @routes.post("/devices/{device}/revoke", tags=["devices"], responses=refusals)
    def post_revoke(device: DeviceName, principal: Annotated[Principal, admin]) -> DeviceView:
        """Shuts the device out for good; it is cut off at the broker before this returns."""
        with writing(services.engine) as connection:
            known = _visible(connection, device, principal)
            shown = _shown(connection, _made(revoke_device(connection, known.id, services.clock())))
        on_devices_changed()
        return shown


def _count(attempts: Attempts, request: Request, services: Services) -> None:
    address = "" if request.client is None else request.client.host
    if not attempts.may_try(address, services.clock()):
        raise ProblemError(TOO_MANY, headers={"Retry-After": str(int(ATTEMPT_WINDOW.total_seconds()))})


def _visible(connection: Connection, id: str, principal: Principal) -> Device:
    """The device; another tenant's is as good as none."""
    known = device_by_id(connection, DeviceId(id))
    if known is None or principal.tenant not in (None, known.tenant):
        raise ProblemError(NOT_FOUND)
    return known


def _shown(connection: Connection, known: Device) -> DeviceView:
    statuses, ends = statuses_of(connection, [known.id]), certificate_ends(connection, [known.id])
    aside = set_aside_of(connection, [known.id]).get(known.id, ())
    return DeviceView.of(known, statuses.get(known.id), ends.get(known.id), aside)


def _confirmed(
    connection: Connection, services: Services, known: Device, certificate: Certificate, broker: BrokerPlace
) -> ConfirmedView:
    place = store_by_id(connection, known.store)
    assert place is not None, "foreign keys hold"
    return ConfirmedView.of(known, certificate, services.keyring, store_name=place.name, broker=broker)


def _made(made: Made | DeviceRefusal) -> Made:
    """What was made, or the problem that stands for the refusal."""
    if isinstance(made, DeviceRefusal):
        raise ProblemError(_PROBLEMS[made])
    return made

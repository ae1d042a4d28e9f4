"""The members over HTTP: joining and everything of one's own with a self-made secret, staff by scope.

Whoever joins makes 32 random bytes and keeps them; as `Bearer dsm_<43 base64url characters>` they open everything
under `/v1/members/me`. The cloud never makes, sends or stores a member's secret, only its digest, so an answer that
is kept for `Idempotency-Key` holds none, and a lost answer costs nothing.
"""

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, Final, TypeVar, assert_never

import segno
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Connection

from cloud.catalogue.queries import policy_in_force, programme_by_id, store_by_id, stores_of_programme
from cloud.catalogue.rules import Programme, Store
from cloud.errors import ProblemError, ProblemKind
from cloud.kit.auth import Gate, Principal, Scope
from cloud.kit.database import reading, writing
from cloud.kit.idempotency import WriteRequest, answer_once, write_request
from cloud.kit.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from cloud.kit.problems import INVALID_REQUEST, MISSING_SCOPE, NOT_FOUND, UNAUTHENTICATED, document
from cloud.kit.services import Services
from cloud.ledger.queries import balances_of_member
from cloud.members.actions import (
    Issuer,
    Joining,
    PrintedCard,
    certify_phone,
    deny_cards,
    deny_phones,
    issue_card,
    join,
    leave,
    print_card,
    set_biometric,
    set_biometric_at,
    set_level,
    set_marketing,
    set_profile,
)
from cloud.members.queries import (
    KeptTemplate,
    card_in_hand,
    cards_of,
    consents_of,
    face_deletions_of,
    face_proofs_of,
    member_by_id,
    member_of_bearer,
    members_after,
    phones_of,
    store_words,
    templates_of,
)
from cloud.members.rules import (
    CONSENT_TEXT_VERSION,
    PHONE_DAYS,
    CardIssue,
    CardRefusal,
    ConsentRecord,
    ConsentWords,
    JoinLimiter,
    JoinRefusal,
    Language,
    Member,
    MemberGone,
    PhoneRefusal,
    StoreWord,
    day_number,
    deleted_at,
    nickname_fault,
    tidy_nickname,
)
from cloud.members.schemas import (
    CardView,
    CertificateView,
    ConsentChange,
    ConsentView,
    Denial,
    FaceDeletionView,
    FaceView,
    JoinView,
    KnownFaceView,
    MemberDetail,
    MemberText,
    MemberView,
    MeView,
    NewMember,
    NewPhone,
    OtherStoreView,
    PhoneView,
    PrintedCardView,
    ProfileChange,
    Slug,
    date_of,
    decode_key,
    encode_bytes,
    has_marketing,
    spendable,
)
from shared.business_day import milliseconds
from shared.consent import BIOMETRIC_TEXT_VERSION, DataLevel, Purpose
from shared.ids import MEMBER_ID_BYTES, MemberId, StoreId, TenantId, format_member, parse_member

JOINING_TOO_OFTEN: Final = ProblemKind(name="joining-too-often", status=429, title="Too many joined from here just now")
TEXT_OUTDATED: Final = ProblemKind(name="text-outdated", status=409, title="The consent text is not the current one")
SECRET_SPENT: Final = ProblemKind(name="secret-spent", status=409, title="Who had this secret has left; make another")
PHONE_REFUSED: Final = ProblemKind(
    name="phone-refused", status=409, title="This phone cannot show codes for the member"
)
CARDS_USED_UP: Final = ProblemKind(name="cards-used-up", status=409, title="The member can have no further card")

FACE_UNKNOWN: Final = ProblemKind(name="face-unknown", status=409, title="No other store knows the member's face")

STORES_SHOWN_MAX: Final = 100  # of a programme: more than one person reads through
SECRET: Final = re.compile(r"dsm_[A-Za-z0-9_-]{43}")
CARD_BORDER = 4  # modules of quiet zone, which belong to the code
CARD_MM = 45  # the least printed size with its quiet zone: version 8 has 49 modules, 57 with it

_bearer = HTTPBearer(
    auto_error=False, scheme_name="Member", description="`dsm_` and the base64url of 32 random bytes of one's own."
)
# Any: FastAPI's own type for `responses`
_SVG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}, "description": "The code as a picture"}
}

Made = TypeVar("Made")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A member who called, by their secret."""

    tenant: TenantId
    member: MemberId


def router(services: Services) -> APIRouter:
    """The members' routes."""
    routes = APIRouter(prefix="/v1", tags=["members"], responses=document(UNAUTHENTICATED, INVALID_REQUEST))
    _add_joining(routes, services)
    own = OwnDoor(services)
    _add_profile(routes, services, own)
    _add_consents(routes, services, own)
    _add_credentials(routes, services, own)
    _add_staff(routes, services, Gate(services.engine, services.clock))
    return routes


class OwnDoor:
    """Dependencies that let a member in, for reading and for writing once."""

    def __init__(self, services: Services) -> None:
        def session(credentials: _Credentials) -> Session:
            digest = _digest(credentials)
            with reading(services.engine) as connection:
                member = member_of_bearer(connection, digest)
            if member is None:
                raise _unauthenticated()
            return Session(tenant=member.tenant, member=member.id)

        def principal(found: Annotated[Session, Depends(session)]) -> Principal:
            name = f"member:{found.tenant}:{format_member(found.member)}"
            return Principal(token_id=name, name=name, scopes=frozenset({Scope.MEMBER}), tenant=found.tenant)

        self.session = session
        self.write = write_request(principal, services.clock)


def _add_joining(routes: APIRouter, services: Services) -> None:
    limiter = JoinLimiter()

    def joiner(credentials: _Credentials) -> Principal:
        name = f"join:{_digest(credentials).hex()}"
        return Principal(token_id=name, name=name, scopes=frozenset(), tenant=None)

    writer = Depends(write_request(joiner, services.clock))

    @routes.get("/join/{programme}", responses=document(NOT_FOUND))
    def get_join(programme: Slug, store: Annotated[Slug | None, Query()] = None) -> JoinView:
        """What there is to join. Open to everybody."""
        with reading(services.engine) as connection:
            return JoinView.of(*_joinable(connection, programme, store))

    @routes.post(
        "/members",
        status_code=201,
        response_model=MemberView,
        responses=document(NOT_FOUND, SECRET_SPENT, JOINING_TOO_OFTEN),
    )
    def post_member(body: NewMember, request: Request, once: Annotated[WriteRequest, writer]) -> Response:
        """Joins: the secret sent as bearer token opens the new member's own routes from then on.

        Open to everybody at a measured pace. The same secret again gives the same member.
        """
        wait = limiter.wait(request.client.host if request.client else "", once.at)
        if wait > timedelta(0):
            raise ProblemError(JOINING_TOO_OFTEN, headers={"Retry-After": str(ceil(wait.total_seconds()))})
        nickname = _nickname(body.nickname)
        words = _current(body.words(body.language))
        id = MemberId(services.random(MEMBER_ID_BYTES))
        digest = bytes.fromhex(once.principal.token_id.removeprefix("join:"))

        def write(connection: Connection) -> MemberView:
            programme, store = _joinable(connection, body.programme, body.store)
            joining = Joining(
                tenant=programme.tenant,
                programme=programme.id,
                store=None if store is None else store.id,
                nickname=nickname,
                language=Language(body.language),
                level=DataLevel(body.level),
                words=words,
            )
            joined = join(connection, joining, id=id, secret_digest=digest, now=once.at)
            if isinstance(joined, JoinRefusal):
                raise ProblemError(SECRET_SPENT)
            return MemberView.of(joined)

        return _answer(services, once, write, status=201)


def _add_profile(routes: APIRouter, services: Services, own: OwnDoor) -> None:
    reader, writer = Depends(own.session), Depends(own.write)

    @routes.get("/members/me")
    def get_me(me: Annotated[Session, reader]) -> MeView:
        """All there is to know of oneself."""
        with reading(services.engine) as connection:
            return _me(connection, services, me)

    @routes.patch("/members/me", response_model=MeView, responses=document(TEXT_OUTDATED))
    def patch_me(
        body: ProfileChange, me: Annotated[Session, reader], once: Annotated[WriteRequest, writer]
    ) -> Response:
        """Changes nickname, language or level; kiosks that know the member learn of it."""
        nickname = _nickname(body.nickname)

        def write(connection: Connection) -> MeView:
            held = _present(connection, me)
            language = Language(body.language) if body.language else held.language
            wanted = nickname if "nickname" in body.model_fields_set else held.nickname
            if (wanted, language) != (held.nickname, held.language):
                set_profile(connection, me.tenant, me.member, nickname=wanted, language=language)
            if body.level is not None:
                words = _current(body.words(language))
                level = DataLevel(body.level)
                set_level(connection, me.tenant, me.member, level=level, words=words, now=once.at)
            return _me(connection, services, me)

        return _answer(services, once, write)


def _add_consents(routes: APIRouter, services: Services, own: OwnDoor) -> None:
    reader, writer = Depends(own.session), Depends(own.write)

    @routes.get("/members/me/consents")
    def get_consents(me: Annotated[Session, reader]) -> tuple[ConsentView, ...]:
        """Every consent that was given or withdrawn, oldest first."""
        with reading(services.engine) as connection:
            lines = consents_of(connection, me.tenant, me.member)
            return tuple(_consent_view(connection, line) for line in lines)

    @routes.post(
        "/members/me/consents",
        status_code=201,
        response_model=ConsentView,
        responses=document(TEXT_OUTDATED, FACE_UNKNOWN, NOT_FOUND),
    )
    def post_consent(
        body: ConsentChange, me: Annotated[Session, reader], once: Annotated[WriteRequest, writer]
    ) -> Response:
        """Gives or withdraws a consent; the answer is the receipt. Withdrawing `programme` is leaving.

        The biometric consent is withdrawn under whatever text: a page that was kept too long stands in nobody's way. It
        can name a store, once the face is known at another.
        """
        words = body.words(body.language)
        is_face = body.purpose == "biometric"
        if body.given or not is_face:
            words = _current(words, BIOMETRIC_TEXT_VERSION if is_face else CONSENT_TEXT_VERSION)
        if body.purpose == "programme" and body.given:
            raise ProblemError(INVALID_REQUEST, "a member has given this; the level is changed with PATCH")
        if body.store is not None and not is_face:
            raise ProblemError(INVALID_REQUEST, "only the biometric consent names a store")

        def write(connection: Connection) -> ConsentView:
            match body.purpose:
                case "marketing":
                    set_marketing(connection, me.tenant, me.member, given=body.given, words=words, now=once.at)
                case "biometric" if body.store is not None:
                    at = _nameable(connection, me, StoreId(body.store), given=body.given)
                    set_biometric_at(connection, me.tenant, me.member, at, given=body.given, words=words, now=once.at)
                case "biometric":
                    set_biometric(connection, me.tenant, me.member, given=body.given, words=words, now=once.at)
                case "programme":
                    leave(connection, me.tenant, me.member, words=words, now=once.at)
                case _:
                    assert_never(body.purpose)
            receipt = _receipt(consents_of(connection, me.tenant, me.member), Purpose(body.purpose))
            return _consent_view(connection, receipt)

        return _answer(services, once, write, status=201)

    @routes.get("/members/me/face")
    def get_face(me: Annotated[Session, reader]) -> FaceView:
        """Where one's face is known, where else it may be, and which kiosks have proved that they deleted it."""
        with reading(services.engine) as connection:
            return _face(connection, me)


def _add_credentials(routes: APIRouter, services: Services, own: OwnDoor) -> None:
    reader, writer = Depends(own.session), Depends(own.write)

    @routes.post("/members/me/phones", status_code=201, responses=document(PHONE_REFUSED))
    def post_phone(body: NewPhone, me: Annotated[Session, reader]) -> CertificateView:
        """Certifies a phone's key for 60 days. The same key again renews, so sending twice does no harm."""
        now, key = services.clock(), decode_key(body.public_key)
        with writing(services.engine) as connection:
            made = _unless_gone(
                lambda: certify_phone(connection, _issuer(services), me.tenant, me.member, public_key=key, now=now)
            )
        if isinstance(made, PhoneRefusal):
            raise ProblemError(PHONE_REFUSED, made.value)
        expires_on = date_of(day_number(now) + PHONE_DAYS)
        return CertificateView(certificate=encode_bytes(made), expires_on=expires_on)

    @routes.post("/members/me/card", status_code=201, response_model=CardView, responses=document(CARDS_USED_UP))
    def post_card(me: Annotated[Session, reader], once: Annotated[WriteRequest, writer]) -> Response:
        """Issues a card; the one before it is denied. Its code is read with GET."""
        return _answer(services, once, lambda c: _issue(c, services, me, once), status=201)

    @routes.get("/members/me/card", responses=document(NOT_FOUND))
    def get_card(me: Annotated[Session, reader]) -> PrintedCardView:
        """The card with the text of its code."""
        with reading(services.engine) as connection:
            return _printed_view(_printed(connection, services, me))

    @routes.get("/members/me/card.svg", response_class=Response, responses=_SVG | document(NOT_FOUND))
    def get_card_svg(me: Annotated[Session, reader]) -> Response:
        """The card's code as a picture of 45 mm with its quiet zone."""
        with reading(services.engine) as connection:
            return _svg(_printed(connection, services, me).text)

    @routes.delete("/members/me/card", response_model=Denial)
    def delete_card(me: Annotated[Session, reader], once: Annotated[WriteRequest, writer]) -> Response:
        """Denies every card of the member, at kiosks within minutes of their being online."""
        return _answer(services, once, lambda c: _deny(c, me, once, cards=True))


def _add_staff(routes: APIRouter, services: Services, gate: Gate) -> None:
    reader = Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT, Scope.AUDITOR))
    writer = Depends(write_request(gate.requires(Scope.ADMIN, Scope.MERCHANT), services.clock))
    responses = document(MISSING_SCOPE, NOT_FOUND)

    @routes.get("/members", responses=document(MISSING_SCOPE))
    def get_members(
        principal: Annotated[Principal, reader],
        tenant: Annotated[Slug | None, Query()] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[MemberView]:
        """The tenant's members by pseudonym, those who left too."""
        owner, last = principal.tenant_or(tenant), decode_cursor(cursor, str)
        with reading(services.engine) as connection:
            rows = members_after(connection, owner, None if last is None else _member_id(last), limit + 1)
        shown, has_more = cut(rows, limit)
        after = encode_cursor(format_member(shown[-1].id)) if has_more else None
        return Page(items=tuple(map(MemberView.of, shown)), next=after)

    @routes.get("/members/{member}", responses=responses)
    def get_member(
        member: MemberText, principal: Annotated[Principal, reader], tenant: Annotated[Slug | None, Query()] = None
    ) -> MemberDetail:
        """A member with balances and credentials."""
        whom = Session(tenant=principal.tenant_or(tenant), member=_member_id(member))
        with reading(services.engine) as connection:
            return _detail(connection, whom)

    @routes.post(
        "/members/{member}/card",
        status_code=201,
        response_model=CardView,
        responses=responses | document(CARDS_USED_UP),
    )
    def post_member_card(
        member: MemberText, once: Annotated[WriteRequest, writer], tenant: Annotated[Slug | None, Query()] = None
    ) -> Response:
        """Issues a card at the counter; the member's card before it is denied."""
        whom = Session(tenant=once.principal.tenant_or(tenant), member=_member_id(member))
        return _answer(services, once, lambda c: _issue(c, services, whom, once), status=201)

    @routes.get("/members/{member}/card.svg", response_class=Response, responses=_SVG | responses)
    def get_member_card_svg(
        member: MemberText,
        principal: Annotated[Principal, Depends(gate.requires(Scope.ADMIN, Scope.MERCHANT))],
        tenant: Annotated[Slug | None, Query()] = None,
    ) -> Response:
        """The code of the member's card, to be printed at the counter."""
        whom = Session(tenant=principal.tenant_or(tenant), member=_member_id(member))
        with reading(services.engine) as connection:
            return _svg(_printed(connection, services, whom).text)

    @routes.delete("/members/{member}/card", response_model=Denial, responses=responses)
    def delete_member_card(
        member: MemberText, once: Annotated[WriteRequest, writer], tenant: Annotated[Slug | None, Query()] = None
    ) -> Response:
        """Denies every card of the member."""
        whom = Session(tenant=once.principal.tenant_or(tenant), member=_member_id(member))
        return _answer(services, once, lambda c: _deny(c, whom, once, cards=True))

    @routes.delete("/members/{member}/phones", response_model=Denial, responses=responses)
    def delete_member_phones(
        member: MemberText, once: Annotated[WriteRequest, writer], tenant: Annotated[Slug | None, Query()] = None
    ) -> Response:
        """Denies every phone of the member, for as long as a certificate from before is in date."""
        whom = Session(tenant=once.principal.tenant_or(tenant), member=_member_id(member))
        return _answer(services, once, lambda c: _deny(c, whom, once, cards=False))


def _digest(credentials: HTTPAuthorizationCredentials | None) -> bytes:
    """SHA-256 of a well-formed secret. Raises: ProblemError."""
    if credentials is None or not SECRET.fullmatch(credentials.credentials):
        raise _unauthenticated()
    return hashlib.sha256(credentials.credentials.encode()).digest()


def _unauthenticated() -> ProblemError:
    return ProblemError(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})


def _issuer(services: Services) -> Issuer:
    return Issuer(id=services.keyring.issuer_id, key=services.keyring.issuer_key)


def _answer(
    services: Services, once: WriteRequest, write: Callable[[Connection], BaseModel], status: int = 200
) -> Response:
    with writing(services.engine) as connection:
        return answer_once(connection, once, lambda: _unless_gone(lambda: write(connection)), status=status)


def _unless_gone(act: Callable[[], Made]) -> Made:
    """What the act gives; a member who is unknown or has left is as good as none."""
    try:
        return act()
    except MemberGone as gone:
        raise ProblemError(NOT_FOUND) from gone


def _joinable(connection: Connection, id: str, at: str | None) -> tuple[Programme, Store | None]:
    """The programme, and the store when it takes part in it. Raises: ProblemError."""
    programme = programme_by_id(connection, id)
    if programme is None:
        raise ProblemError(NOT_FOUND)
    if at is None:
        return programme, None
    store = store_by_id(connection, StoreId(at))
    if store is None or store.programme != programme.id:
        raise ProblemError(NOT_FOUND)
    return programme, store


def _nickname(text: str | None) -> str | None:
    """The tidied nickname, None where nothing is left of it. Raises: ProblemError."""
    nickname = tidy_nickname(text or "")
    fault = nickname_fault(nickname)
    if fault is not None:
        raise ProblemError(INVALID_REQUEST, f"nickname {fault.value}")
    return nickname or None


def _current(words: ConsentWords, version: int = CONSENT_TEXT_VERSION) -> ConsentWords:
    """The words, when they are the ones in force: nobody agrees to a text that is no longer shown."""
    if words.text_version != version:
        raise ProblemError(TEXT_OUTDATED)
    return words


def _receipt(lines: Sequence[ConsentRecord], purpose: Purpose) -> ConsentRecord:
    """The newest line of the purpose; leaving withdraws more than one consent."""
    return [line for line in lines if line.purpose is purpose][-1]


def _consent_view(connection: Connection, line: ConsentRecord) -> ConsentView:
    return ConsentView.of(line, None if line.store is None else _store_name(connection, line.store))


def _nameable(connection: Connection, me: Session, store: StoreId, *, given: bool) -> StoreId:
    """The store, when the member may name it. Raises: ProblemError.

    Given only under the consent to be recognised at all, and when another store knows the face; withdrawn always.
    """
    place, member = store_by_id(connection, store), _present(connection, me)
    if place is None or place.programme != member.programme:
        raise ProblemError(NOT_FOUND)
    learnt = {kept.store for kept in templates_of(connection, me.tenant, me.member) if kept.given_by is None}
    if given and (member.face_text != BIOMETRIC_TEXT_VERSION or not learnt - {store}):
        raise ProblemError(FACE_UNKNOWN)
    return store


def _others(connection: Connection, me: Session, kept: Sequence[KeptTemplate]) -> tuple[OtherStoreView, ...]:
    """Stores that recognise faces and at which the member's was not learnt, once it was learnt somewhere."""
    learnt = {one.store for one in kept if one.given_by is None}
    since = {one.store: one.enrolled_at for one in kept if one.is_opened}
    words = store_words(connection, [me.member])
    allowed = {store for (_, store), word in words.items() if word is StoreWord.ALLOWED}
    stores = stores_of_programme(connection, _present(connection, me).programme, STORES_SHOWN_MAX)
    return tuple(
        OtherStoreView(store=one.id, store_name=one.name, allowed=one.id in allowed, since=since.get(one.id))
        for one in stores
        if one.id not in learnt and (one.id in allowed or (learnt and _looks_for_faces(connection, one.id)))
    )


def _looks_for_faces(connection: Connection, store: StoreId) -> bool:
    policy = policy_in_force(connection, store)
    return policy is not None and policy.faces


def _face(connection: Connection, me: Session) -> FaceView:
    proofs, kept = face_proofs_of(connection, me.tenant, me.member), templates_of(connection, me.tenant, me.member)
    return FaceView(
        consent=_present(connection, me).face_text,
        stores=tuple(KnownFaceView.of(one, _store_name(connection, one.store)) for one in kept if one.is_opened),
        others=_others(connection, me, kept),
        deletions=tuple(
            FaceDeletionView.of(one, _store_name(connection, one.store), deleted_at(one, proofs))
            for one in face_deletions_of(connection, me.tenant, me.member)
        ),
    )


def _store_name(connection: Connection, id: StoreId) -> str:
    store = store_by_id(connection, id)
    assert store is not None, "templates come from kiosks, which belong to stores"
    return store.name


def _present(connection: Connection, whom: Session) -> Member:
    member = member_by_id(connection, whom.tenant, whom.member)
    if member is None:
        raise ProblemError(NOT_FOUND)
    return member


def _me(connection: Connection, services: Services, me: Session) -> MeView:
    member = _present(connection, me)
    programme = programme_by_id(connection, member.programme)
    assert programme is not None, "members join programmes that are there, and none is removed"
    card = card_in_hand(connection, me.tenant, me.member)
    return MeView(
        **MemberView.of(member).model_dump(),
        programme_name=programme.name,
        balances=spendable(balances_of_member(connection, me.tenant, me.member)),
        marketing=has_marketing(consents_of(connection, me.tenant, me.member)),
        card=None if card is None else CardView.of(card),
        phones_denied=member.phones_denied,
        text_version=CONSENT_TEXT_VERSION,
        biometric=member.face_text == BIOMETRIC_TEXT_VERSION,
        biometric_text_version=BIOMETRIC_TEXT_VERSION,
        server_ms=milliseconds(services.clock()),
    )


def _detail(connection: Connection, whom: Session) -> MemberDetail:
    member = _present(connection, whom)
    return MemberDetail(
        **MemberView.of(member).model_dump(),
        balances=spendable(balances_of_member(connection, whom.tenant, whom.member)),
        cards=tuple(map(CardView.of, cards_of(connection, whom.tenant, whom.member))),
        phones=tuple(map(PhoneView.of, phones_of(connection, whom.tenant, whom.member))),
        phones_denied=member.phones_denied,
    )


def _issue(connection: Connection, services: Services, whom: Session, once: WriteRequest) -> CardView:
    card = issue_card(connection, _issuer(services), whom.tenant, whom.member, now=once.at)
    if isinstance(card, CardRefusal):
        raise ProblemError(CARDS_USED_UP)
    return CardView.of(CardIssue(serial=card.serial, expiry_day=card.expiry_day, denied=False))


def _deny(connection: Connection, whom: Session, once: WriteRequest, *, cards: bool) -> Denial:
    """What is denied after denying the member's cards, or else their phones."""
    deny = deny_cards if cards else deny_phones
    deny(connection, whom.tenant, whom.member, now=once.at)
    member = _present(connection, whom)
    return Denial(cards_below=member.serial_floor, phones=member.phones_denied)


def _printed(connection: Connection, services: Services, whom: Session) -> PrintedCard:
    card = card_in_hand(connection, whom.tenant, whom.member)
    if card is None:
        raise ProblemError(NOT_FOUND)
    return print_card(_issuer(services), whom.member, serial=card.serial, expiry_day=card.expiry_day)


def _printed_view(card: PrintedCard) -> PrintedCardView:
    return PrintedCardView(text=card.text, serial=card.serial, expires_on=date_of(card.expiry_day), denied=False)


def _svg(text: str) -> Response:
    """The code as SVG; no cache may keep it."""
    code = segno.make(text, version=8, error="q", mode="alphanumeric", boost_error=False)
    out = io.BytesIO()
    modules = code.symbol_size(border=CARD_BORDER)[0]
    code.save(
        out,
        kind="svg",
        border=CARD_BORDER,
        scale=CARD_MM / modules,
        unit="mm",
        dark="#000",
        light="#fff",
        xmldecl=False,
    )
    return Response(out.getvalue(), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


def _member_id(text: str) -> MemberId:
    """The pseudonym in the text, a part of a path or of a cursor. Raises: ProblemError."""
    member = parse_member(text)
    if member is None:
        raise ProblemError(NOT_FOUND)
    return member

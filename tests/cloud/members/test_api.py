"""The members' API as a phone, a counter and a stranger use it, on both databases."""

import base64
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httpx import Response
from sqlalchemy import select, update

from cloud.catalogue.actions import set_daily_reward
from cloud.catalogue.rules import FaceRules
from cloud.kit.auth import Scope, issue_token
from cloud.kit.database import reading, writing
from cloud.kit.idempotency import KEY_REUSED
from cloud.kit.keyring import Keyring, create_keyring
from cloud.kit.pagination import encode_cursor
from cloud.kit.services import Services
from cloud.kit.tables import idempotency_key
from cloud.members.actions import keep_face_proofs, keep_templates, note_templates_told, set_template_key
from cloud.members.api import router
from cloud.members.rules import CARD_SERIAL_MAX, JOIN_BURST, Enrolment, FaceProof, Origin
from cloud.members.tables import member, member_bearer
from shared.biometrics import Forgetting
from shared.ids import CampaignId, DeviceId, MemberId, TenantId, parse_member
from shared.tokens import Card, parse_token, show_phone_code, step_of, verify_token
from tests.cloud.members.conftest import CENTRO, NOON, PORTO, PROGRAMME, TENANT, Town
from tests.cloud.service import create_client

PHONE = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x07")
PUBLIC = base64.urlsafe_b64encode(PHONE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=").decode()
JOINING = {"programme": PROGRAMME, "language": "en", "level": 1, "text_version": 1}


class Counter:
    """The service seen from outside: clients, a clock that tests move, tokens of staff."""

    def __init__(self, town: Town, keyring: Keyring) -> None:
        self.now: datetime = NOON
        self.town = town
        numbers = count(1)
        services = Services(
            engine=town.engine,
            keyring=keyring,
            clock=lambda: self.now,
            random=lambda size: next(numbers).to_bytes(size, "big"),
        )
        self.client = create_client([router(services)])
        self.issuers = {keyring.issuer_id: keyring.issuer_key.public_key()}
        self._secrets = count(1)

    def secret(self) -> dict[str, str]:
        """The header of somebody new."""
        key = base64.urlsafe_b64encode(next(self._secrets).to_bytes(32, "big")).rstrip(b"=").decode()
        return {"Authorization": f"Bearer dsm_{key}"}

    def staff(self, *scopes: Scope, tenant: str | None = TENANT) -> dict[str, str]:
        """The header of somebody with a fresh token."""
        with writing(self.town.engine) as connection:
            token = issue_token(
                connection,
                entropy=next(self._secrets).to_bytes(32, "big"),
                name="staff",
                scopes=frozenset(scopes),
                tenant=None if tenant is None else TenantId(tenant),
                now=NOON,
                lifetime=timedelta(days=365),
            )
        return {"Authorization": f"Bearer {token.secret}"}

    def join(self, **wanted: object) -> dict[str, str]:
        """The header of somebody who has joined."""
        secret = self.secret()
        answer = self.client.post("/v1/members", json={**JOINING, **wanted}, headers=secret)
        assert answer.status_code == 201, answer.text
        return secret


@pytest.fixture(scope="session")
def keyring(memory_folder: Path) -> Keyring:
    """Keys of a cloud."""
    return create_keyring(memory_folder / "member-keys", ["localhost"], NOON)


@pytest.fixture
def counter(town: Town, keyring: Keyring) -> Counter:
    """The service with a catalogue and nobody in it."""
    return Counter(town, keyring)


def _problem(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:doorstep:problem:")


def test_a_stranger_sees_what_there_is_to_join(counter: Counter) -> None:
    assert counter.client.get(f"/v1/join/{PROGRAMME}", params={"store": CENTRO}).json() == {
        "programme": PROGRAMME,
        "name": "Bottega",
        "store": CENTRO,
        "store_name": "Centro",
        "text_version": 1,
    }
    assert counter.client.get(f"/v1/join/{PROGRAMME}").json()["store"] is None
    for path in ("/v1/join/nobody", f"/v1/join/{PROGRAMME}?store=nowhere"):
        assert _problem(counter.client.get(path)) == (404, "not-found")


def test_joining_needs_no_personal_data(counter: Counter) -> None:
    secret = counter.secret()
    joined = counter.client.post("/v1/members", json=JOINING, headers=secret)
    assert joined.status_code == 201
    me = counter.client.get("/v1/members/me", headers=secret).json()
    assert me == {
        "member": joined.json()["member"],
        "programme": PROGRAMME,
        "programme_name": "Bottega",
        "nickname": None,
        "language": "en",
        "level": 1,
        "joined_at": "2026-03-02T12:00:00Z",
        "left_at": None,
        "balances": [],
        "marketing": False,
        "card": None,
        "phones_denied": False,
        "text_version": 1,
        "biometric": False,
        "biometric_text_version": 1,
        "server_ms": 1772452800000,
    }


def test_a_join_that_is_sent_again_is_one_member(counter: Counter) -> None:
    secret = counter.secret()
    key = {"Idempotency-Key": "first"}
    one = counter.client.post("/v1/members", json=JOINING, headers=secret | key)
    again = counter.client.post("/v1/members", json=JOINING, headers=secret | key)
    without = counter.client.post("/v1/members", json=JOINING, headers=secret)
    assert one.json() == again.json() == without.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    changed = counter.client.post("/v1/members", json={**JOINING, "nickname": "Anna"}, headers=secret | key)
    assert _problem(changed) == (422, KEY_REUSED.name)


def test_a_strangers_key_finds_nobody_elses_answer(counter: Counter) -> None:
    key = {"Idempotency-Key": "1"}
    one = counter.client.post("/v1/members", json=JOINING, headers=counter.secret() | key)
    other = counter.client.post("/v1/members", json=JOINING, headers=counter.secret() | key)
    assert one.json()["member"] != other.json()["member"]


def test_no_secret_is_at_rest(counter: Counter) -> None:
    secret = counter.secret()
    counter.client.post("/v1/members", json=JOINING, headers=secret | {"Idempotency-Key": "k"})
    text = secret["Authorization"].removeprefix("Bearer ").encode()
    with reading(counter.town.engine) as connection:
        rows = [*connection.execute(select(member_bearer)), *connection.execute(select(idempotency_key))]
    assert len(rows) == 2
    assert text not in repr(rows).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"programme": "UPPER"},
        {"language": "de"},
        {"level": 0},
        {"level": 4},
        {"level": "1"},
        {"nickname": "x" * 41},
        {"nickname": "x" * 201},
        {"nickname": "a\u202eb"},
        {"nickname": 7},
        {"surname": "Rossi"},
        {"channel": "pigeon"},
        {"text_version": None},
    ],
)
def test_a_join_that_makes_no_sense_is_refused(counter: Counter, change: dict[str, object]) -> None:
    answer = counter.client.post("/v1/members", json={**JOINING, **change}, headers=counter.secret())
    assert _problem(answer) == (422, "invalid-request")
    assert "\u202e" not in answer.text


def test_joining_under_an_old_text_is_refused(counter: Counter) -> None:
    answer = counter.client.post("/v1/members", json={**JOINING, "text_version": 0}, headers=counter.secret())
    assert _problem(answer) == (409, "text-outdated")


@pytest.mark.parametrize(("field", "value"), [("programme", "nobody"), ("store", "nowhere")])
def test_joining_what_is_not_there_is_refused(counter: Counter, field: str, value: str) -> None:
    answer = counter.client.post("/v1/members", json={**JOINING, field: value}, headers=counter.secret())
    assert _problem(answer) == (404, "not-found")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Bearer dsm_short"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer " + "x" * 47},
    ],
)
def test_without_a_well_formed_secret_nothing_is_said(counter: Counter, header: dict[str, str]) -> None:
    for answer in (
        counter.client.post("/v1/members", json=JOINING, headers=header),
        counter.client.get("/v1/members/me", headers=header),
    ):
        assert _problem(answer) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_secret_that_never_joined_opens_nothing(counter: Counter) -> None:
    assert _problem(counter.client.get("/v1/members/me", headers=counter.secret())) == (401, "unauthenticated")


def test_an_address_that_joins_too_often_has_to_wait(counter: Counter) -> None:
    for _ in range(JOIN_BURST):
        counter.join()
    answer = counter.client.post("/v1/members", json=JOINING, headers=counter.secret())
    assert _problem(answer) == (429, "joining-too-often")
    counter.now += timedelta(seconds=int(answer.headers["Retry-After"]))
    counter.join()


def test_a_profile_changes_where_something_is_said(counter: Counter) -> None:
    me = counter.join(nickname="  Anna   Maria ")
    read = counter.client.get("/v1/members/me", headers=me).json()
    assert (read["nickname"], read["language"], read["level"]) == ("Anna Maria", "en", 1)
    changed = counter.client.request("PATCH", "/v1/members/me", json={"language": "it", "level": 2}, headers=me).json()
    assert (changed["nickname"], changed["language"], changed["level"]) == ("Anna Maria", "it", 2)
    cleared = counter.client.request("PATCH", "/v1/members/me", json={"nickname": None}, headers=me).json()
    assert (cleared["nickname"], cleared["language"], cleared["level"]) == (None, "it", 2)
    history = counter.client.get("/v1/members/me/consents", headers=me).json()
    assert [(line["purpose"], line["level"], line["language"]) for line in history] == [
        ("programme", 1, "en"),
        ("programme", 2, "it"),
    ]


def test_a_consent_is_answered_with_its_receipt(counter: Counter) -> None:
    me = counter.join()
    body = {"purpose": "marketing", "given": True, "text_version": 1, "language": "it"}
    receipt = counter.client.post("/v1/members/me/consents", json=body, headers=me)
    assert receipt.status_code == 201
    assert receipt.json() == {
        "number": 2,
        "purpose": "marketing",
        "level": 1,
        "given": True,
        "text_version": 1,
        "language": "it",
        "channel": "page",
        "recorded_at": "2026-03-02T12:00:00Z",
        "said_at": "2026-03-02T12:00:00Z",
        "kiosk": None,
        "envelope": None,
        "store": None,
        "store_name": None,
    }
    assert counter.client.get("/v1/members/me", headers=me).json()["marketing"] is True
    counter.client.post("/v1/members/me/consents", json={**body, "given": False}, headers=me)
    assert counter.client.get("/v1/members/me", headers=me).json()["marketing"] is False


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"purpose": "biometric", "text_version": 2}, (409, "text-outdated")),
        ({"purpose": "face"}, (422, "invalid-request")),
        ({"purpose": "programme"}, (422, "invalid-request")),
        ({"text_version": 2}, (409, "text-outdated")),
        ({"given": "yes"}, (422, "invalid-request")),
    ],
)
def test_a_consent_that_is_not_offered_is_refused(
    counter: Counter, change: dict[str, object], problem: tuple[int, str]
) -> None:
    body = {"purpose": "marketing", "given": True, "text_version": 1, "language": "en", **change}
    assert _problem(counter.client.post("/v1/members/me/consents", json=body, headers=counter.join())) == problem


FACE = {"purpose": "biometric", "given": True, "text_version": 1, "language": "it"}


def enrol(counter: Counter, me: dict[str, str], *, at: datetime) -> MemberId:
    """The member's face is learnt at a kiosk of the store in the centre and told to another; who they are."""
    id = parse_member(counter.client.get("/v1/members/me", headers=me).json()["member"])
    assert id is not None
    learnt = Enrolment(
        tenant=TENANT,
        store=CENTRO,
        member=id,
        key=b"k" * 8,
        embedder=bytes(8),
        sealed=b"sealed",
        text_version=1,
        device=DeviceId("door1"),
        frames=5,
        resealed=False,
        enrolled_at=at,
    )
    with writing(counter.town.engine) as connection:
        set_template_key(connection, CENTRO, b"k" * 8, at)
        keep_templates(connection, [learnt], at)
        note_templates_told(connection, CENTRO, DeviceId("door2"), version=1, whole=True, now=at)
    return id


def test_a_face_is_known_where_it_was_learnt_and_its_deletion_is_proved(counter: Counter) -> None:
    me = counter.join()
    assert counter.client.get("/v1/members/me/face", headers=me).json() == {
        "consent": None,
        "text_version": 1,
        "stores": [],
        "deletions": [],
        "others": [],
    }
    given = counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    assert (given.status_code, given.json()["purpose"], given.json()["given"]) == (201, "biometric", True)
    assert counter.client.get("/v1/members/me", headers=me).json()["biometric"] is True
    counter.now = NOON + timedelta(hours=1)
    id = enrol(counter, me, at=counter.now)
    known = counter.client.get("/v1/members/me/face", headers=me).json()
    assert known["stores"] == [{"store": "centro", "store_name": "Centro", "since": "2026-03-02T13:00:00Z"}]
    counter.now = NOON + timedelta(hours=2)
    withdrawn = {**FACE, "given": False, "text_version": 0}
    assert counter.client.post("/v1/members/me/consents", json=withdrawn, headers=me).status_code == 201
    origin = Origin(device=DeviceId("door2"), epoch=1, seq=9)
    proof = FaceProof(tenant=TENANT, store=CENTRO, member=id, why=Forgetting.WITHDRAWN, origin=origin)
    with writing(counter.town.engine) as connection:
        keep_face_proofs(connection, [proof, proof], NOON + timedelta(hours=3))

    waiting = {
        "store": "centro",
        "store_name": "Centro",
        "kiosk": "door1",
        "asked_at": "2026-03-02T14:00:00Z",
        "deleted_at": None,
        "latest_at": "2026-04-01T13:00:00Z",
    }
    assert counter.client.get("/v1/members/me/face", headers=me).json() == {
        "consent": None,
        "text_version": 1,
        "stores": [],
        "deletions": [waiting, {**waiting, "kiosk": "door2", "deleted_at": "2026-03-02T15:00:00Z"}],
        "others": [],
    }


def test_leaving_answers_with_the_receipt_of_leaving(counter: Counter) -> None:
    """It withdraws the biometric consent, too, which has a line of its own."""
    me = counter.join()
    counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    body = {"purpose": "programme", "given": False, "text_version": 1, "language": "en"}
    assert counter.client.post("/v1/members/me/consents", json=body, headers=me).json()["purpose"] == "programme"


def test_leaving_ends_the_secret_at_once(counter: Counter) -> None:
    me = counter.join(nickname="Anna")
    staff = counter.staff(Scope.ADMIN)
    id = counter.client.get("/v1/members/me", headers=me).json()["member"]
    body = {"purpose": "programme", "given": False, "text_version": 1, "language": "en"}
    receipt = counter.client.post("/v1/members/me/consents", json=body, headers=me).json()
    assert (receipt["purpose"], receipt["given"]) == ("programme", False)
    assert _problem(counter.client.get("/v1/members/me", headers=me)) == (401, "unauthenticated")
    kept = counter.client.get(f"/v1/members/{id}", headers=staff).json()
    assert (kept["nickname"], kept["left_at"]) == (None, "2026-03-02T12:00:00Z")
    assert _problem(counter.client.post(f"/v1/members/{id}/card", headers=staff)) == (404, "not-found")
    again = counter.client.post("/v1/members", json=JOINING, headers=me)
    assert _problem(again) == (409, "secret-spent")


def test_a_phone_is_certified_and_its_codes_are_good(counter: Counter) -> None:
    me = counter.join()
    made = counter.client.post("/v1/members/me/phones", json={"public_key": PUBLIC}, headers=me)
    assert made.status_code == 201
    assert made.json()["expires_on"] == "2026-05-01"
    certificate = base64.urlsafe_b64decode(made.json()["certificate"] + "==")
    token = parse_token(show_phone_code(PHONE, certificate, step_of(NOON)))
    assert not isinstance(token, str)
    assert verify_token(token, counter.issuers, NOON) is None


@pytest.mark.parametrize("key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "+"])
def test_what_is_no_key_is_not_certified(counter: Counter, key: str) -> None:
    answer = counter.client.post("/v1/members/me/phones", json={"public_key": key}, headers=counter.join())
    assert _problem(answer) == (422, "invalid-request")


def test_staff_deny_the_phones_of_a_member(counter: Counter) -> None:
    me, staff = counter.join(), counter.staff(Scope.MERCHANT)
    id = counter.client.get("/v1/members/me", headers=me).json()["member"]
    counter.client.post("/v1/members/me/phones", json={"public_key": PUBLIC}, headers=me)
    denied = counter.client.request("DELETE", f"/v1/members/{id}/phones", headers=staff)
    assert denied.json() == {"cards_below": 0, "phones": True}
    refused = counter.client.post("/v1/members/me/phones", json={"public_key": "B" * 43}, headers=me)
    assert (*_problem(refused), refused.json()["detail"]) == (409, "phone-refused", "phones_denied")
    seen = counter.client.get(f"/v1/members/{id}", headers=staff).json()
    assert seen["phones"] == [{"public_key": PUBLIC, "expires_on": "2026-05-01", "denied": True}]


def test_a_card_is_issued_once_a_key_and_read_as_often_as_wanted(counter: Counter) -> None:
    me = counter.join()
    assert _problem(counter.client.get("/v1/members/me/card", headers=me)) == (404, "not-found")
    key = {"Idempotency-Key": "card"}
    issued = counter.client.post("/v1/members/me/card", headers=me | key)
    again = counter.client.post("/v1/members/me/card", headers=me | key)
    assert issued.json() == again.json() == {"serial": 1, "expires_on": "2028-03-01", "denied": False}
    text = counter.client.get("/v1/members/me/card", headers=me).json()["text"]
    token = parse_token(text)
    assert isinstance(token, Card)
    assert verify_token(token, counter.issuers, NOON) is None
    with reading(counter.town.engine) as connection:
        assert text not in repr(connection.execute(select(idempotency_key)).all())


def test_a_denied_card_has_no_code_any_more_and_a_new_one_may_be_made(counter: Counter) -> None:
    me = counter.join()
    counter.client.post("/v1/members/me/card", headers=me)
    assert counter.client.request("DELETE", "/v1/members/me/card", headers=me).json() == {
        "cards_below": 2,
        "phones": False,
    }
    assert _problem(counter.client.get("/v1/members/me/card.svg", headers=me)) == (404, "not-found")
    assert counter.client.post("/v1/members/me/card", headers=me).json()["serial"] == 2
    assert counter.client.get("/v1/members/me", headers=me).json()["card"]["serial"] == 2


def test_cards_end_with_their_numbers(counter: Counter) -> None:
    me = counter.join()
    with writing(counter.town.engine) as connection:
        connection.execute(update(member).values(card_serial=CARD_SERIAL_MAX))
    assert _problem(counter.client.post("/v1/members/me/card", headers=me)) == (409, "cards-used-up")


def test_the_picture_of_a_card_is_45_mm_of_version_8(counter: Counter) -> None:
    me, staff = counter.join(), counter.staff(Scope.ADMIN)
    counter.client.post("/v1/members/me/card", headers=me)
    picture = counter.client.get("/v1/members/me/card.svg", headers=me)
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert picture.headers["Cache-Control"] == "no-store"
    assert 'width="45.0mm" height="45.0mm"' in picture.text
    assert f"scale({45 / 57})" in picture.text  # 49 modules are version 8; 57 with the quiet zone
    id = counter.client.get("/v1/members/me", headers=me).json()["member"]
    assert counter.client.get(f"/v1/members/{id}/card.svg", headers=staff).content == picture.content


def test_staff_see_the_members_of_their_tenant_page_by_page(counter: Counter) -> None:
    for _ in range(3):
        counter.join()
    staff = counter.staff(Scope.AUDITOR)
    first = counter.client.get("/v1/members", params={"limit": 2}, headers=staff).json()
    rest = counter.client.get("/v1/members", params={"limit": 2, "cursor": first["next"]}, headers=staff).json()
    ids = [item["member"] for item in first["items"] + rest["items"]]
    assert len(ids) == len(set(ids)) == 3
    assert rest["next"] is None
    everywhere = counter.staff(Scope.ADMIN, tenant=None)
    assert len(counter.client.get("/v1/members", params={"tenant": TENANT}, headers=everywhere).json()["items"]) == 3


def test_another_tenants_staff_find_nobody(counter: Counter) -> None:
    me = counter.join()
    id = counter.client.get("/v1/members/me", headers=me).json()["member"]
    others = counter.staff(Scope.ADMIN, tenant="bianchi")
    assert counter.client.get("/v1/members", headers=others).json()["items"] == []
    assert _problem(counter.client.get(f"/v1/members/{id}", headers=others)) == (404, "not-found")
    assert _problem(counter.client.get(f"/v1/members/{id}?tenant={TENANT}", headers=others)) == (403, "missing-scope")
    assert _problem(counter.client.request("DELETE", f"/v1/members/{id}/phones", headers=others)) == (404, "not-found")
    assert _problem(counter.client.get(f"/v1/members/{'a' * 15}b", headers=others)) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/members", Scope.POS),
        ("GET", "/v1/members/aaaaaaaaaaaaaaaa", Scope.METRICS),
        ("GET", "/v1/members/aaaaaaaaaaaaaaaa/card.svg", Scope.AUDITOR),
        ("POST", "/v1/members/aaaaaaaaaaaaaaaa/card", Scope.AUDITOR),
        ("DELETE", "/v1/members/aaaaaaaaaaaaaaaa/card", Scope.AUDITOR),
        ("DELETE", "/v1/members/aaaaaaaaaaaaaaaa/phones", Scope.MEMBER),
    ],
)
def test_the_wrong_scope_opens_no_staff_door(counter: Counter, method: str, path: str, scope: Scope) -> None:
    assert _problem(counter.client.request(method, path, headers=counter.staff(scope))) == (403, "missing-scope")
    assert _problem(counter.client.request(method, path, headers=counter.join())) == (401, "unauthenticated")


def test_staff_issue_and_deny_a_card_at_the_counter(counter: Counter) -> None:
    me, staff = counter.join(), counter.staff(Scope.MERCHANT)
    id = counter.client.get("/v1/members/me", headers=me).json()["member"]
    issued = counter.client.post(f"/v1/members/{id}/card", headers=staff)
    assert (issued.status_code, issued.json()["serial"]) == (201, 1)
    assert counter.client.request("DELETE", f"/v1/members/{id}/card", headers=staff).json()["cards_below"] == 2
    assert counter.client.get(f"/v1/members/{id}", headers=staff).json()["cards"] == [
        {"serial": 1, "expires_on": "2028-03-01", "denied": True}
    ]


def test_a_cursor_that_names_nobody_is_refused(counter: Counter) -> None:
    staff = counter.staff(Scope.AUDITOR)
    answer = counter.client.get("/v1/members", params={"cursor": encode_cursor("nobody")}, headers=staff)
    assert _problem(answer) == (404, "not-found")


def open_porto(counter: Counter, *, faces: bool = True) -> None:
    """The other store recognises faces, and its kiosks share a secret."""
    with writing(counter.town.engine) as connection:
        set_daily_reward(
            connection,
            PORTO,
            points=10,
            reduced_points=5,
            campaign=CampaignId("spring"),
            cards_reduced=False,
            faces=FaceRules(recognised=faces),
            now=NOON,
        )
        set_template_key(connection, PORTO, b"p" * 8, NOON)


def hand_on(counter: Counter, member: MemberId, *, at: datetime, opened: bool) -> None:
    """A kiosk in the centre has sealed the template for the other store; one of that store's has opened it."""
    given = Enrolment(
        tenant=TENANT,
        store=PORTO,
        member=member,
        key=b"p" * 8,
        embedder=bytes(8),
        sealed=b"sealed",
        text_version=1,
        device=DeviceId("door1"),
        frames=0,
        resealed=False,
        enrolled_at=at,
        given_by=CENTRO,
    )
    with writing(counter.town.engine) as connection:
        keep_templates(connection, [given], at)
        if opened:
            resealed = replace(given, device=DeviceId("side1"), resealed=True, given_by=None)
            keep_templates(connection, [resealed], at)


def face_of(counter: Counter, me: dict[str, str]) -> dict[str, list[dict[str, object]]]:
    told: dict[str, list[dict[str, object]]] = counter.client.get("/v1/members/me/face", headers=me).json()
    return told


def test_another_store_is_allowed_by_name_and_withdrawn_by_itself(counter: Counter) -> None:
    me = counter.join()
    open_porto(counter)
    counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    assert face_of(counter, me)["others"] == [], "known nowhere yet"
    counter.now = NOON + timedelta(hours=1)
    id = enrol(counter, me, at=counter.now)
    porto: dict[str, object] = {"store": "porto", "store_name": "Porto", "allowed": False, "since": None}
    assert face_of(counter, me)["others"] == [porto]

    counter.now = NOON + timedelta(hours=2)
    receipt = counter.client.post("/v1/members/me/consents", json={**FACE, "store": "porto"}, headers=me)
    assert receipt.status_code == 201
    said = receipt.json()
    assert (said["purpose"], said["given"], said["store"], said["store_name"]) == ("biometric", True, "porto", "Porto")
    assert face_of(counter, me)["others"] == [{**porto, "allowed": True}]
    hand_on(counter, id, at=counter.now, opened=False)
    assert face_of(counter, me)["others"] == [{**porto, "allowed": True}], "nobody there has opened it"
    assert [known["store"] for known in face_of(counter, me)["stores"]] == ["centro"]
    hand_on(counter, id, at=counter.now, opened=True)
    assert face_of(counter, me)["others"] == [{**porto, "allowed": True, "since": "2026-03-02T14:00:00Z"}]
    assert [known["store"] for known in face_of(counter, me)["stores"]] == ["centro", "porto"]

    counter.now = NOON + timedelta(hours=3)
    withdrawn = {**FACE, "given": False, "text_version": 0, "store": "porto"}
    assert counter.client.post("/v1/members/me/consents", json=withdrawn, headers=me).status_code == 201
    face = face_of(counter, me)
    assert ([known["store"] for known in face["stores"]], face["others"]) == (["centro"], [porto])
    assert [one["kiosk"] for one in face["deletions"]] == ["side1"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"store": "porto"}, (409, "face-unknown")),
        ({"store": "centro"}, (409, "face-unknown")),
        ({"store": "nowhere"}, (404, "not-found")),
        ({"store": "porto", "text_version": 2}, (409, "text-outdated")),
        ({"store": "porto", "purpose": "marketing"}, (422, "invalid-request")),
        ({"store": "Porto!"}, (422, "invalid-request")),
    ],
)
def test_a_store_that_cannot_be_named_is_refused(
    counter: Counter, change: dict[str, object], problem: tuple[int, str]
) -> None:
    me = counter.join()
    counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    assert _problem(counter.client.post("/v1/members/me/consents", json={**FACE, **change}, headers=me)) == problem


def test_a_store_is_not_named_before_the_consent_to_be_recognised_at_all(counter: Counter) -> None:
    me = counter.join()
    counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    counter.now = NOON + timedelta(hours=1)
    enrol(counter, me, at=counter.now)
    centre = {**FACE, "store": "centro"}
    assert _problem(counter.client.post("/v1/members/me/consents", json=centre, headers=me)) == (409, "face-unknown")
    counter.now = NOON + timedelta(hours=2)
    counter.client.post("/v1/members/me/consents", json={**FACE, "given": False}, headers=me)
    porto = {**FACE, "store": "porto"}
    assert _problem(counter.client.post("/v1/members/me/consents", json=porto, headers=me)) == (409, "face-unknown")


def test_a_store_without_recognition_is_not_offered(counter: Counter) -> None:
    me = counter.join()
    open_porto(counter, faces=False)
    counter.client.post("/v1/members/me/consents", json=FACE, headers=me)
    counter.now = NOON + timedelta(hours=1)
    enrol(counter, me, at=counter.now)
    assert face_of(counter, me)["others"] == []

"""Provisioning and the registry over HTTP, on both databases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices.actions import keep_wraps
from cloud.devices.api import POLLS_MAX, RENEWALS_MAX, router
from cloud.devices.queries import newest_certificate
from cloud.devices.rules import ATTEMPTS_MAX, CODE_LIFE, Wrapping
from cloud.kit.auth import Scope
from cloud.kit.database import reading, writing
from cloud.kit.services import Services
from cloud.members.actions import keep_face_proofs, note_templates_told
from cloud.members.rules import FaceProof, Origin
from shared.biometrics import Forgetting
from shared.brokers import BrokerAddress, BrokerPlace, MqttVersion
from shared.ids import DeviceId, MemberId, StoreId, TenantId
from shared.provisioning import ca_has_pin, parse_code
from tests.cloud.devices.conftest import NOW, Registry
from tests.cloud.devices.kiosk import Kiosk
from tests.cloud.service import Client, bearer, create_client

BROKER = BrokerPlace(
    first=BrokerAddress(host="broker.example", port=8883),
    others=(BrokerAddress(host="b", port=8884), BrokerAddress(host="c", port=8883)),
    mqtt=MqttVersion.V311,
)


@dataclass(slots=True, kw_only=True)
class Cloud:
    """A service with its clock in our hands, which counts how often the broker was told of a change."""

    registry: Registry
    now: datetime = NOW
    told: int = 0
    polls_max: int = POLLS_MAX
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        services = Services(
            engine=self.registry.engine,
            keyring=self.registry.keyring,
            clock=lambda: self.now,
            random=self.registry.random,
        )
        routes = router(services, broker=BROKER, on_devices_changed=self.tell, polls_max=self.polls_max)
        self.client = create_client([routes])

    def tell(self) -> None:
        """What the broker's keeper would do."""
        self.told += 1

    def post(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer to a POST; each test has tries enough, but where it is about them."""
        self.now += timedelta(seconds=61)
        return self.client.post(path, json=body, headers=headers)

    def issue_code(self, admin: Mapping[str, str]) -> str:
        """The text of a fresh claim code."""
        answer = self.post("/v1/stores/milano-1/claim-codes", headers=admin)
        assert answer.status_code == 201
        code: str = answer.json()["code"]
        return code

    def claim(self, kiosk: Kiosk, code: str) -> httpx.Response:
        """The answer to the kiosk's claim."""
        return self.post("/v1/provisioning/claims", claim_body(kiosk, code))

    def claimed(self, kiosk: Kiosk, admin: Mapping[str, str]) -> dict[str, str]:
        """The answer to a good claim."""
        answer = self.claim(kiosk, self.issue_code(admin))
        assert answer.status_code == 201
        claim: dict[str, str] = answer.json()
        return claim


def claim_body(kiosk: Kiosk, code: str) -> dict[str, str]:
    """What a kiosk posts to be claimed."""
    read = parse_code(code)
    assert read is not None
    pem = kiosk.csr_pem
    return {
        "code": code[5:24],
        "csr_pem": pem,
        "signing_public_key": kiosk.signing_public.hex(),
        "proof": kiosk.prove_claim(read.secret, pem).hex(),
    }


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:doorstep:problem:")


@pytest.fixture
def cloud(registry: Registry) -> Cloud:
    """The service over the registry."""
    return Cloud(registry=registry)


@pytest.fixture
def admin(registry: Registry) -> dict[str, str]:
    """An administrator's header."""
    return bearer(registry.engine, Scope.ADMIN)


def test_from_a_code_to_a_certificate(cloud: Cloud, admin: dict[str, str]) -> None:
    kiosk, code = Kiosk(), cloud.issue_code(admin)
    read = parse_code(code)
    assert read is not None
    ca = x509.load_pem_x509_certificate(cloud.client.get("/v1/provisioning/ca").content)
    assert ca_has_pin(_der(ca), read.ca_pin)
    claim = cloud.claim(kiosk, code).json()
    assert claim["fingerprint"] == kiosk.fingerprint
    path, poll = f"/v1/provisioning/claims/{claim['device']}", {"Authorization": f"Bearer {claim['poll_token']}"}
    waiting = cloud.client.get(path, headers=poll).json()
    assert waiting == {"state": "waiting", "device": claim["device"], "fingerprint": kiosk.fingerprint}
    confirmed = cloud.post(f"/v1/devices/{claim['device']}/confirm", {"fingerprint": kiosk.fingerprint}, admin)
    assert (confirmed.status_code, confirmed.json()["standing"], cloud.told) == (200, "active", 1)
    given = cloud.client.get(path, headers=poll).json()
    certificate = x509.load_pem_x509_certificate(given.pop("certificate_pem").encode())
    certificate.verify_directly_issued_by(ca)
    assert certificate.public_key() == kiosk.tls_key.public_key()
    assert given == {
        "state": "confirmed",
        "device": claim["device"],
        "fingerprint": kiosk.fingerprint,
        "tenant": "nord",
        "store": "milano-1",
        "store_name": "Milano 1",
        "ca_pem": cloud.registry.keyring.ca_pem,
        "root_public": cloud.registry.keyring.root_public.hex(),
        "signers": [{"key": 1, "public": cloud.registry.keyring.key_page.signers[0].public.hex()}],
        "broker_host": "broker.example",
        "broker_port": 8883,
        "broker_others": "b:8884,c:8883",
        "mqtt_version": "3.1.1",
    }


def test_a_reused_and_an_expired_code(cloud: Cloud, admin: dict[str, str]) -> None:
    kiosk, code = Kiosk(), cloud.issue_code(admin)
    first = cloud.claim(kiosk, code)
    assert cloud.claim(kiosk, code).json() == first.json(), "a device that asks again gets the same"
    assert problem(cloud.claim(Kiosk(), code)) == (409, "claim-code-used")
    stale = cloud.issue_code(admin)
    cloud.now += CODE_LIFE
    assert problem(cloud.claim(Kiosk(), stale)) == (410, "claim-code-expired")


def test_claims_that_are_none(cloud: Cloud, admin: dict[str, str]) -> None:
    kiosk, code = Kiosk(), cloud.issue_code(admin)
    good = claim_body(kiosk, code)
    path = "/v1/provisioning/claims"
    assert problem(cloud.post(path, good | {"code": "AAAA-AAAA-AAAA-AAAA"})) == (404, "unknown-claim-code")
    assert problem(cloud.post(path, good | {"code": "1" * 16})) == (404, "unknown-claim-code")
    assert problem(cloud.post(path, good | {"csr_pem": "garbage"})) == (422, "bad-certificate-request")
    assert problem(cloud.post(path, good | {"csr_pem": Kiosk().csr_pem})) == (403, "bad-proof")
    assert problem(cloud.post(path, good | {"proof": "00" * 64})) == (403, "bad-proof")
    assert cloud.post(path, good).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", 5),
        ("code", "short"),
        ("csr_pem", None),
        ("csr_pem", "x" * 5000),
        ("signing_public_key", "zz" * 32),
        ("signing_public_key", "00" * 31),
        ("proof", ["00"]),
        ("surprise", "x"),
    ],
)
def test_a_wrong_field_is_named(cloud: Cloud, admin: dict[str, str], field: str, value: object) -> None:
    body = claim_body(Kiosk(), cloud.issue_code(admin)) | {field: value}
    answer = cloud.post("/v1/provisioning/claims", body)
    assert problem(answer) == (422, "invalid-request")
    assert [fault["field"] for fault in answer.json()["faults"]] == [f"body.{field}"]


def test_guessing_comes_to_an_end(cloud: Cloud) -> None:
    body = claim_body(Kiosk(), "DSP1-AAAQ-EAYE-AUDA-OCAJ-AAAQEAYEAUDAOCAJBIFQYDIOB4")
    answers = [cloud.client.post("/v1/provisioning/claims", json=body) for _ in range(ATTEMPTS_MAX + 1)]
    assert [answer.status_code for answer in answers] == [404] * ATTEMPTS_MAX + [429]
    assert answers[-1].headers["retry-after"] == "60"


def test_polling_comes_to_an_end(registry: Registry) -> None:
    cloud = Cloud(registry=registry, polls_max=3)
    answers = [cloud.client.get("/v1/provisioning/claims/abc").status_code for _ in range(4)]
    assert answers == [404, 404, 404, 429]


def test_the_poll_token_opens_one_claim(cloud: Cloud, admin: dict[str, str]) -> None:
    one, other = cloud.claimed(Kiosk(), admin), cloud.claimed(Kiosk(), admin)
    path = f"/v1/provisioning/claims/{one['device']}"
    for headers in ({}, {"Authorization": f"Bearer {other['poll_token']}"}, admin):
        assert problem(cloud.client.get(path, headers=headers)) == (404, "not-found")


def test_a_wrong_fingerprint_confirms_nobody(cloud: Cloud, admin: dict[str, str]) -> None:
    claim = cloud.claimed(Kiosk(), admin)
    path = f"/v1/devices/{claim['device']}/confirm"
    answer = cloud.post(path, {"fingerprint": Kiosk().fingerprint}, admin)
    assert (problem(answer), cloud.told) == ((409, "wrong-fingerprint"), 0)
    old = Kiosk()
    path = f"/v1/devices/{cloud.registry.claimed(old, now=NOW - timedelta(days=2)).device.id}/confirm"
    assert problem(cloud.post(path, {"fingerprint": old.fingerprint}, admin)) == (410, "claim-expired")


def test_a_certificate_is_renewed_over_http(cloud: Cloud) -> None:
    kiosk = Kiosk()
    id = cloud.registry.certified(kiosk)
    serial = _serial(cloud, id)
    cloud.now += timedelta(days=200)
    pem = kiosk.csr_pem
    body = {
        "device": id,
        "serial": serial,
        "csr_pem": pem,
        "proof": kiosk.prove_renewal(id, serial, pem).hex(),
    }
    answer = cloud.post("/v1/provisioning/renewals", body)
    assert (answer.status_code, answer.json()["state"], answer.json()["broker_host"]) == (
        200,
        "confirmed",
        "broker.example",
    )
    assert problem(cloud.post("/v1/provisioning/renewals", body | {"proof": "00" * 64})) == (403, "bad-proof")
    again = cloud.post("/v1/provisioning/renewals", body)
    assert again.json()["certificate_pem"] == answer.json()["certificate_pem"]


def test_who_asks_for_renewals_in_a_loop_is_stopped_for_a_minute_and_can_still_claim(
    cloud: Cloud, admin: dict[str, str]
) -> None:
    kiosk = Kiosk()
    id = cloud.registry.certified(kiosk)
    body = {"device": id, "serial": "a1", "csr_pem": kiosk.csr_pem, "proof": "00" * 64}
    for _ in range(RENEWALS_MAX):
        assert problem(cloud.client.post("/v1/provisioning/renewals", json=body)) == (403, "bad-proof")
    assert problem(cloud.client.post("/v1/provisioning/renewals", json=body)) == (429, "too-many-attempts")
    claim = claim_body(kiosk, cloud.issue_code(admin))
    cloud.now -= timedelta(seconds=61)  # which the code was given
    assert problem(cloud.client.post("/v1/provisioning/renewals", json=body)) == (429, "too-many-attempts")
    assert cloud.client.post("/v1/provisioning/claims", json=claim).status_code == 201
    assert problem(cloud.post("/v1/provisioning/renewals", body)) == (403, "bad-proof")


def test_a_revoked_device(cloud: Cloud, admin: dict[str, str]) -> None:
    kiosk = Kiosk()
    claim = cloud.claimed(kiosk, admin)
    id = claim["device"]
    cloud.post(f"/v1/devices/{id}/confirm", {"fingerprint": kiosk.fingerprint}, admin)
    revoked = cloud.post(f"/v1/devices/{id}/revoke", headers=admin)
    assert (revoked.status_code, revoked.json()["standing"], cloud.told) == (200, "revoked", 2)
    again = cloud.post(f"/v1/devices/{id}/revoke", headers=admin)
    assert (again.json(), cloud.told) == (revoked.json(), 3), "telling the broker can be tried again"
    poll = {"Authorization": f"Bearer {claim['poll_token']}"}
    assert problem(cloud.client.get(f"/v1/provisioning/claims/{id}", headers=poll)) == (410, "device-revoked")
    answer = cloud.post(f"/v1/devices/{id}/confirm", {"fingerprint": kiosk.fingerprint}, admin)
    assert problem(answer) == (410, "device-revoked")


def test_devices_in_pages(cloud: Cloud, admin: dict[str, str]) -> None:
    ids = sorted(cloud.registry.certified(Kiosk()) for _ in range(3))
    first = cloud.client.get("/v1/devices", params={"limit": 2}, headers=admin).json()
    second = cloud.client.get("/v1/devices", params={"limit": 2, "cursor": first["next"]}, headers=admin).json()
    assert [device["id"] for page in (first, second) for device in page["items"]] == ids
    assert second["next"] is None
    one = cloud.client.get(f"/v1/devices/{ids[0]}", headers=admin).json()
    assert one == first["items"][0]
    assert (one["standing"], one["online"], one["waiting"]) == ("active", None, None)
    assert one["certificate_expires_at"] == "2026-05-30T12:00:00Z"


def test_the_group_of_a_store(cloud: Cloud, registry: Registry, admin: dict[str, str]) -> None:
    ids = sorted(registry.certified(Kiosk()) for _ in range(2))
    path = "/v1/stores/milano-1/group"
    fresh = cloud.client.get(path, headers=admin).json()
    assert (fresh["key"], fresh["templates"], fresh["proofs"]) == (None, 0, [])
    wrapping = Wrapping(
        store=StoreId("milano-1"),
        key=b"k" * 8,
        previous=None,
        device=ids[0],
        sealed=b"wrapped",
        said_at=NOW,
        origin=Origin(device=ids[0], epoch=1, seq=1),
    )
    proof = FaceProof(
        tenant=TenantId("nord"),
        store=StoreId("milano-1"),
        member=MemberId(bytes(10)),
        why=Forgetting.WITHDRAWN,
        origin=Origin(device=ids[1], epoch=1, seq=1),
    )
    with writing(registry.engine) as connection:
        keep_wraps(connection, [wrapping], NOW)
        keep_face_proofs(connection, [proof], NOW)
        note_templates_told(connection, StoreId("milano-1"), ids[1], version=0, whole=True, now=NOW)
    shown = cloud.client.get(path, headers=admin).json()
    assert (shown["key"], shown["made_by"], shown["version"]) == ((b"k" * 8).hex(), ids[0], fresh["version"] + 1)
    assert shown["kiosks"] == [
        {"id": ids[0], "has_secret": True, "told_at": None},
        {"id": ids[1], "has_secret": False, "told_at": "2026-03-01T12:00:00Z"},
    ]
    assert shown["proofs"] == [{"kiosk": ids[1], "why": "withdrawn", "recorded_at": "2026-03-01T12:00:00Z"}]
    stranger = bearer(registry.engine, Scope.ADMIN, tenant="sud", number=3)
    assert problem(cloud.client.get(path, headers=stranger)) == (404, "not-found")
    assert problem(cloud.client.get("/v1/stores/nowhere/group", headers=admin)) == (404, "not-found")


def test_scopes_and_tenants(cloud: Cloud, registry: Registry) -> None:
    id = registry.certified(Kiosk())
    merchant = bearer(registry.engine, Scope.MERCHANT, number=2)
    stranger = bearer(registry.engine, Scope.ADMIN, tenant="sud", number=3)
    for path in ("/v1/stores/milano-1/claim-codes", f"/v1/devices/{id}/revoke"):
        assert problem(cloud.post(path)) == (401, "unauthenticated")
        assert problem(cloud.post(path, headers=merchant)) == (403, "missing-scope")
        assert problem(cloud.post(path, headers=stranger)) == (404, "not-found")
    assert cloud.client.get("/v1/devices", headers=merchant).status_code == 200
    assert cloud.client.get("/v1/devices", headers=stranger).json()["items"] == []
    assert problem(cloud.client.get(f"/v1/devices/{id}", headers=stranger)) == (404, "not-found")
    assert problem(cloud.client.get("/v1/devices/nobody", headers=merchant)) == (404, "not-found")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _serial(cloud: Cloud, id: DeviceId) -> str:
    with reading(cloud.registry.engine) as connection:
        newest = newest_certificate(connection, id)
    assert newest is not None
    return newest.serial

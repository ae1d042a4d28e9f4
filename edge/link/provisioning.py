"""The conversation by which a new device and its cloud come to trust each other.

The CA's certificate is fetched from a server nobody vouches for and believed only when it has the pin that the claim
code carries; everything after that goes over TLS verified by that CA. Both private keys are made here and stay here.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from edge.errors import ProvisioningFailed
from shared.provisioning import (
    ca_has_pin,
    fingerprint_of,
    format_secret,
    parse_code,
    prove_claim,
)

POLL_S = 1.0
TIMEOUT_S = 10.0

Reply = TypeVar("Reply")


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud knows of this device now and waits for a person."""

    device: str
    fingerprint: str
    poll_token: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag_field="state", tag="waiting"):
    """Nobody confirmed the device yet."""

    device: str


class Certified(msgspec.Struct, frozen=True, kw_only=True, tag_field="state", tag="confirmed"):
    """What a confirmed device is given. `root_public` is 32 bytes in hex.

    An earlier cloud names one broker and means MQTT 5.
    """

    device: str
    certificate_pem: str
    ca_pem: str
    root_public: str
    broker_host: str
    broker_port: int
    broker_others: str = ""
    mqtt_version: str = "5"
    tenant: str
    store: str
    store_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKeys:
    """The device's two private keys, made on the device."""

    tls: ec.EllipticCurvePrivateKey
    signing: Ed25519PrivateKey

    @classmethod
    def make(cls) -> "DeviceKeys":
        """Fresh keys."""
        return cls(tls=ec.generate_private_key(ec.SECP256R1()), signing=Ed25519PrivateKey.generate())

    @property
    def tls_pem(self) -> bytes:
        """The TLS key for the link process."""
        return self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def signing_raw(self) -> bytes:
        """32 bytes for the agent."""
        return self.signing.private_bytes_raw()

    @property
    def fingerprint(self) -> str:
        """What two people compare."""
        public = self.tls.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return fingerprint_of(public, self.signing.public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """A device that the cloud certified: its id, its keys and what it was given."""

    device: str
    keys: DeviceKeys
    certified: Certified


_CLAIM = msgspec.json.Decoder(ClaimAnswer)
_STANDING: msgspec.json.Decoder[Waiting | Certified] = msgspec.json.Decoder(Waiting | Certified)


def provision(
    cloud: str,
    code_text: str,
    *,
    show_fingerprint: Callable[[str, str], None],
    wait_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Provisioned:
    """Claims a place with the code, shows device and fingerprint, waits until a person confirmed it.

    Raises: ProvisioningFailed, with a reason for the technician.
    """
    code = parse_code(code_text)
    if code is None:
        raise ProvisioningFailed("this is not a claim code: it begins with DSP1 and has 51 characters")
    ca_pem = _fetch_ca(cloud, code.ca_pin)
    keys = DeviceKeys.make()
    trust = ssl.create_default_context(cadata=ca_pem)
    with httpx.Client(base_url=cloud, verify=trust, timeout=TIMEOUT_S) as client:
        answer = _claim(client, keys, code.secret)
        if answer.fingerprint != keys.fingerprint:
            raise ProvisioningFailed("the cloud speaks of other keys than this device's")
        show_fingerprint(answer.device, answer.fingerprint)
        certified = _wait(client, answer, wait_s, sleep)
    return Provisioned(device=answer.device, keys=keys, certified=certified)


def _fetch_ca(cloud: str, pin: bytes) -> str:
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        answer = httpx.get(f"{cloud}/v1/provisioning/ca", verify=unverified, timeout=TIMEOUT_S)
        answer.raise_for_status()
        certificate = x509.load_pem_x509_certificate(answer.content)
    except (httpx.HTTPError, ValueError) as error:
        raise ProvisioningFailed(f"{cloud} does not answer as a Doorstep cloud: {error}") from error
    if not ca_has_pin(certificate.public_bytes(Encoding.DER), pin):
        raise ProvisioningFailed(f"{cloud} is not the cloud that issued this code")
    return certificate.public_bytes(Encoding.PEM).decode()


def _claim(client: httpx.Client, keys: DeviceKeys, secret: bytes) -> ClaimAnswer:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kiosk")]))
        .sign(keys.tls, hashes.SHA256())
    )
    body = {
        "code": format_secret(secret),
        "csr_pem": request.public_bytes(Encoding.PEM).decode(),
        "signing_public_key": keys.signing.public_key().public_bytes_raw().hex(),
        "proof": prove_claim(keys.signing, secret, request.public_bytes(Encoding.DER)).hex(),
    }
    return _ask(client, "POST", "/v1/provisioning/claims", _CLAIM, body=body)


def _wait(client: httpx.Client, claim: ClaimAnswer, wait_s: float, sleep: Callable[[float], None]) -> Certified:
    for _ in range(max(1, int(wait_s / POLL_S))):
        path = f"/v1/provisioning/claims/{claim.device}"
        standing = _ask(client, "GET", path, _STANDING, token=claim.poll_token)
        if isinstance(standing, Certified):
            return standing
        sleep(POLL_S)
    raise ProvisioningFailed("nobody confirmed the fingerprint in time; run the command again with a new code")


def _ask(
    client: httpx.Client,
    method: str,
    path: str,
    decoder: msgspec.json.Decoder[Reply],
    *,
    body: dict[str, str] | None = None,
    token: str | None = None,
) -> Reply:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        answer = client.request(method, path, json=body, headers=headers)
        if answer.is_error:
            raise ProvisioningFailed(f"the cloud refused: {_problem(answer)}")
        return decoder.decode(answer.content)
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        raise ProvisioningFailed(f"the cloud does not answer: {error}") from error


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an RFC 9457 problem that a technician reads."""

    title: str = ""
    detail: str = ""


def _problem(answer: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        return f"HTTP {answer.status_code}"
    return problem.detail or problem.title or f"HTTP {answer.status_code}"

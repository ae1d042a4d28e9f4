"""The code's text, the pin, the proofs, the fingerprint, the requests and who may try how often."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from cloud.devices.rules import Attempts, new_device_id, read_request
from cloud.kit.keyring import Keyring
from shared.ids import DeviceId, parse_device
from shared.provisioning import (
    ClaimCode,
    ca_has_pin,
    fingerprint_of,
    format_code,
    format_secret,
    is_claim_proved,
    is_renewal_proved,
    parse_code,
    parse_secret,
    poll_token_of,
    prove_claim,
    prove_renewal,
    same_fingerprint,
)
from tests.cloud.devices.conftest import NOW
from tests.cloud.devices.kiosk import Kiosk, request_for

CODE = ClaimCode(secret=bytes(range(10)), ca_pin=bytes(range(16)))
TEXT = "DSP1-AAAQ-EAYE-AUDA-OCAJ-AAAQEAYEAUDAOCAJBIFQYDIOB4"


def test_the_code_as_it_is_printed() -> None:
    assert format_code(CODE) == TEXT
    assert format_secret(CODE.secret) == "AAAQ-EAYE-AUDA-OCAJ"


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=16, max_size=16))
def test_what_is_printed_is_read(secret: bytes, pin: bytes) -> None:
    code = ClaimCode(secret=secret, ca_pin=pin)
    assert parse_code(format_code(code)) == code
    assert parse_code(format_code(code).lower().replace("-", " ")) == code
    assert parse_secret(format_secret(secret)) == secret


@pytest.mark.parametrize(
    "text",
    ["", "DSP1", TEXT[:-1], TEXT + "A", TEXT.replace("DSP1", "DSP2"), TEXT.replace("Q", "1"), "A" * 500, "é" * 46],
)
def test_what_is_no_code(text: str) -> None:
    assert parse_code(text) is None


@pytest.mark.parametrize("text", ["", "AAAQ-EAYE-AUDA", "AAAQ-EAYE-AUDA-OCA1", TEXT])
def test_what_is_no_secret(text: str) -> None:
    assert parse_secret(text) is None


def test_a_wrong_pin_is_seen(keyring: Keyring) -> None:
    der = keyring.ca_certificate.public_bytes(Encoding.DER)
    assert ca_has_pin(der, keyring.ca_pin)
    assert not ca_has_pin(der, bytes(16))
    assert not ca_has_pin(der, keyring.ca_pin[:-1])
    assert not ca_has_pin(der + b"\0", keyring.ca_pin)


def test_the_fingerprint_commits_to_both_keys() -> None:
    fingerprint = fingerprint_of(b"tls", bytes(32))
    assert fingerprint == "okcf-y6xc-vn24-6m4g"
    assert fingerprint != fingerprint_of(b"tlt", bytes(32))
    assert fingerprint != fingerprint_of(b"tls", bytes(31) + b"\1")
    assert same_fingerprint(fingerprint, fingerprint.upper().replace("-", " "))
    assert not same_fingerprint(fingerprint, fingerprint[:-1])


def test_a_proof_is_for_one_code_one_request_one_purpose() -> None:
    key, other = Ed25519PrivateKey.generate(), Kiosk()
    kiosk = Kiosk(signing_key=key)
    proof = prove_claim(key, CODE.secret, b"csr")
    assert is_claim_proved(kiosk.signing_public, proof, CODE.secret, b"csr")
    assert not is_claim_proved(kiosk.signing_public, proof, CODE.secret, b"csR")
    assert not is_claim_proved(kiosk.signing_public, proof, bytes(10), b"csr")
    assert not is_claim_proved(other.signing_public, proof, CODE.secret, b"csr")
    assert not is_claim_proved(b"short", proof, CODE.secret, b"csr")
    device = DeviceId("kiosk1")
    renewal = prove_renewal(key, device, "a1", b"csr")
    assert is_renewal_proved(kiosk.signing_public, renewal, device, "a1", b"csr")
    assert not is_renewal_proved(kiosk.signing_public, renewal, device, "a2", b"csr")
    assert not is_renewal_proved(kiosk.signing_public, renewal, DeviceId("kiosk2"), "a1", b"csr")
    assert not is_renewal_proved(b"short", renewal, device, "a1", b"csr")


def test_a_poll_token_is_the_devices_own() -> None:
    assert poll_token_of(CODE.secret, DeviceId("a")) == poll_token_of(CODE.secret, DeviceId("a"))
    assert poll_token_of(CODE.secret, DeviceId("a")) != poll_token_of(CODE.secret, DeviceId("b"))


def test_a_request_for_the_key_that_signed_it() -> None:
    request = read_request(Kiosk().csr_pem)
    assert request is not None
    assert isinstance(request.public_key.curve, ec.SECP256R1)


def test_a_request_for_another_key_than_signed_it() -> None:
    """The public key inside is swapped for another of the same length: the signature no longer fits."""
    mine, theirs = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    der = request_for(mine).public_bytes(Encoding.DER)
    swapped = der.replace(_point(mine), _point(theirs))
    assert swapped != der
    assert read_request(_pem(swapped)) is None


def test_requests_that_are_none() -> None:
    kiosk = Kiosk().csr_pem
    for text in ("", "garbage", kiosk[:100], kiosk.replace("REQUEST", "NONSENSE"), kiosk + "A" * 5000):
        assert read_request(text) is None, text[:40]


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()), Ed25519PrivateKey.generate()],
)
def test_a_request_for_a_key_of_another_kind(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey,
) -> None:
    digest = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    assert read_request(csr.public_bytes(Encoding.PEM).decode()) is None


@given(st.binary(min_size=10, max_size=10))
def test_a_device_id_is_a_topic_level(random: bytes) -> None:
    assert parse_device(new_device_id(random)) is not None


def test_an_address_gets_its_tries_back() -> None:
    attempts = Attempts(allowed=2, window=timedelta(minutes=1))
    assert [attempts.may_try("a", NOW) for _ in range(3)] == [True, True, False]
    assert attempts.may_try("b", NOW)
    assert not attempts.may_try("a", NOW + timedelta(seconds=59))
    assert attempts.may_try("a", NOW + timedelta(seconds=60))


def test_addresses_do_not_pile_up() -> None:
    attempts = Attempts(allowed=1, addresses_max=2)
    for address in ("a", "b", "c"):
        assert attempts.may_try(address, NOW)
    assert not attempts.may_try("c", NOW)
    assert attempts.may_try("a", NOW)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"

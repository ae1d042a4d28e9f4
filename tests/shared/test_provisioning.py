"""The claim code, the fingerprint and the proofs: what people type and read, and what binds both keys of a device."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import DeviceId
from shared.provisioning import (
    PIN_BYTES,
    SECRET_BYTES,
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

CODE = ClaimCode(secret=bytes(range(SECRET_BYTES)), ca_pin=bytes(range(100, 100 + PIN_BYTES)))
TEXT = "DSP1-AAAQ-EAYE-AUDA-OCAJ-MRSWMZ3INFVGW3DNNZXXA4LSOM"
KEY, STRANGER = (Ed25519PrivateKey.from_private_bytes(seed * 32) for seed in (b"d", b"x"))
PUBLIC = KEY.public_key().public_bytes_raw()
CSR = b"a certificate request"
DEVICE = DeviceId("kiosk1")


def test_a_code_is_written_in_groups_and_read_again() -> None:
    assert format_code(CODE) == TEXT
    assert len(TEXT) == 51
    assert parse_code(TEXT) == CODE


@given(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), st.binary(min_size=PIN_BYTES, max_size=PIN_BYTES))
def test_every_code_survives_being_written(secret: bytes, pin: bytes) -> None:
    code = ClaimCode(secret=secret, ca_pin=pin)
    assert parse_code(format_code(code)) == code
    assert parse_secret(format_secret(secret)) == secret


@pytest.mark.parametrize(
    "typed",
    [TEXT.lower(), TEXT.replace("-", ""), TEXT.replace("-", " "), f"  {TEXT}\n", "-".join(TEXT.replace("-", ""))],
)
def test_case_spaces_and_hyphens_do_not_matter(typed: str) -> None:
    assert parse_code(typed) == CODE
    assert parse_secret("aaaq eaye-AUDA ocaj") == CODE.secret


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "DSP1",
        TEXT[:-1],
        TEXT + "A",
        "DSP2" + TEXT[4:],
        TEXT.replace("AAAQ", "AAA1"),
        TEXT[:-1] + "8",
        TEXT[:-1] + "Ä",
        TEXT[:-1] + "=",
        TEXT + " " * 100,
    ],
)
def test_what_is_no_code_is_nothing(typed: str) -> None:
    assert parse_code(typed) is None


@pytest.mark.parametrize("typed", ["", "AAAQ-EAYE-AUDA-OCA", "AAAQ-EAYE-AUDA-OCA1", "AAAQ-EAYE-AUDA-OCAJ-A"])
def test_what_is_no_secret_is_nothing(typed: str) -> None:
    assert parse_secret(typed) is None


def test_the_pin_names_one_certificate() -> None:
    der = b"a certificate"
    assert ca_has_pin(der, hashlib.sha256(der).digest()[:PIN_BYTES])
    assert not ca_has_pin(b"another", hashlib.sha256(der).digest()[:PIN_BYTES])
    assert not ca_has_pin(der, b"")


def test_a_fingerprint_stands_for_both_keys() -> None:
    fingerprint = fingerprint_of(b"tls key", PUBLIC)
    assert fingerprint == "wff6-dhsx-cm5d-d62d"
    others = {fingerprint_of(b"tls kez", PUBLIC), fingerprint_of(b"tls key", STRANGER.public_key().public_bytes_raw())}
    assert fingerprint not in others
    assert same_fingerprint(fingerprint, fingerprint.upper().replace("-", " "))
    assert not same_fingerprint(fingerprint, fingerprint[:-1] + ("a" if fingerprint[-1] != "a" else "b"))


def test_a_claim_is_proved_by_the_key_over_this_code_and_this_request() -> None:
    proof = prove_claim(KEY, CODE.secret, CSR)
    assert is_claim_proved(PUBLIC, proof, CODE.secret, CSR)
    assert not is_claim_proved(STRANGER.public_key().public_bytes_raw(), proof, CODE.secret, CSR)
    assert not is_claim_proved(PUBLIC, proof, bytes(SECRET_BYTES), CSR)
    assert not is_claim_proved(PUBLIC, proof, CODE.secret, CSR + b"x")
    assert not is_claim_proved(PUBLIC, proof[:-1], CODE.secret, CSR)
    assert not is_claim_proved(PUBLIC[:-1], proof, CODE.secret, CSR)


def test_a_renewal_is_proved_by_the_key_over_this_device_certificate_and_request() -> None:
    proof = prove_renewal(KEY, DEVICE, "0a", CSR)
    assert is_renewal_proved(PUBLIC, proof, DEVICE, "0a", CSR)
    assert not is_renewal_proved(PUBLIC, proof, DeviceId("kiosk2"), "0a", CSR)
    assert not is_renewal_proved(PUBLIC, proof, DEVICE, "0b", CSR)
    assert not is_renewal_proved(PUBLIC, proof, DEVICE, "0a", CSR + b"x")
    assert not is_renewal_proved(b"", proof, DEVICE, "0a", CSR)
    assert not is_claim_proved(PUBLIC, proof, CODE.secret, CSR)


def test_a_poll_token_is_the_same_each_time_and_nobody_elses() -> None:
    token = poll_token_of(CODE.secret, DEVICE)
    assert token == poll_token_of(CODE.secret, DEVICE)
    assert token != poll_token_of(CODE.secret, DeviceId("kiosk2"))
    assert token != poll_token_of(bytes(SECRET_BYTES), DEVICE)

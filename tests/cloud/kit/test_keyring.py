"""The key files: made once, all or none, private; loaded without the root; certificates that name what they must."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.kit.keyring import (
    KeyFiles,
    KeyringRefused,
    create_keyring,
    issue_client_certificate,
    load_keyring,
    renew_servers,
    revocation_list,
)
from shared.answers import ROOT_SIGNER, KeyPage, TimeTold, open_answer
from shared.signing import load_public_key
from shared.topics import Down

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTS = ("localhost", "127.0.0.1")


def test_keys_are_private_and_load_without_the_root(tmp_path: Path) -> None:
    made = create_keyring(tmp_path / "keys", HOSTS, NOW)
    files = KeyFiles(folder=tmp_path / "keys")
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.folder.iterdir()} == {0o600}
    files.root_key.unlink()
    loaded = load_keyring(files.folder)
    assert (loaded.root_public, loaded.ca_pin, loaded.key_page) == (made.root_public, made.ca_pin, made.key_page)


def test_keys_are_never_made_over_others(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    before = (tmp_path / "keys" / "root.pub").read_bytes()
    with pytest.raises(KeyringRefused):
        create_keyring(tmp_path / "keys", HOSTS, NOW)
    assert (tmp_path / "keys" / "root.pub").read_bytes() == before


def test_what_is_signed_opens_under_the_keys_the_root_named(tmp_path: Path) -> None:
    keyring = create_keyring(tmp_path / "keys", HOSTS, NOW)
    root = load_public_key(keyring.root_public)
    assert root is not None
    page = open_answer(Down.FEED, keyring.sign(keyring.key_page), {ROOT_SIGNER: root})
    assert isinstance(page, KeyPage)
    assert page == keyring.key_page
    signers = {signer.key: key for signer in page.signers if (key := load_public_key(signer.public)) is not None}
    told = TimeTold(nonce=bytes(16), instant_ms=1)
    assert open_answer(Down.TIME, keyring.sign(told), signers) == told


@pytest.mark.parametrize("name", ["root.pub", "keys.page", "signer-1.key", "issuer-1.key", "ca.key", "ca.pem"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    path = tmp_path / "keys" / name
    path.write_bytes(b"not what it was")
    with pytest.raises(KeyringRefused):
        load_keyring(tmp_path / "keys")
    path.unlink()
    with pytest.raises(KeyringRefused) as refused:
        load_keyring(tmp_path / "keys")
    assert refused.value.path == path


def test_keys_of_another_root_are_refused(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    create_keyring(tmp_path / "other", HOSTS, NOW)
    for name in ("signer-1.key", "issuer-1.key"):
        own = (tmp_path / "keys" / name).read_bytes()
        (tmp_path / "keys" / name).write_bytes((tmp_path / "other" / name).read_bytes())
        with pytest.raises(KeyringRefused) as refused:
            load_keyring(tmp_path / "keys")
        assert refused.value.path.name == name
        (tmp_path / "keys" / name).write_bytes(own)


def test_a_key_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    files = KeyFiles(folder=tmp_path / "keys")
    signer, ca = files.signer_key.read_bytes(), files.ca_key.read_bytes()
    files.signer_key.write_bytes(ca)
    with pytest.raises(KeyringRefused):
        load_keyring(files.folder)
    files.signer_key.write_bytes(signer)
    files.ca_key.write_bytes(signer)
    with pytest.raises(KeyringRefused):
        load_keyring(files.folder)


def test_server_certificates_name_the_hosts_and_are_renewed_when_they_must(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    files = KeyFiles(folder=tmp_path / "keys")
    assert not renew_servers(files.folder, HOSTS, NOW + timedelta(days=100))
    assert not renew_servers(files.folder, ["localhost"], NOW)
    assert renew_servers(files.folder, HOSTS, NOW + timedelta(days=350))
    assert renew_servers(files.folder, [*HOSTS, "cloud.example"], NOW + timedelta(days=350))
    certificate = x509.load_pem_x509_certificate(files.server_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "cloud.example"}
    files.broker_key.unlink()
    assert renew_servers(files.folder, HOSTS, NOW + timedelta(days=350))


def test_a_pair_that_a_power_cut_tore_is_made_again(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keys", HOSTS, NOW)
    files = KeyFiles(folder=tmp_path / "keys")
    files.server_key.write_bytes(files.client_key.read_bytes())
    assert renew_servers(files.folder, HOSTS, NOW)


def test_a_client_certificate_is_the_authoritys_and_can_be_revoked(tmp_path: Path) -> None:
    keyring = create_keyring(tmp_path / "keys", HOSTS, NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue_client_certificate(keyring, "kiosk1", key.public_key(), NOW, timedelta(days=90))
    certificate.verify_directly_issued_by(keyring.ca_certificate)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=90)
    assert certificate.not_valid_before_utc < NOW
    crl = x509.load_pem_x509_crl(revocation_list(keyring, [(certificate.serial_number, NOW)], NOW))
    assert crl.is_signature_valid(keyring.ca_certificate.public_key())  # type: ignore[arg-type]  # of any kind
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert crl.next_update_utc == keyring.ca_certificate.not_valid_after_utc


def test_a_key_page_is_not_signed_here(tmp_path: Path) -> None:
    keyring = create_keyring(tmp_path / "keys", HOSTS, NOW)
    other = replace(keyring, signer_key=Ed25519PrivateKey.generate())
    with pytest.raises(AssertionError):
        keyring.sign(KeyPage(base=0, version=2, more=False, issued_ms=0, issuers=(), signers=()))
    assert other.sign(other.key_page) == keyring.key_page_signed

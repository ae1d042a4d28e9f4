"""Pairs of key and certificate as files: what is usable after a cut at any moment, and which certificate is taken."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.link.credentials import (
    CERTIFICATE_LENGTH_MAX,
    Credentials,
    Pair,
    check_renewed,
    public_of,
    read_identity,
    request_for,
)
from edge.link.tls import open_context
from shared.business_day import milliseconds
from shared.ids import DeviceId
from tests.support.certificates import Authority, Validity

K1 = DeviceId("k1")
NOW = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
DAYS = Validity(begins=NOW, ends=NOW + timedelta(days=90))


class PowerCut(Exception):
    """The machine is off."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "keys")


@pytest.fixture
def credentials(authority: Authority) -> Credentials:
    return Credentials(provisioned(authority))


def provisioned(authority: Authority) -> Pair:
    first = authority.issue_client("k1")
    return Pair(certificate=first.certificate, key=first.key)


def usable(authority: Authority, pair: Pair) -> bool:
    """True when OpenSSL takes the pair: the key is the certificate's."""
    open_context(authority.certificate, pair, lambda: None)
    return True


def keep_new(authority: Authority, credentials: Credentials) -> ec.EllipticCurvePrivateKey:
    key = credentials.key_to_certify()
    credentials.keep(authority.certify(key.public_key(), "k1", DAYS), key)
    return key


def test_the_provisioned_pair_is_used_until_another_has_connected(
    authority: Authority, credentials: Credentials
) -> None:
    first = credentials.current()
    assert credentials.renewed() is None
    key = keep_new(authority, credentials)
    renewed = credentials.renewed()
    assert renewed is not None
    assert (credentials.current(), renewed.is_renewed) == (first, True)
    assert usable(authority, renewed)
    assert usable(authority, first)
    credentials.promote()
    assert credentials.renewed() is None
    assert usable(authority, credentials.current())
    newest = credentials.newest()
    assert newest is not None
    assert (newest.public, newest.dates.ends_ms) == (public_of(key), milliseconds(DAYS.ends))
    assert not first.key.exists(), "a key that is not needed is not kept"
    credentials.promote()  # again changes nothing
    assert usable(authority, credentials.current())


def test_private_keys_are_readable_by_their_owner_alone(authority: Authority, credentials: Credentials) -> None:
    keep_new(authority, credentials)
    folder = authority.certificate.parent
    for name in ("renewal.key", "renewed.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    credentials.promote()
    assert (folder / "tls.pem").stat().st_mode & 0o777 == 0o600


def test_the_key_that_was_asked_for_is_asked_for_again(authority: Authority, credentials: Credentials) -> None:
    """The cloud gives the same key the same certificate: a lost answer costs nothing."""
    key = credentials.key_to_certify()
    assert public_of(credentials.key_to_certify()) == public_of(key)
    credentials.keep(authority.certify(key.public_key(), "k1", DAYS), key)
    assert public_of(credentials.key_to_certify()) != public_of(key), "it has its certificate"


def test_a_key_left_behind_by_a_cut_is_not_used_twice(
    authority: Authority, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keep_new(authority, credentials)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut)
        with pytest.raises(PowerCut):
            credentials.promote()
    assert usable(authority, credentials.current())
    assert (authority.certificate.parent / "renewal.key").exists()
    assert public_of(credentials.key_to_certify()) != public_of(key)


def cut(*_: object, **__: object) -> None:
    raise PowerCut


@pytest.mark.parametrize("garbage", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_key_file_is_replaced(authority: Authority, credentials: Credentials, garbage: bytes) -> None:
    path = authority.certificate.parent / "renewal.key"
    path.write_bytes(garbage)
    key = credentials.key_to_certify()
    assert isinstance(load_pem_private_key(path.read_bytes(), None), ec.EllipticCurvePrivateKey)
    assert public_of(credentials.key_to_certify()) == public_of(key)


def test_a_damaged_renewed_pair_is_thrown_away(authority: Authority, credentials: Credentials) -> None:
    keep_new(authority, credentials)
    (authority.certificate.parent / "renewed.pem").write_bytes(b"\0" * 500)
    assert credentials.renewed() is None
    assert not (authority.certificate.parent / "renewed.pem").exists()
    assert usable(authority, credentials.current())


def test_without_any_certificate_nothing_is_said_of_it(tmp_path: Path) -> None:
    nothing = Credentials(Pair(certificate=tmp_path / "none", key=tmp_path / "none"))
    assert nothing.newest() is None
    assert read_identity(nothing.current()) is None


STEPS = ("open", "fsync", "replace")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", range(1, 7))
def test_a_cut_at_any_step_leaves_a_usable_pair_and_the_next_try_ends_well(
    authority: Authority, credentials: Credentials, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    """The calls that reach the disk are counted, and the power goes at the one with this number."""
    counted = 0
    real_open, real_fsync, real_replace = os.open, os.fsync, Path.replace

    def note(name: str) -> None:
        nonlocal counted
        counted += name == step
        if name == step and counted == number:
            raise PowerCut

    def opening(path: str | Path, flags: int, mode: int = 0o777) -> int:
        note("open")
        return real_open(path, flags, mode)

    def syncing(descriptor: int) -> None:
        note("fsync")
        real_fsync(descriptor)

    def replacing(self: Path, target: Path) -> Path:
        note("replace")
        return real_replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opening)
        patch.setattr(os, "fsync", syncing)
        patch.setattr(Path, "replace", replacing)
        try:
            keep_new(authority, credentials)
            credentials.promote()
        except PowerCut:
            pass
    after = Credentials(Pair(certificate=credentials.current().certificate, key=credentials.current().key))
    for pair in (credentials.current(), after.renewed() or credentials.current()):
        assert usable(authority, pair)
    keep_new(authority, credentials)
    credentials.promote()
    assert usable(authority, credentials.current())


def test_a_full_disk_is_an_error_and_changes_nothing(authority: Authority, credentials: Credentials) -> None:
    first = credentials.current()
    key = ec.generate_private_key(ec.SECP256R1())
    (authority.certificate.parent / "renewed.pem.new").mkdir()  # whatever keeps the draft from being written
    with pytest.raises(OSError, match=r"renewed\.pem\.new"):
        credentials.keep(authority.certify(key.public_key(), "k1", DAYS), key)
    assert (credentials.current(), credentials.renewed()) == (first, None)


# --- which certificate is taken -------------------------------------------------------------------------------------


def reason(authority: Authority, pem: str, key: ec.EllipticCurvePrivateKey, instant: datetime | None = NOW) -> str:
    unfit = check_renewed(pem, key=key, device=K1, ca_pem=authority.certificate.read_bytes(), instant=instant)
    return "" if unfit is None else unfit.reason


def test_only_what_was_asked_for_is_taken(authority: Authority, tmp_path: Path) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    assert reason(authority, authority.certify(public, "k1", DAYS), key) == ""
    assert "another key" in reason(authority, authority.certify(other.public_key(), "k1", DAYS), key)
    assert "another device" in reason(authority, authority.certify(public, "k2", DAYS), key)
    server = authority.certify(public, "k1", DAYS, ExtendedKeyUsageOID.SERVER_AUTH)
    assert "not for a client" in reason(authority, server, key)
    assert "not for a client" in reason(authority, authority.certificate_for_nothing(public, "k1"), key)
    stranger = Authority(tmp_path / "stranger").certify(public, "k1", DAYS)
    assert "not signed by our authority" in reason(authority, stranger, key)
    named = Authority(tmp_path / "named", name="another authority").certify(public, "k1", DAYS)
    assert "none of our authority's" in reason(authority, named, key)
    assert "none of our authority's" in reason(authority, "garbage", key)
    assert "too long" in reason(authority, "A" * (CERTIFICATE_LENGTH_MAX + 1), key)


def test_its_dates_are_judged_by_the_time_we_believe(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = authority.certify(key.public_key(), "k1", DAYS)
    assert reason(authority, pem, key, None) == ""
    assert "not valid yet" in reason(authority, pem, key, NOW - timedelta(days=1))
    assert "has ended" in reason(authority, pem, key, NOW + timedelta(days=91))


def test_a_request_is_signed_by_its_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = request_for(key)
    assert request.is_signature_valid
    assert request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public_of(key)

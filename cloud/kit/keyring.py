"""The cloud's keys: made once, kept in files only their owner may read, loaded at start.

The root signs one thing, the page that names feed signers and token issuers, and does it when the keys are made. What
runs holds that page and not the root, so `root.key` can be carried away to where no network is. The CA vouches for
machines: this server, the broker, the cloud's own broker client and every device.
"""

import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.errors import CloudError
from shared.answers import ROOT_SIGNER, Answer, IssuerKey, KeyPage, SignerKey, open_answer, sign_answer
from shared.business_day import milliseconds
from shared.signing import load_public_key
from shared.topics import Down

FIRST_KEY = 1
CA_YEARS = 10
CA_PIN_BYTES = 16
SERVER_DAYS = 397  # what browsers accept of any authority; renewed at a start with less than RENEW_DAYS left
RENEW_DAYS = 60
CLOUD_CLIENT = "cloud"  # the common name under which the broker knows this service
BACKDATED = timedelta(hours=1)  # a device whose clock is a little behind must not find its cloud's certificate unborn
BACKDATED_SHARE = 10  # and no more than a tenth of a client's life

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class KeyringRefused(CloudError):
    """The key files cannot be used; `reason` says why and `path` which one."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """Where each key lives below the cloud's home folder."""

    folder: Path

    @property
    def root_key(self) -> Path:
        """The root's private key: needed for `create_keyring` alone."""
        return self.folder / "root.key"

    @property
    def root_public(self) -> Path:
        """32 raw bytes: what devices pin."""
        return self.folder / "root.pub"

    @property
    def key_page(self) -> Path:
        """The key page as the root signed it."""
        return self.folder / "keys.page"

    @property
    def signer_key(self) -> Path:
        """Signs what devices are told."""
        return self.folder / "signer-1.key"

    @property
    def issuer_key(self) -> Path:
        """Signs member credentials."""
        return self.folder / "issuer-1.key"

    @property
    def ca_key(self) -> Path:
        """The device CA's private key."""
        return self.folder / "ca.key"

    @property
    def ca_certificate(self) -> Path:
        """The device CA's certificate, for everyone."""
        return self.folder / "ca.pem"

    @property
    def server_key(self) -> Path:
        """The HTTPS listener's key."""
        return self.folder / "server.key"

    @property
    def server_certificate(self) -> Path:
        """The HTTPS listener's certificate."""
        return self.folder / "server.pem"

    @property
    def broker_key(self) -> Path:
        """The broker's key."""
        return self.folder / "broker.key"

    @property
    def broker_certificate(self) -> Path:
        """The broker's certificate."""
        return self.folder / "broker.pem"

    @property
    def client_key(self) -> Path:
        """The key with which this service connects to the broker."""
        return self.folder / "client.key"

    @property
    def client_certificate(self) -> Path:
        """The certificate with which this service connects to the broker."""
        return self.folder / "client.pem"

    def worker_certificate(self, name: str) -> Path:
        """The certificate with which the further worker of that name connects to the broker."""
        return self.folder / "workers" / f"{name}.pem"

    def worker_key(self, name: str) -> Path:
        """Its key."""
        return self.folder / "workers" / f"{name}.key"

    def workers(self) -> tuple[str, ...]:
        """The names of the further workers that were ever given a certificate."""
        return tuple(sorted(path.stem for path in (self.folder / "workers").glob("*.pem")))

    @property
    def revocations(self) -> Path:
        """The certificate revocation list that the broker reads."""
        return self.folder / "revoked.crl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys that the running service uses. `key_page_signed` is `key_page` under the root's signature."""

    root_public: bytes
    signer_id: int
    signer_key: Ed25519PrivateKey
    issuer_id: int
    issuer_key: Ed25519PrivateKey
    ca_certificate: x509.Certificate
    ca_key: ec.EllipticCurvePrivateKey
    key_page: KeyPage
    key_page_signed: bytes

    @property
    def ca_pin(self) -> bytes:
        """16 bytes by which a device knows its cloud: the start of SHA-256 over the CA certificate's DER."""
        return ca_pin(self.ca_certificate)

    @property
    def ca_pem(self) -> str:
        """The CA certificate as PEM."""
        return self.ca_certificate.public_bytes(Encoding.PEM).decode()

    def sign(self, answer: Answer) -> bytes:
        """The signed bytes of the answer; the key page comes as the root signed it."""
        if isinstance(answer, KeyPage):
            assert answer == self.key_page, "only the root signs key pages, and not here"
            return self.key_page_signed
        return sign_answer(answer, self.signer_id, self.signer_key)


def ca_pin(certificate: x509.Certificate) -> bytes:
    """16 bytes: the start of SHA-256 over the certificate's DER."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()[:CA_PIN_BYTES]


def create_keyring(folder: Path, hosts: Sequence[str], now: datetime) -> Keyring:
    """The fresh keys, written below `folder`, all or none. `hosts` are the names this cloud is reached by.

    Raises: KeyringRefused when the folder exists.
    """
    if folder.exists():
        raise KeyringRefused("there are keys already", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
    draft.mkdir(mode=0o700)
    _write_authorities(KeyFiles(folder=draft), now)
    renew_servers(draft, hosts, now)
    draft.rename(folder)
    return load_keyring(folder)


def load_keyring(folder: Path) -> Keyring:
    """The keys in the folder. The root's private key is neither needed nor looked for.

    Raises: KeyringRefused when a file is missing, is not a key, or is not what the root signed.
    """
    files = KeyFiles(folder=folder)
    root_public = _read(files.root_public)
    page_signed = _read(files.key_page)
    page = _open_key_page(page_signed, root_public, files.key_page)
    keyring = Keyring(
        root_public=root_public,
        signer_id=FIRST_KEY,
        signer_key=_load_ed25519(files.signer_key),
        issuer_id=FIRST_KEY,
        issuer_key=_load_ed25519(files.issuer_key),
        ca_certificate=_load_certificate(files.ca_certificate),
        ca_key=_load_p256(files.ca_key),
        key_page=page,
        key_page_signed=page_signed,
    )
    if SignerKey(key=keyring.signer_id, public=_raw(keyring.signer_key)) not in page.signers:
        raise KeyringRefused("the root did not sign this key", files.signer_key)
    if IssuerKey(key=keyring.issuer_id, public=_raw(keyring.issuer_key)) not in page.issuers:
        raise KeyringRefused("the root did not sign this key", files.issuer_key)
    return keyring


def renew_servers(folder: Path, hosts: Sequence[str], now: datetime) -> bool:
    """True when the certificates of HTTPS listener, broker and broker client were made anew.

    They are when one is missing, near its end, or does not name every host.
    """
    files = KeyFiles(folder=folder)
    pairs = (
        (files.server_certificate, files.server_key),
        (files.broker_certificate, files.broker_key),
        (files.client_certificate, files.client_key),
    )
    servers = pairs[:2]
    if all(_is_good(*pair, now) for pair in pairs) and all(_names_all(path, hosts) for path, _ in servers):
        return False
    ca, ca_key = _load_certificate(files.ca_certificate), _load_p256(files.ca_key)
    for certificate_path, key_path in servers:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(f"doorstep {certificate_path.stem}", key.public_key(), now, timedelta(days=SERVER_DAYS))
        names = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])
        builder = builder.add_extension(names, critical=False)
        _write_pair(certificate_path, key_path, _signed(builder, ExtendedKeyUsageOID.SERVER_AUTH, ca, ca_key), key)
    _write_client(CLOUD_CLIENT, files.client_certificate, files.client_key, ca, ca_key, now)
    return True


def renew_worker(folder: Path, name: str, now: datetime) -> bool:
    """True when the certificate of the further worker of that name was made, or made anew near its end."""
    files = KeyFiles(folder=folder)
    certificate_path, key_path = files.worker_certificate(name), files.worker_key(name)
    if _is_good(certificate_path, key_path, now):
        return False
    certificate_path.parent.mkdir(mode=0o700, exist_ok=True)
    ca, ca_key = _load_certificate(files.ca_certificate), _load_p256(files.ca_key)
    _write_client(name, certificate_path, key_path, ca, ca_key, now)
    return True


def _write_client(
    name: str,
    certificate_path: Path,
    key_path: Path,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> None:
    """A fresh key and its certificate as a client of the broker."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key.public_key(), now, timedelta(days=SERVER_DAYS))
    certificate = _signed(builder, ExtendedKeyUsageOID.CLIENT_AUTH, ca, ca_key)
    _write_pair(certificate_path, key_path, certificate, key)


def issue_client_certificate(
    keyring: Keyring, common_name: str, public_key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.Certificate:
    """A certificate under the CA with which the named client may connect; backdated by an hour, if it is to live days.

    A device renews at two thirds of what stands on the certificate: a short life must not be over before it began.
    """
    builder = _builder(common_name, public_key, now, life, backdated=min(BACKDATED, life / BACKDATED_SHARE))
    return _signed(builder, ExtendedKeyUsageOID.CLIENT_AUTH, keyring.ca_certificate, keyring.ca_key)


def revocation_list(keyring: Keyring, revoked: Sequence[tuple[int, datetime]], now: datetime) -> bytes:
    """PEM of the CA's revocation list over (certificate serial, since when).

    It is good until the CA ends: OpenSSL refuses every client once a list is past its next update, and a broker that
    nobody reloaded for a while must not lock all kiosks out.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(keyring.ca_certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(keyring.ca_certificate.not_valid_after_utc)
    )
    for serial, since in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(keyring.ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def write_private(path: Path, content: bytes) -> None:
    """Makes the file hold the content, at once and readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _write_authorities(files: KeyFiles, now: datetime) -> None:
    root, signer, issuer = (Ed25519PrivateKey.generate() for _ in range(3))
    page = KeyPage(
        base=0,
        version=1,
        more=False,
        issued_ms=milliseconds(now),
        issuers=(IssuerKey(key=FIRST_KEY, public=_raw(issuer)),),
        signers=(SignerKey(key=FIRST_KEY, public=_raw(signer)),),
    )
    write_private(files.root_key, _pem(root))
    write_private(files.root_public, _raw(root))
    write_private(files.key_page, sign_answer(page, ROOT_SIGNER, root))
    write_private(files.signer_key, _pem(signer))
    write_private(files.issuer_key, _pem(issuer))
    ca_key = ec.generate_private_key(ec.SECP256R1())
    _write_pair(files.ca_certificate, files.ca_key, _make_ca(ca_key, now), ca_key)


def _make_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    builder = _builder("doorstep device CA", key.public_key(), now, timedelta(days=365 * CA_YEARS))
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.issuer_name(_name("doorstep device CA"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    common_name: str,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
    backdated: timedelta = BACKDATED,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - backdated)
        .not_valid_after(now + life)
    )


def _signed(
    builder: x509.CertificateBuilder,
    purpose: x509.ObjectIdentifier,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.issuer_name(ca.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_good(certificate_path: Path, key_path: Path, now: datetime) -> bool:
    """The pair is there, belongs together (a power cut may have come between the two) and has time left."""
    if not (certificate_path.exists() and key_path.exists()):
        return False
    certificate = _load_certificate(certificate_path)
    if certificate.public_key() != _load_p256(key_path).public_key():
        return False
    return certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS)


def _names_all(path: Path, hosts: Sequence[str]) -> bool:
    names = _load_certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {_general_name(host) for host in hosts} <= set(names)


def _write_pair(
    certificate_path: Path, key_path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    write_private(key_path, _pem(key))
    write_private(certificate_path, certificate.public_bytes(Encoding.PEM))


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise KeyringRefused("missing; `doorstep-cloud init` makes the keys", path) from error


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyringRefused("not a private key", path) from error


def _load_ed25519(path: Path) -> Ed25519PrivateKey:
    key = _load(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyringRefused("not an Ed25519 key", path)
    return key


def _load_p256(path: Path) -> ec.EllipticCurvePrivateKey:
    key = _load(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyringRefused("not an elliptic-curve key", path)
    return key


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise KeyringRefused("not a certificate", path) from error


def _open_key_page(data: bytes, root_public: bytes, path: Path) -> KeyPage:
    root: Ed25519PublicKey | None = load_public_key(root_public)
    page = None if root is None else open_answer(Down.FEED, data, {ROOT_SIGNER: root})
    if not isinstance(page, KeyPage):
        raise KeyringRefused("not signed by the root", path)
    return page

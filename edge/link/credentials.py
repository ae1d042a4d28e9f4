"""The pairs of key and certificate that the link may show, as files that a power cut at any moment leaves usable.

`tls.crt` and `tls.key` are what provisioning wrote. A renewed pair lies in one file, so that a single rename puts both
of its halves in place. It is written as `renewed.pem`, beside the pair in use, and becomes `tls.pem` once the broker
has accepted it; until then the old pair is there to fall back on. `renewal.key` is the key for which a certificate is
being asked: kept before it is sent, because the cloud answers the same key with the same certificate if its answer
was lost.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.core.certificate import CertificateDates, judge_dates
from shared.business_day import milliseconds
from shared.ids import DeviceId

CERTIFICATE_LENGTH_MAX = 8192  # ours have some 900 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Where a key and its certificate are; the same file for a pair that was renewed."""

    certificate: Path
    key: Path
    is_renewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a certificate says: its number in lower-case hexadecimal, its dates, its key (SubjectPublicKeyInfo, DER)."""

    serial: str
    dates: CertificateDates
    public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why a certificate that was given to us is not taken."""

    reason: str


class Credentials:
    """The device's pairs. `provisioned` is the first one; all others lie in the folder of its key."""

    def __init__(self, provisioned: Pair) -> None:
        self._provisioned = provisioned
        folder = provisioned.key.parent
        self._used = folder / "tls.pem"
        self._renewed = folder / "renewed.pem"
        self._asked = folder / "renewal.key"

    def current(self) -> Pair:
        """The pair that the broker accepted last."""
        return Pair(certificate=self._used, key=self._used) if self._used.exists() else self._provisioned

    def renewed(self) -> Pair | None:
        """A newer pair that has not connected yet, or None. One that cannot be read is thrown away."""
        if not self._renewed.exists():
            return None
        pair = Pair(certificate=self._renewed, key=self._renewed, is_renewed=True)
        if read_identity(pair) is None:
            self.discard()
            return None
        return pair

    def newest(self) -> Identity | None:
        """What the newest pair says, None when it cannot be read."""
        return read_identity(self.renewed() or self.current())

    def key_to_certify(self) -> ec.EllipticCurvePrivateKey:
        """The key for the next certificate, on the disk before this returns. Raises: OSError."""
        held = _read_key(self._asked)
        if held is not None and not self._is_certified(held):
            return held
        made = ec.generate_private_key(ec.SECP256R1())
        _write(self._asked, _key_pem(made))
        return made

    def keep(self, certificate_pem: str, key: ec.EllipticCurvePrivateKey) -> None:
        """The certificate and its key are the renewed pair, whole or not at all. Raises: OSError."""
        _write(self._renewed, _key_pem(key) + certificate_pem.encode())

    def promote(self) -> None:
        """The renewed pair is the one in use; keys that are not needed any more are gone. Raises: OSError."""
        if not self._renewed.exists():
            return
        self._renewed.replace(self._used)
        _sync(self._used.parent)
        for old in (self._asked, self._provisioned.key, self._provisioned.certificate):
            old.unlink(missing_ok=True)

    def discard(self) -> None:
        """There is no renewed pair."""
        self._renewed.unlink(missing_ok=True)

    def _is_certified(self, key: ec.EllipticCurvePrivateKey) -> bool:
        newest = self.newest()
        return newest is not None and newest.public == public_of(key)


def public_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key's public half: a SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request_for(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """A certificate request, signed with its key. The cloud puts in the names that it knows us by."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kiosk")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())


def read_identity(pair: Pair) -> Identity | None:
    """What the pair's certificate says, None when file or certificate cannot be read."""
    try:
        return _identity(x509.load_pem_x509_certificate(pair.certificate.read_bytes()))
    except (OSError, ValueError):
        return None


def check_renewed(
    pem: str, *, key: ec.EllipticCurvePrivateKey, device: DeviceId, ca_pem: bytes, instant: datetime | None
) -> Unfit | None:
    """Why the certificate is not what was asked for, or None: our key, our name, our authority, and good now.

    `instant` is None while the time is not known; the certificate is then believed in its dates.
    """
    if len(pem) > CERTIFICATE_LENGTH_MAX:
        return Unfit(reason="the new certificate is too long")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        identity = _identity(certificate)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Unfit(reason="the new certificate is none of our authority's")
    except InvalidSignature:
        return Unfit(reason="the new certificate is not signed by our authority")
    if identity.public != public_of(key):
        return Unfit(reason="the new certificate is for another key")
    names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [device]:
        return Unfit(reason="the new certificate is for another device")
    if not _is_for_clients(certificate):
        return Unfit(reason="the new certificate is not for a client")
    fault = None if instant is None else judge_dates(identity.dates, instant)
    return None if fault is None else Unfit(reason=f"the new certificate {fault}")


def _identity(certificate: x509.Certificate) -> Identity:
    return Identity(
        serial=f"{certificate.serial_number:x}",
        dates=CertificateDates(
            begins_ms=milliseconds(certificate.not_valid_before_utc),
            ends_ms=milliseconds(certificate.not_valid_after_utc),
        ),
        public=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _write(path: Path, content: bytes) -> None:
    """The file holds the content, whole or not at all, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """A rename in the folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

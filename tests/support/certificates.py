"""A throw-away certificate authority for tests that need mutual TLS: server, clients and a revocation list."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FROM = datetime(2024, 1, 1, tzinfo=UTC)
VALID_TO = datetime(2124, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when a certificate holds."""

    begins: datetime = VALID_FROM
    ends: datetime = VALID_TO


ALWAYS = Validity()


class Authority:
    """An authority that writes what it issues into one folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        folder.mkdir(parents=True, exist_ok=True)
        own = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            # Python 3.13 verifies strictly: without the two key identifiers it trusts nothing of ours.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue_server(self, validity: Validity = ALWAYS) -> Identity:
        """A server's identity for the loopback address."""
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
        return self._issue("localhost", ExtendedKeyUsageOID.SERVER_AUTH, names, validity)

    def issue_client(self, name: str, validity: Validity = ALWAYS) -> Identity:
        """A client's identity; `name` becomes the certificate's common name."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, None, validity)

    def certify(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        validity: Validity = ALWAYS,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> str:
        """A certificate for somebody else's key, as PEM."""
        builder = self._leaf(name, key, usage, validity)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def certificate_for_nothing(self, key: ec.EllipticCurvePublicKey, name: str) -> str:
        """A certificate that does not say what it is for, as PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._builder(subject, key).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def revoke(self, *identities: Identity) -> Path:
        """The authority's revocation list with these certificates on it."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(VALID_FROM)
            .next_update(VALID_TO)
        )
        for identity in identities:
            certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(VALID_FROM + timedelta(days=1)).build())
        path = self._folder / "revoked.pem"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def _leaf(
        self, name: str, key: ec.EllipticCurvePublicKey, usage: x509.ObjectIdentifier, validity: Validity
    ) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            self._builder(subject, key, validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        validity: Validity,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._leaf(name, key.public_key(), usage, validity)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        identity = Identity(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        identity.certificate.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        identity.key.chmod(0o600)
        return identity

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, validity: Validity = ALWAYS
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(validity.begins)
            .not_valid_after(validity.ends)
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

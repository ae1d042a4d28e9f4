"""A kiosk before it is one: two keys, and what it says to be claimed and renewed."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.ids import DeviceId
from shared.provisioning import fingerprint_of, prove_claim, prove_renewal


def request_for(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """A certificate request, signed."""
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kiosk:
    """Two keys."""

    tls_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    signing_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def signing_public(self) -> bytes:
        """The signing key's public half."""
        return self.signing_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def fingerprint(self) -> str:
        """What its screen shows."""
        public = self.tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return fingerprint_of(public, self.signing_public)

    @property
    def csr_pem(self) -> str:
        """Its certificate request."""
        return request_for(self.tls_key).public_bytes(Encoding.PEM).decode()

    def prove_claim(self, secret: bytes, csr_pem: str) -> bytes:
        """The proof that goes with that request."""
        return prove_claim(self.signing_key, secret, _der(csr_pem))

    def prove_renewal(self, device: DeviceId, serial: str, csr_pem: str) -> bytes:
        """The proof that goes with that request."""
        return prove_renewal(self.signing_key, device, serial, _der(csr_pem))


def _der(csr_pem: str) -> bytes:
    return x509.load_pem_x509_csr(csr_pem.encode()).public_bytes(Encoding.DER)

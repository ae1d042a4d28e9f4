"""A cloud that renews certificates, for tests of `link`: what the real one checks, without HTTP and a database."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edge.link.cloud import NotRenewed, RenewalAsked, Renewed
from shared.ids import DeviceId
from shared.provisioning import is_renewal_proved
from tests.support.certificates import Authority, Validity


@dataclass(slots=True, kw_only=True)
class RenewingCloud:
    """Renews what is proved with the signing key. `refusal` is what it says instead, `made` what it gives instead.

    `asked` is every request in order. While `gate` is not set nobody is answered; `busy_max` is how many ever waited.
    """

    authority: Authority
    validity: Validity
    signing_public: Callable[[], bytes]
    refusal: NotRenewed | None = None
    made: Callable[[ec.EllipticCurvePublicKey], str] | None = None
    asked: list[RenewalAsked] = field(default_factory=list)
    instants: list[datetime | None] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    busy_max: int = 0
    _busy: int = 0

    def __post_init__(self) -> None:
        """It answers from the start."""
        self.gate.set()

    def renew(self, asked: RenewalAsked, instant: datetime | None) -> Renewed | NotRenewed:
        """A certificate for the request's key, or why not."""
        self._busy += 1
        self.busy_max = max(self.busy_max, self._busy)
        self.asked.append(asked)
        self.instants.append(instant)
        try:
            self.gate.wait(10)
            return self.refusal or self._answer(asked)
        finally:
            self._busy -= 1

    def _answer(self, asked: RenewalAsked) -> Renewed | NotRenewed:
        csr = x509.load_pem_x509_csr(asked.csr_pem.encode())
        der, key, device = csr.public_bytes(Encoding.DER), csr.public_key(), DeviceId(asked.device)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        proof = bytes.fromhex(asked.proof)
        if not is_renewal_proved(self.signing_public(), proof, device, asked.serial, der):
            return NotRenewed(reason="The proof is not the signing key's", is_final=True)
        pem = self.authority.certify(key, device, self.validity) if self.made is None else self.made(key)
        return Renewed(certificate_pem=pem)

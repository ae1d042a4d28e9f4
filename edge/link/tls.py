"""TLS towards our cloud: its authority and nobody else's, our certificate, and dates judged with the time we believe.

OpenSSL would judge dates with the system clock. On a machine without a battery clock that is 1970 or the day its
image was made, and every certificate of the cloud is "not yet valid". So it is told to leave dates alone, and we judge
the peer's after the handshake, before a byte of ours is sent, if somebody told us the time; if nobody has, the line
stands on chain, name and authority until the signed time comes, and is judged then (`Connection` in mqtt.py).
"""

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edge.core.certificate import CertificateDates, DateFault, judge_dates
from edge.link.credentials import Pair

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME. Source: openssl/x509_vfy.h, OpenSSL 1.1.0 to 3.5; Python's ssl has no name for it."""

ENDED_ALERT = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
"""How Python names alert 45 of RFC 8446, section 6.2: to our peer our certificate has ended."""


class PeerDatesWrong(OSError):
    """By the time we believe, the peer's certificate does not hold. An OSError, as all that ends a connection is."""

    def __init__(self, fault: DateFault) -> None:
        super().__init__(f"the peer's certificate {fault}")
        self.fault = fault


class Socket(ssl.SSLSocket):
    """A TLS socket that closes itself when its handshake fails, which paho would not, and keeps the peer's last word.

    `alert` is OpenSSL's name for the alert that ended it, None while there was none. In TLS 1.3 our certificate is
    refused only after the handshake, as an error on the first read, of which paho keeps nothing.
    """

    alert: str | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Shakes hands and judges the peer's dates. Raises: OSError, among them PeerDatesWrong."""
        try:
            super().do_handshake(block)
            assert isinstance(self.context, Context)
            self.context.judge(self)
        except OSError:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Some bytes; an alert is remembered."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.alert = error.reason
            raise


class Context(ssl.SSLContext):
    """A context whose sockets judge the peer's dates by `trusted_now`."""

    sslsocket_class = Socket
    trusted_now: Callable[[], datetime | None]

    def judge(self, socket: ssl.SSLSocket) -> None:
        """Nothing while the time is not known. Raises: PeerDatesWrong."""
        instant = self.trusted_now()
        fault = None if instant is None else judge_dates(peer_dates(socket), instant)
        if fault is not None:
            raise PeerDatesWrong(fault)


def open_context(ca: Path, pair: Pair | None, trusted_now: Callable[[], datetime | None]) -> Context:
    """A context that believes this authority alone and, with a pair, shows our certificate. Raises: OSError."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.trusted_now = trusted_now
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(ca)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def peer_dates(socket: ssl.SSLSocket) -> CertificateDates:
    """From when to when the peer's verified certificate holds."""
    told = socket.getpeercert()
    assert told is not None, "the context asks for a certificate"
    begins, ends = told["notBefore"], told["notAfter"]
    assert isinstance(begins, str)
    assert isinstance(ends, str)
    return CertificateDates(
        begins_ms=1000 * ssl.cert_time_to_seconds(begins), ends_ms=1000 * ssl.cert_time_to_seconds(ends)
    )

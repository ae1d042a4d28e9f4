"""The one thing that is asked of the cloud over HTTPS by a device that works: its next certificate.

Not over the broker: whoever's certificate has ended cannot reach the broker any more, and that is when a renewal
matters most. The request is proved with the signing key, so it needs no certificate of ours; one way serves both the
device that is on the line and the one whose shop was closed for months.
"""

import ssl
from datetime import datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from edge.link.tls import PeerDatesWrong, open_context

PATH = "/v1/provisioning/renewals"
TIMEOUT_S = 5.0  # for each wait: the answer takes the cloud some milliseconds
ANSWER_BYTES_MAX = 64 * 1024  # an answer has about 3 kB
NOT_NOW = frozenset({408, 425, 429})
"""Refusals that speak of the moment and not of the device (RFC 9110, 8470, 6585)."""


class RenewalAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the request; `serial` of the newest certificate held, `proof` in hexadecimal."""

    device: str
    serial: str
    csr_pem: str
    proof: str


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the answer that matters here."""

    certificate_pem: str


class NotRenewed(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no certificate, for a person. `is_final` when asking again will hardly help."""

    reason: str
    is_final: bool = False


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    title: str = ""


class RenewalCloud(Protocol):
    """Whoever renews certificates. Blocks; called on a thread of its own."""

    def renew(self, asked: RenewalAsked, instant: datetime | None) -> Renewed | NotRenewed:
        """The next certificate, or why not; `instant` is the time we believe, None when we do not know it."""
        ...


class HttpsCloud:
    """The cloud at an `https://` address, under our authority alone."""

    def __init__(self, address: str, ca: Path) -> None:
        self._host = urlsplit(address).hostname or ""
        self._port = urlsplit(address).port
        self._ca = ca

    def renew(self, asked: RenewalAsked, instant: datetime | None) -> Renewed | NotRenewed:
        """The next certificate, or why not."""
        try:
            status, body = self._post(msgspec.json.encode(asked), instant)
        except PeerDatesWrong as wrong:
            return NotRenewed(reason=f"the cloud's certificate {wrong.fault}")
        except ssl.SSLError as error:
            return NotRenewed(reason=f"TLS: {error.reason or type(error).__name__}")
        except TimeoutError:
            return NotRenewed(reason="the cloud does not answer")
        except (OSError, HTTPException) as error:
            return NotRenewed(reason=getattr(error, "strerror", None) or type(error).__name__)
        if len(body) > ANSWER_BYTES_MAX:
            return NotRenewed(reason="the cloud's answer is too long")
        if status != 200:
            return NotRenewed(reason=_problem(status, body), is_final=400 <= status < 500 and status not in NOT_NOW)
        try:
            return msgspec.json.decode(body, type=Renewed)
        except msgspec.DecodeError:
            return NotRenewed(reason="the cloud's answer cannot be read")

    def _post(self, body: bytes, instant: datetime | None) -> tuple[int, bytes]:
        """Status and body, no more of it than one byte too many."""
        context = open_context(self._ca, None, lambda: instant)
        connection = HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)
        try:
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX + 1)
        finally:
            connection.close()


def _problem(status: int, body: bytes) -> str:
    try:
        title = msgspec.json.decode(body, type=_Problem).title
    except msgspec.DecodeError:
        title = ""
    return title[:200] or f"HTTP {status}"

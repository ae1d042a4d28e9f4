"""Asking the cloud for the next certificate over HTTPS: what it may answer, and servers that are not it."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge.link.cloud import ANSWER_BYTES_MAX, PATH, HttpsCloud, NotRenewed, RenewalAsked, Renewed
from tests.support.certificates import ALWAYS, Authority, Validity
from tests.support.mosquitto import HOST

ASKED = RenewalAsked(device="k1", serial="a1", csr_pem="csr", proof="00")
NOW = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
LATER = Validity(begins=datetime(2031, 1, 1, tzinfo=UTC), ends=datetime(2032, 1, 1, tzinfo=UTC))

pytestmark = pytest.mark.timeout(30)


@contextlib.contextmanager
def server(
    authority: Authority, status: int, body: bytes, *, validity: Validity = ALWAYS
) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of a server that answers every request alike, and what it was asked."""
    asked: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who read enough hangs up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    identity = authority.issue_server(validity)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with Quiet((HOST, 0), Handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://{HOST}:{http.server_port}", asked
        finally:
            http.shutdown()
            thread.join()


class Quiet(HTTPServer):
    """Says nothing of clients that went away in the middle of a handshake."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def ask(authority: Authority, address: str, instant: datetime | None = NOW) -> Renewed | NotRenewed:
    return HttpsCloud(address, authority.certificate).renew(ASKED, instant)


def test_it_posts_the_request_and_reads_the_certificate(authority: Authority) -> None:
    answer = {"state": "confirmed", "device": "k1", "certificate_pem": "pem", "of_a_later_version": [1]}
    with server(authority, 200, json.dumps(answer).encode()) as (address, asked):
        assert ask(authority, address) == Renewed(certificate_pem="pem")
    ((path, body),) = asked
    assert (path, json.loads(body)) == (PATH, {"device": "k1", "serial": "a1", "csr_pem": "csr", "proof": "00"})


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (410, b'{"title":"The device was revoked"}', NotRenewed(reason="The device was revoked", is_final=True)),
        (404, b"<html>", NotRenewed(reason="HTTP 404", is_final=True)),
        (429, b'{"title":"Too many attempts"}', NotRenewed(reason="Too many attempts")),
        (503, b"{}", NotRenewed(reason="HTTP 503")),
        (302, b"", NotRenewed(reason="HTTP 302")),
        (200, b"<html>", NotRenewed(reason="the cloud's answer cannot be read")),
        (200, b'{"certificate_pem":1}', NotRenewed(reason="the cloud's answer cannot be read")),
        (200, b"x" * (ANSWER_BYTES_MAX + 1), NotRenewed(reason="the cloud's answer is too long")),
        (500, b"x" * 10 * ANSWER_BYTES_MAX, NotRenewed(reason="the cloud's answer is too long")),
    ],
    ids=str,
)
def test_what_is_no_certificate_is_a_reason(
    authority: Authority, status: int, body: bytes, refusal: NotRenewed
) -> None:
    with server(authority, status, body) as (address, _):
        assert ask(authority, address) == refusal


def test_a_server_of_another_authority_is_told_nothing(authority: Authority, tmp_path: Path) -> None:
    with server(Authority(tmp_path / "other"), 200, b"{}") as (address, asked):
        answer = ask(authority, address)
    assert answer == NotRenewed(reason="TLS: CERTIFICATE_VERIFY_FAILED")
    assert asked == []


def test_its_dates_are_judged_by_the_time_we_believe_and_not_by_the_system_clock(authority: Authority) -> None:
    with server(authority, 200, b'{"certificate_pem":"pem"}', validity=LATER) as (address, asked):
        assert ask(authority, address, NOW) == NotRenewed(reason="the cloud's certificate not valid yet")
        late = ask(authority, address, LATER.ends + timedelta(days=1))
        assert late == NotRenewed(reason="the cloud's certificate has ended")
        assert asked == []
        assert ask(authority, address, LATER.begins) == Renewed(certificate_pem="pem")
        assert ask(authority, address, None) == Renewed(certificate_pem="pem")


def test_nobody_there_is_a_reason(authority: Authority) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    assert ask(authority, f"https://{HOST}:{port}") == NotRenewed(reason="Connection refused")


def test_an_answer_that_is_no_http_is_a_reason(authority: Authority) -> None:
    identity = authority.issue_server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as line:
                line.recv(1000)
                line.sendall(b"220 mail.example\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        answer = ask(authority, f"https://{HOST}:{listener.getsockname()[1]}")
        thread.join()
    # Of a line that is closed before the whole question was read, the answer may be lost.
    assert answer in {NotRenewed(reason="BadStatusLine"), NotRenewed(reason="RemoteDisconnected")}

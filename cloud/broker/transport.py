"""TLS towards the broker with few system calls, behind the plain socket calls that paho makes.

paho reads a message in four pieces and writes an acknowledgement at a time; with TLS each of them is a call into
OpenSSL that lets go of the interpreter. Here a read takes what is there and a write collects until `flush`.
"""

import ssl
from pathlib import Path

READ_BYTES = 64 * 1024  # more than a TLS record holds
UNSENT_BYTES_MAX = 4 * 1024 * 1024  # beyond it writes say "not now" until the broker reads again


class GatheringSocket(ssl.SSLSocket):
    """A TLS socket that reads ahead and writes when told. `is_drained`: the last read found nothing more.

    paho leaves a socket open whose handshake failed; this one closes itself.
    """

    is_drained: bool
    _ahead: bytes
    _place: int
    _unsent: bytearray

    @property
    def has_ahead(self) -> bool:
        """True when a read would find something without asking the line."""
        return self._place < len(self._ahead) or self.pending() > 0

    @property
    def has_unsent(self) -> bool:
        """True when something collected has not left yet."""
        return bool(self._unsent)

    def do_handshake(self, block: bool = False) -> None:
        """The handshake; the socket is closed when it fails."""
        self.is_drained, self._ahead, self._place, self._unsent = False, b"", 0, bytearray()
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Up to `buflen` bytes. Raises: ssl.SSLWantReadError when there is nothing."""
        place = self._place
        if place == len(self._ahead):
            try:
                self._ahead = super().recv(READ_BYTES, flags)
            except ssl.SSLWantReadError:
                self.is_drained = True
                raise
            place = 0
        piece = self._ahead[place : place + buflen]
        self._place = place + len(piece)
        return piece

    def send(self, data: bytes | bytearray, flags: int = 0) -> int:  # type: ignore[override]  # paho sends bytes
        """All of it is collected. Raises: ssl.SSLWantWriteError when too much waits already."""
        if len(self._unsent) > UNSENT_BYTES_MAX:
            raise ssl.SSLWantWriteError
        self._unsent += data
        return len(data)

    def flush(self) -> None:
        """Sends what was collected, as far as the line takes it now. Raises: OSError when the line is gone."""
        try:
            while self._unsent:
                del self._unsent[: super().send(self._unsent)]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return


class _GatheringContext(ssl.SSLContext):
    sslsocket_class = GatheringSocket


def open_context(*, authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """A context that trusts our authority alone and shows our certificate. Raises: OSError when a file is not there."""
    context = _GatheringContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context

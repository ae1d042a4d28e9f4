"""The kiosks of the claims bench: one process that publishes what was signed before and reads the receipts.

It speaks MQTT 5 itself, in the few packets it takes, because a client library's cost per message would be measured as
if it were the product's. A kiosk keeps as many envelopes unsettled as a real one does and counts an envelope as done
when a receipt of the cloud says so. Run by tests.bench.claims.
"""

import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shared.answers import Outcome, Receipt, Signed
from shared.ids import DeviceId
from shared.topics import Down, Up, down, up

WINDOW = 200  # what edge.core.sync allows on its way
READ_BYTES = 256 * 1024
_signed = msgspec.msgpack.Decoder(Signed)
_receipts = msgspec.msgpack.Decoder(Receipt)


class KioskFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A kiosk's certificate, its key, and the messages it is to publish, in order: one claim each."""

    device: str
    certificate: str
    key: str
    messages: tuple[bytes, ...]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. Without receipts (nobody answers) a kiosk is done when the broker has confirmed all."""

    port: int
    authority: str
    kiosks: tuple[KioskFiles, ...]
    receipts: bool


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """Monotonic seconds of the first publish and of the last receipt, envelopes posted, and this process's CPU."""

    first_s: float
    last_s: float
    posted: int
    receipts: int
    cpu_s: float


@dataclass(slots=True, kw_only=True)
class Line:
    """One kiosk's connection. `sent` counts messages published, `settled` those that are done with."""

    connection: ssl.SSLSocket
    packets: tuple[bytes, ...]
    wants_receipts: bool
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    sent: int = 0
    settled: int = 0
    posted: int = 0
    receipts: int = 0
    is_subscribed: bool = False

    @property
    def is_done(self) -> bool:
        """True when nothing is left to wait for."""
        return self.settled >= len(self.packets)

    def fill(self) -> None:
        """Publishes what the window allows."""
        until = min(len(self.packets), self.settled + WINDOW)
        for packet in self.packets[self.sent : until]:
            self.unsent += packet
        self.sent = max(self.sent, until)

    def flush(self) -> bool:
        """True when everything is written."""
        try:
            while self.unsent:
                del self.unsent[: self.connection.send(self.unsent)]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        return True

    def read(self) -> None:
        """Takes in what arrived."""
        try:
            while True:
                data = self.connection.recv(READ_BYTES)
                assert data, "the broker hung up"
                self.unread += data
        except ssl.SSLWantReadError:
            pass
        while (packet := _cut_packet(self.unread)) is not None:
            self._take(*packet)

    def _take(self, kind: int, body: bytes) -> None:
        match kind >> 4:
            case 3:
                self._take_publish(body)
            case 4 if not self.wants_receipts:
                self.settled += 1
            case 9:
                assert body[-1] < 0x80, "the broker refused the subscription"
                self.is_subscribed = True
            case _:
                return

    def _take_publish(self, body: bytes) -> None:
        topic_end = 2 + int.from_bytes(body[:2], "big")
        topic, number = body[2:topic_end].decode(), body[topic_end : topic_end + 2]
        self.unsent += b"\x40\x02" + number
        length, start = _read_varint(body, topic_end + 2)
        if topic.endswith(Down.RECEIPT.value):
            receipt = _receipts.decode(_signed.decode(body[start + length :]).body)
            self.settled = max(self.settled, receipt.contiguous)
            self.posted += sum(verdict.outcome is Outcome.POSTED for verdict in receipt.verdicts)
            self.receipts += 1


def connect(load: Load, kiosk: KioskFiles) -> Line:
    """The kiosk on its line, subscribed."""
    context = ssl.create_default_context(cafile=load.authority)
    context.load_cert_chain(kiosk.certificate, kiosk.key)
    plain = socket.create_connection(("127.0.0.1", load.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    device = DeviceId(kiosk.device)
    topic = up(device, Up.EVENT)
    packets = tuple(_publish(topic, number, data) for number, data in enumerate(kiosk.messages, start=1))
    line = Line(connection=connection, packets=packets, wants_receipts=load.receipts)
    line.unsent += _packet(0x10, _text("MQTT") + b"\x05\x02\x00\x3c\x00" + _text(kiosk.device))
    line.unsent += _packet(0x82, b"\xff\xff\x00" + _text(down(device, Down.RECEIPT)) + b"\x01")
    connection.setblocking(False)
    while not line.is_subscribed:
        line.flush()
        line.read()
        time.sleep(0.001)
    return line


def publish_all(lines: list[Line]) -> LoadResult:
    """Everything is published and settled."""
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.connection, selectors.EVENT_READ, line)
    first_s, cpu_s = time.monotonic(), time.process_time()
    for line in lines:
        line.fill()
        line.flush()
    while not all(line.is_done for line in lines):
        for key, _ in selector.select(timeout=0.05):
            key.data.read()
        for line in lines:
            line.fill()
            line.flush()
    selector.close()
    return LoadResult(
        first_s=first_s,
        last_s=time.monotonic(),
        posted=sum(line.posted for line in lines),
        receipts=sum(line.receipts for line in lines),
        cpu_s=time.process_time() - cpu_s,
    )


def _publish(topic: str, number: int, data: bytes) -> bytes:
    return _packet(0x32, _text(topic) + number.to_bytes(2, "big") + b"\x00" + data)


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([kind, *digits, length]) + body


def _cut_packet(unread: bytearray) -> tuple[int, bytes] | None:
    """The first whole packet's kind and body, taken off, or None."""
    if len(unread) < 2 or (unread[1] & 128 and len(unread) < 5):
        return None
    length, start = _read_varint(unread, 1)
    if len(unread) < start + length:
        return None
    kind, body = unread[0], bytes(unread[start : start + length])
    del unread[: start + length]
    return kind, body


def _read_varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The number that starts there and the place after it."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def main(path: Path) -> None:
    """Connects, says so, waits for a line, publishes, prints the result as JSON."""
    load = msgspec.msgpack.decode(path.read_bytes(), type=Load)
    lines = [connect(load, kiosk) for kiosk in load.kiosks]
    print("ready", flush=True)
    sys.stdin.readline()
    result = publish_all(lines)
    for line in lines:
        line.connection.close()
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

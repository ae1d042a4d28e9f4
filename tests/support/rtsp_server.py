"""A camera on a network, small enough to be in a test: RTSP 1.0 (RFC 2326) over TCP with Motion JPEG (RFC 2435).

Only what FFmpeg asks of it: OPTIONS, DESCRIBE, SETUP with interleaved channels, PLAY, TEARDOWN.
"""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

PACKET_BYTES = 1400
RTP_CLOCK_HZ = 90_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegScan:
    """A JPEG taken apart as RFC 2435 sends it."""

    width: int
    height: int
    tables: bytes
    scan: bytes


class RtspServer:
    """Serves one picture for ever to any number of clients, one after the other or together."""

    def __init__(self, picture: NDArray[np.uint8], rate_fps: float = 30.0) -> None:
        self._jpeg = take_apart(picture)
        self._rate_fps = rate_fps
        self._door = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._playing = threading.Event()
        self._playing.set()
        self._threads: list[threading.Thread] = []
        self._clients: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._door.getsockname()[1]}/door"

    def __enter__(self) -> Self:
        self._spawn(self._serve)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._playing.set()
        self._door.shutdown(socket.SHUT_RDWR)
        self.drop_clients()
        for thread in self._threads:
            thread.join()
        self._door.close()

    def stall(self) -> None:
        """No more pictures, the line stays up."""
        self._playing.clear()

    def go_on(self) -> None:
        self._playing.set()

    def drop_clients(self) -> None:
        """Cuts every line."""
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self._clients.append(client)
            self._spawn(partial(self._talk, client))

    def _talk(self, client: socket.socket) -> None:
        with client:
            lines = client.makefile("rb")
            try:
                while self._answer(client, lines.readline().decode(), _read_headers(lines)):
                    pass
            except OSError:
                return
            finally:
                lines.close()

    def _answer(self, client: socket.socket, request: str, headers: dict[str, str]) -> bool:
        """False when the talk is over."""
        method = request.partition(" ")[0]
        extra, body = "", ""
        match method:
            case "OPTIONS":
                extra = "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            case "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:video\r\n"
                )
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            case "SETUP":
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            case "PLAY":
                extra = "Session: 1\r\n"
            case _:
                return False
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {headers.get('cseq', '0')}\r\n{extra}\r\n{body}"
        client.sendall(answer.encode())
        if method == "PLAY":
            self._play(client)
            return False
        return True

    def _play(self, client: socket.socket) -> None:
        sequence = 0
        for number in range(1_000_000):
            self._playing.wait()
            if self._stopping.wait(1 / self._rate_fps):
                return
            stamp = round(number * RTP_CLOCK_HZ / self._rate_fps)
            for packet in packets(self._jpeg, sequence, stamp):
                client.sendall(b"$\x00" + struct.pack(">H", len(packet)) + packet)
                sequence += 1


def _read_headers(lines: BufferedReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while True:
        line = lines.readline().decode().strip()
        if not line:
            return headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()


def take_apart(picture: NDArray[np.uint8]) -> JpegScan:
    """The picture as a baseline JPEG with the standard Huffman tables, in the parts RFC 2435 sends."""
    assert picture.shape[0] % 16 == 0
    assert picture.shape[1] % 16 == 0
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        segment = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        if marker == 0xFFDA:
            return JpegScan(width=picture.shape[1], height=picture.shape[0], tables=tables, scan=data[at:-2])


def packets(jpeg: JpegScan, sequence: int, stamp: int) -> list[bytes]:
    """The RTP packets of one picture: type 1 (4:2:0), quantisation tables sent along."""
    made: list[bytes] = []
    for offset in range(0, len(jpeg.scan), PACKET_BYTES):
        part = jpeg.scan[offset : offset + PACKET_BYTES]
        is_last = offset + PACKET_BYTES >= len(jpeg.scan)
        rtp = struct.pack(">BBHII", 0x80, 26 | is_last << 7, (sequence + len(made)) & 0xFFFF, stamp & 0xFFFFFFFF, 1)
        header = struct.pack(">IBBBB", offset, 1, 255, jpeg.width // 8, jpeg.height // 8)
        tables = struct.pack(">BBH", 0, 0, len(jpeg.tables)) + jpeg.tables if offset == 0 else b""
        made.append(rtp + header + tables + part)
    return made

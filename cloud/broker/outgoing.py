"""What other threads want published: a bounded queue, and a bell that wakes the session out of its wait."""

import socket
import threading
from collections import deque

from cloud.broker.messages import Outbound

BYTES_MAX = 64 * 1024 * 1024  # some hundred pages of feeds at once; beyond it the devices ask again


class Outgoing:
    """Messages on their way to the session."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._queue: deque[Outbound] = deque()
        self._bytes = 0
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)

    def fileno(self) -> int:
        """Readable when something was put or somebody rang."""
        return self._bell.fileno()

    def put(self, message: Outbound) -> bool:
        """False when the queue is full. Any thread may call it."""
        with self._lock:
            if self._bytes + len(message.data) > self._bytes_max:
                return False
            self._queue.append(message)
            self._bytes += len(message.data)
        self.ring()
        return True

    def ring(self) -> None:
        """Wakes the session."""
        try:
            self._ringer.send(b"\0")
        except OSError:  # it was rung often enough, or nobody listens any more
            return

    def take(self, count: int) -> list[Outbound]:
        """The oldest messages, at most so many; the bell is silent again."""
        try:
            while self._bell.recv(4096):
                continue
        except BlockingIOError:
            pass
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            self._bytes -= sum(len(message.data) for message in taken)
        return taken

    def close(self) -> None:
        """Lets go of the bell."""
        self._bell.close()
        self._ringer.close()

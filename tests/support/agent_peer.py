"""Speaks to a running agent over its socket as its own processes do: shows it codes, watches its screens, asks it.

Blocking and in threads, for tests that start and kill processes. A peer whose agent died finds the next one by itself.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from edge.channel.messages import CodesSeen, FromAgent, ScreenShown, StatusAsked, StatusTold, VisionHello, WebHello
from edge.core.screen import ScreenName

ANSWER_S = 20.0  # a whole shop shares two cores with whoever else is at work
RETRY_S = 0.02
_SHOWN = (ScreenName.GREETING, ScreenName.COLLECTED)


class AgentGone(Exception):
    """Nobody listens there, or whoever did is gone."""


class Conversation:
    """One connection to an agent. Raises: AgentGone from every method."""

    def __init__(self, path: Path, hello: msgspec.Struct) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
            self.send(hello)
        except (OSError, AgentGone) as absent:
            self.close()
            raise AgentGone from absent

    def send(self, message: msgspec.Struct) -> None:
        """Tells the agent."""
        body = self._encoder.encode(message)
        try:
            self._socket.sendall(len(body).to_bytes(4, "big") + body)
        except OSError as gone:
            raise AgentGone from gone

    def receive(self, within_s: float | None = None) -> FromAgent:
        """The next message. Raises: TimeoutError, too."""
        self._socket.settimeout(within_s)
        return self._decoder.decode(self._read(int.from_bytes(self._read(4), "big")))

    def hang_up(self) -> None:
        """Wakes whoever receives."""
        with contextlib.suppress(OSError):  # the agent was quicker
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The connection is gone."""
        self._socket.close()

    def _read(self, count: int) -> bytes:
        read = bytearray()
        while len(read) < count:
            try:
                some = self._socket.recv(count - len(read))
            except ConnectionError as gone:
                raise AgentGone from gone
            if not some:
                raise AgentGone
            read += some
        return bytes(read)


def ask_status(path: Path) -> StatusTold | None:
    """How the agent is, None when there is none."""
    try:
        conversation = Conversation(path, StatusAsked())
    except AgentGone:
        return None
    try:
        answer = conversation.receive(ANSWER_S)
    except AgentGone:
        return None
    finally:
        conversation.close()
    assert isinstance(answer, StatusTold)
    return answer


class Doorman:
    """Shows an agent codes, as its vision process would."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conversation: Conversation | None = None
        self._sequence = 0

    def show(self, *texts: str) -> bool:
        """True when the agent was told; nobody knows whether it heard."""
        self._sequence += 1
        now_ns = time.monotonic_ns()
        try:
            if self._conversation is None:
                self._conversation = Conversation(self._path, VisionHello())
            self._conversation.send(CodesSeen(texts=texts, sequence=self._sequence, captured_ns=now_ns, seen_ns=now_ns))
        except AgentGone:
            self.close()
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves."""
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None


class Watcher:
    """Sees every screen of an agent and of those that come after it, until closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._screens: list[ScreenShown] = []
        self._conversation: Conversation | None = None
        self._over = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def screens(self) -> list[ScreenShown]:
        """All screens so far."""
        with self._changed:
            return list(self._screens)

    @property
    def claims(self) -> set[str]:
        """The claims that were shown as granted or as collected before."""
        return {shown.screen.claim for shown in self.screens if shown.screen.name in _SHOWN and shown.screen.claim}

    def wait_for(self, wanted: Callable[[ScreenShown], bool], what: str, within_s: float = ANSWER_S) -> ScreenShown:
        """The first screen of all that is wanted; fails the test, naming it, when none comes."""

        def found() -> ScreenShown | None:
            return next(filter(wanted, self._screens), None)

        with self._changed:
            screen = self._changed.wait_for(found, within_s)
            assert screen is not None, f"waited {within_s} s in vain: {what}; seen: {self._names()}"
            return screen

    def wait_until_gone(self) -> None:
        """Returns once the agent's end is noticed: everything it ever said has been heard then."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._conversation is None, ANSWER_S), "the agent is still there"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops watching."""
        with self._changed:
            self._over = True
            if self._conversation is not None:
                self._conversation.hang_up()
        self._thread.join(ANSWER_S)

    def _watch(self) -> None:
        while not self._over:
            try:
                conversation = Conversation(self._path, WebHello())
            except AgentGone:
                time.sleep(RETRY_S)
                continue
            self._follow(conversation)
            conversation.close()

    def _follow(self, conversation: Conversation) -> None:
        with self._changed:
            self._conversation = conversation
        with contextlib.suppress(AgentGone):
            while not self._over:
                message = conversation.receive()
                assert isinstance(message, ScreenShown)
                with self._changed:
                    self._screens.append(message)
                    self._changed.notify_all()
        with self._changed:
            self._conversation = None
            self._changed.notify_all()

    def _names(self) -> list[str]:
        return [shown.screen.name.value for shown in self._screens[-20:]]

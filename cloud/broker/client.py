"""The cloud's end of the broker: takes messages in batches, has them handled, answers, and only then acknowledges.

One thread does it all (see session.py for why) and outlives every session: a broker that goes away, a handler that
raises and a fault of our own each end at most the session, and a new one is made after a pause with full jitter.
"""

import logging
import ssl
import threading
import time
from random import Random
from typing import Self

from cloud.broker.messages import Handle, Inbound, Outbound
from cloud.broker.options import BrokerOptions
from cloud.broker.outgoing import Outgoing
from cloud.broker.session import Counters, Session
from shared.brokers import MqttVersion

__all__ = ["BrokerClient", "BrokerOptions", "Counters", "Handle", "Inbound", "MqttVersion", "Outbound"]

STEADY_S = 10.0  # a session that lasted so long was a good one: the next pause starts small again
CLOSING_S = 15.0  # a connection attempt takes 10 s at most, a batch a second

log = logging.getLogger(__name__)


class BrokerClient:
    """The connection to the broker, kept up on a thread of its own between `start` and `close`."""

    def __init__(self, options: BrokerOptions, handle: Handle, *, random: Random) -> None:
        self._options = options
        self._handle = handle
        self._random = random
        self._outgoing = Outgoing()
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._keep_up, name="broker", daemon=True)
        self.counters = Counters()

    @property
    def is_up(self) -> bool:
        """True while connected and subscribed."""
        session = self._session
        return session is not None and session.is_up

    def start(self) -> None:
        """Connects in the background, and again whenever the connection is lost."""
        self._thread.start()

    def close(self) -> None:
        """The batch in hand is finished, the connection closed and the thread gone."""
        self._stopping.set()
        self._outgoing.ring()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            log.error("the broker thread did not end")
        else:
            self._outgoing.close()

    def publish(self, message: Outbound) -> None:
        """Sends from any thread; dropped and counted when the line is down, because devices ask again."""
        if not (self.is_up and self._outgoing.put(message)):
            self.counters.dropped += 1

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()

    def _keep_up(self) -> None:
        attempt, node = 0, 0
        reported: str | None = None
        while not self._stopping.is_set():
            began = time.monotonic()
            session = Session(
                self._options.at(node),
                self._handle,
                outgoing=self._outgoing,
                counters=self.counters,
                random=self._random,
                is_stopping=self._stopping.is_set,
            )
            self._session = session
            reason = _run(session)
            if self._stopping.is_set():
                return
            node += not session.was_up
            if session.was_up or reason != reported:
                log.warning("the broker is away", extra={"reason": reason})
                reported = reason
            attempt = 0 if time.monotonic() - began > STEADY_S else min(attempt + 1, 16)
            ceiling = min(self._options.retry_max_s, self._options.retry_min_s * 2**attempt)
            self._stopping.wait(self._random.uniform(0, ceiling))


def _run(session: Session) -> str:
    """Why the session ended."""
    try:
        return session.run()
    except ssl.SSLError as error:
        return f"TLS: {error.reason or type(error).__name__}"
    except TimeoutError:
        return "the broker does not answer"
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception:  # the top of the thread: the session is lost, the thread must not be
        log.exception("a session ended by a fault of ours")
        return "a fault of ours"

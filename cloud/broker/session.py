"""One connection to the broker, from CONNECT to its end, all on the calling thread.

Reading, handling, answering and acknowledging take turns on one thread, because they cannot gain from two: a second
thread that parses while the first one handles only takes the interpreter from it, at every piece it reads. A
session is never mended: when it ends, whatever it held is gone with it and the next one starts clean, so nothing of
paho's own queue can send a message twice. What was not acknowledged comes again, from the broker or from the device.
"""

import logging
import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from cloud.broker.messages import Handle, Inbound, Outbound
from cloud.broker.options import BrokerOptions
from cloud.broker.outgoing import Outgoing
from cloud.broker.transport import GatheringSocket, open_context
from cloud.broker.work import Arrived, Work
from shared.brokers import MqttVersion
from shared.envelope import MESSAGE_BYTES_MAX
from shared.topics import down, parse_up, up_filter

TURN_S = 0.5  # the longest sleep: how late a keep-alive or a deadline may be noticed
TOPICS_KEPT = 16_384  # parsed topics: three for each of some thousand devices

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    """What passed since the start. `received` counts every arrival, `redelivered` those the broker sent again,
    `foreign` those on a topic that is no device's; `answered` messages published, `dropped` those nobody took because
    the line was down, its queue full or the broker unwilling; `batches` those stored, `failures` those that were not.
    """

    received: int = 0
    redelivered: int = 0
    foreign: int = 0
    answered: int = 0
    batches: int = 0
    failures: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handled:
    """A batch is stored: it is acknowledged once the answers queued before this are on their way."""

    mids: tuple[int, ...]


class Session:
    """One connection. Make it, `run` it, forget it."""

    def __init__(
        self,
        options: BrokerOptions,
        handle: Handle,
        *,
        outgoing: Outgoing,
        counters: Counters,
        random: Random,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._options = options
        self._handle = handle
        self._outgoing = outgoing
        self._counters = counters
        self._random = random
        self._is_stopping = is_stopping
        self._is_v5 = options.protocol is MqttVersion.V5
        self._work = Work(
            batch_max=options.batch_max, batch_wait_s=options.batch_wait_ms / 1000, bound=options.receive_maximum
        )
        self._to_send: deque[Outbound | _Handled] = deque()
        self._unconfirmed: set[int] = set()
        self._window = options.receive_maximum
        self._parse_topic = lru_cache(TOPICS_KEPT)(parse_up)
        self._end: str | None = None
        self.is_up = False
        self.was_up = False
        self._client = self._make_client()

    def run(self) -> str:
        """Why the connection ended, after it did. Raises: OSError when there was none to begin with."""
        self._connect()
        connection = self._client.socket()
        assert isinstance(connection, GatheringSocket)
        try:
            self._serve(connection)
        finally:
            self.is_up = False
            connection.close()
        return self._end or "the service stops"

    def _make_client(self) -> Client:
        options = self._options
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            # A cluster cannot give a clean session's queue to another node when its own has died (RabbitMQ 3.10: "home
            # node is down or inaccessible", until that node is back). How long it keeps a session is its own setting.
            clean_session=None if self._is_v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(0)  # the window is ours: paho never holds a message back
        client.connect_timeout = options.connect_timeout_s
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_register_write = _leave_writing_to_the_turn
        return client

    def _connect(self) -> None:
        options = self._options
        self._client.tls_set_context(
            open_context(authority=options.ca, certificate=options.certificate, key=options.key)
        )
        if not self._is_v5:
            self._client.connect(options.host, options.port, options.keepalive_s)
            return
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it untyped
        wishes.SessionExpiryInterval = options.session_expiry_s
        wishes.ReceiveMaximum = options.receive_maximum
        self._client.connect(options.host, options.port, options.keepalive_s, clean_start=False, properties=wishes)

    def _serve(self, connection: GatheringSocket) -> None:
        poller = select.poll()
        poller.register(self._outgoing.fileno(), select.POLLIN)
        answer_due = time.monotonic() + 2 * self._options.connect_timeout_s
        while self._end is None and not self._is_stopping():
            self._wait(poller, connection)
            self._read(connection)
            self._take_outgoing()
            self._handle_batch()
            self._send()
            self._write(connection)
            if not self.is_up and time.monotonic() > answer_due:
                self._end_for("the broker does not answer")

    def _wait(self, poller: select.poll, connection: GatheringSocket) -> None:
        """Returns when there is something to do: to read, to write, to publish, or a batch is due."""
        reads = 0 if self._work.is_full else select.POLLIN
        writes = select.POLLOUT if self._client.want_write() or connection.has_unsent else 0
        poller.register(connection, reads | writes)
        wait_s = 0.0 if reads and connection.has_ahead else self._work.due_in(time.monotonic())
        poller.poll(min(wait_s, TURN_S) * 1000)

    def _read(self, connection: GatheringSocket) -> None:
        """Takes what arrived, but no more than makes a batch: the rest waits where it is."""
        connection.is_drained = self._work.is_full
        for _ in range(self._options.batch_max):
            if connection.is_drained or self._client.loop_read() != 0 or self._client.socket() is None:
                return

    def _take_outgoing(self) -> None:
        messages = self._outgoing.take(self._options.receive_maximum - len(self._to_send))
        if self.is_up:
            self._to_send.extend(messages)
        else:
            self._counters.dropped += len(messages)

    def _handle_batch(self) -> None:
        """One batch is stored and its answers are queued, or it waits for another try."""
        batch = self._work.take(time.monotonic())
        if not batch:
            return
        try:
            answers = self._handle([arrived.message for arrived in batch])
        except Exception:  # a batch is a task of its own: whatever went wrong, it was not stored
            self._counters.failures += 1
            if not self._work.has_failed:
                log.exception("a batch was not handled, it is tried again", extra={"messages": len(batch)})
            self._work.fail(batch, time.monotonic(), self._random)
            return
        self._counters.batches += 1
        self._to_send.extend(answers)
        self._to_send.append(_Handled(mids=tuple(arrived.mid for arrived in batch if arrived.mid)))
        self._work.succeed(time.monotonic())

    def _send(self) -> None:
        """Publishes in order as far as the broker's window allows; a batch is acknowledged after its answers."""
        while self._to_send and self._end is None:
            first = self._to_send[0]
            if isinstance(first, Outbound):
                if len(self._unconfirmed) >= self._window:
                    return
                self._publish(first)
            else:
                for mid in first.mids:
                    self._client.ack(mid, 1)
            self._to_send.popleft()

    def _publish(self, message: Outbound) -> None:
        if len(message.data) > MESSAGE_BYTES_MAX:
            log.error("a message is larger than the broker takes", extra={"kind": message.kind})
            self._counters.dropped += 1
            return
        published = self._client.publish(down(message.device, message.kind), message.data, qos=1)
        self._unconfirmed.add(published.mid)
        self._counters.answered += 1

    def _write(self, connection: GatheringSocket) -> None:
        if self._client.socket() is None:
            return
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()
        if connection.has_unsent and self._client.socket() is not None:
            try:
                connection.flush()
            except OSError as gone:
                self._end_for(f"the line is gone ({type(gone).__name__})")

    def _end_for(self, reason: str) -> None:
        """The session ends after this turn; the first reason is the one that is told."""
        self._end = self._end or reason

    # What paho calls. They only take notes; an exception here would end the session, not the thread.

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end_for(f"the broker refused: {reason.getName()}")
            return
        self._window = min(self._window, getattr(properties, "ReceiveMaximum", self._window))
        group = f"$share/{self._options.shared_group}/" if self._is_v5 else ""
        client.subscribe(group + up_filter(), qos=1)

    def _on_subscribe(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._end_for("the broker refused the subscription")
            return
        self.is_up = self.was_up = True
        log.info("the broker is here")

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self._counters.received += 1
        self._counters.redelivered += message.dup
        topic = self._parse_topic(message.topic)
        if topic is None:
            self._counters.foreign += 1
            self._to_send.append(_Handled(mids=(message.mid,) if message.mid else ()))
            return
        inbound = Inbound(device=topic.device, kind=topic.kind, data=bytes(message.payload))
        self._work.put(Arrived(mid=message.mid, message=inbound), time.monotonic())

    def _on_publish(
        self, client: Client, _: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._unconfirmed.discard(mid)
        self._counters.dropped += reason.is_failure

    def _on_disconnect(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._end_for(f"disconnected: {reason.getName()}")


def _leave_writing_to_the_turn(client: Client, _: object, connection: object) -> None:
    """Its presence keeps paho from writing inside publish() and ack(): one turn writes once."""

"""paho behind a thin adapter: one connection to the broker, from CONNECT to its end, all on the calling thread.

paho is a transport here and never a queue: its queue lives in memory only, doubles messages when an outbox stands
before it, and takes its own locks around our callbacks (eclipse-paho/paho.mqtt.python#226, #354, #382). So a message
is published when connected or not at all, at most `window` wait for the broker's word, other threads only put orders
into a bounded queue, and a client is never mended: it ends with its connection, with whatever it held.
"""

import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self, assert_never

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.core.certificate import judge_dates
from edge.link.credentials import Pair
from edge.link.tls import ENDED_ALERT, PeerDatesWrong, Socket, open_context, peer_dates
from shared.brokers import BrokerAddress, MqttVersion
from shared.envelope import MESSAGE_BYTES_MAX
from shared.ids import DeviceId
from shared.topics import Down, Up, down_filter, parse_down, up

TURN_S = 0.5  # the longest sleep: how late a keep-alive may be noticed
ORDERS_MAX = 1000  # what the agent can ask for within one turn; beyond it publishes are dropped

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """Where the broker is, what proves who we are, and how patient we are.

    `certificate` and `key`: the pair that provisioning wrote; renewed ones lie beside it (`credentials.py`).
    `others` are further nodes of the same broker, tried in turn when one is not there.
    `session_expiry_s`: how long the broker keeps our messages while the shop is closed (MQTT 5; on 3.1.1 the broker's
    own setting rules). `receive_maximum`: messages the agent may have in hand; small, as each is stored before it is
    acknowledged. `window`: publishes the broker has not confirmed; beyond it they are dropped and asked for again.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    others: tuple[BrokerAddress, ...] = ()
    protocol: MqttVersion = MqttVersion.V5
    keepalive_s: int = 30
    session_expiry_s: int = 7 * 24 * 3600
    receive_maximum: int = 20
    window: int = 20
    connect_timeout_s: float = 5.0
    retry_min_s: float = 1.0
    retry_max_s: float = 30.0
    stuck_s: float = 60.0

    def at(self, turn: int) -> Self:
        """The same towards the node whose turn it is, counted from 0; with one address always that one."""
        hosts = ((self.host, self.port), *((other.host, other.port) for other in self.others))
        host, port = hosts[turn % len(hosts)]
        return replace(self, host=host, port=port)


class Listener(Protocol):
    """Who is told what happens on the connection; called on the connection's thread and must only take notes."""

    def up(self) -> None:
        """Connected and subscribed."""
        ...

    def heard(self, number: int, kind: Down, data: bytes) -> None:
        """A message arrived; it is acknowledged to the broker when its number is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publish:
    kind: Up
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Acknowledge:
    number: int


class Connection:
    """One connection. Make it, `run` it on a thread, forget it. The other methods may be called from any thread.

    `numbers` gives each inbound message its number, from one sequence for all connections, so that an acknowledgement
    that comes late cannot hit another connection's message. `pair` is what we show; `trusted_now` gives the time we
    believe, None while it is not known.
    """

    def __init__(
        self,
        options: LinkOptions,
        *,
        device: DeviceId,
        will: bytes,
        listener: Listener,
        numbers: Iterator[int],
        pair: Pair | None = None,
        trusted_now: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._options = options
        self._device = device
        self._will = will
        self._listener = listener
        self._numbers = numbers
        self._pair = pair or Pair(certificate=options.certificate, key=options.key)
        self._trusted_now = trusted_now
        self._alert: str | None = None
        self._is_v5 = options.protocol is MqttVersion.V5
        self._orders: deque[_Publish | _Acknowledge] = deque()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._closing = threading.Event()
        self._closed_for = ""
        self._unconfirmed: set[int] = set()
        self._window = options.window
        self._unacknowledged: dict[int, int] = {}
        self._end: str | None = None
        self._beat_s = time.monotonic()
        self.is_up = False
        self.was_up = False
        self._client = self._make_client()

    @property
    def silent_s(self) -> float:
        """Seconds since the thread last came round: more than a connection attempt takes means that it hangs."""
        return time.monotonic() - self._beat_s

    @property
    def is_refused_as_ended(self) -> bool:
        """True once the broker said that our certificate has ended."""
        return self._alert == ENDED_ALERT

    def run(self) -> str:
        """Why the connection ended, after it did. Raises: OSError when there was none to begin with."""
        try:
            self._connect()
            connection = self._client.socket()
            assert isinstance(connection, Socket)
            try:
                self._serve(connection)
            finally:
                self.is_up = False
                self._alert = connection.alert
                connection.close()  # no DISCONNECT: the broker then tells the cloud our will
        except ssl.SSLError as error:  # with TLS 1.2 our certificate is refused within the handshake
            self._alert = self._alert or error.reason
            raise
        finally:
            self._bell.close()
            self._ringer.close()
        if self._alert is not None:
            return f"TLS: {self._alert}"
        return self._end or self._closed_for

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends, or drops when not connected or when too much is on its way."""
        if self.is_up and len(self._orders) < ORDERS_MAX:
            self._orders.append(_Publish(kind=kind, data=data))
            self._ring()
        else:
            log.debug("a message is dropped", extra={"kind": kind})

    def acknowledge(self, number: int) -> None:
        """The broker may forget the message that was heard under this number."""
        self._orders.append(_Acknowledge(number=number))  # bounded: no more than were heard
        self._ring()

    def close(self, reason: str = "the link was closed") -> None:
        """The connection ends within a turn."""
        self._closed_for = reason
        self._closing.set()
        self._ring()

    def _ring(self) -> None:
        try:
            self._ringer.send(b"\0")
        except OSError:  # rung often enough, or the connection is over
            return

    def _make_client(self) -> Client:
        options = self._options
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device,
            clean_session=None if self._is_v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(0)  # the window is ours: paho never holds a message back
        client.connect_timeout = options.connect_timeout_s
        client.will_set(up(self._device, Up.STATE), self._will, qos=1, retain=False)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_register_write = _leave_writing_to_the_turn
        return client

    def _connect(self) -> None:
        options = self._options
        self._client.tls_set_context(open_context(options.ca, self._pair, self._trusted_now))
        if not self._is_v5:
            self._client.connect(options.host, options.port, options.keepalive_s)
            return
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it untyped
        wishes.SessionExpiryInterval = options.session_expiry_s
        wishes.ReceiveMaximum = options.receive_maximum
        self._client.connect(options.host, options.port, options.keepalive_s, clean_start=False, properties=wishes)

    def _serve(self, connection: ssl.SSLSocket) -> None:
        poller = select.poll()
        is_judged = self._trusted_now() is not None  # by the handshake, then
        poller.register(self._bell, select.POLLIN)
        answer_due_s = time.monotonic() + 2 * self._options.connect_timeout_s
        while self._end is None and not self._closing.is_set():
            self._beat_s = time.monotonic()
            is_judged = is_judged or self._judge_peer(connection)
            self._wait(poller, connection)
            if not self._is_full():
                self._client.loop_read()
            self._follow_orders()
            if self._client.socket() is not None and self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
            if not self.is_up and time.monotonic() > answer_due_s:
                self._end_for("the broker does not answer")

    def _judge_peer(self, connection: ssl.SSLSocket) -> bool:
        """True once the time is known and the broker's dates hold by it. Raises: PeerDatesWrong."""
        instant = self._trusted_now()
        if instant is None:
            return False
        fault = judge_dates(peer_dates(connection), instant)
        if fault is not None:
            raise PeerDatesWrong(fault)
        return True

    def _wait(self, poller: select.poll, connection: ssl.SSLSocket) -> None:
        """Returns when there is something to read, to write or to obey."""
        reads = 0 if self._is_full() else select.POLLIN
        writes = select.POLLOUT if self._client.want_write() else 0
        poller.register(connection, reads | writes)
        poller.poll(0 if reads and connection.pending() else TURN_S * 1000)

    def _is_full(self) -> bool:
        """True when the agent has more in hand than announced; a 3.1.1 broker is not told, so the line holds it."""
        return len(self._unacknowledged) > self._options.receive_maximum

    def _follow_orders(self) -> None:
        try:
            while self._bell.recv(4096):
                continue
        except BlockingIOError:
            pass
        while self._orders and self._end is None:
            order = self._orders.popleft()
            match order:
                case _Publish():
                    self._publish(order)
                case _Acknowledge():
                    mid = self._unacknowledged.pop(order.number, 0)
                    if mid:
                        self._client.ack(mid, 1)
                case _:
                    assert_never(order)

    def _publish(self, order: _Publish) -> None:
        if len(order.data) > MESSAGE_BYTES_MAX:
            log.error("a message is larger than the broker takes", extra={"kind": order.kind})
        elif self.is_up and len(self._unconfirmed) < self._window:
            self._unconfirmed.add(self._client.publish(up(self._device, order.kind), order.data, qos=1).mid)
        else:
            log.debug("a message is dropped", extra={"kind": order.kind})

    def _end_for(self, reason: str) -> None:
        """The connection ends after this turn; the first reason is the one that is told."""
        self._end = self._end or reason

    # What paho calls. They only take notes; an exception here ends the connection, and a new one is made.

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end_for(f"the broker refused: {reason.getName()}")
            return
        self._window = min(self._window, getattr(properties, "ReceiveMaximum", self._window))
        client.subscribe(down_filter(self._device), qos=1)  # every time: the broker may have come back empty

    def _on_subscribe(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._end_for("the broker refused the subscription")
            return
        self.is_up = self.was_up = True
        self._listener.up()

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        kind = parse_down(message.topic, self._device)
        number = next(self._numbers)
        self._unacknowledged[number] = message.mid
        if kind is None:  # of a later version than ours: it would come for ever if it were not acknowledged
            self._orders.append(_Acknowledge(number=number))
        else:
            self._listener.heard(number, kind, bytes(message.payload))

    def _on_publish(
        self, client: Client, _: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._unconfirmed.discard(mid)
        if reason.is_failure:
            log.warning("the broker did not take a message", extra={"reason": reason.getName()})

    def _on_disconnect(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._end_for(f"disconnected: {reason.getName()}")


def _leave_writing_to_the_turn(client: Client, _: object, connection: object) -> None:
    """Its presence keeps paho from writing inside publish() and ack(), out of turn."""

"""The lines of many kiosks from one thread: a paho client each, read and written when the kernel says so."""

from __future__ import annotations

import select
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.topics import Down, down_filter, up

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cloud.cli.fleet_kiosks import FleetKiosk, Message

KEEPALIVE_S = 60
SESSION_EXPIRY_S = 7 * 86_400  # as a real kiosk asks for
IN_FLIGHT_MAX = 20  # messages that the broker has not confirmed
CONNECT_WITHIN_S = 10.0
POLL_MAX_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPlace:
    """Where the broker is and whom it is believed by."""

    host: str
    port: int
    authority: Path


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """One kiosk's connection, when it has one. `refused` counts attempts that came to nothing."""

    kiosk: FleetKiosk
    certificate: Path
    key: Path
    client: Client | None = None
    is_up: bool = False
    refused: int = 0
    unsent: deque[Message] = field(default_factory=deque)
    unconfirmed: set[int] = field(default_factory=set)

    def open(self, broker: BrokerPlace) -> bool:
        """Connects and says hello; False when the broker did not take the connection."""
        context = ssl.create_default_context(cafile=str(broker.authority))
        context.load_cert_chain(self.certificate, self.key)
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.kiosk.device,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the window is ours
        client.connect_timeout = CONNECT_WITHIN_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.tls_set_context(context)
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it untyped
        wishes.SessionExpiryInterval = SESSION_EXPIRY_S
        try:
            client.connect(broker.host, broker.port, KEEPALIVE_S, clean_start=False, properties=wishes)
        except OSError:
            self.refused += 1
            return False
        self.client = client
        return True

    def close(self) -> None:
        """Gone without a word, as when a line is cut."""
        client, self.client, self.is_up = self.client, None, False
        self.unsent.clear()
        self.unconfirmed.clear()
        if client is not None and (connection := client.socket()) is not None:
            connection.close()

    def serve(self, *, can_read: bool) -> None:
        """Reads what came and writes what waits."""
        client = self.client
        if client is None:
            return
        connection = client.socket()
        if can_read and connection is not None and client.loop_read() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.close()
            return
        while self.is_up and self.unsent and len(self.unconfirmed) < IN_FLIGHT_MAX:
            message = self.unsent.popleft()
            self.unconfirmed.add(client.publish(up(self.kiosk.device, message.kind), message.data, qos=1).mid)
        if client.want_write():
            client.loop_write()
        if client.loop_misc() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.close()

    # What paho calls.

    def _on_connect(self, client: Client, _: object, flags: object, reason: object, properties: object) -> None:
        client.subscribe(down_filter(self.kiosk.device), qos=1)

    def _on_subscribe(self, client: Client, _: object, mid: int, reasons: object, properties: object) -> None:
        self.is_up = True
        self.unsent.extend((self.kiosk.be_born(), *self.kiosk.unsettled()))

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.kiosk.hear(Down(message.topic.rsplit("/", 1)[1]), bytes(message.payload))

    def _on_publish(self, client: Client, _: object, mid: int, reason: object, properties: object) -> None:
        self.unconfirmed.discard(mid)


class Lines:
    """All of them, served in turns by the thread that calls."""

    def __init__(self, lines: Iterable[Line], broker: BrokerPlace) -> None:
        self.all = tuple(lines)
        self._broker = broker
        self._poller = select.epoll()
        self._by_number: dict[int, Line] = {}

    def open(self, line: Line) -> None:
        """Connects this one."""
        if not line.open(self._broker):
            return
        assert line.client is not None
        connection = line.client.socket()
        assert connection is not None
        number = connection.fileno()
        self._by_number[number] = line
        self._poller.register(number, select.EPOLLIN)
        line.serve(can_read=False)

    def turn(self, wait_s: float = POLL_MAX_S) -> None:
        """Serves whoever has something to read, and everybody who has something to say."""
        for number, _ in self._poller.poll(wait_s):
            line = self._by_number.get(number)
            if line is not None:
                line.serve(can_read=True)
                self._forget_if_closed(number, line)
        for line in self.all:
            if line.is_up and (line.unsent or (line.client is not None and line.client.want_write())):
                line.serve(can_read=False)

    def rest(self, seconds: float) -> None:
        """Serves for so long, keep-alives included."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.turn()
            self._keep_alive()

    def cut(self) -> None:
        """Every line is gone."""
        for line in self.all:
            line.close()
        self._by_number.clear()
        self._poller.close()
        self._poller = select.epoll()

    def _forget_if_closed(self, number: int, line: Line) -> None:
        if line.client is None:
            del self._by_number[number]  # the kernel forgot a closed descriptor by itself

    def _keep_alive(self) -> None:
        for line in self.all:
            line.serve(can_read=False)

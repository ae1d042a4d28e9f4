"""A plain MQTT client for tests: whoever is on the other side of the broker, honest or not."""

import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.certificates import Identity
from tests.support.mosquitto import DEADLINE_S, HOST, wait_until

V5 = MQTTProtocolVersion.MQTTv5
V311 = MQTTProtocolVersion.MQTTv311


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A message as it arrived."""

    topic: str
    data: bytes


class HasAuthority(Protocol):
    """Files of a broker among which is the certificate of the authority that it trusts."""

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        ...


class Reached(Protocol):
    """A broker on loopback, whichever it is."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    @property
    def files(self) -> HasAuthority:
        """What it trusts."""
        ...


class Peer:
    """A client with a name and a certificate; connected inside its `with` block, in which it records what it gets.

    With `session_s` its session is kept that long by the broker after it left, and taken up again (MQTT 5).
    """

    def __init__(
        self,
        broker: Reached,
        name: str,
        identity: Identity,
        version: MQTTProtocolVersion = V5,
        *,
        will: Got | None = None,
        session_s: int | None = None,
    ) -> None:
        self._port = broker.port
        self._session_s = session_s
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=version, reconnect_on_failure=False)
        context = ssl.create_default_context(cafile=broker.files.authority)
        context.load_cert_chain(identity.certificate, identity.key)
        self._client.tls_set_context(context)
        if will is not None:
            self._client.will_set(will.topic, will.data, qos=1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._subscribed = threading.Event()
        self._confirmed: dict[int, str] = {}
        self.answer: str | None = None
        self.got: list[Got] = []

    @property
    def is_connected(self) -> bool:
        """True while the broker keeps it; paho alone still says so after a DISCONNECT from the broker."""
        return self._client.is_connected() and self._client.socket() is not None

    def subscribe(self, topic: str) -> None:
        """Asks for a filter; whether anything comes of it is another matter."""
        self._subscribed.clear()
        self._client.subscribe(topic, qos=1)
        wait_until(self._subscribed.is_set, "the broker answers the subscription")

    def publish(self, topic: str, data: bytes, qos: int = 1, deadline_s: float = DEADLINE_S) -> str:
        """Publishes; the name of the broker's answer."""
        mid = self._client.publish(topic, data, qos=qos).mid
        wait_until(lambda: mid in self._confirmed, "the broker confirms", deadline_s)
        return self._confirmed[mid]

    def publish_all(self, topic: str, messages: Iterable[bytes]) -> None:
        """Publishes them as fast as the broker takes them."""
        mids = [self._client.publish(topic, data, qos=1).mid for data in messages]
        wait_until(lambda: self._confirmed.keys() >= set(mids), "the broker confirms all")

    def retain(self, topic: str, data: bytes) -> None:
        """Publishes for all who come later; not waited for, as a broker may hang up on it."""
        self._client.publish(topic, data, qos=1, retain=True)

    def say(self, topic: str, data: bytes) -> None:
        """Publishes without waiting for an answer; a broker may have none but to hang up."""
        self._client.publish(topic, data, qos=1)

    def request(self, topic: str) -> None:
        """Asks for a filter without waiting for an answer; a broker may have none but to hang up."""
        self._client.subscribe(topic, qos=1)

    def cut(self) -> None:
        """The line is cut without a word of goodbye."""
        connection = self._client.socket()
        assert isinstance(connection, ssl.SSLSocket)
        connection.shutdown(2)

    def __enter__(self) -> Self:
        """Connects; `answer` is the name of the broker's answer."""
        if self._session_s is None:
            self._client.connect(HOST, self._port)
        else:
            wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it untyped
            wishes.SessionExpiryInterval = self._session_s
            self._client.connect(HOST, self._port, clean_start=False, properties=wishes)
        self._client.loop_start()
        wait_until(lambda: self.answer is not None, "the broker answers the connection")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.answer = reason.getName()

    def _on_subscribe(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._subscribed.set()

    def _on_publish(
        self, client: Client, _: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._confirmed[mid] = reason.getName()

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.got.append(Got(topic=message.topic, data=bytes(message.payload)))


def speaks(broker: Reached, identity: Identity | None) -> bool:
    """True when the broker accepts an MQTT 3.1.1 CONNECT from whoever has this certificate."""
    context = ssl.create_default_context(cafile=broker.files.authority)
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    with socket.create_connection((HOST, broker.port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=HOST) as secure:
                secure.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02k1")
                return secure.recv(4) == b"\x20\x02\x00\x00"
        except OSError:
            return False

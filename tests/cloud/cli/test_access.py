"""What the registry says of devices reaches a real Mosquitto that runs on the files `init` wrote."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine

from cloud.cli.access import broker_pid, refresh_access
from cloud.cli.place import Place, Tools
from cloud.cli.setup import LOCAL_NAMES, make_installation
from cloud.config import read_config
from cloud.devices.actions import revoke_device
from cloud.devices.queries import newest_certificate
from cloud.kit.database import reading, writing
from cloud.kit.keyring import KeyFiles
from shared.ids import DeviceId
from shared.topics import Down, Up, down, down_filter, up, up_filter
from tests.cloud.devices.conftest import Registry, counting_random
from tests.cloud.devices.kiosk import Kiosk
from tests.support.mosquitto import PATH, free_port, wait_until

HOST = "127.0.0.1"
TODAY = datetime.now(UTC)  # the broker looks at its own clock when it looks at a certificate


@dataclass(slots=True)
class Peer:
    """A client of the broker and what it heard."""

    client: Client
    heard: list[bytes] = field(default_factory=list)


class Installation:
    """An installation whose broker runs."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.place = read_config({"DOORSTEP_CLOUD_HOME": str(folder)}, folder).place
        self.registry = registry
        self.port = free_port()
        self._peers: list[Peer] = []
        tools = Tools(place=self.place, clock=lambda: TODAY, random=counting_random())
        make_installation(tools, names=LOCAL_NAMES, host=HOST, port=self.port)
        registry.keyring = self.place.open_keyring()
        self._broker = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("mosquitto", path=PATH)
        if program is None:
            pytest.skip("mosquitto is not installed (apt install mosquitto)")
        log = self.place.home / "broker.log"
        with log.open("wb") as output:
            configuration = str(self.place.broker / "mosquitto.conf")
            process = subprocess.Popen([program, "-c", configuration], stdout=output, stderr=output)
        wait_until(lambda: b" running\n" in log.read_bytes(), "the broker runs")
        self.place.broker_pid_file.write_text(f"{process.pid}\n")
        return process

    def refresh(self) -> None:
        """The broker goes by the registry as it is now."""
        log = self.place.home / "broker.log"
        before = log.read_bytes().count(b"Reloading config")
        refresh_access(self.registry.engine, self.registry.keyring, self.place, TODAY)
        wait_until(lambda: log.read_bytes().count(b"Reloading config") > before, "the broker reloads")

    def connect(self, name: str, certificate: Path, key: Path, topics: str) -> Peer:
        """A client that listens to these topics."""
        context = ssl.create_default_context(cafile=str(KeyFiles(folder=self.place.keys).ca_certificate))
        context.load_cert_chain(certificate, key)
        client = Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.tls_set_context(context)
        peer = Peer(client)

        def hear(_client: Client, _userdata: object, message: MQTTMessage) -> None:
            peer.heard.append(bytes(message.payload))

        def listen(*_: object) -> None:
            client.subscribe(topics, qos=1)

        ready: list[int] = []
        client.on_message = hear
        client.on_subscribe = lambda *_: ready.append(1)
        client.on_connect = listen
        client.connect(HOST, self.port)
        client.loop_start()
        self._peers.append(peer)
        wait_until(lambda: bool(ready), f"{name} listens")
        return peer

    def connect_cloud(self) -> Peer:
        """The cloud's own client."""
        files = KeyFiles(folder=self.place.keys)
        return self.connect("cloud", files.client_certificate, files.client_key, up_filter())

    def connect_kiosk(self, id: DeviceId, kiosk: Kiosk) -> Peer:
        """A kiosk with its certificate."""
        with reading(self.registry.engine) as connection:
            held = newest_certificate(connection, id)
        assert held is not None
        certificate, key = self.place.home / f"{id}.pem", self.place.home / f"{id}.key"
        certificate.write_text(held.pem)
        key.write_bytes(kiosk.tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return self.connect(id, certificate, key, down_filter(id))

    def close(self) -> None:
        """Ends broker and clients."""
        for peer in self._peers:
            peer.client.disconnect()
            peer.client.loop_stop()
        self._broker.kill()
        self._broker.wait()


@pytest.fixture
def installation(registry: Registry, engine: Engine, memory_folder: Path) -> Iterator[Installation]:
    """An installation whose broker runs, over the database of the test."""
    folder = memory_folder / f"home-{engine.dialect.name}"
    installation = Installation(folder, registry)
    yield installation
    installation.close()
    shutil.rmtree(folder)


def test_a_revoked_kiosk_is_cut_off_in_the_session_it_has(installation: Installation) -> None:
    kiosk, other = Kiosk(), Kiosk()
    id, second = installation.registry.certified(kiosk, now=TODAY), installation.registry.certified(other, now=TODAY)
    installation.refresh()
    cloud = installation.connect_cloud()
    mine, theirs = installation.connect_kiosk(id, kiosk), installation.connect_kiosk(second, other)
    mine.client.publish(up(id, Up.EVENT), b"before", qos=1)
    cloud.client.publish(down(id, Down.RECEIPT), b"before", qos=1)
    wait_until(lambda: (cloud.heard, mine.heard) == ([b"before"], [b"before"]), "both hear each other")
    with writing(installation.registry.engine) as connection:
        revoke_device(connection, id, TODAY)
    installation.refresh()
    mine.client.publish(up(id, Up.EVENT), b"after", qos=1)
    mine.client.publish(up(second, Up.EVENT), b"forged", qos=1)
    cloud.client.publish(down(id, Down.RECEIPT), b"after", qos=1)
    theirs.client.publish(up(second, Up.EVENT), b"last", qos=1)
    cloud.client.publish(down(second, Down.RECEIPT), b"last", qos=1)
    wait_until(lambda: b"last" in cloud.heard and b"last" in theirs.heard, "the other kiosk goes on")
    assert cloud.heard == [b"before", b"last"]
    assert mine.heard == [b"before"]


def test_a_revoked_certificate_opens_no_session(installation: Installation) -> None:
    kiosk = Kiosk()
    id = installation.registry.certified(kiosk, now=TODAY)
    installation.refresh()
    installation.connect_kiosk(id, kiosk).client.disconnect()
    with writing(installation.registry.engine) as connection:
        revoke_device(connection, id, TODAY)
    installation.refresh()
    context = ssl.create_default_context(cafile=str(KeyFiles(folder=installation.place.keys).ca_certificate))
    context.load_cert_chain(installation.place.home / f"{id}.pem", installation.place.home / f"{id}.key")
    client = Client(CallbackAPIVersion.VERSION2, client_id=id)
    client.tls_set_context(context)
    refusals: list[int] = []
    client.on_disconnect = lambda *_: refusals.append(1)
    client.on_connect_fail = lambda *_: refusals.append(1)
    admitted: list[int] = []
    client.on_connect = lambda *_: admitted.append(1)
    try:
        client.connect(HOST, installation.port)
    except OSError:
        refusals.append(1)
    client.loop_start()
    wait_until(lambda: bool(refusals), "the broker refuses")
    client.loop_stop()
    assert admitted == []


def test_only_a_mosquitto_is_signalled(tmp_path: Path) -> None:
    """The number in a file that was left behind may be anybody's by now."""
    place = Place(home=tmp_path, database="", broker_pid_file=tmp_path / "pid")
    assert broker_pid(place) is None
    for text in ("", "x", "-1", "../self", "999999999", str(os.getpid())):
        place.broker_pid_file.write_text(text)
        assert broker_pid(place) is None

"""The cloud's end of the broker, against a private Mosquitto, in both versions of MQTT."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import cast

import pytest

from cloud.broker.client import BrokerClient, BrokerOptions, Inbound, MqttVersion, Outbound
from shared.brokers import BrokerAddress
from shared.envelope import MESSAGE_BYTES_MAX
from shared.ids import DeviceId
from shared.topics import Down, Up
from tests.support.certificates import Identity
from tests.support.mosquitto import HOST, PrivateMosquitto, free_port, private_mosquitto, wait_until
from tests.support.mqtt_peer import Got, Peer

EVENT = "doorstep/v1/k1/up/event"
RECEIPT = "doorstep/v1/k1/down/receipt"
K1 = DeviceId("k1")

pytestmark = pytest.mark.timeout(30)
both_versions = pytest.mark.parametrize("version", list(MqttVersion))


class Handler:
    """Records batches and answers each device once; raises as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[list[Inbound]] = []
        self.tried: list[bytes] = []

    @property
    def handled(self) -> list[bytes]:
        """The data of all messages that were stored, in order."""
        return [message.data for batch in self.batches for message in batch]

    def __call__(self, batch: Sequence[Inbound]) -> Sequence[Outbound]:
        self.tried += [message.data for message in batch]
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        self.batches.append(list(batch))
        return [
            Outbound(device=device, kind=Down.RECEIPT, data=b"for " + device.encode())
            for device in sorted({message.device for message in batch})
        ]


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    """One of its own for each test: the broker remembers sessions for a while."""
    with private_mosquitto(["k1", "k2"], workers=("cloud", "cloud-1", "cloud-2")) as broker:
        yield broker


def options(
    broker: PrivateMosquitto,
    version: MqttVersion = MqttVersion.V5,
    *,
    name: str = "cloud",
    receive_maximum: int = 1000,
) -> BrokerOptions:
    identity = broker.issue(name)
    return BrokerOptions(
        host=HOST,
        port=broker.port,
        ca=broker.files.authority,
        certificate=identity.certificate,
        key=identity.key,
        client_id=name,
        receive_maximum=receive_maximum,
        protocol=version,
        session_expiry_s=5,
        retry_min_s=0.05,
        retry_max_s=0.1,
    )


def connect(options: BrokerOptions, handle: Callable[[Sequence[Inbound]], Sequence[Outbound]]) -> BrokerClient:
    return BrokerClient(options, handle, random=Random(1))


@both_versions
def test_messages_are_handled_in_batches_and_answered(broker: PrivateMosquitto, version: MqttVersion) -> None:
    handler = Handler()
    with (
        connect(options(broker, version), handler) as client,
        Peer(broker, "k1", broker.issue("k1")) as one,
        Peer(broker, "k2", broker.issue("k2")) as two,
    ):
        one.subscribe("doorstep/v1/k1/down/+")
        two.subscribe("doorstep/v1/k2/down/+")
        wait_until(lambda: client.is_up, "the client is up")
        one.publish_all(EVENT, [bytes([number]) for number in range(50)])
        two.publish("doorstep/v1/k2/up/time", b"what time is it")
        wait_until(lambda: len(handler.handled) == 51, "all are handled")
        wait_until(lambda: bool(one.got) and bool(two.got), "both are answered")
        assert sorted(handler.handled)[:50] == [bytes([number]) for number in range(50)]
        assert handler.batches[-1][-1] == Inbound(device=DeviceId("k2"), kind=Up.TIME, data=b"what time is it")
        assert set(one.got) == {Got(topic=RECEIPT, data=b"for k1")}
        assert set(two.got) == {Got(topic="doorstep/v1/k2/down/receipt", data=b"for k2")}
        counters = client.counters
        assert (counters.received, counters.redelivered, counters.failures) == (51, 0, 0)
        assert counters.batches == len(handler.batches) < 51
        wait_until(lambda: counters.answered == len(one.got) + len(two.got), "each answer is delivered once")


@both_versions
def test_a_batch_that_could_not_be_stored_is_handled_again(broker: PrivateMosquitto, version: MqttVersion) -> None:
    handler = Handler(failures=3)
    with (
        connect(options(broker, version), handler) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        device.subscribe("doorstep/v1/k1/down/+")
        wait_until(lambda: client.is_up, "the client is up")
        device.publish(EVENT, b"a")
        wait_until(lambda: bool(device.got), "it is answered in the end")
        assert handler.tried == [b"a"] * 4
        assert handler.handled == [b"a"]
        assert (client.counters.failures, client.counters.batches) == (3, 1)
        assert client.is_up


def test_what_was_not_stored_was_not_acknowledged_and_what_was_stored_was(broker: PrivateMosquitto) -> None:
    settings = options(broker)
    deaf, healthy = Handler(failures=1_000_000), Handler()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        with connect(settings, deaf) as client:
            wait_until(lambda: client.is_up, "the client is up")
            device.publish_all(EVENT, [b"a", b"b"])
            wait_until(lambda: {b"a", b"b"} <= set(deaf.tried), "both were tried")
        with connect(settings, healthy) as client:
            wait_until(lambda: len(healthy.handled) == 2, "both come again")
            assert client.counters.redelivered == 2
        with connect(settings, healthy) as client:
            wait_until(lambda: client.is_up, "the client is up")
            device.publish(EVENT, b"c")
            wait_until(lambda: b"c" in healthy.handled, "a new one comes")
            assert healthy.handled == [b"a", b"b", b"c"]
            assert client.counters.redelivered == 0


@both_versions
def test_it_connects_and_subscribes_again_when_the_broker_comes_back_empty(
    broker: PrivateMosquitto, version: MqttVersion
) -> None:
    handler = Handler()
    with connect(options(broker, version), handler) as client:
        wait_until(lambda: client.is_up, "the client is up")
        broker.kill()
        wait_until(lambda: not client.is_up, "the client notices")
        broker.wipe()
        broker.start()
        wait_until(lambda: client.is_up, "the client is up again")
        with Peer(broker, "k1", broker.issue("k1")) as device:
            device.publish(EVENT, b"a")
            wait_until(lambda: handler.handled == [b"a"], "traffic flows")


def test_what_waited_in_the_broker_survives_its_orderly_restart(broker: PrivateMosquitto) -> None:
    settings, handler = options(broker), Handler()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        with connect(settings, handler) as client:
            wait_until(lambda: client.is_up, "the client is up")
        device.publish(EVENT, b"a")
    broker.stop()
    broker.start()
    with connect(settings, handler):
        wait_until(lambda: handler.handled == [b"a"], "it was kept")


def test_more_than_the_brokers_default_queue_waits_behind_a_slow_worker(broker: PrivateMosquitto) -> None:
    """Mosquitto keeps 1000 messages a client unless told otherwise and drops the rest in silence."""
    may_go, handler = threading.Event(), Handler()

    def handle_slowly(batch: Sequence[Inbound]) -> Sequence[Outbound]:
        may_go.wait(20)
        return handler(batch)

    with (
        connect(options(broker, receive_maximum=20), handle_slowly) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        wait_until(lambda: client.is_up, "the client is up")
        device.publish_all(EVENT, [number.to_bytes(2, "big") for number in range(3000)])
        may_go.set()
        wait_until(lambda: len(handler.handled) == 3000, "none was lost")


def test_workers_of_a_group_share_the_messages(broker: PrivateMosquitto) -> None:
    first, second = Handler(), Handler()
    with (
        connect(options(broker, name="cloud-1"), first) as one,
        connect(options(broker, name="cloud-2"), second) as two,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        wait_until(lambda: one.is_up and two.is_up, "both are up")
        device.publish_all(EVENT, [bytes([number]) for number in range(100)])
        wait_until(lambda: len(first.handled) + len(second.handled) == 100, "all are handled")
        assert first.handled
        assert second.handled
        assert len({*first.handled, *second.handled}) == 100


def test_others_may_publish_from_any_thread(broker: PrivateMosquitto) -> None:
    with (
        connect(options(broker), Handler()) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        device.subscribe("doorstep/v1/k1/down/+")
        wait_until(lambda: client.is_up, "the client is up")

        def publish(start: int) -> None:
            for number in range(start, start + 50):
                client.publish(Outbound(device=K1, kind=Down.FEED, data=bytes([number])))

        threads = [threading.Thread(target=publish, args=(start,)) for start in (0, 50, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(device.got) == 150, "all arrive")
        assert {got.data for got in device.got} == {bytes([number]) for number in range(150)}


def test_no_more_is_on_its_way_than_the_window_allows_and_the_rest_follows(broker: PrivateMosquitto) -> None:
    with (
        connect(options(broker, receive_maximum=5), Handler()) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        device.subscribe("doorstep/v1/k1/down/+")
        wait_until(lambda: client.is_up, "the client is up")
        with broker.frozen():
            for number in range(20):
                client.publish(Outbound(device=K1, kind=Down.FEED, data=bytes([number])))
            wait_until(lambda: client.counters.answered == 5, "the window is full")
            time.sleep(0.2)  # that no more goes has no sign
            assert client.counters.answered == 5
        wait_until(lambda: len(device.got) == 20, "all arrive")
        assert [got.data for got in device.got] == [bytes([number]) for number in range(20)]
        assert client.counters.dropped == 0


def test_what_is_published_while_the_line_is_down_is_dropped_and_counted(broker: PrivateMosquitto) -> None:
    with connect(options(broker), Handler()) as client:
        wait_until(lambda: client.is_up, "the client is up")
        broker.kill()
        wait_until(lambda: not client.is_up, "the client notices")
        for _ in range(50):
            client.publish(Outbound(device=K1, kind=Down.FEED, data=b"lost"))
        assert client.counters.dropped == 50
        broker.start()
        with Peer(broker, "k1", broker.issue("k1")) as device:
            device.subscribe("doorstep/v1/k1/down/+")
            wait_until(lambda: client.is_up, "the client is up again")
            client.publish(Outbound(device=K1, kind=Down.FEED, data=b"kept"))
            wait_until(lambda: bool(device.got), "traffic flows")
            assert [got.data for got in device.got] == [b"kept"]


def test_a_message_larger_than_the_broker_takes_is_not_sent(broker: PrivateMosquitto) -> None:
    with (
        connect(options(broker), Handler()) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        device.subscribe("doorstep/v1/k1/down/+")
        wait_until(lambda: client.is_up, "the client is up")
        client.publish(Outbound(device=K1, kind=Down.FEED, data=bytes(MESSAGE_BYTES_MAX + 1)))
        client.publish(Outbound(device=K1, kind=Down.FEED, data=bytes(MESSAGE_BYTES_MAX)))
        wait_until(lambda: bool(device.got), "the one that fits arrives")
        assert [len(got.data) for got in device.got] == [MESSAGE_BYTES_MAX]
        assert client.counters.dropped == 1
        assert client.is_up


def test_a_device_that_sends_too_much_is_cut_off_and_nobody_else(broker: PrivateMosquitto) -> None:
    handler = Handler()
    with (
        connect(options(broker), handler) as client,
        Peer(broker, "k1", broker.issue("k1")) as greedy,
        Peer(broker, "k2", broker.issue("k2")) as honest,
    ):
        wait_until(lambda: client.is_up, "the client is up")
        with pytest.raises(AssertionError, match="in vain"):
            greedy.publish(EVENT, bytes(2 * MESSAGE_BYTES_MAX), deadline_s=0.5)
        wait_until(lambda: not greedy.is_connected, "it is cut off")
        honest.publish("doorstep/v1/k2/up/event", b"fine")
        wait_until(lambda: handler.handled == [b"fine"], "the honest one is heard")


def test_unknown_kinds_and_unacknowledged_qualities_do_not_disturb_the_session(
    broker: PrivateMosquitto,
) -> None:
    """A PUBACK for a QoS 0 message would be a protocol error: one device could cut the cloud's line with it."""
    handler = Handler()
    with (
        connect(options(broker), handler) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        wait_until(lambda: client.is_up, "the client is up")
        device.publish("doorstep/v1/k1/up/novelty", b"from a later version")
        device.publish("doorstep/v1/k1/up/novelty", b"unacknowledged", qos=0)
        device.publish(EVENT, b"zero", qos=0)
        device.publish(EVENT, b"one")
        wait_until(lambda: handler.handled == [b"zero", b"one"], "the known kinds are handled")
        device.publish(EVENT, b"still there")
        wait_until(lambda: b"still there" in handler.handled, "the session lives")
        assert client.counters.foreign == 2
        assert client.counters.redelivered == 0


def test_a_fault_of_ours_ends_the_session_and_not_the_thread(
    broker: PrivateMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    nonsense = [Outbound(device=K1, kind=Down.RECEIPT, data=cast(bytes, None))]

    def handle(batch: Sequence[Inbound]) -> Sequence[Outbound]:
        handler(batch)
        return nonsense if len(handler.batches) == 1 else ()

    with (
        connect(options(broker), handle) as client,
        Peer(broker, "k1", broker.issue("k1")) as device,
    ):
        wait_until(lambda: client.is_up, "the client is up")
        device.publish(EVENT, b"a")
        wait_until(lambda: handler.handled == [b"a", b"a"], "it comes again, as it was not acknowledged")
        assert "a session ended by a fault of ours" in caplog.text
        assert client.counters.redelivered == 1


def test_a_broker_with_a_foreign_certificate_is_refused(
    broker: PrivateMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with private_mosquitto(["k1"]) as other:
        mine = options(broker)
        astray = BrokerOptions(
            host=HOST,
            port=other.port,
            ca=mine.ca,
            certificate=mine.certificate,
            key=mine.key,
            client_id="cloud",
            retry_min_s=0.05,
            retry_max_s=0.1,
        )
        with connect(astray, Handler()) as client:
            wait_until(lambda: "the broker is away" in caplog.text, "it says so")
            assert not client.is_up
    reasons = [record.__dict__["reason"] for record in caplog.records if record.message == "the broker is away"]
    assert reasons == ["TLS: CERTIFICATE_VERIFY_FAILED"]  # once, not once a try


def test_a_node_that_is_not_there_leaves_its_turn_to_the_next(broker: PrivateMosquitto) -> None:
    others = (BrokerAddress(host=HOST, port=broker.port),)
    with connect(replace(options(broker), port=free_port(), others=others), Handler()) as client:
        wait_until(lambda: client.is_up, "it connects to the other node")


def test_missing_files_and_absent_brokers_are_tried_again(
    broker: PrivateMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    identity: Identity = broker.issue("cloud")
    settings = options(broker)
    identity.key.rename(identity.key.with_suffix(".away"))
    with connect(settings, Handler()) as client:
        wait_until(lambda: "the broker is away" in caplog.text, "it says so")
        identity.key.with_suffix(".away").rename(identity.key)
        wait_until(lambda: client.is_up, "it connects once it can")

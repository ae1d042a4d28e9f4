"""Who may hear and say what, on the broker as the product configures it.

A broker answers "granted" to a subscription it will never serve, and "success" to an MQTT 3.1.1 publish it throws
away. So each test here looks at what arrives. That something does *not* arrive is shown by what comes after it on
the same path: a message the access list allows, sent later, is there and is alone.
"""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from cloud.broker.client import BrokerClient, BrokerOptions, Inbound, Outbound
from shared.ids import DeviceId
from shared.topics import Down, Up
from tests.support.certificates import Authority
from tests.support.mosquitto import HOST, PrivateMosquitto, private_mosquitto, wait_until
from tests.support.mqtt_peer import V5, V311, Got, Peer, speaks

pytestmark = pytest.mark.timeout(30)
both_versions = pytest.mark.parametrize("version", [V5, V311], ids=["5", "3.1.1"])


class Cloud:
    """The product's cloud end; records what reaches it."""

    def __init__(self, broker: PrivateMosquitto) -> None:
        identity = broker.issue("cloud")
        options = BrokerOptions(
            host=HOST,
            port=broker.port,
            ca=broker.files.authority,
            certificate=identity.certificate,
            key=identity.key,
            client_id="cloud",
            retry_min_s=0.05,
            retry_max_s=0.1,
        )
        self.got: list[Inbound] = []
        self._client = BrokerClient(options, self._take, random=Random(1))

    def tell(self, device: str, data: bytes) -> None:
        """Sends the device a receipt."""
        self._client.publish(Outbound(device=DeviceId(device), kind=Down.RECEIPT, data=data))

    def expect(self, *texts: bytes) -> None:
        """Exactly these messages arrive, the last of them last."""
        wait_until(lambda: texts[-1] in self.texts, f"{texts[-1]!r} arrives")
        assert self.texts == list(texts)

    @property
    def texts(self) -> list[bytes]:
        """The data of what arrived."""
        return [message.data for message in self.got]

    def _take(self, batch: Sequence[Inbound]) -> Sequence[Outbound]:
        self.got += batch
        return ()

    def __enter__(self) -> "Cloud":
        self._client.start()
        wait_until(lambda: self._client.is_up, "the cloud is up")
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    with private_mosquitto(["k1", "k2"]) as broker:
        yield broker


@pytest.fixture
def cloud(broker: PrivateMosquitto) -> Iterator[Cloud]:
    with Cloud(broker) as cloud:
        yield cloud


def device(broker: PrivateMosquitto, name: str, version: MQTTProtocolVersion = V5) -> Peer:
    return Peer(broker, name, broker.issue(name), version)


def receipt(name: str, data: bytes) -> Got:
    return Got(topic=f"doorstep/v1/{name}/down/receipt", data=data)


@both_versions
@pytest.mark.parametrize(
    "topic",
    [
        "doorstep/v1/k2/down/+",
        "doorstep/v1/k2/down/receipt",
        "doorstep/v1/+/down/+",
        "doorstep/#",
        "#",
        "$share/spies/doorstep/v1/k2/down/+",
    ],
)
def test_a_device_does_not_hear_what_another_is_told(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion, topic: str
) -> None:
    with device(broker, "k1", version) as spy, device(broker, "k2") as victim:
        spy.subscribe(topic)
        spy.subscribe("doorstep/v1/k1/down/+")
        victim.subscribe("doorstep/v1/k2/down/+")
        cloud.tell("k2", b"for k2")
        cloud.tell("k1", b"for k1")
        wait_until(lambda: bool(spy.got) and bool(victim.got), "each hears its own")
        assert victim.got == [receipt("k2", b"for k2")]
        assert set(spy.got) == {receipt("k1", b"for k1")}


@both_versions
def test_a_device_does_not_hear_what_another_says(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    with device(broker, "k1", version) as spy, device(broker, "k2") as speaker:
        spy.subscribe("doorstep/v1/+/up/+")
        spy.subscribe("doorstep/v1/k1/down/+")
        speaker.publish("doorstep/v1/k2/up/event", b"a claim")
        cloud.expect(b"a claim")
        cloud.tell("k1", b"for k1")
        wait_until(lambda: bool(spy.got), "it hears its own")
        assert spy.got == [receipt("k1", b"for k1")]


@both_versions
@pytest.mark.parametrize("kind", list(Up))
def test_a_device_cannot_speak_as_another(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion, kind: Up
) -> None:
    with device(broker, "k1", version) as liar:
        answer = liar.publish(f"doorstep/v1/k2/up/{kind}", b"as k2")
        liar.publish(f"doorstep/v1/k1/up/{kind}", b"as k1")
        cloud.expect(b"as k1")
        assert cloud.got == [Inbound(device=DeviceId("k1"), kind=kind, data=b"as k1")]
        assert answer == ("Not authorized" if version == V5 else "Success")  # 3.1.1 has no word for it


@both_versions
def test_a_device_cannot_speak_as_the_cloud(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    with device(broker, "k1", version) as liar, device(broker, "k2") as victim:
        victim.subscribe("doorstep/v1/k2/down/+")
        liar.publish("doorstep/v1/k2/down/receipt", b"forged")
        liar.publish("doorstep/v1/k1/down/receipt", b"forged")
        cloud.tell("k2", b"true")
        wait_until(lambda: bool(victim.got), "the true one arrives")
        assert victim.got == [receipt("k2", b"true")]


@both_versions
def test_a_device_cannot_leave_a_will_in_anothers_name(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    own = Peer(broker, "k1", broker.issue("k1"), version, will=Got(topic="doorstep/v1/k1/up/state", data=b"k1 gone"))
    with Peer(
        broker, "k2", broker.issue("k2"), version, will=Got(topic="doorstep/v1/k1/up/state", data=b"forged")
    ) as liar:
        liar.cut()
        wait_until(lambda: not liar.is_connected, "the liar is gone")
    with own:
        own.cut()
    cloud.expect(b"k1 gone")


@both_versions
def test_a_certificate_alone_opens_nothing(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    """It was issued by our authority, but the device is on no access list."""
    with device(broker, "k9", version) as stranger, device(broker, "k1") as known:
        stranger.subscribe("doorstep/v1/+/down/+")
        stranger.subscribe("doorstep/v1/k9/down/+")
        stranger.publish("doorstep/v1/k9/up/event", b"from a stranger")
        cloud.tell("k9", b"for a stranger")
        known.subscribe("doorstep/v1/k1/down/+")
        known.publish("doorstep/v1/k1/up/event", b"from k1")
        cloud.expect(b"from k1")
        cloud.tell("k1", b"for k1")
        wait_until(lambda: bool(known.got), "the known one hears")
        assert stranger.got == []
        broker.allow(["k1", "k2", "k9"])
        stranger.publish("doorstep/v1/k9/up/event", b"listed now")
        cloud.expect(b"from k1", b"listed now")


def test_without_a_certificate_of_our_authority_nobody_gets_a_word_in(broker: PrivateMosquitto) -> None:
    foreign = Authority(broker.files.storage / "foreign", "test authority").issue_client("k1")
    assert speaks(broker, broker.issue("k1"))
    assert not speaks(broker, foreign)
    assert not speaks(broker, None)


@both_versions
def test_a_device_cannot_take_anothers_place_by_its_client_id(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    """By default the newcomer with the same id pushes the other off the line and inherits its session."""
    with device(broker, "k2", version) as victim:
        victim.subscribe("doorstep/v1/k2/down/+")
        with Peer(broker, "k2", broker.issue("k1"), version) as thief:
            thief.publish("doorstep/v1/k1/up/event", b"from k1, calling itself k2")
            cloud.tell("k2", b"for k2")
            wait_until(lambda: bool(victim.got), "the victim hears")
            cloud.expect(b"from k1, calling itself k2")
            assert thief.got == []
        assert victim.is_connected
        assert victim.got == [receipt("k2", b"for k2")]


@both_versions
def test_a_device_taken_off_the_list_is_cut_out_of_its_live_session(
    broker: PrivateMosquitto, cloud: Cloud, version: MQTTProtocolVersion
) -> None:
    """A revoked certificate alone would let the open session go on."""
    with device(broker, "k1", version) as revoked, device(broker, "k2") as other:
        revoked.subscribe("doorstep/v1/k1/down/+")
        other.subscribe("doorstep/v1/k2/down/+")
        revoked.publish("doorstep/v1/k1/up/event", b"before")
        cloud.tell("k1", b"before")
        cloud.expect(b"before")
        wait_until(lambda: bool(revoked.got), "it hears while it may")
        broker.allow(["k2"])
        revoked.publish("doorstep/v1/k1/up/event", b"after")
        cloud.tell("k1", b"after")
        other.publish("doorstep/v1/k2/up/event", b"from k2")
        cloud.tell("k2", b"for k2")
        wait_until(lambda: bool(other.got), "the other one hears")
        cloud.expect(b"before", b"from k2")
        assert revoked.got == [receipt("k1", b"before")]


def test_a_revoked_certificate_opens_no_new_session(broker: PrivateMosquitto) -> None:
    identity = broker.issue("k1")
    assert speaks(broker, identity)
    broker.revoke(identity)
    assert not speaks(broker, identity)
    assert speaks(broker, broker.issue("k1"))


def test_nothing_is_kept_for_those_who_come_later(broker: PrivateMosquitto) -> None:
    """A broker that retains no messages can hand none to the wrong one."""
    with device(broker, "k1", V311) as hoarder:
        hoarder.retain("doorstep/v1/k1/up/event", b"for ever")
        wait_until(lambda: not hoarder.is_connected, "the broker does not take it")
    with Peer(broker, "cloud", broker.issue("cloud")) as later, device(broker, "k2") as other:
        later.subscribe("doorstep/v1/+/up/+")
        other.publish("doorstep/v1/k2/up/event", b"now")
        wait_until(lambda: bool(later.got), "what is said now arrives")
        assert later.got == [Got(topic="doorstep/v1/k2/up/event", data=b"now")]

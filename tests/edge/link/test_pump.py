"""The `link` process between an agent's socket and a real broker, in both versions of MQTT."""

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from random import Random

import pytest

from edge.channel.messages import LinkWelcome, StatusAsked
from edge.link.mqtt import LinkOptions
from edge.link.pump import run_link
from shared.brokers import MqttVersion
from shared.envelope import MESSAGE_BYTES_MAX
from shared.topics import Down, Up
from tests.support.agent_stand_in import AgentStandIn, eventually
from tests.support.certificates import Authority, Identity
from tests.support.mosquitto import HOST, PrivateMosquitto, private_mosquitto
from tests.support.mqtt_peer import Got, Peer

EVENT = "doorstep/v1/k1/up/event"
STATE = "doorstep/v1/k1/up/state"
RECEIPT = "doorstep/v1/k1/down/receipt"

pytestmark = pytest.mark.timeout(30)
both_versions = pytest.mark.parametrize("version", list(MqttVersion))


class WatchdogStandIn:
    """Counts."""

    def __init__(self) -> None:
        self.readies = 0
        self.beats = 0

    def ready(self) -> None:
        self.readies += 1

    def alive(self) -> None:
        self.beats += 1


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    with private_mosquitto(["k1"]) as broker:
        yield broker


@pytest.fixture
def path() -> Iterator[Path]:
    """The agent's socket, in a folder whose name is short enough for one."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "agent.sock"


def options(
    broker: PrivateMosquitto, version: MqttVersion = MqttVersion.V5, *, identity: Identity | None = None
) -> LinkOptions:
    mine = identity or broker.issue("k1")
    return LinkOptions(
        host=HOST,
        port=broker.port,
        ca=broker.files.authority,
        certificate=mine.certificate,
        key=mine.key,
        protocol=version,
        connect_timeout_s=1.0,
        retry_min_s=0.05,
        retry_max_s=0.1,
    )


@contextlib.asynccontextmanager
async def linked(path: Path, options: LinkOptions, watchdog: WatchdogStandIn | None = None) -> AsyncIterator[None]:
    """A link process's body, running inside the block and cancelled at its end."""
    task = asyncio.create_task(run_link(str(path), options, watchdog or WatchdogStandIn(), Random(1)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()


def cloud(broker: PrivateMosquitto) -> Peer:
    return Peer(broker, "cloud", broker.issue("cloud"))


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(story)


@both_versions
def test_it_carries_messages_both_ways(broker: PrivateMosquitto, path: Path, version: MqttVersion) -> None:
    async def story() -> None:
        watchdog = WatchdogStandIn()
        with cloud(broker) as peer:
            peer.subscribe("doorstep/v1/+/up/+")
            async with AgentStandIn(path) as agent, linked(path, options(broker, version), watchdog):
                await eventually(lambda: agent.is_up, "the line is up")
                agent.publish(Up.EVENT, b"a claim")
                agent.publish(Up.TIME, b"what time is it")
                await eventually(lambda: len(peer.got) == 2, "the cloud hears")
                assert peer.got == [
                    Got(topic=EVENT, data=b"a claim"),
                    Got(topic="doorstep/v1/k1/up/time", data=b"what time is it"),
                ]
                peer.publish(RECEIPT, b"stored")
                await eventually(lambda: bool(agent.heard), "the agent hears")
                assert [(heard.kind, heard.data) for heard in agent.heard] == [(Down.RECEIPT, b"stored")]
                assert agent.reasons == []
                assert watchdog.readies == 1
                assert watchdog.beats >= 1

    run(story())


@both_versions
def test_when_the_link_ends_the_cloud_is_told_the_will(
    broker: PrivateMosquitto, path: Path, version: MqttVersion
) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            peer.subscribe(STATE)
            async with AgentStandIn(path, will=b"k1 is gone") as agent:
                async with linked(path, options(broker, version)):
                    await eventually(lambda: agent.is_up, "the line is up")
                await eventually(lambda: peer.got == [Got(topic=STATE, data=b"k1 is gone")], "the will arrives")

    run(story())


@both_versions
def test_what_the_agent_has_not_stored_comes_again_and_what_it_has_does_not(
    broker: PrivateMosquitto, path: Path, version: MqttVersion
) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            async with AgentStandIn(path, settles=False) as agent:
                async with linked(path, options(broker, version)):
                    await eventually(lambda: agent.is_up, "the line is up")
                    peer.publish(RECEIPT, b"a")
                    peer.publish(RECEIPT, b"b")
                    await eventually(lambda: agent.texts == [b"a", b"b"], "both are heard")
                    agent.settle(agent.heard[0].number)
                    agent.settle(999)  # of a connection long gone: nothing happens
                    peer.publish(RECEIPT, b"c")
                    await eventually(lambda: agent.texts == [b"a", b"b", b"c"], "the third is heard")
                async with linked(path, options(broker, version)):
                    await eventually(lambda: agent.texts == [b"a", b"b", b"c", b"b", b"c"], "the unsettled come again")

    run(story())


@both_versions
def test_after_the_agent_was_gone_the_unsettled_comes_again(
    broker: PrivateMosquitto, path: Path, version: MqttVersion
) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            peer.subscribe(STATE)
            async with linked(path, options(broker, version)):
                async with AgentStandIn(path, settles=False) as agent:
                    await eventually(lambda: agent.is_up, "the line is up")
                    peer.publish(RECEIPT, b"a")
                    await eventually(lambda: agent.texts == [b"a"], "it is heard")
                await eventually(lambda: bool(peer.got), "without an agent the device is offline")
                async with AgentStandIn(path) as agent:
                    await eventually(lambda: agent.is_up and agent.texts == [b"a"], "it is heard again")
                    agent.publish(Up.EVENT, b"here")

    run(story())


@both_versions
def test_a_broker_that_comes_back_empty_is_subscribed_again_and_nothing_was_queued(
    broker: PrivateMosquitto, path: Path, version: MqttVersion
) -> None:
    """paho alone would have queued the fifty and sent them all (edge research, measured)."""

    async def story() -> None:
        async with AgentStandIn(path) as agent, linked(path, options(broker, version)):
            await eventually(lambda: agent.is_up, "the line is up")
            broker.kill()
            await eventually(lambda: not agent.is_up, "the agent is told")
            assert agent.reasons
            for _ in range(50):
                agent.publish(Up.EVENT, b"while down")
            broker.wipe()
            broker.start()
            with cloud(broker) as peer:
                peer.subscribe(EVENT)
                await eventually(lambda: agent.is_up, "the line is up again")
                agent.publish(Up.EVENT, b"after")
                await eventually(lambda: bool(peer.got), "traffic flows up")
                assert peer.got == [Got(topic=EVENT, data=b"after")]
                peer.publish(RECEIPT, b"stored")
                await eventually(lambda: agent.texts == [b"stored"], "traffic flows down")

    run(story())


def test_no_more_is_on_its_way_than_the_window_allows(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            peer.subscribe(EVENT)
            narrow = dataclasses.replace(options(broker), window=5)
            async with AgentStandIn(path) as agent, linked(path, narrow):
                await eventually(lambda: agent.is_up, "the line is up")
                with broker.frozen():
                    for number in range(50):
                        agent.publish(Up.EVENT, bytes([number]))
                    await asyncio.sleep(0.2)  # the broker's silence is the condition, and it has no sign
                await eventually(lambda: len(peer.got) == 5, "the window's worth arrives")
                agent.publish(Up.EVENT, b"after")
                await eventually(lambda: peer.got[-1].data == b"after", "the window is open again")
                assert [got.data for got in peer.got] == [*(bytes([number]) for number in range(5)), b"after"]

    run(story())


@both_versions
def test_the_agent_has_no_more_in_hand_than_announced_and_gets_the_rest_later(
    broker: PrivateMosquitto, path: Path, version: MqttVersion
) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            async with AgentStandIn(path, settles=False) as agent, linked(path, options(broker, version)):
                await eventually(lambda: agent.is_up, "the line is up")
                peer.publish_all(RECEIPT, [bytes([number]) for number in range(100)])
                await eventually(lambda: len(agent.heard) >= 20, "the first are heard")
                await asyncio.sleep(0.2)  # that no more comes has no sign
                assert len(agent.heard) == (20 if version is MqttVersion.V5 else 21)
                settled = 0
                while settled < 100:
                    await eventually(lambda: len(agent.heard) > settled, "more is heard")  # noqa: B023 - run at once
                    agent.settle(agent.heard[settled].number)
                    settled += 1
                assert agent.texts == [bytes([number]) for number in range(100)]

    run(story())


def test_a_kind_of_a_later_version_is_passed_over(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            async with AgentStandIn(path) as agent:
                async with linked(path, options(broker)):
                    await eventually(lambda: agent.is_up, "the line is up")
                    peer.publish("doorstep/v1/k1/down/novelty", b"?")
                    peer.publish(RECEIPT, b"unconfirmed", qos=0)
                    peer.publish(RECEIPT, b"stored")
                    await eventually(lambda: agent.texts == [b"unconfirmed", b"stored"], "the known kinds are heard")
                async with linked(path, options(broker)):
                    await eventually(lambda: agent.ups == 2, "the line is up again")
                    peer.publish(RECEIPT, b"next")
                    await eventually(lambda: agent.texts[2:] == [b"next"], "nothing old comes again")

    run(story())


def test_a_message_larger_than_the_broker_takes_costs_the_message_and_not_the_line(
    broker: PrivateMosquitto, path: Path
) -> None:
    async def story() -> None:
        with cloud(broker) as peer:
            peer.subscribe(EVENT)
            async with AgentStandIn(path) as agent, linked(path, options(broker)):
                await eventually(lambda: agent.is_up, "the line is up")
                agent.publish(Up.EVENT, bytes(MESSAGE_BYTES_MAX + 1))
                agent.publish(Up.EVENT, bytes(MESSAGE_BYTES_MAX))
                await eventually(lambda: bool(peer.got), "the one that fits arrives")
                assert [len(got.data) for got in peer.got] == [MESSAGE_BYTES_MAX]
                assert agent.reasons == []

    run(story())


def test_a_broker_we_cannot_trust_is_told_once_and_never_spoken_to(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        astray = dataclasses.replace(
            options(broker), ca=Authority(broker.files.storage / "other", "another authority").certificate
        )
        async with AgentStandIn(path) as agent, linked(path, astray):
            await eventually(lambda: bool(agent.reasons), "the reason is told")
            await asyncio.sleep(0.3)  # several tries; that nothing more is told has no sign
            assert agent.reasons == ["TLS: CERTIFICATE_VERIFY_FAILED"]
            assert agent.ups == 0

    run(story())


def test_a_missing_certificate_is_named_and_used_as_soon_as_it_is_there(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        settings = options(broker)
        away = settings.certificate.with_suffix(".away")
        settings.certificate.rename(away)
        async with AgentStandIn(path) as agent, linked(path, settings):
            await eventually(lambda: agent.reasons == ["No such file or directory"], "the reason is told")
            away.rename(settings.certificate)
            await eventually(lambda: agent.is_up, "the line is up")

    run(story())


def test_it_waits_for_an_agent_that_is_not_there_yet(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        async with linked(path, options(broker)):
            await asyncio.sleep(0.3)
            async with AgentStandIn(path) as agent:
                await eventually(lambda: agent.is_up, "the line is up")
                await agent.hang_up()
                await eventually(lambda: agent.ups == 2, "a broken channel is made anew")
                assert agent.greeted == 2

    run(story())


@pytest.mark.parametrize(
    "message", [StatusAsked(), LinkWelcome(device="k1", will=b"")], ids=["not a message to us", "a second welcome"]
)
def test_an_agent_that_speaks_nonsense_is_met_anew(
    broker: PrivateMosquitto, path: Path, message: StatusAsked | LinkWelcome
) -> None:
    async def story() -> None:
        async with AgentStandIn(path) as agent, linked(path, options(broker)):
            await eventually(lambda: agent.is_up, "the line is up")
            agent.say(message)
            await eventually(lambda: agent.ups == 2, "the line is up again")

    run(story())


@pytest.mark.parametrize("device", ["", "k1/+", "#", "K1"])
def test_a_device_that_is_no_topic_level_is_not_spoken_for(broker: PrivateMosquitto, path: Path, device: str) -> None:
    async def story() -> None:
        async with AgentStandIn(path, device=device) as agent, linked(path, options(broker)):
            await eventually(lambda: agent.greeted >= 2, "it is asked again and again")
            assert agent.ups == 0

    run(story())

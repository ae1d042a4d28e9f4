"""What a RabbitMQ cluster is told about who may do what. That it goes by it is shown in tests/system."""

import json
import re

from cloud.broker.rabbitmq import render_definitions
from shared.ids import DeviceId


def test_a_device_has_its_own_queue_and_topics_and_the_cloud_all_topics() -> None:
    told = json.loads(render_definitions([DeviceId("k2"), DeviceId("k1"), DeviceId("k1")]))
    assert [user["name"] for user in told["users"]] == ["cloud", "k1", "k2"]
    assert {user["password_hash"] for user in told["users"]} == {""}
    cloud, k1, _ = told["topic_permissions"]
    assert re.fullmatch(k1["write"], "doorstep.v1.k1.up.event")
    assert re.fullmatch(k1["read"], "doorstep.v1.k1.down.*"), "its subscription's filter"
    for foreign in ("doorstep.v1.k2.up.event", "doorstep.v1.k1.down.receipt", "doorstep.v1.k1.up.event.more"):
        assert not re.fullmatch(k1["write"], foreign)
    for foreign in ("doorstep.v1.k2.down.*", "doorstep.v1.*.down.*", "doorstep.#", "#"):
        assert not re.fullmatch(k1["read"], foreign)
    assert re.fullmatch(cloud["write"], "doorstep.v1.k1.down.receipt")
    assert re.fullmatch(cloud["read"], "doorstep.v1.*.up.*")
    _, queue, _ = told["permissions"]
    assert re.fullmatch(queue["configure"], "mqtt-subscription-k1qos1")
    assert not re.fullmatch(queue["configure"], "amq.topic")
    assert not re.fullmatch(queue["read"], "mqtt-subscription-k2qos1")
    assert re.fullmatch(queue["read"], "amq.topic")

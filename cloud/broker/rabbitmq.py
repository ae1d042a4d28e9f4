"""Who may do what on a RabbitMQ cluster, as the definitions its own tool reads, from what the cloud knows of devices.

RabbitMQ knows a client by the common name of its certificate (`ssl_cert_login_from = common_name`) and wants a user of
that name; none of these has a password. A device may use the queue of its own client id and its own topics, no more.
Taking somebody off is for the operator: definitions add and never remove. Checked against RabbitMQ 3.10, Debian 12's.
"""

import json
import re
from collections.abc import Iterable

from cloud.broker.mosquitto import CLOUD_NAME
from shared.ids import DeviceId
from shared.topics import ROOT, down_filter, up_filter

EXCHANGE = "amq.topic"  # what MQTT topics become routing keys of, unless the broker is told otherwise
VHOST = "/"


def render_definitions(devices: Iterable[DeviceId]) -> str:
    """The text for `rabbitmqctl import_definitions`, or for `load_definitions` of a new cluster."""
    names = sorted(set(devices))
    permissions = [_permission(CLOUD_NAME), *map(_permission, names)]
    topics = [
        _topics(CLOUD_NAME, write=f"{ROOT}/+/down/+", read=up_filter()),
        *(_topics(name, write=f"{ROOT}/{name}/up/+", read=down_filter(name)) for name in names),
    ]
    definitions = {
        "vhosts": [{"name": VHOST}],
        "users": [_user(name) for name in (CLOUD_NAME, *names)],
        "permissions": permissions,
        "topic_permissions": topics,
    }
    return json.dumps(definitions, indent=1) + "\n"


def _user(name: str) -> dict[str, str | list[str]]:
    """A user who can only come with a certificate: an empty hash is no password's."""
    return {"name": name, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}


def _permission(name: str) -> dict[str, str]:
    """Its own two queues, and the exchange to publish to and to bind the queues to."""
    queue = f"mqtt-subscription-{re.escape(name)}qos[01]"
    either = f"^({queue}|{re.escape(EXCHANGE)})$"
    return {"user": name, "vhost": VHOST, "configure": f"^{queue}$", "write": either, "read": either}


def _topics(name: str, *, write: str, read: str) -> dict[str, str]:
    return {"user": name, "vhost": VHOST, "exchange": EXCHANGE, "write": _pattern(write), "read": _pattern(read)}


def _pattern(topic_filter: str) -> str:
    """The routing keys that an MQTT filter stands for, a subscription's own `*` among them."""
    levels = [r"[^.]+" if level == "+" else re.escape(level) for level in topic_filter.split("/")]
    return f"^{re.escape('.').join(levels)}$"

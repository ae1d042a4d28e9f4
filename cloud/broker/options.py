"""How the cloud reaches its broker."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from shared.brokers import BrokerAddress, MqttVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Where the broker is, who we are, and how much is taken at a time.

    Workers of one `shared_group` share the messages among them (MQTT 5 only; on 3.1.1 there is one worker). A worker
    that was away less than `session_expiry_s` is given again what it had not acknowledged; one that stays away does
    not hold back its share any longer than that; on 3.1.1 the broker's own setting rules. `others` are further nodes of
    the same broker, tried in turn when one is not there.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    client_id: str
    others: tuple[BrokerAddress, ...] = ()
    shared_group: str = "claims"
    batch_max: int = 500  # PostgreSQL pays by the statement: 200 brought 1,800 claims a second, 500 brought 2,400
    batch_wait_ms: int = 5
    receive_maximum: int = 1000
    protocol: MqttVersion = MqttVersion.V5
    keepalive_s: int = 60
    session_expiry_s: int = 60
    connect_timeout_s: float = 5.0
    retry_min_s: float = 1.0
    retry_max_s: float = 30.0

    def at(self, turn: int) -> Self:
        """The same towards the node whose turn it is, counted from 0; with one address always that one."""
        hosts = ((self.host, self.port), *((other.host, other.port) for other in self.others))
        host, port = hosts[turn % len(hosts)]
        return replace(self, host=host, port=port)

"""How the cloud reaches its broker."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class MqttVersion(StrEnum):
    """The two versions spoken: 5, and 3.1.1 for the clustered brokers that know no other."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Where the broker is, who we are, and how much is taken at a time.

    Workers of one `shared_group` share the messages among them (MQTT 5 only; on 3.1.1 there is one worker). A worker
    that was away less than `session_expiry_s` is given again what it had not acknowledged; one that stays away does
    not hold back its share any longer than that.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    client_id: str
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

"""The only reader of the environment: where this installation lives and what its commands take by default."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cloud.cli.place import Place
from cloud.cli.serve import ServeOptions
from cloud.cli.setup import LOCAL_NAMES
from cloud.errors import CloudError
from shared.brokers import MqttVersion
from shared.policy import CERTIFICATE_AGE_MAX

HOME_DEFAULT: Final = Path(".local/share/doorstep/cloud")  # below the user's own folder
DEMO_HOME_DEFAULT: Final = Path(".local/share/doorstep/demo")
PORT_DEFAULT: Final = 8443
BROKER_PORT_DEFAULT: Final = 8883
CERTIFICATE_LIFE_MIN: Final = timedelta(seconds=10)  # for rehearsing renewals; less may end before it is stored
_UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
OF_AN_INSTALLATION: Final = frozenset(
    {"DOORSTEP_CLOUD_HOME", "DOORSTEP_DATABASE", "DOORSTEP_BROKER_PID_FILE", "DOORSTEP_EDGE_HOME", "DOORSTEP_EDGE_RUN"}
)


class SettingUnusable(CloudError):
    """An environment variable holds something that cannot be used."""

    def __init__(self, variable: str, wanted: str) -> None:
        super().__init__(f"{variable} must be {wanted}")
        self.variable = variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the environment says, with defaults where it says nothing."""

    place: Place
    serve: ServeOptions
    demo_home: Path
    certificate_life: timedelta


def read_environment() -> Config:
    """The configuration of this process. Raises: SettingUnusable."""
    return read_config(os.environ, Path.home())


def read_config(environment: Mapping[str, str], user_home: Path) -> Config:
    """The configuration in the variables. Raises: SettingUnusable."""
    home = Path(environment.get("DOORSTEP_CLOUD_HOME") or user_home / HOME_DEFAULT)
    names = tuple(name.strip() for name in environment.get("DOORSTEP_NAMES", "").split(",") if name.strip())
    pid_file = Path(environment.get("DOORSTEP_BROKER_PID_FILE") or home / "broker" / "mosquitto.pid")
    place = Place(
        home=home,
        database=environment.get("DOORSTEP_DATABASE") or f"sqlite:///{home / 'doorstep.db'}",
        broker_pid_file=pid_file,
    )
    serve = ServeOptions(
        host=environment.get("DOORSTEP_HOST") or "127.0.0.1",
        port=_port(environment, "DOORSTEP_PORT", PORT_DEFAULT),
        names=(*LOCAL_NAMES, *names),
        broker_host=environment.get("DOORSTEP_BROKER_HOST") or None,
        broker_port=_port(environment, "DOORSTEP_BROKER_PORT", BROKER_PORT_DEFAULT),
        device_broker_host=environment.get("DOORSTEP_DEVICE_BROKER_HOST") or None,
        broker_pid_file=pid_file,
        mqtt_version=_mqtt_version(environment),
        log_level=environment.get("DOORSTEP_LOG_LEVEL") or "INFO",
    )
    demo_home = Path(environment.get("DOORSTEP_DEMO_HOME") or user_home / DEMO_HOME_DEFAULT)
    life = _certificate_life(environment, "DOORSTEP_CERTIFICATE_LIFE")
    return Config(place=place, serve=serve, demo_home=demo_home, certificate_life=life)


def child_environment(cloud_home: Path) -> Mapping[str, str]:
    """The environment of the demonstration's programs: ours, with an installation of their own."""
    return environment_of_child(os.environ, cloud_home, Path(sys.executable).parent)


def environment_of_child(environment: Mapping[str, str], cloud_home: Path, programs: Path) -> Mapping[str, str]:
    """The variables without those that name our installation, and with our own programs found first."""
    kept = {name: value for name, value in environment.items() if name not in OF_AN_INSTALLATION}
    path = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return {**kept, "DOORSTEP_CLOUD_HOME": str(cloud_home), "PATH": path}


def _mqtt_version(environment: Mapping[str, str]) -> MqttVersion:
    text = environment.get("DOORSTEP_MQTT_VERSION") or MqttVersion.V5
    if text not in list(MqttVersion):
        raise SettingUnusable("DOORSTEP_MQTT_VERSION", " or ".join(MqttVersion))
    return MqttVersion(text)


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise SettingUnusable(variable, "a port number")
    return int(text)


def _certificate_life(environment: Mapping[str, str], variable: str) -> timedelta:
    """How long a device's certificate is good: a number and d, h, m or s."""
    text = environment.get(variable)
    if not text:
        return CERTIFICATE_AGE_MAX
    number, unit = text[:-1], _UNITS.get(text[-1])
    if unit is not None and number.isascii() and number.isdecimal() and len(number) < 9:
        life = int(number) * unit
        if CERTIFICATE_LIFE_MIN <= life <= CERTIFICATE_AGE_MAX:
            return life
    raise SettingUnusable(variable, "a time from 10s to 90d, such as 30d or 12h")

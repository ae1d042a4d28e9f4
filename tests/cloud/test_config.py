"""What the environment says, and what holds where it says nothing."""

from datetime import timedelta
from pathlib import Path

import pytest

from cloud.config import SettingUnusable, environment_of_child, read_config
from shared.brokers import MqttVersion

USER = Path("/home/anna")


def test_with_an_empty_environment() -> None:
    config = read_config({}, USER)
    home = USER / ".local/share/doorstep/cloud"
    assert config.place.home == home
    assert config.place.database == f"sqlite:///{home}/doorstep.db"
    assert config.place.broker_pid_file == home / "broker" / "mosquitto.pid"
    assert (config.serve.host, config.serve.port, config.serve.names) == (
        "127.0.0.1",
        8443,
        ("localhost", "127.0.0.1"),
    )
    assert (config.serve.broker_host, config.serve.broker_port, config.serve.log_level) == (None, 8883, "INFO")
    assert config.demo_home == USER / ".local/share/doorstep/demo"
    assert config.certificate_life == timedelta(days=90)


def test_every_variable_is_heard() -> None:
    config = read_config(
        {
            "DOORSTEP_CLOUD_HOME": "/srv/cloud",
            "DOORSTEP_DATABASE": "postgresql://db/doorstep",
            "DOORSTEP_HOST": "0.0.0.0",
            "DOORSTEP_PORT": "443",
            "DOORSTEP_NAMES": "cloud.example, 192.0.2.1",
            "DOORSTEP_BROKER_HOST": "broker",
            "DOORSTEP_BROKER_PORT": "18883",
            "DOORSTEP_DEVICE_BROKER_HOST": "broker.example",
            "DOORSTEP_BROKER_PID_FILE": "/run/mosquitto.pid",
            "DOORSTEP_MQTT_VERSION": "3.1.1",
            "DOORSTEP_LOG_LEVEL": "DEBUG",
            "DOORSTEP_DEMO_HOME": "/tmp/demo",
            "DOORSTEP_CERTIFICATE_LIFE": "12h",
        },
        USER,
    )
    assert (config.place.home, config.place.database) == (Path("/srv/cloud"), "postgresql://db/doorstep")
    assert (config.serve.host, config.serve.port) == ("0.0.0.0", 443)
    assert config.serve.names == ("localhost", "127.0.0.1", "cloud.example", "192.0.2.1")
    assert (config.serve.broker_host, config.serve.broker_port) == ("broker", 18883)
    assert config.serve.device_broker_host == "broker.example"
    assert config.serve.mqtt_version is MqttVersion.V311
    assert config.serve.broker_pid_file == config.place.broker_pid_file == Path("/run/mosquitto.pid")
    assert (config.serve.log_level, config.demo_home) == ("DEBUG", Path("/tmp/demo"))
    assert config.certificate_life == timedelta(hours=12)


def test_a_version_of_mqtt_that_is_none_is_named() -> None:
    assert read_config({}, USER).serve.mqtt_version is MqttVersion.V5
    with pytest.raises(SettingUnusable) as refused:
        read_config({"DOORSTEP_MQTT_VERSION": "4"}, USER)
    assert refused.value.variable == "DOORSTEP_MQTT_VERSION"


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "1.5", "٣"])
def test_a_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingUnusable) as refused:
        read_config({"DOORSTEP_PORT": text}, USER)
    assert refused.value.variable == "DOORSTEP_PORT"


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("20m", 1200), ("90d", 90 * 86400), ("2160h", 90 * 86400)])
def test_how_long_certificates_are_good(text: str, seconds: int) -> None:
    config = read_config({"DOORSTEP_CERTIFICATE_LIFE": text}, USER)
    assert config.certificate_life == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["9s", "91d", "d", "90", "-1d", "1w", "1.5d", "٣d", "999999999999d"])
def test_a_life_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingUnusable) as refused:
        read_config({"DOORSTEP_CERTIFICATE_LIFE": text}, USER)
    assert refused.value.variable == "DOORSTEP_CERTIFICATE_LIFE"


def test_the_demonstrations_programs_have_an_installation_of_their_own() -> None:
    ours = {"DOORSTEP_DATABASE": "postgresql://real", "DOORSTEP_CLOUD_HOME": "/real", "LANG": "it", "PATH": "/usr/bin"}
    theirs = environment_of_child(ours | {"DOORSTEP_MODELS": "/models"}, Path("/demo"), Path("/venv/bin"))
    assert theirs == {
        "DOORSTEP_CLOUD_HOME": "/demo",
        "DOORSTEP_MODELS": "/models",
        "LANG": "it",
        "PATH": "/venv/bin:/usr/bin",
    }

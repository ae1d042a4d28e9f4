"""The device's settings and where its files are: the only reader of the environment.

A device lives in one folder (`DOORSTEP_EDGE_HOME`). `settings.toml` in it is written by people, `identity.toml` by
provisioning. Sockets and frames are in `run` inside it, or where `DOORSTEP_EDGE_RUN` says (a memory file system). The
weights of the networks are in `models` inside it, or where `DOORSTEP_MODELS` says.
"""

import json
import os
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TypeVar

from edge.errors import SettingsWrong
from shared.brokers import BrokerAddress, BrokerPlace, MqttVersion, parse_addresses

HOME_DEFAULT = "/var/lib/doorstep"
BROKER_PORT_DEFAULT = 8883
Loaded = TypeVar("Loaded", "Settings", "Identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a device keeps what."""

    home: Path
    run: Path
    models: Path

    @property
    def faces(self) -> Path:
        """The templates of members who asked to be recognised."""
        return self.home / "faces.db"

    @property
    def database(self) -> Path:
        """The main database."""
        return self.home / "doorstep.db"

    @property
    def device_events(self) -> Path:
        """What happened to the device; may be lost."""
        return self.home / "events.db"

    @property
    def damaged(self) -> Path:
        """Where files of a damaged database are moved."""
        return self.home / "damaged"

    @property
    def snapshots(self) -> Path:
        """Copies of the main database, unless the settings say another folder."""
        return self.home / "snapshots"

    @property
    def keys(self) -> Path:
        """Private keys and certificates."""
        return self.home / "keys"

    @property
    def agent_socket(self) -> Path:
        """Where the agent listens."""
        return self.run / "agent.sock"

    @property
    def frames(self) -> Path:
        """The one-slot mailbox of the newest frame."""
        return self.run / "frames"

    @property
    def settings(self) -> Path:
        """What people set."""
        return self.home / "settings.toml"

    @property
    def identity(self) -> Path:
        """What provisioning wrote."""
        return self.home / "identity.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What people set, with the defaults.

    `camera` is an address (`picamera2:`, `v4l2:0`, `rtsp://…`, `file:…`, `dir:…`, `synthetic:…`). `screen_host` and
    `screen_port` say where the kiosk page listens; `languages` the ones it offers, its own first. `touch` when members
    can tap the screen. `snapshots` is the folder for copies of the database, best on another partition or card.
    `broker` (`host:port`, with commas between several nodes) and `mqtt_version` (5 or 3.1.1) are for a broker that
    moved since the device was provisioned; empty, what the cloud said then holds.
    `lan_address` is where the store's other kiosks reach this one, at `lan_port`; a kiosk that is
    the only one of its store, or whose neighbours must not reach it, has none and does not listen.
    """

    camera: str = "picamera2:"
    camera_width: int = 1280
    camera_height: int = 720
    camera_fps: float = 15.0
    screen_host: str = "127.0.0.1"
    screen_port: int = 8400
    languages: tuple[str, ...] = ("en", "it")
    privacy_address: str | None = None
    touch: bool = False
    snapshots: str | None = None
    broker: str = ""
    mqtt_version: str = ""
    lan_address: str | None = None
    lan_port: int = 8446

    @property
    def lan(self) -> str | None:
        """Where the store's other kiosks reach this one, `address:port`, None when they do not."""
        return None if self.lan_address is None else f"{self.lan_address}:{self.lan_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the device is, as the cloud confirmed it. `root_public` is 32 bytes in hex.

    `broker_others` are further nodes of the broker (`b:8883,c:8883`). A device that was provisioned by an earlier
    version has neither these nor `mqtt_version`.
    """

    device: str
    tenant: str
    store: str
    store_name: str
    cloud: str
    broker_host: str
    broker_port: int
    broker_others: str = ""
    mqtt_version: str = MqttVersion.V5.value
    root_public: str  # written last: a file that was cut short has none


def load_places(home: Path | None = None, run: Path | None = None) -> Places:
    """The device's folders: those given, else the environment's, else the packaged default."""
    chosen = home or Path(os.environ.get("DOORSTEP_EDGE_HOME", HOME_DEFAULT))
    run = run or Path(os.environ.get("DOORSTEP_EDGE_RUN") or chosen / "run")
    return Places(home=chosen, run=run, models=Path(os.environ.get("DOORSTEP_MODELS") or chosen / "models"))


def notify_address() -> str | None:
    """Where the service manager wants to hear from this process."""
    return os.environ.get("NOTIFY_SOCKET")


def load_settings(places: Places) -> Settings:
    """The settings of the device. Raises: SettingsWrong, naming the setting."""
    if not places.settings.exists():
        return Settings()
    return _typed(Settings(), _read_toml(places.settings), places.settings)


def load_identity(places: Places) -> Identity:
    """Who the device is. Raises: SettingsWrong when it is not provisioned."""
    if not places.identity.exists():
        raise SettingsWrong(f"{places.home} holds no provisioned device: run doorstep-edge provision")
    blank = Identity(
        device="", tenant="", store="", store_name="", cloud="", broker_host="", broker_port=0, root_public=""
    )
    given = _read_toml(places.identity)
    missing = [field.name for field in fields(Identity) if field.default is MISSING and field.name not in given]
    if missing:
        raise SettingsWrong(f"{places.identity}: {', '.join(missing)} missing")
    return _typed(blank, given, places.identity)


def find_broker(places: Places) -> BrokerPlace:
    """Where the broker is: what people set, else what the cloud said. Raises: SettingsWrong, naming the file."""
    identity, settings = load_identity(places), load_settings(places)
    version = settings.mqtt_version or identity.mqtt_version
    if version not in list(MqttVersion):
        at = places.settings if settings.mqtt_version else places.identity
        raise SettingsWrong(f"{at}: mqtt_version should be {' or '.join(MqttVersion)}")
    if settings.broker:
        set_by_people = _addresses(settings.broker, places.settings, "broker")
        return BrokerPlace.of(set_by_people, MqttVersion(version))
    first = BrokerAddress(host=identity.broker_host, port=identity.broker_port)
    others = _addresses(identity.broker_others, places.identity, "broker_others") if identity.broker_others else ()
    return BrokerPlace(first=first, others=others, mqtt=MqttVersion(version))


def _addresses(text: str, path: Path, name: str) -> tuple[BrokerAddress, ...]:
    addresses = parse_addresses(text, BROKER_PORT_DEFAULT)
    if addresses is None:
        raise SettingsWrong(f"{path}: {name} should be addresses such as broker.example:8883, with commas between them")
    return addresses


def write_identity(places: Places, identity: Identity) -> None:
    """Puts the identity in its place, whole or not at all. What is as ever is left out: an earlier version reads it."""
    values = [(field, getattr(identity, field.name)) for field in fields(identity)]
    lines = [f"{field.name} = {_toml(value)}\n" for field, value in values if value != field.default]
    fresh = places.identity.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write("".join(lines))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(places.identity)


def _toml(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped as well.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsWrong(f"{path}: {error}") from error


def _typed(defaults: Loaded, given: dict[str, object], path: Path) -> Loaded:
    """The defaults with what was given in their place, each value of the default's type."""
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    for name, value in given.items():
        if name not in known:
            raise SettingsWrong(f"{path}: unknown setting {name!r}; known are {', '.join(known)}")
        known[name] = _converted(name, value, known[name], path)
    return type(defaults)(**known)


def _converted(name: str, value: object, default: object, path: Path) -> object:
    if isinstance(value, list) and isinstance(default, tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(default, float):
        return float(value)
    if default is None and isinstance(value, str):
        return value
    if type(value) is type(default):
        return value
    raise SettingsWrong(f"{path}: {name} should be of type {type(default).__name__}")

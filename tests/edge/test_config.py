"""Settings and identity: where they are looked for, what is said of those that cannot be used, and whole writes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import (
    HOME_DEFAULT,
    Identity,
    Places,
    Settings,
    find_broker,
    load_identity,
    load_places,
    load_settings,
    notify_address,
    write_identity,
)
from edge.errors import SettingsWrong
from shared.brokers import BrokerAddress, BrokerPlace, MqttVersion

IDENTITY = Identity(
    device="kiosk1",
    tenant="acme",
    store="rome-1",
    store_name="Acme Roma",
    cloud="https://cloud.example:8443",
    broker_host="broker.example",
    broker_port=8883,
    root_public="ab" * 32,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path, run=tmp_path / "run", models=tmp_path / "models")


def test_the_folder_given_wins_over_the_environments_and_that_over_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOORSTEP_EDGE_HOME", raising=False)
    monkeypatch.delenv("DOORSTEP_EDGE_RUN", raising=False)
    monkeypatch.delenv("DOORSTEP_MODELS", raising=False)
    packaged = Path(HOME_DEFAULT)
    assert load_places() == Places(home=packaged, run=packaged / "run", models=packaged / "models")
    monkeypatch.setenv("DOORSTEP_EDGE_HOME", str(tmp_path / "environment"))
    assert load_places().home == tmp_path / "environment"
    assert load_places(tmp_path / "given") == Places(
        home=tmp_path / "given", run=tmp_path / "given" / "run", models=tmp_path / "given" / "models"
    )
    monkeypatch.setenv("DOORSTEP_EDGE_RUN", str(tmp_path / "memory"))
    assert load_places(tmp_path / "given").run == tmp_path / "memory"
    assert load_places(tmp_path / "given", tmp_path / "told").run == tmp_path / "told"
    monkeypatch.setenv("DOORSTEP_MODELS", str(tmp_path / "weights"))
    assert load_places(tmp_path / "given").models == tmp_path / "weights"


def test_everything_has_one_place(places: Places) -> None:
    home = places.home
    assert (places.database, places.keys) == (home / "doorstep.db", home / "keys")
    assert (places.settings, places.identity) == (home / "settings.toml", home / "identity.toml")
    assert (places.agent_socket, places.frames) == (home / "run" / "agent.sock", home / "run" / "frames")
    assert places.faces == home / "faces.db"


def test_the_service_managers_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify_address() is None
    monkeypatch.setenv("NOTIFY_SOCKET", "@notify")
    assert notify_address() == "@notify"


def test_without_a_file_the_defaults_hold(places: Places) -> None:
    assert load_settings(places) == Settings()


def test_what_people_set_replaces_the_defaults(places: Places) -> None:
    places.settings.write_text(
        'camera = "v4l2:0"\ncamera_fps = 10\nscreen_port = 9000\nlanguages = ["it"]\n'
        'privacy_address = "https://acme.example/privacy"\n',
        encoding="utf-8",
    )
    assert load_settings(places) == Settings(
        camera="v4l2:0",
        camera_fps=10.0,
        screen_port=9000,
        languages=("it",),
        privacy_address="https://acme.example/privacy",
    )


def test_a_kiosk_is_reached_by_its_store_only_where_it_has_an_address(places: Places) -> None:
    assert load_settings(places).lan is None
    places.settings.write_text('lan_address = "192.168.1.20"\n', encoding="utf-8")
    assert load_settings(places).lan == "192.168.1.20:8446"
    places.settings.write_text('lan_address = "door.local"\nlan_port = 9000\n', encoding="utf-8")
    assert load_settings(places).lan == "door.local:9000"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("camera = 7", "camera should be of type str"),
        ('camera_width = "wide"', "camera_width should be of type int"),
        ("camera_width = 12.5", "camera_width should be of type int"),
        ("screen_port = true", "screen_port should be of type int"),
        ('camera_fps = "fast"', "camera_fps should be of type float"),
        ("camera_fps = true", "camera_fps should be of type float"),
        ('languages = "en"', "languages should be of type tuple"),
        ('languages = ["en", 1]', "languages should be of type tuple"),
        ("privacy_address = 1", "privacy_address should be of type NoneType"),
        ("[camera]\nname = 1", "camera should be of type str"),
        ('kamera = "v4l2:0"', "unknown setting 'kamera'; known are camera,"),
        ("camera = ", "Invalid value"),
        ('camera = "a"\ncamera = "b"', "Cannot overwrite"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_file(places: Places, text: str, named: str) -> None:
    places.settings.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsWrong) as raised:
        load_settings(places)
    assert str(raised.value).startswith(f"{places.settings}: ")
    assert named in str(raised.value)


@pytest.mark.parametrize("content", [b'camera = "\xff"', b"\x00"])
def test_a_file_that_is_no_text_is_named(places: Places, content: bytes) -> None:
    places.settings.write_bytes(content)
    with pytest.raises(SettingsWrong):
        load_settings(places)


def test_a_folder_in_a_files_place_is_named(places: Places) -> None:
    places.settings.mkdir()
    with pytest.raises(SettingsWrong):
        load_settings(places)


def test_a_device_that_is_not_provisioned_says_so(places: Places) -> None:
    with pytest.raises(SettingsWrong, match="doorstep-edge provision"):
        load_identity(places)


def test_an_identity_is_read_as_it_was_written(places: Places) -> None:
    write_identity(places, IDENTITY)
    assert load_identity(places) == IDENTITY
    assert [path.name for path in places.home.iterdir()] == ["identity.toml"]


def test_an_identity_of_an_earlier_version_and_for_one_are_the_same(places: Places) -> None:
    write_identity(places, IDENTITY)
    assert "mqtt_version" not in places.identity.read_text(encoding="utf-8")
    clustered = replace(IDENTITY, broker_others="b:8884,c:8883", mqtt_version="3.1.1")
    write_identity(places, clustered)
    assert load_identity(places) == clustered


def at(host: str, port: int) -> BrokerAddress:
    return BrokerAddress(host=host, port=port)


def test_the_broker_is_where_the_cloud_said_until_people_say_otherwise(places: Places) -> None:
    write_identity(places, IDENTITY)
    assert find_broker(places) == BrokerPlace(first=at("broker.example", 8883))
    write_identity(places, replace(IDENTITY, broker_others="b:8884,c:8883", mqtt_version="3.1.1"))
    told = BrokerPlace(first=at("broker.example", 8883), others=(at("b", 8884), at("c", 8883)), mqtt=MqttVersion.V311)
    assert find_broker(places) == told
    places.settings.write_text('mqtt_version = "5"\n')
    assert find_broker(places) == replace(told, mqtt=MqttVersion.V5)
    places.settings.write_text('broker = "d, e:1"\n')
    assert find_broker(places) == BrokerPlace(first=at("d", 8883), others=(at("e", 1),), mqtt=MqttVersion.V311)


@pytest.mark.parametrize(
    ("text", "named"),
    [('broker = "a:b"', "broker should be addresses"), ('mqtt_version = "4"', "should be 5 or 3.1.1")],
)
def test_a_broker_that_cannot_be_is_named(places: Places, text: str, named: str) -> None:
    write_identity(places, IDENTITY)
    places.settings.write_text(text)
    with pytest.raises(SettingsWrong, match=named) as raised:
        find_broker(places)
    assert str(raised.value).startswith(f"{places.settings}: ")
    places.settings.unlink()
    is_place = text.startswith("broker")
    write_identity(places, replace(IDENTITY, broker_others="a b") if is_place else replace(IDENTITY, mqtt_version="4"))
    with pytest.raises(SettingsWrong, match="broker_others" if is_place else "mqtt_version") as raised:
        find_broker(places)
    assert str(raised.value).startswith(f"{places.identity}: ")


def test_an_identity_cut_short_is_not_taken_for_whole(places: Places) -> None:
    write_identity(places, IDENTITY)
    lines = places.identity.read_text(encoding="utf-8").splitlines(keepends=True)
    places.identity.write_text("".join(lines[:-2]), encoding="utf-8")
    with pytest.raises(SettingsWrong, match="broker_port, root_public missing"):
        load_identity(places)
    places.identity.write_text("", encoding="utf-8")
    with pytest.raises(SettingsWrong, match="device, tenant"):
        load_identity(places)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(store_name=TEXTS, host=TEXTS, port=st.integers(0, 65535))
def test_whatever_the_cloud_calls_the_store_can_be_written_down(
    tmp_path_factory: pytest.TempPathFactory, store_name: str, host: str, port: int
) -> None:
    home = tmp_path_factory.mktemp("home")
    places = Places(home=home, run=home / "run", models=home / "models")
    identity = Identity(
        device="kiosk1",
        tenant="acme",
        store="rome-1",
        store_name=store_name,
        cloud="https://cloud.example",
        broker_host=host,
        broker_port=port,
        root_public="ab" * 32,
    )
    write_identity(places, identity)
    assert load_identity(places) == identity

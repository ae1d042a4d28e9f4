"""Kiosks confirmed at the same moment are all on the access list, whoever wrote it last."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Engine

from cloud.cli.access import refresh_access
from cloud.cli.place import Place
from shared.ids import DeviceId
from tests.cloud.devices.conftest import NOW, Registry
from tests.cloud.devices.kiosk import Kiosk

AT_ONCE = 12


def test_no_list_is_replaced_by_one_that_was_read_before(registry: Registry, engine: Engine, tmp_path: Path) -> None:
    """Two confirmations wrote the list in the other order than they had read it, and one kiosk was never heard."""
    place = Place(home=tmp_path, database="", broker_pid_file=tmp_path / "pid")
    place.keys.mkdir()

    def bring_in(kiosk: Kiosk) -> DeviceId:
        id = registry.certified(kiosk)
        refresh_access(engine, registry.keyring, place, NOW)
        return id

    with ThreadPoolExecutor(AT_ONCE) as technicians:
        brought_in = set(technicians.map(bring_in, [Kiosk() for _ in range(AT_ONCE)]))
    users = {line.split()[1] for line in place.broker_files().access_list.read_text().splitlines() if "user" in line}
    assert users == brought_in | {"cloud"}

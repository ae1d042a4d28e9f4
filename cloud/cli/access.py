"""Keeps the broker's two lists, who may speak and which certificates are void, as the registry has them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from cloud.broker.mosquitto import CLOUD_NAME, reload, render_acl, write_atomically
from cloud.cli.place import Place
from cloud.devices.queries import active_devices, revoked_serials
from cloud.kit.database import reading
from cloud.kit.keyring import KeyFiles, Keyring, revocation_list

BROKER_PROGRAM: Final = "mosquitto"


def refresh_access(engine: Engine, keyring: Keyring, place: Place, now: datetime) -> None:
    """The files say what the registry says, and a broker that runs under our eyes has read them.

    The access list cuts a revoked device off at once, in the session it has; the revocation list keeps it from
    opening another. Neither alone is enough.
    """
    files = place.broker_files()
    assert files.revocations is not None, "an installation always has its list"
    with _one_at_a_time(files.access_list.parent):
        with reading(engine) as connection:
            devices = active_devices(connection)
            void = revoked_serials(connection, now)
        write_atomically(files.revocations, revocation_list(keyring, void, now).decode())
        workers = (CLOUD_NAME, *KeyFiles(folder=place.keys).workers())
        write_atomically(files.access_list, render_acl(devices, workers=workers))
    pid = broker_pid(place)
    if pid is not None:
        reload(pid)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Nobody else, in this process or another, is between reading the registry and having written the lists.

    Otherwise of two kiosks confirmed at once the list that was read first may be written last, without the other one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lists.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def broker_pid(place: Place) -> int | None:
    """The number of the broker's process, or None where we are not told or it runs no more.

    A number may have been given to somebody else since, whom our signal would end.
    """
    if not place.broker_pid_file.exists():
        return None
    text = place.broker_pid_file.read_text().strip()
    name = Path("/proc", text, "comm")
    return int(text) if text.isdecimal() and name.exists() and name.read_text().strip() == BROKER_PROGRAM else None

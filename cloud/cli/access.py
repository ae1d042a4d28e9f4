"""Keeps the broker's two lists, who may speak and which certificates are void, as the registry has them."""

from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from cloud.broker.mosquitto import reload, render_acl, write_atomically
from cloud.cli.place import Place
from cloud.devices.queries import active_devices, revoked_serials
from cloud.kit.database import reading
from cloud.kit.keyring import Keyring, revocation_list

BROKER_PROGRAM: Final = "mosquitto"


def refresh_access(engine: Engine, keyring: Keyring, place: Place, now: datetime) -> None:
    """The files say what the registry says, and a broker that runs under our eyes has read them.

    The access list cuts a revoked device off at once, in the session it has; the revocation list keeps it from
    opening another. Neither alone is enough.
    """
    with reading(engine) as connection:
        devices = active_devices(connection)
        void = revoked_serials(connection, now)
    files = place.broker_files()
    files.access_list.parent.mkdir(parents=True, exist_ok=True)
    assert files.revocations is not None, "an installation always has its list"
    write_atomically(files.revocations, revocation_list(keyring, void, now).decode())
    write_atomically(files.access_list, render_acl(devices))
    pid = broker_pid(place)
    if pid is not None:
        reload(pid)


def broker_pid(place: Place) -> int | None:
    """The number of the broker's process, or None where we are not told or it runs no more.

    A number may have been given to somebody else since, whom our signal would end.
    """
    if not place.broker_pid_file.exists():
        return None
    text = place.broker_pid_file.read_text().strip()
    name = Path("/proc", text, "comm")
    return int(text) if text.isdecimal() and name.exists() and name.read_text().strip() == BROKER_PROGRAM else None

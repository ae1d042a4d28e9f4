"""A provisioned device's folder made by hand: keys, identity, and a database that was told all it needs."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.db.templates import TemplateDatabase
from shared.answers import RosterEntry
from shared.ids import MemberId
from tests.support.entrances import Keys, Kiosk, card, member_id

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHome:
    """A device's folder and the keys of the cloud that it believes."""

    folder: Path
    keys: Keys

    @property
    def database(self) -> Path:
        """The device's database."""
        return self.folder / "doorstep.db"

    @property
    def agent_socket(self) -> Path:
        """Where its agent listens."""
        return self.folder / "run" / "agent.sock"

    def card(self, number: int) -> str:
        """The text of a member's card."""
        return card(self.keys, member_id(number))


def make_home(folder: Path, *, members: int = 50, total: int = 1_000_000, screen_port: int = 8490) -> DeviceHome:
    """A device that may grant at once: epoch, policy, allotment, a roster, the time told a moment ago in this boot."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "keys").mkdir(parents=True)
    kiosk = Kiosk(folder)
    kiosk.clock.instant = datetime.now(UTC)
    kiosk.clock.boot = BOOT_ID.read_text().strip()
    kiosk.clock.uptime_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    kiosk.ready(total=total)
    kiosk.know(*_roster(range(1, members + 1)))
    kiosk.database.close()
    (folder / f"{kiosk.device}.db").rename(folder / "doorstep.db")
    with TemplateDatabase(folder / "faces.db") as templates:
        templates.open()  # as after the first start: making the schema loads 30 MB of library
    (folder / "keys" / "signing.key").write_bytes(kiosk.signing_key.private_bytes_raw())
    root = kiosk.keys.root.public_key().public_bytes_raw().hex()
    (folder / "identity.toml").write_text(
        f'device = "{kiosk.device}"\ntenant = "acme"\nstore = "rome-1"\nstore_name = "Acme Roma"\n'
        f'cloud = "https://127.0.0.1:9"\nbroker_host = "127.0.0.1"\nbroker_port = 9\nroot_public = "{root}"\n'
    )
    home = DeviceHome(folder=folder, keys=kiosk.keys)
    write_settings(home, camera="synthetic:", screen_port=screen_port)
    return home


def write_settings(home: DeviceHome, *, camera: str, screen_port: int) -> None:
    """What people would set."""
    (home.folder / "settings.toml").write_text(f'camera = "{camera}"\nscreen_port = {screen_port}\n')


def write_scene(home: DeviceHome, acts: Sequence[dict[str, str | float]], *, loop: bool = True) -> str:
    """A scene for the synthetic camera; returns the camera's address."""
    path = home.folder / "scene.json"
    path.write_text(json.dumps({"width": 1280, "height": 720, "rate": 15, "loop": loop, "acts": list(acts)}))
    return f"synthetic:{path}"


def _roster(numbers: range) -> list[RosterEntry]:
    members: list[MemberId] = [member_id(number) for number in numbers]
    return [
        RosterEntry(member=member, nickname=f"Member {number}", language="en", balance=100, balance_ms=0)
        for number, member in zip(numbers, members, strict=True)
    ]

"""The agent as a process on a damaged database: it comes up, says what it did, and grants nothing it should not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.channel.messages import StatusTold
from edge.core.recovery import Beginning
from edge.core.screen import ScreenName
from tests.support.agent_peer import Doorman, Watcher, ask_status
from tests.support.homes import DeviceHome, make_home
from tests.support.mosquitto import wait_until
from tests.support.shop import Guest, Shop, ShopKiosk, open_shop, verify_all

pytestmark = pytest.mark.timeout(120)


@contextmanager
def agent_of(home: DeviceHome) -> Iterator[StatusTold]:
    """The agent runs; how it is at first."""
    (home.folder / "run").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "edge.app", "agent", str(home.folder), str(home.folder / "run")]
    with (home.folder / "agent.log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_until(lambda: ask_status(home.agent_socket) is not None, "the agent answers", 60)
            told = ask_status(home.agent_socket)
            assert told is not None
            yield told
        finally:
            process.kill()


def say(home: DeviceHome, *words: str) -> str:
    """What the command line prints."""
    command = [sys.executable, "-m", "edge", *words]
    environment = os.environ | {"DOORSTEP_EDGE_HOME": str(home.folder)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def grant(home: DeviceHome, *members: int) -> None:
    with Watcher(home.agent_socket) as watcher:
        doorman = Doorman(home.agent_socket)
        for number in members:
            before = len(watcher.claims)
            assert doorman.show(home.card(number))
            wait_until(lambda before=before: len(watcher.claims) > before, f"member {number} is greeted", 20)  # type: ignore[misc]  # a default binds the loop's value
        doorman.close()


def test_a_flipped_bit_is_found_at_the_start_and_the_command_line_says_what_became_of_it(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with agent_of(home) as told:
        assert told.recovery is None
        grant(home, 1, 2, 3)
    data = bytearray(home.database.read_bytes())
    data[-3] ^= 1  # of the last page: quick_check reads it as a value
    home.database.write_bytes(data)

    with agent_of(home) as told:
        assert told.recovery is not None
        assert (told.recovery.how, told.recovery.salvaged, told.epoch) == (Beginning.EMPTY, 3, 0)
        assert told.claims_total == 3, "what was shown is kept"
        text = say(home, "status")
        assert "started empty after damage" in text
        assert "grants nothing until the cloud answers" in text
        assert json.loads(say(home, "status", "--json"))["recovery"]["salvaged"] == 3
        assert told.screen == ScreenName.IDLE
    kinds = [json.loads(line)["kind"] for line in say(home, "events", "--json").splitlines()]
    assert "recovered" in kinds
    assert "recovered" in say(home, "events")
    assert "the database is damaged" in (home.folder / "agent.log").read_text()
    assert [path.name for path in (home.folder / "damaged").iterdir()] != []
    assert say(home, "db", "verify") == "the file is sound and the chain is whole\n"


# --- with a real cloud ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop of its own with one kiosk: an epoch that was set aside stays so."""
    with open_shop(kiosks=1) as opened:
        yield opened


def told_by(kiosk: ShopKiosk) -> StatusTold:
    told = ask_status(kiosk.agent_socket)
    assert told is not None
    return told


def run_until(shop: Shop, kiosk: ShopKiosk, ready: Callable[[StatusTold], bool], what: str) -> None:
    """Agent and link run, and the kiosk is as it should be."""
    shop.start(kiosk, "agent", "link")
    wait_until(lambda: (told := ask_status(kiosk.agent_socket)) is not None and ready(told), what, 60)


def serve(kiosk: ShopKiosk, guest: Guest) -> None:
    with Watcher(kiosk.agent_socket) as watcher:
        doorman = Doorman(kiosk.agent_socket)
        assert doorman.show(guest.card)
        wait_until(lambda: len(watcher.claims) > 0, "the guest is greeted", 20)
        doorman.close()


def settle(kiosk: ShopKiosk) -> None:
    wait_until(lambda: told_by(kiosk).outbox_waiting == 0, "everything is settled", 60)


def files_of(kiosk: ShopKiosk) -> dict[Path, bytes]:
    """The database as an image of the card would hold it."""
    paths = (Path(f"{kiosk.database}{end}") for end in ("", "-wal", "-sums"))
    return {path: path.read_bytes() for path in paths if path.exists()}


def set_aside(shop: Shop) -> list[int]:
    listed = json.loads(shop.ask("doorstep-cloud", "devices", "list", "--json"))
    return [one["epoch"] for one in listed["set_aside"]]


@pytest.mark.timeout(300)
def test_damage_and_an_image_put_back_end_in_new_epochs_and_only_the_fork_is_set_aside(shop: Shop) -> None:
    (kiosk,) = shop.kiosks
    guests = shop.enrol(5)
    run_until(shop, kiosk, lambda told: told.allotment_left > 0, "it may grant")
    serve(kiosk, guests[0])
    settle(kiosk)
    shop.end_kiosks()

    flipped = bytearray(kiosk.database.read_bytes())
    flipped[-3] ^= 1
    kiosk.database.write_bytes(flipped)
    run_until(shop, kiosk, lambda told: told.epoch == 2 and told.allotment_left > 0, "it may grant after damage")
    told = told_by(kiosk)
    assert told.recovery is not None
    assert told.recovery.how == Beginning.EMPTY
    serve(kiosk, guests[1])
    settle(kiosk)
    assert len(shop.grants()) == 2
    assert set_aside(shop) == [], "damage is no fork"

    shop.end_kiosks()
    image = files_of(kiosk)
    run_until(shop, kiosk, lambda told: told.online, "it is online")
    serve(kiosk, guests[2])
    settle(kiosk)
    shop.end_kiosks()
    for end in ("", "-wal", "-shm", "-sums"):
        Path(f"{kiosk.database}{end}").unlink(missing_ok=True)
    for path, data in image.items():
        path.write_bytes(data)
    run_until(shop, kiosk, lambda told: told.online, "the image that was put back is online")
    serve(kiosk, guests[3])  # under a number that the cloud knows already
    wait_until(lambda: told_by(kiosk).epoch == 3, "the kiosk takes a new epoch by itself", 60)
    told = told_by(kiosk)
    assert told.recovery is not None
    assert told.recovery.how == Beginning.SET_BACK
    assert set_aside(shop) == [2]
    assert "set aside" in shop.ask("doorstep-cloud", "devices", "list")
    wait_until(lambda: told_by(kiosk).allotment_left > 0, "it may grant again", 60)
    serve(kiosk, guests[4])
    settle(kiosk)
    assert len(shop.grants()) == 4, "the fork's grant waits for a person"
    verify_all(shop)

"""The agent as a process on a damaged database: it comes up, says what it did, and grants nothing it should not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.channel.messages import StatusTold
from edge.core.recovery import Beginning
from edge.core.screen import ScreenName
from tests.support.agent_peer import Doorman, Watcher, ask_status
from tests.support.homes import DeviceHome, make_home
from tests.support.mosquitto import wait_until

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

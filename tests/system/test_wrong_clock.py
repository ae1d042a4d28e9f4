"""A kiosk whose clock was never set, against a real broker and cloud: it connects, learns the time, and grants."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.business_day import ClockTrust
from tests.support.agent_peer import ask_status
from tests.support.mosquitto import wait_until
from tests.support.shop import Shop
from tests.support.wrong_clock import compiler, make_library, under_clock

START_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(compiler() is None, reason="no C compiler (apt install gcc)"),
]


@pytest.mark.parametrize("boots_in", [datetime(1970, 1, 1, 0, 1, tzinfo=UTC), datetime(2045, 1, 2, tzinfo=UTC)])
def test_whatever_year_it_boots_in_it_is_soon_on_the_line_with_the_right_time(
    shop: Shop, tmp_path: Path, boots_in: datetime
) -> None:
    kiosk, library = shop.kiosks[0], make_library(tmp_path)
    prefix = under_clock(library, boots_in)
    says = subprocess.run(
        [*prefix, sys.executable, "-c", "import datetime; print(datetime.datetime.now(datetime.UTC).year)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(says.stdout) == boots_in.year, "the library does what it is there for"
    for role in ("agent", "link"):
        command = [*prefix, sys.executable, "-m", "edge.app", role, str(kiosk.home), str(kiosk.home / "run")]
        shop.children.start(kiosk.process(role), command)

    def may_grant() -> bool:
        told = ask_status(kiosk.agent_socket)
        return told is not None and told.online and told.clock_trust == ClockTrust.SYNCED and told.allotment_left > 0

    wait_until(may_grant, "the kiosk may grant", START_S)
    told = ask_status(kiosk.agent_socket)
    assert told is not None
    assert told.renewal == "current"
    assert told.business_day is not None
    assert told.business_day[:4] == str(datetime.now(UTC).year)

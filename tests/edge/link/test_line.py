"""The keeper of the connection: its pauses, and threads that die or hang."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.link.line import Line, WentDown, WentUp, draw_pause_s, run_to_its_end
from edge.link.mqtt import Connection, LinkOptions
from shared.brokers import BrokerAddress
from shared.ids import DeviceId
from shared.topics import Down
from tests.support.certificates import Authority
from tests.support.mosquitto import HOST, PrivateMosquitto, free_port, private_mosquitto

K1 = DeviceId("k1")

pytestmark = pytest.mark.timeout(30)


def options(
    folder: Path,
    port: int,
    *,
    authority: Authority | None = None,
    connect_timeout_s: float = 5.0,
    stuck_s: float = 60.0,
) -> LinkOptions:
    authority = authority or Authority(folder)
    identity = authority.issue_client("k1")
    return LinkOptions(
        host=HOST,
        port=port,
        ca=authority.certificate,
        certificate=identity.certificate,
        key=identity.key,
        connect_timeout_s=connect_timeout_s,
        stuck_s=stuck_s,
        retry_min_s=0.05,
        retry_max_s=0.1,
    )


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Somebody who accepts connections and never says a word."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    with private_mosquitto(["k1"]) as broker:
        yield broker


@given(attempt=st.integers(min_value=0, max_value=10_000), seed=st.integers())
def test_a_pause_is_drawn_from_nothing_to_the_ceiling(attempt: int, seed: int) -> None:
    defaults = LinkOptions(host="", port=1, ca=Path(), certificate=Path(), key=Path())
    pause_s = draw_pause_s(defaults, attempt, Random(seed))
    assert 0.0 <= pause_s <= min(60.0, 2.0**attempt if attempt < 7 else 60.0)


def test_pauses_grow_and_are_spread_over_their_whole_range() -> None:
    defaults = LinkOptions(host="", port=1, ca=Path(), certificate=Path(), key=Path())
    random = Random(3)
    late = [draw_pause_s(defaults, 20, random) for _ in range(200)]
    assert min(late) < 3.0
    assert max(late) > 27.0


def test_a_silent_broker_is_given_up_in_time(tmp_path: Path, silent: socket.socket) -> None:
    connection = Connection(
        options(tmp_path, silent.getsockname()[1], connect_timeout_s=0.2),
        device=K1,
        will=b"",
        listener=Deaf(),
        numbers=itertools.count(1),
    )
    assert run_to_its_end(connection) == "the broker does not answer"
    assert not connection.was_up


def test_nobody_listening_is_named(tmp_path: Path, silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    silent.close()
    connection = Connection(options(tmp_path, port), device=K1, will=b"", listener=Deaf(), numbers=itertools.count(1))
    assert run_to_its_end(connection) == "Connection refused"


def test_a_thread_that_hangs_is_left_behind_and_another_one_tries(tmp_path: Path, silent: socket.socket) -> None:
    async def story() -> None:
        settings = options(tmp_path, silent.getsockname()[1], connect_timeout_s=2.5, stuck_s=0.5)
        line = Line(settings, device=K1, will=b"", random=Random(1))
        keeper = asyncio.create_task(line.keep_up())
        assert await line.next() == WentDown(reason="the MQTT thread hangs")
        silent.settimeout(5)
        attempts = [await asyncio.to_thread(silent.accept) for _ in range(2)]
        assert len({address for _, address in attempts}) == 2
        keeper.cancel()
        await asyncio.wait({keeper})
        for accepted, _ in attempts:
            accepted.close()

    asyncio.run(story())


def test_a_node_that_is_not_there_leaves_its_turn_to_the_next(tmp_path: Path, broker: PrivateMosquitto) -> None:
    async def story() -> None:
        others = (BrokerAddress(host=HOST, port=broker.port),)
        settings = replace(options(tmp_path, free_port(), authority=broker.authority), others=others)
        line = Line(settings, device=K1, will=b"", random=Random(1))
        keeper = asyncio.create_task(line.keep_up())
        assert await line.next() == WentDown(reason="Connection refused")
        assert await line.next() == WentUp()
        keeper.cancel()
        await asyncio.wait({keeper})

    asyncio.run(story())


class Deaf:
    """A listener that takes no notes."""

    def up(self) -> None:
        """Nothing."""

    def heard(self, number: int, kind: Down, data: bytes) -> None:
        """Nothing."""


class Faulty(Deaf):
    """A listener that breaks inside paho's callback."""

    def up(self) -> None:
        raise LookupError("a fault of ours")


def test_an_exception_in_a_callback_ends_the_connection_and_not_more(
    broker: PrivateMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """With paho's own loop it would end the network thread in silence, and nothing would start it again."""
    settings = options(broker.files.storage, broker.port, authority=broker.authority)
    numbers = itertools.count(1)
    for _ in range(2):
        connection = Connection(settings, device=K1, will=b"", listener=Faulty(), numbers=numbers)
        assert run_to_its_end(connection) == "a fault of ours"
    assert "LookupError" in caplog.text

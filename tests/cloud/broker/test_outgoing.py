"""The queue between other threads and the session."""

import select
from collections.abc import Iterator

import pytest

from cloud.broker.messages import Outbound
from cloud.broker.outgoing import Outgoing
from shared.ids import DeviceId
from shared.topics import Down


@pytest.fixture
def outgoing() -> Iterator[Outgoing]:
    outgoing = Outgoing(bytes_max=10)
    yield outgoing
    outgoing.close()


def message(data: bytes) -> Outbound:
    return Outbound(device=DeviceId("k1"), kind=Down.FEED, data=data)


def rings(outgoing: Outgoing) -> bool:
    return bool(select.select([outgoing], [], [], 0)[0])


def test_a_message_rings_until_it_is_taken(outgoing: Outgoing) -> None:
    assert not rings(outgoing)
    assert outgoing.put(message(b"a"))
    assert rings(outgoing)
    assert outgoing.take(5) == [message(b"a")]
    assert not rings(outgoing)


def test_the_oldest_come_first_and_no_more_than_asked_for(outgoing: Outgoing) -> None:
    for data in (b"a", b"b", b"c"):
        outgoing.put(message(data))
    assert outgoing.take(2) == [message(b"a"), message(b"b")]
    assert outgoing.take(-1) == []
    assert outgoing.take(2) == [message(b"c")]


def test_it_refuses_what_would_exceed_its_bytes_and_takes_again_once_there_is_room(outgoing: Outgoing) -> None:
    assert outgoing.put(message(b"0123456789"))
    assert not outgoing.put(message(b"a"))
    outgoing.take(1)
    assert outgoing.put(message(b"a"))


def test_ringing_for_ever_is_harmless(outgoing: Outgoing) -> None:
    for _ in range(20_000):
        outgoing.ring()
    assert rings(outgoing)
    outgoing.take(0)
    assert not rings(outgoing)

"""Addresses of brokers as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.brokers import (
    ADDRESSES_MAX,
    TEXT_LENGTH_MAX,
    BrokerAddress,
    BrokerPlace,
    MqttVersion,
    format_addresses,
    parse_addresses,
)


def at(host: str, port: int = 8883) -> BrokerAddress:
    return BrokerAddress(host=host, port=port)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("broker.example", (at("broker.example"),)),
        ("10.0.0.1:1", (at("10.0.0.1", 1),)),
        ("a, b:65535 ,c", (at("a"), at("b", 65535), at("c"))),
        ("::1", (at("::1"),)),
        ("[::1]", (at("::1"),)),
        ("[fe80::1]:9,b", (at("fe80::1", 9), at("b"))),
        (",".join("a" * ADDRESSES_MAX), (at("a"),) * ADDRESSES_MAX),
    ],
)
def test_addresses_are_read(text: str, addresses: tuple[BrokerAddress, ...]) -> None:
    assert parse_addresses(text, 8883) == addresses


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,",
        ":1",
        "a:",
        "a:0",
        "a:65536",
        "a:123456",
        "a:x",
        "a:²",
        "a b",
        "mqtts://a",
        "user@a",
        "[::1",
        "[::1]9",
        "[::1]:",
        "[]:9",
        "a]",
        ",".join("a" * (ADDRESSES_MAX + 1)),
        "a" * (TEXT_LENGTH_MAX + 1),
    ],
)
def test_what_is_no_list_of_addresses_is_refused_whole(text: str) -> None:
    assert parse_addresses(text, 8883) is None


HOSTS = st.from_regex(r"[a-z0-9.:-]{1,20}", fullmatch=True)


@given(st.lists(st.builds(BrokerAddress, host=HOSTS, port=st.integers(1, 65535)), min_size=1, max_size=ADDRESSES_MAX))
def test_what_is_written_is_read_again(addresses: list[BrokerAddress]) -> None:
    assert parse_addresses(format_addresses(tuple(addresses)), 1) == tuple(addresses)


def test_nodes_are_tried_in_turn_and_then_again() -> None:
    place = BrokerPlace.of((at("a"), at("b"), at("c")), MqttVersion.V311)
    assert [place.address(turn).host for turn in range(5)] == ["a", "b", "c", "a", "b"]
    assert place == BrokerPlace(first=at("a"), others=(at("b"), at("c")), mqtt=MqttVersion.V311)
    assert BrokerPlace(first=at("a")).address(7) == at("a")

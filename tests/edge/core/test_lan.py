"""What kiosks of a store say to each other: read back, refused when it is none, and a time that is believed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.lan import (
    LAN_BYTES_MAX,
    BootAsked,
    BootTold,
    LanAnswer,
    LanQuestion,
    LanTimeAsked,
    LanTimeTold,
    PresenceAsked,
    Present,
    RightAsked,
    RightTold,
    believe_boot,
    believe_lan_time,
    decode_answer,
    decode_question,
    tell_boot,
    tell_lan_time,
)
from shared.ids import DeviceId
from tests.support.kiosk import key_of

NONCE = bytes(range(16))
KEY = key_of("door1")
PUBLIC = KEY.public_key().public_bytes_raw()

QUESTIONS: list[tuple[LanQuestion, str]] = [
    (
        PresenceAsked(boot="b", monotonic_ms=7),
        "83a474797065a674686572653fa4626f6f74a162ac6d6f6e6f746f6e69635f6d7307",
    ),
    (BootAsked(boot="b"), "82a474797065a5626f6f743fa4626f6f74a162"),
    (
        RightAsked(claim=bytes(16), business_day="2026-11-20"),
        "83a474797065a672696768743fa5636c61696dc410 00000000000000000000000000000000"
        "ac627573696e6573735f646179aa323032362d31312d3230",
    ),
    (LanTimeAsked(nonce=NONCE), "82a474797065a574696d653fa56e6f6e6365c410000102030405060708090a0b0c0d0e0f"),
]
ANSWERS: list[tuple[LanAnswer, str]] = [
    (Present(), "81a474797065a57468657265"),
    (RightTold(holder="door1"), "82a474797065a57269676874a6686f6c646572a5646f6f7231"),
    (RightTold(holder=None), "82a474797065a57269676874a6686f6c646572c0"),
]


@pytest.mark.parametrize(("question", "golden"), QUESTIONS)
def test_a_question_has_the_bytes_it_always_had(question: LanQuestion, golden: str) -> None:
    data = msgspec.msgpack.encode(question)
    assert data == bytes.fromhex(golden)
    assert decode_question(data) == question
    assert decode_question(msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"later": [1, None]})) == question


@pytest.mark.parametrize(("answer", "golden"), ANSWERS)
def test_an_answer_has_the_bytes_it_always_had(answer: LanAnswer, golden: str) -> None:
    data = msgspec.msgpack.encode(answer)
    assert data == bytes.fromhex(golden)
    assert decode_answer(data) == answer
    assert len(data) <= LAN_BYTES_MAX


@pytest.mark.parametrize(
    "plain",
    [
        {"type": "right?", "claim": bytes(15), "business_day": "2026-11-20"},
        {"type": "right?", "claim": bytes(16), "business_day": "20.11.2026"},
        {"type": "right?", "claim": bytes(16), "business_day": "2026-02-30"},
        {"type": "time?", "nonce": bytes(17)},
        {"type": "there?", "boot": "", "monotonic_ms": 1},
        {"type": "there?", "boot": "b", "monotonic_ms": -1},
        {"type": "open the till"},
        {},
    ],
)
def test_what_is_no_question(plain: dict[str, object]) -> None:
    assert decode_question(msgspec.msgpack.encode(plain)) is None


@given(st.binary(max_size=LAN_BYTES_MAX))
def test_no_bytes_whatever_raise(data: bytes) -> None:
    decode_question(data)
    decode_answer(data)


def test_a_time_is_believed_of_the_kiosk_that_was_asked_and_for_this_question() -> None:
    told = tell_lan_time(KEY, NONCE, 1_000)
    assert believe_lan_time(told, NONCE, PUBLIC) == 1_000
    assert believe_lan_time(told, bytes(16), PUBLIC) is None
    assert believe_lan_time(told, NONCE, key_of("door2").public_key().public_bytes_raw()) is None
    assert believe_lan_time(told, NONCE, b"") is None
    assert believe_lan_time(LanTimeTold(instant_ms=1_001, signature=told.signature), NONCE, PUBLIC) is None
    assert believe_lan_time(LanTimeTold(instant_ms=-1, signature=told.signature), NONCE, PUBLIC) is None
    assert believe_lan_time(tell_lan_time(KEY, NONCE, None), NONCE, PUBLIC) is None


def test_when_a_boot_was_is_believed_of_the_kiosk_that_was_asked_and_for_that_boot() -> None:
    mine, boot = DeviceId("door2"), "boot-1"
    told = tell_boot(KEY, mine, boot, 5_000, 1_000_000)
    assert believe_boot(told, mine, boot, PUBLIC) == 1_000_000
    assert believe_boot(told, mine, "boot-2", PUBLIC) is None
    assert believe_boot(told, DeviceId("door3"), boot, PUBLIC) is None
    assert believe_boot(told, mine, boot, key_of("door2").public_key().public_bytes_raw()) is None
    assert believe_boot(told, mine, boot, b"") is None
    assert (
        believe_boot(BootTold(monotonic_ms=5_001, instant_ms=1_000_000, signature=told.signature), mine, boot, PUBLIC)
        is None
    )
    assert believe_boot(BootTold(monotonic_ms=0, instant_ms=None, signature=b""), mine, boot, PUBLIC) is None
    assert believe_boot(BootTold(monotonic_ms=0, instant_ms=-1, signature=b""), mine, boot, PUBLIC) is None

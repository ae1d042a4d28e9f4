"""The text in a coupon's code: what is read of it, who signed it, and everything that is none."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.coupons import (
    COUPON_CONTEXT,
    COUPON_LENGTH_MAX,
    COUPON_PREFIX,
    Coupon,
    is_issued_by,
    issue_coupon,
    read_coupon,
)
from shared.ids import ClaimId, DeviceId
from shared.policy import INSTANT_A_DAY_MAX, InstantMode, InstantTerms, policy_fault
from shared.signing import sign
from tests.support.entrances import policy
from tests.support.kiosk import key_of

CLAIM = ClaimId(bytes(range(16)))
KEY = key_of("door1")
TEXT = issue_coupon(KEY, claim=CLAIM, device=DeviceId("door1"), series="espresso")


def packed(body: bytes, signature: bytes = bytes(64)) -> str:
    return COUPON_PREFIX + base64.urlsafe_b64encode(signature + body).decode().rstrip("=")


def test_a_coupon_says_what_it_is_and_who_showed_it() -> None:
    assert read_coupon(TEXT) == Coupon(claim=CLAIM, device="door1", series="espresso")
    assert is_issued_by(TEXT, KEY.public_key())
    assert not is_issued_by(TEXT, key_of("door2").public_key())


def test_the_longest_coupon_fits() -> None:
    longest = issue_coupon(KEY, claim=CLAIM, device=DeviceId("d" * 32), series="s" * 40)
    assert len(longest) <= COUPON_LENGTH_MAX
    assert read_coupon(longest) is not None


def test_a_signature_for_something_else_is_worthless() -> None:
    body = msgspec.msgpack.encode(Coupon(claim=CLAIM, device="door1", series="espresso"))
    assert is_issued_by(packed(body, sign(KEY, COUPON_CONTEXT, body)), KEY.public_key())
    assert not is_issued_by(packed(body, sign(KEY, b"DSE1", body)), KEY.public_key())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DS1:" + TEXT.removeprefix(COUPON_PREFIX),
        COUPON_PREFIX,
        COUPON_PREFIX + "!" * 20,
        COUPON_PREFIX + "é" * 20,
        COUPON_PREFIX + "A" * COUPON_LENGTH_MAX,
        TEXT[:-20],
        packed(b""),
        packed(msgspec.msgpack.encode(["x", "door1", "espresso"])),
        packed(msgspec.msgpack.encode(Coupon(claim=CLAIM[:15], device="door1", series="espresso"))),
        packed(msgspec.msgpack.encode(Coupon(claim=CLAIM, device="door/1", series="espresso"))),
        packed(msgspec.msgpack.encode(Coupon(claim=CLAIM, device="door1", series=""))),
        packed(msgspec.msgpack.encode(Coupon(claim=CLAIM, device="door1", series="s" * 41))),
    ],
)
def test_what_is_no_coupon(text: str) -> None:
    assert read_coupon(text) is None
    assert not is_issued_by(text, KEY.public_key())


@given(st.text(max_size=COUPON_LENGTH_MAX))
def test_no_text_whatever_raises(text: str) -> None:
    read_coupon(COUPON_PREFIX + text)


@pytest.mark.parametrize(
    ("changes", "is_usable"),
    [
        ({}, True),
        ({"a_day": 0}, False),
        ({"a_day": INSTANT_A_DAY_MAX}, True),
        ({"a_day": INSTANT_A_DAY_MAX + 1}, False),
        ({"series": ""}, False),
        ({"series": "s" * 41}, False),
        ({"series": "é"}, False),
        ({"label": ""}, False),
        ({"label": "l" * 61}, False),
        ({"label": "a\nb"}, False),
    ],
)
def test_terms_that_a_kiosk_refuses(changes: dict[str, object], is_usable: bool) -> None:
    terms = InstantTerms(mode=InstantMode.OWNER, series="espresso", label="A free espresso", a_day=10)
    instant = msgspec.structs.replace(terms, **changes)
    assert policy_fault(policy(instant=instant)) == (None if is_usable else "instant")

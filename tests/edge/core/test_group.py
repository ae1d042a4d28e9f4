"""The text by which a new kiosk asks to join: read back exactly, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.group import REQUEST_LENGTH_MAX, GroupRequest, encode_request, parse_request
from shared.ids import DEVICE_ID_CHARACTERS, DEVICE_ID_LENGTH_MAX, DeviceId

REQUEST = GroupRequest(device=DeviceId("kiosk7"), sealing_public=bytes(range(32)))
TEXT = "DSG1:KIOSK7.AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYP4XV2S6M"

devices = st.text(sorted(DEVICE_ID_CHARACTERS), min_size=1, max_size=DEVICE_ID_LENGTH_MAX).map(DeviceId)
requests = st.builds(GroupRequest, device=devices, sealing_public=st.binary(min_size=32, max_size=32))


def test_the_text_is_frozen() -> None:
    assert encode_request(REQUEST) == TEXT


@given(requests)
def test_what_is_shown_is_read(request: GroupRequest) -> None:
    text = encode_request(request)
    assert parse_request(text) == request
    assert len(text) <= REQUEST_LENGTH_MAX


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DSG1:",
        "DS1:KIOSK7." + TEXT.partition(".")[2],
        TEXT.lower(),
        TEXT.removesuffix("M"),
        TEXT + "A",
        TEXT.replace("KIOSK7", "KIOSK8"),
        TEXT.replace("KIOSK7", ""),
        TEXT.replace("KIOSK7", "KIOSK/"),
        TEXT.replace("KIOSK7", "K" * 33),
        TEXT.replace(".AAAQ", ".AAAR"),
        TEXT.replace(".AAAQ", ".AA1Q"),
        TEXT.replace(".AAAQ", ".ÄAAQ"),
        TEXT[:-1] + "N",  # the same bytes: the last character's loose bits are set
        TEXT.replace(".", ":"),
    ],
)
def test_nothing_else_is_a_request(text: str) -> None:
    assert parse_request(text) is None


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    parsed = parse_request(text)
    assert parsed is None or encode_request(parsed) == text

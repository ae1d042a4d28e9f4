"""No log line carries what must not be seen, under whatever name it comes."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.logs import DROPPED, PRIVATE_WORDS, drop_private

SECRET = "dst_AbC-123_xyz"
CARD = "DS1:6BF2Q$%*+./:X"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIE\nabc\n-----END PRIVATE KEY-----"


def test_a_line_is_one_json_object(lines: io.StringIO) -> None:
    structlog.stdlib.get_logger("cloud.x").info("batch posted", entries=3, device="door1")
    structlog.stdlib.get_logger("cloud.x").debug("not shown")
    (line,) = lines.getvalue().splitlines()
    read = json.loads(line)
    assert read.pop("timestamp")
    assert read == {"event": "batch posted", "entries": 3, "device": "door1", "level": "info", "logger": "cloud.x"}


def test_libraries_log_the_same_way(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("refused %s", SECRET)
    read = json.loads(lines.getvalue())
    assert (read["event"], read["level"], read["logger"]) == (f"refused {DROPPED}", "warning", "uvicorn.error")


def test_a_traceback_shows_no_secret(lines: io.StringIO) -> None:
    try:
        raise ValueError(f"bad {SECRET} and {CARD}")
    except ValueError as error:
        structlog.stdlib.get_logger("x").error("failed", exc_info=error)
    assert "ValueError" in lines.getvalue()
    assert SECRET not in lines.getvalue()
    assert CARD not in lines.getvalue()


@pytest.mark.parametrize("word", sorted(PRIVATE_WORDS))
@pytest.mark.parametrize("shape", ["{}", "{}_text", "old_{}", "X-{}", "{}s_of_the_{}"])
def test_a_private_field_is_dropped(word: str, shape: str) -> None:
    field = shape.format(word, word)
    assert drop_private(None, "info", {field.upper(): "Anna", "event": "e"}) == {field.upper(): DROPPED, "event": "e"}


@pytest.mark.parametrize("secret", [SECRET, CARD, PEM, PEM[:40], f"Bearer {SECRET}"])
def test_a_secret_is_known_wherever_it_stands(secret: str) -> None:
    nested = {"event": f"got {secret}", "a": [secret, {"b": (secret,)}], "c": {"d": secret}, "e": LookupError(secret)}
    assert secret not in json.dumps(drop_private(None, "info", nested))


def test_bytes_are_never_shown() -> None:
    assert drop_private(None, "info", {"chunk": b"jpeg", "parts": [b"x"]}) == {"chunk": DROPPED, "parts": [DROPPED]}


def test_private_fields_are_dropped_at_any_depth() -> None:
    fields = {"device": "d", "was": {"nickname": "Anna", "tries": [{"token": "x"}, {"count": 2}]}}
    assert drop_private(None, "info", fields) == {
        "device": "d",
        "was": {"nickname": DROPPED, "tries": [{"token": DROPPED}, {"count": 2}]},
    }


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_field_can_be_written_as_json(value: object) -> None:
    json.dumps(drop_private(None, "info", {"value": value}))

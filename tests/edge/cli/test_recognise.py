"""What `doorstep-edge recognise` says of a source: one line an event, each code once for as long as it is held."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edge.cli import recognise
from edge.errors import EdgeFault
from tests.support.entrances import NOON, Keys, Phone, card, member_id
from tests.support.pictures import on_canvas, qr_picture

KEYS = Keys()
CARD = card(KEYS, member_id(1))
PHONE = Phone(KEYS, member_id(2)).show(NOON)


def run(*words: str) -> tuple[int, list[str]]:
    app = typer.Typer()
    app.command("recognise")(recognise.command(lambda: NOON.timestamp(), lambda home: home or Path("nowhere")))
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return result.exit_code, result.stdout.splitlines()


def write_frames(folder: Path, *frames: tuple[str, ...]) -> str:
    """A folder with one picture a frame, these codes in each; returns its address."""
    folder.mkdir()
    for number, texts in enumerate(frames):
        gray = on_canvas(*(qr_picture(text, module=4, error="l") for text in texts))
        cv2.imwrite(str(folder / f"{number:03}.png"), np.repeat(gray[:, :, None], 3, axis=2))
    return f"dir:{folder}"


def events(*words: str) -> list[dict[str, object]]:
    code, lines = run(*words, "--json")
    assert code == 0
    return [json.loads(line) for line in lines]


def test_each_code_is_told_once_with_its_kind_and_its_frame(tmp_path: Path) -> None:
    source = write_frames(
        tmp_path / "door", (), (CARD,), (CARD,), (), (PHONE, "https://example.org"), (PHONE, "https://example.org")
    )
    *seen, end = events(source)
    assert [list(event) for event in seen] == [["event", "frame", "at_s", "texts", "kinds", "ms"]] * len(seen)
    assert [(event["event"], event["frame"]) for event in seen] == [("codes", 2), ("codes", 5)]
    assert (seen[0]["texts"], seen[0]["kinds"]) == ([CARD], ["card"])
    texts, kinds = seen[1]["texts"], seen[1]["kinds"]
    assert isinstance(texts, list)
    assert isinstance(kinds, list)
    assert dict(zip(texts, kinds, strict=True)) == {PHONE: "phone", "https://example.org": "foreign"}
    assert all(isinstance(event["ms"], float) and event["ms"] > 0 for event in seen)
    assert end["event"] == "end"
    assert end["frames"] == 6


def test_a_text_of_ours_that_is_broken_is_malformed(tmp_path: Path) -> None:
    seen, _ = events(write_frames(tmp_path / "door", (), ("DS1:NONSENSE",)))
    assert seen["kinds"] == ["malformed"]


def test_it_stops_after_so_many_frames(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "door", (), (), (CARD,), ())
    assert events(source, "--frames", "2") == [{"event": "end", "frames": 2, "decoded": 1}]


def test_for_people_a_line_says_when_and_what_and_no_terminal_obeys_a_code(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "door", (), ("\x1b[2J evil",))
    code, (line, end) = run(source)
    assert code == 0
    assert line.startswith("frame 2 (")
    assert "foreign '\\x1b[2J evil' in " in line
    assert end.startswith("2 frames, ")


@pytest.mark.parametrize("source", ["dir:/nowhere/at/all", "nonsense", "file:/nowhere.mp4"])
def test_a_source_that_is_not_there_is_a_named_fault(source: str) -> None:
    with pytest.raises(EdgeFault):
        run(source)

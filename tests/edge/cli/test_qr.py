"""What `doorstep-edge qr read` prints, and with which exit code it ends."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from edge.cli.qr import app
from tests.support.pictures import on_canvas, qr_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a card, two codes, an empty view, and a text file."""
    cv2.imwrite(str(tmp_path / "1 card.png"), on_canvas(qr_picture("DS1:CARD")))
    cv2.imwrite(str(tmp_path / "2 two.jpg"), on_canvas(qr_picture("già"), qr_picture("\x1b[2J")))
    cv2.imwrite(str(tmp_path / "3 empty.webp"), on_canvas())
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    return tmp_path


def run(*words: str) -> tuple[int, list[str]]:
    """Exit code and lines of `qr` with these words."""
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output.splitlines()


def test_a_folder_as_json(folder: Path) -> None:
    code, lines = run("read", str(folder), "--json")
    printed = [json.loads(line) for line in lines]
    assert code == 0
    assert [list(line) for line in printed] == [["path", "texts", "ms"]] * 3
    assert [line["path"] for line in printed] == [str(folder / n) for n in ("1 card.png", "2 two.jpg", "3 empty.webp")]
    assert [sorted(line["texts"]) for line in printed] == [["DS1:CARD"], ["\x1b[2J", "già"], []]
    assert all(line["ms"] > 0 for line in printed)


def test_files_that_cannot_be_loaded_do_not_end_the_rest(folder: Path) -> None:
    cut = folder / "cut.png"
    cut.write_bytes((folder / "1 card.png").read_bytes()[:200])
    paths = [folder / "none.png", folder / "notes.txt", cut, folder / "1 card.png"]
    code, lines = run("read", *map(str, paths), "--json")
    assert code == 1
    *faults, card = (json.loads(line) for line in lines)
    assert faults == [
        {"path": str(path), "texts": [], "ms": 0.0, "error": error}
        for path, error in zip(
            paths,
            [
                "cannot be read: No such file or directory",
                "is not a PNG, JPEG or WebP picture",
                "ends before the picture does",
            ],
            strict=False,
        )
    ]
    assert card["texts"] == ["DS1:CARD"]


def test_readable_lines_hold_no_control_characters(folder: Path) -> None:
    code, lines = run("read", str(folder), str(folder / "none.png"))
    assert code == 1
    assert [line.removeprefix(str(folder)).rsplit(" (", 1)[0] for line in lines] == [
        "/1 card.png: DS1:CARD",
        r"/2 two.jpg: già | \x1b[2J",
        "/3 empty.webp: no code",
        "/none.png: cannot be read: No such file or directory",
    ]


def test_a_name_that_is_not_utf_8_is_shown_with_escapes(tmp_path: Path) -> None:
    path = Path(bytes(tmp_path).decode() + "/\udcff.png")
    path.write_bytes(b"")
    code, lines = run("read", str(tmp_path), "--json")
    assert code == 1
    assert json.loads(lines[0])["path"] == f"{tmp_path}/\\xff.png"


def test_the_command_line_starts_without_opencv() -> None:
    check = "import sys, edge.cli.qr; sys.exit(not {'cv2', 'numpy', 'zxingcpp'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3], check=False).returncode == 0

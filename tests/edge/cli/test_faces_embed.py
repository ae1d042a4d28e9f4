"""What `doorstep-edge faces embed` writes and says: on a drawn face that is nobody's, and on portraits if there are."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from edge.cli.faces import commands
from edge.errors import ModelUnusable, SettingsWrong
from edge.vision.faces.weights import drawn_face

MODELS = os.environ.get("DOORSTEP_MODELS")
MEDIA = os.environ.get("DOORSTEP_MEDIA")
pytestmark = pytest.mark.skipif(not MODELS, reason="DOORSTEP_MODELS is not set (a folder with the weights)")
Picture = NDArray[np.uint8]


def run(folder: Path, out: Path, *words: str, models: Path | None = None) -> Result:
    """`faces embed` with these words."""
    app = commands(lambda _: models or Path(str(MODELS)))
    return CliRunner().invoke(app, ["embed", str(folder), "--out", str(out), *words])


def on_ground(*faces: tuple[int, int, int], height: int = 240, width: int = 320) -> Picture:
    """Drawn faces on the colour they are drawn on, each given as left, top and side."""
    picture = np.full((height, width, 3), (150, 160, 165), dtype=np.uint8)
    for left, top, side in faces:
        picture[top : top + side, left : left + side] = drawn_face(side)
    return picture


def save(path: Path, picture: Picture) -> None:
    """A file with the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Portraits as a folder may hold them: good, twice over, empty, cut, foreign."""
    folder = tmp_path / "portraits"
    save(folder / "a" / "one.png", on_ground((80, 40, 160)))
    save(folder / "b" / "two.png", on_ground((20, 60, 80), (120, 20, 200)))
    save(folder / "c" / "none.jpg", on_ground())
    (folder / "d.gif").write_bytes(b"GIF89a" + bytes(20))
    (folder / "e.png").write_bytes((folder / "a" / "one.png").read_bytes()[:300])
    (folder / "notes.txt").touch()
    return folder


def test_every_picture_has_a_row_and_every_fault_a_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    result = run(folder, out, "--json")
    assert result.exit_code == 1
    with np.load(out) as arrays:
        assert sorted(arrays) == ["boxes", "embeddings", "found", "paths"]
        assert arrays["paths"].tolist() == ["a/one.png", "b/two.png", "c/none.jpg", "d.gif", "e.png"]
        assert arrays["found"].tolist() == [True, True, False, False, False]
        assert arrays["embeddings"].dtype == arrays["boxes"].dtype == np.float32
        assert np.linalg.norm(arrays["embeddings"], axis=1) == pytest.approx([1, 1, 0, 0, 0], abs=1e-6)
        assert arrays["boxes"][2:].tolist() == [[0.0] * 4] * 3
        assert arrays["boxes"][0] == pytest.approx([80 + 46, 40 + 28, 69, 111], abs=10)
        one, two = arrays["embeddings"][:2]
        assert float(one @ two) > 0.9, "the same drawing at two sizes"
        left, _, width, _ = arrays["boxes"][1]
        assert left + width / 2 == pytest.approx(220, abs=5), "the larger and more central of two was taken"
    lines = [line.removeprefix(f"{folder}/") for line in result.stderr.splitlines()]
    assert lines == [
        "b/two.png: holds 2 faces; the largest central one was taken",
        "c/none.jpg: holds no face that could be found",
        "d.gif: is not a PNG, JPEG or WebP picture",
        "e.png: ends before the picture does",
    ]
    assert json.loads(result.stdout) == {
        "out": str(out),
        "pictures": 5,
        "found": 2,
        "without_face": 1,
        "not_loaded": 2,
        "embedder": "508693eb919813fb",
    }


def test_one_good_picture_is_no_failure(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "a" / "one.png", tmp_path / "out.npz")
    assert result.exit_code == 0
    assert result.output == f"1 of 1 pictures with a face, 0 without, 0 not loaded: {tmp_path / 'out.npz'}\n"
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["paths"].tolist() == ["one.png"]


def test_a_face_of_few_pixels_is_said_to_be_small(tmp_path: Path) -> None:
    save(tmp_path / "in" / "small.png", on_ground((130, 90, 60)))
    result = run(tmp_path / "in", tmp_path / "out.npz")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0].endswith("pixels between the eyes; such a face is hardly recognised")


def test_a_picture_of_any_shape_is_no_trouble(tmp_path: Path) -> None:
    for height, width in ((1, 1), (1, 5000), (5000, 1), (31, 33), (3, 3)):
        save(tmp_path / "in" / f"{height}x{width}.png", on_ground(height=height, width=width))
    save(tmp_path / "in" / "tall.png", on_ground((20, 3000, 200), height=6000, width=240))
    result = run(tmp_path / "in", tmp_path / "out.npz", "--json")
    assert json.loads(result.stdout)["without_face"] == 5
    assert result.exit_code == 0


def test_a_folder_without_pictures_gives_empty_arrays(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert run(tmp_path / "in", tmp_path / "out.npz").exit_code == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "paths": (0,),
            "embeddings": (0, 256),
            "found": (0,),
            "boxes": (0, 4),
        }


def test_a_folder_that_is_not_there_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = run(tmp_path / "none", tmp_path / "out.npz")
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path}/none: cannot be read: No such file or directory\n"


def test_a_file_that_cannot_be_written_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "none" / "out.npz")
    assert isinstance(result.exception, SettingsWrong)
    (tmp_path / "taken.npz").mkdir()
    before = set(tmp_path.iterdir())
    result = run(folder, tmp_path / "taken.npz")
    assert str(result.exception) == f"{tmp_path}/taken.npz cannot be written: Is a directory"
    assert set(tmp_path.iterdir()) == before


def test_without_weights_nothing_is_tried(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "out.npz", models=tmp_path)
    assert isinstance(result.exception, ModelUnusable)
    assert "run doorstep-edge models fetch" in str(result.exception)
    assert not (tmp_path / "out.npz").exists()


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\x1b[2J.png").touch()
    (Path(os.fsdecode(bytes(tmp_path) + b"/in/\xff.png"))).touch()
    result = run(tmp_path / "in", tmp_path / "out.npz")
    assert "\x1b" not in result.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["paths"].tolist() == ["\x1b[2J.png", r"\xff.png"]


@pytest.mark.skipif(not MEDIA, reason="DOORSTEP_MEDIA is not set (a folder with faces/)")
def test_people_are_nearer_to_themselves_than_to_others(tmp_path: Path) -> None:
    people = [path for path in sorted((Path(str(MEDIA)) / "faces").iterdir()) if len(list(path.iterdir())) >= 3][:6]
    pictures = tmp_path / "pictures"
    for place, person in enumerate(people):
        for number, picture in enumerate(sorted(person.iterdir())[:2]):
            (pictures / str(place)).mkdir(parents=True, exist_ok=True)
            (pictures / str(place) / f"{number}.jpg").write_bytes(picture.read_bytes())
    assert run(pictures, tmp_path / "out.npz").exit_code == 0
    with np.load(tmp_path / "out.npz") as arrays:
        cosines = arrays["embeddings"] @ arrays["embeddings"].T
    own = np.repeat(np.arange(6), 2)
    same = (own[:, None] == own) & ~np.eye(12, dtype=bool)
    assert cosines[same].min() > cosines[own[:, None] != own].max()

"""Faces at the rendered door: they come nearer, stand, leave, cover each other; a bad picture is one clear line."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp

from edge.camera.address import open_camera
from edge.camera.options import CameraOptions
from edge.camera.portraits import FILE_BYTES_MAX, SIDE, PortraitUnusable, load_portrait
from edge.camera.scene import PORTRAITS_MAX, Walker
from edge.camera.walking import place_of
from edge.errors import CameraUnavailable, EndOfStream
from edge.ports import Frame
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions()
Json = dict[str, object]
RED, BLUE = (40, 40, 250), (250, 40, 40)
RATE = 5


def write_portrait(path: Path, colour: tuple[int, int, int]) -> str:
    """A picture of one colour, which no shop has: where it is seen, the head is."""
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    picture[:] = colour
    cv2.imwrite(str(path), picture)
    return path.name


def write_scene(folder: Path, walkers: list[Json], seconds: float = 8, **settings: object) -> Path:
    path = folder / "scene.json"
    act: Json = {"kind": "approach", "walkers": walkers, "seconds": seconds}
    path.write_text(json.dumps({"acts": [act], "loop": False, "rate": RATE} | settings))
    return path


def frames_of(path: Path) -> list[Frame]:
    frames = []
    with open_camera(f"synthetic:{path}", OPTIONS, StepClock().for_camera) as camera:
        try:
            while True:
                frames.append(camera.read(2.0))
        except EndOfStream:
            return frames


def width_of(frame: Frame, colour: tuple[int, int, int]) -> int:
    """How many columns show the colour in the upper half, where heads are."""
    near = np.abs(frame.pixels[:360].astype(int) - colour).max(axis=2) < 50
    return int(near.any(axis=0).sum())


def test_a_walker_grows_until_the_mark_stands_still_and_leaves(tmp_path: Path) -> None:
    write_portrait(tmp_path / "red.png", RED)
    walker: Json = {"portrait": "red.png", "from_m": 6, "speed_m_s": 1.5, "on_mark_s": 4, "stays_s": 2}
    widths = [width_of(frame, RED) for frame in frames_of(write_scene(tmp_path, [walker]))]
    assert widths[0] == 0  # 4.7 m at 1.5 m/s: sets off after 0.87 s
    coming, standing = widths[5:20], widths[20:30]
    assert coming == sorted(coming)
    assert coming[-1] > 2.5 * coming[0] > 0
    assert max(standing) - min(standing) <= 0.1 * max(standing)
    assert widths[-1] == 0


def test_the_eyes_on_the_mark_are_as_far_apart_as_a_door_camera_sees_them(tmp_path: Path) -> None:
    write_portrait(tmp_path / "red.png", RED)
    walker: Json = {"portrait": "red.png", "from_m": 2, "on_mark_s": 0, "mark_m": 1.3}
    frame = frames_of(write_scene(tmp_path, [walker], seconds=1))[2]
    head = np.abs(frame.pixels[:300].astype(int) - RED).max(axis=2) < 50
    across = int(head[225].sum())  # about the eyes
    assert across / 51 == pytest.approx(2.4, abs=0.4)  # an oval of 108 pixels over eyes 44 apart


def test_whoever_is_nearer_covers_who_is_behind(tmp_path: Path) -> None:
    write_portrait(tmp_path / "red.png", RED)
    write_portrait(tmp_path / "blue.png", BLUE)
    near: Json = {"portrait": "red.png", "on_mark_s": 0, "mark_m": 1.2}
    behind: Json = {"portrait": "blue.png", "on_mark_s": 0, "mark_m": 2.4}
    aside = behind | {"mark_side_m": 0.8}
    for walkers in ([near, behind], [behind, near]):
        assert width_of(frames_of(write_scene(tmp_path, walkers, seconds=1))[0], BLUE) < 40
    frame = frames_of(write_scene(tmp_path, [near, aside], seconds=1))[0]
    assert min(width_of(frame, RED), width_of(frame, BLUE)) > 55


def test_a_code_is_held_up_on_the_mark_only(tmp_path: Path) -> None:
    write_portrait(tmp_path / "red.png", RED)
    walker: Json = {"portrait": "red.png", "from_m": 4, "on_mark_s": 3, "stays_s": 3, "code": "https://example.com/"}
    texts = [
        [code.text for code in zxingcpp.read_barcodes(frame.pixels[:, :, 1].copy())]
        for frame in frames_of(write_scene(tmp_path, [walker]))
    ]
    assert not any(texts[: 3 * RATE])
    assert sum(text == ["https://example.com/"] for text in texts[3 * RATE : 6 * RATE]) >= 2 * RATE


def test_portraits_are_found_in_the_folder_that_the_scene_names(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "one"
    folder.mkdir(parents=True)
    write_portrait(folder / "red.png", RED)
    walker: Json = {"portrait": "one/red.png", "on_mark_s": 0}
    frames = frames_of(write_scene(tmp_path, [walker], seconds=1, portraits="pictures"))
    assert width_of(frames[0], RED) > 80


@pytest.mark.parametrize("name", ["/etc/passwd", "../red.png", "a/../../red.png", ""])
def test_no_scene_reaches_out_of_its_folder(tmp_path: Path, name: str) -> None:
    write_portrait(tmp_path.parent / "red.png", RED)
    with pytest.raises(CameraUnavailable, match="cannot be played"):
        frames_of(write_scene(tmp_path, [{"portrait": name}]))


def test_a_missing_picture_is_one_line_that_names_nobody(tmp_path: Path) -> None:
    write_portrait(tmp_path / "red.png", RED)
    with pytest.raises(CameraUnavailable) as caught:
        frames_of(write_scene(tmp_path, [{"portrait": "red.png"}, {"portrait": "Jane_Doe.jpg"}]))
    assert caught.value.reason == "the scene's portrait number 2 cannot be read"


def test_more_portraits_than_are_kept_are_refused(tmp_path: Path) -> None:
    acts = [{"kind": "approach", "walkers": [{"portrait": f"{number}.png"}]} for number in range(PORTRAITS_MAX + 1)]
    path = tmp_path / "scene.json"
    path.write_text(json.dumps({"acts": acts}))
    with pytest.raises(CameraUnavailable, match="at most"):
        frames_of(path)


def test_many_people_come_one_after_the_other(tmp_path: Path) -> None:
    shades = [(40, 40, 255 - 3 * number) for number in range(12)]
    names = [write_portrait(tmp_path / f"{number}.png", shade) for number, shade in enumerate(shades)]
    acts = [{"kind": "approach", "seconds": 0.4, "walkers": [{"portrait": name, "on_mark_s": 0}]} for name in names * 2]
    path = tmp_path / "scene.json"
    path.write_text(json.dumps({"acts": acts, "loop": False, "rate": RATE}))
    assert all(width_of(frame, RED) > 80 for frame in frames_of(path))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def jpeg_header(width: int, height: int) -> bytes:
    table = b"\xff\xff\xdb" + struct.pack(">H", 4) + bytes(2)  # with a fill byte before its marker
    return b"\xff\xd8" + table + b"\xff\xc2" + struct.pack(">HBHH", 11, 8, height, width) + bytes(6)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is neither JPEG nor PNG"),
        (b"GIF89a", "is neither JPEG nor PNG"),
        (b"\x89PNG\r\n\x1a\n", "is damaged"),
        (b"\xff\xd8", "is damaged"),
        (b"\xff\xd8\xff\xdb", "is damaged"),
        (b"\xff\xd8\x00\x00\x00", "is damaged"),
        (png_header(64, 64), "is damaged"),
        (jpeg_header(64, 64), "is damaged"),
        (png_header(60_000, 60_000), "is too large"),
        (jpeg_header(60_000, 60_000), "is too large"),
        (png_header(64, 64) + bytes(FILE_BYTES_MAX), "is too large"),
    ],
)
def test_what_is_no_portrait_is_refused_before_it_is_decoded(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "portrait"
    path.write_bytes(data)
    with pytest.raises(PortraitUnusable, match=reason):
        load_portrait(path)


def test_a_folder_is_no_portrait(tmp_path: Path) -> None:
    with pytest.raises(PortraitUnusable, match="cannot be read"):
        load_portrait(tmp_path)


def test_a_picture_of_any_form_becomes_a_square(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.jpg"), np.full((100, 300), 90, np.uint8))
    assert load_portrait(tmp_path / "wide.jpg").shape == (SIDE, SIDE, 3)


def test_a_walker_turns_away_to_the_side_they_stand_on() -> None:
    for side in (-0.5, 0.5):
        walker = Walker(portrait="x.png", mark_side_m=side, on_mark_s=1.0, stays_s=1.0)
        place = place_of(walker, 3.5)
        assert place is not None
        assert place.is_walking
        assert place.side_m / side > 2
        assert abs(place.turn) > 1.6


def test_who_sets_off_on_the_mark_is_there_at_once() -> None:
    walker = Walker(portrait="x.png", from_m=1.3, mark_m=1.3, on_mark_s=2.0)
    assert place_of(walker, 1.9) is None
    place = place_of(walker, 2.0)
    assert place is not None
    assert not place.is_walking

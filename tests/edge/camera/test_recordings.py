"""Films and folders: their pace, their loops, their sizes, and files that are no pictures."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.address import open_camera
from edge.camera.fit import fit
from edge.camera.options import NS, CameraOptions
from edge.errors import CameraLost, CameraUnavailable, EndOfStream
from edge.ports import Camera, Frame
from tests.support.step_clock import StepClock

OPTIONS = CameraOptions(width=320, height=240)


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (240, 320)) -> None:
    """Pictures whose brightness tells their number: 10, 20, 30, …"""
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((*size, 3), number * 10, dtype=np.uint8))


def all_frames(camera: Camera) -> list[Frame]:
    frames: list[Frame] = []
    while True:
        try:
            frames.append(camera.read(2.0))
        except EndOfStream:
            return frames


def test_in_real_time_pictures_come_at_their_rate(tmp_path: Path) -> None:
    write_pictures(tmp_path, 5)
    clock = StepClock()
    with open_camera(f"dir:{tmp_path}?rate=4", OPTIONS, clock.for_camera) as camera:
        frames = all_frames(camera)
    assert [(frame.captured_ns - 100 * NS) / NS for frame in frames] == [0, 0.25, 0.5, 0.75, 1.0]
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [10, 20, 30, 40, 50]


def test_a_reader_that_slept_is_not_owed_what_it_missed(tmp_path: Path) -> None:
    write_pictures(tmp_path, 4)
    clock = StepClock()
    with open_camera(f"dir:{tmp_path}?rate=10", OPTIONS, clock.for_camera) as camera:
        camera.read(2.0)
        clock.step(60)
        late, after = camera.read(2.0), camera.read(2.0)
    assert late.captured_ns == 160 * NS
    assert after.captured_ns == 160 * NS + NS // 10


def test_as_fast_as_possible_nobody_waits_and_times_are_the_recording_s(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    clock = StepClock()
    with open_camera(f"dir:{tmp_path}?rate=2&pace=fast", OPTIONS, clock.for_camera) as camera:
        frames = all_frames(camera)
    assert clock.slept_s == []
    assert [frame.captured_ns for frame in frames] == [100 * NS, 100 * NS + NS // 2, 101 * NS]


def test_a_loop_begins_again(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    with open_camera(f"dir:{tmp_path}?loop=1", OPTIONS, StepClock().for_camera) as camera:
        frames = [camera.read(2.0) for _ in range(5)]
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [10, 20, 10, 20, 10]


def test_a_film_loops_too(tmp_path: Path) -> None:
    film = cv2.VideoWriter(str(tmp_path / "f.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    for shade in (0, 100, 200):
        film.write(np.full((240, 320, 3), shade, dtype=np.uint8))
    film.release()
    clock = StepClock()
    with open_camera(f"file:{tmp_path}/f.avi?loop=1", OPTIONS, clock.for_camera) as camera:
        frames = [camera.read(2.0) for _ in range(7)]
    assert [round(int(frame.pixels[0, 0, 0]), -2) for frame in frames] == [0, 100, 200, 0, 100, 200, 0]
    assert frames[-1].captured_ns - frames[0].captured_ns == 6 * NS // 10


@pytest.mark.parametrize(
    ("size", "expected"),
    [((240, 320), (240, 320, 3)), ((480, 640), (240, 320, 3)), ((600, 400), (240, 160, 3)), ((10, 20), (10, 20, 3))],
)
def test_large_pictures_are_shrunk_in_proportion_and_small_ones_left(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    write_pictures(tmp_path, 1, size)
    with open_camera(f"dir:{tmp_path}", OPTIONS, StepClock().for_camera) as camera:
        assert camera.read(2.0).pixels.shape == expected


def test_what_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "000.png").write_bytes(b"")
    (tmp_path / "001a.jpg").write_bytes(b"\xff\xd8\xff" + b"nonsense" * 50)
    (tmp_path / "notes.txt").write_text("not even asked")
    with open_camera(f"dir:{tmp_path}", OPTIONS, StepClock().for_camera) as camera:
        assert [int(frame.pixels[0, 0, 0]) for frame in all_frames(camera)] == [10, 20]


def test_a_picture_of_absurd_size_is_passed_over(tmp_path: Path) -> None:
    """A PNG of 70 bytes that promises 30 GB: OpenCV raises instead of returning nothing."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    (tmp_path / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    write_pictures(tmp_path, 1)
    with open_camera(f"dir:{tmp_path}", OPTIONS, StepClock().for_camera) as camera:
        assert len(all_frames(camera)) == 1


def test_a_grey_picture_becomes_blue_green_and_red() -> None:
    """An infrared camera's pictures have no colours."""
    grey = np.arange(240, dtype=np.uint8)[:, None].repeat(320, axis=1)
    assert np.array_equal(fit(grey, OPTIONS), np.dstack([grey, grey, grey]))


def test_a_folder_without_a_single_picture_is_told_at_once_or_when_read(tmp_path: Path) -> None:
    camera = open_camera(f"dir:{tmp_path}?loop=1", OPTIONS, StepClock().for_camera)
    with pytest.raises(CameraUnavailable):
        camera.open()
    (tmp_path / "000.png").write_bytes(b"nonsense")
    with camera, pytest.raises(CameraLost):
        camera.read(2.0)

"""Picture files as people hand them over: whole, cut, damaged, huge, foreign, or no files at all."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.vision.pictures import FILE_BYTES_MAX, FaultKind, PictureFault, load_picture, pictures_under
from tests.support.pictures import qr_picture

PICTURE = qr_picture("DS1:CARD", module=3)
FORMATS = ("png", "jpg", "webp")


def encoded(suffix: str, *, quality: int = 100) -> bytes:
    """The picture as a file of this kind holds it."""
    flags = {"png": [], "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality], "webp": [cv2.IMWRITE_WEBP_QUALITY, quality + 1]}
    done, data = cv2.imencode(f".{suffix}", PICTURE, flags[suffix])
    assert done
    return data.tobytes()


def fault(path: Path) -> FaultKind:
    """What is wrong with the file."""
    found = load_picture(path)
    assert isinstance(found, PictureFault)
    assert "\n" not in str(found)
    return found.kind


def written(folder: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = folder / "picture"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_loaded_whatever_its_name(suffix: str, tmp_path: Path) -> None:
    loaded = load_picture(written(tmp_path, encoded(suffix)))
    assert isinstance(loaded, np.ndarray)
    assert loaded.shape == PICTURE.shape
    assert np.abs(loaded.astype(np.int16) - PICTURE).mean() < 4


def test_a_lossy_webp_is_loaded(tmp_path: Path) -> None:
    data = encoded("webp", quality=79)
    assert data[12:16] == b"VP8 "
    assert isinstance(load_picture(written(tmp_path, data)), np.ndarray)


def test_colour_and_sixteen_bits_come_out_grey(tmp_path: Path) -> None:
    colour = np.dstack([PICTURE, PICTURE, PICTURE]).astype(np.uint16) * 257
    done, data = cv2.imencode(".png", colour)
    assert done
    loaded = load_picture(written(tmp_path, data.tobytes()))
    assert isinstance(loaded, np.ndarray)
    assert np.array_equal(loaded, PICTURE)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    data = encoded(suffix)
    assert fault(written(tmp_path, data[: int(len(data) * share)])) is FaultKind.TRUNCATED


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_in_its_header_is_refused(suffix: str, tmp_path: Path) -> None:
    assert fault(written(tmp_path, encoded(suffix)[:18])) is FaultKind.TRUNCATED


def huge_png() -> bytes:
    """A small file whose header asks for 10 gigapixels."""
    data = bytearray(encoded("png"))
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    return bytes(data)


def huge_jpeg() -> bytes:
    """The same as JPEG; its sides have 16 bits."""
    data = bytearray(encoded("jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def huge_webp() -> bytes:
    """The same as extended WebP; its sides have 24 bits."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (100_000).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("data", [huge_png(), huge_jpeg(), huge_webp()], ids=FORMATS)
def test_a_header_that_asks_for_too_much_is_refused_before_anything_is_decoded(data: bytes, tmp_path: Path) -> None:
    assert fault(written(tmp_path, data)) is FaultKind.TOO_LARGE


def test_a_picture_at_the_limit_is_loaded_and_one_row_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "limit.png"
    cv2.imwrite(str(path), np.zeros((10_000, 5_000), dtype=np.uint8))
    assert isinstance(load_picture(path), np.ndarray)
    cv2.imwrite(str(path), np.zeros((10_001, 5_000), dtype=np.uint8))
    assert fault(path) is FaultKind.TOO_LARGE


def test_a_file_larger_than_the_limit_is_not_even_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"")
    os.truncate(path, FILE_BYTES_MAX + 1)
    assert fault(path) is FaultKind.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"GIF89a" + bytes(100), b"%PDF-1.7", b"RIFF\x04\0\0\0WAVE", b"RIFF\x10\0\0\0WEBPJUNK" + bytes(20)],
)
def test_a_foreign_file_is_refused(data: bytes, tmp_path: Path) -> None:
    assert fault(written(tmp_path, data)) is FaultKind.NOT_A_PICTURE


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_damaged_file_is_refused_and_nothing_is_printed(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(suffix))
    data[30 : len(data) - 12] = bytes(len(data) - 42)
    assert fault(written(tmp_path, bytes(data))) is FaultKind.DAMAGED
    assert capfd.readouterr() == ("", "")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert [fault(path) for path in (pipe, tmp_path, tmp_path / "none", Path("a\0b"))] == [FaultKind.UNREADABLE] * 4


def test_a_folder_gives_its_pictures_and_those_of_its_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.png", "b/a.JPG", "a.webp", "a.txt", "b/d.jpeg"):
        (tmp_path / name).touch()
    assert pictures_under(tmp_path) == [tmp_path / name for name in ("a.webp", "b/a.JPG", "b/d.jpeg", "c.png")]
    assert pictures_under(tmp_path / "a.txt") == [tmp_path / "a.txt"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(FORMATS), at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 3000))
def test_no_file_raises(suffix: str, at: int, byte: int, cut: int, tmp_path: Path) -> None:
    data = bytearray(encoded(suffix))
    data[min(at, len(data) - 1)] = byte
    found = load_picture(written(tmp_path, bytes(data[: len(data) - cut] if cut < len(data) else data)))
    assert isinstance(found, np.ndarray | PictureFault)

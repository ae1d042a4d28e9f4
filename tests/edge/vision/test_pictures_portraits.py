"""Portraits as people hand them over: in colour, upright, or refused in one line."""

import base64
import os
import resource
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.vision.pictures import (
    JPEG_SCANS_MAX,
    FaultKind,
    PictureFault,
    load_picture,
    load_portrait,
    pictures_under,
    portraits_under,
)

FORMATS = ("png", "jpg", "webp")
NOBODY = 65534
# 16 x 16 pixels of red 200, green 60, blue 30, in the inks and with the marker that Adobe's programs write.
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgS"
    "FBUU/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAE"
    "EQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6"
    "g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkA"
    "SwAAPwD7Ar5Kr8+q/VOiiiiiiiiiiiiv/9k="
)


def colours(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A picture whose upper left quarter is red and whose rest is blue."""
    picture = np.full((height, width, 3), (200, 30, 20), dtype=np.uint8)
    picture[: height // 2, : width // 2] = (20, 30, 200)
    return picture


def encoded(suffix: str, picture: NDArray[np.uint8 | np.uint16]) -> bytes:
    """The picture as a file of this kind holds it."""
    done, data = cv2.imencode(f".{suffix}", picture)
    assert done
    return data.tobytes()


def written(folder: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = folder / "portrait"
    path.write_bytes(data)
    return path


def loaded(folder: Path, data: bytes) -> NDArray[np.uint8]:
    """The portrait that these bytes hold."""
    found = load_portrait(written(folder, data))
    assert isinstance(found, np.ndarray), found
    assert found.dtype == np.uint8
    return found


def fault(folder: Path, data: bytes) -> PictureFault:
    """What is wrong with a file of these bytes, in one line."""
    found = load_portrait(written(folder, data))
    assert isinstance(found, PictureFault)
    assert "\n" not in str(found)
    return found


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_portrait_is_loaded_in_colour_whatever_its_name(suffix: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, encoded(suffix, colours()))
    assert found.shape == (40, 60, 3)
    assert np.abs(found[5, 5].astype(int) - (20, 30, 200)).max() < 12
    assert np.abs(found[35, 55].astype(int) - (200, 30, 20)).max() < 12


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(colours()[:, :, 0], id="grey"),
        pytest.param(np.dstack([colours(), np.zeros((40, 60), np.uint8)]), id="transparent"),
        pytest.param(colours().astype(np.uint16) * 257, id="sixteen bits"),
    ],
)
def test_a_png_of_another_depth_has_three_colours_of_eight_bits(
    picture: NDArray[np.uint8 | np.uint16], tmp_path: Path
) -> None:
    found = loaded(tmp_path, encoded("png", picture))
    assert found.shape == (40, 60, 3)
    expected = picture[5, 5].astype(int).ravel()[:3] // (257 if picture.dtype == np.uint16 else 1)
    assert found[5, 5].tolist() == np.broadcast_to(expected, 3).tolist()


def test_printers_inks_become_colours(tmp_path: Path) -> None:
    assert np.abs(loaded(tmp_path, CMYK)[8, 8].astype(int) - (30, 60, 200)).max() < 6


# Orientations of the TIFF tag 274 and where the picture's upper left corner comes to lie when it is upright.
@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [(1, (40, 60), (0, 0)), (3, (40, 60), (-1, -1)), (6, (60, 40), (0, -1)), (8, (60, 40), (-1, 0))],
)
def test_a_picture_taken_sideways_stands_upright(
    orientation: int, shape: tuple[int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    tags = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, orientation, 0) + bytes(4)
    plain = encoded("jpg", colours())
    found = loaded(tmp_path, plain[:2] + b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags + plain[2:])
    assert found.shape[:2] == shape
    assert found[corner][2] > 150, "the red corner is elsewhere"


def animated(suffix: str) -> bytes:
    """Two pictures, one after the other."""
    moving = cv2.Animation()
    moving.frames = [colours(), colours()[::-1].copy()]
    moving.durations = [100, 100]
    done, data = cv2.imencodeanimation(f".{suffix}", moving)
    assert done
    return bytes(np.asarray(data).tobytes())


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_picture_that_moves_is_refused(suffix: str, tmp_path: Path) -> None:
    assert fault(tmp_path, animated(suffix)).kind is FaultKind.ANIMATED


def test_a_gif_is_refused(tmp_path: Path) -> None:
    assert fault(tmp_path, animated("gif")).kind is FaultKind.NOT_A_PICTURE


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    data = encoded(suffix, noise)
    assert fault(tmp_path, data[: int(len(data) * share)]).kind is FaultKind.TRUNCATED


def test_fifty_megapixels_are_loaded_and_a_row_more_is_refused(tmp_path: Path) -> None:
    even = np.zeros((10_001, 5_000, 3), dtype=np.uint8)
    assert loaded(tmp_path, encoded("png", even[1:])).shape == (10_000, 5_000, 3)
    refused = fault(tmp_path, encoded("png", even))
    assert str(refused) == "is larger than this reader takes: 5000 x 10001 pixels, at most 50 million"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    data = bytearray(encoded("png", colours()))
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    assert fault(tmp_path, bytes(data)).kind is FaultKind.TOO_LARGE


@pytest.mark.parametrize("claimed", [0xC600030A, 0xFFFFFFFF, 100_000, 1])
def test_a_chunk_that_claims_to_be_longer_than_its_file_is_refused(claimed: int, tmp_path: Path) -> None:
    data = bytearray(encoded("png", colours()))
    at = data.index(b"IDAT")
    data[at - 4 : at] = struct.pack(">I", claimed)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fault(tmp_path, bytes(data)).kind is FaultKind.DAMAGED
    assert isinstance(load_picture(tmp_path / "portrait"), PictureFault)
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after_kb - before_kb < 100_000, "OpenCV was asked, and asked for as much memory as the chunk claims"


def with_scans(count: int) -> bytes:
    """A picture whose only scan stands there so many times, each of which a decoder would go through."""
    plain = encoded("jpg", colours())
    at = plain.index(b"\xff\xda")
    return plain[:at] + plain[at:-2] * count + plain[-2:]


def test_a_picture_of_endless_scans_is_refused_before_the_first(tmp_path: Path) -> None:
    assert fault(tmp_path, with_scans(JPEG_SCANS_MAX + 1)).detail == "101 scans, at most 100"
    found = load_portrait(written(tmp_path, with_scans(JPEG_SCANS_MAX)))
    assert not isinstance(found, PictureFault) or found.kind is FaultKind.DAMAGED


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = [load_portrait(path) for path in (pipe, tmp_path, tmp_path / "none")]
    assert [str(fault) for fault in found] == [
        "cannot be read: not a file",
        "cannot be read: not a file",
        "cannot be read: No such file or directory",
    ]


def test_a_folder_gives_what_looks_like_a_picture_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.png", "b/a.JPG", "a.gif", "notes.txt", "b/d.jpeg"):
        (tmp_path / name).touch()
    found = portraits_under(tmp_path)
    assert found.paths == tuple(tmp_path / name for name in ("a.gif", "b/a.JPG", "b/d.jpeg", "c.png"))
    assert found.faults == ()
    assert portraits_under(tmp_path / "notes.txt").paths == (tmp_path / "notes.txt",)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who can read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_goes_on() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to whoever is not its owner
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.png").write_bytes(encoded("png", colours()))
        (folder / "closed").mkdir(mode=0)
        with unprivileged():
            found = portraits_under(folder)
            assert isinstance(load_portrait(found.paths[0]), np.ndarray)
            within = portraits_under(folder / "closed" / "b")
            assert pictures_under(folder / "closed" / "b.png") == [folder / "closed" / "b.png"]
    assert [str(fault) for _, fault in within.faults] == ["cannot be read: Permission denied"]
    assert found.paths == (folder / "a.png",)
    assert [(path, str(fault)) for path, fault in found.faults] == [
        (folder / "closed", "cannot be read: Permission denied")
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = portraits_under(tmp_path / "none")
    assert found.paths == ()
    assert [str(fault) for _, fault in found.faults] == ["cannot be read: No such file or directory"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(FORMATS), at=st.integers(0, 600), byte=st.integers(0, 255), cut=st.integers(0, 3000))
def test_no_file_raises(suffix: str, at: int, byte: int, cut: int, tmp_path: Path) -> None:
    data = bytearray(encoded(suffix, colours()))
    data[min(at, len(data) - 1)] = byte
    path = written(tmp_path, bytes(data[: len(data) - cut] if cut < len(data) else data))
    for found in (load_portrait(path), load_picture(path)):
        assert isinstance(found, np.ndarray | PictureFault)

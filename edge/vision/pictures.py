"""Loads picture files, grey for codes and in colour for faces, and says in one line what is wrong with the others.

Size and number of scans are taken from the file before anything is decoded: a few kilobytes of PNG can ask for
gigabytes, a few of JPEG for hours.
"""

import os
import stat
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.quiet import quiet_stderr

PIXELS_MAX: Final = 50_000_000
"""The largest phone photo in common use; decoded grey it takes 50 MB."""
FILE_BYTES_MAX: Final = 128 * 1024 * 1024
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
PORTRAIT_SUFFIXES: Final = SUFFIXES | {".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".tif", ".tiff"}
"""What people take for pictures of people. The kinds we do not read are named one by one instead of passed over."""

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PNG_END: Final = b"IEND\xaeB`\x82"
PNG_CHUNKS_MAX: Final = 50_000
"""A file of FILE_BYTES_MAX in pieces of the usual 8 kB has 16,000."""
JPEG_START: Final = b"\xff\xd8"
JPEG_END: Final = b"\xff\xd9"
JPEG_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 without the tables that share their range (ITU-T T.81, table B.1)."""
JPEG_SCAN: Final = 0xDA
JPEG_SCANS_MAX: Final = 100
"""A progressive picture has about ten. Each is a pass over all pixels, however few bytes it takes (libjpeg-turbo,
"Two issues with the JPEG standard", 2015, whose remedy is a limit)."""
JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
WEBP_ANIMATED: Final = 0x02

GRAY: Final = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
COLOUR: Final = cv2.IMREAD_COLOR


class FaultKind(StrEnum):
    """What is wrong with a file."""

    UNREADABLE = "cannot be read"
    NOT_A_PICTURE = "is not a PNG, JPEG or WebP picture"
    TOO_LARGE = "is larger than this reader takes"
    TRUNCATED = "ends before the picture does"
    DAMAGED = "is damaged"
    ANIMATED = "is animated: which of its pictures is meant cannot be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFault:
    """Why a file gives no picture."""

    kind: FaultKind
    detail: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What a file says about its picture before it is decoded."""

    width: int
    height: int
    is_complete: bool
    is_sound: bool = True
    is_animated: bool = False
    scans: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Portraits:
    """The picture files below a folder in order of name, and the folders that could not be looked into."""

    paths: tuple[Path, ...]
    faults: tuple[tuple[Path, PictureFault], ...]


def load_picture(path: Path) -> NDArray[np.uint8] | PictureFault:
    """The picture in grey, or why there is none.

    Shape and dtype: (H, W) uint8, as stored; a camera's rotation mark is ignored, codes are read at any angle.
    Limits: PIXELS_MAX, FILE_BYTES_MAX.
    """
    data = _bytes_of(path)
    if isinstance(data, PictureFault):
        return data
    header = _checked(data)
    return header if isinstance(header, PictureFault) else _decoded(data, GRAY)


def load_portrait(path: Path) -> NDArray[np.uint8] | PictureFault:
    """The picture in colour and upright, or why there is none.

    Shape and dtype: (H, W, 3) uint8 BGR, turned as a camera's rotation mark says. Sixteen bits are brought to eight,
    transparency is left out, CMYK is taken for what Adobe writes. Limits: PIXELS_MAX, FILE_BYTES_MAX.
    """
    data = _bytes_of(path)
    if isinstance(data, PictureFault):
        return data
    header = _checked(data)
    if isinstance(header, PictureFault):
        return header
    return PictureFault(kind=FaultKind.ANIMATED) if header.is_animated else _decoded(data, COLOUR)


def pictures_under(path: Path) -> list[Path]:
    """The file itself, or every picture below the folder, in order of name."""
    if not os.path.isdir(path):  # noqa: PTH112 - Path's own raises where a folder above is closed to us
        return [path]
    return sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES and os.path.isfile(found))  # noqa: PTH113 - as above


def portraits_under(path: Path) -> Portraits:
    """The file itself, or what looks like a picture below the folder. Links to folders are not followed."""
    if os.path.isfile(path):  # noqa: PTH113 - Path's own raises where a folder above is closed to us
        return Portraits(paths=(path,), faults=())
    closed: list[OSError] = []
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(path, onerror=closed.append)
        for name in names
        if Path(name).suffix.lower() in PORTRAIT_SUFFIXES
    ]
    return Portraits(
        paths=tuple(sorted(found)), faults=tuple((Path(fault.filename), _closed(fault)) for fault in closed)
    )


def _closed(fault: OSError) -> PictureFault:
    """Why a folder or a file cannot be looked into."""
    return PictureFault(kind=FaultKind.UNREADABLE, detail=fault.strerror or type(fault).__name__)


def _checked(data: bytes) -> _Header | PictureFault:
    """What the file says of itself, when that can be decoded within our limits."""
    try:
        header = _header(data)
    except (struct.error, IndexError):  # the header itself is cut
        return PictureFault(kind=FaultKind.TRUNCATED)
    if header is None:
        return PictureFault(kind=FaultKind.NOT_A_PICTURE)
    if header.width * header.height > PIXELS_MAX:
        size = f"{header.width} x {header.height} pixels, at most {PIXELS_MAX // 1_000_000} million"
        return PictureFault(kind=FaultKind.TOO_LARGE, detail=size)
    if header.scans > JPEG_SCANS_MAX:
        return PictureFault(kind=FaultKind.TOO_LARGE, detail=f"{header.scans} scans, at most {JPEG_SCANS_MAX}")
    if not header.is_complete:
        return PictureFault(kind=FaultKind.TRUNCATED)
    return header if header.is_sound else PictureFault(kind=FaultKind.DAMAGED)


def _bytes_of(path: Path) -> bytes | PictureFault:
    """What the file holds. Only regular files: a pipe or a device could make us wait or never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return PictureFault(kind=FaultKind.UNREADABLE, detail="not a file")
        if status.st_size > FILE_BYTES_MAX:
            size = f"{status.st_size} bytes, at most {FILE_BYTES_MAX}"
            return PictureFault(kind=FaultKind.TOO_LARGE, detail=size)
        return path.read_bytes()
    except OSError as fault:
        return _closed(fault)
    except ValueError:  # a path with a zero byte in it
        return PictureFault(kind=FaultKind.UNREADABLE, detail="not a path")


def _decoded(data: bytes, flags: int) -> NDArray[np.uint8] | PictureFault:
    """The picture the bytes stand for."""
    try:
        with quiet_stderr():
            picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        picture = None
    if picture is None or picture.size == 0:
        return PictureFault(kind=FaultKind.DAMAGED)
    return picture.astype(np.uint8, copy=False)


def _header(data: bytes) -> _Header | None:
    """What the file says of itself, None when it is of no kind we know. Raises: struct.error, IndexError when cut."""
    if data.startswith(PNG_SIGNATURE):
        return _png_header(data)
    if data.startswith(JPEG_START):
        return _jpeg_header(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_header(data)
    return None


def _png_header(data: bytes) -> _Header:
    """Size from the first chunk, and what the others are (PNG, third edition, 5.3 and 11.3.6.1).

    A chunk that claims to be longer than the file makes OpenCV 5.0.0 take that much memory, up to 4 GiB for a file of
    some hundred bytes (found by tests/bench/fuzz.py, 2026-11), so every length is checked before it sees one.
    """
    width, height = struct.unpack_from(">II", data, 16)
    at, is_sound, is_animated = len(PNG_SIGNATURE), False, False
    for _ in range(PNG_CHUNKS_MAX):
        length, kind = struct.unpack_from(">I4s", data, at) if at + 12 <= len(data) else (0, b"IEND")
        at += 12 + length
        is_animated = is_animated or kind == b"acTL"
        if kind == b"IEND":
            is_sound = at <= len(data)
            break
    is_complete = PNG_END in data
    return _Header(width=width, height=height, is_complete=is_complete, is_sound=is_sound, is_animated=is_animated)


def _jpeg_header(data: bytes) -> _Header | None:
    """Walks the segments up to the first scan (ITU-T T.81, B.1.1), past thumbnails that hold JPEGs of their own."""
    at, size = 2, (0, 0)
    while True:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in JPEG_STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in JPEG_FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        if marker == JPEG_SCAN:
            # Within compressed data a 0xFF is never followed by a marker's number but for restarts (B.1.1.5).
            scans = data.count(bytes([0xFF, JPEG_SCAN]), at)
            return _Header(width=size[0], height=size[1], is_complete=JPEG_END in data[at:], scans=scans)
        at += 2 + length


def _webp_header(data: bytes) -> _Header | None:
    """Size from the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    is_complete = len(data) >= 8 + struct.unpack_from("<I", data, 4)[0]
    is_animated = False
    match data[12:16]:
        case b"VP8X":
            width = 1 + int.from_bytes(data[24:27], "little")
            height = 1 + int.from_bytes(data[27:30], "little")
            is_animated = bool(data[20] & WEBP_ANIMATED)
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        case _:
            return None
    return _Header(width=width, height=height, is_complete=is_complete, is_animated=is_animated)

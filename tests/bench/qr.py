"""How many of the zxing and zxing-cpp sample photos each reader reads, and what it costs, beside each other in one run.

`python -m tests.bench.qr`; needs DOORSTEP_MEDIA, a folder with `qr/zxing` and `qr/zxingcpp` (the projects' own sample
pictures, each with its text in a .txt file of the same name). OpenCV's detector is in the table as the reader that was
not chosen.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from edge.vision.pictures import PictureFault, load_picture, pictures_under
from edge.vision.qr import QR_ONLY, Effort, read_codes
from tests.bench.table import Row, Table

try:
    from pyzbar import pyzbar
except ImportError:
    pyzbar = None

Gray = NDArray[np.uint8]
Reader = Callable[[Gray], Sequence[str]]
SETS = ("zxing", "zxingcpp")
RATE_MIN = 93.4
MEAN_MS_MAX = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A sample picture and the text it holds; None for the parts of a sequence, which are never accepted."""

    group: str
    gray: Gray
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one reader made of the photos."""

    hits: dict[str, int]  # by set
    mean_ms: float
    slowest_ms: float


def photos(media: Path) -> list[Photo]:
    """Every sample photo of both sets; `multi-1` has no texts and is left out."""
    found = []
    for group in SETS:
        for folder in sorted((media / "qr" / group).glob("qrcode-*")):
            for path in pictures_under(folder):
                gray = load_picture(path)
                assert not isinstance(gray, PictureFault), (path, gray)
                written = path.with_suffix(".txt")
                text = written.read_bytes().decode(errors="replace") if written.exists() else None
                found.append(Photo(group=group, gray=gray, text=text))
    return found


def score(reader: Reader, sample: Sequence[Photo]) -> Score:
    """Hits and times of one reader; a photo is read three times and the middle time counts."""
    hits = dict.fromkeys(SETS, 0)
    times_ms = []
    for photo in sample:
        texts: Sequence[str] = ()
        runs_ms = []
        for _ in range(3):
            began_s = time.perf_counter()
            texts = reader(photo.gray)
            runs_ms.append((time.perf_counter() - began_s) * 1e3)
        hits[photo.group] += photo.text is not None and photo.text in texts
        times_ms.append(sorted(runs_ms)[1])
    return Score(hits=hits, mean_ms=float(np.mean(times_ms)), slowest_ms=max(times_ms))


def by_cascade(gray: Gray) -> list[str]:
    """The product's reader with all its retries."""
    return [code.text for code in read_codes(gray, effort=Effort.FULL)]


def by_quick_pass(gray: Gray) -> list[str]:
    """The product's reader as it looks at every frame."""
    return [code.text for code in read_codes(gray, effort=Effort.QUICK)]


def by_zxing(gray: Gray) -> list[str]:
    """zxing-cpp as it comes."""
    return [code.text for code in zxingcpp.read_barcodes(gray, formats=QR_ONLY)]


def by_pyzbar(gray: Gray) -> list[str]:
    """pyzbar as it comes, with the one exception it is known for."""
    try:
        symbols = pyzbar.decode(gray, symbols=[pyzbar.ZBarSymbol.QRCODE])
    except ValueError:
        return []
    return [symbol.data.decode(errors="replace") for symbol in symbols]


def by_opencv(gray: Gray) -> list[str]:
    """OpenCV's own detector."""
    try:
        _, texts, _, _ = cv2.QRCodeDetector().detectAndDecodeMulti(gray)
    except (cv2.error, UnicodeDecodeError):  # it hands bytes that are no UTF-8 to str
        return []
    return list(texts)


def table(media: Path) -> Table:
    """Rates and times of every reader that can run here."""
    sample = photos(media)
    sizes = {group: sum(photo.group == group for photo in sample) for group in SETS}
    readers: list[tuple[str, Reader, str]] = [
        ("cascade (full)", by_cascade, f">= {RATE_MIN} %, <= {MEAN_MS_MAX} ms"),
        ("cascade (quick)", by_quick_pass, ""),
        ("zxing-cpp alone", by_zxing, ""),
        *([("pyzbar alone", by_pyzbar, "")] if pyzbar is not None else []),
        ("OpenCV alone", by_opencv, ""),
    ]
    parts = sum(photo.text is None for photo in sample)
    notes = [
        f"{parts} photos are parts of a sequence: nobody can read their text from one photo, they count as unread."
    ]
    if pyzbar is None:
        notes.append("libzbar is not installed: the cascade ended one step earlier, pyzbar alone was not run.")
    return Table(
        title="QR: texts read from sample photos",
        headers=("reader", *(f"{group} ({sizes[group]})" for group in SETS), "both", "mean ms", "slowest ms"),
        rows=tuple(_row(name, score(reader, sample), sizes, bar) for name, reader, bar in readers),
        notes=tuple(notes),
    )


def _row(name: str, result: Score, sizes: dict[str, int], bar: str) -> Row:
    """One reader's line."""
    rates = [f"{100 * result.hits[group] / sizes[group]:.1f} %" for group in SETS]
    rate = 100 * sum(result.hits.values()) / sum(sizes.values())
    missed = bool(bar) and (round(rate, 1) < RATE_MIN or round(result.mean_ms, 2) > MEAN_MS_MAX)
    cells = (name, *rates, f"{rate:.1f} %", f"{result.mean_ms:.2f}", f"{result.slowest_ms:.1f}")
    return Row(cells=cells, bar=bar, missed=missed)


def media_folder() -> Path | str:
    """The folder with the photos, or what is missing."""
    given = os.environ.get("DOORSTEP_MEDIA")
    if not given:
        return "QR: not measured, DOORSTEP_MEDIA is not set (a folder with qr/zxing and qr/zxingcpp)"
    missing = [group for group in SETS if not (Path(given) / "qr" / group).is_dir()]
    if missing:
        return f"QR: not measured, no qr/{missing[0]} in {given}"
    return Path(given)


def rows() -> Table:
    """The table, or an empty one that says what is missing."""
    cv2.setNumThreads(1)
    media = media_folder()
    if isinstance(media, str):
        return Table(title="QR: texts read from sample photos", headers=("reader",), rows=(), notes=(media,))
    return table(media)


if __name__ == "__main__":
    print(rows())

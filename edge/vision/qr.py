"""Reads QR codes out of grey pictures. QR only, and only reading: what a text means is decided elsewhere.

zxing-cpp does the work. Where it sees nothing, the same picture is tried in other forms, cheapest first, and libzbar
has the last word where it is installed. OpenCV is used to change pictures, never to read codes: its own QR detector
was measured at 10.7 s on one ordinary low-light 720p frame (4.14 and 5.0).

Runs in the decoder's child process and in `doorstep-edge qr read`. No clock, no files, no state between pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from edge.vision.codes import CODES_MAX, Code, Effort
from edge.vision.quiet import quiet_stderr

try:
    from pyzbar import pyzbar
except ImportError:  # libzbar is a system library and may be absent; the reader then ends one step earlier
    pyzbar = None

__all__ = ["CODES_MAX", "Code", "Effort", "read_codes"]

Gray = NDArray[np.uint8]

QR_ONLY: Final = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCodeModel1, zxingcpp.BarcodeFormat.QRCodeModel2])
"""Neither Micro QR nor rMQR, which `QRCode` would include. Also a defence: every fault found by fuzzing zxing-cpp so
far lies in another symbology."""
SYMBOL_SIDE_MIN: Final = 21
"""Modules of the smallest QR code (ISO/IEC 18004, version 1): a picture with fewer pixels cannot hold one."""
UPSCALE_SIDE_MAX: Final = 1280
"""Twice the size helps where a module is about 2 pixels wide. A camera of more than 1280 pixels has them without it,
and doubling its picture would cost more than all other retries together (7.4 ms at 720p, 17 ms at 1080p)."""
RETRY_SIDE_MAX: Final = 1920
"""Retries look at no more than this; a larger photo was reduced first. Keeps every retry of any picture bounded."""
ZBAR_SIDE_MAX: Final = 1280
"""libzbar costs 27 ms a megapixel, twelve times zxing-cpp."""
BLUR_SIGMA: Final = 1.3
"""Pixels. Merges screen moire and sensor noise, keeps modules of 2.5 pixels apart."""
REPRODUCED: Final = 0.15
"""Share of differing modules up to which two symbols are the same one with misread modules. The most damage level H
corrects is 30 % of the codewords, about half of their bits wrong: below 0.12 of a symbol. Unrelated texts differ by
0.24 (version 1) to 0.4, because half of the data modules agree by chance and the function patterns always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A form of the picture: what to look at, its scale against the original, and how to tell dark from light."""

    gray: Gray
    scale: float = 1.0
    binarizer: zxingcpp.Binarizer = zxingcpp.Binarizer.LocalAverage


def read_codes(gray: Gray, *, effort: Effort, wanted: str = "") -> tuple[Code, ...]:
    """The distinct codes in the picture, at most CODES_MAX; none when there is none to read.

    FULL tries other forms of the picture until a text that begins with `wanted` was read, so that a poster in view
    does not end the search for a member's code. Parts of a structured append sequence are never returned.

    Shape and dtype: (H, W) uint8.
    """
    assert gray.ndim == 2, gray.shape
    assert gray.dtype == np.uint8, gray.dtype
    if min(gray.shape) < SYMBOL_SIDE_MIN:
        return ()
    found: dict[str, Code] = {}
    part_seen = False
    for view in _views(np.ascontiguousarray(gray), effort):
        for symbol in _symbols(view):
            if _is_part_of_sequence(symbol):
                part_seen = True
            elif len(found) < CODES_MAX:
                code = _code(symbol).scaled(1 / view.scale)
                found.setdefault(code.text, code)
        # A part is a code that was read: other forms of the picture would show the same part again.
        if part_seen or any(text.startswith(wanted) for text in found):
            return tuple(found.values())
    if effort is Effort.FULL:
        for code in _zbar_codes(gray):
            if len(found) < CODES_MAX:
                found.setdefault(code.text, code)
    return tuple(found.values())


def _views(gray: Gray, effort: Effort) -> Iterator[_View]:
    """The picture as it is and, for FULL, the other forms in which a code may be readable."""
    yield _View(gray=gray)
    if effort is Effort.QUICK:
        return
    start = _reduced(gray, RETRY_SIDE_MAX)
    plain, scale = start.gray, start.scale
    if scale != 1.0:
        yield start
    if min(plain.shape) >= 2 * SYMBOL_SIDE_MIN:
        yield from _both(_resized(plain, 0.5), scale / 2)
    yield _View(gray=_blurred(plain, BLUR_SIGMA), scale=scale)
    if max(plain.shape) <= UPSCALE_SIDE_MAX:
        yield from _both(_resized(plain, 2.0), scale * 2)
    else:
        yield _View(gray=plain, scale=scale, binarizer=zxingcpp.Binarizer.GlobalHistogram)
    yield _View(gray=_sharpened(plain), scale=scale)


def _both(gray: Gray, scale: float) -> Iterator[_View]:
    """The picture under the local threshold, then under one threshold for the whole of it.

    The one threshold reads what the local one takes apart: modules that are textured or faded inside.
    """
    yield _View(gray=gray, scale=scale)
    yield _View(gray=gray, scale=scale, binarizer=zxingcpp.Binarizer.GlobalHistogram)


def _reduced(gray: Gray, side_max: int) -> _View:
    """The picture with no side above `side_max`."""
    longest = max(gray.shape)
    if longest <= side_max:
        return _View(gray=gray)
    scale = side_max / longest
    return _View(gray=_resized(gray, scale), scale=scale)


def _resized(gray: Gray, factor: float) -> Gray:
    """The picture `factor` times the size; area averaging going down, so that a module is the mean of its pixels."""
    height, width = (max(1, round(side * factor)) for side in gray.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(gray, (width, height), interpolation=how).astype(np.uint8, copy=False)


def _blurred(gray: Gray, sigma: float) -> Gray:
    """The picture under a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(gray, (0, 0), sigma).astype(np.uint8, copy=False)


def _sharpened(gray: Gray) -> Gray:
    """Unsharp mask: 2.5 times the picture less 1.5 times its blur."""
    return cv2.addWeighted(gray, 2.5, _blurred(gray, 2.0), -1.5, 0).astype(np.uint8, copy=False)


def _symbols(view: _View) -> list[zxingcpp.Barcode]:
    """What one pass of zxing-cpp found. Plain text mode: the bytes, not their rendering for people."""
    return zxingcpp.read_barcodes(
        view.gray,
        formats=QR_ONLY,
        text_mode=zxingcpp.TextMode.Plain,
        binarizer=view.binarizer,
    )


def _code(symbol: zxingcpp.Barcode) -> Code:
    """The symbol as a value, in pixels of the picture it was found in."""
    place = symbol.position
    corners = [(p.x, p.y) for p in (place.top_left, place.top_right, place.bottom_right, place.bottom_left)]
    return _code_at(symbol.text, corners)


def _code_at(text: str, corners: list[tuple[int, int]]) -> Code:
    """The code whose outline is this polygon."""
    points = np.array(corners, dtype=np.float64)
    centre = points.mean(axis=0)
    sides = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    return Code(text=text, centre_x=float(centre[0]), centre_y=float(centre[1]), side=float(sides.mean()))


# --- structured append -------------------------------------------------------------------------------------------
# zxing-cpp's Python binding (3.1) returns a part of a structured append sequence like any other code and has no
# attribute that says so. It does give the modules it sampled, and ISO/IEC 18004 puts the mode of the first segment
# in the four modules of the lower right corner: 0011 opens a part. A damaged corner could look the same, so the text
# is also written again with the symbol's own version, level and mask: a part never comes out as the symbol that was
# read, a whole code whose corner was misread does.

STRUCTURED_APPEND: Final = 0b0011


def _is_part_of_sequence(symbol: zxingcpp.Barcode) -> bool:
    """Whether the symbol holds one part of a longer text."""
    extra = symbol.extra
    if not isinstance(extra, dict):
        return False
    mask, modules = int(extra["DataMask"]), _modules(symbol)
    if STRUCTURED_APPEND not in (_first_mode(modules, mask), _first_mode(modules.T, mask)):
        return False
    try:
        whole = zxingcpp.create_barcode(
            symbol.text,
            zxingcpp.BarcodeFormat.QRCode,
            ec_level=symbol.ec_level,
            version=int(extra["Version"]),
            data_mask=mask,
        )
    except ValueError:  # by itself the text does not fit a symbol of this size and level
        return True
    again = _modules(whole)
    if _is_mirrored(modules, again):
        modules = modules.T
    return _first_mode(modules, mask) == STRUCTURED_APPEND and _difference(modules, again) > REPRODUCED


def _is_mirrored(modules: NDArray[np.bool_], again: NDArray[np.bool_]) -> bool:
    """Whether the symbol was sampled as its mirror image: the format modules then stand in column 8, not in row 8."""
    written = again[8, :9]
    return _difference(modules[8, :9], written) > _difference(modules[:9, 8], written)


def _modules(symbol: zxingcpp.Barcode) -> NDArray[np.bool_]:
    """The symbol's modules, dark is True."""
    image: NDArray[np.uint8] = np.asarray(symbol.to_image(scale=1, add_quiet_zones=False), dtype=np.uint8)
    dark: NDArray[np.bool_] = image == 0
    return dark


def _difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of modules that differ; 1 for symbols of different size."""
    return float(np.mean(one != other)) if one.shape == other.shape else 1.0


def _first_mode(modules: NDArray[np.bool_], mask: int) -> int:
    """The mode indicator of the first segment: four modules from the lower right corner, mask removed."""
    last = len(modules) - 1
    mode = 0
    for row, column in ((last, last), (last, last - 1), (last - 1, last), (last - 1, last - 1)):
        mode = mode << 1 | (bool(modules[row, column]) ^ _is_masked(mask, row, column))
    return mode


def _is_masked(mask: int, i: int, j: int) -> bool:
    """Whether data mask `mask` flips the module in row i, column j (ISO/IEC 18004, table of data mask patterns)."""
    match mask:
        case 0:
            value = i + j
            return value % 2 == 0
        case 1:
            return i % 2 == 0
        case 2:
            return j % 3 == 0
        case 3:
            return (i + j) % 3 == 0
        case 4:
            return (i // 2 + j // 3) % 2 == 0
        case 5:
            return i * j % 2 + i * j % 3 == 0
        case 6:
            return (i * j % 2 + i * j % 3) % 2 == 0
        case _:
            return ((i + j) % 2 + i * j % 3) % 2 == 0


# --- libzbar -----------------------------------------------------------------------------------------------------


def _zbar_codes(gray: Gray) -> Iterator[Code]:
    """What libzbar reads, nothing where it is not installed.

    pyzbar 0.1.9 raises ValueError on a structured append symbol, whose orientation it does not know; the whole
    picture is then unread. libzbar guesses character sets, so bytes that are not UTF-8 count as unread too.
    """
    if pyzbar is None:
        return
    small = _reduced(gray, ZBAR_SIDE_MAX)
    try:
        with quiet_stderr():
            symbols = pyzbar.decode(small.gray, symbols=[pyzbar.ZBarSymbol.QRCODE])
    except ValueError:
        return
    for symbol in symbols:
        try:
            text = symbol.data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        yield _code_at(text, [(p.x, p.y) for p in symbol.polygon]).scaled(1 / small.scale)

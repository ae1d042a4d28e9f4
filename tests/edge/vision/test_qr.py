"""Codes as they come before a camera: turned, soft, small, inverted, several, and those that must not be read."""

from collections.abc import Callable

import numpy as np
import pytest
import segno

from edge.vision.qr import CODES_MAX, Effort, _zbar_codes, read_codes
from tests.support.pictures import Gray, blurred, noisy, on_canvas, qr_picture, rendered, tilted, turned

try:
    from pyzbar import pyzbar
except ImportError:
    pyzbar = None

CARD = "DS1:" + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:" * 2 + "END OF CARD 0123456789 ABCDEFGHI"
POSTER = "https://shop.example/spring"


def texts(picture: Gray, effort: Effort = Effort.QUICK, wanted: str = "") -> list[str]:
    """What was read, in order of the alphabet."""
    return sorted(code.text for code in read_codes(picture, effort=effort, wanted=wanted))


def in_the_dark(module: int = 4) -> Gray:
    """A card in bad light, as only a retry reads it."""
    return noisy(qr_picture(CARD, module=module) // 5 + 20, 18)


def as_it_is(picture: Gray) -> Gray:
    """The picture."""
    return picture


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(as_it_is, id="as it is"),
        pytest.param(lambda p: turned(p, 17), id="turned by 17 degrees"),
        pytest.param(lambda p: turned(p, 45), id="turned by 45 degrees"),
        pytest.param(lambda p: np.rot90(p), id="on its side, rows not contiguous"),
        pytest.param(lambda p: np.fliplr(p), id="mirrored"),
        pytest.param(lambda p: 255 - p, id="inverted, as a phone in dark mode shows it"),
        pytest.param(lambda p: blurred(p, 2.5), id="soft"),
        pytest.param(lambda p: tilted(p, 0.3), id="leaning back"),
        pytest.param(lambda p: noisy(p // 3 + 40, 6), id="dim and noisy"),
    ],
)
def test_a_card_is_read(change: Callable[[Gray], Gray], effort: Effort) -> None:
    assert texts(on_canvas(change(qr_picture(CARD)), level=200), effort) == [CARD]


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(on_canvas(in_the_dark(), level=40), id="dark and very noisy"),
        pytest.param(blurred(on_canvas(qr_picture(CARD, module=4)), 2.3), id="out of focus"),
    ],
)
def test_the_retries_read_what_one_pass_does_not(picture: Gray) -> None:
    assert texts(picture, Effort.QUICK) == []
    assert texts(picture, Effort.FULL) == [CARD]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a", id="one letter"),
        pytest.param("punti al negozio, già tuoi: €5 – 特典", id="UTF-8"),
        pytest.param("\x01\x10 control \x1d characters", id="control characters stay what they are"),
        pytest.param("7" * 4296, id="thousands of digits"),
    ],
)
def test_the_text_is_exactly_what_was_written(text: str) -> None:
    assert texts(qr_picture(text, module=4, error="l")) == [text]


def test_every_code_in_view_is_read_once_and_at_its_place() -> None:
    picture = on_canvas(qr_picture("left", module=5), qr_picture("right", module=8), qr_picture("left", module=5))
    found = {code.text: code for code in read_codes(picture, effort=Effort.FULL)}
    assert sorted(found) == ["left", "right"]
    side = 21 * 8  # version 1 without its quiet zone
    left_edge = 40 + qr_picture("left", module=5).shape[1] + 40 + 4 * 8
    assert found["right"].side == pytest.approx(side, abs=4)
    assert found["right"].centre_x == pytest.approx(left_edge + side / 2, abs=4)
    assert found["right"].centre_y == pytest.approx(40 + 4 * 8 + side / 2, abs=4)


def test_the_place_of_a_code_found_by_a_retry_is_in_the_given_picture() -> None:
    picture = on_canvas(in_the_dark(), level=40)
    (code,) = read_codes(picture, effort=Effort.FULL)
    middle = 40 + in_the_dark().shape[0] / 2
    assert code.centre_x == pytest.approx(middle, abs=6)
    assert code.centre_y == pytest.approx(middle, abs=6)


def test_a_photo_larger_than_the_retries_take_is_still_read_in_its_own_pixels() -> None:
    picture = noisy(on_canvas(qr_picture(CARD, module=8) // 3 + 20, height=3000, width=4000, level=40), 70)
    assert texts(picture, Effort.QUICK) == []
    (code,) = read_codes(picture, effort=Effort.FULL)
    assert code.text == CARD
    assert code.centre_x == pytest.approx(40 + qr_picture(CARD, module=8).shape[1] / 2, abs=12)


def test_no_more_codes_than_the_bound() -> None:
    rows = [np.hstack([qr_picture(f"code {row}{column}", module=3) for column in range(4)]) for row in range(4)]
    assert len(read_codes(np.vstack(rows), effort=Effort.FULL)) == CODES_MAX


def test_a_poster_in_view_does_not_end_the_search_for_a_member() -> None:
    picture = on_canvas(qr_picture(POSTER), in_the_dark(), level=40)
    assert texts(picture, Effort.FULL) == [POSTER]
    assert texts(picture, Effort.FULL, wanted="DS1:") == [CARD, POSTER]


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("change", [as_it_is, np.rot90, np.fliplr, lambda p: 255 - p])
@pytest.mark.parametrize("error", ["l", "h"])
def test_parts_of_a_sequence_are_never_returned(change: Callable[[Gray], Gray], error: str, effort: Effort) -> None:
    sequence = segno.make_sequence(CARD * 4, symbol_count=4, error=error, boost_error=False)
    assert [texts(on_canvas(change(rendered(part, module=4))), effort) for part in sequence] == [[]] * 4


@pytest.mark.parametrize("mask", range(8))
@pytest.mark.parametrize("level", [0, 255])
def test_a_whole_code_with_a_worn_corner_is_not_taken_for_a_part(level: int, mask: int) -> None:
    picture = qr_picture(CARD, mask=mask)
    edge = picture.shape[0] - 4 * 6
    picture[edge - 12 : edge, edge - 12 : edge] = level  # the four modules that say what kind of segment comes first
    assert texts(picture) == [CARD]


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("shape", [(1, 1), (20, 20), (21, 21), (41, 600), (600, 41)])
def test_pictures_without_a_code_say_nothing(shape: tuple[int, int], effort: Effort) -> None:
    assert texts(np.zeros(shape, dtype=np.uint8), effort) == []
    assert texts(np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8), effort) == []


@pytest.mark.parametrize("drawn", ["micro", "hidden"])
def test_what_is_no_qr_code_is_not_read(drawn: str) -> None:
    picture = rendered(segno.make("12345", micro=True)) if drawn == "micro" else qr_picture(CARD)
    if drawn == "hidden":
        picture[: 14 * 6, : 14 * 6] = 255  # a finder pattern is covered
    assert texts(on_canvas(picture), Effort.FULL) == []


@pytest.mark.skipif(pyzbar is None, reason="libzbar is not installed")
def test_libzbar_reads_large_pictures_in_their_own_pixels() -> None:
    (code,) = _zbar_codes(on_canvas(qr_picture(CARD, module=12), height=2000, width=3000))
    assert code.text == CARD
    assert code.centre_x == pytest.approx(40 + qr_picture(CARD, module=12).shape[1] / 2, abs=12)


@pytest.mark.skipif(pyzbar is None, reason="libzbar is not installed")
def test_a_sequence_in_view_which_pyzbar_cannot_stand_is_nothing_to_us() -> None:
    part = rendered(segno.make_sequence(CARD * 4, symbol_count=4, error="l")[0])
    with pytest.raises(ValueError, match="ZBarOrientation"):
        pyzbar.decode(part, symbols=[pyzbar.ZBarSymbol.QRCODE])
    assert list(_zbar_codes(part)) == []


@pytest.mark.skipif(pyzbar is None, reason="libzbar is not installed")
def test_bytes_that_are_no_text_are_unread_by_libzbar() -> None:
    assert all("\ufffd" not in code.text for code in _zbar_codes(qr_picture(bytes(range(128, 256)))))

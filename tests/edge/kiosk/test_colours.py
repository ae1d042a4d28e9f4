"""Contrast of every screen's colours, computed from the style sheet as WCAG 2.2 defines it."""

import re
from collections.abc import Mapping
from importlib.resources import files

import pytest

from edge.core.screen import ScreenName

TEXT_MIN = 7.0  # AAA for text; AA asks for 4.5, but nobody stands closer than a metre
GRAPHIC_MIN = 3.0  # 1.4.11: what must be seen to be understood
STYLE = (files("edge.kiosk") / "page" / "kiosk.css").read_text()


def test_black_on_white_is_twenty_one_to_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("screen", list(ScreenName))
def test_words_can_be_read_on_every_screen(screen: ScreenName) -> None:
    colours = colours_of(f'body[data-screen="{screen}"]')
    for ink, ground in (("ink", "ground"), ("soft", "ground"), ("picture", "door")):
        assert contrast(colours[ink], colours[ground]) >= TEXT_MIN, (ink, ground)


@pytest.mark.parametrize("screen", list(ScreenName))
def test_the_door_stands_out_from_the_wall(screen: ScreenName) -> None:
    colours = colours_of(f'body[data-screen="{screen}"]')
    assert contrast(colours["door"], colours["ground"]) >= GRAPHIC_MIN
    assert contrast(colours["door"], colours["glow"]) >= GRAPHIC_MIN


def test_the_offline_badge_can_be_read_and_seen_on_every_screen() -> None:
    badge = colours_of("body")
    assert contrast(badge["badge-ink"], badge["badge"]) >= TEXT_MIN
    for screen in ScreenName:
        assert contrast(badge["badge"], colours_of(f'body[data-screen="{screen}"]')["ground"]) >= GRAPHIC_MIN


def test_text_takes_its_colours_from_these_alone() -> None:
    outside = re.sub(r"--[\w-]+:\s*#[0-9a-f]{6}", "", STYLE)
    fixed = re.findall(r"[\w-]*color:\s*#[0-9a-f]+|fill:\s*#[0-9a-f]+", outside)
    assert fixed == []


def colours_of(selector: str) -> Mapping[str, str]:
    """The custom properties with a colour in the first rule of that selector."""
    rule = re.search(rf"^{re.escape(selector)}\s*\{{(.*?)\}}", STYLE, re.MULTILINE | re.DOTALL)
    assert rule is not None, selector
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", rule[1]))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb`."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

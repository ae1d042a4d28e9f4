"""Takes the pictures of the screens that the documents show: `python -m tests.browser.screens docs/screens`."""

import struct
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page

from edge.core.group import GroupRequest, encode_request
from edge.core.introduction import GroupIntroduction, encode_introduction
from edge.core.screen import EnrolRefusal, FaultName, Offer, Screen, ScreenName, Side, StandHint, Status
from shared.coupons import issue_coupon
from shared.ids import ClaimId, DeviceId, StoreId
from shared.instants import InstantOutcome
from tests.support.chromium import chromium
from tests.support.kiosk import key_of
from tests.support.screen_agent import OFFLINE, ONLINE, KioskStand, kiosk_stand

PORTRAIT = (1080, 1920)
LANDSCAPE = (1920, 1080)
SMALL = (800, 480)
NICKNAMES = ("M•••a", "G•••o", "A•••", "F•••a", "L•••o", "C•••e")
INTRODUCTION = encode_introduction(
    GroupIntroduction(store=StoreId("via-garibaldi-8"), key=bytes(range(8)), intake_public=bytes(range(32)))
)
REQUEST = encode_request(GroupRequest(device=DeviceId("kiosk2"), sealing_public=bytes(range(32))))
RECEIPT = (Path(__file__).parents[1] / "wire/golden/receipt-member.txt").read_text(encoding="ascii")

COUPON = issue_coupon(
    key_of("door1"), claim=ClaimId(bytes(range(16))), device=DeviceId("abcdefghijklmnop"), series="espresso-2026"
)
LABELS = {"en": "A free espresso at the bar", "it": "Un espresso gratis al bar"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One picture: the screen in it and what stands beside it."""

    name: str
    screen: Screen
    status: Status = ONLINE


def scenes(language: str, nickname: str = "Giulia") -> tuple[Scene, ...]:
    """Every screen as a member with this language sees it."""
    unit = "PT:consumption"
    idle = Screen(name=ScreenName.IDLE)
    greeting = Screen(
        name=ScreenName.GREETING, nickname=nickname, language=language, points=10, balance=1240, unit=unit, claim="ab12"
    )
    collected = Screen(
        name=ScreenName.COLLECTED, nickname=nickname, language=language, points=10, balance=1240, unit=unit
    )
    label = LABELS.get(language, "8")
    return (
        Scene(name="idle", screen=idle),
        Scene(name="greeting", screen=greeting),
        Scene(name="greeting_receipt", screen=replace(greeting, code=RECEIPT), status=OFFLINE),
        Scene(name="coupon", screen=replace(greeting, coupon=InstantOutcome.SHOWN, label=label, code=COUPON)),
        Scene(name="deferred", screen=replace(greeting, coupon=InstantOutcome.DEFERRED, label=label)),
        Scene(name="collected", screen=collected),
        Scene(name="invalid", screen=Screen(name=ScreenName.INVALID)),
        Scene(name="wrong_time", screen=Screen(name=ScreenName.WRONG_TIME, phone_ahead_s=-312)),
        Scene(name="one_code", screen=Screen(name=ScreenName.ONE_CODE)),
        Scene(name="noted", screen=Screen(name=ScreenName.NOTED, nickname=nickname, language=language), status=OFFLINE),
        Scene(name="exhausted", screen=Screen(name=ScreenName.EXHAUSTED, nickname=nickname, language=language)),
        Scene(name="paused", screen=Screen(name=ScreenName.PAUSED)),
        Scene(name="fault", screen=Screen(name=ScreenName.FAULT, fault=FaultName.CAMERA)),
        *face_scenes(language, NICKNAMES if nickname == "Giulia" else tuple("123456")),
        Scene(name="offline", screen=idle, status=OFFLINE),
    )


def face_scenes(language: str, nicknames: tuple[str, ...] = NICKNAMES) -> tuple[Scene, ...]:
    """The screens of the camera path."""
    learning = Screen(
        name=ScreenName.ENROL, language=language, hint=StandHint.CLOSER, taken=5, wanted=9, offers=(Offer.DECLINE,)
    )
    return (
        Scene(name="show_code", screen=Screen(name=ScreenName.SHOW_CODE)),
        Scene(name="choose", screen=Screen(name=ScreenName.CHOOSE, choices=nicknames, offers=(Offer.PICK,))),
        Scene(name="turn", screen=Screen(name=ScreenName.TURN, side=Side.LEFT)),
        Scene(
            name="consent",
            screen=Screen(
                name=ScreenName.CONSENT, language=language, text_version=1, offers=(Offer.AGREE, Offer.DECLINE)
            ),
        ),
        Scene(name="enrol", screen=learning),
        Scene(name="enrolled", screen=Screen(name=ScreenName.ENROLLED, language=language)),
        Scene(
            name="not_enrolled",
            screen=Screen(name=ScreenName.NOT_ENROLLED, language=language, refusal=EnrolRefusal.NOBODY),
        ),
        Scene(name="forgotten", screen=Screen(name=ScreenName.FORGOTTEN, language=language)),
        Scene(name="join_group", screen=Screen(name=ScreenName.JOIN_GROUP, code=REQUEST)),
        Scene(name="admitted", screen=Screen(name=ScreenName.ADMITTED)),
        Scene(name="introduce", screen=Screen(name=ScreenName.INTRODUCE, code=INTRODUCTION)),
        Scene(name="introduced", screen=Screen(name=ScreenName.INTRODUCED)),
    )


def open_page(browser: Browser, stand: KioskStand, size: tuple[int, int]) -> Page:
    """The kiosk's page on a screen of this size, without movement."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    page.goto(stand.url)
    return page


def show(page: Page, stand: KioskStand, scene: Scene) -> None:
    """Returns once the page has painted the scene."""
    serial = stand.show(scene.screen, status=scene.status)
    page.wait_for_function("serial => document.body.dataset.painted === String(serial)", arg=serial)


def write_small(path: Path, png: bytes) -> None:
    """Writes the picture with a palette of its 256 commonest colours, a third of what Chromium makes of it."""
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    pixels = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    high, wide, _ = pixels.shape
    colours, places, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(counts)[::-1][:256]]
    distances = np.linalg.norm(colours[:, None].astype(int) - palette[None].astype(int), axis=2)
    rows = np.argmin(distances, axis=1).astype(np.uint8)[places.reshape(high, wide)]
    unfiltered = np.concatenate([np.zeros((high, 1), np.uint8), rows], axis=1)
    head = struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)  # eight bits, indexed
    parts = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b""))))


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def main(folder: Path, wanted: tuple[str, ...], size: tuple[int, int]) -> None:
    """Writes one picture a scene and language."""
    with chromium() as browser:
        for language, other in (("en", "it"), ("it", "en")):
            with kiosk_stand(languages=(language, other)) as stand:
                page = open_page(browser, stand, size)
                for scene in scenes(language):
                    if scene.name in wanted:
                        show(page, stand, scene)
                        write_small(folder / f"kiosk-{scene.name}-{language}.png", page.screenshot())
                page.close()


if __name__ == "__main__":
    NAMES = (
        "greeting",
        "coupon",
        "deferred",
        "idle",
        "collected",
        "invalid",
        "noted",
        "offline",
        "consent",
        "choose",
        "enrol",
    )
    main(Path(sys.argv[1]), NAMES, PORTRAIT)

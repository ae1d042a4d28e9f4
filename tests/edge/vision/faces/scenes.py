"""Doors with drawn faces on them: nobody's, made by formula, found by the real detector."""

import os
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.ports import Frame
from edge.vision.faces.alignment import align
from edge.vision.faces.face import Box, Face
from edge.vision.faces.gallery import Gallery, GalleryEntry, pack
from edge.vision.faces.networks import Networks, load_networks
from edge.vision.faces.weights import Weights, drawn_face
from shared.ids import MEMBER_ID_BYTES, MemberId

MODELS: Final = os.environ.get("DOORSTEP_MODELS")
needs_models = pytest.mark.skipif(not MODELS, reason="DOORSTEP_MODELS is not set (a folder with the weights)")
WIDTH, HEIGHT = 1280, 720
RATE_FPS: Final = 15
START_NS: Final = 1_000_000_000
MIDDLE: Final = (560, 230)
SIDE: Final = 180
"""Of a drawn face on the mark: 45 px between its eyes."""

Picture = NDArray[np.uint8]
Placed = tuple[Picture, tuple[int, int]]


@cache
def networks() -> Networks:
    """All of them, loaded once."""
    return load_networks(Weights(Path(MODELS or "")))


def member(number: int) -> MemberId:
    """A pseudonym."""
    return MemberId(number.to_bytes(MEMBER_ID_BYTES))


def ann(side: int = SIDE) -> Picture:
    """A dark face with full lips."""
    shaded: Picture = (drawn_face(side) * np.array([0.3, 0.35, 0.4])).astype(np.uint8)
    _add_spot(shaded, (80, 116), (20, 7), (60, 60, 120))
    _add_spot(shaded, (80, 100), (12, 5), (20, 25, 40))
    return shaded


def bob(side: int = SIDE) -> Picture:
    """A light one with a beard and glasses: the cosine with Ann is 0.3, with himself from frame to frame above 0.9."""
    pale = drawn_face(side)
    _add_spot(pale, (80, 125), (30, 16), (20, 25, 30))
    _add_spot(pale, (80, 116), (13, 4), (90, 90, 180))
    for x in (64, 96):
        place = (x * side // 160, 75 * side // 160)
        cv2.circle(pale, place, 13 * side // 160, (10, 10, 10), 3 * side // 160, cv2.LINE_AA)
    return pale


def _add_spot(face: Picture, middle: tuple[int, int], halves: tuple[int, int], colour: tuple[int, int, int]) -> None:
    scale = len(face) / 160
    (x, y), (across, down) = middle, halves
    axes = (int(across * scale), int(down * scale))
    cv2.ellipse(face, (int(x * scale), int(y * scale)), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)


def door(*faces: Placed) -> Picture:
    """The door with these faces, each by its upper left corner; what would stick out is cut off."""
    canvas = np.full((HEIGHT, WIDTH, 3), (118, 126, 122), np.uint8)
    for picture, (x, y) in faces:
        left, right = max(0, x), min(WIDTH, x + picture.shape[1])
        if left < right:
            canvas[y : y + picture.shape[0], left:right] = picture[:, left - x : right - x]
    return canvas


def frame(number: int, pixels: Picture) -> Frame:
    """The frame of so many fifteenths of a second."""
    return Frame(pixels=pixels, captured_ns=START_NS + number * 1_000_000_000 // RATE_FPS, sequence=number + 1)


def face_at(x: float, y: float, *, eyes: float = 40.0) -> Face:
    """A face seen from the front, its box's middle there."""
    points = np.array([[-0.5, -0.4], [0.5, -0.4], [0, 0.09], [-0.41, 0.6], [0.41, 0.6]], np.float32)
    box = Box(x=x - 1.1 * eyes, y=y - 1.4 * eyes, width=2.2 * eyes, height=2.8 * eyes)
    return Face(box=box, points=(points * eyes + [x, y]).astype(np.float32), score=0.9)


def enrolled(*pictures: Picture, among: int = 0) -> Gallery:
    """A gallery of these faces, members 0 and up, and of so many others made by chance."""
    gallery = Gallery()
    for number, picture in enumerate(pictures):
        gallery.put(GalleryEntry(member=member(number), template=pack(direction(picture))))
    random = np.random.default_rng(7)
    for number in range(among):
        vector = random.normal(size=256).astype(np.float32)
        gallery.put(GalleryEntry(member=member(1000 + number), template=pack(vector)))
    return gallery


def direction(picture: Picture) -> NDArray[np.float32]:
    """The embedding of the picture's face as a door shows it. Shape and dtype: (256,) float32."""
    pixels = door((picture, MIDDLE))
    found = networks().detector.detect(pixels)
    return networks().embedder.embed(align(pixels, found[0].points))


def blurred(picture: Picture, sigma: float) -> Picture:
    """The picture out of focus."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)

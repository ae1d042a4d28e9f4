"""Pictures of people in folders, for whoever measures: one sub-folder a person, each picture turned into numbers.

Nothing here is used at the door: a door sees frames and knows pseudonyms. What is wrong with a picture, a folder or a
list of pairs is a value and one line; the rest goes on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.alignment import align
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import Embedder
from edge.vision.faces.face import Face
from edge.vision.pictures import PictureFault, load_portrait

PAIRS_BYTES_MAX: Final = 16 * 1024 * 1024
"""A list of 6,000 pairs has 150 kB."""
PAIRS_FORMAT: Final = "the pairs of Labeled Faces in the Wild: '10 300', then 'name i j' and 'name i name j' lines"
_NUMBER: Final = re.compile(r"[0-9]+$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortraitFile:
    """One picture of a person; `number` is what its name ends in, or else its place in the folder from 1."""

    person: str
    number: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two pictures to compare, each a person and a number. `fold` is the part of the list they are in, from 0."""

    first: tuple[str, int]
    second: tuple[str, int]
    fold: int

    @property
    def is_same(self) -> bool:
        """Whether both show one person."""
        return self.first[0] == self.second[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsFault:
    """Why a list of pairs cannot be used. `line` counts from 1, 0 for the whole file."""

    line: int
    reason: str

    def __str__(self) -> str:
        """One line for a person."""
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.reason}; understood are {PAIRS_FORMAT}"


def by_person(folder: Path, paths: Sequence[Path]) -> tuple[PortraitFile, ...]:
    """Each picture with whom it is of: the sub-folder it lies in. Pictures beside the sub-folders are nobody's."""

    def folders(path: Path) -> tuple[str, ...]:
        return path.relative_to(folder).parts[:-1]

    found: list[PortraitFile] = []
    for person, own in groupby(sorted(paths, key=lambda path: (folders(path), path.name)), key=folders):
        for place, path in enumerate(own if person else (), start=1):
            written = _NUMBER.search(path.stem)
            number = int(written[0][-9:]) if written else place
            found.append(PortraitFile(person="/".join(person), number=number, path=path))
    return tuple(found)


class PortraitReader:
    """Turns picture files into numbers, of faces with so many pixels between the eyes. Not for several threads."""

    def __init__(self, detector: Detector, embedder: Embedder, *, eyes_px_min: float = 0.0) -> None:
        self._detector = detector
        self._embedder = embedder
        self._eyes_px_min = eyes_px_min

    def read(self, path: Path) -> NDArray[np.float32] | str:
        """The direction of the largest central face, or why there is none.

        Shape and dtype: (256,) float32, of length 1.
        """
        pixels = load_portrait(path)
        if isinstance(pixels, PictureFault):
            return str(pixels)
        face = central(self._detector.detect(pixels), pixels.shape[1], pixels.shape[0])
        if face is None:
            return "holds no face that could be found"
        if face.eye_distance < self._eyes_px_min:
            return f"has {face.eye_distance:.0f} pixels between the eyes, {self._eyes_px_min:.0f} are needed"
        return self._embedder.embed(align(pixels, face.points))


def central(faces: tuple[Face, ...], width: int, height: int) -> Face | None:
    """The face a portrait is of: large and near the middle. None without a face.

    A face counts for its area, for a quarter of it when its centre is half a side from the middle.
    """

    def weight(face: Face) -> float:
        across, down = face.box.centre
        away = np.hypot(across / width - 0.5, down / height - 0.5)
        return float(face.box.width * face.box.height / (1 + 2 * away) ** 2)

    return max(faces, key=weight, default=None)


def parse_pairs(data: bytes) -> tuple[Pair, ...] | PairsFault:
    """The pairs of a list in LFW's format, or what is wrong with it.

    The first line holds the number of folds (one when it is left out) and of pairs of each kind a fold; each fold then
    has as many lines `name i j` of one person, and as many `name i name j` of two. Source: LFW, pairs.txt (2007).
    """
    if len(data) > PAIRS_BYTES_MAX:
        return PairsFault(line=0, reason=f"is larger than {PAIRS_BYTES_MAX} bytes")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        return PairsFault(line=0, reason="is not text")
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2) or not all(word.isascii() and word.isdigit() for word in head):
        return PairsFault(line=1, reason="is not a number of folds and of pairs")
    folds, each = (int(word[:9]) for word in (head if len(head) == 2 else ["1", *head]))
    body = [line.split() for line in lines[1:] if line.strip()]
    if not body or len(body) != folds * 2 * each:
        return PairsFault(line=0, reason=f"has {len(body)} pairs where its first line says {folds * 2 * each}")
    pairs = []
    for place, words in enumerate(body):
        pair = _pair(words, fold=place // (2 * each))
        if pair is None or pair.is_same != (place % (2 * each) < each):
            return PairsFault(line=place + 2, reason="is not the pair expected there")
        pairs.append(pair)
    return tuple(pairs)


def _pair(words: list[str], fold: int) -> Pair | None:
    match words:
        case [name, first, second] if _is_number(first) and _is_number(second):
            return Pair(first=(name, int(first)), second=(name, int(second)), fold=fold)
        case [name, first, other, second] if _is_number(first) and _is_number(second):
            return Pair(first=(name, int(first)), second=(other, int(second)), fold=fold)
        case _:
            return None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10

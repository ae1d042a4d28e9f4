"""Whose a picture is, which face of it counts, and lists of pairs: LFW's and everything that only looks like it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.faces.face import Box, Face
from edge.vision.faces.portraits import (
    PAIRS_BYTES_MAX,
    Pair,
    PairsFault,
    PortraitFile,
    by_person,
    central,
    parse_pairs,
)

FOLDS = b"""2\t1
Anna\t1\t2
Anna\t1\tBert\t3

Bert\t3\t4
Bert\t4\tCarla_O'Neil\t10
"""


def face(x: float, y: float, side: float) -> Face:
    box = Box(x=x - side / 2, y=y - side / 2, width=side, height=side)
    return Face(box=box, points=np.zeros((5, 2), np.float32), score=0.9)


def test_a_picture_is_of_the_sub_folder_it_lies_in_and_has_the_number_its_name_ends_in() -> None:
    folder = Path("all")
    written = ["Bert/b.png", "Anna/Anna_0010.jpg", "Anna/Anna_0002.jpg", "nobody.jpg", "Anna/later/x.jpg", "Bert/a.png"]
    assert by_person(folder, [folder / name for name in written]) == (
        PortraitFile(person="Anna", number=2, path=folder / "Anna/Anna_0002.jpg"),
        PortraitFile(person="Anna", number=10, path=folder / "Anna/Anna_0010.jpg"),
        PortraitFile(person="Anna/later", number=1, path=folder / "Anna/later/x.jpg"),
        PortraitFile(person="Bert", number=1, path=folder / "Bert/a.png"),
        PortraitFile(person="Bert", number=2, path=folder / "Bert/b.png"),
    )


def test_a_file_in_place_of_the_folder_is_nobodys() -> None:
    assert by_person(Path("one.jpg"), [Path("one.jpg")]) == ()


@pytest.mark.parametrize(
    ("faces", "chosen"),
    [
        ((), None),
        ((face(125, 125, 80), face(20, 20, 90)), 0),  # a little larger, in the corner: somebody in the background
        ((face(125, 125, 40), face(160, 125, 90)), 1),
        ((face(10, 10, 30),), 0),
    ],
)
def test_a_portrait_is_of_the_large_face_near_its_middle(faces: tuple[Face, ...], chosen: int | None) -> None:
    found = central(faces, 250, 250)
    assert found is (None if chosen is None else faces[chosen])


def test_pairs_in_folds() -> None:
    assert parse_pairs(FOLDS) == (
        Pair(first=("Anna", 1), second=("Anna", 2), fold=0),
        Pair(first=("Anna", 1), second=("Bert", 3), fold=0),
        Pair(first=("Bert", 3), second=("Bert", 4), fold=1),
        Pair(first=("Bert", 4), second=("Carla_O'Neil", 10), fold=1),
    )


def test_pairs_in_one_list() -> None:
    pairs = parse_pairs(b"2\nA 1 2\nB 1 2\nA 1 B 1\nA 2 B 2\n")
    assert isinstance(pairs, tuple)
    assert [pair.is_same for pair in pairs] == [True, True, False, False]
    assert {pair.fold for pair in pairs} == {0}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"a.jpg b.jpg 1\n", 1),  # CFP, VGGFace2: paths and a verdict
        (b"{}", 1),
        (b"1 2 3\n", 1),
        ("\u0661\n".encode(), 1),
        (b"0 0\n", 0),
        (b"1\n", 0),
        (b"1 1\nA 1 2\n", 0),
        (b"1 1\nA 1 2\nA 1 B 2\nA 3 B 4\n", 0),
        (b"1 1\nA 1 B 2\nA 1 2\n", 2),  # of two people where one is expected
        (b"1 1\nA 1 2\nA 1 A 2\n", 3),
        (b"1 1\nA 1 2\nA one B 2\n", 3),
        (b"1 1\nA 1 2\nA 1 B 2 3\n", 3),
        (b"1 1\nA 1 2\nA 1 B 99999999999\n", 3),
        (b"\xff\xd8\xff\xe0", 0),
        (b"9" * (PAIRS_BYTES_MAX + 1), 0),
    ],
)
def test_another_format_is_one_line(data: bytes, line: int) -> None:
    fault = parse_pairs(data)
    assert isinstance(fault, PairsFault)
    assert fault.line == line
    assert "\n" not in str(fault)
    assert "Labeled Faces in the Wild" in str(fault)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_crash(data: bytes) -> None:
    assert isinstance(parse_pairs(data), tuple | PairsFault)

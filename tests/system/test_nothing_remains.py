"""A hundred strangers walk up to the camera and leave; then nothing of any of them is left on the machine.

The vision process is the product's own, started by its composition root. This test is its camera and its agent: it puts
frames into the mailbox, enrols members through the real enrolment, and shows strangers. Afterwards it searches the
memory of the process and of its QR reader, the device's folders with databases and keys, the temporary folder and the
log for what the strangers left: rows of frames in every form the process makes of them, crops, embeddings and fused
probes as the networks gave them and as the group's secret turns them, and names.

The mailbox keeps the newest frame by design, and so do its reader and the QR reader's slot: the scene ends at the empty
door. What the networks computed from zeros stays as well. Needles are computed here with the same code from the same
frames; that they are the bytes to look for is shown by finding them while a stranger stands there.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.channel.messages import (
    CameraSeen,
    FaceGone,
    FaceSeen,
    GroupChanged,
    GroupMade,
)
from edge.vision.faces.alignment import align
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import Embedder
from edge.vision.faces.key_files import KeyFiles
from edge.vision.faces.probe import Probe
from edge.vision.faces.quality import QualityGauge
from edge.vision.faces.rotation import Rotation
from edge.vision.faces.watcher import FaceOptions
from edge.vision.faces.weights import Role, Weights
from shared.ids import MEMBER_ID_BYTES, MemberId
from tests.support.vision_door import HEIGHT, WIDTH, Scene, scene_of, terms, vision_process

GIVEN: Final = (os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS"))
STRANGERS, MEMBERS = 100, 3
PLACE: Final = (515, 200)
STEP_NS: Final = 150_000_000
"""Seven frames a second by their own clock; shown as fast as a machine at rest keeps up with."""
PACE_S: Final = 0.03
AWAY_FRAMES: Final = 2
PROBES: Final = 3
SHOWN_MAX: Final = 300
NEEDLE_BYTES: Final = 48
NUMBERS_BYTES: Final = 16
VARIETY_MIN: Final = 10
"""Different bytes in a needle: a plain wall would be found everywhere."""
CHUNK_BYTES: Final = 16 << 20
OVERLAP_BYTES: Final = 64

Picture = NDArray[np.uint8]


# --- what is looked for -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody before the camera, and the bytes that would tell that they were there."""

    name: str
    portrait: Picture
    needles: dict[bytes, str] = field(repr=False)


class Easel:
    """Makes the frames, and from them what the vision process makes."""

    def __init__(self, models: Path) -> None:
        weights = Weights(models)
        self._detector = Detector(weights.load(Role.DETECTOR))
        self._embedder = Embedder(weights.load(Role.EMBEDDER))
        random = np.random.default_rng(11)
        coarse = random.integers(70, 150, (45, 80, 3), np.uint8)
        self.empty: Picture = np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)

    def person(self, name: str, portrait: Picture, rotation: Rotation | None = None) -> Person | None:
        """The person on the mark; None when the portrait shows no face that would be compared."""
        frame = self.frame_of(portrait)
        faces = self._detector.detect(frame)
        if len(faces) != 1:
            return None
        crop, options = align(frame, faces[0].points), FaceOptions()
        is_good = QualityGauge().measure(faces[0], crop).fault(options.enrolment.limits) is None
        if not is_good or not options.mark.holds(faces[0], WIDTH, HEIGHT):
            return None
        needles = dict(_picture_needles(frame, crop))
        needles.update(self._number_needles(crop, rotation))
        needles[name.encode()] = "name"
        return Person(name=name, portrait=portrait, needles=needles)

    def frame_of(self, portrait: Picture) -> Picture:
        """The door with this person on the mark."""
        frame, (x, y) = self.empty.copy(), PLACE
        frame[y : y + portrait.shape[0], x : x + portrait.shape[1]] = portrait
        return frame

    def _number_needles(self, crop: Picture, rotation: Rotation | None) -> Iterator[tuple[bytes, str]]:
        """The embedding, and the probe after one frame and after more of the same one."""
        embedding, probe = self._embedder.embed(crop), Probe()
        yield from _numbers(embedding, "embedding")
        for count in range(1, 9):
            probe.add(embedding)
            yield from _numbers(probe.fused, f"probe of {count}")
            if rotation is not None:
                yield from _numbers(rotation.turn(probe.fused), f"turned probe of {count}")


def _picture_needles(frame: Picture, crop: Picture) -> Iterator[tuple[bytes, str]]:
    """Pieces of rows of the frame and of what is made of it."""
    x, y = PLACE
    reduced = np.asarray(cv2.resize(frame, (640, 360), interpolation=cv2.INTER_LINEAR), np.uint8)
    gray = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
    small = np.ascontiguousarray(frame[::4, ::4])
    forms = (
        ("frame", frame, [y + row for row in (95, 112, 130, 150, 168)], [x + column for column in (90, 115, 140)]),
        ("reduced frame", reduced, [y // 2 + row for row in (50, 58, 70)], [x // 2 + column for column in (48, 60)]),
        ("grey frame", gray, [y + row for row in (95, 112, 150)], [x + 90]),
        ("small frame", small, [y // 4 + row for row in (25, 29, 36)], [x // 4 + 22]),
        ("small grey frame", small_gray(frame), [y // 4 + row for row in (25, 29, 36)], [x // 4 + 8]),
        ("crop", crop, [40, 60, 75, 90], [24, 60, 90]),
        ("planes for the detector", np.moveaxis(reduced, 2, 0).astype(np.float32)[1], [y // 2 + 58], [x // 2 + 52]),
        ("planes for the embedder", np.moveaxis(crop, 2, 0).astype(np.float32)[1], [60], [60]),
        ("numbers for the embedder", crop.astype(np.float32), [60], [60]),
    )
    for what, picture, rows, columns in forms:
        for row in rows:
            for column in columns:
                # Small whole numbers as float32 begin with two zeros, which are everywhere.
                skipped = 2 if picture.dtype == np.float32 else 0
                piece = np.ascontiguousarray(picture[row, column:]).tobytes()[skipped : skipped + NEEDLE_BYTES]
                if len(set(piece)) >= VARIETY_MIN:
                    yield piece, what


def small_gray(frame: Picture) -> Picture:
    """The picture that faces are followed in."""
    reduced = cv2.resize(frame, (320, 180), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(reduced, cv2.COLOR_BGR2GRAY), np.uint8)


def _numbers(vector: NDArray[np.float32], what: str) -> Iterator[tuple[bytes, str]]:
    """Four consecutive numbers, at several places."""
    raw = vector.tobytes()
    for start in range(0, len(raw), 128):
        yield raw[start : start + NUMBERS_BYTES], what


# --- the search -------------------------------------------------------------------------------------------------------


class Search:
    """Finds any of many needles in much memory: its first, second and fifth byte by table, then the whole needle."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._by_start: dict[int, list[bytes]] = {}
        self._is_start = np.zeros(1 << 24, bool)
        for needle in needles:
            start = needle[0] | needle[1] << 8 | needle[4] << 16
            self._by_start.setdefault(start, []).append(needle)
            self._is_start[start] = True

    def find(self, data: bytes) -> set[bytes]:
        """The needles that are somewhere in the data."""
        array = np.frombuffer(data, np.uint8)
        if len(array) < 5:
            return set()
        starts = array[:-4].astype(np.uint32)
        starts |= array[1:-3].astype(np.uint32) << 8
        starts |= array[4:].astype(np.uint32) << 16
        found: set[bytes] = set()
        for place in np.flatnonzero(self._is_start[starts]):
            for needle in self._by_start[int(starts[place])]:
                if data.startswith(needle, int(place)):
                    found.add(needle)
        return found

    def find_in_file(self, path: Path) -> set[bytes]:
        """The needles in the file."""
        return self.find(path.read_bytes())

    def find_in_process(self, process_id: int) -> dict[bytes, str]:
        """The needles in every readable region of the process, and in which."""
        found: dict[bytes, str] = {}
        with Path(f"/proc/{process_id}/mem").open("rb", buffering=0) as memory:
            for start, end, name in _regions(process_id):
                for data in _chunks(memory.fileno(), start, end):
                    found.update(dict.fromkeys(self.find(data), name))
        return found


def _regions(process_id: int) -> Iterator[tuple[int, int, str]]:
    """First and last address of what the process can read, and what it is."""
    for line in Path(f"/proc/{process_id}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        name = words[5] if len(words) > 5 else "anonymous"
        if words[1].startswith("r") and name not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
            first, last = (int(word, 16) for word in words[0].split("-"))
            yield first, last, f"{name} {words[1]}"


def _chunks(memory: int, start: int, end: int) -> Iterator[bytes]:
    """The region's bytes, in pieces that overlap by more than a needle; what cannot be read is left out."""
    for at in range(start, end, CHUNK_BYTES):
        try:
            yield os.pread(memory, min(CHUNK_BYTES + OVERLAP_BYTES, end - at), at)
        except OSError:
            continue


# --- the test ---------------------------------------------------------------------------------------------------------


def folders() -> tuple[Path, Path] | str:
    """Portraits and weights, or why there are none."""
    media, models = GIVEN
    if media is None or models is None or not (Path(media) / "faces").is_dir():
        return "DOORSTEP_MEDIA (with faces) and DOORSTEP_MODELS are not both set"
    return Path(media) / "faces", Path(models)


def people(easel: Easel, portraits: Path, rotation: Rotation, names: Sequence[str], wanted: int) -> list[Person]:
    """So many people whose portraits show one face."""
    found: list[Person] = []
    for name in names:
        picture = cv2.imread(str(sorted((portraits / name).iterdir())[0]))
        person = easel.person(name, np.asarray(picture, np.uint8), rotation)
        if person is not None:
            found.append(person)
        if len(found) == wanted:
            break
    return found


@pytest.mark.timeout(900)  # a minute on a machine at rest; a hundred visits on a busy one are slow
@pytest.mark.skipif(isinstance(folders(), str), reason=str(folders()))
def test_nothing_remains_of_a_hundred_strangers(tmp_path: Path) -> None:
    given = folders()
    assert not isinstance(given, str)
    portraits, models = given
    with vision_process(tmp_path, models) as process:
        asyncio.run(_walk_past(tmp_path, portraits, models, process.pid))


async def _walk_past(folder: Path, portraits: Path, models: Path, process_id: int) -> None:
    async with scene_of(folder / "home" / "run") as scene:
        easel = Easel(models)
        await scene.tell(terms())
        await scene.tell(GroupMade())
        await scene.answered(GroupChanged)
        group = KeyFiles(folder / "home" / "keys").load_group()
        assert group is not None
        rotation = Rotation(group.secrets[0])
        several = [name.name for name in sorted(portraits.iterdir()) if len(list(name.iterdir())) > 1]
        single = [name.name for name in sorted(portraits.iterdir()) if len(list(name.iterdir())) == 1]
        members = people(easel, portraits, rotation, several, MEMBERS)
        strangers = people(easel, portraits, rotation, single, STRANGERS)
        assert len(strangers) == STRANGERS
        for number, person in enumerate(members):
            member = MemberId(bytes([number]) * MEMBER_ID_BYTES)
            await scene.enrol(easel.frame_of(person.portrait), member, step_ns=STEP_NS, pace_s=0.1)
            await show(scene, easel.empty, AWAY_FRAMES)
        found_there = await _show_all(scene, easel, strangers, process_id)
        assert {"frame", "crop", "small grey frame"} <= found_there, "the search finds what is there"
        assert any(what.startswith("probe") for what in found_there)
        await show(scene, easel.empty, 60)
        needles = {needle: what for person in (*strangers, *members) for needle, what in person.needles.items()}
        what_remains = _remains(Search(needles), needles, process_id, folder)
        assert what_remains == []


async def show(scene: Scene, pixels: Picture, frames: int) -> None:
    """Shows the frame so often, at this test's pace."""
    await scene.show(pixels, frames, step_ns=STEP_NS, pace_s=PACE_S)


async def _show_all(scene: Scene, easel: Easel, strangers: Sequence[Person], process_id: int) -> set[str]:
    """Shows one stranger after the other; returns what the search finds of one who stands there."""
    there: set[str] = set()
    for number, person in enumerate(strangers):
        were_seen = partial(_were_seen, scene, len(scene.heard))
        await _until(scene, easel.frame_of(person.portrait), were_seen)
        if number == len(strangers) // 2:
            found = Search(person.needles).find_in_process(process_id)
            there = {person.needles[needle] for needle in found}
        await _until(scene, easel.empty, lambda: _all_gone(scene))
        await show(scene, easel.empty, AWAY_FRAMES)
    assert _all_gone(scene)
    assert len(scene.seen_tracks()) >= 0.9 * len(strangers), "nearly every stranger was compared"
    assert any(isinstance(message, CameraSeen) and message.live for message in scene.heard)
    return there


async def _until(scene: Scene, pixels: Picture, is_so: Callable[[], bool]) -> None:
    """Shows the frame until it is so, or has been shown for long enough: not every portrait is good enough."""
    for _ in range(SHOWN_MAX):
        await show(scene, pixels, 3)
        if is_so():
            return


def _were_seen(scene: Scene, before: int) -> bool:
    """Whether the stranger who came after so many messages was compared by several frames."""
    return any(
        isinstance(message, FaceSeen) and message.comparison.probes >= PROBES for message in scene.heard[before:]
    )


def _all_gone(scene: Scene) -> bool:
    gone = {message.track for message in scene.heard if isinstance(message, FaceGone)}
    return scene.seen_tracks() <= gone


def _remains(search: Search, needles: dict[bytes, str], process_id: int, folder: Path) -> list[str]:
    """What was found and where, each kind once."""
    found = {
        f"{needles[needle]} in memory of {role}: {where}"
        for role, number in (("vision", process_id), *(("its child", child) for child in _children(process_id)))
        for needle, where in search.find_in_process(number).items()
    }
    files = [path for path in folder.rglob("*") if path.is_file()]
    found |= {f"{needles[needle]} in {path.name}" for path in files for needle in search.find_in_file(path)}
    return sorted(found)


def _children(process_id: int) -> list[int]:
    words = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    assert words, "the QR reader runs"
    return [int(word) for word in words]


def test_the_search_finds_what_is_planted_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    needles = [random.bytes(48), random.bytes(16), b"Somebody's Name"]
    absent = [random.bytes(48), needles[0][:20] + random.bytes(28)]
    search = Search([*needles, *absent])
    file = tmp_path / "there"
    file.write_bytes(random.bytes(5000) + needles[0] + random.bytes(77) + needles[1] + needles[2])
    assert search.find_in_file(file) == set(needles)
    hex_needles = [needle.hex() for needle in needles]
    holder = "import sys; kept = [bytearray.fromhex(text) * 2 for text in sys.argv[1:]]; print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, *hex_needles], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert set(search.find_in_process(child.pid)) == set(needles)
        child.communicate()
    assert search.find(b"") == set()
    assert search.find(b"ab") == set()

"""The product's pipeline as its vision process runs it: motion gate, codes, faces; and the gallery it searches."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.portraits import SIDE, load_portrait
from edge.core.match import Comparison
from edge.db.templates import TemplateDatabase
from edge.ports import Frame
from edge.vision.faces.alignment import align
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import Embedder
from edge.vision.faces.keeper import Keeper, Place
from edge.vision.faces.watcher import FaceOptions, FaceWatcher, Seen
from edge.vision.faces.weights import Role, Weights
from edge.vision.motion import CELLS_ACROSS, SAMPLES_A_SIDE, MotionGate
from edge.vision.qr import read_codes
from shared.biometrics import SealedTemplate
from shared.ids import DeviceId, StoreId
from tests.bench.walkin.people import Enrolled
from tests.bench.walkin.seers import Bench, Compared

LIFE: Final = bytes(range(16))
PLACE: Final = Place(store=StoreId("bench"), device=DeviceId("kiosk1"))
GATE_WIDTH: Final = CELLS_ACROSS * SAMPLES_A_SIDE
MIDDLE: Final = (SIDE / 2, SIDE / 2)
APPLY_MAX: Final = 100


@contextmanager
def opened_bench(weights: Weights, members: Sequence[Enrolled], scratch: Path) -> Iterator[Bench]:
    """Networks, and a keeper in whose gallery everybody is enrolled with the mean of their pictures."""
    detector, embedder = Detector(weights.load(Role.DETECTOR)), Embedder(weights.load(Role.EMBEDDER))
    random = np.random.default_rng(0).bytes
    with TemplateDatabase(scratch / "templates.db") as shelf:
        shelf.open()
        keeper = Keeper(scratch, shelf, embedder=embedder.identity, random=random)
        keeper.start()
        keeper.bind(PLACE, LIFE)
        keeper.make_group()
        apply_all(keeper, [keeper.enrol(one.member, mean_of(detector, embedder, one)) for one in members])
        yield Bench(detector=detector, embedder=embedder, keeper=keeper)
        keeper.wipe()


def mean_of(detector: Detector, embedder: Embedder, member: Enrolled) -> NDArray[np.float32]:
    """The mean of the directions of the face in the middle of each of a member's pictures."""
    directions = []
    for path in member.pictures:
        pixels = load_portrait(path)
        face = min(detector.detect(pixels), key=lambda face: math.dist(face.box.centre, MIDDLE))
        directions.append(embedder.embed(align(pixels, face.points)))
    return np.asarray(np.mean(directions, axis=0), np.float32)


def apply_all(keeper: Keeper, sealed: Sequence[SealedTemplate]) -> None:
    """Brings the templates back as the cloud's feed does."""
    for first in range(0, len(sealed), APPLY_MAX):
        batch = sealed[first : first + APPLY_MAX]
        keeper.apply(version=None, issued_ms=first, whole=False, reset=False, keep=batch, forget=())


class Templates:
    """The keeper as the watcher searches it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._count = keeper.loaded.usable

    def __len__(self) -> int:
        return self._count

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """The fused probe against everybody. Shape and dtype: (256,) float32."""
        return self._keeper.compare(probe, probes)


class Ours:
    """A vision process's work on a frame (edge/vision/watch.py). Reading codes is its child's: it is done where asked
    for, so that what it takes, `codes_s` processor seconds so far, can be told apart."""

    def __init__(self, bench: Bench, *, reads_codes: bool = False, options: FaceOptions | None = None) -> None:
        self._watcher = FaceWatcher(bench.detector, bench.embedder, Templates(bench.keeper), options=options)
        self._gate = MotionGate()
        self._reads_codes = reads_codes
        self._in_view = False
        self.codes_s = 0.0

    def look(self, frame: Frame) -> tuple[Compared, ...]:
        """What the product makes of it."""
        self._read_codes(frame)
        events = self._watcher.look(frame, code_in_view=self._in_view)
        return tuple(
            Compared(track=event.track, comparison=event.comparison) for event in events if isinstance(event, Seen)
        )

    def settle(self, track: int) -> None:
        """As the agent says it."""
        self._watcher.settle(track)

    def _read_codes(self, frame: Frame) -> None:
        step = max(1, frame.pixels.shape[1] // GATE_WIDTH)
        glance = np.ascontiguousarray(frame.pixels[::step, ::step])
        is_worth = self._gate.changed(_gray(glance), frame.captured_ns)
        if not is_worth or not self._reads_codes:
            return
        effort = self._gate.effort(frame.captured_ns)
        from_s = time.process_time()
        self._in_view = bool(read_codes(_gray(frame.pixels), effort=effort))
        self.codes_s += time.process_time() - from_s
        if self._in_view:
            self._gate.code_read(frame.captured_ns)


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)

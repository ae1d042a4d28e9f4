"""Follows faces from frame to frame, so that the detector need not run on each.

Between two detections a face is where its patch of a small grey picture fits best; the next detection says whether that
was right. A face that neither is found nor fits is kept for a moment: people pass in front of each other and turn their
heads. Whether anything new came into view is told from the same small picture.

The frame's own timestamp is the only clock. Patches are pictures of people: they lie in buffers of their track and are
wiped when it ends.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.face import Box, Face
from edge.vision.motion import CHANGE_GREY, CHANGED_CELLS_MIN, thumbnail

SMALL_WIDTH: Final = 320
"""Pixels across of the picture that faces are followed in: a face of 18 px between the eyes is still 10 wide there."""
PATCH_SHARE: Final = 0.7
"""Of the box's sides: eyes, nose and mouth, with as little background as can be."""
PATCH_SIDE_MAX: Final = 48
"""Of a larger face its middle is followed: as sure, and the search stays below 0.2 ms."""
PATCH_SIDE_MIN: Final = 8
REACH_SHARE: Final = 0.6
REACH_MIN: Final = 6
"""How far a face may have moved since the frame before, in patch widths and at least in small pixels: who walks
across at 1 m/s moves by half a face in a fifteenth of a second."""
FIT_MIN: Final = 0.6
"""Correlation of the patch with the place it is found at; what has turned away or is covered falls below 0.5."""
LOST_NS: Final = 500_000_000
"""Out of sight for so long, a face is gone: somebody passing in front takes 0.3 s."""
SAME_CENTRES_MAX: Final = 0.7
"""A detection belongs to a track when their middles are closer than this share of a face's width..."""
SAME_SIZES_MAX: Final = 1.8
"""...and neither is this many times the other."""


class SmallView:
    """The newest frame as a small grey picture, and whether anything in it changed since it was last searched."""

    def __init__(self) -> None:
        self._colour = np.zeros((0, 0, 3), np.uint8)
        self.gray = np.zeros((0, 0), np.uint8)
        self.step = 1.0
        self._searched: NDArray[np.float32] | None = None

    def show(self, pixels: NDArray[np.uint8]) -> None:
        """Takes the frame in. Shape and dtype: (H, W, 3) uint8 BGR."""
        height, width = pixels.shape[:2]
        across = min(SMALL_WIDTH, width)
        size = (max(1, height * across // width), across)
        if self.gray.shape != size:
            self.wipe()
            self._colour, self.gray = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
        self.step = width / across
        cv2.resize(pixels, size[::-1], dst=self._colour, interpolation=cv2.INTER_NEAREST)
        cv2.cvtColor(self._colour, cv2.COLOR_BGR2GRAY, dst=self.gray)

    def has_changed(self) -> bool:
        """Whether something moved since `searched`; always before the first search."""
        cells = thumbnail(self.gray)
        if self._searched is None or self._searched.shape != cells.shape:
            return True
        difference = cells - self._searched
        # Auto-exposure lifts the whole picture at once: what all cells share is not motion.
        difference -= np.median(difference)
        change = cv2.blur(np.abs(difference), (3, 3))
        return int(np.count_nonzero(change > CHANGE_GREY)) >= CHANGED_CELLS_MIN

    def searched(self) -> None:
        """What is in view now was searched for faces."""
        self._searched = thumbnail(self.gray)

    def wipe(self) -> None:
        """Zeros; the next view counts as changed."""
        self._colour.fill(0)
        self.gray.fill(0)
        self._searched = None


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """One face followed over frames.

    `face` is where it was last, its points moved along since it was last detected. `seen_ns` is the last frame in which
    it was found or followed, `detected_ns` the last in which it was found.
    """

    number: int
    face: Face
    began_ns: int
    seen_ns: int
    detected_ns: int
    _buffer: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((PATCH_SIDE_MAX, PATCH_SIDE_MAX), np.uint8))
    _patch: NDArray[np.uint8] | None = None

    def found(self, face: Face, view: SmallView, at_ns: int) -> None:
        """The detector saw it here."""
        self.face, self.seen_ns, self.detected_ns = face, at_ns, at_ns
        self._buffer.fill(0)
        self._patch = None
        top, left, height, width = self._window(view, 0)
        if min(height, width) >= PATCH_SIDE_MIN:
            self._patch = self._buffer[:height, :width]
            np.copyto(self._patch, view.gray[top : top + height, left : left + width])

    def missed(self) -> None:
        """The detector did not see it: it is not followed either until it is found again."""
        self._patch = None
        self._buffer.fill(0)

    def follow(self, view: SmallView, at_ns: int) -> None:
        """Moves the face to where its patch fits best, if it fits anywhere near."""
        if self._patch is None:
            return
        height, width = self._patch.shape
        reach = max(REACH_MIN, round(REACH_SHARE * width))
        top, left, down, across = self._window(view, reach)
        if down < height or across < width:
            return
        fits = cv2.matchTemplate(view.gray[top : top + down, left : left + across], self._patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(fits)
        if not best >= FIT_MIN:
            return
        centre_x, centre_y = self.face.box.centre
        self.face = _moved(
            self.face,
            (left + x + width / 2) * view.step - centre_x,
            (top + y + height / 2) * view.step - centre_y,
        )
        self.seen_ns = at_ns

    def wipe(self) -> None:
        """Nothing of the face's picture is left here."""
        self.missed()

    def _window(self, view: SmallView, reach: int) -> tuple[int, int, int, int]:
        """The patch's place in the small picture, grown by `reach` on every side: top, left, height, width."""
        box, step = self.face.box, view.step
        rows, columns = view.gray.shape
        if self._patch is None:
            height, width = (min(PATCH_SIDE_MAX, round(PATCH_SHARE * side / step)) for side in (box.height, box.width))
        else:
            height, width = self._patch.shape
        centre_x, centre_y = box.centre
        top = round(centre_y / step - height / 2) - reach
        left = round(centre_x / step - width / 2) - reach
        bottom, right = min(rows, top + height + 2 * reach), min(columns, left + width + 2 * reach)
        top, left = max(0, top), max(0, left)
        return top, left, bottom - top, right - left


class Tracks:
    """The faces now in view, and those that were a moment ago. Numbers grow and are never used again."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._last_number = 0

    def __iter__(self) -> Iterator[Track]:
        return iter(tuple(self._tracks))

    def __len__(self) -> int:
        return len(self._tracks)

    def follow(self, view: SmallView, at_ns: int) -> None:
        """Moves every face along with the picture."""
        for track in self._tracks:
            track.follow(view, at_ns)

    def update(self, faces: Sequence[Face], view: SmallView, at_ns: int) -> None:
        """Each detected face belongs to its track, or begins one; a track without a face is out of sight for now."""
        left_over = dict(enumerate(faces))
        missing = list(self._tracks)
        while (pair := _nearest(missing, left_over)) is not None:
            track, place = pair
            track.found(left_over.pop(place), view, at_ns)
            missing.remove(track)
        for track in missing:
            track.missed()
        for face in left_over.values():
            self._begin(face, view, at_ns)

    def end_lost(self, at_ns: int) -> tuple[Track, ...]:
        """The tracks that were out of sight for too long, wiped and no longer here."""
        lost = tuple(track for track in self._tracks if at_ns - track.seen_ns > LOST_NS)
        for track in lost:
            self.end(track)
        return lost

    def end(self, track: Track) -> None:
        """Wipes one track and forgets it; a face still there begins another."""
        track.wipe()
        self._tracks.remove(track)

    def _begin(self, face: Face, view: SmallView, at_ns: int) -> None:
        self._last_number += 1
        track = Track(number=self._last_number, face=face, began_ns=at_ns, seen_ns=at_ns, detected_ns=at_ns)
        track.found(face, view, at_ns)
        self._tracks.append(track)


def _nearest(tracks: Sequence[Track], faces: Mapping[int, Face]) -> tuple[Track, int] | None:
    """The track and the face that are closest of all that may be one, or None."""
    best, closest = None, SAME_CENTRES_MAX
    for track in tracks:
        for place, face in faces.items():
            apart = _apart(track.face.box, face.box)
            if apart < closest:
                best, closest = (track, place), apart
    return best


def _apart(one: Box, other: Box) -> float:
    """Distance of the middles in widths of the larger box; infinite when the sizes rule it out."""
    small, large = sorted((one.width, other.width))
    if large > SAME_SIZES_MAX * small:
        return math.inf
    (one_x, one_y), (other_x, other_y) = one.centre, other.centre
    return math.hypot(one_x - other_x, one_y - other_y) / large


def _moved(face: Face, right: float, down: float) -> Face:
    box = replace(face.box, x=face.box.x + right, y=face.box.y + down)
    return replace(face, box=box, points=face.points + np.array([right, down], np.float32))

"""Compares a probe with every template on the device: exactly in a small gallery, by signs first in a large one.

A template is 256 numbers of 8 bits and a scale. Everything is kept in arrays that this module owns, wipes where a
member leaves, and wipes whole on request. No secret and no file here: templates come turned and opened, probes turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.match import CANDIDATES_MAX, COHORT_MAX, Candidate, Comparison
from edge.vision.faces.embedder import SIZE
from shared.ids import MEMBER_ID_BYTES, MemberId

TEMPLATE_BYTES: Final = SIZE + 4
MEMBERS_MAX: Final = 100_000
"""As many as a kiosk's roster holds."""

EXACT_MAX: Final = 4096
"""Up to so many every template is scored: about 0.5 ms. Above, signs choose which ones are."""

SHORTLIST: Final = 4000
"""Templates scored after the signs chose, at least. Then the best of 100,000 is overlooked for one stranger in a
thousand or less, all at scores where nobody is recognised, and for no member; half as many overlook twice as often and
save a quarter of the time (`python -m tests.bench search`, 2026-11)."""

_CAPACITY_MIN: Final = 256
_WORDS: Final = SIZE // 64
_BLOCK: Final = 1024
_LEVELS: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryEntry:
    """A member's template: TEMPLATE_BYTES from `pack`, in the space that probes are turned into."""

    member: MemberId
    template: bytes | bytearray = field(repr=False)


def pack(vector: NDArray[np.float32]) -> bytearray:
    """The template of a vector: SIZE signed bytes, then the scale that gives them length 1 (float32, little-endian).

    Shape and dtype: (SIZE,) float32, not zero and finite. The score of a packed template with its vector is above
    0.9999, and scores with others move by about 0.0004 (measured over portraits, 2026-11).
    """
    largest = max(float(vector.max()), -float(vector.min()))
    assert largest > 0.0, "a face has a direction"
    levels = vector * np.float32(_LEVELS / largest)
    np.rint(levels, out=levels)
    template = bytearray(TEMPLATE_BYTES)
    np.frombuffer(template, np.int8, SIZE)[:] = levels
    template[SIZE:] = np.float32(1.0 / np.sqrt(float(levels @ levels))).astype("<f4").tobytes()
    levels.fill(0)
    return template


def unpack(template: bytes | bytearray | memoryview) -> NDArray[np.float32]:
    """The vector of a template, of length 1. Shape and dtype: (SIZE,) float32."""
    levels, scales = _columns(np.frombuffer(template, np.uint8).reshape(1, TEMPLATE_BYTES))
    vector: NDArray[np.float32] = levels[0].astype(np.float32)
    vector *= scales[0]
    return vector


class Gallery:
    """The templates of up to MEMBERS_MAX members. Not for several threads at once.

    A template takes 310 bytes: its numbers, its scale, the signs of its numbers as one bit each, its member, and eight
    for searching. Searching leaves no more of a probe or a template in memory than scores and single bits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._allocate(0)
        self._block = np.zeros((_BLOCK, SIZE), np.float32)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Gallery({self._count})"

    def replace(self, entries: Sequence[GalleryEntry]) -> None:
        """Holds these templates and no others; of a member named twice the last one."""
        self.wipe()
        latest = list({entry.member: entry for entry in entries}.values())
        for first in range(0, len(latest), _BLOCK):
            batch = latest[first : first + _BLOCK]
            members = np.frombuffer(b"".join(entry.member for entry in batch), np.uint8)
            templates = np.frombuffer(b"".join(entry.template for entry in batch), np.uint8)
            self.extend(members.reshape(-1, MEMBER_ID_BYTES), templates.reshape(-1, TEMPLATE_BYTES))

    def extend(self, members: NDArray[np.uint8], templates: NDArray[np.uint8]) -> None:
        """Adds members that are not in the gallery yet.

        Shape and dtype: (n, MEMBER_ID_BYTES) and (n, TEMPLATE_BYTES) uint8.
        """
        first, end = self._count, self._count + len(members)
        assert end <= MEMBERS_MAX, "the roster is bound to as many members"
        self._grow(end)
        self._set(slice(first, end), members, templates)
        self._count = end

    def put(self, entry: GalleryEntry) -> bool:
        """Adds the member, or replaces their template; False when the gallery is full."""
        member = np.frombuffer(entry.member, np.uint8).reshape(1, MEMBER_ID_BYTES)
        template = np.frombuffer(entry.template, np.uint8).reshape(1, TEMPLATE_BYTES)
        row = self._find(entry.member)
        if row is not None:
            self._set(slice(row, row + 1), member, template)
        elif self._count < MEMBERS_MAX:
            self.extend(member, template)
        else:
            return False
        return True

    def remove(self, member: MemberId) -> bool:
        """True when the member was in the gallery; nothing of their template is left."""
        row = self._find(member)
        if row is None:
            return False
        last = self._count - 1
        for array in (self._levels, self._scales, self._heads, self._tails, self._signs.T):
            array[row] = array[last]
            array[last] = 0
        self._count = last
        return True

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """The best members for a probe that `probes` frames were fused into, and how it scores with the others.

        Shape and dtype: (SIZE,) float32, turned as the templates are, of length 1.
        """
        if not self._count:
            return Comparison(candidates=(), enrolled=0, probes=probes, cohort_mean=0.0, cohort_deviation=0.0)
        rows = None if self._count <= EXACT_MAX else self._shortlist(probe)
        scores = self._scores(probe, np.arange(self._count) if rows is None else rows)
        best = _best(scores, CANDIDATES_MAX)
        best_rows = best if rows is None else rows[best]
        cohort = self._cohort_scores(probe, scores if rows is None else None, int(best_rows[0]))
        spread = len(cohort) > 1
        found = zip(best_rows, scores[best], strict=True)
        return Comparison(
            candidates=tuple(Candidate(member=self._member(int(row)), score=float(score)) for row, score in found),
            enrolled=self._count,
            probes=probes,
            cohort_mean=float(cohort.mean()) if spread else 0.0,
            cohort_deviation=float(cohort.std()) if spread else 0.0,
        )

    def wipe(self) -> None:
        """Leaves nothing of any template."""
        for array in self._arrays():
            array.fill(0)
        self._block.fill(0)
        self._count = 0
        self._allocate(0)

    # --- search -------------------------------------------------------------------------------------------------------

    def _shortlist(self, probe: NDArray[np.float32]) -> NDArray[np.intp]:
        """Rows of the templates whose signs differ least from the probe's: SHORTLIST and those as near as its last."""
        code = _signs(probe[np.newaxis])
        differing, apart = np.zeros(self._count, np.uint16), self._apart[: self._count]
        for word, signs in zip(code[:, 0], self._signs, strict=True):
            np.bitwise_xor(signs[: self._count], word, out=apart)
            differing += np.bitwise_count(apart)
        for buffer in (code, apart):
            buffer.fill(0)
        farthest = np.partition(differing, SHORTLIST - 1)[SHORTLIST - 1]
        return np.flatnonzero(differing <= farthest)

    def _scores(self, probe: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The probe's score with each of these rows. Shape and dtype: (len(rows),) float32."""
        scores = np.empty(len(rows), np.float32)
        for first in range(0, len(rows), _BLOCK):
            chosen = rows[first : first + _BLOCK]
            block = self._block[: len(chosen)]
            block[:] = self._levels[chosen]
            scores[first : first + len(chosen)] = block @ probe
        self._block.fill(0)
        return np.asarray(scores * self._scales[rows], np.float32)

    def _cohort_scores(
        self, probe: NDArray[np.float32], all_scores: NDArray[np.float32] | None, best_row: int
    ) -> NDArray[np.float64]:
        """Scores with the first COHORT_MAX rows but the best one: a sample, since pseudonyms order rows by chance."""
        size = min(self._count, COHORT_MAX)
        scores = self._scores(probe, np.arange(size)) if all_scores is None else all_scores[:size]
        return np.asarray(np.delete(scores, best_row) if best_row < size else scores, np.float64)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _find(self, member: MemberId) -> int | None:
        head, tail = _halves(np.frombuffer(member, np.uint8).reshape(1, MEMBER_ID_BYTES))
        found = np.flatnonzero((self._heads[: self._count] == head) & (self._tails[: self._count] == tail))
        return int(found[0]) if len(found) else None

    def _member(self, row: int) -> MemberId:
        return MemberId(self._heads[row].tobytes() + self._tails[row].tobytes())

    def _set(self, rows: slice, members: NDArray[np.uint8], templates: NDArray[np.uint8]) -> None:
        self._levels[rows], self._scales[rows] = _columns(templates)
        self._signs[:, rows] = _signs(self._levels[rows])
        self._heads[rows], self._tails[rows] = _halves(members)

    def _grow(self, count: int) -> None:
        capacity = len(self._scales)
        if count <= capacity:
            return
        old, rows = self._arrays(), self._count
        self._allocate(min(MEMBERS_MAX, max(count, 2 * capacity, _CAPACITY_MIN)))
        for array, outgrown in zip(self._arrays(), old, strict=True):
            array[..., :rows] = outgrown[..., :rows]
            outgrown.fill(0)

    def _allocate(self, capacity: int) -> None:
        self._levels = np.zeros((capacity, SIZE), np.int8)
        self._scales = np.zeros(capacity, np.float32)
        self._signs = np.zeros((_WORDS, capacity), np.uint64)
        self._heads = np.zeros(capacity, np.uint64)
        self._tails = np.zeros(capacity, np.uint16)
        self._apart = np.zeros(capacity, np.uint64)

    def _arrays(self) -> tuple[NDArray[np.generic], ...]:
        """All that there is a row of for each member, with the row as last axis."""
        return (self._levels.T, self._scales, self._signs, self._heads, self._tails, self._apart)


def _columns(templates: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Numbers (n, SIZE) and scales (n,) of packed templates (n, TEMPLATE_BYTES)."""
    scales = np.ascontiguousarray(templates[:, SIZE:]).view("<f4")[:, 0]
    return templates[:, :SIZE].view(np.int8), np.asarray(scales, np.float32)


def _halves(members: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Pseudonyms (n, MEMBER_ID_BYTES) as two columns of whole numbers, which compare faster than bytes."""
    heads = np.ascontiguousarray(members[:, :8]).view(np.uint64)[:, 0]
    return heads, np.ascontiguousarray(members[:, 8:]).view(np.uint16)[:, 0]


def _signs(vectors: NDArray[np.float32] | NDArray[np.int8]) -> NDArray[np.uint64]:
    """One bit a number, set where it is above 0. Shape: (n, SIZE) to (SIZE // 64, n), which is what a search reads."""
    return np.ascontiguousarray(np.packbits(vectors > 0, axis=1).view(np.uint64).T)


def _best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the highest scores, best first."""
    count = min(count, len(scores))
    chosen = np.argpartition(scores, -count)[-count:]
    return np.asarray(chosen[np.argsort(-scores[chosen], kind="stable")], np.intp)

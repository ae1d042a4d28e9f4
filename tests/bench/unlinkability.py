"""Whether two stolen galleries tell who is in both: scores between templates of two groups, of one member and of two.

`python -m tests.bench unlinkability`. With DOORSTEP_MEDIA and DOORSTEP_MODELS the embeddings are portraits', without
them random directions. Each template is turned by its group's rotation and packed, as a kiosk does; a member has the
very same embedding in both groups, which is the hardest case. What two samples of scores have in common is told by the
test of Kolmogorov and Smirnov, written out below.

The claim is one about secrets that are drawn anew: over many pairs of groups, a member's scores are spread as two
strangers' are. A thief holds one pair of groups, whose rotations stand still; what they can read from scores there is
shown beside it, and it is a little more than nothing, because faces do not fill all directions evenly. Two things are
not claimed: that whoever knows some hundred members of both groups cannot work out the turn between them, and that two
large galleries cannot be laid over each other by their statistics alone. Templates lie sealed; this is what is left
when the seal is broken twice.
"""

import math
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.gallery import pack, unpack
from edge.vision.faces.rotation import Rotation
from tests.bench.search import Vectors, draw_crowd, portraits
from tests.bench.table import Row, Table

PAIRS: Final = 100_000
GROUPS: Final = 300
FIXED: Final = 10
PEOPLE: Final = 1_000
LEVEL: Final = 0.05
"""Below this the test says that the samples differ; by chance it says so of one in twenty that do not."""

_TERMS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The largest distance between two samples' distributions, from 0 to 1, and how likely chance makes it as large."""

    distance: float
    probability: float


def differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    """The two-sample test of Kolmogorov and Smirnov.

    Source: the asymptotic distribution with the correction of Stephens 1970 for samples that are not endless.
    """
    one, other = np.sort(one), np.sort(other)
    values = np.concatenate((one, other))
    below_one = np.searchsorted(one, values, side="right") / len(one)
    below_other = np.searchsorted(other, values, side="right") / len(other)
    distance = float(np.abs(below_one - below_other).max())
    size = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return Difference(distance=distance, probability=_tail((size + 0.12 + 0.11 / size) * distance))


def _tail(value: float) -> float:
    """The chance that the Kolmogorov distribution exceeds the value."""
    if value < 0.2:  # the series needs too many terms there, and the chance is 1 to twelve digits
        return 1.0
    terms = ((1.0 if k % 2 else -1.0) * math.exp(-2 * (k * value) ** 2) for k in range(1, _TERMS))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


# --- scores between groups --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores between templates of two groups: of one member in both, and of two members."""

    members: NDArray[np.float64]
    strangers: NDArray[np.float64]

    @property
    def difference(self) -> Difference:
        """How far one can be told from the other."""
        return differ(self.members, self.strangers)


def templates_of(people: Vectors, secret: bytes) -> Vectors:
    """The people's templates in the secret's group, packed and unpacked again."""
    return np.stack([unpack(pack(turned)) for turned in Rotation(secret).turn(people)])


def over_many_groups(people: Vectors, groups: int, pairs: int, chance: np.random.Generator) -> Scores:
    """Each score of a pair of groups, and of people, drawn anew."""
    galleries = np.stack([templates_of(people, chance.bytes(32)).astype(np.float16) for _ in range(groups)])
    first, second = chance.integers(groups, size=pairs), chance.integers(1, groups, size=pairs)
    return _between(galleries, first, (first + second) % groups, chance)


def within_one_group(people: Vectors, pairs: int, chance: np.random.Generator) -> Scores:
    """The control: without another group's turn in between, everything can be told."""
    galleries = templates_of(people, chance.bytes(32)).astype(np.float16)[np.newaxis]
    same = np.zeros(pairs, np.int64)
    return _between(galleries, same, same, chance)


def _between(
    galleries: NDArray[np.float16], first: NDArray[np.int64], second: NDArray[np.int64], chance: np.random.Generator
) -> Scores:
    count = galleries.shape[1]
    one = chance.integers(count, size=len(first))
    other = (one + chance.integers(1, count, size=len(first))) % count
    return Scores(
        members=_dots(galleries, first, one, second, one), strangers=_dots(galleries, first, one, second, other)
    )


def _dots(
    galleries: NDArray[np.float16],
    first: NDArray[np.int64],
    one: NDArray[np.int64],
    second: NDArray[np.int64],
    other: NDArray[np.int64],
) -> NDArray[np.float64]:
    found = np.empty(len(one))
    for at in range(0, len(one), 5_000):
        part = slice(at, at + 5_000)
        left = galleries[first[part], one[part]].astype(np.float64)
        found[part] = np.einsum("nd,nd->n", left, galleries[second[part], other[part]].astype(np.float64))
    return found


def between_two_groups(people: Vectors, chance: np.random.Generator) -> Scores:
    """Everybody's score with themselves, and with somebody else, between two groups that stand still."""
    left, right = templates_of(people, chance.bytes(32)), templates_of(people, chance.bytes(32))
    shift = int(chance.integers(1, len(people)))
    strangers = np.einsum("nd,nd->n", left, np.roll(right, shift, axis=0), dtype=np.float64)
    return Scores(members=np.einsum("nd,nd->n", left, right, dtype=np.float64), strangers=strangers)


# --- the table --------------------------------------------------------------------------------------------------------


def table(pairs: int = PAIRS, groups: int = GROUPS) -> Table:
    """What can be told of who is in two galleries."""
    chance = np.random.default_rng(34)
    crowd = draw_crowd(pairs, chance, portraits())
    people = crowd.pool[chance.permutation(len(crowd.pool))[:PEOPLE]]
    many = over_many_groups(people, groups, pairs, chance)
    control = within_one_group(people, pairs, chance).difference
    fixed = [between_two_groups(crowd.people, chance).difference for _ in range(FIXED)]
    told = many.difference
    largest = max(fixed, key=lambda difference: difference.distance)
    middle = sorted(fixed, key=lambda difference: difference.distance)[len(fixed) // 2]
    return Table(
        title="Scores between two groups: one member in both against two members",
        headers=("pairs of groups", "pairs", "distance", "p"),
        rows=(
            _row(f"drawn anew from {groups}", pairs, told, bar=f"p >= {LEVEL}", missed=told.probability < LEVEL),
            _row(f"one pair that stands still, middle of {FIXED}", pairs, middle),
            _row(f"one pair that stands still, largest of {FIXED}", pairs, largest),
            _row("one group, no turn between (control)", pairs, control),
        ),
        notes=(
            f"Deviation of the scores {many.members.std():.4f} and {many.strangers.std():.4f}; 1/16 is that of chance.",
            "distance: how much oftener than by guessing the best threshold would tell one such score from the other.",
            f"{PEOPLE:,} people for pairs drawn anew; {pairs:,} for pairs that stand still, {crowd.source}.",
        ),
    )


def _row(what: str, pairs: int, told: Difference, *, bar: str = "", missed: bool = False) -> Row:
    probability = f"{told.probability:.3f}" if told.probability >= 0.001 else f"{told.probability:.0e}"
    return Row(cells=(what, f"{pairs:,}", f"{told.distance:.4f}", probability), bar=bar, missed=missed)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")

"""Where a person stands who wants to be recognised, and whether they stand there or only pass.

Nobody is recognised in passing: a face must be near, in the middle, and stay for the dwell about where it is.
"""

from dataclasses import dataclass

from edge.vision.faces.face import Face


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The mark as the camera sees it, in shares of the picture, so that it is the same at every resolution.

    `eyes_min`: between the eyes; with 62 degrees of view 0.025 of the width is 2.1 m, beyond arm's length of the screen
    but on this side of the door. `eyes_max`: 0.5 m, where the face no longer fits. `across`, `down`: the middle part
    of the picture in which the face's middle must be. `dwell_ns`: how long. `stray_max`: how far the face may stray in
    the meantime, in its own widths, and `growth_max` how much it may grow or shrink: a person who walks by at 1 m/s
    moves by three widths in the dwell, one who comes nearer at a stroll grows by a third; one who stands sways by less
    than half a width, and to and fro by 5 cm, which is a twentieth.
    """

    eyes_min: float = 0.025
    eyes_max: float = 0.11
    across: float = 0.6
    down: float = 0.7
    dwell_ns: int = 500_000_000
    stray_max: float = 0.8
    growth_max: float = 1.12

    def holds(self, face: Face, width: int, height: int) -> bool:
        """Whether the face is on the mark. `width` and `height` of the picture in pixels."""
        return self.is_near(face, width) and self.is_central(face, width, height)

    def is_near(self, face: Face, width: int) -> bool:
        """Whether it is large enough to belong to somebody who came up to the screen."""
        return face.eye_distance >= self.eyes_min * width

    def is_too_near(self, face: Face, width: int) -> bool:
        """Whether it is so large that not all of it can be seen."""
        return face.eye_distance > self.eyes_max * width

    def is_central(self, face: Face, width: int, height: int) -> bool:
        """Whether its middle is in the middle of the picture."""
        x, y = face.box.centre
        return abs(x / width - 0.5) <= self.across / 2 and abs(y / height - 0.5) <= self.down / 2

    def centrality(self, face: Face, width: int) -> float:
        """How much a face is the one that is meant: its size, halved towards the side of the picture."""
        off = abs(face.box.centre[0] / width - 0.5)
        return face.eye_distance * (1.0 - off)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dwell:
    """Where and when a face came to stand on the mark."""

    since_ns: int
    face: Face


def advance_dwell(dwell: Dwell | None, mark: Mark, face: Face, size: tuple[int, int], at_ns: int) -> Dwell | None:
    """The dwell after one more frame, None when the face is not on the mark. `size` is the picture's width and height.

    A dwell that is over lasts for as long as the face is on the mark, however it moves there.
    """
    if not mark.holds(face, *size):
        return None
    if dwell is None or not (is_over(dwell, mark, at_ns) or _stands(dwell.face, mark, face)):
        return Dwell(since_ns=at_ns, face=face)
    return dwell


def is_over(dwell: Dwell, mark: Mark, at_ns: int) -> bool:
    """Whether the face has stood there for long enough."""
    return at_ns - dwell.since_ns >= mark.dwell_ns


def _stands(then: Face, mark: Mark, now: Face) -> bool:
    """Whether the face is still about where it was."""
    (then_x, then_y), (now_x, now_y) = then.box.centre, now.box.centre
    strayed = max(abs(now_x - then_x), abs(now_y - then_y)) / max(1.0, then.box.width)
    small, large = sorted((then.box.height, now.box.height))  # the eyes draw together when a head turns
    return strayed <= mark.stray_max and large <= mark.growth_max * small

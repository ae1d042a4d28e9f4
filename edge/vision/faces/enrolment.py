"""Learns a face: several good frames in about five seconds, fused into one template that is checked before it leaves.

The person is told how to stand. A face that is another member's already is refused, and the template must find the face
again in a further frame. It goes out sealed and is used only once the agent brings it back: until the claim of the
enrolment is stored there is nothing to forget.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core.match import Comparison, Match, MatchTerms, decide_match
from edge.core.screen import EnrolRefusal, StandHint
from edge.vision.faces.face import Face
from edge.vision.faces.mark import Mark
from edge.vision.faces.probe import Probe, Workbench
from edge.vision.faces.quality import QualityFault, QualityLimits
from shared.biometrics import SealedTemplate
from shared.ids import MemberId

ANOTHERS: Final = MatchTerms(false_positives_ppm=10_000, probes_min=1)
"""How sure it must be that the face is another member's: rather one honest member in a hundred who is sent away wrongly
than two members with one face."""


class Templates(Protocol):
    """What enrolment needs of whoever keeps the group's secret and its templates."""

    def refusal(self, member: MemberId) -> EnrolRefusal | None:
        """Why nothing can be learnt for this member now, or None."""
        ...

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """The probe, fused from so many frames, against everybody. Shape and dtype: (256,) float32, of length 1."""
        ...

    def enrol(self, member: MemberId, mean: NDArray[np.float32]) -> SealedTemplate:
        """The member's template, ready to leave. Shape and dtype: (256,) float32."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolOptions:
    """`wanted` frames, `spacing_ns` apart so that they differ, for as long as `allowed_ns`.

    `limits` are stricter than a probe's: a template is used for a year. `found_again_min` is the cosine that the
    template must have with a frame that is not in it: of LFW's single pictures against fused templates of other days
    98 % reach 0.52 (measured 2026-11), frames of one visit are far more alike. `hint_spacing_ns` between two hints.
    """

    wanted: int = 5
    spacing_ns: int = 300_000_000
    allowed_ns: int = 12_000_000_000
    hint_spacing_ns: int = 250_000_000
    found_again_min: float = 0.5
    limits: QualityLimits = field(
        default_factory=lambda: QualityLimits(
            eyes_px_min=24, turn_max=0.25, grey_min=40, lost_share_max=0.3, sharpness_min=0.05
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinted:
    """How the member should stand now, and how far it is."""

    member: MemberId
    hint: StandHint
    taken: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The face was learnt, or was not and why."""

    member: MemberId
    template: SealedTemplate | None
    frames: int
    refusal: EnrolRefusal | None


EnrolEvent = Hinted | Enrolled


class Enrolment:
    """One member's face being learnt. Wiped by whoever started it."""

    def __init__(
        self, member: MemberId, workbench: Workbench, templates: Templates, mark: Mark, options: EnrolOptions
    ) -> None:
        self.member = member
        self._workbench = workbench
        self._templates = templates
        self._mark = mark
        self._options = options
        self._probe = Probe()
        self._began_ns: int | None = None
        self._taken_ns: int | None = None
        self._hinted: tuple[StandHint, int, int] | None = None  # hint, frames taken, when

    def look(
        self, pixels: NDArray[np.uint8], faces: Sequence[Face], at_ns: int, *, code_in_view: bool
    ) -> tuple[EnrolEvent, ...]:
        """What this frame adds, given the faces found in it; the last event is `Enrolled`, and nothing follows it.

        Shape and dtype: pixels (H, W, 3) uint8 BGR, the whole frame.
        """
        if self._began_ns is None:
            self._began_ns = at_ns
        refusal = self._templates.refusal(self.member)
        if refusal is None and at_ns - self._began_ns > self._options.allowed_ns:
            refusal = EnrolRefusal.NOBODY
        if refusal is not None:
            return (self._ended(refusal),)
        hint = StandHint.COME if code_in_view else self._hint(pixels, faces)
        ended = self._take(at_ns) if hint is StandHint.GOOD and self._is_time(at_ns) else None
        return (*self._told(hint, at_ns), *(() if ended is None else (ended,)))

    def given_up(self) -> Enrolled:
        """The end, when faces may no longer be looked at."""
        return self._ended(EnrolRefusal.NOBODY)

    def wipe(self) -> None:
        """Nothing of the face is left here."""
        self._probe.wipe()

    def _hint(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> StandHint:
        """The first thing to do better; the face on the mark is on the workbench when there is one."""
        height, width = pixels.shape[:2]
        near = [face for face in faces if self._mark.is_near(face, width)]
        if not near:
            is_coming = any(self._mark.is_central(face, width, height) for face in faces)
            return StandHint.CLOSER if is_coming else StandHint.COME
        if len(near) > 1:
            return StandHint.ALONE
        if self._mark.is_too_near(near[0], width):
            return StandHint.BACK
        if not self._mark.is_central(near[0], width, height):
            return StandHint.CENTRE
        match self._workbench.align(pixels, near[0]).fault(self._options.limits):
            case QualityFault.SMALL:
                return StandHint.CLOSER
            case QualityFault.TURNED:
                return StandHint.LOOK
            case QualityFault.LIGHT:
                return StandHint.LIGHT
            case QualityFault.BLURRED:
                return StandHint.STILL
            case None:
                return StandHint.GOOD

    def _is_time(self, at_ns: int) -> bool:
        return self._taken_ns is None or at_ns - self._taken_ns >= self._options.spacing_ns

    def _take(self, at_ns: int) -> Enrolled | None:
        """Embeds the face on the workbench: one frame more of the template, or the check that ends it all."""
        embedding = self._workbench.embed()
        self._taken_ns = at_ns
        if self._probe.count == self._options.wanted:
            return self._checked(embedding)
        if not self._probe.is_same_face(embedding):
            self._probe.wipe()  # somebody else stepped in: theirs is the face to learn, from the start
        self._probe.add(embedding)
        if self._probe.count == self._options.wanted and self._is_anothers(self._probe.fused):
            return self._ended(EnrolRefusal.ANOTHERS)
        return None

    def _is_anothers(self, vector: NDArray[np.float32]) -> bool:
        comparison = self._templates.compare(vector, self._probe.count)
        verdict = decide_match(comparison, ANOTHERS)
        return isinstance(verdict, Match) and verdict.member != self.member

    def _checked(self, embedding: NDArray[np.float32]) -> Enrolled:
        """The end, by whether a frame that is not in the template is found by it and by nobody else's."""
        score = float(self._probe.fused @ embedding)
        candidates = self._templates.compare(embedding, 1).candidates
        nearest = max((found.score for found in candidates if found.member != self.member), default=-1.0)
        if score < self._options.found_again_min or score <= nearest:
            return self._ended(EnrolRefusal.NOT_FOUND_AGAIN)
        sealed = self._templates.enrol(self.member, self._probe.fused)
        return Enrolled(member=self.member, template=sealed, frames=self._probe.count, refusal=None)

    def _ended(self, refusal: EnrolRefusal) -> Enrolled:
        return Enrolled(member=self.member, template=None, frames=self._probe.count, refusal=refusal)

    def _told(self, hint: StandHint, at_ns: int) -> tuple[Hinted, ...]:
        """The hint, unless it was told already or another one a moment ago."""
        taken, told = self._probe.count, self._hinted
        if told is not None and (told[:2] == (hint, taken) or at_ns - told[2] < self._options.hint_spacing_ns):
            return ()
        self._hinted = (hint, taken, at_ns)
        return (Hinted(member=self.member, hint=hint, taken=taken, wanted=self._options.wanted),)

"""Watches the faces at the door: who stands on the mark is compared with the gallery, frame after frame, until settled.

The detector runs when something came into view, a few times a second while somebody is there, and twice as often while
a face on the mark is being compared; in between faces are followed. One face at a time is embedded, the one that is
most clearly meant, after the dwell and with no code in view. What is kept of a face lies in buffers of this module and
is zeros once its track has ended.

Limits: cv2, LiteRT and numpy compute in memory of their own. Networks are run on zeros when the last face is gone and
zeros are searched for when a probe is, which overwrites what they keep. What they take from the heap for a moment is
given back without being wiped, and is written over when the last face is gone (`scrub.py` says where that ends):
tests/system/test_nothing_remains.py looks for it.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core import challenge as challenges
from edge.core.challenge import PictureSide
from edge.core.match import PROBES_MAX, PROBES_MIN, Comparison
from edge.core.screen import Side
from edge.ports import Frame
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import SIZE, Embedder
from edge.vision.faces.enrolment import EnrolEvent, Enrolled, Enrolment, EnrolOptions, Templates
from edge.vision.faces.face import Face
from edge.vision.faces.head_turn import HeadTurn
from edge.vision.faces.liveness import SpoofCheck
from edge.vision.faces.mark import Dwell, Mark, advance_dwell, is_over
from edge.vision.faces.probe import Probe, Workbench
from edge.vision.faces.quality import QualityLimits
from edge.vision.faces.scrub import scrub_heap
from edge.vision.faces.tracking import SmallView, Track, Tracks
from shared.ids import MemberId
from shared.policy import Liveness

AS_SEEN_IN_PICTURE: Final = {Side.LEFT: PictureSide.RIGHT, Side.RIGHT: PictureSide.LEFT}
"""Who faces the camera has their own left at the picture's right."""
YIELDS_AFTER: Final = 4
"""Probes after which a face that is not settled yet lets another on the mark have as many: one more than a verdict
needs, so that a clear one is never interrupted and whoever stands beside a doubtful one waits half a second."""
TURN_LEADS: Final = 1.2
"""How much more another face must be the one that is meant before it takes the place of the present one."""


class Searched(Protocol):
    """A gallery as the watcher needs it."""

    def __len__(self) -> int:
        """Members enrolled."""
        ...

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """The probe, fused from so many frames, against everybody. Shape and dtype: (256,) float32, of length 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceOptions:
    """How often is looked, and what a frame must be like. Times in nanoseconds of the frames' own clock.

    `opening_ns`: while a face on the mark has fewer probes than a verdict needs, every frame: three settle most.
    `probing_ns`: while it is compared further, every second frame at 15 a second: whoever three frames did not settle
    is covered or turned, and what helps is other moments rather than more of this one; PROBES_MAX of them take a
    second. `following_ns`: while people are in view, three times a second: faces are
    followed in between, and a newcomer waits no longer. `moving_ns`: when something moved at an empty door; whoever
    walks in is found long before they stand. `still_ns`: when nothing did, in case somebody came too slowly to count as
    motion; half a percent of a core. `turning_ns`: while a head is to turn, every frame.
    """

    mark: Mark = field(default_factory=Mark)
    limits: QualityLimits = field(default_factory=QualityLimits)
    enrolment: EnrolOptions = field(default_factory=EnrolOptions)
    probes_max: int = PROBES_MAX
    opening_ns: int = 50_000_000
    probing_ns: int = 100_000_000
    following_ns: int = 300_000_000
    moving_ns: int = 180_000_000
    still_ns: int = 2_000_000_000
    turning_ns: int = 50_000_000
    waits_ns: int = 1_150_000_000
    """Since the first comparison: what ten good frames take. With fewer good ones a person is asked all the same."""
    behind_code_ns: int = 2_000_000_000
    """Whoever comes into view this soon after a code was accepted stood behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A face on the mark was compared once more. `live` is the mean over its frames, None when not asked for."""

    track: int
    comparison: Comparison
    live: float | None
    captured_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The face is out of view and everything known of it wiped."""

    track: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """The head was turned as asked, or not in time."""

    track: int
    passed: bool


FaceEvent = Seen | Gone | Turned | EnrolEvent


@dataclass(slots=True, kw_only=True, eq=False)
class _Visitor:
    """What is known of one track."""

    track: Track
    probe: Probe = field(default_factory=Probe)
    dwell: Dwell | None = None
    is_left_alone: bool = False
    compared_ns: int | None = None
    """Since when it has been compared."""
    live_sum: float = 0.0
    live_count: int = 0
    turn: challenges.Challenge | None = None

    @property
    def live(self) -> float | None:
        """The mean over the frames that were asked."""
        return self.live_sum / self.live_count if self.live_count else None

    def wipe(self) -> None:
        """Nothing of the face is left here."""
        self.probe.wipe()
        self.track.wipe()
        self.live_sum, self.live_count = 0.0, 0


class FaceWatcher:
    """Everything that is done with faces in frames. Frames in order; not for several threads at once.

    Without `spoof` and `head_turn` no liveness can be told: `live` is None and a turn is never passed. Without
    `templates` nothing is learnt.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        searched: Searched,
        *,
        spoof: SpoofCheck | None = None,
        head_turn: HeadTurn | None = None,
        templates: Templates | None = None,
        options: FaceOptions | None = None,
    ) -> None:
        self._detector = detector
        self._workbench = Workbench(embedder)
        self._searched = searched
        self._spoof = spoof
        self._head_turn = head_turn
        self._templates = templates
        self._options = options or FaceOptions()
        self._view = SmallView()
        self._tracks = Tracks()
        self._visitors: dict[int, _Visitor] = {}
        self._meant: _Visitor | None = None
        self._enrolment: Enrolment | None = None
        self._liveness = Liveness.NONE
        self._is_on = True
        self._at_ns = 0
        self._detected_ns: int | None = None
        self._code_ns: int | None = None
        self._blank: NDArray[np.uint8] | None = None
        self._used: set[SpoofCheck | HeadTurn] = set()
        self._nobody = np.zeros(SIZE, np.float32)

    # --- what the agent says ------------------------------------------------------------------------------------------

    def allow(self, *, is_on: bool, liveness: Liveness) -> None:
        """Looks at faces or, from the next frame on, at none; and what a face must show."""
        self._is_on, self._liveness = is_on, liveness

    def code_accepted(self) -> None:
        """Leaves everybody now in view alone until they are gone, and whoever stood behind the code."""
        self._code_ns = self._at_ns
        for visitor in self._visitors.values():
            self._leave_alone(visitor)

    def settle(self, track: int) -> None:
        """No further comparison of this face; its probe stays for as long as it does, for a challenge to come."""
        visitor = self._visitors.get(track)
        if visitor is not None:
            visitor.is_left_alone = True

    def challenge(self, track: int, side: Side) -> tuple[Turned, ...]:
        """Watches for a turn to the side, as the person sees it.

        Failed at once for a face that is not here or was never compared: nothing would tell whether it is the same one.
        """
        visitor = self._visitors.get(track)
        if visitor is None or visitor.probe.count == 0 or self._head_turn is None or not self._is_on:
            return (Turned(track=track, passed=False),)
        visitor.turn = challenges.Challenge(side=AS_SEEN_IN_PICTURE[side], began_ns=self._at_ns)
        return ()

    def enrol(self, member: MemberId) -> None:
        """Learns the face of whoever stands on the mark, instead of comparing faces."""
        assert self._templates is not None, "nothing to learn into"
        self.stop_enrolling()
        self._enrolment = Enrolment(
            member, self._workbench, self._templates, self._options.mark, self._options.enrolment
        )

    def stop_enrolling(self) -> None:
        """Forgets what was taken; whoever is in view is left alone."""
        if self._enrolment is not None:
            self._enrolment.wipe()
            self._enrolment = None
            self._wipe_tools()
            self.code_accepted()

    # --- frames -------------------------------------------------------------------------------------------------------

    def look(self, frame: Frame, *, code_in_view: bool) -> tuple[FaceEvent, ...]:
        """What this frame tells. Every frame is shown, in order; `code_in_view` when any code could be read in it."""
        if not self._is_on:
            return self._off()
        self._at_ns = frame.captured_ns
        self._view.show(frame.pixels)
        self._tracks.follow(self._view, self._at_ns)
        has_detected = self._is_time()
        if has_detected:
            self._detect(frame.pixels)
        events: list[FaceEvent] = list(self._end_lost())
        self._dwell(frame.pixels, code_in_view=code_in_view)
        if has_detected:
            events.extend(self._work(frame.pixels, code_in_view=code_in_view))
        return tuple(events)

    def wipe(self) -> None:
        """Ends every track without a word; nothing of any face or frame is left in any buffer."""
        for visitor in self._visitors.values():
            visitor.wipe()
        for track in self._tracks:
            self._tracks.end(track)
        self._visitors.clear()
        self._meant = None
        if self._enrolment is not None:
            self._enrolment.wipe()
            self._enrolment = None
        self._wipe_tools()
        self._view.wipe()
        self._wipe_networks()
        scrub_heap()
        self._detected_ns = None

    def _off(self) -> tuple[FaceEvent, ...]:
        """Ends what was going on when faces were turned off."""
        events: list[FaceEvent] = [Gone(track=number) for number in self._visitors]
        if self._enrolment is not None:
            events.append(self._enrolment.given_up())
        if self._detected_ns is not None or events:
            self.wipe()
        return tuple(events)

    # --- finding ------------------------------------------------------------------------------------------------------

    def _is_time(self) -> bool:
        """Whether the detector runs on this frame."""
        if self._detected_ns is None:
            return True
        since_ns, options = self._at_ns - self._detected_ns, self._options
        if self._enrolment is not None or any(visitor.turn for visitor in self._visitors.values()):
            return since_ns >= options.turning_ns
        if self._is_opening():
            return since_ns >= options.opening_ns
        if self._is_comparing() or any(track.seen_ns < self._at_ns for track in self._tracks):
            return since_ns >= options.probing_ns
        if len(self._tracks):
            return since_ns >= options.following_ns
        return since_ns >= options.still_ns or (since_ns >= options.moving_ns and self._view.has_changed())

    def _is_opening(self) -> bool:
        """Whether the face that is compared has fewer probes than a verdict needs."""
        return self._is_comparing() and self._meant is not None and self._meant.probe.count < PROBES_MIN

    def _is_comparing(self) -> bool:
        """Whether the face that is meant stands there for long enough, or nearly, and may be compared."""
        visitor = self._meant
        if visitor is None or visitor.dwell is None or not self._may_compare(visitor):  # settled since the last frame
            return False
        return is_over(visitor.dwell, self._options.mark, self._at_ns)

    def _may_compare(self, visitor: _Visitor) -> bool:
        return not visitor.is_left_alone and visitor.probe.count < self._options.probes_max and len(self._searched) > 0

    def _detect(self, pixels: NDArray[np.uint8]) -> None:
        """Finds the faces anew and knows their tracks."""
        self._detected_ns = self._at_ns
        if self._blank is None or self._blank.shape != pixels.shape:
            self._blank = np.zeros(pixels.shape, np.uint8)
        self._tracks.update(self._detector.detect(pixels), self._view, self._at_ns)
        self._view.searched()
        for track in self._tracks:
            if track.number not in self._visitors:
                self._visitors[track.number] = visitor = _Visitor(track=track)
                visitor.is_left_alone = self._stood_behind_code()

    def _stood_behind_code(self) -> bool:
        return self._code_ns is not None and self._at_ns - self._code_ns < self._options.behind_code_ns

    def _end_lost(self) -> tuple[FaceEvent, ...]:
        """Forgets who is gone; with the last of them, what the networks still hold."""
        lost = self._tracks.end_lost(self._at_ns)
        events = [event for track in lost for event in self._end(self._visitors[track.number])]
        if lost and not len(self._tracks):
            self._view.wipe()
            self._wipe_networks()
            scrub_heap()
        return tuple(events)

    def _end(self, visitor: _Visitor) -> tuple[FaceEvent, ...]:
        """Wipes what is known of one face."""
        del self._visitors[visitor.track.number]
        if self._meant is visitor:
            self._meant = None
        if visitor.compared_ns is not None and self._enrolment is None:
            self._wipe_tools()
        has_turned = visitor.turn is not None
        visitor.wipe()
        failed = (Turned(track=visitor.track.number, passed=False),) if has_turned else ()
        return (*failed, Gone(track=visitor.track.number))

    def _wipe_tools(self) -> None:
        """Leaves nothing of the last probe: zeros are embedded and searched for, because the library that multiplies
        matrices copies vectors to a place of its own and leaves them there."""
        self._workbench.wipe()
        self._searched.compare(self._nobody, 1)

    def _wipe_networks(self) -> None:
        """Runs what holds pictures of its own on zeros."""
        if self._blank is not None:
            self._detector.detect(self._blank)
        self._detector.wipe()
        for network in (self._spoof, self._head_turn):
            if network is not None and network in self._used:
                network.wipe()
        self._used.clear()

    # --- recognising --------------------------------------------------------------------------------------------------

    def _dwell(self, pixels: NDArray[np.uint8], *, code_in_view: bool) -> None:
        """How long each face has stood on the mark, and which is meant; while a code is in view nobody stands there.

        Whoever is settled or left alone yields: a member beside them came to be recognised as well.
        """
        height, width = pixels.shape[:2]
        mark = self._options.mark
        for visitor in self._visitors.values():
            visitor.dwell = (
                None
                if code_in_view
                else advance_dwell(visitor.dwell, mark, visitor.track.face, (width, height), self._at_ns)
            )
        standing = (visitor for visitor in self._visitors.values() if visitor.dwell is not None)
        asking = [visitor for visitor in standing if self._may_compare(visitor)]
        self._meant = max(asking, key=lambda visitor: self._claim(visitor, width), default=None)

    def _claim(self, visitor: _Visitor, width: int) -> tuple[bool, float]:
        """How clearly this face is the one that is meant; the present one keeps its place unless clearly outdone."""
        claim = self._options.mark.centrality(visitor.track.face, width)
        is_fresh = visitor.probe.count < YIELDS_AFTER
        return is_fresh, claim * TURN_LEADS if visitor is self._meant else claim

    def _work(self, pixels: NDArray[np.uint8], *, code_in_view: bool) -> tuple[FaceEvent, ...]:
        """What the faces found in this very frame are good for."""
        if self._enrolment is not None:
            return self._learn(self._enrolment, pixels, code_in_view=code_in_view)
        turning = [visitor for visitor in self._visitors.values() if visitor.turn is not None]
        if turning:
            return tuple(event for visitor in turning for event in self._watch_turn(visitor, pixels))
        visitor = self._meant
        if visitor is None or not self._is_comparing() or visitor.track.detected_ns != self._at_ns:
            return ()
        return self._compare(visitor, pixels)

    def _learn(self, enrolment: Enrolment, pixels: NDArray[np.uint8], *, code_in_view: bool) -> tuple[FaceEvent, ...]:
        faces = [track.face for track in self._tracks if track.detected_ns == self._at_ns]
        events = enrolment.look(pixels, faces, self._at_ns, code_in_view=code_in_view)
        if any(isinstance(event, Enrolled) for event in events):
            self.stop_enrolling()
        return events

    def _compare(self, visitor: _Visitor, pixels: NDArray[np.uint8]) -> tuple[FaceEvent, ...]:
        """Embeds the face, if this frame is good enough, and compares what is fused so far."""
        face = visitor.track.face
        if self._workbench.align(pixels, face).fault(self._options.limits) is not None:
            return ()
        embedding = self._workbench.embed()
        if visitor.compared_ns is None:
            visitor.compared_ns = self._at_ns
        if not visitor.probe.is_same_face(embedding):
            return self._replaced(visitor)
        visitor.probe.add(embedding)
        if self._liveness is Liveness.PASSIVE and self._spoof is not None:
            self._used.add(self._spoof)
            visitor.live_sum += self._spoof.live(pixels, face.box)
            visitor.live_count += 1
        comparison = replace(
            self._searched.compare(visitor.probe.fused, visitor.probe.count),
            is_last=self._at_ns - visitor.compared_ns >= self._options.waits_ns,
        )
        number = visitor.track.number
        return (Seen(track=number, comparison=comparison, live=visitor.live, captured_ns=self._at_ns),)

    def _replaced(self, visitor: _Visitor) -> tuple[FaceEvent, ...]:
        """Somebody else is where this track was: it ends, and theirs begins with the next detection."""
        self._tracks.end(visitor.track)
        return self._end(visitor)

    def _watch_turn(self, visitor: _Visitor, pixels: NDArray[np.uint8]) -> tuple[FaceEvent, ...]:
        """Reads the head's turn; a face that starts the turn must be the one that was compared."""
        before, face = visitor.turn, visitor.track.face
        assert before is not None
        assert self._head_turn is not None
        self._used.add(self._head_turn)
        is_found = visitor.track.detected_ns == self._at_ns
        yaw_deg = self._head_turn.yaw_deg(pixels, face) if is_found else None
        turn = challenges.advance(before, yaw_deg, self._at_ns)
        if before.front < challenges.FRONT_READINGS_MIN <= turn.front and not self._is_still(visitor, pixels, face):
            turn = replace(turn, outcome=challenges.Outcome.FAILED)
        if turn.outcome is challenges.Outcome.GOING:
            visitor.turn = turn
            return ()
        visitor.turn = None
        return (Turned(track=visitor.track.number, passed=turn.outcome is challenges.Outcome.PASSED),)

    def _is_still(self, visitor: _Visitor, pixels: NDArray[np.uint8], face: Face) -> bool:
        self._workbench.align(pixels, face)
        return visitor.probe.is_same_face(self._workbench.embed())

    def _leave_alone(self, visitor: _Visitor) -> None:
        """Forgets the numbers of a face that nothing more is asked of."""
        visitor.is_left_alone = True
        visitor.turn = None
        visitor.probe.wipe()

"""`doorstep-edge recognise SOURCE`: what the device would see in a source, one line an event."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, assert_never

import msgspec
import typer

from edge.cli.root import Home
from edge.core import visit as visits
from edge.core.match import Ambiguous, Match, MatchTerms, MatchVerdict, NoMatch, NotYet, decide_match

if TYPE_CHECKING:
    from edge.ports import Frame
    from edge.vision.faces.labelled import LabelledGallery
    from edge.vision.faces.watcher import FaceWatcher, Seen
    from edge.vision.motion import MotionGate

TERMS: Final = MatchTerms(false_positives_ppm=3000)
"""What a policy allows by itself: as many as NIST sets for its identification tests."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Codes that came into view. `frame` counts from 1, `at_s` from the first frame, `ms` is the reader's time.

    `kinds` says of each text whether it is a card, a phone code, malformed or foreign.
    """

    event: str
    frame: int
    at_s: float
    texts: list[str]
    kinds: list[str]
    ms: float


class FaceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A face on the mark that was compared once more.

    `track` numbers its stay in view, `probes` are the frames fused so far, `enrolled` the people it was compared with.
    `best` is whom it is most like and `score` the cosine, both None with nobody enrolled. `verdict` is not_yet, match,
    ambiguous or no_match; after any but the first the face is compared no further.
    """

    event: str
    frame: int
    at_s: float
    track: int
    probes: int
    enrolled: int
    best: str | None
    score: float | None
    verdict: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: how many frames there were and how many were worth decoding."""

    event: str
    frames: int
    decoded: int


Line = Event | FaceEvent | Summary


def command(wall_s: Callable[[], float], models_of: Callable[[Path | None], Path]) -> Callable[..., None]:
    """The command, told the time of day (a rendered phone shows the code of the moment) and where the weights are."""

    def recognise(
        source: Annotated[str, typer.Argument(help="A camera address: file:…, dir:…, synthetic:…, v4l2:0, rtsp://…")],
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        frames_max: Annotated[int, typer.Option("--frames", help="Stop after so many frames (0: at the end).")] = 0,
        faces: Annotated[
            Path | None, typer.Option("--faces", help="A gallery of `faces enrol`: recognise its people as well.")
        ] = None,
        home: Home = None,
    ) -> None:
        """Look at a source as the kiosk would and say what came into view."""
        watched = None if faces is None else _watched(faces, models_of(home))
        for line in _lines(source, wall_s, frames_max, watched):
            typer.echo(msgspec.json.encode(line) if as_json else _readable(line))

    return recognise


def _watched(gallery: Path, models: Path) -> "_Faces | None":
    """Who watches faces against the gallery; None, said once, without weights."""
    from edge.errors import ModelUnusable
    from edge.vision.faces.labelled import load_labelled
    from edge.vision.faces.networks import load_networks
    from edge.vision.faces.watcher import FaceWatcher
    from edge.vision.faces.weights import Weights

    try:
        networks = load_networks(Weights(models))
    except ModelUnusable as unusable:
        typer.echo(f"no faces, codes alone: {unusable}", err=True)
        return None
    people = load_labelled(gallery, networks.embedder.identity)
    return _Faces(people=people, watcher=FaceWatcher(networks.detector, networks.embedder, people))


def _lines(source: str, wall_s: Callable[[], float], frames_max: int, faces: "_Faces | None") -> Iterator[Line]:
    from edge.camera.address import open_camera
    from edge.camera.options import CameraClock, CameraOptions
    from edge.errors import EndOfStream
    from edge.vision.motion import MotionGate

    codes, began_ns, frames = _Codes(gate=MotionGate()), 0, 0
    with open_camera(source, CameraOptions(), CameraClock(wall_s=wall_s)) as camera:
        while frames_max == 0 or frames < frames_max:
            try:
                frame = camera.read(5.0)
            except EndOfStream:
                break
            frames += 1
            began_ns = began_ns or frame.captured_ns
            at_s = round((frame.captured_ns - began_ns) / 1e9, 3)
            yield from codes.look(frame, frames, at_s)
            if faces is not None:
                yield from faces.look(frame, frames, at_s, code_in_view=codes.in_view)
    yield Summary(event="end", frames=frames, decoded=codes.decoded)


@dataclass(slots=True, kw_only=True)
class _Codes:
    """Reads the codes of a source's frames and tells each once for as long as it is held."""

    gate: "MotionGate"
    visit: visits.Visit = field(default_factory=visits.Visit)
    decoded: int = 0
    in_view: bool = False

    def look(self, frame: "Frame", number: int, at_s: float) -> Iterator[Event]:
        """What came into view in this frame."""
        import cv2
        import numpy as np

        from edge.vision.codes import Effort
        from edge.vision.qr import read_codes
        from shared.tokens import PREFIX

        gray = np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        if not self.gate.changed(gray, frame.captured_ns):
            return
        self.decoded += 1
        started = time.perf_counter()
        texts = tuple(code.text for code in read_codes(gray, effort=Effort.FULL, wanted=PREFIX))
        elapsed_ms = (time.perf_counter() - started) * 1e3
        self.in_view = bool(texts)
        if not texts:
            return
        self.gate.code_read(frame.captured_ns)
        self.visit, judge = visits.see_codes(self.visit, texts, frame.captured_ns)
        if judge is not None:
            yield _event(judge.texts, number, at_s, elapsed_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Faces:
    """Compares the faces of a source's frames with a gallery of names."""

    people: "LabelledGallery"
    watcher: "FaceWatcher"

    def look(self, frame: "Frame", number: int, at_s: float, *, code_in_view: bool) -> Iterator[FaceEvent]:
        """What this frame adds about the face on the mark."""
        from edge.vision.faces.watcher import Seen

        for seen in self.watcher.look(frame, code_in_view=code_in_view):
            if isinstance(seen, Seen):
                verdict = decide_match(seen.comparison, TERMS)
                if not isinstance(verdict, NotYet):
                    self.watcher.settle(seen.track)
                yield self._event(seen, verdict, number, at_s)

    def _event(self, seen: "Seen", verdict: MatchVerdict, number: int, at_s: float) -> FaceEvent:
        best = seen.comparison.candidates[0] if seen.comparison.candidates else None
        return FaceEvent(
            event="face",
            frame=number,
            at_s=at_s,
            track=seen.track,
            probes=seen.comparison.probes,
            enrolled=seen.comparison.enrolled,
            best=None if best is None else self.people.label_of(best.member),
            score=None if best is None else round(best.score, 4),
            verdict=_name(verdict),
        )


def _name(verdict: MatchVerdict) -> str:
    match verdict:
        case Match():
            return "match"
        case Ambiguous():
            return "ambiguous"
        case NoMatch():
            return "no_match"
        case NotYet():
            return "not_yet"
        case _:
            assert_never(verdict)


def _event(texts: tuple[str, ...], frame: int, at_s: float, elapsed_ms: float) -> Event:
    kinds = [_kind(text) for text in texts]
    return Event(event="codes", frame=frame, at_s=at_s, texts=list(texts), kinds=kinds, ms=round(elapsed_ms, 3))


def _kind(text: str) -> str:
    from shared.tokens import Card, PhoneCode, parse_token

    match parse_token(text):
        case Card():
            return "card"
        case PhoneCode():
            return "phone"
        case fault:
            return fault.value


def _readable(line: Line) -> str:
    match line:
        case Summary():
            return f"{line.frames} frames, {line.decoded} decoded"
        case FaceEvent():
            best = "" if line.best is None else f", most like {line.best!a} ({line.score:.3f})"
            told = f"face {line.track}: {line.verdict} of {line.enrolled} after {line.probes}{best}"
            return f"frame {line.frame} ({line.at_s:.2f} s): {told}"
        case Event():
            shown = ", ".join(f"{kind} {text[:24]!a}" for kind, text in zip(line.kinds, line.texts, strict=True))
            return f"frame {line.frame} ({line.at_s:.2f} s): {shown} in {line.ms:.1f} ms"

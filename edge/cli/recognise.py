"""`doorstep-edge recognise SOURCE`: what the device would see in a source, one line an event."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
import typer


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


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: how many frames there were and how many were worth decoding."""

    event: str
    frames: int
    decoded: int


def command(wall_s: Callable[[], float]) -> Callable[..., None]:
    """The command, told the time of day (a rendered phone shows the code of the moment)."""

    def recognise(
        source: Annotated[str, typer.Argument(help="A camera address: file:…, dir:…, synthetic:…, v4l2:0, rtsp://…")],
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        frames_max: Annotated[int, typer.Option("--frames", help="Stop after so many frames (0: at the end).")] = 0,
    ) -> None:
        """Look at a source as the kiosk would and say what came into view."""
        for line in _events(source, wall_s, frames_max):
            typer.echo(msgspec.json.encode(line) if as_json else _readable(line))

    return recognise


def _events(source: str, wall_s: Callable[[], float], frames_max: int) -> Iterator[Event | Summary]:
    import cv2
    import numpy as np

    from edge.camera.address import open_camera
    from edge.camera.options import CameraClock, CameraOptions
    from edge.core import visit as visits
    from edge.errors import EndOfStream
    from edge.vision.codes import Effort
    from edge.vision.motion import MotionGate
    from edge.vision.qr import read_codes
    from shared.tokens import PREFIX

    gate, visit, began_ns, frames, decoded = MotionGate(), visits.Visit(), 0, 0, 0
    with open_camera(source, CameraOptions(), CameraClock(wall_s=wall_s)) as camera:
        while frames_max == 0 or frames < frames_max:
            try:
                frame = camera.read(5.0)
            except EndOfStream:
                break
            frames += 1
            began_ns = began_ns or frame.captured_ns
            gray = np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
            if not gate.changed(gray, frame.captured_ns):
                continue
            decoded += 1
            started = time.perf_counter()
            texts = tuple(code.text for code in read_codes(gray, effort=Effort.FULL, wanted=PREFIX))
            elapsed_ms = (time.perf_counter() - started) * 1e3
            if not texts:
                continue
            gate.code_read(frame.captured_ns)
            visit, judge = visits.see_codes(visit, texts, frame.captured_ns)
            if judge is not None:
                yield _event(judge.texts, frames, (frame.captured_ns - began_ns) / 1e9, elapsed_ms)
    yield Summary(event="end", frames=frames, decoded=decoded)


def _event(texts: tuple[str, ...], frame: int, at_s: float, elapsed_ms: float) -> Event:
    kinds = [_kind(text) for text in texts]
    return Event(
        event="codes", frame=frame, at_s=round(at_s, 3), texts=list(texts), kinds=kinds, ms=round(elapsed_ms, 3)
    )


def _kind(text: str) -> str:
    from shared.tokens import Card, PhoneCode, parse_token

    match parse_token(text):
        case Card():
            return "card"
        case PhoneCode():
            return "phone"
        case fault:
            return fault.value


def _readable(line: Event | Summary) -> str:
    if isinstance(line, Summary):
        return f"{line.frames} frames, {line.decoded} decoded"
    shown = ", ".join(f"{kind} {text[:24]!a}" for kind, text in zip(line.kinds, line.texts, strict=True))
    return f"frame {line.frame} ({line.at_s:.2f} s): {shown} in {line.ms:.1f} ms"

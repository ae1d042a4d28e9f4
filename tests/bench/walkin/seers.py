"""Whoever looks at the door's frames: the product's pipeline, and the peers it is measured against."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core.match import Comparison
from edge.ports import Frame
from edge.vision.faces.alignment import align
from edge.vision.faces.detector import Detector
from edge.vision.faces.embedder import Embedder
from edge.vision.faces.keeper import Keeper

PEER_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A face was compared with the gallery. `track` is whose, as long as it is in view."""

    track: int
    comparison: Comparison


class Seer(Protocol):
    """What is shown every frame of the door."""

    def look(self, frame: Frame) -> tuple[Compared, ...]:
        """What this frame told."""
        ...

    def settle(self, track: int) -> None:
        """The verdict on the track is final."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The networks and the templates, loaded once for all who look."""

    detector: Detector
    embedder: Embedder
    keeper: Keeper


class Naive:
    """The same networks at the same reduced size, run on every frame and every face in it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def look(self, frame: Frame) -> tuple[Compared, ...]:
        """A comparison of each face, of this frame alone."""
        bench = self._bench
        compared = []
        for place, face in enumerate(bench.detector.detect(frame.pixels)):
            probe = bench.embedder.embed(align(frame.pixels, face.points))
            compared.append(Compared(track=place, comparison=bench.keeper.compare(probe, 1)))
        return tuple(compared)

    def settle(self, track: int) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DlibPeer:
    """Where dlib's Python and the weights of `face_recognition_models` are."""

    python: Path
    models: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTimes:
    """Processor seconds of each frame, and faces found in all frames together."""

    seconds: tuple[float, ...]
    faces: int


def run_dlib(
    peer: DlibPeer, frames: Iterable[NDArray[np.uint8]], *, scratch: Path, across: int | None = None, up: int = 1
) -> PeerTimes | str:
    """Its times, or one line that says why there are none. The frames lie in `scratch` meanwhile, and no longer."""
    pictures = np.stack(list(frames))
    count, height, width, _ = pictures.shape
    path = scratch / "frames"
    path.write_bytes(pictures.tobytes())
    numbers = [str(number) for number in (count, height, width, across or width, up)]
    command = [str(peer.python), str(Path(__file__).with_name("dlib_peer.py")), str(peer.models), str(path), *numbers]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PEER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as fault:
        return f"dlib was not run: {type(fault).__name__}"
    finally:
        path.unlink()
    if done.returncode != 0:
        return f"dlib was not run: {done.stderr.strip().splitlines()[-1]}"
    said = json.loads(done.stdout)
    return PeerTimes(seconds=tuple(said["seconds"]), faces=said["faces"])

"""What the liveness checks let through and whom they turn away, on attacks the project draws itself; and their price.

`python -m tests.bench.liveness [--people N] [--mediapipe-python PATH]`; needs DOORSTEP_MODELS (a folder with the
weights) and DOORSTEP_MEDIA (a folder with `faces`, one sub-folder of portraits a person). The pictures are synthetic
(tests/support/attacks.py): the figures compare settings with each other and say nothing about attacks on a real door.

APCER is the share of attacks taken for a live face, BPCER the share of people taken for an attack (ISO/IEC 30107-3).
The threshold is chosen on every second person and measured on the others. With `--mediapipe-python`, an interpreter
that has the mediapipe package, the landmarks are compared with that package's own on the same portraits.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.challenge import Challenge, Outcome, PictureSide, advance
from edge.core.recognition import LIVE_MIN
from edge.vision.faces.detector import Detector
from edge.vision.faces.face import Face
from edge.vision.faces.head_turn import HeadTurn, turn_deg
from edge.vision.faces.liveness import SpoofCheck
from edge.vision.faces.portraits import central
from edge.vision.faces.weights import Role, Weights
from edge.vision.pictures import PictureFault, load_portrait
from tests.bench.table import Row, Table
from tests.support import face_mesh
from tests.support.attacks import ATTACKS, Booth, Hold, Kind, Picture, Portrait, portrait_of, turned_head

PEOPLE = 80
TURNING = 20  # people of the challenge: a turn is twenty frames
REST_MAX_DEG = 6.0  # who faces the camera in the portrait
BPCER_MAX = 0.05
LOOKS = 3  # frames whose mean counts, as in the product's visits (edge/vision/faces/watcher.py)
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TURNED_DEG = 5.0
FRAME_NS = 1_000_000_000 // 15
PLACE, FACE_WIDTH = (640.0, 320.0), 160.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The product's checks with their weights."""

    detector: Detector
    spoof: SpoofCheck
    turn: HeadTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How live each kind looked, one score a person whose face was found; how often none was; CPU a check.

    `photographs` are scores of the portraits as they are: real faces in scenes unlike a door's.
    """

    live: dict[Kind, NDArray[np.float64]]
    photographs: NDArray[np.float64]
    unseen: dict[Kind, int]
    cpu_ms: float

    def error(self, kind: Kind, threshold: float) -> float:
        """The share judged wrongly: people below the threshold, attacks at it or above."""
        wrong = self.live[kind] < threshold if kind is Kind.PERSON else self.live[kind] >= threshold
        return float(wrong.mean())


def checks(models: Path) -> Checks:
    """The networks. Raises: ModelUnusable."""
    weights = Weights(models)
    spoof = SpoofCheck(weights.load(Role.SPOOF_NEAR), weights.load(Role.SPOOF_FAR))
    turn = HeadTurn(weights.load(Role.LANDMARKS))
    return Checks(detector=Detector(weights.load(Role.DETECTOR)), spoof=spoof, turn=turn)


def portraits(media: Path, detector: Detector, count: int) -> list[Portrait]:
    """The first picture of so many people, spread over the alphabet."""
    folders = sorted(path for path in (media / "faces").iterdir() if path.is_dir())
    found = []
    for folder in folders[:: max(1, len(folders) // count)][:count]:
        pixels = load_portrait(min(folder.iterdir()))
        assert not isinstance(pixels, PictureFault), (folder, pixels)
        face = central(detector.detect(pixels), pixels.shape[1], pixels.shape[0])
        if face is not None:
            found.append(portrait_of(pixels, face))
    return found


def passive(people: Sequence[Portrait], tools: Checks, seed: int) -> Scores:
    """Every person and every attack with their portrait: the mean of LOOKS frames, at as many places and sizes."""
    booth = Booth(seed)
    live: dict[Kind, list[float]] = {kind: [] for kind in Kind}
    unseen = dict.fromkeys(Kind, 0)
    spent_s, checked = 0.0, 0
    for portrait in people:
        for kind in Kind:
            looks = []
            for _ in range(LOOKS):
                frame = booth.show(kind, portrait)
                face = _foremost(tools.detector.detect(frame))
                if face is not None:
                    began_s = time.process_time()
                    looks.append(tools.spoof.live(frame, face.box))
                    spent_s += time.process_time() - began_s
                    checked += 1
            if looks:
                live[kind].append(float(np.mean(looks)))
            else:
                unseen[kind] += 1
    found = {kind: np.array(values) for kind, values in live.items()}
    photographs = np.array([tools.spoof.live(portrait.pixels, portrait.face.box) for portrait in people])
    return Scores(
        live=found, photographs=photographs, unseen=unseen, cpu_ms=spent_s * 1e3 / sum(map(len, live.values()))
    )


def chosen_threshold(scores: Scores) -> float:
    """The highest hundredth that turns at most BPCER_MAX of these people away."""
    hundredths = [step / 100 for step in range(1, 100)]
    return max((t for t in hundredths if scores.error(Kind.PERSON, t) <= BPCER_MAX), default=hundredths[0])


def passive_table(people: Sequence[Portrait], tools: Checks) -> Table:
    """Errors by kind and threshold on every second person; one threshold is chosen on the others."""
    chosen = chosen_threshold(passive(people[::2], tools, seed=1))
    held_out = passive(people[1::2], tools, seed=2)
    rows = [_passive_row(f"at {threshold:.2f}", held_out, threshold) for threshold in THRESHOLDS]
    rows.append(_passive_row(f"chosen on others: {chosen:.2f}", held_out, chosen))
    rows.append(_passive_row(f"the product's: {LIVE_MIN:.2f}", held_out, LIVE_MIN))
    counts = ", ".join(f"{len(held_out.live[kind])} {kind} ({held_out.unseen[kind]} without a face)" for kind in Kind)
    return Table(
        title=f"Liveness, passive: MiniFASNet V2 and V1SE on synthetic attacks, mean of {LOOKS} frames",
        headers=("threshold", *(f"APCER {kind}" for kind in ATTACKS), "BPCER", "photographs", "CPU ms a check"),
        rows=tuple(rows),
        notes=(
            f"{counts}. Chosen: BPCER at most {100 * BPCER_MAX:.0f} % on {len(people[::2])} other people.",
            "Photographs: the portraits as they are, one look; real faces, not at a door; the share taken for attacks.",
            "Synthetic pictures: these figures say nothing about attacks on a real door.",
        ),
    )


def _passive_row(name: str, scores: Scores, threshold: float) -> Row:
    errors = [f"{100 * scores.error(kind, threshold):.1f} %" for kind in (*ATTACKS, Kind.PERSON)]
    errors.append(f"{100 * float((scores.photographs < threshold).mean()):.1f} %")
    return Row(cells=(name, *errors, f"{scores.cpu_ms:.1f}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A way to answer the challenge: the frame at this share of the turn (0 to 1) towards a side (1 or -1)."""

    name: str
    is_attack: bool
    draw: Callable[[Booth, Portrait, float, int], Picture]


def _head(booth: Booth, portrait: Portrait, share: float, side: int) -> Picture:
    return booth.person(turned_head(portrait, 55 * share * side), PLACE, FACE_WIDTH)


def _flat(booth: Booth, portrait: Portrait, share: float, side: int) -> Picture:
    return booth.print_(portrait, Hold(yaw_deg=45 * share * side), PLACE, FACE_WIDTH)


def _bent(booth: Booth, portrait: Portrait, share: float, side: int) -> Picture:
    return booth.print_(portrait, Hold(yaw_deg=45 * share * side, bend=2.0), PLACE, FACE_WIDTH)


def _exchanged(booth: Booth, portrait: Portrait, share: float, side: int) -> Picture:
    shown = turned_head(portrait, 55 * side) if share > 0.5 else portrait
    return booth.print_(shown, Hold(), PLACE, FACE_WIDTH)


def _replayed(booth: Booth, portrait: Portrait, share: float, side: int) -> Picture:
    return booth.screen(turned_head(portrait, 55 * share * side), Hold(), PLACE, FACE_WIDTH)


MOVEMENTS = (
    Movement(name="head, drawn", is_attack=False, draw=_head),
    Movement(name="flat print, turned", is_attack=True, draw=_flat),
    Movement(name="bent print, turned", is_attack=True, draw=_bent),
    Movement(name="prints, exchanged", is_attack=True, draw=_exchanged),
    Movement(name="recording of the asked turn", is_attack=True, draw=_replayed),
)


def turn_shares() -> list[float]:
    """How far a turn has come, frame by frame: a moment of rest, a second of turning, a moment turned."""
    return [0.0] * 3 + [step / 14 for step in range(1, 15)] + [1.0] * 3


def answered(
    movement: Movement, portrait: Portrait, side: PictureSide, tools: Checks, seed: int
) -> tuple[Outcome, float]:
    """Where the challenge ends, and by how many degrees the reading changed in all."""
    booth, challenge = Booth(seed), Challenge(side=side, began_ns=0)
    read = []
    for number, share in enumerate(turn_shares(), 1):
        frame = movement.draw(booth, portrait, share, 1 if side is PictureSide.RIGHT else -1)
        face = _foremost(tools.detector.detect(frame))
        yaw_deg = None if face is None else tools.turn.yaw_deg(frame, face)
        challenge = advance(challenge, yaw_deg, number * FRAME_NS)
        read += [] if yaw_deg is None else [yaw_deg]
    return challenge.outcome, max(read, default=0.0) - min(read, default=0.0)


def challenge_table(people: Sequence[Portrait], tools: Checks) -> Table:
    """How many of each movement pass."""
    facing = [portrait for portrait in people if _rests(portrait, tools.turn)][:TURNING]
    began_s, looks = time.process_time(), 200
    for _ in range(looks):
        tools.turn.yaw_deg(facing[0].pixels, facing[0].face)
    cpu_ms = (time.process_time() - began_s) * 1e3 / looks
    rows = []
    for movement in MOVEMENTS:
        sides = [PictureSide.RIGHT if number % 2 else PictureSide.LEFT for number in range(len(facing))]
        ends = [
            answered(movement, who, side, tools, n) for n, (who, side) in enumerate(zip(facing, sides, strict=True))
        ]
        passed = sum(outcome is Outcome.PASSED for outcome, _ in ends)
        degrees = [change for _, change in ends]
        cells = (movement.name, "attack" if movement.is_attack else "person", f"{passed} of {len(ends)}")
        rows.append(Row(cells=(*cells, f"{np.mean(degrees):.0f}", f"{max(degrees):.0f}", f"{cpu_ms:.1f}")))
    return Table(
        title="Liveness, active: turning the head to the asked side, synthetic movements",
        headers=("movement", "is", "passed", "mean degrees", "most degrees", "CPU ms a look"),
        rows=tuple(rows),
        notes=(
            "The head is a portrait warped over one generic depth: its landmarks turn about half as far as it is told",
            "to, so its pass rate is no person's. The recording turns to the asked side, as every second one would.",
        ),
    )


def _rests(portrait: Portrait, turn: HeadTurn) -> bool:
    yaw_deg = turn.yaw_deg(portrait.pixels, portrait.face)
    return yaw_deg is not None and abs(yaw_deg) <= REST_MAX_DEG


def _foremost(faces: Iterable[Face]) -> Face | None:
    """The largest face, as the detector orders them."""
    return next(iter(faces), None)


def agreement_table(people: Sequence[Portrait], turn: HeadTurn, models: Path, interpreter: str) -> Table:
    """Our landmarks beside what the mediapipe package of the other interpreter sees, on the portraits as they are."""
    title = "Landmarks: ours on LiteRT beside the mediapipe package's own"
    with tempfile.TemporaryDirectory() as folder:
        given, back = Path(folder) / "frames.npz", Path(folder) / "reading.npz"
        np.savez(given, *[portrait.pixels for portrait in people])
        command = [interpreter, str(Path(face_mesh.__file__)), str(given), str(back), str(models)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = "".join(done.stderr.strip().splitlines()[-1:])
            return Table(title=title, headers=("",), rows=(), notes=(f"not measured: {reason}",))
        with np.load(back) as answer:
            theirs = face_mesh.Reading(version=str(answer["version"]), points=answer["points"])
    away = distances(people, turn, theirs)
    ours, others = turns(people, turn, theirs)
    turned = np.abs(ours) > TURNED_DEG
    degrees = f"{np.abs(ours - others).mean():.1f}" if theirs.is_mesh else "-"
    row = Row(
        cells=(
            f"{theirs.version}, {theirs.points.shape[1]} points",
            f"{len(away)} of {len(people)}",
            f"{away.mean():.1f} %",
            f"{np.percentile(away, 95):.1f} %",
            f"{np.corrcoef(ours, others)[0, 1]:.3f}",
            f"{np.sum((ours > 0)[turned] == (others > 0)[turned])} of {turned.sum()}",
            degrees,
        )
    )
    headers = ("mediapipe", "faces", "mean away", "p95", "correlation of turns", "same side", "mean degrees between")
    notes = (
        "Away: mean over a face's points, in shares of the distance of the eyes' outer corners.",
        f"Same side: of those we read as turned by more than {TURNED_DEG:.0f} degrees. Six points give no degrees.",
    )
    return Table(title=title, headers=headers, rows=(row,), notes=notes)


def distances(people: Sequence[Portrait], turn: HeadTurn, theirs: face_mesh.Reading) -> NDArray[np.float64]:
    """How far our points are from theirs, in per cent of the eyes' distance, one number a face that both found."""
    away = []
    for mesh, other in _both(people, turn, theirs):
        ours = mesh if theirs.is_mesh else _six_of(mesh)
        eyes = float(np.hypot(*(mesh[33, :2] - mesh[263, :2])))
        away.append(100 * float(np.linalg.norm(ours[:, :2] - other[:, :2], axis=1).mean()) / eyes)
    return np.array(away)


def turns(
    people: Sequence[Portrait], turn: HeadTurn, theirs: face_mesh.Reading
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Our turn in degrees and theirs, one a face that both found; theirs without a unit when it comes of six points."""
    pairs = list(_both(people, turn, theirs))
    others = [turn_deg(other) if theirs.is_mesh else _nose_offset(other) for _, other in pairs]
    return np.array([turn_deg(mesh) for mesh, _ in pairs]), np.array(others)


def _both(
    people: Sequence[Portrait], turn: HeadTurn, theirs: face_mesh.Reading
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Our mesh and their points of each face that both found; not where they look at somebody else in the picture."""
    for portrait, other in zip(people, theirs.points, strict=True):
        mesh = turn.landmarks(portrait.pixels, portrait.face)
        if mesh is not None and np.isfinite(other).all():
            away = other[:, :2].mean(axis=0) - portrait.face.box.centre
            if np.hypot(*away) < portrait.face.box.width / 2:
                yield mesh, other


def _six_of(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """The eyes, the nose, the mouth and the ears of a mesh: (6, 2)."""
    parts = ((33, 133), (263, 362), (1, 4), (13, 14), (127, 234), (356, 454))
    return np.asarray([mesh[list(part), :2].mean(axis=0) for part in parts], np.float32)


def _nose_offset(six: NDArray[np.float32]) -> float:
    """How far the nose is from the middle between the ears, in shares of half their distance."""
    across = six[5] - six[4]
    return 2 * float((six[2] - six[4:].mean(axis=0)) @ across / (across @ across))


def folders() -> tuple[Path, Path] | str:
    """The folders with the weights and with the portraits, or what is missing."""
    models, media = os.environ.get("DOORSTEP_MODELS"), os.environ.get("DOORSTEP_MEDIA")
    if not models or not media:
        return "Liveness: not measured, DOORSTEP_MODELS and DOORSTEP_MEDIA are not both set"
    missing = Weights(Path(models)).missing()
    if missing:
        return f"Liveness: not measured, {missing[0]} is not in {models}"
    if not (Path(media) / "faces").is_dir():
        return f"Liveness: not measured, no faces in {media}"
    return Path(models), Path(media)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.liveness", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--mediapipe-python", metavar="PATH")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    found = folders()
    if isinstance(found, str):
        print(found)
        return
    models, media = found
    tools = checks(models)
    people = portraits(media, tools.detector, asked.people)
    print(passive_table(people, tools), end="\n\n")
    print(challenge_table(people, tools), flush=True)
    if asked.mediapipe_python:
        print(f"\n{agreement_table(people, tools.turn, models, asked.mediapipe_python)}")


if __name__ == "__main__":
    main()

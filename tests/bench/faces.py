"""What watching faces costs: `python -m tests.bench.faces`; needs DOORSTEP_MEDIA (with `faces`) and DOORSTEP_MODELS.

Frames are rendered from portraits before any clock runs and handed over decoded. Frames a second and the shares of a
core are the watching thread's own CPU time over the frames of visits, at fifteen a second by the frames' clock: what
else runs on the machine does not count, and no thread is hidden, because the networks run in one. Memory and the time
to the first verdict are those of the real vision process with its QR reader beside it.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.portraits import load_portrait
from edge.channel.messages import FaceSeen, GroupMade
from edge.core.match import Match, MatchTerms, decide_match
from edge.ports import Frame
from edge.vision.faces.alignment import align
from edge.vision.faces.gallery import Gallery, GalleryEntry, pack
from edge.vision.faces.networks import Networks, load_networks
from edge.vision.faces.watcher import FaceWatcher, Seen
from edge.vision.faces.weights import Weights
from edge.vision.motion import MotionGate
from edge.vision.watch import glance
from shared.ids import MEMBER_ID_BYTES, MemberId
from shared.policy import Liveness
from tests.bench.table import Row, Table
from tests.support.vision_door import scene_of, terms, vision_process
from tests.support.walkers import Door, Person, Scenario, Visit

RATE_FPS: Final = 15
EMPTY_S: Final = 15.0
FRAMES_MIN, TIMES_NAIVE_MIN = 100.0, 2.5
VISITOR_MAX, EMPTY_MAX = 12.0, 2.0
PSS_MIB_MAX, START_S_MAX = 150.0, 1.5
STARTS: Final = 3
ENROLLED: Final = 120
TERMS: Final = MatchTerms(false_positives_ppm=3000)

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU time over so many frames."""

    cpu_s: float
    frames: int

    @property
    def frames_a_second(self) -> float:
        """What one core would manage."""
        return self.frames / self.cpu_s

    @property
    def share(self) -> float:
        """Percent of a core at RATE_FPS."""
        return 100 * self.cpu_s / self.frames * RATE_FPS


# --- in this process --------------------------------------------------------------------------------------------------


def watched(networks: Networks, gallery: Gallery, frames: Sequence[Frame]) -> Cost:
    """What the motion gate and the faces cost; codes are not read."""
    watcher = FaceWatcher(networks.detector, networks.embedder, gallery, spoof=networks.spoof)
    watcher.allow(is_on=True, liveness=Liveness.PASSIVE)
    gate = MotionGate()
    began_s = time.thread_time()
    for frame in frames:
        gate.changed(glance(frame.pixels), frame.captured_ns)
        for event in watcher.look(frame, code_in_view=False):
            if isinstance(event, Seen) and isinstance(decide_match(event.comparison, TERMS), Match):
                watcher.settle(event.track)
    return Cost(cpu_s=time.thread_time() - began_s, frames=len(frames))


def naive(networks: Networks, gallery: Gallery, frames: Sequence[Frame]) -> Cost:
    """What the same networks at the same reduced size cost on every frame and every face."""
    began_s = time.thread_time()
    for frame in frames:
        for face in networks.detector.detect(frame.pixels):
            gallery.compare(networks.embedder.embed(align(frame.pixels, face.points)), 1)
    return Cost(cpu_s=time.thread_time() - began_s, frames=len(frames))


def visit_frames(door: Door, scenario: Scenario, people: Sequence[Person], seed: int) -> list[Frame]:
    """Every frame of a visit."""
    shots = Visit(door, scenario, people, seed=seed).shots()
    return [_frame(shot.pixels.copy(), shot.number) for shot in shots]


def _frame(pixels: Picture, number: int) -> Frame:
    return Frame(pixels=pixels, captured_ns=1_000_000_000 + number * 1_000_000_000 // RATE_FPS, sequence=number + 1)


def known(networks: Networks, folders: Sequence[Path]) -> Gallery:
    """One template a person, of the first picture that shows a face."""
    gallery = Gallery()
    for number, folder in enumerate(folders):
        pixels = load_portrait(sorted(folder.iterdir())[0])
        faces = networks.detector.detect(pixels)
        if faces:
            vector = networks.embedder.embed(align(pixels, faces[0].points))
            member = MemberId(number.to_bytes(MEMBER_ID_BYTES))
            gallery.put(GalleryEntry(member=member, template=pack(vector)))
    return gallery


# --- the real process -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """From starting the process to its first verdict: by the clock, and its processor time; memory then, without
    and with the QR reader."""

    took_s: float
    cpu_s: float
    pss_mib: float
    pss_with_reader_mib: float


async def start_to_verdict(folder: Path, standing: Picture, models: Path) -> Start:
    """What it took until somebody who stands there from the first frame on was recognised."""
    began_s = time.monotonic()
    with vision_process(folder, models) as process:
        async with scene_of(folder / "home" / "run") as scene:
            await scene.tell(terms())
            while not any(_is_match(message) for message in scene.heard):
                scene.publish(standing, time.monotonic_ns())
                await asyncio.sleep(1 / RATE_FPS)
            took_s, used_s, alone = time.monotonic() - began_s, cpu_s(process.pid), pss_mib(process.pid)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            together = alone + sum(pss_mib(int(child)) for child in children)
            return Start(took_s=took_s, cpu_s=used_s, pss_mib=alone, pss_with_reader_mib=together)


def _is_match(message: object) -> bool:
    return isinstance(message, FaceSeen) and isinstance(decide_match(message.comparison, TERMS), Match)


async def enrol(folder: Path, standing: Picture, models: Path) -> None:
    """Makes the person who stands there a member of a new device."""
    with vision_process(folder, models):
        async with scene_of(folder / "home" / "run") as scene:
            await scene.tell(terms())
            await scene.tell(GroupMade())
            await scene.enrol(standing, MemberId(bytes(MEMBER_ID_BYTES)), step_ns=1_000_000_000 // RATE_FPS, pace_s=0.1)


def cpu_s(process_id: int) -> float:
    """Processor time of the process so far, all its threads."""
    words = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(process_id: int) -> float:
    """Memory of the process, pages that it shares counted in part."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


# --- the table --------------------------------------------------------------------------------------------------------


def table(portraits: Path, models: Path, scratch: Path) -> Table:
    """Everything, each row with its bar."""
    cv2.setNumThreads(1)
    networks = load_networks(Weights(models))
    folders = sorted(folder for folder in portraits.iterdir() if len(list(folder.iterdir())) > 1)[:ENROLLED]
    gallery = known(networks, folders)
    people = [
        Person(who=str(number), portrait=load_portrait(sorted(folders[number].iterdir())[1])) for number in (3, 8)
    ]
    door = Door()
    two = visit_frames(door, Scenario.TWO, people, 1)
    one = visit_frames(door, Scenario.PLAIN, people[:1], 2)
    empty = [_frame(shot.pixels.copy(), shot.number) for shot in door.empty_shots(EMPTY_S)]
    watched(networks, gallery, one[:10])  # the first run of a network allocates
    both, each = watched(networks, gallery, two), naive(networks, gallery, two[:: len(two) // 60])
    times = both.frames_a_second / each.frames_a_second
    visitor, nobody = watched(networks, gallery, one), watched(networks, gallery, empty)
    rows = [
        _least("frames/s, two people", both.frames_a_second, FRAMES_MIN, "{:.0f}"),
        _least("times the networks on every frame", times, TIMES_NAIVE_MIN, "{:.1f}"),
        _most("% of a core at 15 frames/s, one visitor", visitor.share, VISITOR_MAX, "{:.1f}"),
        _most("% of a core at 15 frames/s, empty door", nobody.share, EMPTY_MAX, "{:.1f}"),
        *process_rows(scratch, one[-1].pixels, standing_frame(one), models),
    ]
    notes = (
        f"1280x720; {len(two)}, {len(one)} and {len(empty)} rendered frames; {len(gallery)} enrolled;"
        f" passive liveness on; {os.cpu_count()} cores; CPU time of the watching thread, codes not read.",
    )
    return Table(title="Watching faces", headers=("figure", "measured"), rows=tuple(rows), notes=notes)


def standing_frame(frames: Sequence[Frame]) -> Picture:
    """A frame from the middle of the stay on the mark: the last two seconds are the stay's end and the way out."""
    return frames[-round(2.5 * RATE_FPS)].pixels


def process_rows(scratch: Path, away: Picture, standing: Picture, models: Path) -> list[Row]:
    """Start and memory of the real process."""
    asyncio.run(enrol(scratch, standing, models))
    runs = [asyncio.run(start_to_verdict(scratch, standing, models)) for _ in range(STARTS)]
    median = sorted(runs, key=lambda run: run.took_s)[len(runs) // 2]
    alone, together = max(run.pss_mib for run in runs), max(run.pss_with_reader_mib for run in runs)
    return [
        _most("start of the process to first verdict, s", median.took_s, START_S_MAX, "{:.2f}"),
        Row(cells=("of which its processor time, s", f"{median.cpu_s:.2f}")),
        _most("PSS of the process, networks loaded, MiB", alone, PSS_MIB_MAX, "{:.0f}"),
        Row(cells=("PSS with its QR reader, MiB", f"{together:.0f}")),
    ]


def _least(what: str, measured: float, least: float, shown: str) -> Row:
    return Row(cells=(what, shown.format(measured)), bar=f">= {least:g}", missed=measured < least)


def _most(what: str, measured: float, most: float, shown: str) -> Row:
    return Row(cells=(what, shown.format(measured)), bar=f"<= {most:g}", missed=measured > most)


def main() -> int:
    """The exit code."""
    media, models = os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS")
    if media is None or models is None or not (Path(media) / "faces").is_dir():
        print("Watching faces: not measured, DOORSTEP_MEDIA (with faces) and DOORSTEP_MODELS are not both set")
        return 0
    with tempfile.TemporaryDirectory(prefix="doorstep-bench-") as scratch:
        print(table(Path(media) / "faces", Path(models), Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

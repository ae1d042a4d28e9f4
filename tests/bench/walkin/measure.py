"""A whole run: every visit played, by one process or several, and the peers on the same frames."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge.camera.portraits import load_portrait
from edge.core.match import MatchTerms, ask_threshold, grant_threshold
from edge.vision.faces.weights import Weights
from tests.bench.walkin.drive import Played, Player
from tests.bench.walkin.ours import Ours, opened_bench
from tests.bench.walkin.people import Case, Roll, cases_of, roll_of
from tests.bench.walkin.report import Run, Speeds
from tests.bench.walkin.seers import Bench, DlibPeer, Naive, PeerTimes, run_dlib
from tests.support.walkers import Door, Person, Scenario, Visit

EMPTY_S: Final = 60.0
NAIVE_VISITS: Final = 6
DLIB_EVERY: Final = 10
"""dlib takes a second a frame: every tenth of one visit is enough."""
SMALL_WIDTH: Final = 640
RATE_FPS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    faces: Path
    weights: Path
    visits: int | None
    seed: int
    terms: MatchTerms
    has_peers: bool
    dlib: DlibPeer | None


def measure(wanted: Wanted, jobs: int) -> Run:
    """Plays every visit, by so many processes, and the peers' where they are wanted."""
    roll = roll_of(wanted.faces)
    cases = cases_of(roll, seed=wanted.seed, visits=wanted.visits)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        parts = [(wanted, roll, cases[job::jobs], job == 0) for job in range(jobs)]
        done = list(pool.map(play_cases, parts))
    print(file=sys.stderr)
    played = [done[place % jobs].played[place // jobs] for place in range(len(cases))]
    with scratch() as folder, opened_bench(Weights(wanted.weights), roll.members, folder) as bench:
        speeds, notes = _speeds(wanted, cases, played, bench, folder)
        enrolled = bench.keeper.loaded.usable
    codes_s = sum(part.codes_s for part in done) / max(1, sum(part.coded for part in done))
    probes = wanted.terms.probes_max
    return Run(
        told=tuple(told for one in played for told in one.told),
        enrolled=enrolled,
        false_positives_ppm=wanted.terms.false_positives_ppm,
        grant_threshold=grant_threshold(wanted.terms, enrolled=enrolled, probes=probes),
        ask_threshold=ask_threshold(wanted.terms, enrolled=enrolled, probes=probes),
        speeds=replace(speeds, codes_ms=1e3 * codes_s),
        notes=notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process played. `codes_s` processor seconds went into reading codes in `coded` frames."""

    played: tuple[Played, ...]
    codes_s: float
    coded: int


def play_cases(part: tuple[Wanted, Roll, Sequence[Case], bool]) -> Part:
    """Plays the cases in order, in a process of its own, which says how far it is when it is asked to."""
    wanted, roll, cases, is_telling = part
    cv2.setNumThreads(1)
    with scratch() as folder, opened_bench(Weights(wanted.weights), roll.members, folder) as bench:
        door = Door(rate_fps=RATE_FPS)
        reader = Ours(bench, reads_codes=True)
        player, code_player = (Player(door, seer, wanted.terms) for seer in (Ours(bench), reader))
        played = []
        coded = 0
        for place, case in enumerate(cases, start=1):
            has_code = case.scenario is Scenario.CODE
            played.append((code_player if has_code else player).play(case))
            coded += len(played[-1].busy_s) if has_code else 0
            if is_telling:
                print(f"\r{place} of {len(cases)} visits", end="", file=sys.stderr, flush=True)
    return Part(played=tuple(played), codes_s=reader.codes_s, coded=coded)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: nothing of a portrait is to reach a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _speeds(
    wanted: Wanted, cases: Sequence[Case], played: Sequence[Played], bench: Bench, folder: Path
) -> tuple[Speeds, tuple[str, ...]]:
    """What a frame costs us and the peers; notes say what was not run."""
    door = Door(rate_fps=RATE_FPS)
    alone = [one for case, one in zip(cases, played, strict=True) if case.scenario is Scenario.PLAIN]
    together = [one for case, one in zip(cases, played, strict=True) if case.scenario is Scenario.TWO]
    pairs = [case for case in cases if case.scenario is Scenario.TWO][:NAIVE_VISITS]
    notes = []
    naive_ms = dlib_ms = small_ms = None
    if wanted.has_peers:
        naive = Player(door, Naive(bench), wanted.terms)
        naive_ms = 1e3 * _mean([second for case in pairs for second in naive.play(case).busy_s])
        dlib_ms, small_ms, said = _dlib(wanted.dlib, pairs[0], door, folder)
        notes.append(said)
    standing = [second for one in alone for second, is_there in zip(one.busy_s, one.standing, strict=True) if is_there]
    speeds = Speeds(
        visitor=RATE_FPS * _mean([second for one in alone for second in one.busy_s]),
        standing=RATE_FPS * _mean(standing),
        empty=RATE_FPS * _mean(Player(door, Ours(bench), wanted.terms).play_empty(EMPTY_S).busy_s),
        codes_ms=0.0,
        two_ms=1e3 * _mean([second for one in together for second in one.busy_s]),
        naive_ms=naive_ms,
        dlib_ms=dlib_ms,
        dlib_small_ms=small_ms,
    )
    return speeds, tuple(notes)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _dlib(peer: DlibPeer | None, case: Case, door: Door, folder: Path) -> tuple[float | None, float | None, str]:
    """Milliseconds a frame as the package does it and on a reduced picture, and a note."""
    if peer is None:
        return None, None, "dlib was not run: no --dlib-python and --dlib-models."
    people = [Person(who="", portrait=load_portrait(visitor.picture)) for visitor in case.visitors]
    shots = Visit(door, case.scenario, people, seed=case.seed).shots()
    frames = [shot.pixels.copy() for shot in shots if shot.number % DLIB_EVERY == 0]
    full = run_dlib(peer, frames, scratch=folder)
    small = run_dlib(peer, frames, scratch=folder, across=SMALL_WIDTH, up=0)
    if not isinstance(full, PeerTimes) or not isinstance(small, PeerTimes):
        return None, None, full if isinstance(full, str) else str(small)
    said = f"dlib: {len(frames)} frames of two people; faces found {full.faces}, at {SMALL_WIDTH} wide {small.faces}."
    return 1e3 * _mean(full.seconds), 1e3 * _mean(small.seconds), said

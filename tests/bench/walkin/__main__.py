"""`python -m tests.bench.walkin`: a visit of every member and stranger there are portraits of, or of so many.

Needs DOORSTEP_MEDIA, a folder with `faces` (a sub-folder a person: who has one picture is a stranger), and
DOORSTEP_MODELS. dlib's pipeline is run beside ours when another Python has dlib: give it with --dlib-python, and the
folder of `face_recognition_models`' weights with --dlib-models.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import cv2

from edge.core.match import MatchTerms
from edge.vision.faces.weights import Weights
from tests.bench.walkin.measure import Wanted, measure
from tests.bench.walkin.plot import draw
from tests.bench.walkin.report import as_json, tables
from tests.bench.walkin.seers import DlibPeer

FALSE_POSITIVES_PPM: Final = 3000
"""What a policy allows that says nothing else (shared/policy)."""


def _folders() -> tuple[Path, Path] | str:
    """Portraits and weights, or what is missing."""
    media, models = os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS")
    if not media or not (Path(media) / "faces").is_dir():
        return "Walk-in: not measured, DOORSTEP_MEDIA names no folder with faces"
    if not models:
        return "Walk-in: not measured, DOORSTEP_MODELS is not set"
    missing = Weights(Path(models)).missing()
    return f"Walk-in: not measured, no {missing[0]} in {models}" if missing else (Path(media) / "faces", Path(models))


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.walkin", description=__doc__)
    parser.add_argument("--visits", type=int, help="at most so many of each kind of visitor; all without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--false-positives-ppm", type=int, default=FALSE_POSITIVES_PPM)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--dlib-python", type=Path)
    parser.add_argument("--dlib-models", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="processes that play visits at the same time")
    parser.add_argument("--json", type=Path, help="write every visitor's end there, without a name")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    folders = _folders()
    if isinstance(folders, str):
        print(folders)
        return 0
    cv2.setNumThreads(1)
    has_dlib = given.dlib_python is not None and given.dlib_models is not None
    run = measure(
        Wanted(
            faces=folders[0],
            weights=folders[1],
            visits=given.visits,
            seed=given.seed,
            terms=MatchTerms(false_positives_ppm=given.false_positives_ppm),
            has_peers=given.peers,
            dlib=DlibPeer(python=given.dlib_python, models=given.dlib_models) if has_dlib else None,
        ),
        given.jobs,
    )
    if given.plot is not None:
        given.plot.write_text(draw(run))
    if given.json is not None:
        given.json.write_bytes(as_json(run))
    print("\n\n".join(str(table) for table in tables(run)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

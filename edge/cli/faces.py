"""`doorstep-edge faces embed`: a folder of portraits as numbers, for whoever measures or compares.

For pictures of people who agreed to it, on a technician's machine: the door itself keeps no picture and writes no such
file. What is printed names files and counts, and the file that is written holds what the arrays below say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edge.cli.root import Home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge.vision.faces.detector import Detector
    from edge.vision.faces.embedder import Embedder
    from edge.vision.faces.face import Face


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: files, those with a face, without one, and that could not be loaded, folders included.

    `embedder` names the weights in hex, as every template does.
    """

    out: str
    pictures: int
    found: int
    without_face: int
    not_loaded: int
    embedder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One picture's face: its direction (256,) float32 of length 1, and where it was found."""

    vector: NDArray[np.float32]
    face: Face


def commands(models_of: Callable[[Path | None], Path]) -> typer.Typer:
    """The group, told where the weights of a device's folder are."""
    app = typer.Typer(help="Faces: portraits into numbers, and what the numbers are worth.", no_args_is_help=True)

    @app.callback()
    def faces() -> None:
        """Faces: portraits into numbers, and what the numbers are worth."""

    @app.command()
    def embed(
        folder: Annotated[Path, typer.Argument(help="A folder of portraits (PNG, JPEG, WebP), or one.")],
        out: Annotated[Path, typer.Option("--out", help="The .npz file to write.")],
        as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
        home: Home = None,
    ) -> None:
        """Write paths, embeddings, found and boxes of every portrait; each file's largest central face counts.

        Exit code 1 when a file or a folder could not be loaded; the others are written all the same.
        """
        summary = _embed(folder, out, models_of(home))
        typer.echo(msgspec.json.encode(summary) if as_json else _readable(summary))
        if summary.not_loaded:
            raise typer.Exit(1)

    return app


def _embed(folder: Path, out: Path, models: Path) -> Summary:
    """Writes the file and says what is in it."""
    from edge.vision.pictures import portraits_under

    reader = _Reader(models)
    portraits = portraits_under(folder)
    for path, fault in portraits.faults:
        _complain(path, str(fault))
    embedded = [reader.read(path) for path in portraits.paths]
    _write(out, [_name(path, folder) for path in portraits.paths], embedded)
    found = sum(one is not None for one in embedded)
    return Summary(
        out=str(out),
        pictures=len(embedded),
        found=found,
        without_face=len(embedded) - found - reader.not_loaded,
        not_loaded=reader.not_loaded + len(portraits.faults),
        embedder=reader.embedder.identity.hex(),
    )


class _Reader:
    """Detector and embedder, each asked its question first."""

    def __init__(self, models: Path) -> None:
        from edge.vision.faces.detector import Detector
        from edge.vision.faces.embedder import Embedder
        from edge.vision.faces.weights import Role, Weights, answer_of_detector, answer_of_embedder

        weights = Weights(models)
        self.detector: Detector = Detector(weights.load(Role.DETECTOR))
        self.embedder: Embedder = Embedder(weights.load(Role.EMBEDDER))
        self.not_loaded = 0
        weights.check_known_answers(
            {Role.DETECTOR: answer_of_detector(self.detector), Role.EMBEDDER: answer_of_embedder(self.embedder)}
        )

    def read(self, path: Path) -> Embedded | None:
        """The picture's face, or None and a line that says why there is none."""
        from edge.vision.faces.alignment import align
        from edge.vision.faces.portraits import central
        from edge.vision.faces.quality import QualityLimits
        from edge.vision.pictures import PictureFault, load_portrait

        pixels = load_portrait(path)
        if isinstance(pixels, PictureFault):
            self.not_loaded += 1
            _complain(path, str(pixels))
            return None
        faces = self.detector.detect(pixels)
        face = central(faces, pixels.shape[1], pixels.shape[0])
        if face is None:
            _complain(path, "holds no face that could be found")
            return None
        if len(faces) > 1:
            _complain(path, f"holds {len(faces)} faces; the largest central one was taken")
        if face.eye_distance < QualityLimits().eyes_px_min:
            _complain(path, f"has {face.eye_distance:.0f} pixels between the eyes; such a face is hardly recognised")
        return Embedded(vector=self.embedder.embed(align(pixels, face.points)), face=face)


def _write(out: Path, names: list[str], embedded: list[Embedded | None]) -> None:
    """The arrays in their file, whole or not at all. Raises: SettingsWrong when it cannot be written.

    `paths` (n,) str, relative to the folder; `embeddings` (n, 256) float32, length 1, zeros without a face; `found`
    (n,) bool; `boxes` (n, 4) float32: x, y, width, height in pixels.
    """
    import numpy as np

    from edge.vision.faces.arrays import write_arrays
    from edge.vision.faces.embedder import SIZE

    embeddings, boxes = np.zeros((len(names), SIZE), np.float32), np.zeros((len(names), 4), np.float32)
    for row, one in enumerate(embedded):
        if one is not None:
            box = one.face.box
            embeddings[row], boxes[row] = one.vector, (box.x, box.y, box.width, box.height)
    found = np.array([one is not None for one in embedded], bool)
    write_arrays(out, paths=np.array(names, dtype=str), embeddings=embeddings, found=found, boxes=boxes)


def _name(path: Path, folder: Path) -> str:
    """The path within the folder; a name that is no UTF-8 is kept with escapes."""
    inside = path.relative_to(folder) if path != folder else Path(path.name)
    return os.fsencode(inside).decode(errors="backslashreplace")


def _complain(path: Path, reason: str) -> None:
    """One line on standard error, in which a file's name cannot steer the terminal."""
    shown = os.fsencode(path).decode(errors="backslashreplace")
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    typer.echo(f"{printable}: {reason}", err=True)


def _readable(summary: Summary) -> str:
    counts = f"{summary.found} of {summary.pictures} pictures with a face, {summary.without_face} without"
    return f"{counts}, {summary.not_loaded} not loaded: {summary.out}"

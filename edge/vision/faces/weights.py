"""The weights of the networks: which files there are, whether one is the file we know, whether it answers as it should.

Weights are data, not code: they lie in a folder of the device and never in the repository. `models/MANIFEST.toml`
names each by role, size and SHA-256 and says what was known of it when it was chosen. A file is loaded by its hash or
not at all. A file that is whole can still answer garbage, when the library that runs it is broken or its processor's
code is; so each network is asked one question with a known answer at the start, a face drawn by formula.

No network of this package is opened here, and nothing is fetched: a process that sees faces has no network.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelUnusable
from edge.vision.faces.face import Box, Face

if TYPE_CHECKING:
    from edge.vision.faces.detector import Detector
    from edge.vision.faces.embedder import Embedder
    from edge.vision.faces.head_turn import HeadTurn
    from edge.vision.faces.liveness import SpoofCheck

MANIFEST: Final = Path(__file__).parents[3] / "models" / "MANIFEST.toml"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""No network a Raspberry Pi can carry is larger; a manifest that asks for more is wrong."""

Picture = NDArray[np.uint8]
Answer = Callable[[Picture], NDArray[np.float32]]
"""What a network makes of a picture, (H, W, 3) uint8 BGR, as one row of numbers."""


class Role(StrEnum):
    """What a network does for the product."""

    DETECTOR = "detector"
    EMBEDDER = "embedder"
    SPOOF_NEAR = "spoof-near"
    SPOOF_FAR = "spoof-far"
    LANDMARKS = "landmarks"


class Use(StrEnum):
    """Why a file is in the manifest."""

    LOADED = "loaded"
    """The product runs it, in the one role it has."""
    SOURCE = "source"
    """`models convert` makes a loaded one from it."""
    SPARE = "spare"
    """Kept to compare with; no process loads it."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bytes come from: an address, or other files of the manifest.

    `verified` says what the bytes were compared with and what was never tried.
    """

    verified: str
    address: str | None = None
    converted_from: tuple[str, ...] = ()
    converted_with: str | None = None


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network takes. `alignment` are the places of the five points, as shares of the side of the input."""

    shape: tuple[int | str, ...]
    dtype: str
    colour: str
    normalisation: str
    crop: str
    alignment: tuple[tuple[float, float], ...] = ()


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network gives."""

    shape: tuple[int | str, ...]
    meaning: str


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that turns an output into a decision, and the data it was set on."""

    name: str
    value: float
    data: str


class KnownAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sound network says to `drawn_face(side)`: its first numbers and the length of all of them.

    `tolerance` is the largest difference of any of them that is still the same answer.
    """

    side: Annotated[int, msgspec.Meta(ge=16, le=640)]
    values: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]
    length: float
    tolerance: Annotated[float, msgspec.Meta(gt=0)]


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of weights and what is known of it."""

    name: str
    use: Use
    file: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    size_bytes: Annotated[int, msgspec.Meta(gt=0, le=FILE_BYTES_MAX)] = msgspec.field(name="bytes")
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    training_data: str
    card: str
    origin: Origin
    role: Role | None = None
    input: Input | None = None
    output: Output | None = None
    thresholds: tuple[Threshold, ...] = ()
    known_answer: KnownAnswer | None = None

    def fault(self, data: bytes) -> str | None:
        """Why the bytes are not this file, or None when they are."""
        if len(data) != self.size_bytes:
            return f"has {len(data)} bytes, {self.size_bytes} are expected"
        found = sha256(data).hexdigest()
        if found != self.sha256:
            return f"is another file: its SHA-256 begins {found[:16]}, {self.sha256[:16]} is expected"
        return None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every file of weights the project knows of."""

    models: tuple[Model, ...]

    def of_role(self, role: Role) -> Model:
        """The one file the product loads for the role."""
        return next(model for model in self.models if model.role is role)

    def of_file(self, file: str) -> Model:
        """The entry of a file that is in the manifest."""
        return next(model for model in self.models if model.file == file)

    @property
    def loaded(self) -> tuple[Model, ...]:
        """The files the product runs, in the order of the manifest."""
        return tuple(model for model in self.models if model.use is Use.LOADED)


def load_manifest(path: Path = MANIFEST) -> Manifest:
    """The manifest, every role filled once and every source it names in it. Raises: ModelUnusable."""
    try:
        manifest = msgspec.toml.decode(path.read_bytes(), type=Manifest)
    except OSError as fault:
        raise ModelUnusable(path.name, f"cannot be read: {fault.strerror}") from fault
    except msgspec.DecodeError as fault:
        raise ModelUnusable(path.name, str(fault)) from fault
    files = [model.file for model in manifest.models]
    sources = {source for model in manifest.models for source in model.origin.converted_from}
    roles = [model.role for model in manifest.loaded]
    if len(set(files)) != len(files) or not sources.issubset(files) or sorted(map(str, roles)) != sorted(Role):
        raise ModelUnusable(path.name, "a role or a source is missing, or is named twice")
    return manifest


class Weights:
    """The files of one folder, each given out only when it is the one the manifest knows."""

    def __init__(self, folder: Path, manifest_path: Path = MANIFEST) -> None:
        self.folder = folder
        self._manifest_path = manifest_path

    @cached_property
    def manifest(self) -> Manifest:
        """What should be there. Raises: ModelUnusable."""
        return load_manifest(self._manifest_path)

    def missing(self, roles: Iterable[Role] = tuple(Role)) -> tuple[str, ...]:
        """The files of these roles that are not in the folder; quick, as nothing is read."""
        files = [self.manifest.of_role(role).file for role in roles]
        return tuple(file for file in files if not (self.folder / file).is_file())

    def load(self, role: Role) -> bytes:
        """The weights of the role. Raises: ModelUnusable when they are missing or other ones."""
        return self.read(self.manifest.of_role(role))

    def read(self, model: Model) -> bytes:
        """What the model's file holds. Raises: ModelUnusable when it is missing or another one."""
        try:
            with (self.folder / model.file).open("rb") as file:
                data = file.read(model.size_bytes + 1)  # a byte more tells a longer file, without reading all of it
        except FileNotFoundError as fault:
            raise ModelUnusable(model.file, f"is not in {self.folder}: run doorstep-edge models fetch") from fault
        except OSError as fault:
            raise ModelUnusable(model.file, f"cannot be read: {fault.strerror}") from fault
        reason = f"has more than {model.size_bytes} bytes" if len(data) > model.size_bytes else model.fault(data)
        if reason is not None:
            raise ModelUnusable(model.file, reason)
        return data

    def check_known_answers(self, answers: Mapping[Role, Answer]) -> None:
        """Nothing, once each network has answered its question rightly. Raises: ModelUnusable for the first that did
        not."""
        for role, answer in answers.items():
            model = self.manifest.of_role(role)
            if model.known_answer is not None:
                reason = wrong_answer(model.known_answer, answer)
                if reason is not None:
                    raise ModelUnusable(model.file, f"answers garbage: {reason}")


def wrong_answer(known: KnownAnswer, answer: Answer) -> str | None:
    """What is wrong with the answer to the drawn face, or None when it is the known one."""
    given = answer(drawn_face(known.side)).astype(np.float64)
    if given.size < len(known.values):
        return f"{given.size} numbers where at least {len(known.values)} are expected"
    compared = np.append(given[: len(known.values)], np.linalg.norm(given))
    difference = float(np.max(np.abs(compared - np.append(known.values, known.length))))
    if difference <= known.tolerance:  # a NaN is not
        return None
    return f"off by {difference:.3g} where {known.tolerance:g} is allowed"


def answer_of_detector(detector: "Detector") -> Answer:
    """The largest face as x, y, width, height, five points and a hundred times the score; nothing without a face."""

    def answer(picture: Picture) -> NDArray[np.float32]:
        for face in detector.detect(picture):
            box = face.box
            numbers = [box.x, box.y, box.width, box.height, *face.points.ravel(), 100 * face.score]
            return np.array(numbers, np.float32)
        return np.zeros(0, np.float32)

    return answer


def answer_of_embedder(embedder: "Embedder") -> Answer:
    """The 256 numbers, the picture taken for an aligned crop."""
    return embedder.embed


def answer_of_spoof_check(check: "SpoofCheck") -> Answer:
    """How live the drawn face is: one number of both networks, kept with SPOOF_NEAR."""
    return lambda picture: np.array([check.live(picture, face_of_drawing(len(picture)).box)], np.float32)


def answer_of_head_turn(turn: "HeadTurn") -> Answer:
    """The 468 points in the drawn face, each as x, y, depth; nothing when the network sees no face there."""

    def answer(picture: Picture) -> NDArray[np.float32]:
        points = turn.landmarks(picture, face_of_drawing(len(picture)))
        return np.zeros(0, np.float32) if points is None else points.ravel()

    return answer


# --- a face that nobody has -------------------------------------------------------------------------------------------

_GROUND: Final = (150.0, 160.0, 165.0)
_SPOTS: Final = (  # centre x, centre y, half width, half height in 160ths of the side; blue, green, red
    ((80, 52, 44, 40), (30, 35, 45)),  # hair
    ((80, 82, 36, 48), (125, 160, 205)),
    ((64, 66, 10, 2.5), (40, 50, 70)),
    ((96, 66, 10, 2.5), (40, 50, 70)),
    ((64, 75, 8, 4.5), (235, 235, 235)),
    ((96, 75, 8, 4.5), (235, 235, 235)),
    ((64, 75, 4, 4), (30, 30, 40)),
    ((96, 75, 4, 4), (30, 30, 40)),
    ((80, 92, 3, 12), (150, 185, 225)),  # nose
    ((80, 101, 7, 3), (80, 105, 150)),
    ((80, 116, 13, 4), (80, 80, 170)),
)
_EDGE: Final = 12.0
"""How sharply a spot ends; soft, so that a library that rounds otherwise moves no pixel by more than a level."""


def drawn_face(side: int) -> Picture:
    """A face made of eleven soft ellipses: the same everywhere, and nobody's.

    Shape and dtype: (side, side, 3) uint8 BGR. YuNet finds it with a score of 0.93 at a side of 160.
    """
    place = np.arange(side) * (160 / side)
    picture = np.full((side, side, 3), _GROUND)
    for (centre_x, centre_y, half_width, half_height), colour in _SPOTS:
        across, down = ((place - centre_x) / half_width) ** 2, ((place - centre_y) / half_height) ** 2
        share = 1 / (1 + np.exp(np.minimum((down[:, None] + across - 1) * _EDGE, 50)))
        picture += share[:, :, None] * (np.array(colour) - picture)
    return picture.round().astype(np.uint8)


def face_of_drawing(side: int) -> Face:
    """Where the face in `drawn_face(side)` is, by construction and not by detection."""
    scale = side / 160
    points = np.array([[64, 75], [96, 75], [80, 94], [68, 109], [92, 109]], np.float32) * np.float32(scale)
    box = Box(x=46 * scale, y=28 * scale, width=69 * scale, height=111 * scale)
    return Face(box=box, points=points, score=1.0)

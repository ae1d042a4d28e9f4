"""`doorstep-edge models`: brings the weights of the networks into the device's folder, makes them, looks them over.

Nothing gets its name in that folder before its SHA-256 was found to be the manifest's, so neither a mirror that was
taken over nor a line that broke leaves anything to be loaded. Fetching is done here, by hand or by a set-up script: the
processes that run the networks have no network.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, assert_never

import msgspec
import typer

from edge.cli.root import Home
from edge.errors import ModelUnusable

if TYPE_CHECKING:
    import httpx

    from edge.vision.faces.weights import Answer, Model, Role, Weights

SILENCE_S_MAX: Final = 30.0
"""Without a byte from the server."""
REDIRECTS_MAX: Final = 5
CONVERTERS: Final = ("openvino", "onnx", "tensorflow", "keras", "numpy")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `verify --json`. `state` is sound, missing, wrong or garbage."""

    file: str
    use: str
    role: str | None
    state: str
    reason: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_failure(self) -> bool:
        """Whether a device with such a file is not as it should be; one that is only kept may be missing."""
        return self.state != "sound" and (self.state, self.use) not in {("missing", "source"), ("missing", "spare")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a file was not taken."""

    reason: str


def commands(models_of: Callable[[Path | None], Path], manifest: Path | None = None) -> typer.Typer:
    """The group, told where the weights of a device's folder are; `manifest` in place of the project's own."""
    app = typer.Typer(help="The weights of the networks, which are no part of the program.", no_args_is_help=True)

    @app.command()
    def fetch(
        source: Annotated[
            Path | None, typer.Option("--from", help="Take them from this folder, whatever their names, and no line.")
        ] = None,
        with_spares: Annotated[bool, typer.Option("--all", help="Also the ones that no process loads.")] = False,
        home: Home = None,
    ) -> None:
        """Bring the weights here, each by its hash. Exit code 1 when one the product needs is not here afterwards."""
        weights = _weights(models_of(home), manifest)
        wanted = _wanted(weights, with_spares=with_spares)
        if source is None:
            _fetch_by_line(weights, wanted)
        else:
            _fetch_from(weights, wanted, source)
        missing = [model for model in weights.manifest.loaded if not _is_sound(weights, model)]
        for model in missing:
            if model.origin.converted_from and all(_is_sound(weights, part) for part in _parts(weights, model)):
                typer.echo(f"{model.file}: is still to be made: run doorstep-edge models convert", err=True)
        if missing:
            raise typer.Exit(1)

    @app.command()
    def verify(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        home: Home = None,
    ) -> None:
        """Compare every file with its hash and ask each network its question. Exit code 1 when one fails."""
        weights, failed = _weights(models_of(home), manifest), False
        for model in weights.manifest.models:
            state = _state(weights, model)
            failed = failed or state.is_failure
            typer.echo(msgspec.json.encode(state) if as_json else _readable(state))
        if failed:
            raise typer.Exit(1)

    @app.command()
    def convert(home: Home = None) -> None:
        """Make the embedder's file out of its makers' own (needs the extra `convert`). Exit code 1 for other bytes."""
        weights = _weights(models_of(home), manifest)
        made = [model for model in weights.manifest.models if model.origin.converted_from]
        results = [_converted(weights, model) for model in made]
        if any(isinstance(result, Refused) for result in results):
            raise typer.Exit(1)

    return app


def _weights(folder: Path, manifest: Path | None) -> Weights:
    from edge.vision.faces.weights import MANIFEST, Weights

    return Weights(folder, manifest or MANIFEST)


def _is_sound(weights: Weights, model: Model) -> bool:
    """Whether the file is there and the one we know."""
    try:
        weights.read(model)
    except ModelUnusable:
        return False
    return True


def _parts(weights: Weights, model: Model) -> list[Model]:
    """What the file is made of."""
    return [weights.manifest.of_file(file) for file in model.origin.converted_from]


# --- fetch ------------------------------------------------------------------------------------------------------------


def _wanted(weights: Weights, *, with_spares: bool) -> list[Model]:
    """What is not here yet of what the product loads, and with spares of those as well."""
    from edge.vision.faces.weights import Use

    uses = [Use.LOADED, Use.SPARE] if with_spares else [Use.LOADED]
    wanted = []
    for model in [model for use in uses for model in weights.manifest.models if model.use is use]:
        if _is_sound(weights, model):
            typer.echo(f"{model.file}: there already")
        else:
            wanted.append(model)
    return wanted


def _fetch_by_line(weights: Weights, wanted: Sequence[Model]) -> None:
    import httpx  # half a second that no other command need pay

    needed = [part for model in wanted for part in (_parts(weights, model) or [model])]
    with httpx.Client(timeout=SILENCE_S_MAX, follow_redirects=True, max_redirects=REDIRECTS_MAX) as client:
        for model in needed:
            if not _is_sound(weights, model):  # two may be made of the same one
                _take(weights.folder, model, _downloaded(client, model), "downloaded")


def _fetch_from(weights: Weights, wanted: Sequence[Model], source: Path) -> None:
    by_size = _files_by_size(source)
    for model in wanted:
        found = _copied(source, by_size, model)
        _take(weights.folder, model, found, "copied")
        if isinstance(found, Refused):
            for part in _parts(weights, model):
                if not _is_sound(weights, part):
                    _take(weights.folder, part, _copied(source, by_size, part), "copied")


def _take(folder: Path, model: Model, found: bytes | Refused, how: str) -> None:
    """The file in its place, and a line that says so, or why not."""
    if isinstance(found, Refused):
        typer.echo(f"{model.file}: {found.reason}", err=True)
    else:
        _keep(folder, model, found)
        typer.echo(f"{model.file}: {how}")


def _downloaded(client: httpx.Client, model: Model) -> bytes | Refused:
    """The file from its origin, no byte more than it has."""
    import httpx

    assert model.origin.address is not None, "a file that is not made has an address"
    received = bytearray()
    try:
        with client.stream("GET", model.origin.address, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code != httpx.codes.OK:
                return Refused(reason=f"the server answered {response.status_code}")
            for part in response.iter_raw():  # as sent: a packed answer could grow without end
                received += part
                if len(received) > model.size_bytes:
                    return Refused(reason=f"the server gives more than {model.size_bytes} bytes")
    except httpx.HTTPError as fault:
        return Refused(reason=f"could not be downloaded: {str(fault) or type(fault).__name__}")
    return _known(model, bytes(received), "what came")


def _known(model: Model, data: bytes, what: str) -> bytes | Refused:
    """The bytes, when they are the file."""
    fault = model.fault(data)
    return data if fault is None else Refused(reason=f"{what} {fault}")


def _files_by_size(folder: Path) -> dict[int, list[Path]]:
    """The files below the folder. Raises: ModelUnusable when it is not one."""
    if not folder.is_dir():
        raise ModelUnusable(str(folder), "is not a folder")
    found: dict[int, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.setdefault(path.stat().st_size, []).append(path)
    return found


def _copied(source: Path, by_size: dict[int, list[Path]], model: Model) -> bytes | Refused:
    """The file, whatever it is called there."""
    for path in by_size.get(model.size_bytes, []):
        data = path.read_bytes()
        if model.fault(data) is None:
            return data
    named = source / model.file
    if named.is_file():
        with named.open("rb") as file:
            fault = model.fault(file.read(model.size_bytes + 1))
        return Refused(reason=f"what is called so in {source} {fault}")
    return Refused(reason=f"is not in {source}")


def _keep(folder: Path, model: Model, data: bytes) -> None:
    """The file under its name, whole or not at all. Raises: ModelUnusable."""
    fresh = folder / f".{model.file}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(folder / model.file)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as fault:
        raise ModelUnusable(model.file, f"cannot be written: {fault.strerror}") from fault


# --- verify -----------------------------------------------------------------------------------------------------------


def _state(weights: Weights, model: Model) -> State:
    """How one file is, and what its network says."""
    if not (weights.folder / model.file).exists():
        return _told(model, "missing")
    try:
        weights.read(model)
    except ModelUnusable as fault:
        return _told(model, "wrong", fault.reason)
    if model.role is None or model.known_answer is None:
        return _told(model, "sound")
    try:
        weights.check_known_answers({model.role: _answer(weights, model.role)})
    except ModelUnusable as fault:
        return _told(model, "garbage", fault.reason)
    return _told(model, "sound")


def _told(model: Model, state: str, reason: str | msgspec.UnsetType = msgspec.UNSET) -> State:
    role = None if model.role is None else model.role.value
    return State(file=model.file, use=model.use.value, role=role, state=state, reason=reason)


def _answer(weights: Weights, role: Role) -> Answer:
    """The network of the role, ready to answer. Raises: ModelUnusable when a file it needs cannot be loaded."""
    from edge.vision.faces import weights as known

    match role:
        case known.Role.DETECTOR:
            from edge.vision.faces.detector import Detector

            return known.answer_of_detector(Detector(weights.load(role)))
        case known.Role.EMBEDDER:
            from edge.vision.faces.embedder import Embedder

            return known.answer_of_embedder(Embedder(weights.load(role)))
        case known.Role.SPOOF_NEAR | known.Role.SPOOF_FAR:
            from edge.vision.faces.liveness import SpoofCheck

            near, far = weights.load(known.Role.SPOOF_NEAR), weights.load(known.Role.SPOOF_FAR)
            return known.answer_of_spoof_check(SpoofCheck(near, far))
        case known.Role.LANDMARKS:
            from edge.vision.faces.head_turn import HeadTurn

            return known.answer_of_head_turn(HeadTurn(weights.load(role)))
        case _:
            assert_never(role)


def _readable(state: State) -> str:
    reason = "" if state.reason is msgspec.UNSET else f", {state.reason}"
    return f"{state.file} ({state.role or state.use}): {state.state}{reason}"


# --- convert ----------------------------------------------------------------------------------------------------------


def _converted(weights: Weights, model: Model) -> bytes | Refused:
    """The file made of its sources, in its place, and a line that says so, or that other bytes came of it."""
    from edge.vision.faces.conversion import onnx_of, read_network, tflite_of

    graph, values = (weights.read(part) for part in _parts(weights, model))
    layers = read_network(graph, values)
    made = _known(model, tflite_of(layers) if model.file.endswith(".tflite") else onnx_of(layers), "what came of it")
    if isinstance(made, Refused):
        made = Refused(reason=f"{made.reason}. Known to work: {model.origin.converted_with}. Here: {_versions()}")
    _take(weights.folder, model, made, "converted")
    return made


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in CONVERTERS)

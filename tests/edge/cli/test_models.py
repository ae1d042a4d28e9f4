"""Weights are brought by hash: from a folder, over a line, or made; whatever is another file leaves nothing behind."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner, Result

from edge.cli.models import commands
from edge.errors import ModelUnusable
from edge.vision.faces.weights import Role, Use
from tests.support.manifests import CONTENT, entry, file_of, write_manifest, write_weights

GIVEN = os.environ.get("DOORSTEP_MODELS")
FILES = tuple(file_of(role) for role in Role)
GRAPH = b"<graph/>"


def run(*words: str, models: Path, manifest: Path) -> Result:
    """`models` with these words."""
    app = commands(lambda _: models, manifest)
    return CliRunner().invoke(app, list(words))


def names(folder: Path) -> set[str]:
    """What lies in the folder; nothing when there is none."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Where the weights shall be; not there yet."""
    return tmp_path / "models"


# --- from a folder ----------------------------------------------------------------------------------------------------


def test_files_are_copied_by_hash_whatever_their_names(models: Path, tmp_path: Path) -> None:
    source = write_weights(tmp_path / "source")
    (source / "deep").mkdir()
    (source / file_of(Role.EMBEDDER)).rename(source / "deep" / "renamed")
    (source / "same size").write_bytes(CONTENT[Role.DETECTOR].swapcase())
    manifest = write_manifest(tmp_path / "MANIFEST.toml")
    first = run("fetch", "--from", str(source), models=models, manifest=manifest)
    assert (first.exit_code, first.output.splitlines()) == (0, [f"{file}: copied" for file in FILES])
    assert names(models) == set(FILES)
    assert (models / file_of(Role.EMBEDDER)).read_bytes() == CONTENT[Role.EMBEDDER]
    again = run("fetch", "--from", str(source), models=models, manifest=manifest)
    assert (again.exit_code, again.output.splitlines()) == (0, [f"{file}: there already" for file in FILES])


def test_another_file_of_the_name_is_refused_and_the_rest_is_brought(models: Path, tmp_path: Path) -> None:
    source = write_weights(tmp_path / "source")
    (source / file_of(Role.DETECTOR)).write_bytes(CONTENT[Role.DETECTOR].swapcase())
    (source / file_of(Role.LANDMARKS)).unlink()
    result = run("fetch", "--from", str(source), models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml"))
    assert result.exit_code == 1
    assert f"detector.bin: what is called so in {source} is another file" in result.stderr
    assert f"landmarks.bin: is not in {source}" in result.stderr
    assert names(models) == set(FILES) - {"detector.bin", "landmarks.bin"}


def test_a_damaged_file_is_replaced(models: Path, tmp_path: Path) -> None:
    write_weights(models)
    (models / file_of(Role.DETECTOR)).write_bytes(b"damaged")
    source = write_weights(tmp_path / "source")
    result = run("fetch", "--from", str(source), models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "detector.bin: copied")
    assert (models / file_of(Role.DETECTOR)).read_bytes() == CONTENT[Role.DETECTOR]


def test_a_source_that_is_no_folder_is_said_to_be_none(models: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "MANIFEST.toml")
    result = run("fetch", "--from", str(tmp_path / "none"), models=models, manifest=manifest)
    assert isinstance(result.exception, ModelUnusable)
    assert str(result.exception).endswith("none: is not a folder")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = write_weights(tmp_path / "source")
    manifest = write_manifest(tmp_path / "MANIFEST.toml")
    result = run("fetch", "--from", str(source), models=tmp_path / "file" / "models", manifest=manifest)
    assert str(result.exception) == "detector.bin: cannot be written: Not a directory"


# --- over a line ------------------------------------------------------------------------------------------------------


class Shelf(BaseHTTPRequestHandler):
    """Serves the roles' files as the class says; a name it has no bytes for is not there."""

    content: ClassVar[dict[str, bytes]] = {}
    promised: ClassVar[int | None] = None

    def do_GET(self) -> None:
        """The file, or 404; with `promised` more bytes are announced than come."""
        data = self.content.get(self.path.removeprefix("/"))
        self.send_response(404 if data is None else 200)
        if self.promised is not None:
            self.send_header("Content-Length", str(self.promised))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
            self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def shelf(promised: int | None = None, **replaced: bytes) -> Iterator[str]:
    """The address of a server with every role's file, some of them replaced by other bytes."""
    content = {file_of(role): data for role, data in CONTENT.items()} | {f"{n}.bin": d for n, d in replaced.items()}
    handler = type("OneShelf", (Shelf,), {"content": content, "promised": promised})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


def test_files_are_downloaded_from_where_they_come_from(models: Path, tmp_path: Path) -> None:
    with shelf() as address:
        result = run("fetch", models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml", address=address))
    assert (result.exit_code, result.output.splitlines()) == (0, [f"{file}: downloaded" for file in FILES])
    assert names(models) == set(FILES)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(CONTENT[Role.DETECTOR].swapcase(), "what came is another file: its SHA-256", id="other bytes"),
        pytest.param(CONTENT[Role.DETECTOR][:-1], "what came has 26 bytes, 27 are expected", id="a byte less"),
        pytest.param(CONTENT[Role.DETECTOR] + b"!", "the server gives more than 27 bytes", id="a byte more"),
        pytest.param(bytes(10_000_000), "the server gives more than 27 bytes", id="without end"),
    ],
)
def test_what_is_not_the_file_leaves_nothing(sent: bytes, reason: str, models: Path, tmp_path: Path) -> None:
    with shelf(detector=sent) as address:
        result = run("fetch", models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml", address=address))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0].startswith(f"detector.bin: {reason}")
    assert names(models) == set(FILES) - {"detector.bin"}


def test_a_line_that_breaks_leaves_nothing(models: Path, tmp_path: Path) -> None:
    with shelf(promised=1000) as address:
        result = run("fetch", models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml", address=address))
    assert result.exit_code == 1
    assert [line.partition(": ")[2][:24] for line in result.stderr.splitlines()] == ["could not be downloaded:"] * 5
    assert names(models) == set()


def test_what_is_not_there_and_nobody_who_answers(models: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "MANIFEST.toml"
    with shelf() as address:
        result = run("fetch", models=models, manifest=write_manifest(manifest, address=f"{address}/elsewhere"))
    assert result.stderr.splitlines() == [f"{file}: the server answered 404" for file in FILES]
    result = run("fetch", models=models, manifest=write_manifest(manifest, address=address))
    assert [line.partition(": ")[2][:24] for line in result.stderr.splitlines()] == ["could not be downloaded:"] * 5
    assert (result.exit_code, names(models)) == (1, set())


# --- made of others ---------------------------------------------------------------------------------------------------


def made_of_sources(path: Path, address: str) -> Path:
    """A manifest whose embedder is made of a graph, with a spare made of it as well."""
    write_manifest(path, address=address)
    text = path.read_text(encoding="utf-8")
    embedder = f'origin.address = "{address}/embedder.bin"'
    text = text.replace(embedder, 'origin.converted_from = ["graph.bin"]\norigin.converted_with = "a test"')
    graph = entry("graph.bin", GRAPH, use=Use.SOURCE, address=f"{address}/graph.bin")
    spare = entry("spare.bin", b"spare", use=Use.SPARE, address=f"{address}/spare.bin")
    path.write_text(f"{text}\n{graph}\n{spare}", encoding="utf-8")
    return path


def test_the_sources_of_what_is_made_are_downloaded_in_its_place(models: Path, tmp_path: Path) -> None:
    with shelf(graph=GRAPH, spare=b"spare") as address:
        manifest = made_of_sources(tmp_path / "MANIFEST.toml", address)
        result = run("fetch", models=models, manifest=manifest)
        assert names(models) == set(FILES) - {"embedder.bin"} | {"graph.bin"}
        assert result.exit_code == 1
        assert result.stderr.splitlines() == ["embedder.bin: is still to be made: run doorstep-edge models convert"]
        run("fetch", "--all", models=models, manifest=manifest)
        assert "spare.bin" in names(models)


def test_a_folder_that_has_what_is_made_needs_no_source(models: Path, tmp_path: Path) -> None:
    source = write_weights(tmp_path / "source")
    manifest = made_of_sources(tmp_path / "MANIFEST.toml", "https://weights.invalid")
    assert run("fetch", "--from", str(source), models=models, manifest=manifest).exit_code == 0
    (source / "embedder.bin").unlink()
    (models / "embedder.bin").unlink()
    (source / "graph.bin").write_bytes(GRAPH)
    result = run("fetch", "--from", str(source), models=models, manifest=manifest)
    assert result.stdout.splitlines()[-1] == "graph.bin: copied"
    assert result.stderr.splitlines()[-1] == "embedder.bin: is still to be made: run doorstep-edge models convert"


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="the extra convert is installed")
def test_converting_without_the_tools_is_one_line(models: Path, tmp_path: Path) -> None:
    manifest = made_of_sources(tmp_path / "MANIFEST.toml", "https://weights.invalid")
    text = manifest.read_text(encoding="utf-8").replace('["graph.bin"]', '["graph.bin", "spare.bin"]')
    manifest.write_text(text, encoding="utf-8")
    write_weights(models)
    (models / "graph.bin").write_bytes(GRAPH)
    (models / "spare.bin").write_bytes(b"spare")
    result = run("convert", models=models, manifest=manifest)
    assert isinstance(result.exception, ModelUnusable)
    assert "openvino is not installed; pip install 'doorstep[convert]'" in str(result.exception)


# --- verify -----------------------------------------------------------------------------------------------------------


def test_what_is_whole_is_sound_and_a_source_may_be_missing(models: Path, tmp_path: Path) -> None:
    write_weights(models)
    manifest = made_of_sources(tmp_path / "MANIFEST.toml", "https://weights.invalid")
    result = run("verify", models=models, manifest=manifest)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        *(f"{file_of(role)} ({role}): sound" for role in Role),
        "graph.bin (source): missing",
        "spare.bin (spare): missing",
    ]


def test_what_is_missing_or_wrong_is_told_in_json(models: Path, tmp_path: Path) -> None:
    write_weights(models)
    (models / file_of(Role.DETECTOR)).unlink()
    (models / file_of(Role.LANDMARKS)).write_bytes(b"wrong")
    result = run("verify", "--json", models=models, manifest=write_manifest(tmp_path / "MANIFEST.toml"))
    assert result.exit_code == 1
    first, *_, last = (json.loads(line) for line in result.output.splitlines())
    assert first == {"file": "detector.bin", "use": "loaded", "role": "detector", "state": "missing"}
    assert last["state"] == "wrong"
    assert last["reason"] == "has 5 bytes, 28 are expected"


def test_a_spare_of_other_bytes_is_a_failure_too(models: Path, tmp_path: Path) -> None:
    write_weights(models)
    (models / "spare.bin").write_bytes(b"spoil")
    manifest = made_of_sources(tmp_path / "MANIFEST.toml", "https://weights.invalid")
    assert run("verify", models=models, manifest=manifest).exit_code == 1


@pytest.mark.skipif(not GIVEN, reason="DOORSTEP_MODELS is not set (a folder with the weights)")
def test_the_weights_of_this_machine_are_sound_and_answer() -> None:
    result = CliRunner().invoke(commands(lambda _: Path(str(GIVEN))), ["verify", "--json"])
    states = [json.loads(line) for line in result.output.splitlines()]
    assert {state["role"]: state["state"] for state in states if state["role"]} == dict.fromkeys(Role, "sound")


@pytest.mark.skipif(not GIVEN, reason="DOORSTEP_MODELS is not set (a folder with the weights)")
def test_a_network_that_answers_garbage_is_told(tmp_path: Path) -> None:
    from edge.vision.faces.weights import MANIFEST

    other = MANIFEST.read_text(encoding="utf-8").replace("values = [0.0678,", "values = [0.5678,")
    (tmp_path / "MANIFEST.toml").write_text(other, encoding="utf-8")
    result = run("verify", "--json", models=Path(str(GIVEN)), manifest=tmp_path / "MANIFEST.toml")
    [state] = [json.loads(line) for line in result.output.splitlines() if "garbage" in line]
    assert (state["role"], state["reason"]) == ("embedder", "answers garbage: off by 0.5 where 0.001 is allowed")
    assert result.exit_code == 1


def test_the_command_line_starts_without_the_networks_libraries() -> None:
    check = (
        "import sys, edge.cli.models, edge.cli.faces;"
        "sys.exit(not {'cv2', 'numpy', 'httpx', 'ai_edge_litert'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3], check=False).returncode == 0

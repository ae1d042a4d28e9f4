"""Each half starts without the other's libraries: what its extra does not name cannot be imported in these children."""

import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_OF = {
    "opencv-python-headless": "cv2",
    "zxing-cpp": "zxingcpp",
    "sqlite-utils": "sqlite_utils",
    "paho-mqtt": "paho",
    "psycopg": "psycopg",
    "prometheus-client": "prometheus_client",
    "swagger-ui-bundle": "swagger_ui_bundle",
}
EVERY_EDGE_ROOT = (
    "import edge.app, edge.flow.serve, edge.camera.capture, edge.camera.address, edge.camera.synthetic,"
    " edge.camera.video, edge.vision.watch, edge.vision.decoder_child, edge.vision.qr, edge.link.pump,"
    " edge.link.provisioning, edge.kiosk.server, edge.db.reading, edge.hardware.clock;"
    " from edge.cli import database, provision, qr, recognise, root, status"
)


def modules_of(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        requirement.split(">")[0].split("[")[0].split("<")[0] for requirement in project["optional-dependencies"][extra]
    ]
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names}


def run_without(missing: set[str], statements: str) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(
        """
        import importlib.abc, sys
        class Absent(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in MISSING:
                    raise ModuleNotFoundError(f"{name} belongs to the other half", name=name)
        MISSING = set(sys.argv[1].split(","))
        sys.meta_path.insert(0, Absent())
        exec(sys.argv[2])
        """
    )
    return subprocess.run(
        [sys.executable, "-c", program, ",".join(sorted(missing)), statements], capture_output=True, text=True, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("half", "other", "statements"),
    [
        ("edge", "cloud", EVERY_EDGE_ROOT),
        ("cloud", "edge", "import cloud.app, cloud.broker.ingest, cloud.broker.client, cloud.cli.demo"),
    ],
)
def test_a_half_needs_nothing_of_the_other(half: str, other: str, statements: str) -> None:
    missing = (modules_of(other) - modules_of(half)) | {other}
    assert len(missing) > 5
    done = run_without(missing, statements)
    assert done.returncode == 0, done.stderr


def test_the_check_would_notice() -> None:
    assert run_without({"typer"}, "import edge.cli.root").returncode != 0

"""Nothing committed knows a machine, an index or a secret."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# Assembled, so that this file does not hold what it forbids.
FORBIDDEN_PATHS = re.compile("|".join(re.escape("/" + name + "/") for name in ("work", "farm", "root")))
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode(errors="ignore")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_packages_and_hashes_and_no_host(lock: Path) -> None:
    text = text_of(lock)
    for word in ("://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host"):
        assert word not in text
    pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)


def test_the_locks_of_the_halves_agree_with_the_whole() -> None:
    whole = set(re.findall(r"^(\S+==\S+)", text_of(ROOT / "requirements/dev.txt"), re.MULTILINE))
    for half in ("edge", "cloud"):
        part = set(re.findall(r"^(\S+==\S+)", text_of(ROOT / f"requirements/{half}.txt"), re.MULTILINE))
        assert part
        assert part <= whole


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    found = [path.name for path in tracked() if FORBIDDEN_PATHS.search(text_of(path))]
    assert found == []


def test_no_private_key_is_committed() -> None:
    assert [path.name for path in tracked() if PRIVATE_KEY.search(text_of(path))] == []


def test_no_weights_and_no_large_files_are_committed() -> None:
    weights = [path.name for path in tracked() if path.suffix in {".onnx", ".tflite", ".task", ".pt"}]
    large = [path.name for path in tracked() if path.stat().st_size > 1024 * 1024]
    assert (weights, large) == ([], [])


def test_product_code_knows_no_folder_beside_the_checkout() -> None:
    sources = tracked("edge", "cloud", "shared", "packaging", "Makefile")
    assert sources
    assert [path.name for path in sources if "../shared" in text_of(path)] == []

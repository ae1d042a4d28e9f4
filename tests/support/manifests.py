"""Folders of weights that no network could run, with the manifest that names them: for whatever only moves files."""

from hashlib import sha256
from pathlib import Path

from edge.vision.faces.weights import Role, Use

CONTENT = {role: f"the weights of the {role}".encode() for role in Role}
"""What each role's file holds."""


def entry(
    file: str, data: bytes, *, use: Use, role: Role | None = None, address: str | None = None, parts: str = ""
) -> str:
    """One model of a manifest in TOML; `parts` names the files it is made of, as TOML writes them."""
    lines = [
        "[[models]]",
        f'name = "{file}"',
        f'use = "{use}"',
        f'file = "{file}"',
        f"bytes = {len(data)}",
        f'sha256 = "{sha256(data).hexdigest()}"',
        'licence = "none"',
        'training_data = "none"',
        'card = "none.md"',
        'origin.verified = "made by a test"',
    ]
    if role is not None:
        lines.append(f'role = "{role}"')
    if address is not None:
        lines.append(f'origin.address = "{address}"')
    if parts:
        lines += [f"origin.converted_from = [{parts}]", 'origin.converted_with = "a test"']
    return "\n".join(lines) + "\n"


def file_of(role: Role) -> str:
    """The name of the role's file."""
    return f"{role}.bin"


def write_manifest(path: Path, *, address: str = "https://weights.invalid", more: str = "") -> Path:
    """A manifest with every role, each file at the address under its own name."""
    models = [
        entry(file_of(role), data, use=Use.LOADED, role=role, address=f"{address}/{file_of(role)}")
        for role, data in CONTENT.items()
    ]
    path.write_text("\n".join([*models, more]), encoding="utf-8")
    return path


def write_weights(folder: Path) -> Path:
    """A folder with every role's file as the manifest knows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, data in CONTENT.items():
        (folder / file_of(role)).write_bytes(data)
    return folder

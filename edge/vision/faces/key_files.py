"""The two files that hold what opens templates: this kiosk's sealing key, and its group's secret.

Each is replaced whole: written beside, synced, renamed; what the old one held is overwritten where it lay, as far as
the file system does that in place (a flash card may keep an old block until it needs it).
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
from msgspec import Meta

from edge.errors import StorageDamaged, StorageFull
from edge.vision.faces.intake import Partner
from edge.vision.faces.sealing import SECRET_BYTES, Listed
from shared.biometrics import KIOSKS_MAX, PARTNERS_MAX
from shared.decoding import UNREADABLE

PREVIOUS_MAX: Final = 4
"""Secrets kept while templates under them may still come; a store that changes its secret oftener in a day enrols."""

_SEALING: Final = "sealing.key"
_GROUP: Final = "group.secret"
_SECRET = Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class GroupFile(msgspec.Struct, frozen=True, kw_only=True):
    """The group as this kiosk knows it: its secrets, newest first, its other kiosks, and other stores' groups.

    `store` and `device` say where and for whom it was: a kiosk that moves to another store takes nothing along.
    `generation` counts the group's secrets. Without `secrets` there is no group.
    """

    store: str
    device: str
    generation: Annotated[int, Meta(ge=1, le=2**53)]
    secrets: Annotated[tuple[_SECRET, ...], Meta(min_length=1, max_length=1 + PREVIOUS_MAX)]
    others: Annotated[tuple[Listed, ...], Meta(max_length=KIOSKS_MAX)]
    partners: Annotated[tuple[Partner, ...], Meta(max_length=PARTNERS_MAX)] = ()

    def __repr__(self) -> str:
        return f"GroupFile({self.generation}, {len(self.others)} others)"


class KeyFiles:
    """The files in their folder, which exists."""

    def __init__(self, folder: Path) -> None:
        self._sealing = folder / _SEALING
        self._group = folder / _GROUP

    def load_sealing(self) -> bytes | None:
        """The sealing key's 32 bytes, None before it was made. Raises: StorageDamaged."""
        raw = _read(self._sealing)
        if raw is not None and len(raw) != SECRET_BYTES:
            raise StorageDamaged(f"{_SEALING} does not hold a key")
        return raw

    def save_sealing(self, private: bytes) -> None:
        """The sealing key is on the disk. Raises: StorageFull."""
        _replace(self._sealing, private)

    def load_group(self) -> GroupFile | None:
        """The group, None when there is none. Raises: StorageDamaged."""
        raw = _read(self._group)
        if not raw:  # an empty file: the power went while it was being removed
            return None
        try:
            return msgspec.msgpack.decode(raw, type=GroupFile)
        except UNREADABLE as error:
            raise StorageDamaged(f"{_GROUP} cannot be read") from error

    def save_group(self, group: GroupFile) -> None:
        """The group is on the disk. Raises: StorageFull."""
        _replace(self._group, msgspec.msgpack.encode(group))

    def remove_group(self) -> None:
        """There is no group's secret on the disk."""
        if self._group.exists():
            _replace(self._group, b"")  # overwrites the old one
            self._group.unlink()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageDamaged(f"{path.name} cannot be read") from error


def _replace(path: Path, data: bytes) -> None:
    try:
        with path.open("r+b") if path.exists() else nullcontext() as old:
            beside = path.with_name(f"{path.name}.new")
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                _write(file, data)
            beside.replace(path)
            _sync_folder(path.parent)
            if old is not None:
                _write(old, bytes(os.fstat(old.fileno()).st_size))
    except OSError as error:
        raise StorageFull(f"{path.name} cannot be written") from error


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

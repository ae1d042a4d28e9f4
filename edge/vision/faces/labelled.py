"""A gallery of people with names, in one file: for trying recognition out on a technician's machine.

A kiosk keeps none: its templates are sealed and its members are pseudonyms. The file holds templates as plain numbers,
so it is for pictures of people who agreed to that.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.match import Comparison
from edge.errors import SettingsWrong
from edge.vision.faces.arrays import write_arrays
from edge.vision.faces.embedder import SIZE
from edge.vision.faces.gallery import MEMBERS_MAX, Gallery, GalleryEntry, pack
from shared.ids import MEMBER_ID_BYTES, MemberId

LABEL_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledGallery:
    """Templates and whose they are."""

    gallery: Gallery
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """See Gallery."""
        return self.gallery.compare(probe, probes)

    def label_of(self, member: MemberId) -> str:
        """The person's name."""
        return self.labels[int.from_bytes(member)]


def save_labelled(path: Path, people: Mapping[str, NDArray[np.float32]], embedder: bytes) -> None:
    """Writes each person's template, whole or not at all. Raises: SettingsWrong when the file cannot be written.

    Shape and dtype: (256,) float32. `embedder` is the identity of the network that made them.
    """
    vectors = np.array(list(people.values()), np.float32).reshape(-1, SIZE)
    write_arrays(
        path,
        labels=np.array(list(people), dtype=str),
        templates=vectors,
        embedder=np.frombuffer(embedder, np.uint8),
    )


def load_labelled(path: Path, embedder: bytes) -> LabelledGallery:
    """The gallery in the file. Raises: SettingsWrong when it is none, or was made with another embedder."""
    try:
        with np.load(path, allow_pickle=False) as held:
            labels, templates, made_with = held["labels"], held["templates"], held["embedder"]
    except OSError as fault:
        raise SettingsWrong(f"{path} cannot be read: {fault.strerror or 'it holds no arrays'}") from fault
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as fault:
        raise SettingsWrong(f"{path} is no gallery of doorstep-edge faces enrol") from fault
    if not _is_sound(labels, templates):
        raise SettingsWrong(f"{path} is no gallery of doorstep-edge faces enrol")
    if made_with.tobytes() != embedder:
        raise SettingsWrong(f"{path} was made with another embedder; enrol again")
    gallery = Gallery()
    gallery.replace(
        [
            GalleryEntry(member=MemberId(row.to_bytes(MEMBER_ID_BYTES)), template=pack(vector))
            for row, vector in enumerate(templates)
        ]
    )
    return LabelledGallery(gallery=gallery, labels=tuple(str(label) for label in labels))


def _is_sound(labels: NDArray[np.generic], templates: NDArray[np.generic]) -> bool:
    """Whether the arrays are what `save_labelled` writes."""
    return (
        labels.ndim == 1
        and labels.dtype.kind == "U"
        and templates.shape == (len(labels), SIZE)
        and templates.dtype == np.float32
        and len(labels) <= MEMBERS_MAX
        and all(len(str(label)) <= LABEL_LENGTH_MAX for label in labels)
        and bool(np.all(np.isfinite(templates)))
        and bool(np.all(np.any(templates != 0, axis=1)))
    )

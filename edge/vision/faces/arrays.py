"""Arrays in a file for technicians: whole or not at all."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import SettingsWrong


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:  # Any: each array has a dtype of its own
    """The named arrays are in the file (NumPy's .npz) and on the disk. Raises: SettingsWrong, and nothing changed."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        try:
            with fresh.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as fault:
        raise SettingsWrong(f"{path} cannot be written: {fault.strerror}") from fault

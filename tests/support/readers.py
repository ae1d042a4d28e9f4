"""Readers that misbehave, for the decoder's child process to run in place of the real one.

A frame whose first pixel is TRIGGER makes them misbehave; any other frame they answer like an honest reader.
"""

import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.vision.codes import Code, Effort

TRIGGER = 7
Gray = NDArray[np.uint8]


def stalls(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """Never comes back."""
    if gray[0, 0] == TRIGGER:
        signal.pause()
    return _honest("read")


def dies(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """Is killed with the frame in its hands."""
    if gray[0, 0] == TRIGGER:
        os.kill(os.getpid(), signal.SIGKILL)
    return _honest("read")


def raises(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """Fails like a library does."""
    if gray[0, 0] == TRIGGER:
        raise RuntimeError
    return _honest("read")


def grows(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """Takes more memory than it may."""
    if gray[0, 0] == TRIGGER:
        np.ones(256 * 1024 * 1024, dtype=np.uint8)
    return _honest("read")


def babbles(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """Answers with more codes than there may be."""
    return _honest("read") * (9 if gray[0, 0] == TRIGGER else 1)


def tells(gray: Gray, *, effort: Effort, wanted: str) -> tuple[Code, ...]:
    """What the child was told and what it could do, one text each."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return (
        *_honest(f"effort {effort}"),
        *_honest(f"wanted {wanted}"),
        *_honest(f"may write {gray.flags.writeable}"),
        *_honest(f"environment {_environment()}"),
        *_honest(f"no new privileges {status['NoNewPrivs'].strip()}"),
        *_honest(f"core {resource.getrlimit(resource.RLIMIT_CORE)[1] in (0, 1)}"),
        *_honest(f"descriptors {_kinds_of_descriptors()}"),
        *_honest(f"libraries {'cv2' in sys.modules}"),
    )


def _environment() -> str:
    """The names this process was started with; what libraries add later is not in this file."""
    entries = Path("/proc/self/environ").read_text(encoding="utf-8").split("\0")
    return " ".join(sorted(entry.split("=")[0] for entry in entries if entry))


def _kinds_of_descriptors() -> str:
    """What this process has open, sorted, the folder that was opened to look left out."""
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]  # noqa: PTH115, PTH208 - names of descriptors, not files
    return " ".join(sorted(link.split(":")[0] for link in links))


def _is_open(name: str) -> bool:
    """Whether the descriptor is still there."""
    return os.path.lexists(f"/proc/self/fd/{name}")


def _honest(text: str) -> tuple[Code, ...]:
    """One code with this text."""
    return (Code(text=text, centre_x=0.0, centre_y=0.0, side=1.0),)

"""The child half of decoder.py: takes a frame, answers with its codes, and can do nothing else.

Before the first frame it gives up what it does not need. It is never told to end: it ends when its parent closes the
socket or dies, and is killed when it is late.
"""

import ctypes
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.vision.codes import Code, Effort
from edge.vision.decoder_wire import READY, SLOT_BYTES, Answer, Request

MEMORY_HEADROOM_BYTES: Final = 64 * 1024 * 1024
"""Address space above what the libraries take at the start (295 MiB on x86-64, most of it never touched). Full passes
over the worst frames that fit the slot (noise, 4K) were measured to add 12 MiB."""
DESCRIPTORS_MAX: Final = 16
"""Standard streams, socket, slot, and two for the moment in which standard error is turned away."""
CORE_BYTES_MAX: Final = 1
"""A core dump would hold a frame. 0 stops only dumps to files; 1 is the kernel's word for none at all, collectors that
read from a pipe included (fs/coredump.c)."""
REQUEST_BYTES_MAX: Final = 4096
PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38


class Reader(Protocol):
    """What edge.vision.qr.read_codes is."""

    def __call__(self, gray: NDArray[np.uint8], *, effort: Effort, wanted: str) -> tuple[Code, ...]:
        """The codes in the picture."""
        ...


def main(arguments: list[str]) -> None:
    """Returns when the parent has closed the socket."""
    connection, slot, parent, reader, wanted = arguments
    _die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    cv2.setNumThreads(1)
    read = _reader(reader)
    with mmap.mmap(int(slot), SLOT_BYTES, prot=mmap.PROT_READ) as memory:
        os.close(int(slot))
        with socket.socket(fileno=int(connection)) as line:
            _give_up()
            _serve(line, memory, lambda gray, effort: read(gray, effort=effort, wanted=wanted))


def _die_with(parent: int) -> None:
    """This process ends when its parent does, however that happens."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(1)


def _give_up() -> None:
    """No new privileges, no new files, no core dump with a frame in it, and an end to memory."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + MEMORY_HEADROOM_BYTES
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, CORE_BYTES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS_MAX),
    ):
        _, hard = resource.getrlimit(limit)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))


def _prctl(option: int, value: int) -> None:
    """The kernel has taken the option. Raises: OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _reader(name: str) -> Reader:
    """The function called "module:function"."""
    module, function = name.split(":")
    reader: Reader = getattr(importlib.import_module(module), function)
    return reader


def _serve(
    line: socket.socket, memory: mmap.mmap, read: Callable[[NDArray[np.uint8], Effort], tuple[Code, ...]]
) -> None:
    """Answers until the parent closes the line. An error of the reader ends the process; the parent starts another."""
    requests = msgspec.msgpack.Decoder(Request)
    line.send(READY)
    while data := line.recv(REQUEST_BYTES_MAX):
        request = requests.decode(data)
        pixels = np.frombuffer(memory, dtype=np.uint8, count=request.height * request.width)
        codes = read(pixels.reshape(request.height, request.width), request.effort)
        del pixels  # a view kept to the end would hold the mapping open
        line.send(msgspec.msgpack.encode(Answer(sequence=request.sequence, codes=codes)))


if __name__ == "__main__":
    main(sys.argv[1:])

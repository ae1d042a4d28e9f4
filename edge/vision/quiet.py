"""Keeps C libraries from writing on the terminal: libpng, OpenCV and libzbar print to file descriptor 2 themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches file descriptor 2 inside the block.

    Limits: the descriptor belongs to the process, so other threads are silent as well.
    """
    try:
        kept = os.dup(STDERR)
    except OSError:  # started without a standard error: there is nothing to keep quiet
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)

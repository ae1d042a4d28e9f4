"""Ties a process's life to its parent's, which Linux does for whoever asks (prctl(2))."""

import ctypes
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def end_with_parent() -> None:
    """The process is told to end (SIGTERM) when its parent is gone, however that came.

    Without it a supervisor that was killed leaves an agent behind, and the next one starts a second on the same
    database. Limits: the parent is the thread that started the process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

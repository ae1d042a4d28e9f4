"""Protocols for what a test machine lacks: a camera, a line to the cloud, a screen, a trusted clock, a watchdog.

Persistence has none: SQLite in a temporary folder is fast and real.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from edge.core.clock import RawTime
from edge.core.screen import Screen, Status
from shared.topics import Up

if TYPE_CHECKING:
    # Arrays are named here and made elsewhere: the processes without a camera never load numpy.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of the door: pixels (H, W, 3) uint8 BGR, monotonic timestamp in ns, sequence number from 1."""

    pixels: "NDArray[np.uint8]"
    captured_ns: int
    sequence: int


class Camera(Protocol):
    """A source of frames, chosen by address."""

    @property
    def address(self) -> str:
        """The address it was opened by."""
        ...

    def open(self) -> None:
        """Makes the source ready. Raises: CameraUnavailable."""
        ...

    def read(self, timeout_s: float) -> Frame:
        """The next frame. Raises: CameraLost when none came in time, EndOfStream when a finite source is over."""
        ...

    def close(self) -> None:
        """Lets go of the device; closing twice is harmless."""
        ...

    def __enter__(self) -> Self:
        """Opens it."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Closes it."""
        ...


class Clock(Protocol):
    """The machine's clocks."""

    def read(self) -> RawTime:
        """All clocks, read together."""
        ...


class Link(Protocol):
    """The line to the cloud as the agent sees it."""

    def publish(self, kind: Up, data: bytes) -> None:
        """Sends, or drops when there is no connection."""
        ...


class Display(Protocol):
    """The kiosk's screen."""

    def show(self, screen: Screen, status: Status, seconds: float) -> None:
        """Replaces what is shown, for so long (0: until replaced)."""
        ...


class Watchdog(Protocol):
    """Whoever restarts a process that hangs."""

    def ready(self) -> None:
        """The process serves from now on."""
        ...

    def alive(self) -> None:
        """The main loop came round and found its parts well."""
        ...

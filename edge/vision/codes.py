"""What a picture said: the values the reader, its child process and the commands exchange.

Kept apart from the reader so that the process that owns the child need not load the decoding libraries.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CODES_MAX: Final = 8
"""Codes of one frame. A door shows a phone or two and perhaps a poster; more is an attack on the time of whoever checks
them."""


class Effort(StrEnum):
    """How much one frame is worth."""

    QUICK = "quick"
    """One pass: every frame at the door."""
    FULL = "full"
    """All retries: a frame in which somebody holds a code still and the quick pass saw none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One QR code as it was read. The text is hostile until its prefix, length and signature were checked."""

    text: str
    centre_x: float
    """Pixels of the picture that was given."""
    centre_y: float
    side: float
    """Mean length of the symbol's four sides, in pixels of the picture that was given."""

    def scaled(self, factor: float) -> "Code":
        """The same code in a picture `factor` times the size."""
        return Code(
            text=self.text,
            centre_x=self.centre_x * factor,
            centre_y=self.centre_y * factor,
            side=self.side * factor,
        )

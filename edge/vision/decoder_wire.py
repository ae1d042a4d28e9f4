"""What the decoder and its child say to each other: one request and one answer a frame, over a packet socket.

The frame itself lies in shared memory. The parent treats every answer as hostile, so the types carry their bounds.
"""

from typing import Annotated, Final

import msgspec

from edge.vision.codes import CODES_MAX, Code, Effort

SLOT_BYTES: Final = 3840 * 2160
"""One grey 4K frame, the largest a camera of ours gives."""
READY: Final = b"ready"
ANSWER_BYTES_MAX: Final = 128 * 1024
"""Eight codes of at most 7,089 characters (ISO/IEC 18004, version 40-L, digits), in UTF-8, and their places."""

Texts = Annotated[tuple[Code, ...], msgspec.Meta(max_length=CODES_MAX)]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Read the frame in the slot."""

    sequence: int
    height: int
    width: int
    effort: Effort


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the frame held."""

    sequence: int
    codes: Texts

"""The small typed messages between the device's own processes. No frame, no crop and no array among them.

Everybody speaks to `agent` on one Unix socket: a process says who it is with its first message and then sends and
receives the messages of its role. Bytes on the socket are a 4-byte big-endian length and a msgpack body.
"""

import msgspec

from edge.core.screen import Screen, Status
from shared.topics import Down, Up

MESSAGE_BYTES_MAX = 1024 * 1024  # a roster page is about 90 kB; nothing of ours comes near
CODES_MAX = 8
TEXT_LENGTH_MAX = 300


class VisionHello(msgspec.Struct, frozen=True, tag="vision"):
    """`vision` is here."""


class CodesSeen(msgspec.Struct, frozen=True, kw_only=True, tag="codes"):
    """Texts of the QR codes in one frame, at most CODES_MAX, each cut to TEXT_LENGTH_MAX + 1 characters.

    Sent for every decoded frame that holds a code; the visit rules decide what is new. `captured_ns` and `seen_ns`
    are monotonic: when the frame was taken and when its codes were read.
    """

    texts: tuple[str, ...]
    sequence: int
    captured_ns: int
    seen_ns: int


class ViewClear(msgspec.Struct, frozen=True, kw_only=True, tag="clear"):
    """A frame was read and held no code; sent once each time the view becomes clear."""

    sequence: int
    captured_ns: int


class CameraSeen(msgspec.Struct, frozen=True, kw_only=True, tag="camera"):
    """The camera's state as `vision` sees it, sent when it changes. `decoder_restarts` counts killed QR decoders."""

    live: bool
    decoder_restarts: int


class LinkHello(msgspec.Struct, frozen=True, tag="link"):
    """`link` is here and asks who it speaks for."""


class LinkUp(msgspec.Struct, frozen=True, tag="up"):
    """The broker accepted the connection and the subscription."""


class LinkDown(msgspec.Struct, frozen=True, kw_only=True, tag="down"):
    """The connection is gone."""

    reason: str


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag="heard"):
    """A message for this device arrived; `number` is repeated in HeardDone once it is stored."""

    number: int
    kind: Down
    data: bytes


class WebHello(msgspec.Struct, frozen=True, tag="web"):
    """`web` is here and wants every screen from now on, the present one first."""


class StatusAsked(msgspec.Struct, frozen=True, tag="status?"):
    """A command line asks how the agent is."""


class LinkWelcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """Whom `link` speaks for, and the will it leaves with the broker (the payload of `up/state`)."""

    device: str
    will: bytes


class Publish(msgspec.Struct, frozen=True, kw_only=True, tag="publish"):
    """Send this upward now; when there is no connection it is dropped, the agent's own clock will ask again."""

    kind: Up
    data: bytes


class HeardDone(msgspec.Struct, frozen=True, kw_only=True, tag="heard!"):
    """What was heard under this number is stored (or was not for us): the broker may forget it."""

    number: int


class ScreenShown(msgspec.Struct, frozen=True, kw_only=True, tag="screen"):
    """The screen to show from now on, for `seconds` (0: until the next). `serial` grows by one."""

    serial: int
    screen: Screen
    status: Status
    seconds: float


class StatusTold(msgspec.Struct, frozen=True, kw_only=True, tag="status!"):
    """How the agent is; what `doorstep-edge status --json` prints."""

    device: str
    store: str | None
    epoch: int
    online: bool
    clock_trust: str
    business_day: str | None
    policy_version: int
    claims_today: int
    claims_total: int
    visits_waiting: int
    outbox_waiting: int
    oldest_waiting_s: int | None
    rejected: int
    allotment_left: int
    roster: int
    camera_live: bool
    decoder_restarts: int
    screen: str


ToAgent = (
    VisionHello | CodesSeen | ViewClear | CameraSeen | LinkHello | LinkUp | LinkDown | Heard | WebHello | StatusAsked
)
FromAgent = LinkWelcome | Publish | HeardDone | ScreenShown | StatusTold

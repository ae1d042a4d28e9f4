"""What the kiosk's screen is told about its place: where it listens, in which languages it speaks, who may ask."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KioskOptions:
    """The settings of the process `web`.

    `languages` in the order they are shown, the kiosk's own first; each has a file in `words`. `allowed_hosts` are
    host names and addresses, without a port, that a request may name besides loopback and `host` itself.
    `privacy_address` is shown under the privacy notice as the place of the full one. Port 0 takes any free one. With
    `touch` taps on the screen are passed on to the agent; without, the page answers nothing but GET.
    """

    agent_socket: str
    host: str = "127.0.0.1"
    port: int = 8090
    languages: tuple[str, ...] = ("en", "it")
    allowed_hosts: tuple[str, ...] = ()
    privacy_address: str | None = None
    touch: bool = False
    streams_max: int = 16  # one screen, a few staff and spares; a screen that cannot connect shows its fault screen
    heartbeat_s: float = 15.0  # the page gives a silent stream up after three
    stalled_max_s: float = 30.0  # a reader that takes nothing for so long is cut off by the kernel

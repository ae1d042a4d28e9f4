"""`doorstep-edge events`: what happened to this device that a technician may want to know."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge.cli.root import Home
from edge.core.device_events import DeviceEvent

NEWEST_DEFAULT = 100


def command(file_of: Callable[[Path | None], Path]) -> Callable[..., None]:
    """The command, told where the device events of a device's folder are."""

    def events(
        newest: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = NEWEST_DEFAULT,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        home: Home = None,
    ) -> None:
        """List what happened to the device, oldest first: line, camera, clock, storage, recoveries."""
        from edge.db.device_events import newest_events

        for event in newest_events(file_of(home), newest):
            typer.echo(msgspec.json.encode(event) if as_json else _readable(event))

    return events


def _readable(event: DeviceEvent) -> str:
    """One line; without a known time, the uptime and the boot it counts in."""
    if event.at_ms is None:
        when = f"{event.uptime_ms // 1000:>14} s up ({event.boot[:8]})"
    else:
        when = datetime.fromtimestamp(event.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{when:27}{event.kind:17}{event.detail}".rstrip()

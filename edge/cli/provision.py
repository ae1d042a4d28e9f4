"""`doorstep-edge provision`: a claim code becomes an identity, with keys that never leave the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edge.cli.root import Home
from edge.errors import ProvisioningFailed

if TYPE_CHECKING:
    from edge.link.provisioning import Provisioned

    Keep = Callable[[Path | None, str, Provisioned], Path]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `--json`: first the fingerprint to confirm, then that the device is certified."""

    event: str
    device: str
    fingerprint: str


def command(is_provisioned: Callable[[Path | None], bool], keep: Keep) -> Callable[..., None]:
    """The command, told whether a folder holds a device already and how to keep a new one."""

    def provision_device(
        cloud: Annotated[str, typer.Option(help="The cloud's address, https://…")],
        code: Annotated[str, typer.Option(help="The claim code of the store.", prompt=True)],
        wait_s: Annotated[float, typer.Option(help="How long to wait for the confirmation.")] = 600.0,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        home: Home = None,
    ) -> None:
        """Make this machine a kiosk of the store that the code belongs to."""
        from edge.link.provisioning import provision  # the HTTP client takes half a second no other command needs

        if is_provisioned(home):
            raise ProvisioningFailed("this folder holds a provisioned device already")

        def show(device: str, fingerprint: str) -> None:
            if as_json:
                typer.echo(msgspec.json.encode(Shown(event="claimed", device=device, fingerprint=fingerprint)))
            else:
                typer.echo(
                    f"device      {device}\nfingerprint {fingerprint}\nwaiting until it is confirmed in the cloud …"
                )

        provisioned = provision(cloud.rstrip("/"), code, show_fingerprint=show, wait_s=wait_s)
        place = keep(home, cloud.rstrip("/"), provisioned)
        if as_json:
            done = Shown(event="certified", device=provisioned.device, fingerprint=provisioned.keys.fingerprint)
            typer.echo(msgspec.json.encode(done))
        else:
            typer.echo(f"certified: {provisioned.certified.store_name} ({place})")

    return provision_device

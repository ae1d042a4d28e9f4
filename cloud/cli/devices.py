"""`doorstep-cloud claim-code` and `doorstep-cloud devices`: bringing kiosks in and shutting them out."""

import json
from datetime import datetime
from typing import Annotated

import typer

from cloud.cli.place import NotThere, Tools

DEVICES_MAX = 100_000  # in one list; a larger fleet is read through the API, page by page


def add_claim_code(commands: typer.Typer, tools: Tools) -> None:
    """Adds the command."""

    @commands.command("claim-code")
    def claim_code(
        store: Annotated[str, typer.Option(help="The store whose kiosk will be claimed.")],
        as_json: Annotated[bool, typer.Option("--json")] = False,
    ) -> None:
        """Issue a code with which one kiosk is claimed within the hour, and print it, this once."""
        from cloud.devices.actions import issue_claim_code
        from cloud.devices.rules import CODE_LIFE, DeviceRefusal
        from cloud.kit.database import writing
        from shared.ids import StoreId
        from shared.provisioning import format_code

        keyring, now = tools.place.open_keyring(), tools.clock()
        with tools.place.open_database() as engine, writing(engine) as connection:
            code = issue_claim_code(connection, keyring, StoreId(store), now, tools.random)
        if isinstance(code, DeviceRefusal):
            raise NotThere(f"no such store: {store}")
        text, expires = format_code(code), now + CODE_LIFE
        said = {"code": text, "store": store, "expires_at": expires.isoformat()}
        typer.echo(json.dumps(said) if as_json else f"{text}\ngood for one kiosk until {expires:%H:%M} UTC")


def device_commands(tools: Tools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="The kiosks of this cloud.", no_args_is_help=True)
    _add_views(group, tools)
    _add_doors(group, tools)
    return group


def _add_views(group: typer.Typer, tools: Tools) -> None:
    """Adds what only looks."""

    @group.command("list")
    def list_devices(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
        """List the kiosks."""
        from cloud.devices.queries import certificate_ends, devices_after, set_aside_of, statuses_of
        from cloud.devices.schemas import DeviceView
        from cloud.kit.database import reading

        with tools.place.open_database() as engine, reading(engine) as connection:
            devices = devices_after(connection, "", DEVICES_MAX, None)
            ids = [device.id for device in devices]
            statuses, ends = statuses_of(connection, ids), certificate_ends(connection, ids)
            aside = set_aside_of(connection, ids)
        now = tools.clock()
        for device in devices:
            view = DeviceView.of(device, statuses.get(device.id), ends.get(device.id), aside.get(device.id, ()))
            line = "online" if view.online else "never seen" if view.seen_at is None else f"seen {view.seen_at:%F %R}"
            until = _until(view.certificate_expires_at, now)
            shown = f"{view.id}  {view.store:20}{view.standing.value:9}{view.fingerprint}  {until:30}{line}"
            typer.echo(view.model_dump_json() if as_json else shown)
            for epoch in () if as_json else view.set_aside:
                typer.echo(f"  epoch {epoch.epoch} set aside {epoch.since:%F %R}: a cloned card, or an image put back")

    @group.command("rabbitmq")
    def show_definitions() -> None:
        """Print who may do what on a RabbitMQ cluster, for its own `rabbitmqctl import_definitions`."""
        from cloud.broker.rabbitmq import render_definitions
        from cloud.devices.queries import active_devices
        from cloud.kit.database import reading

        with tools.place.open_database() as engine, reading(engine) as connection:
            typer.echo(render_definitions(active_devices(connection)), nl=False)

    @group.command("group")
    def show_group(
        store: Annotated[str, typer.Argument(help="The store whose kiosks share a secret for faces.")],
        as_json: Annotated[bool, typer.Option("--json")] = False,
    ) -> None:
        """Show which kiosks of a store can recognise its members, and how many sealed templates they are given."""
        from cloud.catalogue.queries import store_by_id
        from cloud.devices.queries import group_state
        from cloud.devices.schemas import GroupView
        from cloud.kit.database import reading
        from shared.ids import StoreId

        with tools.place.open_database() as engine, reading(engine) as connection:
            if store_by_id(connection, StoreId(store)) is None:
                raise NotThere(f"no such store: {store}")
            view = GroupView.of(group_state(connection, StoreId(store)))
        if as_json:
            typer.echo(view.model_dump_json())
            return
        typer.echo(f"secret {view.key or 'not made yet'}, {view.templates} sealed templates")
        for kiosk in view.kiosks:
            told = "never told" if kiosk.told_at is None else f"told {kiosk.told_at:%F %R}"
            typer.echo(f"{kiosk.id}  {'has the secret' if kiosk.has_secret else 'must be admitted':18}{told}")


def _add_doors(group: typer.Typer, tools: Tools) -> None:
    """Adds what lets a kiosk in and shuts it out."""

    @group.command("confirm")
    def confirm(device: str, fingerprint: str) -> None:
        """Certify the kiosk whose screen shows this fingerprint."""
        from cloud.cli.access import refresh_access
        from cloud.devices.actions import confirm_device
        from cloud.devices.rules import DeviceRefusal
        from cloud.kit.database import writing
        from shared.ids import DeviceId

        keyring, now = tools.place.open_keyring(), tools.clock()
        with tools.place.open_database() as engine:
            with writing(engine) as connection:
                done = confirm_device(connection, keyring, DeviceId(device), fingerprint, now, tools.certificate_life)
            if isinstance(done, DeviceRefusal):
                raise NotThere(done.value.replace("_", " "))
            refresh_access(engine, keyring, tools.place, now)
        typer.echo(f"confirmed; certificate good until {done.expires_at:%F}")

    @group.command("revoke")
    def revoke(device: str) -> None:
        """Shut a kiosk out for good."""
        from cloud.cli.access import refresh_access
        from cloud.devices.actions import revoke_device
        from cloud.devices.rules import DeviceRefusal
        from cloud.kit.database import writing
        from shared.ids import DeviceId

        keyring, now = tools.place.open_keyring(), tools.clock()
        with tools.place.open_database() as engine:
            with writing(engine) as connection:
                done = revoke_device(connection, DeviceId(device), now)
            if isinstance(done, DeviceRefusal):
                raise NotThere(done.value.replace("_", " "))
            refresh_access(engine, keyring, tools.place, now)
        typer.echo("revoked")


def _until(end: datetime | None, now: datetime) -> str:
    """What the list says of a certificate."""
    if end is None:
        return "no certificate"
    return f"certificate {'until' if end > now else 'ended'} {end:%F}"

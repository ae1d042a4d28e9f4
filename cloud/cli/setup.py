"""`doorstep-cloud init`: all that an installation consists of, made once. The same again changes nothing."""

import getpass
from typing import Annotated

import typer

from cloud.cli.place import Tools

LOCAL_NAMES = ("localhost", "127.0.0.1")


def add_init(commands: typer.Typer, tools: Tools, *, broker_port: int) -> None:
    """Adds the command."""

    @commands.command("init")
    def init(
        name: Annotated[
            list[str] | None, typer.Option(help="A host name or address this cloud is reached by; may be repeated.")
        ] = None,
        broker_host: Annotated[str, typer.Option(help="The address the broker listens on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option("--broker-port", min=1, max=65535)] = broker_port,
    ) -> None:
        """Make the home folder, the keys, the database and the broker's configuration."""
        for line in make_installation(tools, names=(*LOCAL_NAMES, *(name or ())), host=broker_host, port=port):
            typer.echo(line)


def make_installation(tools: Tools, *, names: tuple[str, ...], host: str, port: int) -> list[str]:
    """What was made or found, a line each."""
    from cloud.broker.mosquitto import render_configuration, write_atomically
    from cloud.cli.access import refresh_access
    from cloud.kit.keyring import create_keyring, renew_servers

    place, now = tools.place, tools.clock()
    place.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"home      {place.home}"]
    if place.keys.exists():
        renewed = renew_servers(place.keys, names, now)
        lines.append(f"keys      {'kept; server certificates made anew' if renewed else 'kept'}")
        keyring = place.open_keyring()
    else:
        keyring = create_keyring(place.keys, names, now)
        lines.append("keys      made; root.key is needed no more: carry it to a place without a network")
    with place.open_database() as engine:
        refresh_access(engine, keyring, place, now)
    lines.append("database  ready")
    files = place.broker_files()
    files.storage.mkdir(mode=0o700, exist_ok=True)
    text = render_configuration(files, host=host, port=port, user=getpass.getuser())
    write_atomically(files.configuration, text)
    lines.append(f"broker    mosquitto -c {files.configuration}")
    return lines

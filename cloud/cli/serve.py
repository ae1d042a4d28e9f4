"""`doorstep-cloud serve`: the API, the member page and the broker's messages, in one process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from shared.brokers import MqttVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where the service listens and where the broker is.

    `names` are what members and devices call this machine; they go into its certificate. `broker_host` is None
    for an API without kiosks, and else may name several nodes of one broker (`a,b:8884`); `device_broker_host` is the
    broker's address as devices see it, None for the same. `mqtt_version` is what the broker speaks.
    """

    host: str
    port: int
    names: tuple[str, ...]
    broker_host: str | None
    broker_port: int
    device_broker_host: str | None
    broker_pid_file: Path
    mqtt_version: MqttVersion
    log_level: str


def add_serve(commands: typer.Typer, defaults: ServeOptions, serve: Callable[[ServeOptions], None]) -> None:
    """Adds the command; `serve` does it, and returns when it is told to stop."""

    @commands.command("serve")
    def serve_command(
        host: Annotated[str, typer.Option(help="The address to listen on.")] = defaults.host,
        port: Annotated[int, typer.Option(min=0, max=65535)] = defaults.port,
        name: Annotated[
            list[str] | None, typer.Option(help="A name or address this machine is reached by; may be repeated.")
        ] = None,
        broker_host: Annotated[
            str | None,
            typer.Option(help="Where the broker is, a cluster's nodes with commas; without one the API serves alone."),
        ] = defaults.broker_host,
        broker_port: Annotated[int, typer.Option(min=1, max=65535)] = defaults.broker_port,
        device_broker_host: Annotated[
            str | None, typer.Option(help="Where devices find the broker, if not where we do.")
        ] = defaults.device_broker_host,
        broker_pid_file: Annotated[
            Path, typer.Option(help="Holds the broker's process number, so that it is told of revocations.")
        ] = defaults.broker_pid_file,
        mqtt_version: Annotated[
            MqttVersion, typer.Option(help="What the broker speaks; clusters often know 3.1.1 only.")
        ] = defaults.mqtt_version,
        log_level: Annotated[str, typer.Option()] = defaults.log_level,
    ) -> None:
        """Serve until interrupted."""
        names = (*defaults.names, *(name or ()))
        options = ServeOptions(
            host=host,
            port=port,
            names=names,
            broker_host=broker_host,
            broker_port=broker_port,
            device_broker_host=device_broker_host,
            broker_pid_file=broker_pid_file,
            mqtt_version=mqtt_version,
            log_level=log_level.upper(),
        )
        serve(options)

"""`doorstep-cloud work`: one more worker on the broker's messages, beside the service, here or on another machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from cloud.cli.serve import ServeOptions

NUMBER_MAX: Final = 64
"""`cloud.broker.mosquitto.WORKERS_MAX`, written down once more because asking for help must not import a broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """Which worker this is, from 2 on, and where the broker is."""

    number: int
    broker_host: str
    broker_port: int
    log_level: str


def add_work(commands: typer.Typer, defaults: ServeOptions, work: Callable[[WorkOptions], None]) -> None:
    """Adds the command; `work` does it, and returns when it is told to stop."""

    @commands.command("work")
    def work_command(
        number: Annotated[
            int, typer.Option(min=2, max=NUMBER_MAX, help="Which worker this is; the service itself is the first.")
        ],
        broker_host: Annotated[str, typer.Option(help="Where the broker is.")] = defaults.broker_host or "127.0.0.1",
        broker_port: Annotated[int, typer.Option(min=1, max=65535)] = defaults.broker_port,
        log_level: Annotated[str, typer.Option()] = defaults.log_level,
    ) -> None:
        """Take a share of the kiosks' messages until interrupted."""
        work(WorkOptions(number=number, broker_host=broker_host, broker_port=broker_port, log_level=log_level.upper()))

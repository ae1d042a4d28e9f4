"""`doorstep-edge`: the group of all commands, `run`, and how faults become one line and an exit code."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import EdgeFault

FAULT_EXIT = 70  # EX_SOFTWARE of sysexits.h is taken for every fault that has a name

Home = Annotated[Path | None, typer.Option(help="The device's folder (DOORSTEP_EDGE_HOME, else /var/lib/doorstep).")]


def commands(process_names: tuple[str, ...], run_named: Callable[[str, Path | None], None]) -> typer.Typer:
    """The root group with `run`."""
    app = typer.Typer(help="The kiosk at a store entrance.", no_args_is_help=True, pretty_exceptions_enable=False)
    choices = " | ".join((*process_names, "all"))

    @app.command()
    def run(
        process: Annotated[str, typer.Argument(help=choices)] = "all",
        home: Home = None,
    ) -> None:
        """Run one of the device's processes, or all of them as children."""
        if process not in (*process_names, "all"):
            raise typer.BadParameter(f"{process} is none of {choices}")
        run_named(process, home)

    return app


def run(app: typer.Typer) -> int:
    """Runs the command line; a named fault becomes one line on standard error."""
    try:
        app(standalone_mode=True)
    except EdgeFault as fault:
        print(f"doorstep-edge: {fault}", file=sys.stderr)  # noqa: T201 - this is the command line
        return FAULT_EXIT
    return 0

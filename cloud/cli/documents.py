"""`doorstep-cloud asyncapi` and `doorstep-cloud openapi`: what the service speaks, for machines."""

import json
from collections.abc import Callable, Mapping

import typer


def add_documents(commands: typer.Typer, *, version: str, describe_api: Callable[[], Mapping[str, object]]) -> None:
    """Adds the commands."""

    @commands.command("asyncapi")
    def asyncapi() -> None:
        """Print the AsyncAPI 3 document of what devices and cloud say to each other."""
        from cloud.cli.asyncapi import describe_wire

        typer.echo(json.dumps(describe_wire(version), indent=2))

    @commands.command("openapi")
    def openapi() -> None:
        """Print the OpenAPI 3.1 document of the API."""
        typer.echo(json.dumps(describe_api(), indent=2))

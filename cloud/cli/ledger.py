"""`doorstep-cloud verify`: is the ledger what it promises to be?"""

import typer

from cloud.cli.place import Tools


def add_verify(commands: typer.Typer, tools: Tools) -> None:
    """Adds the command."""

    @commands.command("verify")
    def verify() -> None:
        """Check every invariant of the ledger; exit 1 with a list when one is broken."""
        from cloud.kit.database import reading
        from cloud.ledger.verify import verify as find_breaches

        with tools.place.open_database() as engine, reading(engine) as connection:
            breaches = find_breaches(connection)
        for breach in breaches:
            typer.echo(f"{breach.invariant.value}: {breach.tenant}, {breach.where}: {breach.found}")
        if breaches:
            raise typer.Exit(1)
        typer.echo("the ledger is sound")

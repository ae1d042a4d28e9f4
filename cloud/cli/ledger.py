"""`doorstep-cloud verify`: is the ledger what it promises to be, and is what is kept of faces?"""

import typer

from cloud.cli.place import Tools


def add_verify(commands: typer.Typer, tools: Tools) -> None:
    """Adds the command."""

    @commands.command("verify")
    def verify() -> None:
        """Check every invariant of the ledger and of sealed templates; exit 1 with a list when one is broken."""
        from cloud.kit.database import reading
        from cloud.ledger.verify import verify as find_breaches
        from cloud.members.verify import verify_faces

        with tools.place.open_database() as engine, reading(engine) as connection:
            breaches, exposed = find_breaches(connection), verify_faces(connection)
        for breach in breaches:
            typer.echo(f"{breach.invariant.value}: {breach.tenant}, {breach.where}: {breach.found}")
        for face in exposed:
            typer.echo(f"{face.promise.value}: {face.tenant}, {face.where}: {face.found}")
        if breaches or exposed:
            raise typer.Exit(1)
        typer.echo("the ledger is sound")

"""`doorstep-edge db`: looks into the device's database without changing it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge.cli.root import Home
from edge.errors import SettingsWrong

REFUSED = ("rejected", "quarantined")
CLAIM_QUERY = (
    "SELECT lower(hex(claim)) AS claim, business_day, amount, unit, means, granted_ms, epoch, seq,"
    " coalesce(outcome, 'waiting') AS outcome, reason FROM claim ORDER BY epoch, seq"
)


def commands(database_of: Callable[[Path | None], Path]) -> typer.Typer:
    """The group, told where the database of a device's folder is."""
    app = typer.Typer(help="The device's database, read only.", no_args_is_help=True)

    @app.command()
    def claims(
        is_refused: Annotated[
            bool, typer.Option("--rejected", help="Those that the cloud rejected or put aside alone.")
        ] = False,
        day: Annotated[str, typer.Option(help="Of one business day alone: 2026-11-22.")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        home: Home = None,
    ) -> None:
        """List the claims kept, oldest first, with the cloud's verdicts. No member is named."""
        for row in _rows(_existing(database_of(home)), CLAIM_QUERY):
            if (is_refused and row["outcome"] not in REFUSED) or (day and row["business_day"] != day):
                continue
            if as_json:
                typer.echo(msgspec.json.encode(row))
            else:
                became = row["outcome"] if row["reason"] is None else f"{row['outcome']}: {row['reason']}"
                typer.echo(f"{row['business_day']}  {row['amount']:>5} {row['unit']}  {row['means']:5}  {became}")

    @app.command()
    def schema(home: Home = None) -> None:
        """Print the schema."""
        from edge.db.reading import open_for_reading

        with open_for_reading(_existing(database_of(home))) as database:
            typer.echo(database.schema)

    @app.command()
    def verify(home: Home = None) -> None:
        """Check file and chain. Exit code 1 when either is broken."""
        from edge.db.reading import find_damage

        damage = find_damage(_existing(database_of(home)))
        for line in damage:
            typer.echo(line, err=True)
        if damage:
            raise typer.Exit(1)
        typer.echo("the file is sound and the chain is whole")

    return app


def _existing(path: Path) -> Path:
    if not path.exists():
        raise SettingsWrong(f"there is no database at {path}")
    return path


def _rows(path: Path, query: str) -> "list[dict[str, str | int | None]]":
    from edge.db.reading import open_for_reading

    with open_for_reading(path) as database:
        return list(database.query(query))

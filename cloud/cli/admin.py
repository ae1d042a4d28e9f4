"""`doorstep-cloud admin`: tokens for the API. The first one can only be made here, by who holds the machine."""

from datetime import timedelta
from typing import Annotated

import typer

from cloud.cli.place import NotThere, Tools


def admin_commands(tools: Tools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="Credentials for the API.", no_args_is_help=True)

    @group.command("token")
    def token(
        name: Annotated[str, typer.Option(help="Who will hold it; shown in lists.")],
        scope: Annotated[
            list[str] | None, typer.Option(help="May be repeated; without one the token may do everything.")
        ] = None,
        tenant: Annotated[str | None, typer.Option(help="The one tenant it is good for; without it, all.")] = None,
        days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is good.")] = 365,
    ) -> None:
        """Issue a token and print it, this once."""
        from cloud.kit.auth import ENTROPY_BYTES, Scope, issue_token
        from cloud.kit.database import writing
        from shared.ids import TenantId

        known = {item.value for item in Scope}
        unknown = sorted(set(scope or ()) - known)
        if unknown:
            raise NotThere(f"no such scope: {', '.join(unknown)} (there are: {', '.join(sorted(known))})")
        with tools.place.open_database() as engine, writing(engine) as connection:
            issued = issue_token(
                connection,
                entropy=tools.random(ENTROPY_BYTES),
                name=name,
                scopes=frozenset(map(Scope, scope or known)),
                tenant=None if tenant is None else TenantId(tenant),
                now=tools.clock(),
                lifetime=timedelta(days=days),
            )
        typer.echo(issued.secret)

    @group.command("tokens")
    def tokens() -> None:
        """List the tokens, ended ones too."""
        from cloud.kit.auth import list_tokens
        from cloud.kit.database import reading

        now = tools.clock()
        with tools.place.open_database() as engine, reading(engine) as connection:
            for record in list_tokens(connection):
                state = "revoked" if record.revoked_at else "expired" if record.expires_at <= now else "good"
                scopes = ",".join(sorted(record.scopes))
                typer.echo(f"{record.id}  {state:8}{record.expires_at:%Y-%m-%d}  {scopes}  {record.name}")

    @group.command("revoke")
    def revoke(token_id: str) -> None:
        """End a token, by its id."""
        from cloud.kit.auth import revoke_token
        from cloud.kit.database import writing

        with tools.place.open_database() as engine, writing(engine) as connection:
            if not revoke_token(connection, token_id, tools.clock()):
                raise NotThere("no such token, or it was revoked before")
        typer.echo("revoked")

    return group

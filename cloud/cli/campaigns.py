"""`doorstep-cloud campaigns`: where the points of each campaign are, kiosk by kiosk, and what goes back."""

from typing import Annotated

import typer

from cloud.cli.place import NotThere, Tools

LINES_MAX = 100_000  # in one list; more is read through the API, page by page

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def campaign_commands(tools: Tools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="The campaigns of this cloud and where their points are.", no_args_is_help=True)

    @group.command("list")
    def list_campaigns(tenant: str, as_json: AsJson = False) -> None:
        """List a tenant's campaigns: budget, at kiosks, set aside, granted (late), and taken back so far."""
        from cloud.campaigns.queries import campaigns_after, funds_of
        from cloud.campaigns.schemas import FundedCampaignView
        from cloud.kit.database import reading
        from shared.ids import TenantId

        with tools.place.open_database() as engine, reading(engine) as connection:
            campaigns = campaigns_after(connection, TenantId(tenant), "", LINES_MAX)
            views = [FundedCampaignView.with_funds(one, funds_of(connection, one)) for one in campaigns]
        for view in views:
            shown = (
                f"{view.id}  {view.unit}  funded {view.minted}: budget {view.budget}, at kiosks {view.held},"
                f" contingency {view.contingency}, granted {view.granted} (late {view.granted_late});"
                f" taken back {view.returned}"
            )
            typer.echo(view.model_dump_json() if as_json else shown)

    @group.command("allotments")
    def list_allotments(tenant: str, campaign: str, as_json: AsJson = False) -> None:
        """List what each kiosk may grant of a campaign, and what was taken back of it when."""
        from cloud.campaigns.queries import allotments_after, campaign_by_id
        from cloud.campaigns.schemas import AllotmentView
        from cloud.kit.database import reading
        from shared.ids import CampaignId, TenantId

        owner, id = TenantId(tenant), CampaignId(campaign)
        with tools.place.open_database() as engine, reading(engine) as connection:
            if campaign_by_id(connection, owner, id) is None:
                raise NotThere(f"no such campaign: {campaign}")
            found = allotments_after(connection, owner, id, ("", 0), LINES_MAX)
        for view in map(AllotmentView.of, found):
            back = "" if view.returned_at is None else f", over since {view.returned_at:%F %R}"
            shown = (
                f"{view.device}  epoch {view.epoch}  {view.spent} of {view.total} until {view.ends_at:%F %R},"
                f" full {view.size}, taken back {view.returned}{back}"
            )
            typer.echo(view.model_dump_json() if as_json else shown)

    @group.command("return")
    def return_points() -> None:
        """Put back what allotments that are over left, now; the service does it every hour."""
        from cloud.campaigns.actions import return_ended

        with tools.place.open_database() as engine:
            typer.echo(f"{return_ended(engine, tools.clock())} points went back")

    return group

"""`doorstep-cloud coupons`: what became of the coupons that came with claims, and whether one is genuine."""

import json
from typing import Annotated

import typer

from cloud.cli.place import NotThere, Tools


def coupon_commands(tools: Tools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="Coupons that kiosks show with the daily reward.", no_args_is_help=True)

    @group.command("totals")
    def totals(
        store: str, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False
    ) -> None:
        """Show how many coupons of a store were given, wait to be confirmed, and were lost to given twice."""
        from cloud.catalogue.queries import store_by_id
        from cloud.claims.queries import coupon_totals
        from cloud.claims.schemas import CouponTotalsView
        from cloud.kit.database import reading
        from shared.ids import StoreId

        with tools.place.open_database() as engine, reading(engine) as connection:
            if store_by_id(connection, StoreId(store)) is None:
                raise NotThere(f"no such store: {store}")
            views = [CouponTotalsView.of(one) for one in coupon_totals(connection, StoreId(store))]
        for view in views:
            shown = f"{view.campaign} {view.series}: {view.given} given, {view.waiting} waiting, {view.lost} lost"
            typer.echo(view.model_dump_json() if as_json else shown)

    @group.command("check")
    def check(text: str, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        """Say whether a coupon's code was signed by a kiosk that is not revoked; exit 1 when it was not."""
        from cloud.devices.queries import device_by_id
        from cloud.kit.database import reading
        from shared.coupons import is_issued_by, read_coupon
        from shared.ids import DeviceId
        from shared.signing import load_public_key

        coupon = read_coupon(text)
        if coupon is None:
            raise NotThere("that is no coupon")
        with tools.place.open_database() as engine, reading(engine) as connection:
            kiosk = device_by_id(connection, DeviceId(coupon.device))
        key = None if kiosk is None or kiosk.revoked_at is not None else load_public_key(kiosk.signing_public)
        if kiosk is None or key is None or not is_issued_by(text, key):
            raise NotThere("no kiosk of ours vouches for this coupon")
        said = {"series": coupon.series, "claim": coupon.claim.hex(), "device": coupon.device, "store": kiosk.store}
        typer.echo(
            json.dumps(said) if as_json else f"good: {coupon.series}, shown at {kiosk.store}, claim {said['claim']}"
        )

    return group

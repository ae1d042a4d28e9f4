"""`doorstep-edge group`: the store's group of kiosks, whose secret opens the templates of its members.

`sheet` and `recover` work on this kiosk's own key files: they run as the device's user, and nobody who cannot read
those files learns anything here. Everything else asks the running agent.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, assert_never

import msgspec
import typer

from edge.channel.messages import (
    AdmissionAsked,
    AdmissionTold,
    DistrustAsked,
    DistrustTold,
    IntroductionAsked,
    JoinAsked,
    JoinTold,
    PartnerTold,
    StatusAsked,
    StatusTold,
    TrustAsked,
)
from edge.cli.root import Home
from edge.cli.status import ask
from edge.errors import ChannelBroken, SettingsWrong

if TYPE_CHECKING:
    from edge.vision.faces.keeper import Regrouped

Told = TypeVar("Told")

LIFE_UNKNOWN = bytes(16)
"""Of a template database that no agent ever claimed: the agent's own life takes its place, and there is nothing yet to
lose by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where a kiosk keeps what opens templates, where the templates, and which kiosk of which store it is."""

    keys: Path
    templates: Path
    store: str
    device: str


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """What `group status --json` prints. `group` names the secret in hex, null when this kiosk holds none.

    `partners` are the stores that were introduced; `shares_waiting` as in StatusTold.
    """

    group: str | None
    templates: int
    faces: str
    partners: tuple[PartnerTold, ...]
    shares_waiting: int


def commands(socket_of: Callable[[Path | None], Path], vault_of: Callable[[Path | None], Vault]) -> typer.Typer:
    """The group, told where of a device's folder the agent listens and the keys are."""
    app = typer.Typer(help="The store's group of kiosks that recognise the same members.", no_args_is_help=True)

    @app.command()
    def status(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object, its names stable.")] = False,
        home: Home = None,
    ) -> None:
        """Say which secret this kiosk holds and whether it recognises anybody. Exit code 1 when it holds none."""
        told = _ask(socket_of(home), StatusAsked(), StatusTold)
        state = GroupState(
            group=told.group,
            templates=told.templates,
            faces=told.faces,
            partners=told.partners,
            shares_waiting=told.shares_waiting,
        )
        typer.echo(msgspec.json.encode(state) if as_json else _readable(state))
        if state.group is None:
            raise typer.Exit(1)

    @app.command()
    def join(home: Home = None) -> None:
        """Show this new kiosk's request on its screen, for a kiosk of the group to read."""
        told = _ask(socket_of(home), JoinAsked(), JoinTold)
        _end_with(told.reason)
        typer.echo(f"the screen shows the request for {told.seconds} seconds:")
        typer.echo("run `doorstep-edge group admit` on a kiosk of this store and hold the screen to its camera")

    @app.command()
    def admit(home: Home = None) -> None:
        """Let the next request that is held to this kiosk's camera count."""
        told = _ask(socket_of(home), AdmissionAsked(), AdmissionTold)
        _end_with(told.reason)
        typer.echo(f"for {told.seconds} seconds a request held to the camera is taken; the screen says when it was")

    @app.command()
    def introduce(home: Home = None) -> None:
        """Show this group's introduction on the screen, for a kiosk of another store to read."""
        told = _ask(socket_of(home), IntroductionAsked(), JoinTold)
        _end_with(told.reason)
        typer.echo(
            f"the screen shows the introduction for {told.seconds} seconds: take it to the other store as a picture"
        )
        typer.echo(
            "run `doorstep-edge group trust` on a kiosk there and hold the picture to its camera; then the reverse"
        )

    @app.command()
    def trust(home: Home = None) -> None:
        """Let the next introduction of another store that is held to this kiosk's camera count."""
        told = _ask(socket_of(home), TrustAsked(), AdmissionTold)
        _end_with(told.reason)
        typer.echo(
            f"for {told.seconds} seconds an introduction held to the camera is taken; the screen says when it was"
        )

    @app.command()
    def distrust(
        store: Annotated[str, typer.Argument(help="The store, as `group status` names it.")], home: Home = None
    ) -> None:
        """Take the introduction of another store back: nothing is given to it any more, nothing of it is opened."""
        told = _ask(socket_of(home), DistrustAsked(store=store), DistrustTold)
        _end_with(told.reason)
        typer.echo(
            f"{store} is not known here any more; the other kiosks of this store hear of it when they are online"
        )

    @app.command()
    def sheet(home: Home = None) -> None:
        """Print the recovery sheet. Whoever reads it can open the store's templates: paper, in a safe."""
        typer.echo(_sheet(vault_of(home)))

    @app.command()
    def recover(home: Home = None) -> None:
        """Take the group's secret from a recovery sheet, on a kiosk that is alone. It is typed, and shown nowhere."""
        text: str = typer.prompt("The sheet's groups", hide_input=True)
        group = _recover(vault_of(home), text).group.hex()
        typer.echo(f"this kiosk holds the secret {group}; restart its vision process now to use it")

    return app


def _ask(path: Path, question: msgspec.Struct, kind: type[Told]) -> Told:
    try:
        return ask(path, question, kind)
    except (ChannelBroken, TimeoutError) as silence:
        typer.echo("the agent is not running", err=True)
        raise typer.Exit(1) from silence


def _end_with(reason: str | None) -> None:
    if reason is not None:
        typer.echo(reason, err=True)
        raise typer.Exit(1)


def _readable(state: GroupState) -> str:
    held = "none" if state.group is None else state.group
    lines = [f"secret    {held}", f"templates {state.templates}", f"faces     {state.faces}"]
    lines += [f"knows     {partner.store} ({partner.group})" for partner in state.partners]
    if state.shares_waiting:
        lines.append(f"waiting   {state.shares_waiting} members asked to be known at stores that were not introduced")
    return "\n".join(lines)


def _sheet(vault: Vault) -> str:
    """The sheet's text. Raises: SettingsWrong when there is no secret, StorageDamaged."""
    from edge.vision.faces.key_files import KeyFiles
    from edge.vision.faces.recovery import format_sheet

    group = KeyFiles(vault.keys).load_group()
    if group is None:
        raise SettingsWrong("this kiosk holds no secret of a group")
    return format_sheet(group.secrets[0])


def _recover(vault: Vault, text: str) -> "Regrouped":
    """The group as it is then. Raises: SettingsWrong with what is wrong, StorageDamaged, StorageFull."""
    from edge.db.templates import TemplateDatabase
    from edge.vision.faces.keeper import GroupRefusal, Keeper, Place, Regrouped
    from edge.vision.faces.recovery import SheetFault
    from shared.ids import DeviceId, StoreId

    vault.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemplateDatabase(vault.templates) as shelf:
        shelf.open()
        keeper = Keeper(vault.keys, shelf, embedder=None, random=secrets.token_bytes)
        keeper.start()
        keeper.bind(Place(store=StoreId(vault.store), device=DeviceId(vault.device)), shelf.life() or LIFE_UNKNOWN)
        match keeper.recover(text):
            case Regrouped() as regrouped:
                keeper.wipe()
                return regrouped
            case GroupRefusal():
                raise SettingsWrong("this kiosk is of a group with others: it needs no sheet")
            case SheetFault() as fault:
                raise SettingsWrong(_what_is_wrong(fault.groups, fault.typed))
            case never:
                assert_never(never)


def _what_is_wrong(groups: tuple[int, ...], typed: int) -> str:
    if groups:
        return f"look at these groups of the sheet again: {', '.join(map(str, groups))}"
    return f"this is not a sheet ({typed} groups were typed)"

"""`doorstep-cloud claims` and `receipt`: what became of claims, what members prove, and what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloud.cli.place import NotThere, Tools

if TYPE_CHECKING:
    from cloud.claims.schemas import ClaimView
    from shared.answers import Verdict

LINES_MAX = 100_000  # in one list; more is read through the API, page by page

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Note = Annotated[str, typer.Option(help="Why: kept with the decision.")]
By = Annotated[str, typer.Option(help="Who decides.")]


def claim_commands(tools: Tools) -> typer.Typer:
    """The command group."""
    group = typer.Typer(help="Claims of a store's kiosks.", no_args_is_help=True)

    @group.command("list")
    def list_claims(
        store: str,
        outcome: Annotated[str, typer.Option(help="posted, exists, rejected or quarantined alone.")] = "",
        device: Annotated[str, typer.Option(help="Of one kiosk alone.")] = "",
        day: Annotated[str, typer.Option(help="Of one business day alone: 2026-11-22.")] = "",
        as_json: AsJson = False,
    ) -> None:
        """List claims with their verdicts; no member is named but in --json."""
        from cloud.claims.queries import claims_of_store
        from cloud.claims.schemas import ClaimView
        from cloud.kit.database import reading
        from shared.answers import Outcome
        from shared.ids import DeviceId, StoreId

        known = [one.value for one in Outcome]
        if outcome and outcome not in known:
            raise NotThere(f"no such outcome: {outcome} (there are: {', '.join(known)})")
        with tools.place.open_database() as engine, reading(engine) as connection:
            found = claims_of_store(
                connection,
                StoreId(store),
                day=day or None,
                outcome=Outcome(outcome) if outcome else None,
                device=DeviceId(device) if device else None,
                after=None,
                limit=LINES_MAX,
            )
        for view in map(ClaimView.of, found):
            typer.echo(view.model_dump_json() if as_json else _line(view))

    @group.command("quarantine")
    def list_quarantine(store: str, as_json: AsJson = False) -> None:
        """List what waits for a decision: envelopes of an epoch whose history forked."""
        from cloud.claims.queries import quarantine_of_store
        from cloud.claims.schemas import ClaimView
        from cloud.kit.database import reading
        from shared.ids import StoreId

        with tools.place.open_database() as engine, reading(engine) as connection:
            found = quarantine_of_store(connection, StoreId(store), after=None, limit=LINES_MAX)
        for view in map(ClaimView.of, found):
            typer.echo(view.model_dump_json() if as_json else _line(view))

    @group.command("refused")
    def list_refused(store: str, as_json: AsJson = False) -> None:
        """List what was turned away: bytes that took no number in any kiosk's chain."""
        from cloud.claims.queries import refused_of_store
        from cloud.claims.schemas import RefusedView
        from cloud.kit.database import reading
        from shared.ids import StoreId

        with tools.place.open_database() as engine, reading(engine) as connection:
            found = refused_of_store(connection, StoreId(store), after=b"", limit=LINES_MAX)
        for view in map(RefusedView.of, found):
            place = f"{view.device} {view.epoch} {view.seq}"
            shown = f"{view.recorded_at:%F %R}  {place}  {view.outcome.value}: {view.reason.value}"
            typer.echo(view.model_dump_json() if as_json else shown)

    @group.command("release")
    def release(device: str, epoch: int, seq: int, note: Note, by: By = "operator") -> None:
        """Let a claim in quarantine count: it is judged and posted, and its kiosk is told."""
        typer.echo(_decide(tools, (device, epoch, seq), is_released=True, note=note, by=by))

    @group.command("reject")
    def reject(device: str, epoch: int, seq: int, note: Note, by: By = "operator") -> None:
        """Reject an envelope in quarantine for good; its kiosk is told."""
        typer.echo(_decide(tools, (device, epoch, seq), is_released=False, note=note, by=by))

    return group


def receipt_commands(tools: Tools) -> typer.Typer:
    """The command group for what members photographed at a kiosk without a line."""
    group = typer.Typer(help="Receipts that members hand in.", no_args_is_help=True)

    @group.command("submit")
    def submit(
        text: Annotated[str, typer.Argument(help="What the photographed code says: DS1:...")],
        member: Annotated[str, typer.Option(help="Whose claim it is: the pseudonym.")],
        tenant: Annotated[str, typer.Option()],
    ) -> None:
        """Hand in a member's receipt: posted unless the kiosk delivered the claim."""
        from cloud.claims.actions import hand_in_receipt
        from cloud.claims.rules import ReceiptRefusal
        from cloud.kit.database import writing
        from shared.ids import TenantId, parse_member

        id = parse_member(member)
        if id is None:
            raise NotThere(f"no such member: {member}")
        with tools.place.open_database() as engine, writing(engine) as connection:
            made = hand_in_receipt(connection, TenantId(tenant), id, text, tools.clock())
        if isinstance(made, ReceiptRefusal):
            raise NotThere(f"the receipt is not taken: {made.value.replace('_', ' ')}")
        typer.echo(_said(made))

    @group.command("list")
    def list_receipts(store: str, as_json: AsJson = False) -> None:
        """List what was handed in of a store's kiosks; what is in quarantine waits for `release` or `reject`."""
        from cloud.claims.queries import receipts_of_store
        from cloud.claims.schemas import ReceiptView
        from cloud.kit.database import reading
        from shared.ids import StoreId

        with tools.place.open_database() as engine, reading(engine) as connection:
            found = receipts_of_store(connection, StoreId(store), outcome=None, after=b"", limit=LINES_MAX)
        for view in map(ReceiptView.of, found):
            became = view.outcome.value if view.reason is None else f"{view.outcome.value}: {view.reason.value}"
            after = "" if view.reviewer is None else f"; {view.reviewer}: {view.note}"
            shown = f"{view.id}  {view.device} {view.epoch} {view.seq}  {view.amount}  {became}{after}"
            typer.echo(view.model_dump_json() if as_json else shown)

    @group.command("release")
    def release(receipt: str, note: Note, by: By = "operator") -> None:
        """Let a receipt in quarantine count."""
        typer.echo(_decide_receipt(tools, receipt, is_released=True, note=note, by=by))

    @group.command("reject")
    def reject(receipt: str, note: Note, by: By = "operator") -> None:
        """Reject a receipt in quarantine for good."""
        typer.echo(_decide_receipt(tools, receipt, is_released=False, note=note, by=by))

    return group


def _decide_receipt(tools: Tools, receipt: str, *, is_released: bool, note: str, by: str) -> str:
    """What followed from the decision, for people. Raises: NotThere."""
    from cloud.claims.actions import review_receipt
    from cloud.claims.rules import Decision, ReviewRefusal
    from cloud.kit.database import writing

    try:
        id = bytes.fromhex(receipt)
    except ValueError as error:
        raise NotThere(f"no such receipt: {receipt}") from error
    decision = Decision(is_released=is_released, reviewer=by, note=note)
    with tools.place.open_database() as engine, writing(engine) as connection:
        made = review_receipt(connection, id, decision, tools.clock())
    if isinstance(made, ReviewRefusal):
        raise NotThere(made.value.replace("_", " "))
    return _said(made)


def _said(verdict: Verdict) -> str:
    """A verdict for people."""
    return verdict.outcome.value if verdict.reason is None else f"{verdict.outcome.value}: {verdict.reason.value}"


def _line(view: ClaimView) -> str:
    """An envelope for people."""
    became = view.outcome.value if view.reason is None else f"{view.outcome.value}: {view.reason.value}"
    after = ""
    if view.review is not None:
        after = f"; {view.review.outcome.value} by {view.review.reviewer}: {view.review.note}"
    place = f"{view.device} {view.epoch} {view.seq}"
    return f"{view.business_day or '-':10}  {place}  {view.kind} {view.amount or ''}  {became}{after}"


def _decide(tools: Tools, key: tuple[str, int, int], *, is_released: bool, note: str, by: str) -> str:
    """What followed from the decision, for people. Raises: NotThere."""
    from cloud.claims.actions import review_envelope
    from cloud.claims.rules import Decision, ReviewRefusal
    from cloud.kit.database import writing
    from shared.ids import DeviceId

    device, epoch, seq = key
    decision = Decision(is_released=is_released, reviewer=by, note=note)
    with tools.place.open_database() as engine, writing(engine) as connection:
        made = review_envelope(connection, (DeviceId(device), epoch, seq), decision, tools.clock())
    if isinstance(made, ReviewRefusal):
        raise NotThere(made.value.replace("_", " "))
    return _said(made)

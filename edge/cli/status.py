"""`doorstep-edge status`: how the running agent is."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from edge.channel.messages import RecoveryTold, StatusAsked, StatusTold
from edge.channel.stream import connect_to_agent
from edge.cli.root import Home
from edge.core.certificate import RenewalState
from edge.core.recovery import Beginning
from edge.errors import ChannelBroken

ANSWER_WITHIN_S = 5.0
Answer = TypeVar("Answer")


def command(socket_of: Callable[[Path | None], Path]) -> Callable[..., None]:
    """The command, told where the agent's socket of a device's folder is."""

    def status(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object, its names stable.")] = False,
        home: Home = None,
    ) -> None:
        """Say how the agent is: line, clock, claims, what waits for the cloud. Exit code 1 when it does not run."""
        try:
            told = ask(socket_of(home), StatusAsked(), StatusTold)
        except (ChannelBroken, TimeoutError) as silence:
            typer.echo(_as_json(None) if as_json else "the agent is not running", err=not as_json)
            raise typer.Exit(1) from silence
        typer.echo(_as_json(told) if as_json else _readable(told))

    return status


def ask(path: Path, question: msgspec.Struct, kind: type[Answer]) -> Answer:
    """The running agent's answer. Raises: ChannelBroken when there is no agent, TimeoutError when it is silent."""
    return asyncio.run(_ask(path, question, kind))


async def _ask(path: Path, question: msgspec.Struct, kind: type[Answer]) -> Answer:
    channel = await connect_to_agent(str(path), question)
    try:
        answer = await asyncio.wait_for(channel.receive(), ANSWER_WITHIN_S)
    finally:
        await channel.close()
    if not isinstance(answer, kind):
        raise ChannelBroken("the agent answered something else")
    return answer


def _as_json(told: StatusTold | None) -> bytes:
    """One object: whether the agent runs and, if so, what it told, without the tag it has on the wire."""
    return msgspec.json.encode({"running": told is not None} | ({} if told is None else msgspec.structs.asdict(told)))


def _readable(told: StatusTold) -> str:
    waiting = f"{told.outbox_waiting} waiting"
    if told.oldest_waiting_s is not None:
        waiting += f", oldest {told.oldest_waiting_s} s"
    rows: tuple[tuple[str, str], ...] = (
        ("device", f"{told.device} (epoch {told.epoch}, store {told.store or 'unknown'})"),
        ("line", f"{'up' if told.online else 'down'}, {waiting}"),
        ("TLS", _certificate(told)),
        ("clock", f"{told.clock_trust}, business day {told.business_day or 'unknown'}"),
        ("claims", f"{told.claims_today} today, {told.claims_total} kept, {told.rejected} rejected"),
        ("visits", f"{told.visits_waiting} waiting for the time"),
        ("budget", f"{told.allotment_left} left, policy version {told.policy_version}"),
        ("camera", f"{'live' if told.camera_live else 'lost'}, {told.decoder_restarts} decoder restarts"),
        ("faces", f"{told.faces}, {told.templates} templates, {told.no_match_today} strangers today"),
        ("group", told.group or "none"),
        ("screen", told.screen),
        ("storage", _storage(told)),
    )
    if told.recovery is not None:
        rows = (*rows, ("history", _history(told.recovery, told.leftovers)))
    return "\n".join(f"{name:8}{value}" for name, value in rows)


def _storage(told: StatusTold) -> str:
    copies = (
        "no snapshot yet"
        if told.snapshot_ms is None
        else f"{told.snapshots} snapshots, newest {_time(told.snapshot_ms)}"
    )
    return f"full, nothing is granted; {copies}" if told.storage_full else copies


def _history(recovery: RecoveryTold, leftovers: int) -> str:
    """How this life of the database began, in the words that people ask for."""
    match recovery.how:
        case Beginning.SNAPSHOT if recovery.snapshot_ms is not None:
            began = f"recovered from snapshot of {_time(recovery.snapshot_ms)}"
        case Beginning.EMPTY:
            began = "started empty after damage"
        case _:
            began = "began anew: a part of its history was missing"
    waits = "" if recovery.epoch_issued else ", grants nothing until the cloud answers"
    salvaged = f"{recovery.salvaged} envelopes salvaged, {leftovers} of before still wait"
    return f"{began}, at {_time(recovery.at_ms)}{waits}; {salvaged}; {recovery.damage}"


def _time(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _certificate(told: StatusTold) -> str:
    """What a person reads of the certificate."""
    if told.renewal is None:
        return "unknown: link has not said"
    ends = (
        "certificate cannot be read" if told.certificate_ends is None else f"certificate until {told.certificate_ends}"
    )
    words = {
        RenewalState.CURRENT: "",
        RenewalState.DUE: ", renewal due",
        RenewalState.FAILED: f", renewal failed: {told.renewal_reason}",
        RenewalState.RENEWED: ", renewed, not connected yet",
    }
    return ends + words[told.renewal]

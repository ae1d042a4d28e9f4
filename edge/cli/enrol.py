"""`doorstep-edge faces enrol`: a gallery from pictures, to try recognition out; or a member's face at the kiosk.

The first is for a technician and pictures of people who agreed to it. The second asks the agent, which learns a face
only for a member whose consent is in force, and says how to stand.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edge.channel.messages import EnrolAsked, EnrolTold
from edge.channel.stream import connect_to_agent
from edge.cli.root import Home
from edge.errors import ChannelBroken
from shared.ids import MemberId, parse_member

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge.vision.faces.networks import Networks
    from edge.vision.faces.portraits import PortraitFile

HEARD_WITHIN_S = 15.0
"""Between two words of the agent: learning a face is given twelve seconds in all."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints of a gallery: people with a template and without one, pictures used and left out."""

    out: str
    people: int
    without_picture: int
    used: int
    left_out: int
    embedder: str


def command(models_of: Callable[[Path | None], Path], socket_of: Callable[[Path | None], Path]) -> Callable[..., None]:
    """The command, told where a device's folder has its weights and its agent's socket."""

    def enrol(
        images: Annotated[Path | None, typer.Option("--images", help="A folder with one sub-folder a person.")] = None,
        out: Annotated[Path | None, typer.Option("--out", help="The gallery file to write.")] = None,
        member: Annotated[str | None, typer.Option("--member", help="Learn this member's face at the kiosk.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        home: Home = None,
    ) -> None:
        """Make a gallery of pictures (--images, --out), or learn a member's face at the running kiosk (--member).

        Exit code 1 when somebody was not learnt: no usable picture, a refusal, or an agent that does not run.
        """
        if member is not None and images is None and out is None:
            _learn(_member(member), socket_of(home), as_json=as_json)
        elif member is None and images is not None and out is not None:
            summary = _collect(images, out, models_of(home))
            typer.echo(msgspec.json.encode(summary) if as_json else _readable(summary))
            if summary.without_picture or not summary.people:
                raise typer.Exit(1)
        else:
            raise typer.BadParameter("give either --member, or --images and --out")

    return enrol


# --- a gallery from pictures ------------------------------------------------------------------------------------------


def _collect(images: Path, out: Path, models: Path) -> Summary:
    """Writes the gallery: a person's template is the mean of their usable pictures' directions, of length 1."""
    import numpy as np

    from edge.vision.faces.labelled import save_labelled
    from edge.vision.faces.networks import load_networks
    from edge.vision.faces.portraits import by_person
    from edge.vision.faces.weights import Weights
    from edge.vision.pictures import portraits_under

    networks = load_networks(Weights(models))
    portraits = portraits_under(images)
    for path, fault in portraits.faults:
        _complain(path, str(fault))
    templates: dict[str, NDArray[np.float32]] = {}
    used, without = 0, 0
    for person, files in groupby(by_person(images, portraits.paths), key=lambda file: file.person):
        vectors = list(_directions(networks, files))
        total = np.sum(vectors, axis=0) if vectors else np.zeros(1, np.float32)
        if not total.any():
            without += 1
            _complain(images / person, "holds no usable picture")
            continue
        used += len(vectors)
        templates[person] = np.asarray(total / np.linalg.norm(total), np.float32)
    save_labelled(out, templates, networks.embedder.identity)
    return Summary(
        out=str(out),
        people=len(templates),
        without_picture=without,
        used=used,
        left_out=len(portraits.paths) + len(portraits.faults) - used,
        embedder=networks.embedder.identity.hex(),
    )


def _directions(networks: "Networks", files: Iterable["PortraitFile"]) -> "Iterator[NDArray[np.float32]]":
    """One a usable picture; a line on standard error for each of the others."""
    from edge.vision.faces.alignment import align
    from edge.vision.faces.portraits import central
    from edge.vision.faces.quality import QualityGauge, QualityLimits
    from edge.vision.pictures import PictureFault, load_portrait

    gauge, limits = QualityGauge(), QualityLimits()
    for file in files:
        pixels = load_portrait(file.path)
        if isinstance(pixels, PictureFault):
            _complain(file.path, str(pixels))
            continue
        face = central(networks.detector.detect(pixels), pixels.shape[1], pixels.shape[0])
        if face is None:
            _complain(file.path, "holds no face that could be found")
            continue
        crop = align(pixels, face.points)
        fault = gauge.measure(face, crop).fault(limits)
        if fault is not None:
            _complain(file.path, f"is not good enough: {fault}")
            continue
        yield networks.embedder.embed(crop)


def _complain(path: Path, reason: str) -> None:
    """One line on standard error, in which a file's name cannot steer the terminal."""
    shown = os.fsencode(path).decode(errors="backslashreplace")
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    typer.echo(f"{printable}: {reason}", err=True)


def _readable(summary: Summary) -> str:
    return f"{summary.people} people from {summary.used} pictures, {summary.left_out} left out: {summary.out}"


# --- a member at the kiosk --------------------------------------------------------------------------------------------


def _member(text: str) -> MemberId:
    member = parse_member(text)
    if member is None:
        raise typer.BadParameter(f"{text!a} is no member")
    return member


def _learn(member: MemberId, socket: Path, *, as_json: bool) -> None:
    """Prints how to stand until the face is learnt, or was not."""
    try:
        told = asyncio.run(_ask(socket, member, as_json=as_json))
    except (ChannelBroken, TimeoutError) as silence:
        typer.echo("the agent is not running", err=True)
        raise typer.Exit(1) from silence
    if told.reason is not None:
        raise typer.Exit(1)


async def _ask(socket: Path, member: MemberId, *, as_json: bool) -> EnrolTold:
    """The agent's last word."""
    channel = await connect_to_agent(str(socket), EnrolAsked(member=member))
    try:
        while True:
            told = await asyncio.wait_for(channel.receive(), HEARD_WITHIN_S)
            if not isinstance(told, EnrolTold):
                raise ChannelBroken("the agent answered something else")
            typer.echo(_as_json(told) if as_json else _words(told))
            if told.done:
                return told
    finally:
        await channel.close()


def _as_json(told: EnrolTold) -> bytes:
    return msgspec.json.encode(msgspec.structs.asdict(told))


def _words(told: EnrolTold) -> str:
    if told.done:
        return "learnt" if told.reason is None else f"not learnt: {told.reason}"
    return f"{told.taken} of {told.wanted or '?'}: {told.hint}"

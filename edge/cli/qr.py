"""`doorstep-edge qr`: reads codes out of picture files, for trying a camera's pictures and for measuring the reader."""

import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="QR codes in pictures.", no_args_is_help=True)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed for one file. The names and their order are relied on by scripts."""

    path: str
    texts: list[str]
    ms: float
    """Milliseconds of the reader alone; loading the file is not in it."""
    error: str | msgspec.UnsetType = msgspec.UNSET


@app.callback()
def qr() -> None:
    """QR codes in pictures."""


@app.command()
def read(
    paths: Annotated[list[Path], typer.Argument(help="Pictures (PNG, JPEG, WebP) or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read the codes in each picture. Exit code 1 when a file could not be loaded."""
    from edge.vision.pictures import pictures_under  # OpenCV takes a tenth of a second that other commands need not pay

    failed = False
    for path in (picture for given in paths for picture in pictures_under(given)):
        line = _line(path)
        failed = failed or line.error is not msgspec.UNSET
        typer.echo(msgspec.json.encode(line) if as_json else _readable(line).encode())
    if failed:
        raise typer.Exit(1)


def _line(path: Path) -> Line:
    """The codes in one file, or what is wrong with it."""
    from edge.vision.pictures import PictureFault, load_picture
    from edge.vision.qr import Effort, read_codes

    # A name that is no UTF-8 is shown with escapes; nothing else could be printed or put into JSON.
    name = os.fsencode(path).decode(errors="backslashreplace")
    picture = load_picture(path)
    if isinstance(picture, PictureFault):
        return Line(path=name, texts=[], ms=0.0, error=str(picture))
    began_s = time.perf_counter()
    codes = read_codes(picture, effort=Effort.FULL)
    elapsed_ms = (time.perf_counter() - began_s) * 1e3
    return Line(path=name, texts=[code.text for code in codes], ms=round(elapsed_ms, 3))


def _readable(line: Line) -> str:
    """One line for a person."""
    path = _printable(line.path)
    if line.error is not msgspec.UNSET:
        return f"{path}: {line.error}"
    texts = " | ".join(_printable(text) for text in line.texts) or "no code"
    return f"{path}: {texts} ({line.ms:.1f} ms)"


def _printable(text: str) -> str:
    """The text with control characters escaped: what a stranger printed must not steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

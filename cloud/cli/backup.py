"""`doorstep-cloud backup` and `restore`: database and keys, together, into a folder and back.

A backup holds every private key of the installation: whoever has the folder is the cloud. It holds no sealed template
and no wrapped secret: a withdrawal made after the backup must not be undone by it. After a restore every kiosk is told
to forget all templates and every biometric consent is asked for again, so members are recognised once they consented
and enrolled anew; until then they show their code.
"""

import shutil
from pathlib import Path

import typer

from cloud.cli.place import NotThere, Place, Tools

KEYS = "keys"
LEFT_OUT = ("sealed_template", "template_waiting", "face_wrap")  # tables that are empty in every backup


def add_backup(commands: typer.Typer, tools: Tools) -> None:
    """Adds both commands."""

    @commands.command("backup")
    def backup(folder: Path) -> None:
        """Copy database and keys into a new folder, while the service runs."""
        make_backup(tools.place, folder)
        typer.echo(f"database and keys are in {folder}; whoever has it is this cloud, so keep it as such")

    @commands.command("restore")
    def restore(folder: Path) -> None:
        """Bring a backup back into an installation that has neither keys nor data; nothing is ever overwritten."""
        for line in bring_back_all(tools, folder):
            typer.echo(line)


def make_backup(place: Place, folder: Path) -> None:
    """The folder holds the installation as it is now, or is not there. Raises: NotThere, SnapshotFailed."""
    from cloud.kit.snapshot import file_name, save

    if folder.exists():
        raise NotThere(f"{folder} is there already; give a new folder")
    place.open_keyring()  # a backup without usable keys is none
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    save(place.database, draft / file_name(place.database), without=LEFT_OUT)
    shutil.copytree(place.keys, draft / KEYS)
    draft.rename(folder)


def bring_back_all(tools: Tools, folder: Path) -> list[str]:
    """What was brought back, a line each. Raises: NotThere, SnapshotFailed; nothing is changed then."""
    from cloud.cli.access import refresh_access
    from cloud.devices.actions import leap_feeds
    from cloud.kit.database import reading, writing
    from cloud.kit.keyring import load_keyring
    from cloud.kit.snapshot import bring_back, file_name, is_empty
    from cloud.ledger.verify import verify
    from cloud.members.verify import verify_faces

    place = tools.place
    source = folder / file_name(place.database)
    if not source.exists():
        raise NotThere(f"{folder} holds no {source.name}")
    load_keyring(folder / KEYS)
    if place.keys.exists():
        raise NotThere(f"{place.keys} is there already; nothing was changed")
    if not is_empty(place.database):
        raise NotThere("the database is not empty; nothing was changed")
    place.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    bring_back(place.database, source)
    shutil.copytree(folder / KEYS, place.keys)
    with place.open_database() as engine:
        with writing(engine) as connection:
            leap_feeds(connection, tools.clock())
        refresh_access(engine, place.open_keyring(), place, tools.clock())
        with reading(engine) as connection:
            breaches = (*verify(connection), *verify_faces(connection))
    state = "sound" if not breaches else f"broken in {len(breaches)} places: doorstep-cloud verify"
    return [
        "keys and database are back",
        f"the ledger is {state}",
        "no face is known: members are recognised once they consent and enrol again",
        "doorstep-cloud init writes the broker's files",
    ]

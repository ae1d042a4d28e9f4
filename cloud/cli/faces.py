"""People with faces for the demonstration: portraits from a folder walk up to the rendered doors.

They join and consent through the same API as anybody. Nothing here looks at a picture: the kiosks' rendered camera
does, and what the kiosks learn of it stays with them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from cloud.cli.shop import ShopFailed

if TYPE_CHECKING:
    from cloud.cli.people import Act, FacePerson

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
PICTURES_MIN: Final = 2  # one to be learnt from, another to be known by
PEOPLE: Final = 3
LEARNT_S: Final = 14.0  # twice what learning a face takes
KNOWN_S: Final = 6.0
REQUEST_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Portraits:
    """A folder of portraits, one sub-folder a person."""

    folder: Path

    def choose(self, random: Random) -> tuple[tuple[str, str], ...]:
        """Two pictures each of some people. Raises: ShopFailed when the folder has none."""
        try:
            found = [pictures for entry in sorted(self.folder.iterdir()) if len(pictures := _pictures(entry)) > 1]
        except OSError as unreadable:
            raise ShopFailed(f"{self.folder}: {unreadable.strerror}") from unreadable
        if not found:
            raise ShopFailed(f"{self.folder} has no sub-folder with two pictures: one a person is expected")
        chosen = random.sample(found, min(PEOPLE, len(found)))
        return tuple((self._name(first), self._name(second)) for first, second, *_ in chosen)

    def _name(self, picture: Path) -> str:
        return str(picture.relative_to(self.folder))


def learning(people: tuple[FacePerson, ...]) -> list[Act]:
    """Each shows their phone, and stays to be learnt."""
    acts: list[Act] = []
    for one in people:
        acts += [one.person.shows, _stands(one.learnt_from), {"kind": "empty", "seconds": 2.0}]
    return acts


def knowing(people: tuple[FacePerson, ...]) -> list[Act]:
    """Each walks up with nothing in hand."""
    acts: list[Act] = []
    for one in people:
        acts += [_walks(one.known_by), {"kind": "empty", "seconds": 2.5}]
    return acts


def read_request(screen_port: int) -> str:
    """The code that a kiosk's screen shows to ask for the group's secret. Raises: ShopFailed, httpx.HTTPError."""
    import httpx

    deadline_s = time.monotonic() + REQUEST_S
    with httpx.stream("GET", f"http://127.0.0.1:{screen_port}/events", timeout=REQUEST_S) as events:
        for line in events.iter_lines():
            if line.startswith("data: {"):
                screen = json.loads(line.removeprefix("data: "))["screen"]
                if screen["name"] == "join_group":
                    return str(screen["code"])
            if time.monotonic() > deadline_s:
                break
    raise ShopFailed("the second kiosk shows no request to join the group")


def _stands(portrait: str) -> Act:
    walker = {"portrait": portrait, "from_m": 1.4, "mark_m": 1.0, "on_mark_s": 0.3, "stays_s": LEARNT_S}
    return {"kind": "approach", "seconds": LEARNT_S + 0.3, "walkers": [walker]}


def _walks(portrait: str) -> Act:
    walker = {
        "portrait": portrait,
        "from_m": 4.0,
        "mark_m": 1.1,
        "speed_m_s": 1.3,
        "on_mark_s": 2.5,
        "stays_s": KNOWN_S,
    }
    return {"kind": "approach", "seconds": KNOWN_S + 4.0, "walkers": [walker]}


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES)

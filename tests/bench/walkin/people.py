"""Who is enrolled with which pictures, who comes to the door with which other one, and who is a stranger."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from shared.ids import MEMBER_ID_BYTES, MemberId
from tests.support.walkers import RECOGNISED, Scenario, company_of

TEMPLATES: Final = 3
"""Pictures that a member is enrolled with, when a fourth is left to come with."""
_ORDER: Final = (*(scenario for scenario in Scenario if scenario in RECOGNISED), Scenario.PASSING, Scenario.CODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A member, the pictures of their template and those they come to the door with, which are others."""

    member: MemberId
    pictures: tuple[Path, ...]
    probes: tuple[Path, ...]

    @property
    def is_full(self) -> bool:
        """Whether the template has as many pictures as it should."""
        return len(self.pictures) == TEMPLATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """Everybody: who has at least two pictures is a member, who has one a stranger."""

    members: tuple[Enrolled, ...]
    strangers: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who comes to the door: `member` is None for a stranger, `templates` the pictures enrolled."""

    picture: Path
    member: MemberId | None = None
    templates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One visit to be rendered. The first visitor is whom it is about, the others are company."""

    scenario: Scenario
    visitors: tuple[Visitor, ...]
    seed: int


def roll_of(folder: Path) -> Roll:
    """The people of a folder with one sub-folder each, pictures in the order of their numbers."""
    members, strangers = [], []
    for inside in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        pictures = tuple(sorted(inside.glob("*.jpg"), key=_number_of))
        if len(pictures) == 1:
            strangers.append(pictures[0])
        elif pictures:
            kept = min(TEMPLATES, len(pictures) - 1)
            member = MemberId(sha256(inside.name.encode()).digest()[:MEMBER_ID_BYTES])
            members.append(Enrolled(member=member, pictures=pictures[:kept], probes=pictures[kept:]))
    return Roll(members=tuple(members), strangers=tuple(strangers))


def _number_of(path: Path) -> int:
    """What the file's name ends in."""
    found = re.search(r"(\d+)$", path.stem)
    return int(found[1]) if found else 0


def cases_of(roll: Roll, *, seed: int, visits: int | None = None) -> tuple[Case, ...]:
    """Every member's visits with every picture of theirs, and one of every stranger; at most so many of each kind.

    Scenarios take turns. In company, a member comes with another member or a stranger, a stranger with strangers.
    """
    random = np.random.default_rng(seed)
    known = [
        Visitor(picture=probe, member=enrolled.member, templates=len(enrolled.pictures))
        for enrolled in roll.members
        for probe in enrolled.probes
    ]
    unknown = [Visitor(picture=picture) for picture in roll.strangers]
    full = [visitor for visitor in known if visitor.templates == TEMPLATES]
    rest = [visitor for visitor in known if visitor.templates != TEMPLATES]
    company = (full, unknown)
    return (
        *_visits(full, _ORDER, random, company, limit=visits),
        *_visits(rest, _ORDER[: len(RECOGNISED)], random, (rest, unknown), limit=visits),
        *_visits(unknown, _ORDER[: len(RECOGNISED)], random, (unknown, unknown), limit=visits),
    )


def _visits(
    people: list[Visitor],
    scenarios: tuple[Scenario, ...],
    random: np.random.Generator,
    company: tuple[list[Visitor], list[Visitor]],
    *,
    limit: int | None,
) -> Iterator[Case]:
    """A visit of each, in shuffled order so that a limit leaves a fair share."""
    for turn, place in enumerate(random.permutation(len(people))[:limit]):
        scenario = scenarios[turn % len(scenarios)]
        first = people[int(place)]
        visitors = (first, *_companions(first, scenario, company, turn, random))
        yield Case(scenario=scenario, visitors=visitors, seed=int(random.integers(1 << 31)))


def _companions(
    first: Visitor,
    scenario: Scenario,
    company: tuple[list[Visitor], list[Visitor]],
    turn: int,
    random: np.random.Generator,
) -> list[Visitor]:
    """Who comes along: beside them somebody of either kind, behind them a stranger; nobody comes twice."""
    chosen: list[Visitor] = []
    while len(chosen) < company_of(scenario) - 1:
        among = company[turn // len(_ORDER) % 2] if not chosen else company[1]
        other = among[int(random.integers(len(among)))]
        if all(not _is_same(other, one) for one in (first, *chosen)):
            chosen.append(other)
    return chosen


def _is_same(one: Visitor, other: Visitor) -> bool:
    return one.picture.parent == other.picture.parent

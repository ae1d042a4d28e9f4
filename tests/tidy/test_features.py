"""`docs/features.md` says of every capability where it stands, and what is said to work names a test that exists."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATES = {"works", "partly", "planned", "not planned"}
ROWS = 135
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One line of the table."""

    id: str
    capability: str
    state: str
    shown_by: str


def features() -> list[Feature]:
    lines = (ROOT / "docs/features.md").read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [A-Z]{2}\d", line)
    ]
    return [Feature(id=row[0], capability=row[1], state=row[2], shown_by=row[4]) for row in cells]


def test_every_capability_is_listed_once_with_a_state() -> None:
    listed = features()
    assert len({feature.id for feature in listed}) == len(listed) == ROWS
    assert {feature.state for feature in listed} <= STATES


def test_what_works_even_partly_names_a_test_that_exists() -> None:
    for feature in features():
        if feature.state not in {"works", "partly"}:
            continue
        references = REFERENCE.findall(feature.shown_by)
        assert references, feature.id
        for file, name in references:
            path = ROOT / file
            assert path.exists(), (feature.id, file)
            assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), (feature.id, file, name)

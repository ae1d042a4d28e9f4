"""What `doorstep-edge db` prints of a database, and that it changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli import database, root
from edge.db import outbox
from edge.errors import SettingsWrong
from shared.answers import Outcome, Reason, Receipt, Verdict
from tests.support.entrances import DEVICE, UNIT, Kiosk, card, member_id

FIELDS = ["claim", "business_day", "amount", "unit", "means", "granted_ms", "epoch", "seq", "outcome", "reason"]


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[Kiosk]:
    """A kiosk that granted twice; the cloud rejected the first."""
    made = Kiosk(tmp_path)
    made.ready()
    for number in (1, 2):
        made.show(card(made.keys, member_id(number)))
    head = outbox.chain_at(made.database.connection, 1, 1)
    assert head is not None
    rejected = Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.NO_BUDGET)
    made.tell(Receipt(device=DEVICE, epoch=1, contiguous=1, head=head, verdicts=(rejected,)))
    yield made
    made.database.close()


def run(path: Path, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(database.commands(lambda home: home or path), list(words), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_claims_as_json_name_no_member(kiosk: Kiosk) -> None:
    code, out, _ = run(kiosk.database.path, "claims", "--json")
    printed = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [list(line) for line in printed] == [FIELDS, FIELDS]
    assert [(line["seq"], line["outcome"], line["reason"]) for line in printed] == [
        (1, "rejected", "no_budget"),
        (2, "waiting", None),
    ]
    assert member_id(1).hex() not in out.lower()
    assert {(line["amount"], line["unit"], line["business_day"]) for line in printed} == {(10, UNIT, "2026-11-20")}


def test_claims_for_people_are_a_line_each(kiosk: Kiosk) -> None:
    assert run(kiosk.database.path, "claims")[1].splitlines() == [
        f"2026-11-20     10 {UNIT}  card   rejected: no_budget",
        f"2026-11-20     10 {UNIT}  card   waiting",
    ]


def test_claims_are_narrowed_to_a_day_and_to_what_was_rejected(kiosk: Kiosk) -> None:
    rejected = f"2026-11-20     10 {UNIT}  card   rejected: no_budget\n"
    assert run(kiosk.database.path, "claims", "--rejected")[1] == rejected
    assert run(kiosk.database.path, "claims", "--rejected", "--day", "2026-11-20")[1] == rejected
    assert run(kiosk.database.path, "claims", "--day", "2026-11-19")[1] == ""


def test_the_schema_is_printed(kiosk: Kiosk) -> None:
    code, out, _ = run(kiosk.database.path, "schema")
    assert code == 0
    assert "CREATE TABLE outbox" in out


def test_a_sound_database_passes_and_a_broken_one_does_not(kiosk: Kiosk) -> None:
    path = kiosk.database.path
    assert run(path, "verify")[:2] == (0, "the file is sound and the chain is whole\n")
    kiosk.database.connection.execute("UPDATE outbox SET payload = x'00' WHERE seq = 2")
    assert run(path, "verify") == (1, "", "the chain of epoch 1 breaks at envelope 2\n")


@pytest.mark.parametrize("words", [("claims",), ("schema",), ("verify",)])
def test_no_command_makes_a_database_or_changes_one(kiosk: Kiosk, tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsWrong, match="no database"):
        run(tmp_path / "none.db", *words)
    assert not (tmp_path / "none.db").exists()
    before = kiosk.database.path.read_bytes()
    run(kiosk.database.path, *words)
    assert kiosk.database.path.read_bytes() == before


def test_a_named_fault_is_one_line_and_exit_code_seventy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = root.commands(("agent",), lambda name, home: None)
    app.add_typer(database.commands(lambda home: home or tmp_path / "none.db"), name="db")
    monkeypatch.setattr("sys.argv", ["doorstep-edge", "db", "verify"])
    assert root.run(app) == root.FAULT_EXIT
    assert capsys.readouterr().err == f"doorstep-edge: there is no database at {tmp_path / 'none.db'}\n"


@pytest.mark.parametrize(
    ("words", "code", "ran"),
    [
        (("run",), 0, [("all", None)]),
        (("run", "agent"), 0, [("agent", None)]),
        (("run", "agent", "--home", "/h"), 0, [("agent", Path("/h"))]),
        (("run", "butler"), 2, []),
    ],
)
def test_run_knows_the_devices_processes_and_no_other(
    words: tuple[str, ...], code: int, ran: list[tuple[str, Path | None]]
) -> None:
    started: list[tuple[str, Path | None]] = []
    app = root.commands(("agent", "link"), lambda name, home: started.append((name, home)))
    app.add_typer(database.commands(lambda home: Path("none")), name="db")
    assert CliRunner().invoke(app, list(words)).exit_code == code
    assert started == ran

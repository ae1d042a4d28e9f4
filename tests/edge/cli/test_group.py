"""The commands for the store's group of kiosks: what the agent is asked, and the recovery sheet there and back."""

import json
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from edge.channel.messages import (
    AdmissionAsked,
    AdmissionTold,
    DistrustAsked,
    DistrustTold,
    IntroductionAsked,
    JoinAsked,
    JoinTold,
    StatusAsked,
    StatusTold,
    TrustAsked,
)
from edge.cli import group
from edge.cli.group import Vault
from edge.db.templates import TemplateDatabase
from edge.errors import SettingsWrong
from edge.vision.faces.keeper import Keeper, Place
from shared.ids import DeviceId, StoreId
from tests.edge.cli.test_status import TOLD, agent, said

SECRET = bytes(range(32))


def run(folder: Path, *words: str, typed: str | None = None) -> Result:
    """`doorstep-edge group` with these words, on a kiosk in the folder."""
    vault = Vault(keys=folder / "keys", templates=folder / "faces.db", store="rome-1", device="kiosk1")
    app: typer.Typer = group.commands(lambda home: folder / "agent.sock", lambda home: vault)
    return CliRunner().invoke(app, list(words), input=typed)


def make_group(folder: Path) -> str:
    """A kiosk that is of a group of its own; the secret's name."""
    (folder / "keys").mkdir()
    with TemplateDatabase(folder / "faces.db") as shelf:
        shelf.open()
        keeper = Keeper(folder / "keys", shelf, embedder=None, random=lambda count: SECRET[:count])
        keeper.start()
        keeper.bind(Place(store=StoreId("rome-1"), device=DeviceId("kiosk1")), b"l" * 16)
        keeper.make_group()
        assert keeper.group_key is not None
        return keeper.group_key.hex()


# --- what the agent is asked ------------------------------------------------------------------------------------------


def test_the_state_of_the_group_has_names_others_rely_on(tmp_path: Path) -> None:
    with agent(tmp_path / "agent.sock", said(TOLD)) as asked:
        result = run(tmp_path, "status", "--json")
    assert asked == [msgspec.msgpack.encode(StatusAsked())]
    assert (result.exit_code, json.loads(result.stdout)) == (
        0,
        {
            "group": "00112233aabbccdd",
            "templates": 12,
            "faces": "on",
            "partners": [{"store": "porto", "group": "ffeeddccbbaa9988"}],
            "shares_waiting": 2,
        },
    )


def test_a_kiosk_without_a_secret_is_exit_code_one(tmp_path: Path) -> None:
    told: StatusTold = msgspec.structs.replace(TOLD, group=None, faces="no group secret", partners=(), shares_waiting=0)
    with agent(tmp_path / "agent.sock", said(told)):
        result = run(tmp_path, "status")
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        ["secret    none", "templates 12", "faces     no group secret"],
    )


def test_who_was_introduced_and_what_waits_for_it_is_said(tmp_path: Path) -> None:
    with agent(tmp_path / "agent.sock", said(TOLD)):
        result = run(tmp_path, "status")
    assert result.stdout.splitlines()[3:] == [
        "knows     porto (ffeeddccbbaa9988)",
        "waiting   2 members asked to be known at stores that were not introduced",
    ]


@pytest.mark.parametrize(
    ("word", "question", "answer"),
    [
        ("join", JoinAsked(), JoinTold(seconds=120, reason=None)),
        ("admit", AdmissionAsked(), AdmissionTold(seconds=120, reason=None)),
        ("introduce", IntroductionAsked(), JoinTold(seconds=120, reason=None)),
        ("trust", TrustAsked(), AdmissionTold(seconds=120, reason=None)),
    ],
)
def test_a_window_is_opened_and_said_to_be(
    tmp_path: Path, word: str, question: msgspec.Struct, answer: msgspec.Struct
) -> None:
    with agent(tmp_path / "agent.sock", said(answer)) as asked:
        result = run(tmp_path, word)
    assert asked == [msgspec.msgpack.encode(question)]
    assert result.exit_code == 0
    assert "120 seconds" in result.stdout


def test_an_introduction_is_taken_back_or_it_is_said_why_not(tmp_path: Path) -> None:
    with agent(tmp_path / "agent.sock", said(DistrustTold(reason=None))) as asked:
        result = run(tmp_path, "distrust", "porto")
    assert asked == [msgspec.msgpack.encode(DistrustAsked(store="porto"))]
    assert (result.exit_code, "porto is not known here any more" in result.stdout) == (0, True)
    (tmp_path / "agent.sock").unlink()
    with agent(tmp_path / "agent.sock", said(DistrustTold(reason="that store was not introduced here"))):
        result = run(tmp_path, "distrust", "porto")
    assert (result.exit_code, result.stderr) == (1, "that store was not introduced here\n")


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("join", JoinTold(seconds=0, reason="vision does not run")),
        ("admit", AdmissionTold(seconds=0, reason="vision does not run")),
        ("introduce", JoinTold(seconds=0, reason="vision does not run")),
        ("trust", AdmissionTold(seconds=0, reason="vision does not run")),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_one(tmp_path: Path, word: str, answer: msgspec.Struct) -> None:
    with agent(tmp_path / "agent.sock", said(answer)):
        result = run(tmp_path, word)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "vision does not run\n")


@pytest.mark.parametrize("word", ["status", "join", "admit", "introduce", "trust"])
def test_an_agent_that_does_not_run_is_said_to(tmp_path: Path, word: str) -> None:
    result = run(tmp_path, word)
    assert (result.exit_code, result.stderr) == (1, "the agent is not running\n")


# --- the sheet --------------------------------------------------------------------------------------------------------


def test_a_sheet_brings_the_secret_to_a_new_kiosk(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    name = make_group(old)
    sheet = run(old, "sheet").stdout.strip()
    result = run(new, "recover", typed=f"{sheet.lower().replace('-', ' ')}\n")
    assert (result.exit_code, result.exception) == (0, None)
    assert f"this kiosk holds the secret {name}; restart its vision process" in result.stdout
    assert sheet not in result.stdout
    assert run(new, "sheet").stdout.strip() == sheet


def test_without_a_secret_there_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    result = run(tmp_path, "sheet")
    assert isinstance(result.exception, SettingsWrong)
    assert str(result.exception) == "this kiosk holds no secret of a group"


def test_a_wrong_group_of_the_sheet_is_named(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    make_group(old)
    groups = run(old, "sheet").stdout.strip().split("-")
    groups[2] = groups[2][:3] + ("2" if groups[2][3] != "2" else "3")
    result = run(tmp_path, "recover", typed="-".join(groups) + "\n")
    assert str(result.exception) == "look at these groups of the sheet again: 3"
    result = run(tmp_path, "recover", typed="nonsense\n")
    assert str(result.exception) == "this is not a sheet (2 groups were typed)"

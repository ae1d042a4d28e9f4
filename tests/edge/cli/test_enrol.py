"""`doorstep-edge faces enrol`: a gallery of pictures that `recognise --faces` then uses, and a member at the kiosk."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edge.channel.messages import EnrolAsked, EnrolTold, HeardDone
from edge.cli import enrol, recognise
from edge.core.screen import StandHint
from edge.errors import ModelUnusable, SettingsWrong
from edge.vision.faces.labelled import load_labelled, save_labelled
from shared.ids import format_member
from tests.edge.vision.faces.scenes import MIDDLE, MODELS, ann, bob, door, member, needs_models, networks
from tests.support.entrances import NOON

MEMBER = member(7)


def run(*words: str, models: Path | None = None, agent: Path = Path("nowhere")) -> tuple[int, str, str]:
    """Exit code, output and errors of these words."""
    app = typer.Typer()
    folder = models or Path(MODELS or "nowhere")
    app.command("enrol")(enrol.command(lambda _: folder, lambda _: agent))
    app.command("recognise")(recognise.command(lambda: NOON.timestamp(), lambda _: folder))
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def people(folder: Path) -> Path:
    """A folder with Ann and Bob, two pictures each."""
    for name, picture in (("Ann", ann(160)), ("Bob", bob(160))):
        (folder / name).mkdir(parents=True)
        for number in (1, 2):
            cv2.imwrite(str(folder / name / f"{name}_{number}.png"), picture)
    return folder


# --- a gallery of pictures --------------------------------------------------------------------------------------------


@needs_models
def test_a_gallery_of_pictures_is_what_recognise_knows_people_by(tmp_path: Path) -> None:
    gallery = tmp_path / "known.npz"
    code, out, errors = run("enrol", "--images", str(people(tmp_path / "people")), "--out", str(gallery), "--json")
    assert (code, errors) == (0, "")
    told = json.loads(out)
    assert (told["people"], told["used"], told["left_out"], told["without_picture"]) == (2, 4, 0, 0)
    assert told["embedder"] == networks().embedder.identity.hex()
    frames = tmp_path / "door"
    frames.mkdir()
    for number in range(30):
        cv2.imwrite(str(frames / f"{number:03}.png"), door((bob(), MIDDLE)))
    code, out, errors = run("recognise", f"dir:{frames}", "--faces", str(gallery), "--json")
    assert (code, errors) == (0, "")
    *faces, end = (json.loads(line) for line in out.splitlines())
    assert end["event"] == "end"
    assert faces
    assert {face["best"] for face in faces} == {"Bob"}
    assert [face["probes"] for face in faces] == list(range(1, len(faces) + 1))
    assert faces[0]["at_s"] >= 0.5
    assert {face["verdict"] for face in faces[:-1]} <= {"not_yet"}
    assert faces[-1]["verdict"] == "match"
    assert (faces[0]["track"], faces[0]["enrolled"]) == (1, 2)
    code, out, _ = run("recognise", f"dir:{frames}", "--faces", str(gallery))
    assert "face 1: match of 2 after 3, most like 'Bob'" in out


@needs_models
def test_pictures_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = people(tmp_path / "people")
    (folder / "Ann" / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    (folder / "Nobody").mkdir()
    cv2.imwrite(str(folder / "Nobody" / "wall.png"), np.full((80, 80, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "Bob" / "far\x1b[2J.png"), door((bob(30), MIDDLE)))
    code, out, errors = run("enrol", "--images", str(folder), "--out", str(tmp_path / "known.npz"))
    assert code == 1
    assert out.startswith("2 people from 4 pictures, 3 left out: ")
    lines = errors.splitlines()
    assert len(lines) == 4
    assert any(line.startswith(f"{folder}/Ann/torn.jpg: ") for line in lines)
    assert f"{folder}/Nobody/wall.png: holds no face that could be found" in lines
    assert f"{folder}/Nobody: holds no usable picture" in lines
    assert "\x1b" not in errors


@needs_models
def test_a_folder_without_people_is_said(tmp_path: Path) -> None:
    code, out, _ = run("enrol", "--images", str(tmp_path), "--out", str(tmp_path / "known.npz"))
    assert code == 1
    assert out.startswith("0 people")


@needs_models
def test_a_file_that_cannot_be_written_is_a_named_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="cannot be written"):
        run("enrol", "--images", str(people(tmp_path / "people")), "--out", str(tmp_path / "no" / "known.npz"))


@pytest.mark.parametrize(
    "words", [[], ["--images", "x"], ["--out", "x"], ["--member", "x", "--images", "y"], ["--member", "nobody"]]
)
def test_words_that_do_not_go_together_are_refused(words: list[str]) -> None:
    assert run("enrol", *words)[0] == 2


def test_without_weights_recognise_reads_codes_alone_and_says_so_once(tmp_path: Path) -> None:
    frames = tmp_path / "door"
    frames.mkdir()
    for number in range(3):
        cv2.imwrite(str(frames / f"{number}.png"), door())
    words = ("recognise", f"dir:{frames}", "--faces", str(tmp_path / "known.npz"), "--json")
    code, out, errors = run(*words, models=tmp_path)
    assert code == 0
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["end"]
    assert len(errors.splitlines()) == 1
    assert errors.startswith("no faces, codes alone: ")
    with pytest.raises(ModelUnusable):
        run("enrol", "--images", str(tmp_path), "--out", str(tmp_path / "known.npz"), models=tmp_path)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_gallery_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    vectors = np.eye(3, 256, dtype=np.float32)
    path = tmp_path / "known.npz"
    save_labelled(path, {"a": vectors[0], "b": vectors[1], "c": vectors[2]}, b"embedder")
    loaded = load_labelled(path, b"embedder")
    assert len(loaded) == 3
    found = loaded.compare(vectors[1], 1).candidates[0]
    assert loaded.label_of(found.member) == "b"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(SettingsWrong, match="another embedder"):
        load_labelled(path, b"embeddes")


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no archive",
        {"labels": np.array(["a"])},
        {"labels": np.array(["a"]), "templates": np.ones((2, 256), np.float32), "embedder": np.zeros(8, np.uint8)},
        {"labels": np.array([1]), "templates": np.ones((1, 256), np.float32), "embedder": np.zeros(8, np.uint8)},
        {"labels": np.array(["a"]), "templates": np.zeros((1, 256), np.float32), "embedder": np.zeros(8, np.uint8)},
        {"labels": np.array(["a"]), "templates": np.ones((1, 256)), "embedder": np.zeros(8, np.uint8)},
        {
            "labels": np.array(["a"]),
            "templates": np.full((1, 256), np.nan, np.float32),
            "embedder": np.zeros(8, np.uint8),
        },
        {
            "labels": np.array([{}], dtype=object),
            "templates": np.ones((1, 256), np.float32),
            "embedder": np.zeros(8, np.uint8),
        },
    ],
)
def test_what_is_no_gallery_is_refused(tmp_path: Path, content: bytes | dict[str, np.ndarray] | None) -> None:
    path = tmp_path / "known.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)  # type: ignore[arg-type]  # the stub takes every word for allow_pickle
    with pytest.raises(SettingsWrong, match=r"known\.npz"):
        load_labelled(path, bytes(8))


# --- a member at the kiosk --------------------------------------------------------------------------------------------


def told(
    *, done: bool = False, hint: StandHint | None = None, taken: int = 0, wanted: int = 0, reason: str | None = None
) -> EnrolTold:
    return EnrolTold(done=done, hint=hint, taken=taken, wanted=wanted, reason=reason)


@contextmanager
def agent(path: Path, *answers: msgspec.Struct) -> Iterator[list[bytes]]:
    """An agent that answers one question with these; what it was asked is in the list afterwards."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                length = int.from_bytes(connection.recv(4), "big")
                asked.append(connection.recv(length))
                for answer in answers:
                    body = msgspec.msgpack.encode(answer)
                    connection.sendall(len(body).to_bytes(4, "big") + body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def test_the_kiosk_is_asked_and_its_hints_are_printed_until_it_is_done(tmp_path: Path) -> None:
    answers = (
        told(hint=StandHint.COME),
        told(hint=StandHint.GOOD, taken=1, wanted=5),
        told(done=True),
    )
    with agent(tmp_path / "agent", *answers) as asked:
        code, out, _ = run("enrol", "--member", format_member(MEMBER), agent=tmp_path / "agent")
    assert code == 0
    assert out.splitlines() == ["0 of ?: come", "1 of 5: good", "learnt"]
    assert msgspec.msgpack.decode(asked[0], type=EnrolAsked) == EnrolAsked(member=MEMBER)


def test_a_refusal_is_said_and_is_the_exit_code(tmp_path: Path) -> None:
    with agent(tmp_path / "agent", told(done=True, reason="anothers")):
        code, out, _ = run("enrol", "--member", format_member(MEMBER), "--json", agent=tmp_path / "agent")
    assert code == 1
    assert json.loads(out) == {"done": True, "hint": None, "taken": 0, "wanted": 0, "reason": "anothers"}


def test_an_agent_that_does_not_run_or_says_something_else_is_said(tmp_path: Path) -> None:
    code, _, errors = run("enrol", "--member", format_member(MEMBER), agent=tmp_path / "agent")
    assert (code, errors) == (1, "the agent is not running\n")
    with agent(tmp_path / "agent", HeardDone(number=1)):
        assert run("enrol", "--member", format_member(MEMBER), agent=tmp_path / "agent")[0] == 1
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with agent(tmp_path / "agent"):
        assert run("enrol", "--member", format_member(MEMBER), agent=tmp_path / "agent")[0] == 1

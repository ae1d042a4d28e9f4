"""Which weights are loaded, which are refused, and how a network that answers garbage is found out."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.core.recognition import LIVE_MIN
from edge.errors import ModelUnusable
from edge.vision.faces import alignment, detector, head_turn, liveness
from edge.vision.faces.weights import (
    MANIFEST,
    Answer,
    KnownAnswer,
    Role,
    Use,
    Weights,
    answer_of_detector,
    answer_of_embedder,
    answer_of_head_turn,
    answer_of_spoof_check,
    drawn_face,
    face_of_drawing,
    load_manifest,
    wrong_answer,
)
from tests.support.manifests import CONTENT, entry, file_of, write_manifest, write_weights

GIVEN = os.environ.get("DOORSTEP_MODELS")
needs_models = pytest.mark.skipif(not GIVEN, reason="DOORSTEP_MODELS is not set (a folder with the weights)")


# --- the project's manifest -------------------------------------------------------------------------------------------


def test_every_role_has_one_file_and_every_file_a_card() -> None:
    manifest = load_manifest()
    assert [model.role for model in manifest.loaded] == list(Role)
    assert {model.card for model in manifest.models} == {path.name for path in MANIFEST.parent.glob("*.md")}


def test_every_file_has_an_address_or_is_made_of_files_that_have_one() -> None:
    manifest = load_manifest()
    for model in manifest.models:
        parts = [manifest.of_file(file) for file in model.origin.converted_from]
        assert all(part.use is Use.SOURCE for part in parts)
        addresses = [part.origin.address for part in parts or [model]]
        assert all(address is not None and address.startswith("https://") for address in addresses)


def test_the_manifest_says_what_the_code_does() -> None:
    manifest = load_manifest()
    embedder = manifest.of_role(Role.EMBEDDER).input
    assert embedder is not None
    assert embedder.shape == (1, alignment.SIDE, alignment.SIDE, 3)
    assert np.allclose(np.array(embedder.alignment) * alignment.SIDE, alignment.REFERENCE)
    found = {role: [one.value for one in manifest.of_role(role).thresholds] for role in Role}
    assert found[Role.DETECTOR] == [detector.SCORE_MIN, detector.NMS]
    assert found[Role.SPOOF_NEAR] == [LIVE_MIN]
    assert found[Role.LANDMARKS] == [head_turn.PRESENCE_LOGIT_MIN]


# --- manifests that are not one ---------------------------------------------------------------------------------------


def spoilt(text: str) -> str:
    """A role whose file another one has."""
    return text.replace(file_of(Role.EMBEDDER), file_of(Role.DETECTOR))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda text: text + "[", "", id="no TOML"),
        pytest.param(lambda text: text + "surprise = 1\n", "unknown field", id="a name nobody knows"),
        pytest.param(lambda text: text.replace("bytes = ", "bytes = -"), ">= 1", id="less than nothing"),
        pytest.param(lambda text: text.replace('file = "', 'file = "../'), "regex", id="a file elsewhere"),
        pytest.param(lambda text: text.replace('"embedder"', '"detector"'), "named twice", id="a role twice"),
        pytest.param(spoilt, "named twice", id="a file twice"),
        pytest.param(lambda text: text[: text.rindex("[[models]]")], "missing", id="a role that nobody has"),
    ],
)
def test_a_manifest_that_is_none_is_refused(spoil: Callable[[str], str], reason: str, tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "MANIFEST.toml")
    load_manifest(path)
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ModelUnusable, match=f"(?s)MANIFEST.toml: .*{reason}"):
        load_manifest(path)


def test_a_manifest_with_a_source_it_does_not_name_is_refused(tmp_path: Path) -> None:
    more = entry("made.bin", b"made", use=Use.SPARE, parts='"graph.xml"')
    with pytest.raises(ModelUnusable, match="a source is missing"):
        load_manifest(write_manifest(tmp_path / "MANIFEST.toml", more=more))


def test_a_manifest_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot be read: No such file"):
        load_manifest(tmp_path / "MANIFEST.toml")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A whole folder and its manifest."""
    return Weights(write_weights(tmp_path / "models"), write_manifest(tmp_path / "MANIFEST.toml"))


def test_what_is_whole_is_given_out(weights: Weights) -> None:
    assert weights.missing() == ()
    assert {role: weights.load(role) for role in Role} == CONTENT


def test_what_is_missing_is_named_by_role(weights: Weights) -> None:
    (weights.folder / file_of(Role.EMBEDDER)).unlink()
    (weights.folder / file_of(Role.LANDMARKS)).unlink()
    assert weights.missing() == ("embedder.bin", "landmarks.bin")
    assert weights.missing([Role.DETECTOR, Role.EMBEDDER]) == ("embedder.bin",)
    with pytest.raises(ModelUnusable, match=r"is not in .*: run doorstep-edge models fetch"):
        weights.load(Role.EMBEDDER)
    assert weights.load(Role.DETECTOR) == CONTENT[Role.DETECTOR]


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    absent = Weights(tmp_path / "none", write_manifest(tmp_path / "MANIFEST.toml"))
    assert len(absent.missing()) == len(Role)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (CONTENT[Role.DETECTOR][:-1], "has 26 bytes, 27 are expected"),
        (CONTENT[Role.DETECTOR] + b"!", "has more than 27 bytes"),
        (CONTENT[Role.DETECTOR].swapcase(), "is another file: its SHA-256 begins [0-9a-f]{16}, [0-9a-f]{16} is exp"),
        (b"", "has 0 bytes"),
    ],
)
def test_another_file_is_refused(data: bytes, reason: str, weights: Weights) -> None:
    (weights.folder / file_of(Role.DETECTOR)).write_bytes(data)
    with pytest.raises(ModelUnusable, match=f"^detector.bin: {reason}"):
        weights.load(Role.DETECTOR)


def test_what_is_no_file_is_refused(weights: Weights) -> None:
    path = weights.folder / file_of(Role.DETECTOR)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelUnusable, match="cannot be read: Is a directory"):
        weights.load(Role.DETECTOR)


# --- answers ----------------------------------------------------------------------------------------------------------

KNOWN = KnownAnswer(side=16, values=(3.0, 4.0), length=13.0, tolerance=0.1)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        pytest.param([3, 4, 12], None, id="the known answer"),
        pytest.param([3.05, 4, 12.0], None, id="within the tolerance"),
        pytest.param([3.2, 4, 12], "off by 0.2 where 0.1 is allowed", id="another number"),
        pytest.param([3, 4, 11], "off by 0.917 where 0.1 is allowed", id="another number behind the known ones"),
        pytest.param([3, np.nan, 12], "off by nan where 0.1 is allowed", id="not a number"),
        pytest.param([3, 4, np.inf], "off by inf where 0.1 is allowed", id="without end"),
        pytest.param([3], "1 numbers where at least 2 are expected", id="too few"),
        pytest.param([], "0 numbers where at least 2 are expected", id="none"),
    ],
)
def test_an_answer_is_compared(numbers: list[float], reason: str | None) -> None:
    assert wrong_answer(KNOWN, lambda _: np.array(numbers, np.float32)) == reason


def test_the_drawn_face_is_where_it_is_said_to_be() -> None:
    picture, face = drawn_face(160), face_of_drawing(160)
    assert picture.shape == (160, 160, 3)
    assert picture.dtype == np.uint8
    for x, y in face.points[:2].astype(int):
        assert picture[y, x].max() < 60, "eyes are dark"
    assert picture[2, 2].tolist() == [150, 160, 165]
    assert face_of_drawing(320).eye_distance == 2 * face.eye_distance


@pytest.fixture(scope="module")
def given() -> Weights:
    """The weights of this machine."""
    return Weights(Path(str(GIVEN)))


@pytest.fixture(scope="module")
def answers(given: Weights) -> dict[Role, Answer]:
    """Every network of this machine, ready to be asked."""
    from edge.vision.faces.embedder import Embedder

    loaded = {role: given.load(role) for role in Role}
    return {
        Role.DETECTOR: answer_of_detector(detector.Detector(loaded[Role.DETECTOR])),
        Role.EMBEDDER: answer_of_embedder(Embedder(loaded[Role.EMBEDDER])),
        Role.SPOOF_NEAR: answer_of_spoof_check(liveness.SpoofCheck(loaded[Role.SPOOF_NEAR], loaded[Role.SPOOF_FAR])),
        Role.LANDMARKS: answer_of_head_turn(head_turn.HeadTurn(loaded[Role.LANDMARKS])),
    }


@needs_models
def test_the_networks_of_this_machine_answer_as_they_should(given: Weights, answers: dict[Role, Answer]) -> None:
    given.check_known_answers(answers)


@needs_models
@pytest.mark.parametrize("role", [Role.DETECTOR, Role.EMBEDDER, Role.SPOOF_NEAR, Role.LANDMARKS])
def test_colours_the_wrong_way_round_are_noticed(role: Role, given: Weights, answers: dict[Role, Answer]) -> None:
    def swapped(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return answers[role](np.ascontiguousarray(picture[:, :, ::-1]))

    with pytest.raises(ModelUnusable, match="answers garbage: off by"):
        given.check_known_answers({role: swapped})


@needs_models
def test_a_detector_that_finds_nothing_is_noticed(given: Weights) -> None:
    blind = detector.Detector(given.load(Role.DETECTOR), score_min=0.999)
    with pytest.raises(ModelUnusable, match="answers garbage: 0 numbers"):
        given.check_known_answers({Role.DETECTOR: answer_of_detector(blind)})


@needs_models
def test_nothing_is_printed_when_the_networks_are_loaded(given: Weights, capfd: pytest.CaptureFixture[str]) -> None:
    from edge.vision.faces.embedder import Embedder

    detector.Detector(given.load(Role.DETECTOR))
    Embedder(given.load(Role.EMBEDDER))
    assert capfd.readouterr() == ("", "")

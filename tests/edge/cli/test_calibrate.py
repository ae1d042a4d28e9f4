"""What `doorstep-edge faces calibrate` says of a folder of people, and the one line for each thing it cannot use."""

import os
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from edge.cli import calibrate
from edge.cli.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, drawing
from edge.errors import EdgeFault
from tests.bench.portraits import folders

FOLDERS = folders()
needs_portraits = pytest.mark.skipif(isinstance(FOLDERS, str), reason=str(FOLDERS))
PEOPLE = 16


def run(*words: str, models: Path = Path("no-such-folder")) -> Result:
    app = typer.Typer()
    app.command("calibrate")(calibrate.command(lambda home: models))
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def refused(*words: str) -> str:
    """The one line said when nothing can be measured."""
    result = run(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.strip()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEOPLE of the portraits with four pictures or more and as many with one, as links."""
    assert not isinstance(FOLDERS, str)
    root = tmp_path_factory.mktemp("people")
    several, single = 0, 0
    for source in sorted(FOLDERS[0].iterdir()):
        pictures = sorted(source.iterdir())
        wanted = (len(pictures) >= 4 and several < PEOPLE) or (len(pictures) == 1 and single < PEOPLE)
        if wanted:
            several, single = several + (len(pictures) > 1), single + (len(pictures) == 1)
            (root / source.name).mkdir()
            for picture in pictures:
                (root / source.name / picture.name).symlink_to(picture)
    return root


def measured(*words: str) -> tuple[calibrate.Report, str]:
    """The report as it is decoded from JSON, and what was said beside it."""
    assert not isinstance(FOLDERS, str)
    result = run(*words, "--splits", "2", "--json", models=FOLDERS[1])
    assert result.exit_code == 0, result.stderr
    return msgspec.json.decode(result.stdout, type=calibrate.Report), result.stderr


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_or_holds_nobody_is_one_line(tmp_path: Path) -> None:
    absent = run("--images", str(tmp_path / "absent"))
    assert absent.exit_code == 1
    assert absent.stderr.splitlines()[0] == f"{tmp_path / 'absent'}: cannot be read: No such file or directory"
    assert "fewer than two sub-folders" in refused("--images", str(tmp_path))
    (tmp_path / "Anna").mkdir()
    (tmp_path / "Anna" / "1.png").write_bytes(b"")
    (tmp_path / "beside.png").write_bytes(b"")
    assert "fewer than two sub-folders" in refused("--images", str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "Anna").mkdir(mode=0o000)
    result = run("--images", str(tmp_path))
    assert result.stderr.startswith(f"{tmp_path / 'Anna'}: cannot be read: Permission denied\n")


def test_too_many_pictures_are_refused_before_any_is_read(tmp_path: Path) -> None:
    for name in ("Anna", "Bert"):
        (tmp_path / name).mkdir()
    (tmp_path / "Bert" / "1.png").touch()
    for number in range(calibrate.PICTURES_MAX):
        os.mknod(tmp_path / "Anna" / f"{number}.png")
    line = refused("--images", str(tmp_path))
    assert line.endswith(f"has {calibrate.PICTURES_MAX + 1} pictures, at most {calibrate.PICTURES_MAX} are compared")


@pytest.mark.parametrize("content", [b"", b"a.jpg,b.jpg,1\n", b"1 1\nA 1 2\nA 1 3\n", b"\xff\xfe\x00"])
def test_an_unknown_pairs_format_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.txt").write_bytes(content)
    line = refused("--images", str(tmp_path), "--pairs", str(tmp_path / "pairs.txt"))
    assert line.startswith(f"faces calibrate: {tmp_path / 'pairs.txt'}: ")
    assert "Labeled Faces in the Wild" in line


def test_a_list_of_pairs_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    line = refused("--images", str(tmp_path), "--pairs", str(tmp_path / "pairs.txt"))
    assert line == f"faces calibrate: {tmp_path / 'pairs.txt'} cannot be read: No such file or directory"


def test_without_weights_the_fault_names_the_file(tmp_path: Path) -> None:
    for name in ("Anna/1.png", "Bert/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(EdgeFault, match="models fetch"):
        run("--images", str(tmp_path), models=tmp_path)


@pytest.mark.parametrize("words", [("--false-positives", "0"), ("--false-positives", "1"), ("--gallery", "0")])
def test_a_rate_or_gallery_that_makes_no_sense_is_a_wrong_option(tmp_path: Path, words: tuple[str, str]) -> None:
    assert run("--images", str(tmp_path), *words).exit_code == 2


# --- measured ---------------------------------------------------------------------------------------------------------


@needs_portraits
def test_a_report_holds_rates_for_what_the_pictures_carry_and_reasons_for_the_rest(people: Path) -> None:
    report, complaints = measured("--images", str(people), "--false-positives", "0.05", "--gallery", "5")
    assert complaints == ""
    assert (report.people, report.left_out) == (2 * PEOPLE, 0)
    assert abs(report.verification.other_mean) < 0.05
    rates = {rate.far: rate for rate in report.verification.tar_at_far}
    assert isinstance(rates[0.01].tar, float)
    assert rates[0.01].tar > 0.95
    assert isinstance(rates[0.01].cosine, float)
    assert 0.15 < rates[0.01].cosine < 0.35
    assert rates[1e-6].tar is None
    assert str(rates[1e-6].refused).startswith("too few pairs of two people: 30,000,000 are needed")
    searches = {(run.templates, run.frames): run for run in report.identification}
    assert set(searches) == {(1, 1), (1, 3), (3, 1), (3, 3)}
    assert (searches[1, 1].enrolled, searches[1, 1].stranger_searches) == (PEOPLE, PEOPLE)
    fnir = {rate.fpir: rate.fnir for rate in searches[1, 1].fnir_at_fpir}
    assert fnir[0.01] is fnir[0.003] is None  # of sixteen strangers none is one in a hundred
    assert isinstance(fnir[0.1], float)
    assert fnir[0.1] < 0.2
    one, three = report.thresholds
    assert one.low is not None
    assert one.high is not None
    assert one.deviations is not None
    assert one.low <= one.deviations <= one.high
    assert one.errors is not None
    assert one.errors >= 30
    assert str(three.refused).startswith("too few pairs of two people with 3 pictures each")
    said = msgspec.json.encode(report).decode()
    assert not any(folder.name in said for folder in people.iterdir())


@needs_portraits
def test_a_technician_reads_the_same(people: Path, tmp_path: Path) -> None:
    assert not isinstance(FOLDERS, str)
    plot = tmp_path / "curves.svg"
    result = run("--images", str(people), "--splits", "1", "--plot", str(plot), models=FOLDERS[1])
    assert result.exit_code == 0
    assert re.search(r"false accepts 0.01: accepted \d+\.\d\d %, cosine above 0\.\d{3}", result.stdout)
    assert "false accepts 1e-06: too few pairs of two people" in result.stdout
    assert "1 enrolled, 1 searched with: 16 members" in result.stdout
    assert "strangers taken for somebody 0.003: too few strangers" in result.stdout
    assert re.search(
        r"480 enrolled, .* 0.003: none recommended, too few pairs .* the product asks for 5\.74", result.stdout
    )
    drawn = ElementTree.fromstring(plot.read_text())
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) >= 4
    laxer = ("--false-positives", "0.05", "--gallery", "5", "--splits", "1", "--plot", str(tmp_path))
    again = run("--images", str(people), *laxer, models=FOLDERS[1])
    assert again.exit_code == 1
    assert re.search(r"0\.05: \d\.\d\d deviations \(\d\.\d\d to \d\.\d\d, 95 %\), about cosine 0\.\d{3};", again.stdout)
    assert again.stderr == f"faces calibrate: {tmp_path} cannot be written: Is a directory\n"


@needs_portraits
def test_pictures_that_cannot_be_used_are_named_and_the_rest_goes_on(people: Path, tmp_path: Path) -> None:
    import cv2

    for name in ("Anna", "Bert"):
        (tmp_path / name).mkdir()
    sources = [folder for folder in sorted(people.iterdir()) if len(list(folder.iterdir())) > 1][:2]
    for name, source in zip(("Anna", "Bert"), sources, strict=True):
        for picture in source.iterdir():
            (tmp_path / name / picture.name).symlink_to(picture)
    good = sorted((tmp_path / "Anna").iterdir())[0]
    whole = good.read_bytes()
    (tmp_path / "Anna" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "Bert" / "text.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "Bert" / "empty.png"), np.full((200, 200, 3), 128, np.uint8))
    portrait = cv2.imread(str(good))
    assert portrait is not None
    cv2.imwrite(str(tmp_path / "Anna" / "small.png"), cv2.resize(portrait, (70, 70), interpolation=cv2.INTER_AREA))
    report, complaints = measured("--images", str(tmp_path))
    assert (report.people, report.left_out) == (2, 4)
    lines = dict(line.split(": ", 1) for line in complaints.splitlines())
    assert lines[str(tmp_path / "Anna" / "cut.jpg")] == "ends before the picture does"
    assert "no face" in lines[str(tmp_path / "Bert" / "empty.png")]
    assert "pixels between the eyes, 18 are needed" in lines[str(tmp_path / "Anna" / "small.png")]
    assert len(lines) == 4


@needs_portraits
def test_people_with_one_picture_each_can_be_mixed_up_but_not_missed(people: Path, tmp_path: Path) -> None:
    for source in people.iterdir():
        (tmp_path / source.name).mkdir()
        (tmp_path / source.name / "1.jpg").symlink_to(min(source.iterdir()))
    report, _ = measured("--images", str(tmp_path))
    assert report.verification.pairs_same == 0
    reasons = {rate.refused for rate in report.verification.tar_at_far}
    assert reasons == {"too few pairs of one person: 1 are needed, 0 are there"}
    for searches in report.identification:
        assert str(searches.refused).startswith("too few pictures of each of several people")


@needs_portraits
def test_a_list_of_pairs_is_verified_by_folds(people: Path, tmp_path: Path) -> None:
    shown = [sorted(folder.iterdir()) for folder in sorted(people.iterdir())]
    several = [[picture.stem.rsplit("_", 1) for picture in pictures] for pictures in shown if len(pictures) > 1]
    lines = ["2 8"]
    for fold in (several[:8], several[8:]):
        lines += [f"{one[0][0]} {one[0][1]} {one[1][1]}" for one in fold]
        lines += [" ".join([*one[0], *other[1]]) for one, other in pairwise([*fold, fold[0]])]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    report, _ = measured("--images", str(people), "--pairs", str(tmp_path / "pairs.txt"))
    verified = report.verification
    assert (verified.pairs_same, verified.pairs_other, verified.folds, verified.pairs_missing) == (16, 16, 2, 0)
    assert verified.accuracy is not None
    assert verified.accuracy >= 0.9
    assert not isinstance(FOLDERS, str)
    words = ("--images", str(people), "--pairs", str(tmp_path / "pairs.txt"), "--splits", "1")
    one, other = several[0][0], several[1][0]
    (tmp_path / "pairs.txt").write_text(f"1\nNobody 1 2\n{' '.join([*one, *other])}")
    result = run(*words, models=FOLDERS[1])
    assert result.exit_code == 0
    assert "1 pairs of the list name pictures that are not there" in result.stdout
    assert "pairs: 0 of one person, 1 of two" in result.stdout
    (tmp_path / "pairs.txt").write_text("1\nNobody 1 2\nNobody 1 Noone 2")
    result = run(*words, models=FOLDERS[1])
    assert result.exit_code == 1
    assert result.stderr == "faces calibrate: no pair of two people in the list names pictures that could be used\n"


# --- curves -----------------------------------------------------------------------------------------------------------


def test_a_drawing_is_sound_and_stays_on_its_axes() -> None:
    curves = [
        Curve(name="<one> & more", points=((1e-9, 1.0), (1e-3, 0.01), (1.0, 0.0))),
        Curve(name="two", points=((0.1, 0.1), (0.3, 2.0))),
    ]
    drawn = ElementTree.fromstring(drawing("a title", "x", "y", curves))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert LEFT <= x <= WIDTH - RIGHT
            assert TOP <= y <= HEIGHT - BOTTOM
    first = lines[0].attrib["points"].split()
    assert first[0] == f"{LEFT:.1f},{TOP:.1f}"
    assert first[-1] == f"{WIDTH - RIGHT:.1f},{HEIGHT - BOTTOM:.1f}"
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a title", "x", "y", "<one> & more", "two"} <= set(texts)

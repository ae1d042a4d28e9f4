"""Addresses: a closed set, each wrong one refused with the names of the right ones, no secret repeated."""

from pathlib import Path

import pytest

from edge.camera.address import KNOWN, CameraAddress, Scheme, open_camera, parse_address
from edge.camera.options import CameraOptions
from edge.errors import CameraUnavailable, SettingsWrong, UnknownAddress
from tests.support.step_clock import StepClock


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("picamera2:", CameraAddress(scheme=Scheme.PICAMERA2, place="", shown="picamera2:")),
        ("picamera2:1", CameraAddress(scheme=Scheme.PICAMERA2, place="1", shown="picamera2:1")),
        ("v4l2:0", CameraAddress(scheme=Scheme.V4L2, place="0", shown="v4l2:0")),
        ("v4l2:/dev/door", CameraAddress(scheme=Scheme.V4L2, place="/dev/door", shown="v4l2:/dev/door")),
        ("/dev/video2", CameraAddress(scheme=Scheme.V4L2, place="/dev/video2", shown="/dev/video2")),
        ("synthetic:", CameraAddress(scheme=Scheme.SYNTHETIC, place="", shown="synthetic:")),
        (
            "synthetic:a b.json?seed=9",
            CameraAddress(scheme=Scheme.SYNTHETIC, place="a b.json", shown="synthetic:a b.json?seed=9", seed=9),
        ),
        (
            "file:/films/door:1.mp4?pace=fast&loop=1",
            CameraAddress(
                scheme=Scheme.FILE,
                place="/films/door:1.mp4",
                shown="file:/films/door:1.mp4?pace=fast&loop=1",
                is_fast=True,
                is_looped=True,
            ),
        ),
        (
            "dir:x?rate=2.5&pace=real&loop=0",
            CameraAddress(scheme=Scheme.DIR, place="x", shown="dir:x?rate=2.5&pace=real&loop=0", rate_fps=2.5),
        ),
        (
            "rtsp://guest:secret@10.0.0.9:554/door?token=secret",
            CameraAddress(
                scheme=Scheme.RTSP,
                place="rtsp://guest:secret@10.0.0.9:554/door?token=secret",
                shown="rtsp://10.0.0.9:554/door",
            ),
        ),
    ],
)
def test_an_address_is_taken_apart(text: str, address: CameraAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "camera", "http://guest:secret@host/", "FILE:x", "file:", "dir:", "v4l2:", "v4l2:front"),
        *("picamera2:front", "picamera2:²", "rtsp:door", "rtsp://[bad"),
    ],
)
def test_an_unknown_address_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UnknownAddress) as refusal:
        parse_address(text)
    assert refusal.value.known == KNOWN
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        *("file:x?pace=slow", "file:x?loop=yes", "file:x?rate=3", "file:x?colour=1", "dir:x?rate=0.5"),
        *("dir:x?rate=nan", "dir:x?rate=inf", "dir:x?rate=", "synthetic:?seed=-1", "synthetic:?loop=1"),
        "v4l2:0?pace=fast",
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(SettingsWrong):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "has_sensor"),
    [
        *(("picamera2:", True), ("v4l2:0", True), ("rtsp://h/", True)),
        *(("file:x", False), ("dir:x", False), ("synthetic:", False)),
    ],
)
def test_only_light_makes_noise(text: str, has_sensor: bool) -> None:
    assert parse_address(text).has_sensor is has_sensor


@pytest.mark.parametrize("text", ["v4l2:/dev/video99", "file:/no/such.mp4", "dir:/no/such", "synthetic:/no/such.json"])
def test_what_is_not_there_is_told_by_its_address_when_opened(text: str) -> None:
    camera = open_camera(text, CameraOptions(), StepClock().for_camera)
    assert camera.address == text
    with pytest.raises(CameraUnavailable) as fault:
        camera.open()
    assert fault.value.address == text


def test_a_python_without_picamera2_is_told_so() -> None:
    camera = open_camera("picamera2:", CameraOptions(), StepClock().for_camera)
    with pytest.raises(CameraUnavailable, match="python3-picamera2"):
        camera.open()


def test_a_file_that_is_no_film_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"this is no film" * 100)
    with pytest.raises(CameraUnavailable):
        open_camera(f"file:{path}", CameraOptions(), StepClock().for_camera).open()

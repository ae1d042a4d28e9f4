"""The one place that knows which addresses there are. Each source's libraries are loaded when it is chosen."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import assert_never
from urllib.parse import parse_qsl, urlsplit

from edge.camera.options import CameraClock, CameraOptions
from edge.errors import SettingsWrong, UnknownAddress
from edge.ports import Camera

RATE_MIN_FPS, RATE_MAX_FPS = 1.0, 240.0  # slower than one a second and every read of ours would time out


class Scheme(StrEnum):
    """Every kind of camera."""

    PICAMERA2 = "picamera2"
    V4L2 = "v4l2"
    RTSP = "rtsp"
    FILE = "file"
    DIR = "dir"
    SYNTHETIC = "synthetic"


KNOWN = ("picamera2:[N]", "v4l2:N", "/dev/videoN", "rtsp://…", "file:PATH", "dir:PATH", "synthetic:[PATH]")

_SETTINGS: dict[Scheme, frozenset[str]] = {
    Scheme.PICAMERA2: frozenset(),
    Scheme.V4L2: frozenset(),
    Scheme.RTSP: frozenset(),
    Scheme.FILE: frozenset({"pace", "loop"}),
    Scheme.DIR: frozenset({"pace", "loop", "rate"}),
    Scheme.SYNTHETIC: frozenset({"pace", "seed"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraAddress:
    """An address taken apart. `place` is a number, path or URL; `shown` is the address without credentials."""

    scheme: Scheme
    place: str
    shown: str
    is_fast: bool = False
    is_looped: bool = False
    rate_fps: float | None = None
    seed: int = 1

    @property
    def has_sensor(self) -> bool:
        """True where no two pictures are ever the same, because light is counted."""
        return self.scheme in (Scheme.PICAMERA2, Scheme.V4L2, Scheme.RTSP)


def parse_address(text: str) -> CameraAddress:
    """The address's parts. Raises: UnknownAddress, SettingsWrong."""
    if text.startswith("/dev/video"):
        return CameraAddress(scheme=Scheme.V4L2, place=text, shown=text)
    name, colon, rest = text.partition(":")
    if not colon or name not in set(Scheme):
        raise UnknownAddress(name, KNOWN)
    scheme = Scheme(name)
    if scheme is Scheme.RTSP:
        return CameraAddress(scheme=scheme, place=text, shown=_without_credentials(text))
    place, _, query = rest.partition("?")
    address = CameraAddress(scheme=scheme, place=place, shown=text)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _SETTINGS[scheme]:
            raise SettingsWrong(f"camera address {scheme}: takes no {key!r}")
        address = _with_setting(address, key, value)
    if not _is_place(scheme, place):
        raise UnknownAddress(text, KNOWN)
    return address


def _is_place(scheme: Scheme, place: str) -> bool:
    match scheme:
        case Scheme.PICAMERA2:
            return place == "" or place.isdecimal()
        case Scheme.V4L2:
            return place.isdecimal() or place.startswith("/dev/")
        case Scheme.FILE | Scheme.DIR:
            return place != ""
        case Scheme.RTSP | Scheme.SYNTHETIC:
            return True
        case _:
            assert_never(scheme)


def _with_setting(address: CameraAddress, key: str, value: str) -> CameraAddress:
    match key, value:
        case "pace", "fast" | "real":
            return replace(address, is_fast=value == "fast")
        case "loop", "0" | "1":
            return replace(address, is_looped=value == "1")
        case "seed", _ if value.isdecimal():
            return replace(address, seed=int(value))
        case "rate", _ if (rate_fps := _rate(value)) is not None:
            return replace(address, rate_fps=rate_fps)
        case _:
            raise SettingsWrong(f"camera address: {key}={value} cannot be used")


def _rate(value: str) -> float | None:
    try:
        rate_fps = float(value)
    except ValueError:
        return None
    return rate_fps if RATE_MIN_FPS <= rate_fps <= RATE_MAX_FPS else None


def _without_credentials(url: str) -> str:
    """The URL's scheme, host and path: user, password and query may hold a secret. Raises: UnknownAddress."""
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise UnknownAddress("rtsp:", KNOWN) from fault
    if not parts.netloc:
        raise UnknownAddress("rtsp:", KNOWN)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_camera(text: str, options: CameraOptions, clock: CameraClock) -> Camera:
    """The camera at the address; entering it as a context opens it. Raises: UnknownAddress, SettingsWrong."""
    address = parse_address(text)
    match address.scheme:
        case Scheme.PICAMERA2:
            from edge.camera.raspberry import RaspberryCamera

            return RaspberryCamera(address.shown, int(address.place or "0"), options, clock)
        case Scheme.V4L2:
            from edge.camera.usb import usb_camera

            return usb_camera(address.shown, address.place, options, clock)
        case Scheme.RTSP:
            from edge.camera.rtsp import rtsp_camera

            return rtsp_camera(address.shown, address.place, options, clock)
        case Scheme.FILE | Scheme.DIR | Scheme.SYNTHETIC:
            return _open_recording(address, options, clock)
        case _:
            assert_never(address.scheme)


def _open_recording(address: CameraAddress, options: CameraOptions, clock: CameraClock) -> Camera:
    from edge.camera.recorded import Pace

    pace = Pace.FAST if address.is_fast else Pace.REAL
    path = Path(address.place).expanduser()
    if address.scheme is Scheme.FILE:
        from edge.camera.video import Video

        return Video(address.shown, path, options, clock, pace=pace, is_looped=address.is_looped)
    if address.scheme is Scheme.DIR:
        from edge.camera.folder import Folder

        rate_fps = address.rate_fps or options.rate_fps
        return Folder(address.shown, path, options, clock, pace=pace, is_looped=address.is_looped, rate_fps=rate_fps)
    from edge.camera.synthetic import SyntheticCamera

    return SyntheticCamera(address.shown, path if address.place else None, options, clock, pace=pace, seed=address.seed)

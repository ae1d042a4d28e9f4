"""`rtsp://…`: a camera on a network, for development. The shipped capture unit has no network and cannot open one."""

import cv2

from edge.camera.options import CameraClock, CameraOptions
from edge.camera.pump import Pump, Source

READ_TIMEOUT_MS = 5_000


def rtsp_camera(address: str, url: str, options: CameraOptions, clock: CameraClock) -> Pump:
    """The camera at the URL, not yet open. Its `address` shows no credentials; FFmpeg in OpenCV prefers TCP itself."""
    settings = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(options.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        READ_TIMEOUT_MS,
    ]

    def connect() -> Source:
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, settings)

    return Pump(address, connect, options, clock)

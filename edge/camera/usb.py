"""`v4l2:0`, `v4l2:/dev/video0`: a camera that the kernel knows, through OpenCV."""

import cv2

from edge.camera.options import CameraClock, CameraOptions
from edge.camera.pump import Pump, Source


def usb_camera(address: str, device: str, options: CameraOptions, clock: CameraClock) -> Pump:
    """The camera at a device path or number, not yet open."""

    def connect() -> Source:
        return _open(device, options)

    return Pump(address, connect, options, clock)


def _open(device: str, options: CameraOptions) -> Source:
    source = cv2.VideoCapture(int(device) if device.isdecimal() else device, cv2.CAP_V4L2)
    # Motion JPEG first: uncompressed 720p does not pass through USB 2 at more than 10 pictures a second.
    source.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    source.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
    source.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
    source.set(cv2.CAP_PROP_FPS, options.rate_fps)
    source.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return source

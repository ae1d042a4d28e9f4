"""The mediapipe package's own reading of a face, to compare ours with. Also a program: FRAMES.npz in, READING.npz out.

Releases up to 0.10.21 hold our landmark model in their wheel and run it: their mesh must be ours. They need numpy below
2 and cannot share an environment with Doorstep, so the program imports nothing of this project and runs in any
interpreter that has the package. Later releases hold no model and take no landmark model but a newer one; they do run
the old face detector, which gives six points: an independent word on where a head is turned.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

POINTS = 468
SIX = 6
DETECTOR_FILE = "mediapipe_face_detection_short_range.tflite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a release of the package sees in some frames: points (N, 468, 3) or (N, 6, 2), NaN where it found no face.

    In pixels, depth growing away from the camera. The six are the eyes, the tip of the nose, the middle of the mouth
    and the ears, each pair with the picture's left one first.
    """

    version: str
    points: NDArray[np.float32]

    @property
    def is_mesh(self) -> bool:
        """Whether the points are those of our own model."""
        return bool(self.points.shape[1] == POINTS)


def reading(frames: list[NDArray[np.uint8]], models: Path) -> Reading | str:
    """What the package of this interpreter sees, or why it cannot tell. Shape and dtype: (H, W, 3) uint8 BGR each."""
    try:
        package = importlib.import_module("mediapipe")
    except ImportError as fault:
        return f"mediapipe cannot be imported: {fault}"
    coloured = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in frames]
    if hasattr(package, "solutions"):
        return Reading(version=package.__version__, points=_mesh(package, coloured))
    if not (models / DETECTOR_FILE).is_file():
        return f"mediapipe {package.__version__} holds no model and {DETECTOR_FILE} is not in the folder of models"
    try:
        return Reading(version=package.__version__, points=_six(package, models / DETECTOR_FILE, coloured))
    except OSError as fault:  # its native part wants libEGL and libGLESv2
        return f"mediapipe {package.__version__} cannot run: {fault}"


def _mesh(package: ModuleType, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    found = np.full((len(frames), POINTS, 3), np.nan, np.float32)
    with package.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1) as mesh:
        for place, frame in enumerate(frames):
            height, width = frame.shape[:2]
            answer = mesh.process(frame)
            if answer.multi_face_landmarks:
                points = answer.multi_face_landmarks[0].landmark
                found[place] = [(point.x * width, point.y * height, point.z * width) for point in points]
    return found


def _six(package: ModuleType, detector: Path, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    tasks = importlib.import_module("mediapipe.tasks.python")
    options = tasks.vision.FaceDetectorOptions(base_options=tasks.BaseOptions(model_asset_path=str(detector)))
    found = np.full((len(frames), SIX, 2), np.nan, np.float32)
    with tasks.vision.FaceDetector.create_from_options(options) as net:
        for place, frame in enumerate(frames):
            height, width = frame.shape[:2]
            faces = net.detect(package.Image(image_format=package.ImageFormat.SRGB, data=frame)).detections
            if faces:
                largest = max(faces, key=lambda face: face.bounding_box.width)
                found[place] = [(point.x * width, point.y * height) for point in largest.keypoints]
    return found


def main(given: str, back: str, models: str) -> str | None:
    """What went wrong, or None."""
    with np.load(given) as frames:
        found = reading([frames[name] for name in frames.files], Path(models))
    if isinstance(found, str):
        return found
    np.savez(back, points=found.points, version=found.version)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

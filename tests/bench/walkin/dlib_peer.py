"""dlib as the `face_recognition` package calls it, in a Python of its own: `dlib_peer.py MODELS FRAMES N H W WIDTH UP`.

Runs outside the project's environment, which has no dlib, so nothing of the project is imported. FRAMES is a file of N
pictures (H, W, 3) uint8 BGR; each is reduced to WIDTH pixels across by taking every k-th, and searched enlarged UP
times.
Prints JSON: processor seconds of each frame, and the faces found in all.
"""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np


def main(models: str, frames: str, count: str, height: str, width: str, across: str, up: str) -> None:
    """HOG detector, five points, ResNet: `face_locations` and then `face_encodings` with their defaults."""
    dlib = importlib.import_module("dlib")
    detect = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(str(Path(models) / "shape_predictor_5_face_landmarks.dat"))
    encode = dlib.face_recognition_model_v1(str(Path(models) / "dlib_face_recognition_resnet_model_v1.dat"))
    pictures = np.memmap(frames, np.uint8, "r", shape=(int(count), int(height), int(width), 3))
    step = int(width) // int(across)
    seconds, faces = [], 0
    for picture in pictures:
        began = time.process_time()
        image = np.ascontiguousarray(picture[::step, ::step, ::-1])
        for box in detect(image, int(up)):
            encode.compute_face_descriptor(image, points(image, box), 1)
            faces += 1
        seconds.append(time.process_time() - began)
    print(json.dumps({"seconds": seconds, "faces": faces}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A program that publishes pictures as fast as it can until it is killed: `python -m tests.support.frame_flood PATH`.

Every byte of picture n is n modulo 251, so a picture made of two shows.
"""

import sys
from pathlib import Path

import numpy as np

from edge.channel.frames import FrameWriter
from edge.ports import Frame

WIDTH, HEIGHT = 640, 360


def flood(path: Path) -> None:
    pixels = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    with FrameWriter(path, pixels.nbytes) as writer:
        for sequence in range(1, 1_000_000):
            pixels.fill(sequence % 251)
            writer.publish(Frame(pixels=pixels, captured_ns=sequence, sequence=sequence))


if __name__ == "__main__":
    flood(Path(sys.argv[1]))

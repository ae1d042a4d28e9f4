"""Turns an aligned face into 256 numbers with face-reidentification-retail-0095 on LiteRT."""

import math
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.vision.quiet import quiet_stderr

SIZE: Final = 256
IDENTITY_BYTES: Final = 8


class Embedder:
    """One interpreter with one thread. Not for several threads at once.

    `identity` names the weights in every template made with them: the first 8 bytes of their SHA-256. Templates of two
    embedders never meet.
    """

    def __init__(self, tflite: bytes) -> None:
        self.identity = sha256(tflite).digest()[:IDENTITY_BYTES]
        with quiet_stderr():  # LiteRT announces the library it computes with
            from ai_edge_litert.interpreter import Interpreter  # 6 MiB that a door without faces need not pay

            self._net = Interpreter(model_content=tflite, num_threads=1)
            self._net.allocate_tensors()
        self._input: int = self._net.get_input_details()[0]["index"]
        self._output: int = self._net.get_output_details()[0]["index"]

    def embed(self, crop: NDArray[np.uint8], into: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The face's direction: a vector of length 1, in `into` when it is given, with no other copy of it made.

        Shape and dtype: crop (128, 128, 3) uint8 BGR, aligned; into and what is returned (256,) float32.
        """
        self._net.tensor(self._input)()[0] = crop
        self._net.invoke()
        found = np.empty(SIZE, np.float32) if into is None else into
        np.copyto(found, self._net.tensor(self._output)()[0].reshape(SIZE))
        length = math.sqrt(float(found @ found))
        if length:
            found /= np.float32(length)
        return found

    def wipe(self) -> None:
        """Leaves nothing of the last face in the interpreter's input."""
        self._net.tensor(self._input)()[:] = 0

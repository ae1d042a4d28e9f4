"""Turns a vector by the rotation that belongs to a group's secret.

A rotation keeps every score inside a group as it was and makes the scores between two groups those of strangers: a
template can be renewed by changing the secret, and who is in two shops cannot be told from two stolen galleries whose
secrets stayed where they were. It hides nothing from whoever holds the secret; it is no encryption and not claimed to
be irreversible (ISO/IEC 24745).
"""

from hashlib import shake_256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.embedder import SIZE

Secret = bytes | bytearray | memoryview
"""Key material as it is held: in a bytearray that can be wiped."""

_CONTEXT: Final = b"DSR1"
_WORD_BYTES: Final = 8
_UNIT: Final = 2.0**-53


def rotation(secret: Secret) -> NDArray[np.float32]:
    """The secret's rotation, drawn evenly from all rotations and mirrored rotations (Haar measure).

    Shape and dtype: (SIZE, SIZE) float32, orthogonal. The same secret gives the same matrix on every machine but for
    the last bit of its numbers. Source: Mezzadri 2007, "How to generate random matrices from the classical compact
    groups": QR of Gaussian numbers is even only once the signs of R's diagonal are fixed.
    """
    q, r = np.linalg.qr(_gaussians(secret, SIZE * SIZE).reshape(SIZE, SIZE))
    return np.asarray(q * np.sign(np.diagonal(r)), np.float32)


class Rotation:
    """One secret's rotation, ready to turn vectors; `wipe` when it is no longer needed."""

    def __init__(self, secret: Secret) -> None:
        self._matrix = rotation(secret)

    def __repr__(self) -> str:
        return "Rotation(…)"

    def turn(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector, or each row, in the group's own space. Shape and dtype: (…, SIZE) float32, both."""
        return np.asarray(vector @ self._matrix.T, np.float32)

    def turn_back(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector, or each row, as the embedder made it. Shape and dtype: (…, SIZE) float32, both."""
        return np.asarray(vector @ self._matrix, np.float32)

    def wipe(self) -> None:
        """Leaves nothing of the matrix."""
        self._matrix.fill(0)


def _gaussians(secret: Secret, count: int) -> NDArray[np.float64]:
    """Normally distributed numbers from the secret (SHAKE-256 stream, Box and Muller 1958)."""
    stream = shake_256(_CONTEXT)
    stream.update(secret)
    words = np.frombuffer(stream.digest(count * _WORD_BYTES), "<u8") >> np.uint64(11)
    uniform = (words.astype(np.float64) + 0.5) * _UNIT  # never 0, whose logarithm there is not
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0::2])), 2.0 * np.pi * uniform[1::2]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).ravel()

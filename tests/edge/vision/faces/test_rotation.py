"""A secret's rotation: the same every time, orthogonal, evenly drawn, and nothing of it left after the wipe."""

import numpy as np
from numpy.typing import NDArray

from edge.vision.faces.rotation import Rotation, rotation

SECRET = bytes(range(32))


def directions(count: int, seed: int = 1) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 256))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_the_same_secret_turns_alike_and_another_does_not() -> None:
    assert np.array_equal(rotation(SECRET), rotation(bytearray(SECRET)))
    assert np.abs(rotation(SECRET) - rotation(b"o" * 32)).max() > 0.1


def test_a_rotation_is_frozen() -> None:
    """A kiosk that was updated must still turn as its neighbours do; the last bits depend on the machine."""
    first = rotation(SECRET)[0, :4]
    np.testing.assert_allclose(first, [-0.04259354, -0.02828129, -0.01336026, -0.0880323], atol=1e-6)


def test_a_rotation_keeps_lengths_and_scores() -> None:
    matrix = rotation(SECRET).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(256), atol=2e-6)
    vectors = directions(20)
    turned = Rotation(SECRET).turn(vectors)
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=2e-6)


def test_turning_back_undoes_it() -> None:
    turning, vectors = Rotation(SECRET), directions(5)
    np.testing.assert_allclose(turning.turn_back(turning.turn(vectors)), vectors, atol=2e-6)
    np.testing.assert_allclose(turning.turn(vectors)[2], turning.turn(vectors[2]), atol=1e-6)


def test_rotations_are_drawn_evenly() -> None:
    """Any entry of an evenly drawn one has mean 0 and variance 1/256; without the signs the diagonal is lopsided."""
    drawn = np.stack([rotation(bytes([number]) * 32) for number in range(40)])
    diagonal = np.diagonal(drawn, axis1=1, axis2=2)
    assert abs(float(diagonal.mean())) < 4 / np.sqrt(256 * diagonal.size)
    assert abs(float(diagonal.var()) * 256 - 1) < 0.1
    signs = np.sign([np.linalg.det(matrix.astype(np.float64)) for matrix in drawn])
    assert set(signs) == {-1.0, 1.0}


def test_nothing_is_left_after_the_wipe() -> None:
    turning = Rotation(SECRET)
    turning.wipe()
    assert not turning.turn(directions(1)).any()
    assert repr(turning) == "Rotation(…)"

"""The workbench: what is embedded is what tells people apart, also in the dusk."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.faces.alignment import align
from edge.vision.faces.probe import SMOOTHED_BELOW_GREY, Workbench
from tests.edge.vision.faces.scenes import bob, door, needs_models, networks

pytestmark = needs_models

FRAMES = 8


def dusk(pixels: NDArray[np.uint8], gain: float, seed: int) -> NDArray[np.uint8]:
    """The frame as a sensor sees it that gets too little light."""
    noise = np.random.default_rng(seed).normal(0, 7, pixels.shape)
    return np.clip(np.rint(pixels * gain + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("gain", "is_smoothed"), [(0.22, True), (1.0, False)])
def test_a_dark_face_is_smoothed_and_is_more_like_itself_in_the_light_for_it(gain: float, is_smoothed: bool) -> None:
    loaded = networks()
    bench = Workbench(loaded.embedder)
    lit = door((bob(), (560, 230)))
    (face,) = loaded.detector.detect(lit)
    itself = loaded.embedder.embed(align(lit, face.points)).copy()
    smoothed, raw = [], []
    for seed in range(FRAMES):
        frame = dusk(lit, gain, seed)
        assert (bench.align(frame, face).grey < SMOOTHED_BELOW_GREY) is is_smoothed
        smoothed.append(float(bench.embed() @ itself))
        raw.append(float(loaded.embedder.embed(align(frame, face.points)) @ itself))
    if is_smoothed:
        assert np.mean(smoothed) > np.mean(raw)
    else:
        assert smoothed == pytest.approx(raw)

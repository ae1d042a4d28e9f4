"""The embedder's files are made of their sources, byte for byte. The heavy libraries are on few machines."""

import importlib.metadata
import os
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelUnusable
from edge.vision.faces.conversion import Kind, Layer, _with_biases, library, onnx_of, read_network, tflite_of
from edge.vision.faces.weights import Model, Weights

GIVEN = os.environ.get("DOORSTEP_MODELS")
MADE = ("face_reidentification_retail_0095_fp16.tflite", "face_reidentification_retail_0095.onnx")


def why_not(model: Model) -> str | None:
    """Why this machine cannot make the file, or None: only the versions in the manifest are known to."""
    if not GIVEN:
        return "DOORSTEP_MODELS is not set (a folder with the sources)"
    assert model.origin.converted_with is not None
    for pair in model.origin.converted_with.partition("; ")[2].split(", "):
        name, wanted = pair.split(" ")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed (the extra convert)"
        if found != wanted:
            return f"{name} is {found}, the bytes are those of {wanted}"
    return None


@pytest.mark.parametrize("file", MADE)
def test_the_sources_give_the_very_file(file: str) -> None:
    weights = Weights(Path(str(GIVEN)))
    model = weights.manifest.of_file(file)
    reason = why_not(model)
    if reason is not None:
        pytest.skip(reason)
    graph, values = (weights.read(weights.manifest.of_file(part)) for part in model.origin.converted_from)
    layers = read_network(graph, values)
    write = tflite_of if file.endswith(".tflite") else onnx_of
    assert [model.fault(write(layers)) for _ in range(2)] == [None, None]


def test_a_library_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ModelUnusable, match=r"no_such_library is not installed; pip install 'doorstep\[convert\]'"):
        library("no_such_library.part")


# --- what becomes of the layers, which needs no library ---------------------------------------------------------------

INPUT = Layer(name="in", kind=Kind.INPUT, shape=(1, 3, 8, 8))
CONVOLUTION = Layer(
    name="conv",
    kind=Kind.CONVOLUTION,
    shape=(1, 2, 4, 4),
    sources=("in",),
    constant=np.ones((2, 3, 3, 3), np.float32),
    strides=(2, 2),
    borders=(1, 1, 1, 1),
)
BIAS = Layer(
    name="sum",
    kind=Kind.ADD,
    shape=(1, 2, 4, 4),
    sources=("conv",),
    constant=np.array([5, 6], np.float32).reshape(1, 2, 1, 1),
)


def test_a_number_a_channel_becomes_part_of_the_convolution_before_it() -> None:
    before, merged = _with_biases([INPUT, CONVOLUTION, BIAS])
    assert before == INPUT
    assert (merged.name, merged.kind, merged.sources) == ("sum", Kind.CONVOLUTION, ("in",))
    assert (merged.strides, merged.borders) == ((2, 2), (1, 1, 1, 1))
    assert merged.bias is not None
    assert merged.bias.tolist() == [5, 6]


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(
            [INPUT, CONVOLUTION, BIAS, Layer(name="o", kind=Kind.SIGMOID, shape=(1, 2, 4, 4), sources=("conv",))],
            id="somebody else takes the convolution's own result",
        ),
        pytest.param(
            [INPUT, CONVOLUTION, Layer(name="sum", kind=Kind.ADD, shape=(1, 2, 4, 4), sources=("conv", "in"))],
            id="a sum of two layers",
        ),
        pytest.param(
            [INPUT, CONVOLUTION, Layer(name="x", kind=Kind.MULTIPLY, shape=(1, 2, 4, 4), constant=BIAS.constant)],
            id="a product",
        ),
    ],
)
def test_other_layers_stay_as_they_are(layers: list[Layer]) -> None:
    assert [layer.name for layer in _with_biases(layers)] == [layer.name for layer in layers]


def test_one_slope_counts_for_every_channel() -> None:
    one = Layer(name="p", kind=Kind.PRELU, shape=(1, 4, 2, 2), constant=np.array([[0.25]], np.float32))
    assert one.slopes.tolist() == [0.25] * 4

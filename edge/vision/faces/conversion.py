"""Turns the embedder as its makers publish it, an OpenVINO graph and its weights, into the forms that run on a device.

Done on a desk, not on a kiosk: it needs OpenVINO, ONNX and TensorFlow (the extra `convert`). Weights are copied, not
computed anew, and nothing is left to chance, so the versions named in the manifest give the same bytes each time, and
whoever distrusts our files makes their own and compares. Only the kinds of layer this network has are known; another
one ends the conversion.

Order and names of what is written follow the order in which OpenVINO lists the layers: change neither, or the hashes
change.
"""

import contextlib
import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelUnusable
from edge.vision.quiet import quiet_stderr

ONNX_OPSET: Final = 13
ONNX_IR: Final = 8
PRODUCER: Final = "ir2onnx"
"""It stands in the file, so a better name would be another hash."""
Constant = NDArray[np.float32]


class Kind(StrEnum):
    """What a layer computes; the values are OpenVINO's names."""

    INPUT = "Parameter"
    CONVOLUTION = "Convolution"
    GROUPED = "GroupConvolution"
    ADD = "Add"
    MULTIPLY = "Multiply"
    PRELU = "PRelu"
    SIGMOID = "Sigmoid"
    MEAN = "AvgPool"
    OUTPUT = "Result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the network, (batch, channels, height, width) throughout.

    `sources` are the names of the layers it takes from. `constant` is the other operand: weights of a convolution
    (out, in, height, width; a grouped one has one `in`), slopes of a PReLU, or what is added or multiplied. `bias`,
    (channels,), is what a convolution adds. `borders` are zeros above, left, below, right.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    sources: tuple[str, ...] = ()
    constant: Constant | None = None
    bias: Constant | None = None
    strides: tuple[int, int] = (1, 1)
    borders: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def channels(self) -> int:
        """How many it gives."""
        return self.shape[1]

    @property
    def weights(self) -> Constant:
        """Its constant, for the kinds that have one."""
        assert self.constant is not None
        return self.constant

    @property
    def slopes(self) -> Constant:
        """One slope a channel, of a PReLU that may have one for all."""
        return np.broadcast_to(self.weights.ravel(), (self.channels,)).astype(np.float32)


def library(name: str) -> ModuleType:
    """The library, which only this work needs. Raises: ModelUnusable when it is not installed."""
    try:
        with quiet_stderr():
            return importlib.import_module(name)
    except ImportError as fault:
        reason = f"{name.partition('.')[0]} is not installed; pip install 'doorstep[convert]' brings it"
        raise ModelUnusable("conversion", reason) from fault


# --- reading ----------------------------------------------------------------------------------------------------------


def read_network(graph: bytes, weights: bytes) -> tuple[Layer, ...]:
    """The layers of an OpenVINO network, each after those it takes from. Raises: ModelUnusable."""
    core = library("openvino").Core()
    network = core.read_model(graph, weights)
    layers = [_layer(node) for node in network.get_ordered_ops() if _is_layer(node)]
    return _with_biases(layers)


def _is_layer(node: Any) -> bool:  # OpenVINO's nodes carry no types
    return node.get_type_name() != "Constant" and _constant(node) is None


def _layer(node: Any) -> Layer:  # as above
    try:
        kind = Kind(node.get_type_name())
    except ValueError as fault:
        raise ModelUnusable("conversion", f"no layer of kind {node.get_type_name()} is known") from fault
    operands = [edge.get_source_output() for edge in node.inputs()]
    constants = [_constant(operand.get_node()) for operand in operands]
    constant = next((found for found in constants if found is not None), None)
    details = node.get_attributes()
    if kind is Kind.GROUPED and constant is not None:  # (groups, out, in, height, width), one channel a group
        constant = constant.reshape(-1, *constant.shape[2:])
    if kind is Kind.MEAN and tuple(details["kernel"]) != tuple(operands[0].get_shape())[2:]:
        raise ModelUnusable("conversion", "a mean over less than the whole picture is not known")
    has_strides = "strides" in details and kind is not Kind.MEAN  # over everything, there is nowhere to go
    return Layer(
        name=node.get_friendly_name(),
        kind=kind,
        shape=tuple(node.output(0).get_shape()),
        sources=tuple(
            operand.get_node().get_friendly_name()
            for operand, found in zip(operands, constants, strict=True)
            if found is None
        ),
        constant=constant,
        strides=tuple(details["strides"]) if has_strides else (1, 1),
        borders=(*details["pads_begin"], *details["pads_end"]) if "pads_begin" in details else (0, 0, 0, 0),
    )


def _constant(node: Any) -> Constant | None:  # as above
    """The numbers of a constant, also of one that is stored with fewer bits."""
    if node.get_type_name() == "Convert":
        node = node.input(0).get_source_output().get_node()
    return np.array(node.get_data()).astype(np.float32) if node.get_type_name() == "Constant" else None


def _with_biases(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers with each sum of a convolution and one number a channel made part of the convolution."""
    merged: list[Layer] = []
    for layer in layers:
        before = merged[-1] if merged else None
        if before is not None and _is_bias(layer, before, layers):
            merged[-1] = Layer(
                name=layer.name,
                kind=before.kind,
                shape=before.shape,
                sources=before.sources,
                constant=before.constant,
                bias=layer.weights.ravel(),
                strides=before.strides,
                borders=before.borders,
            )
        else:
            merged.append(layer)
    return tuple(merged)


def _is_bias(layer: Layer, before: Layer, layers: Sequence[Layer]) -> bool:
    return (
        layer.kind is Kind.ADD
        and layer.constant is not None
        and layer.constant.size == layer.channels
        and before.kind in {Kind.CONVOLUTION, Kind.GROUPED}
        and layer.sources == (before.name,)
        and sum(before.name in other.sources for other in layers) == 1
    )


# --- ONNX -------------------------------------------------------------------------------------------------------------


def onnx_of(layers: Sequence[Layer]) -> bytes:
    """The network as an ONNX file with 32-bit weights: input "input" (1, 3, H, W), output "embedding" (1, n)."""
    graph = _OnnxGraph()
    for layer in layers:
        graph.add(layer)
    return graph.file()


class _OnnxGraph:
    """An ONNX graph as it grows. Tensors are called t0, t1, …, weights w1, w2, …, in the order they come."""

    def __init__(self) -> None:
        self._onnx = library("onnx")
        self._nodes: list[object] = []
        self._weights: list[object] = []
        self._tensors: dict[str, str] = {}  # name of a layer: name of what it gives
        self._input: tuple[int, ...] = ()
        self._output: tuple[int, ...] = ()

    def add(self, layer: Layer) -> None:
        """The layer's node, or for input and output what the file says of them."""
        match layer.kind:
            case Kind.INPUT:
                self._input = layer.shape
                self._tensors[layer.name] = "input"
            case Kind.OUTPUT:
                self._output = (1, int(np.prod(layer.shape)))
                self._node("Flatten", [self._tensors[layer.sources[0]]], "embedding", axis=1)
            case Kind.CONVOLUTION | Kind.GROUPED:
                self._convolution(layer)
            case Kind.ADD | Kind.MULTIPLY:
                constants = [] if layer.constant is None else [self._weight(layer.constant)]
                self._layer_node("Add" if layer.kind is Kind.ADD else "Mul", layer, constants)
            case Kind.PRELU:
                self._layer_node("PRelu", layer, [self._weight(layer.slopes.reshape(-1, 1, 1))])
            case Kind.SIGMOID:
                self._layer_node("Sigmoid", layer, [])
            case Kind.MEAN:
                self._layer_node("GlobalAveragePool", layer, [])
            case _:
                assert_never(layer.kind)

    def file(self) -> bytes:
        """The file's bytes."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "g",
            [helper.make_tensor_value_info("input", kind, self._input)],
            [helper.make_tensor_value_info("embedding", kind, self._output)],
            self._weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", ONNX_OPSET)],
            ir_version=ONNX_IR,
            producer_name=PRODUCER,
        )
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _convolution(self, layer: Layer) -> None:
        weights = [self._weight(layer.weights)]
        if layer.bias is not None:
            weights.append(self._weight(layer.bias))
        self._layer_node(
            "Conv",
            layer,
            weights,
            strides=layer.strides,
            dilations=(1, 1),
            pads=layer.borders,
            group=layer.channels if layer.kind is Kind.GROUPED else 1,
            kernel_shape=layer.weights.shape[2:],
        )

    def _layer_node(self, operator: str, layer: Layer, weights: Sequence[str], **details: object) -> None:
        output = f"t{len(self._nodes)}"
        self._node(operator, [*(self._tensors[source] for source in layer.sources), *weights], output, **details)
        self._tensors[layer.name] = output

    def _node(self, operator: str, inputs: Sequence[str], output: str, **details: object) -> None:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **details))

    def _weight(self, values: Constant) -> str:
        name = f"w{len(self._weights) + 1}"
        self._weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


# --- TensorFlow Lite --------------------------------------------------------------------------------------------------


def tflite_of(layers: Sequence[Layer]) -> bytes:
    """The network as a TensorFlow Lite file with 16-bit weights: input (1, H, W, 3), output (1, n)."""
    tensorflow = library("tensorflow")
    with contextlib.redirect_stdout(io.StringIO()), quiet_stderr():  # it tells of every step on both
        tensorflow.keras.backend.clear_session()  # layers are named by counting, and the names are in the file
        graph = _KerasGraph(tensorflow.keras)
        for layer in layers:
            graph.add(layer)
        converter = tensorflow.lite.TFLiteConverter.from_keras_model(graph.model())
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tensorflow.float16]
        return bytes(converter.convert())


class _KerasGraph:
    """A Keras network as it grows, channels last."""

    def __init__(self, keras: Any) -> None:  # TensorFlow carries no types
        self._keras = keras
        self._tensors: dict[str, Any] = {}  # name of a layer: what it gives
        self._affine = _affine_layer(keras)
        self._input: Any = None
        self._output: Any = None

    def add(self, layer: Layer) -> None:
        """What the layer gives."""
        layers = self._keras.layers
        taken = [self._tensors[source] for source in layer.sources]
        match layer.kind:
            case Kind.INPUT:
                given = self._input = self._keras.Input([*layer.shape[2:], layer.shape[1]], batch_size=1)
            case Kind.OUTPUT:
                given = self._output = layers.Flatten()(taken[0])
            case Kind.CONVOLUTION | Kind.GROUPED:
                given = self._convolution(layer, taken[0])
            case Kind.ADD | Kind.MULTIPLY:
                given = self._combination(layer, taken)
            case Kind.PRELU:
                given = _filled(layers.PReLU(shared_axes=[1, 2]), taken[0], [layer.slopes.reshape(1, 1, -1)])
            case Kind.SIGMOID:
                given = layers.Activation("sigmoid")(taken[0])
            case Kind.MEAN:
                given = layers.GlobalAveragePooling2D(keepdims=True)(taken[0])
            case _:
                assert_never(layer.kind)
        self._tensors[layer.name] = given

    def model(self) -> Any:  # TensorFlow carries no types
        """The whole network."""
        return self._keras.Model(self._input, self._output)

    def _combination(self, layer: Layer, taken: Sequence[Any]) -> Any:  # TensorFlow carries no types
        is_sum = layer.kind is Kind.ADD
        if layer.constant is not None:
            return self._affine(layer.constant, is_sum=is_sum)(taken[0])
        both = self._keras.layers.Add() if is_sum else self._keras.layers.Multiply()
        return both(taken)

    def _convolution(self, layer: Layer, taken: Any) -> Any:  # TensorFlow carries no types
        layers, weights = self._keras.layers, layer.weights
        bias = np.zeros(layer.channels, np.float32) if layer.bias is None else layer.bias
        is_even = layer.strides == (1, 1) and layer.borders == (weights.shape[-1] // 2,) * 4
        top, left, bottom, right = layer.borders
        if any(layer.borders) and not is_even:  # "same" would put the odd row elsewhere
            taken = layers.ZeroPadding2D(((top, bottom), (left, right)))(taken)
        options = {"strides": layer.strides, "padding": "same" if is_even else "valid", "use_bias": True}
        if layer.kind is Kind.GROUPED:
            empty = layers.DepthwiseConv2D(weights.shape[2:], **options)
            return _filled(empty, taken, [weights[:, 0].transpose(1, 2, 0)[..., None], bias])
        empty = layers.Conv2D(layer.channels, weights.shape[2:], **options)
        return _filled(empty, taken, [weights.transpose(2, 3, 1, 0), bias])


def _filled(layer: Any, taken: Any, weights: Sequence[Constant]) -> Any:  # TensorFlow carries no types
    """What the layer gives, its weights set once it knows what it takes."""
    given = layer(taken)
    layer.set_weights(weights)
    return given


def _affine_layer(keras: Any) -> Any:  # TensorFlow carries no types
    """The layer that adds a constant or multiplies by it. Keras has none, and its base is known only at run time."""

    class Aff(keras.layers.Layer):  # type: ignore[misc]  # the base is Any; the name is in the file
        """Adds its constant, or multiplies by it."""

        def __init__(self, constant: Constant, *, is_sum: bool) -> None:
            super().__init__()
            self._is_sum = is_sum
            self._constant = constant.transpose(0, 2, 3, 1) if constant.ndim == 4 else constant

        def call(self, taken: Any) -> Any:  # TensorFlow carries no types
            return taken + self._constant if self._is_sum else taken * self._constant

    return Aff

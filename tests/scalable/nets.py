"""Tiny networks with the inputs, outputs and reach of the real ones, written as ONNX by hand: nothing is trained.

Each is a fixed transform that shows the picture, so that what comes back resembles what went in, plus a random chain of
convolutions as far-sighted as the real networks, so that a tile without its halo shows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEATURES = 4
"""Channels of the cut [4, 40, 40]."""
BLANK = 0.25
"""A feature outside the picture."""
BASE = 16
"""Channels of the base's latent [16, 10, 10]: means of 2x2 of the cut's cells."""
CONTEXT = 6
"""Channels that the layers above and the preview are told."""
FULL = 12
"""Of the picture's: mean colours of 8x8 pixels."""
HYPER = 3
CLASSES = 3
TINT = 1
"""Steps that networks which are told of them add, and take off: with a wrong one, the picture is too bright."""
LOW, HIGH = 6, 12
"""Of the frequencies': mean colours of 16x16 pixels, three linear channels and three that are random; and what those
means lack of the mean colours of 8x8 pixels.
"""


class Graph:
    """`name = graph("Conv", "x", weights, strides=[2, 2])`, then `bytes`."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(seed)

    def __call__(self, kind: str, *inputs: str | NDArray[Any], called: str = "", **attributes: Any) -> str:
        name = called or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self._name(i) for i in inputs], [name], **attributes))
        return name

    def _name(self, value: str | NDArray[Any]) -> str:
        if isinstance(value, str):
            return value
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, x: str, inputs: int, outputs: int, size: int = 1, stride: int = 1, gain: float = 1.0) -> str:
        """A random convolution; 3x3 pads with zeros."""
        weights = self.random.normal(0, gain / np.sqrt(inputs * size * size), (outputs, inputs, size, size))
        pads = [1] * 4 if size == 3 and stride == 1 else [0] * 4
        return self("Conv", x, weights.astype(np.float32), strides=[stride, stride], pads=pads)

    def chain(self, x: str, count: int) -> str:
        """So many 3x3 convolutions of four channels, each with its activation.

        Each channel looks mostly at one corner, so that all of them together look as far as they can.
        """
        for _ in range(count):
            weights = self.random.normal(0, 0.05, (4, 4, 3, 3)).astype(np.float32)
            for channel, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
                weights[channel, channel, row, column] = 1
            x = self("LeakyRelu", self("Conv", x, weights, pads=[1] * 4), alpha=0.5)
        return x

    def sown(self, x: str, channels: int, factor: int) -> str:
        """Every value repeated factor x factor times."""
        ones = np.ones((channels, 1, factor, factor), np.float32)
        return self("ConvTranspose", x, ones, strides=[factor, factor], group=channels)

    def bytes(self, inputs: Mapping[str, list[Any]], outputs: Mapping[str, list[Any]]) -> bytes:
        """The model; shapes without the batch."""
        taken, given = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in side.items()]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "tiny", taken, given, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


CUT = [FEATURES, 40, 40]
LATENT = [BASE, 10, 10]
SIDE = [HYPER, 5, 5]
MASK = [1, 10, 10]
TOLD = [CONTEXT, 40, 40]


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _coarse(graph: Graph, features: str) -> tuple[str, str]:
    """y and z of features."""
    means = graph("AveragePool", features, kernel_shape=[2, 2], strides=[2, 2])
    y = graph("Mul", graph("SpaceToDepth", means, blocksize=2), _number(16))
    y = graph("Mul", y, "mask", called="y")
    pooled = graph("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    graph.conv(pooled, BASE, HYPER, gain=0.3)
    graph("Identity", graph.nodes[-1].output[0], called="z")
    return y, "z"


def _fine(graph: Graph, y: str) -> str:
    """Features of y."""
    return graph.sown(graph("DepthToSpace", graph("Mul", y, _number(1 / 16)), blocksize=2), FEATURES, 2)


def _blanked(graph: Graph, features: str) -> str:
    """BLANK where the mask is 0."""
    seen = graph.sown("mask", 1, 4)
    kept, rest = graph("Mul", features, seen), graph("Sub", _number(1), seen)
    return graph("Add", kept, graph("Mul", rest, _number(BLANK)))


def _told(graph: Graph, features: str) -> None:
    graph("Identity", graph.conv(features, FEATURES, CONTEXT), called="context")


def base_analysis() -> bytes:
    graph = Graph(1)
    _coarse(graph, "features")
    return graph.bytes({"features": CUT, "mask": MASK}, {"y": LATENT, "z": SIDE})


def base_lst() -> bytes:
    graph = Graph(2)
    _told(graph, graph("Identity", _blanked(graph, _fine(graph, "y")), called="features"))
    return graph.bytes({"y": LATENT, "mask": MASK}, {"features": CUT, "context": TOLD})


def mask_analysis() -> bytes:
    graph = Graph(3)
    _coarse(graph, graph("Sub", "features", "beside"))
    return graph.bytes({"features": CUT, "beside": CUT, "mask": MASK}, {"y": LATENT, "z": SIDE})


def mask_lst() -> bytes:
    graph = Graph(4)
    _told(graph, graph("Add", _fine(graph, "y"), "beside", called="features"))
    return graph.bytes({"y": LATENT, "beside": CUT}, {"features": CUT, "context": TOLD})


def mask_head() -> bytes:
    graph = Graph(5)
    graph("Identity", graph.conv("features", FEATURES, CLASSES), called="scores")
    return graph.bytes({"features": CUT}, {"scores": [CLASSES, 40, 40]})


def preview() -> bytes:
    graph = Graph(6)
    graph("Sigmoid", graph.sown(graph.conv("context", CONTEXT, 3), 3, 4), called="x")
    return graph.bytes({"context": TOLD}, {"x": [3, 160, 160]})


def full_analysis(context: int = CONTEXT, told: bool = False) -> bytes:
    graph = Graph(7)
    means = graph("SpaceToDepth", graph("AveragePool", "x", kernel_shape=[8, 8], strides=[8, 8]), blocksize=2)
    seen = graph.chain(graph.conv("x", 3, 4, 4, 4), 13)
    seen = graph.conv(seen, 4, FULL, 4, 4)
    inputs: dict[str, list[Any]] = {"x": [3, "h", "w"]}
    if context:
        seen = graph("Add", seen, graph.conv("context", context, FULL))
        inputs["context"] = [context, "rows", "columns"]
    sum_ = graph("Add", graph("Mul", means, _number(128)), graph("Mul", seen, _number(0.5)))
    y = graph("Sub", sum_, _number(64))
    if told:
        y = graph("Add", y, graph("Mul", _step(graph, inputs), _number(TINT)))
    graph("Identity", y, called="y")
    return graph.bytes(inputs, {"y": [FULL, "a", "b"]})


def _step(graph: Graph, inputs: dict[str, list[Any]]) -> str:
    """A network that takes the step, as [N, 1, 1, 1]."""
    inputs["step"] = []
    return graph("Unsqueeze", "step", np.array([1, 2, 3], np.int64))


def full_hyper(channels: int = FULL) -> bytes:
    graph = Graph(8)
    padded = graph("Pad", "y", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), mode="edge")
    weights = graph.random.normal(0, 0.02, (channels, channels, 3, 3)).astype(np.float32)
    near = graph("Conv", padded, weights)
    graph("Identity", graph.conv(near, channels, HYPER, 4, 4), called="z")
    return graph.bytes({"y": [channels, "a", "b"]}, {"z": [HYPER, "c", "d"]})


def full_synthesis(context: int = CONTEXT, told: bool = False) -> bytes:
    graph, inputs = Graph(9), {"y": [FULL, "a", "b"]}
    y = graph("Sub", "y", graph("Mul", _step(graph, inputs), _number(TINT))) if told else "y"
    level = graph("Mul", graph("Add", y, _number(64)), _number(1 / 128))
    colours = graph.sown(graph("DepthToSpace", level, blocksize=2), 3, 8)
    known = graph("Mul", "y", _number(0.02))
    if context:
        known = graph("Concat", known, "context", axis=1)
        inputs["context"] = [context, "a", "b"]
    nets = graph("DepthToSpace", graph.conv(known, FULL + context, 64), blocksize=4)
    nets = graph("DepthToSpace", graph.conv(graph.chain(nets, 14), 4, 48, 3), blocksize=4)
    graph("Add", colours, graph("Mul", nets, _number(0.005)), called="x")
    return graph.bytes(inputs, {"x": [3, "h", "w"]})


def frequency_analysis() -> bytes:
    graph = Graph(10)
    means = graph("SpaceToDepth", graph("AveragePool", "x", kernel_shape=[8, 8], strides=[8, 8]), blocksize=2)
    coarse = graph("AveragePool", "x", kernel_shape=[16, 16], strides=[16, 16])
    seen = graph.conv(graph.chain(graph.conv("x", 3, 4, 4, 4), 13), 4, LOW + HIGH, 4, 4)
    halves = graph("Mul", graph("Concat", coarse, coarse, axis=1), _number(128))
    low = graph("Sub", halves, _number(64))
    high = graph("Mul", graph("Sub", means, graph("Concat", *[coarse] * 4, axis=1)), _number(128))
    some = graph("Mul", seen, _number(0.3))
    for name, values, first, last in (("low", low, 0, LOW), ("high", high, LOW, LOW + HIGH)):
        ends = (np.array([end], np.int64) for end in (first, last, 1))
        graph("Add", values, graph("Slice", some, *ends), called=name)
    return graph.bytes({"x": [3, "h", "w"]}, {"low": [LOW, "a", "b"], "high": [HIGH, "a", "b"]})


def frequency_synthesis() -> bytes:
    """The low frequencies alone where high is 0."""
    graph = Graph(11)
    ends = (np.array([end], np.int64) for end in (0, 3, 1))
    level = graph("Mul", graph("Add", graph("Slice", "low", *ends), _number(64)), _number(1 / 128))
    both = graph("Add", graph("Concat", *[level] * 4, axis=1), graph("Mul", "high", _number(1 / 128)))
    colours = graph.sown(graph("DepthToSpace", both, blocksize=2), 3, 8)
    known = graph("Concat", graph("Mul", "low", _number(0.02)), graph("Mul", "high", _number(0.02)), axis=1)
    seen = graph("DepthToSpace", graph.conv(known, LOW + HIGH, 64), blocksize=4)
    seen = graph("DepthToSpace", graph.conv(graph.chain(seen, 14), 4, 48, 3), blocksize=4)
    graph("Add", colours, graph("Mul", seen, _number(0.02)), called="x")
    return graph.bytes({"low": [LOW, "a", "b"], "high": [HIGH, "a", "b"]}, {"x": [3, "h", "w"]})


def noisy_analysis() -> bytes:
    graph = Graph(12)
    means = graph("SpaceToDepth", graph("AveragePool", "r", kernel_shape=[8, 8], strides=[8, 8]), blocksize=2)
    seen = graph.conv(graph.chain(graph.conv("r", 3, 4, 4, 4), 13), 4, FULL, 4, 4)
    graph("Add", graph("Mul", means, _number(128)), graph("Mul", seen, _number(0.3)), called="y")
    return graph.bytes({"r": [3, "h", "w"]}, {"y": [FULL, "a", "b"]})


def noisy_synthesis() -> bytes:
    graph = Graph(13)
    colours = graph.sown(graph("DepthToSpace", graph("Mul", "y", _number(1 / 128)), blocksize=2), 3, 8)
    seen = graph("DepthToSpace", graph.conv(graph("Mul", "y", _number(0.02)), FULL, 64), blocksize=4)
    seen = graph("DepthToSpace", graph.conv(graph.chain(seen, 14), 4, 48, 3), blocksize=4)
    graph("Add", colours, graph("Mul", seen, _number(0.005)), called="r")
    return graph.bytes({"y": [FULL, "a", "b"]}, {"r": [3, "h", "w"]})

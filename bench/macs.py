"""Multiply-adds of an ONNX graph: what the split costs on either side, and a picture's layers."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
COUNTED = ("Conv", "Gemm", "MatMul")

Shapes = dict[str, tuple[int, ...]]
Sizes = Mapping[str, tuple[int, int]]
"""Rows and columns of inputs [N, C, H, W] whose networks take any."""


def multiply_adds(network: Path | onnx.ModelProto, sizes: Sizes | None = None) -> int:
    """Multiply-adds of one input (a batch of 1) through the convolutions and matrix products of a network."""
    model = onnx.load(str(network)) if isinstance(network, Path) else network
    nodes = [n for n in model.graph.node if n.op_type in COUNTED]
    # What a convolution is given may be large, and says nothing.
    names = {name for n in nodes for name in (n.input[1], n.output[0], *n.input[: n.op_type != "Conv"])}
    return of_nodes(nodes, tensor_shapes(model, names, sizes))


def of_nodes(nodes: Iterable[onnx.NodeProto], shapes: Shapes) -> int:
    """Multiply-adds of these nodes, given the shapes of their tensors."""
    return sum(_node(node, shapes) for node in nodes if node.op_type in COUNTED)


def tensor_shapes(model: onnx.ModelProto, names: set[str] | None = None, sizes: Sizes | None = None) -> Shapes:
    """The shapes of these tensors (None: of all), found by one run: inference gives up at dynamic batches.

    What is free of an input is 1, but for its `sizes`.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {t.name: tuple(t.dims) for t in model.graph.initializer}
    wanted = names if names is not None else {name for node in model.graph.node for name in node.output if name}
    ours = {o.name for o in (*model.graph.output, *model.graph.input)}
    shown.graph.output.extend(onnx.ValueInfoProto(name=n) for n in sorted(wanted - known.keys() - ours))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        shape[2:] = (sizes or {}).get(i.name, shape[2:])
        feed[i.name] = np.zeros(shape, TYPES[i.type])
    outputs = session.run(None, feed)
    found = {o.name: value.shape for o, value in zip(session.get_outputs(), outputs, strict=True)}
    return known | found | {name: value.shape for name, value in feed.items()}


def _node(node: onnx.NodeProto, shapes: Shapes) -> int:
    output = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":  # each output value sums one filter: weights [out, in / groups, kh, kw]
        return output * math.prod(shapes[node.input[1]][1:])
    return output * shapes[node.input[0]][-1]

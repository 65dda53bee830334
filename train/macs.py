"""Multiply-adds of an ONNX graph: what the split costs on either side."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}


def multiply_adds(path: Path) -> int:
    """Multiply-adds of one input (a batch of 1) through the convolutions and matrix products of an ONNX file."""
    model = onnx.load(str(path))
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    shapes = _shapes(model, {name for n in nodes for name in (*n.input[:2], n.output[0])})
    return sum(_node(node, shapes) for node in nodes)


def _shapes(model: onnx.ModelProto, names: set[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of these tensors, found by running the graph once: inference gives up at dynamic batches."""
    known = {t.name: tuple(t.dims) for t in model.graph.initializer}
    ours = {o.name for o in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in sorted(names - known.keys() - ours))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {
        i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], TYPES[i.type]) for i in session.get_inputs()
    }
    outputs = session.run(None, feed)
    found = {o.name: value.shape for o, value in zip(session.get_outputs(), outputs, strict=True)}
    return known | found | {name: value.shape for name, value in feed.items()}


def _node(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    output = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":  # each output value sums one filter: weights [out, in / groups, kh, kw]
        return output * math.prod(shapes[node.input[1]][1:])
    return output * shapes[node.input[0]][-1]

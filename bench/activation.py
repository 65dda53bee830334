"""Which activation a tensor comes out of: it says how the tensor's values are distributed."""

from typing import NamedTuple

from onnx import ModelProto, NodeProto, helper

ORDERLY = ("Concat", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that move values or choose among them: what comes out is distributed much as what went in."""
MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Of these, the ones that keep every value: what comes out is what went in, in another order or shape."""
NAMED = {"Relu": "ReLU", "HardSwish": "hard swish", "Sigmoid": "sigmoid", "Conv": "none", "Gemm": "none", "Add": "none"}


class Activation(NamedTuple):
    """Its name for people; its slope for negative values if it is ReLU (0) or leaky ReLU, else None."""

    name: str
    slope: float | None = None


def activation(model: ModelProto, name: str) -> Activation:
    """The activation behind a tensor; "mixed" if it joins values of several."""
    makers = {output: node for node in model.graph.node for output in node.output}
    found: set[Activation] = set()
    pending, seen = [name], set()
    while pending:
        tensor = pending.pop()
        node = makers.get(tensor)
        if node is None or tensor in seen:  # a weight, or an index
            continue
        seen.add(tensor)
        if node.op_type in ORDERLY:
            pending.extend(node.input if node.op_type == "Concat" else node.input[:1])
        else:
            found.add(_named(node, makers))
    return found.pop() if len(found) == 1 else Activation("mixed")


def origin(model: ModelProto, name: str) -> str:
    """The tensor in which the values of this one were computed: from there on they were only moved."""
    makers = {output: node for node in model.graph.node for output in node.output}
    while name in makers and makers[name].op_type in MOVES:
        name = makers[name].input[0]
    return name


def _named(node: NodeProto, makers: dict[str, NodeProto]) -> Activation:
    if node.op_type == "LeakyRelu":
        slope = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "alpha"), 0.01)
        return Activation(f"leaky ReLU {slope:.2g}", round(float(slope), 6))
    if node.op_type == "Relu":
        return Activation("ReLU", 0.0)
    if node.op_type == "Clip":
        return Activation("ReLU6")
    sources = [makers[i].op_type for i in node.input if i in makers]
    if node.op_type == "Mul" and ({"Sigmoid", "HardSigmoid"} & set(sources)):
        return Activation("SiLU" if "Sigmoid" in sources else "hard swish")
    return Activation(NAMED.get(node.op_type, node.op_type))

"""From what a detector's last layers say to `scores` [N, A, labels] and `boxes` [N, A, 4]: nodes behind its back half.

A head is what a family of detectors means by its outputs, and how it wants its pictures. Boxes are x1, y1, x2, y2 in
pixels of the network's input.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from common.errors import BundleError
from train.bundles.graph import opset_of, prune
from train.bundles.nodes import Nodes
from train.bundles.preprocess import Preprocessing

Shape = tuple[int, ...]
STRIDES = (8, 16, 32, 64)
LONGEST = 10.0
"""Log of a side in cells: far beyond any picture, and no coded feature makes a box that has no end."""


@dataclass(frozen=True)
class Outputs:
    """What a decoder works on: the whole network's outputs, with the nodes that make them."""

    model: ModelProto
    shapes: dict[str, Shape]
    """For one picture."""
    size: int
    labels: int

    @property
    def names(self) -> list[str]:
        """Of the outputs."""
        return [o.name for o in self.model.graph.output]

    def misfit(self, head: str, wanted: str) -> BundleError:
        """These outputs are not that head's."""
        found = ", ".join(f"{name} {list(self.shapes[name])}" for name in self.names)
        return BundleError(
            f"the head {head} does not fit: for a {self.size}-pixel input and {self.labels} labels it needs {wanted}; "
            f"the network gives {found}. Another --head ({', '.join(HEADS)}) or --labels may fit"
        )

    def layout(self, name: str) -> tuple[int, int]:
        """Cells and values a cell of an output [cells, values], [1, cells, values] or [1, values, height, width]."""
        shape = self.shapes[name]
        return (
            (shape[2] * shape[3], shape[1]) if len(shape) == 4 else (shape[-2], shape[-1]) if len(shape) > 1 else (0, 0)
        )

    def unflattened(self, name: str) -> str:
        """The tensor [1, values, height, width] that an output [cells, values] was made of, if it was."""
        transpose = self.maker(name)
        reshape = transpose and transpose.op_type == "Transpose" and self.maker(transpose.input[0])
        if len(self.shapes[name]) != 2 or not reshape or reshape.op_type != "Reshape":
            return name
        shape = self.shapes.get(reshape.input[0], ())
        cells, values = self.shapes[name]
        fits = len(shape) == 4 and shape[:2] == (1, values) and shape[2] * shape[3] == cells
        return reshape.input[0] if fits else name

    def maker(self, name: str) -> NodeProto | None:
        """The node that a tensor comes from."""
        return next((node for node in self.model.graph.node if name in node.output), None)


Decode = Callable[[Outputs, Nodes], tuple[str, str]]
"""Adds the nodes; returns the names of scores [N, A, L] and boxes [N, A, 4]."""


@dataclass(frozen=True)
class Head:
    """One family of detectors."""

    decode: Decode
    preprocessing: Preprocessing
    score_threshold: float
    nms_iou: float


def append(back: ModelProto, head: str, shapes: dict[str, Shape], size: int, labels: int) -> ModelProto:
    """The back half to `scores` and `boxes` instead of what the network says. Raises BundleError if it does not fit."""
    nodes = Nodes("head")
    scores, boxes = HEADS[head].decode(Outputs(back, shapes, size, labels), nodes)
    nodes("Identity", scores, called="scores")
    nodes("Identity", boxes, called="boxes")
    nodes.after(back)
    del back.graph.output[:]
    for name, width in (("scores", labels), ("boxes", 4)):
        back.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "cells", width]))
    prune(back)
    return back


def nanodet(outputs: Outputs, nodes: Nodes) -> tuple[str, str]:
    """Generalised focal loss (Li et al. 2020): probabilities, and a distribution over distances to each side.

    Per level, one output of scores and one of logits of 4 x bins distances, in strides; told apart by their shapes.
    """
    levels: dict[int, list[str]] = {}
    for name in outputs.names:
        levels.setdefault(outputs.layout(name)[0], []).append(name)
    counts, bins = sorted(levels, reverse=True), 0
    scores, sides = [], []
    for count in counts:
        pair = sorted(levels[count], key=lambda name: outputs.layout(name)[1] != outputs.labels)
        widths = [outputs.layout(name)[1] for name in pair]
        if len(pair) != 2 or widths[0] != outputs.labels or widths[1] % 4 or math.isqrt(count) ** 2 != count:
            raise outputs.misfit("nanodet", "per level [cells, labels] and [cells, 4 x bins]")
        if widths[0] == widths[1]:
            pair = _sigmoid_first(outputs, pair)
        scores.append(_probability(outputs, nodes, pair[0]))
        sides.append(_rows(outputs, nodes, pair[1]))
        bins = widths[1] // 4
    chance = nodes("Softmax", nodes("Reshape", _joined(nodes, sides), np.array([0, -1, 4, bins])), axis=3)
    mean = nodes("MatMul", chance, np.arange(bins, dtype=np.float32)[:, None])
    cells, strides = _grid(outputs.size, [math.isqrt(count) for count in counts])
    reach = nodes("Mul", nodes("Reshape", mean, np.array([0, -1, 4])), strides * np.array([-1, -1, 1, 1], np.float32))
    centres = np.tile((cells + 0.5) * strides, 2).astype(np.float32)
    return _joined(nodes, scores), nodes("Add", reach, centres[None])


def yolox(outputs: Outputs, nodes: Nodes) -> tuple[str, str]:
    """YOLOX (Ge et al. 2021) exported without decoding: x, y, log width, log height in cells; objectness; classes."""
    name = outputs.names[0]
    count, width = outputs.layout(name)
    levels = [[outputs.size // stride for stride in STRIDES[:many]] for many in (3, 4)]
    grid = next((each for each in levels if sum(side * side for side in each) == count), None)
    if len(outputs.names) != 1 or grid is None or width != 5 + outputs.labels or len(outputs.shapes[name]) != 3:
        raise outputs.misfit("yolox", "one output [1, cells of strides 8, 16 and 32, 5 + labels]")
    rows = _rows(outputs, nodes, name)
    cells, strides = _grid(outputs.size, grid)
    centre = nodes("Mul", nodes("Add", _columns(nodes, rows, 0, 2), cells[None]), strides[None])
    sides = nodes("Min", _columns(nodes, rows, 2, 4), np.array(LONGEST, np.float32))
    half = nodes("Mul", nodes("Exp", sides), strides[None] / 2)
    return nodes("Mul", _columns(nodes, rows, 5, width), _columns(nodes, rows, 4, 5)), _box(nodes, centre, half)


def fastestdet(outputs: Outputs, nodes: Nodes) -> tuple[str, str]:
    """FastestDet: one level; objectness, offset from the cell's corner, size in pictures; a cell has one class."""
    name = outputs.names[0]
    shape = outputs.shapes[name]
    if len(outputs.names) != 1 or len(shape) != 4 or shape[1] != 5 + outputs.labels or shape[2] != shape[3]:
        raise outputs.misfit("fastestdet", "one output [1, 5 + labels, cells, cells]")
    rows = _rows(outputs, nodes, name)
    cells, strides = _grid(outputs.size, [shape[2]])
    centre = nodes("Mul", nodes("Add", nodes("Tanh", _columns(nodes, rows, 1, 3)), cells[None]), strides[None])
    half = nodes("Mul", nodes("Sigmoid", _columns(nodes, rows, 3, 5)), np.array(outputs.size / 2, np.float32))
    classes = _columns(nodes, rows, 5, shape[1])
    alone = nodes("Cast", nodes("Equal", classes, _largest(outputs.model, nodes, classes)), to=TensorProto.FLOAT)
    # The authors' weighting of the two probabilities.
    object_part = nodes("Pow", _columns(nodes, rows, 0, 1), np.array(0.6, np.float32))
    score = nodes("Mul", nodes("Pow", classes, np.array(0.4, np.float32)), object_part)
    return nodes("Mul", score, alone), _box(nodes, centre, half)


def _rows(outputs: Outputs, nodes: Nodes, name: str) -> str:
    """The output as [N, cells, values]."""
    name = outputs.unflattened(name)
    shape = outputs.shapes[name]
    if len(shape) == 4:
        return nodes("Transpose", nodes("Reshape", name, np.array([0, shape[1], -1])), perm=[0, 2, 1])
    return name if len(shape) == 3 else nodes("Reshape", name, np.array([1, *shape]))


def _probability(outputs: Outputs, nodes: Nodes, name: str) -> str:
    """The output as [N, cells, labels] in 0..1, whether its sigmoid was exported or not."""
    rows = _rows(outputs, nodes, name)
    return rows if _activated(outputs, name) else nodes("Sigmoid", rows)


def _activated(outputs: Outputs, name: str) -> bool:
    """Whether the output comes out of a sigmoid."""
    node = outputs.maker(name)
    while node is not None and node.op_type in ("Transpose", "Reshape"):
        node = outputs.maker(node.input[0])
    return node is not None and node.op_type == "Sigmoid"


def _sigmoid_first(outputs: Outputs, pair: list[str]) -> list[str]:
    """Two outputs of one width, the one of a sigmoid first. Raises BundleError if that does not tell them apart."""
    first = sorted(pair, key=lambda name: not _activated(outputs, name))
    if [_activated(outputs, name) for name in first] != [True, False]:
        raise BundleError(
            f"the outputs {' and '.join(pair)} have {outputs.labels} values a cell each: which are scores cannot be "
            "told; export the network with the sigmoid of its scores"
        )
    return first


def _columns(nodes: Nodes, rows: str, first: int, end: int) -> str:
    return nodes("Slice", rows, np.array([first]), np.array([end]), np.array([2]))


def _joined(nodes: Nodes, levels: list[str]) -> str:
    return levels[0] if len(levels) == 1 else nodes("Concat", *levels, axis=1)


def _box(nodes: Nodes, centre: str, half: str) -> str:
    return nodes("Concat", nodes("Sub", centre, half), nodes("Add", centre, half), axis=2)


def _largest(model: ModelProto, nodes: Nodes, rows: str) -> str:
    if opset_of(model) < 18:
        return nodes("ReduceMax", rows, axes=[2], keepdims=1)
    return nodes("ReduceMax", rows, np.array([2]), keepdims=1)


def _grid(size: int, sides: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows [A, 2] of all cells, and the pixels [A, 1] from one to the next; finest level first."""
    cells = [np.stack(np.divmod(np.arange(side * side), side)[::-1], 1) for side in sides]
    strides = [np.full((side * side, 1), size / side) for side in sides]
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


HEADS: dict[str, Head] = {
    "nanodet": Head(
        nanodet,
        Preprocessing(order="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
        score_threshold=0.1,
        nms_iou=0.6,
    ),
    "yolox": Head(yolox, Preprocessing(order="bgr"), score_threshold=0.1, nms_iou=0.65),
    "fastestdet": Head(
        fastestdet, Preprocessing(fit="stretch", order="bgr", top=1.0), score_threshold=0.25, nms_iou=0.45
    ),
}

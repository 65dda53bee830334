"""A detector of sixteen cells whose every answer can be told in advance, as a real bundle with a real back.onnx.

Features [2, 4, 4] are the scores of two labels in a 4 x 4 grid over 320 x 320 pixels; the box of a cell is the cell.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import CODECS, Container, Layer, pack, unpack

LABELS = ("cat", "dog")
LEVELS = 16
SHAPE = (2, 4, 4)
CELL = 80


def write(parent: Path, name: str = "tiny", version: str = "1", modes: bool = False) -> Bundle:
    """The bundle, in a folder below `parent`. With `modes` it has a real front.onnx and allows them all."""
    manifest: dict[str, object] = {
        "name": name,
        "version": version,
        "detector": {
            "name": "sixteen-cells",
            "labels": list(LABELS),
            "coco_ids": [17, 18],
            "score_threshold": 0.05,
            "nms_iou": 0.5,
            "max_detections": 10,
        },
        "input": {"width": 320, "height": 320, "pad": 114},
        "cut": {"tensors": [{"name": "cut", "shape": list(SHAPE)}], "macs_front": 1, "macs_back": 1},
        "codec": {
            "name": "lightweight",
            "shapes": [list(SHAPE)],
            "default_levels": LEVELS,
            "clips": {str(LEVELS): [0.0, 1.0]},
        },
    }
    if modes:
        point = {"bytes_mean": 50.0, "bytes_p95": 60.0, "agreement_ap50": 0.9, "images": 1}
        manifest["operating_points"] = [{"quality": LEVELS, **point}]
        manifest["picture_points"] = [{"quality": q, **point, "agreement_ap50": q / 100} for q in (50, 90)]
        return bundles.write(parent, manifest, {"back.onnx": ("both", _back()), "front.onnx": ("both", _front())})
    return bundles.write(
        parent, manifest, {"back.onnx": ("cloud", _back()), "front.onnx": ("edge", b"the edge's " * 200_000)}
    )


def payload(bundle: Bundle, cells: dict[tuple[int, int, int], float] | None = None, size: int = 320) -> bytes:
    """The container of a square picture in which these (label, row, column) have these scores."""
    features: NDArray[np.float32] = np.zeros(SHAPE, np.float32)
    for cell, score in (cells or {}).items():
        features[cell] = score
    codec = CODECS["lightweight"].from_params(bundle.manifest.codec, {})
    layers = codec.encode([features], LEVELS)
    return pack(Container(bundle.prefix, codec.id, LEVELS, size, size, layers))


def box(row: int, column: int) -> list[float]:
    """Where a cell is in a picture of 320 x 320."""
    return [column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL]


def _front() -> bytes:
    """A cell's scores are the means of its red and its green."""
    constants = {"first": np.array([0, 1], np.int64), "full": np.array(1 / 255, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["planes", "first"], ["two"], axis=1),
        helper.make_node("AveragePool", ["two"], ["mean"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Mul", ["mean", "full"], ["cut"]),
    ]
    graph = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 320, 320, 3])],
        [helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["N", *SHAPE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def pixels(cells: dict[tuple[int, int, int], float]) -> NDArray[np.uint8]:
    """A picture [320, 320, 3] in which the network finds these (label, row, column) with these scores."""
    out = np.zeros((320, 320, 3), np.uint8)
    for (label, row, column), score in cells.items():
        out[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, label] = round(255 * score)
    return out


def _back() -> bytes:
    grid = np.array([[box(i // 4, i % 4) for i in range(16)]], np.float32)
    constants = {
        "grid": grid,
        "cells": np.array([0, 2, 16], np.int64),
        "no": np.zeros((1, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["cut", "cells"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1, 2], keepdims=1),
        helper.make_node("Mul", ["mean", "no"], ["nothing"]),
        helper.make_node("Add", ["nothing", "grid"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "back",
        [helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["N", *SHAPE])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 16, 2]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 16, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def garbled(bundle: Bundle) -> bytes:
    """A container whose checksums hold and whose base layer is no layer of the codec."""
    return pack(Container(bundle.prefix, 0, LEVELS, 320, 320, [Layer(0, b"\xff" * 50)]))


def resealed(data: bytes, prefix: bytes) -> bytes:
    """The same container, naming another bundle."""
    c = unpack(data)
    return pack(Container(prefix, c.codec, c.quality, c.width, c.height, c.layers))

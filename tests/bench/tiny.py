"""A whole detector of 64 cells, as a bundle: red and green blocks are its two kinds of objects. And photos of such."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from common import bundle as bundles
from common.bundle import Bundle

SIZE, CELL = 64, 8
SHAPE = (2, SIZE // CELL, SIZE // CELL)
COCO_IDS = (17, 18)


def write(parent: Path, levels: tuple[int, ...] = (2, 3, 4, 6, 8, 16, 64)) -> Bundle:
    """The bundle, in a folder below `parent`."""
    manifest: dict[str, object] = {
        "name": "tiny",
        "version": "1",
        "detector": {
            "name": "blocks",
            "labels": ["red", "green"],
            "coco_ids": list(COCO_IDS),
            "score_threshold": 0.05,
            "nms_iou": 0.5,
            "max_detections": 64,
        },
        "input": {"width": SIZE, "height": SIZE, "pad": 0},
        "cut": {"tensors": [{"name": "cut", "shape": list(SHAPE)}], "macs_front": 1, "macs_back": 1},
        "codec": {
            "name": "lightweight",
            "shapes": [list(SHAPE)],
            "default_levels": levels[0],
            "clips": {str(n): [0.0, 1.0] for n in levels},
        },
    }
    return bundles.write(parent, manifest, {"back.onnx": ("both", _back()), "front.onnx": ("both", _front())})


def _front() -> bytes:
    """Mean red and green of each cell, 0 to 1."""
    constants = {
        "full": np.array(255, np.float32),
        "first": np.array([0], np.int64),
        "last": np.array([2], np.int64),
        "channels": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Slice", ["means", "first", "last", "channels"], ["two"]),
        helper.make_node("Div", ["two", "full"], ["cut"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 3])
    cut = helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["N", *SHAPE])
    return _model(nodes, [image], [cut], constants)


def _back() -> bytes:
    """A cell's means are its scores, the cell is its box."""
    columns = np.arange(SIZE // CELL) * CELL
    y, x = (part.ravel() for part in np.meshgrid(columns, columns, indexing="ij"))
    constants = {
        "grid": np.stack([x, y, x + CELL, y + CELL], 1)[None].astype(np.float32),
        "cells": np.array([0, 2, -1], np.int64),
        "no": np.zeros((1, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["cut", "cells"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1, 2], keepdims=1),
        helper.make_node("Mul", ["mean", "no"], ["nothing"]),
        helper.make_node("Add", ["nothing", "grid"], ["boxes"]),
    ]
    cut = helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["N", *SHAPE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", None, 2])
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", None, 4])
    return _model(nodes, [cut], [scores, boxes], constants)


def _model(nodes, inputs, outputs, constants) -> bytes:
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def listing(folder: Path, count: int = 6, seed: int = 0) -> Path:
    """Photos of 128 x 96 with coloured blocks of more or less colour in dark noise, and a COCO JSON of them."""
    rng = np.random.default_rng(seed)
    images, marks = [], []
    scale = 2  # pixels of the photo per pixel of the network's input
    for number in range(1, count + 1):
        picture = rng.integers(0, 40, (96, 128, 3))
        for _ in range(8):
            row, column, kind = rng.integers(0, 6), rng.integers(0, 8), rng.integers(0, 2)
            x, y, side = column * CELL * scale, row * CELL * scale, CELL * scale
            picture[y : y + side, x : x + side, kind] = rng.integers(60, 256)
            mark = {"id": len(marks) + 1, "image_id": number, "category_id": COCO_IDS[kind], "iscrowd": 0}
            marks.append({**mark, "bbox": [int(x), int(y), side, side], "area": side * side})
        name = f"{number}.png"
        Image.fromarray(picture.astype(np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 128, "height": 96, "source": "coco_val2017"})
    path = folder / "listing.json"
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": []}))
    return path

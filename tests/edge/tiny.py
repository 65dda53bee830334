"""The smallest real bundle: one convolution of stride 8 and a leaky ReLU, and the lightweight codec."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import bundle as bundles
from common.bundle import Bundle

CHANNELS, CELLS = 4, 40


def front(seed: int = 0) -> bytes:
    """uint8 [N, 320, 320, 3] to float32 [N, 4, 40, 40]."""
    weights = np.random.default_rng(seed).normal(0, 0.002, (CHANNELS, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w"], ["conv"], strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("LeakyRelu", ["conv"], ["cut"], alpha=0.1),
    ]
    graph = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 320, 320, 3])],
        [helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["n", CHANNELS, CELLS, CELLS])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def back() -> bytes:
    """float32 [N, 4, 40, 40] to one score and one box for each channel: its mean, and a quarter of the input."""
    boxes = np.array([[80 * i, 40, 80 * i + 60, 280] for i in range(CHANNELS)], np.float32)
    constants = {
        "cells": np.array([0, CHANNELS, -1], np.int64),
        "quarters": boxes[None],
        "no": np.zeros((1, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["cut", "cells"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[2], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["scores"]),
        helper.make_node("Mul", ["mean", "no"], ["nothing"]),
        helper.make_node("Add", ["nothing", "quarters"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "back",
        [helper.make_tensor_value_info("cut", TensorProto.FLOAT, ["n", CHANNELS, CELLS, CELLS])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CHANNELS, 1]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", CHANNELS, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


AGREEMENT = {2: 0.8, 4: 0.92, 8: 0.98}


def write(
    parent: Path,
    seed: int = 0,
    side: bundles.Side = "cloud",
    *,
    name: str = "tiny",
    version: str = "1",
    levels: tuple[int, ...] = (2, 4, 8),
) -> Bundle:
    """A bundle below `parent`; another seed is another bundle. With side "both" it allows every mode."""
    points = [
        {"quality": q, "bytes_mean": 100.0 * q, "bytes_p95": 200.0 * q, "ap50": 0.3, "agreement_ap50": a, "images": 1}
        for q, a in AGREEMENT.items()
        if q in levels
    ]
    manifest: dict[str, object] = {
        "name": name,
        "version": version,
        "detector": {
            "name": "tiny",
            "labels": ["person"],
            "coco_ids": [1],
            "score_threshold": 0.05,
            "nms_iou": 0.6,
            "max_detections": 10,
        },
        "input": {"width": 320, "height": 320, "pad": 114},
        "cut": {"tensors": [{"name": "cut", "shape": [CHANNELS, CELLS, CELLS]}], "macs_front": 1, "macs_back": 1},
        "codec": {
            "name": "lightweight",
            "shapes": [[CHANNELS, CELLS, CELLS]],
            "mean": 0.1,
            "variance": 0.2,
            "levels": list(levels),
            "default_levels": levels[len(levels) // 2],
        },
        "operating_points": points,
    }
    whole = side == "both"
    return bundles.write(
        parent,
        manifest,
        {
            "front.onnx": ("both" if whole else "edge", front(seed)),
            "back.onnx": (side, back() if whole else b"not here"),
        },
    )

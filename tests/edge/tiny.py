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


def write(parent: Path, seed: int = 0) -> Bundle:
    """A bundle below `parent`; another seed is another bundle."""
    points = [
        {"quality": q, "bytes_mean": 100.0 * q, "bytes_p95": 200.0 * q, "ap50": 0.3, "agreement_ap50": 0.9, "images": 1}
        for q in (2, 4, 8)
    ]
    manifest: dict[str, object] = {
        "name": "tiny",
        "version": "1",
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
            "levels": [2, 4, 8],
            "default_levels": 4,
        },
        "operating_points": points,
    }
    return bundles.write(parent, manifest, {"front.onnx": ("edge", front(seed)), "back.onnx": ("cloud", b"not here")})

"""Multiply-adds of networks whose costs are known by hand: of floats, of integers, of any size."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("av")

from bench.macs import multiply_adds
from bench.rd import costs
from common.codec.integers import Convolution, IntegerNet
from common.scalable.latent_features import open_coder, read_arrays
from tests.scalable import nets, tiny


def network(*, rounded: bool = False) -> onnx.ModelProto:
    """x [n,3,h,w] -> y, free in size; with `rounded`, the first weights are stored in half precision."""
    first = np.ones((5, 3, 3, 3), np.float16 if rounded else np.float32)
    weights = [
        numpy_helper.from_array(first, "stored" if rounded else "first"),
        numpy_helper.from_array(np.ones((7, 5, 2, 2), np.float32), "second"),
    ]
    nodes = [helper.make_node("Cast", ["stored"], ["first"], to=TensorProto.FLOAT)] if rounded else []
    nodes += [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["y"], strides=[2, 2]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 7, "a", "b"])
    graph = helper.make_graph(nodes, "known", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("rounded", [False, True])
def test_a_network_of_any_size_is_counted_at_one(rounded):
    made = network(rounded=rounded)
    assert multiply_adds(made, {"x": (20, 15)}) == 300 * 5 * 3 * 9 + 10 * 7 * 7 * 5 * 4
    assert multiply_adds(made, {"x": (40, 30)}) == 4 * 300 * 5 * 3 * 9 + 20 * 15 * 7 * 5 * 4


def test_groups_and_products_are_counted():
    weights = [numpy_helper.from_array(np.ones((6, 1, 3, 3), np.float32), "apart")]
    weights += [numpy_helper.from_array(np.ones((6, 10), np.float32), "full")]
    nodes = [helper.make_node("Conv", ["x", "apart"], ["a"], pads=[1, 1, 1, 1], group=6)]
    nodes += [helper.make_node("GlobalAveragePool", ["a"], ["m"]), helper.make_node("Flatten", ["m"], ["f"])]
    nodes += [helper.make_node("MatMul", ["f", "full"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "known", [x], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert multiply_adds(made) == 64 * 6 * 9 + 6 * 10


def test_integers_grow_with_every_shuffle():
    def conv(outputs, inputs, size, shuffle=False):
        zeros = np.zeros(outputs, np.int32), np.zeros(outputs, np.uint8)
        return Convolution(np.ones((outputs, inputs, size, size), np.int16), *zeros, relu=True, shuffle=shuffle)

    net = IntegerNet([conv(8, 3, 3), conv(16, 8, 1, shuffle=True), conv(5, 4, 1)], 100)
    assert costs.integers(net, 6, 5) == 30 * (8 * 3 * 9 + 16 * 8) + 120 * 5 * 4


def test_what_the_tiny_layers_cost(tmp_path):
    bundle = tiny.write(tmp_path, tiny.THREE, conditioned=True)
    found = costs.counted(bundle, (640, 480))
    pixel, frame = found[costs.PER_PIXEL], found[costs.PER_FRAME]
    assert set(pixel) == {"analysis", "hyper-analysis", costs.HYPER_DECODER, "synthesis"}
    # 4x4 pixels to 4 channels at every 4th, 13 layers there, then to the latent; the context by itself.
    analysis = (4 * 3 * 16 + 13 * 4 * 4 * 9) / 16 + (nets.FULL * 4 * 16 + nets.FULL * nets.CONTEXT) / 256
    assert pixel["analysis"] == pytest.approx(analysis / 1e3, rel=1e-9)
    (full,) = (layer for layer in bundle.manifest.layers if layer.name == "full")
    coder = open_coder(bundle, full.model_dump(), full.prefix, read_arrays(bundle))
    weights = [layer.weight.size for layer in (*coder.decoder.layers, *coder.passes[0].head.layers)]
    assert coder.context_net is not None and len(weights) == 4
    known = coder.context_net.layers[0].weight.size * 100
    # Cells are 30 x 40; z has 8 x 10 of its own, and the hyper-decoder makes 32 x 40 of them.
    decoder = 80 * weights[0] + 80 * weights[1] + 320 * weights[2] + 1280 * weights[3] + known
    assert pixel[costs.HYPER_DECODER] == pytest.approx(decoder / (640 * 480) / 1e3, rel=1e-9)
    assert frame["front half"] == 1e-6 and frame["mask head"] == nets.FEATURES * nets.CLASSES * 1600 / 1e6
    assert {"base analysis", "base feature transform", "mask analysis", "preview"} < set(frame)
    lines = dict(costs.costs_rows(found))
    assert "kMAC a pixel: analysis" in lines["multiply-adds of the picture layers"]
    assert "MMAC a frame: front half" in lines["multiply-adds of what is below them"]


def test_a_picture_in_parts_of_cells_costs_whole_ones(tmp_path):
    bundle = tiny.write(tmp_path)
    whole, more = (costs.counted(bundle, size)[costs.PER_PIXEL]["analysis"] for size in ((640, 480), (625, 465)))
    assert more == pytest.approx(whole * 640 * 480 / (625 * 465), rel=1e-9)

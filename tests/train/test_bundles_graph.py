"""A graph cut in two is the graph; what cannot be cut is refused with the way out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("onnxruntime")

from bench.activation import activation, origin
from common.errors import BundleError
from tests.train import graphs
from train.bundles import graph
from train.bundles.from_onnx import multiply_adds
from train.bundles.nodes import Nodes


@pytest.fixture(params=graphs.NETWORKS)
def network(request, tmp_path):
    return graph.read(graphs.NETWORKS[request.param](tmp_path / "net.onnx"))


def picture(seed=0):
    return np.random.default_rng(seed).normal(0, 1, (1, 3, graphs.SIZE, graphs.SIZE)).astype(np.float32)


@pytest.mark.parametrize("names", [["cut"], ["joined"], ["left", "right"], ["right", "left"]])
def test_front_then_back_is_the_whole(network, names):
    front, back = graph.cut(network, names)
    features = graph.session(front).run(names, {"image": picture()})
    found = graph.session(back).run(network.flow.outputs, dict(zip(names, features, strict=True)))
    whole = graph.session(network.model).run(network.flow.outputs, {"image": picture()})
    assert graph.difference(found, whole) <= 1e-6
    assert graph.check_halves(network, front, back) <= 1e-6


def test_every_single_cut_cuts_and_none_is_missing(network):
    singles = network.flow.singles()
    assert {"cut", "joined"} <= set(singles) and not {"left", "right", "image"} & set(singles)
    for name in singles:
        front, back = graph.cut(network, [name])
        graph.check_halves(network, front, back)


def test_multiply_adds_of_both_halves_are_those_of_the_whole(network):
    costs = [multiply_adds(network, [name]) for name in network.flow.singles()]
    assert [front for front, _ in costs] == sorted(front for front, _ in costs)
    assert all(0 < front <= total for front, total in costs)
    stem = 6 * 8 * 8 * 3 * 8 * 8
    assert multiply_adds(network, ["cut"])[0] == stem
    assert multiply_adds(network, ["joined"])[0] == stem + 2 * 8 * 8 * 6 * 6


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["cutt"], "the nearest are cut"),
        ([], "at least one"),
        (["cut", "cut"], "twice"),
        (["image"], "no front half"),
        (["left"], "also needs right"),
        (["cut", "joined"], "does not need cut"),
    ],
)
def test_a_cut_that_is_none_says_what_to_do(network, names, says):
    with pytest.raises(BundleError, match=says):
        graph.cut(network, names)


def test_an_output_leaves_no_back_half(network):
    with pytest.raises(BundleError, match=r"no back half.*bundle cuts"):
        graph.cut(network, network.flow.outputs[:1])


@pytest.mark.parametrize(
    ("shape", "kind", "says"),
    [
        ([1, 3, "height", 64], TensorProto.FLOAT, "must be fixed"),
        ([1, 3, 48, 64], TensorProto.FLOAT, "square"),
        ([2, 3, 64, 64], TensorProto.FLOAT, "one picture"),
        ([1, 64, 64, 3], TensorProto.FLOAT, "expected float32"),
        ([1, 3, 64, 64], TensorProto.UINT8, "expected float32"),
    ],
)
def test_an_input_that_is_no_square_picture_is_refused(tmp_path, shape, kind, says):
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["image"], ["out"])],
            "net",
            [helper.make_tensor_value_info("image", kind, shape)],
            [helper.make_tensor_value_info("out", kind, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(BundleError, match=says):
        graph.read(tmp_path / "net.onnx")


def test_what_is_no_onnx_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match="cannot read"):
        graph.read(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(BundleError, match="no ONNX file"):
        graph.read(tmp_path / "text.onnx")
    nodes = Nodes("net")
    graphs.conv(nodes, "image", 3, 2, 8)
    old = graphs.saved(tmp_path / "old.onnx", nodes, 64, {nodes.nodes[-1].output[0]: [1, 2, 8, 8]}, opset=9)
    with pytest.raises(BundleError, match="opset 9"):
        graph.read(old)


def test_a_freed_batch_of_two_is_two_singles(network):
    _, back = graph.cut(network, ["cut"])
    freed = graph.free_batch(back)
    shape = network.flow.shapes["cut"][1:]
    both = np.random.default_rng(1).normal(0, 1, (2, *shape)).astype(np.float32)
    if freed is back:  # outputs without a batch, as NanoDet's are before its head
        assert network.flow.shapes[network.flow.outputs[0]][0] != 1
        return
    found = graph.session(freed).run(None, {"cut": both})
    for i in range(2):
        alone = graph.session(freed).run(None, {"cut": both[i : i + 1]})
        assert graph.difference([f[i : i + 1] for f in found], alone) <= 1e-5


def test_a_batch_that_would_mix_frames_stays_one():
    nodes = Nodes("net")
    mixed = nodes("ReduceMean", "cut", axes=[0], keepdims=1)
    nodes("Add", "cut", mixed, called="out")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 3, 3]) for name in ("cut", "out")]
    made = helper.make_graph(nodes.nodes, "net", info[:1], info[1:], nodes.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert graph.free_batch(model) is model


def test_activations_are_named(tmp_path):
    model = onnx.load(graphs.fastestdet(tmp_path / "net.onnx"))
    assert activation(model, "cut") == ("leaky ReLU 0.1", 0.1)
    assert activation(model, "left") == ("ReLU", 0.0)
    assert activation(model, "out") == ("mixed", None)


def test_only_pure_moves_keep_the_origin_of_values():
    nodes = Nodes("net")
    cut = graphs.stem(nodes)
    moved = nodes("Transpose", nodes("Reshape", cut, np.array([1, 6, 64])), perm=[0, 2, 1], called="moved")
    for kind, more in (("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}), ("Sigmoid", {}), ("Neg", {})):
        nodes(kind, cut, called=kind, **more)
    model = helper.make_model(helper.make_graph(nodes.nodes, "net", [], [], nodes.constants))
    assert origin(model, moved) == origin(model, cut) == cut
    for kind in ("MaxPool", "Sigmoid", "Neg"):
        assert origin(model, kind) == kind


def test_nan_in_any_output_is_a_difference():
    good, bad = np.ones(3, np.float32), np.array([1, np.nan, 1], np.float32)
    for found in ([bad, good], [good, bad]):
        assert not graph.difference(found, [good, good]) <= graph.TOLERANCE
    assert graph.difference([good], [good]) == 0


def test_a_file_that_is_onnx_but_cannot_be_used_says_so(tmp_path):
    path = graphs.yolox(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "Conjure"
    onnx.save(model, tmp_path / "operator.onnx")
    onnx.save(
        onnx.load(path), tmp_path / "weights.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert graph.read(tmp_path / "weights.onnx").size == graphs.SIZE
    (tmp_path / "w.bin").unlink()
    for name, says in (("operator", "Conjure"), ("weights", "w.bin")):
        with pytest.raises(BundleError, match=rf"cannot be used: .*{says}"):
            graph.read(tmp_path / f"{name}.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(BundleError, match="no ONNX file"):
        graph.read(tmp_path / "empty.onnx")

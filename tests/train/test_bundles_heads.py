"""Heads and preprocessing as nodes say what the same arithmetic says in NumPy."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")

from bench.settings import MissingDataError, data_root
from common.errors import BundleError
from tests.train import graphs
from tests.train.graphs import BINS, LABELS, SIZE
from train.bundles import from_onnx, graph
from train.bundles.heads import HEADS, append
from train.bundles.nodes import Nodes
from train.bundles.preprocess import Preprocessing, prepend


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cells(side):
    y, x = np.divmod(np.arange(side * side), side)
    return np.stack([x, y], 1)


def around(centre, half):
    return np.concatenate([centre - half, centre + half], 1)


def nanodet(out):
    scores, boxes = [], []
    for side in (8, 4):
        stride = SIZE / side
        reach = softmax(out[f"d{side}"].reshape(-1, 4, BINS)) @ np.arange(BINS) * stride
        centre = (cells(side) + 0.5) * stride
        scores.append(out[f"s{side}"])
        boxes.append(np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1))
    return np.concatenate(scores), np.concatenate(boxes)


def yolox(out):
    rows, at, boxes = out["output"][0], 0, []
    for stride in (8, 16, 32):
        side = SIZE // stride
        part = rows[at : at + side * side]
        at += side * side
        boxes.append(around((part[:, :2] + cells(side)) * stride, np.exp(part[:, 2:4]) * stride / 2))
    return rows[:, 5:] * rows[:, 4:5], np.concatenate(boxes)


def fastestdet(out):
    rows = out["out"][0].reshape(5 + len(LABELS), -1).T
    scores = rows[:, :1] ** 0.6 * rows[:, 5:] ** 0.4
    scores[rows[:, 5:] < rows[:, 5:].max(1, keepdims=True)] = 0
    centre = (np.tanh(rows[:, 1:3]) + cells(8)) * 8
    return scores, around(centre, SIZE / 2 / (1 + np.exp(-rows[:, 3:5])))


PLAIN = {"nanodet": nanodet, "yolox": yolox, "fastestdet": fastestdet}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_head_is_its_arithmetic_in_any_batch(head, batch, tmp_path):
    network = graph.read(graphs.NETWORKS[head](tmp_path / "net.onnx"))
    front, back = graph.cut(network, ["cut"])
    decoded = graph.free_batch(append(back, head, network.flow.shapes, SIZE, len(LABELS)))
    images = np.random.default_rng(0).normal(0, 1, (batch, 3, SIZE, SIZE)).astype(np.float32)
    cut = np.concatenate([graph.session(front).run(["cut"], {"image": image[None]})[0] for image in images])
    scores, boxes = graph.session(decoded).run(["scores", "boxes"], {"cut": cut})
    for i, image in enumerate(images):
        raw = graph.session(network.model).run(network.flow.outputs, {"image": image[None]})
        expected = PLAIN[head](dict(zip(network.flow.outputs, raw, strict=True)))
        np.testing.assert_allclose(scores[i], expected[0], atol=1e-5)
        np.testing.assert_allclose(boxes[i], expected[1], atol=1e-3)


def test_scores_exported_without_their_sigmoid_get_it(tmp_path):
    answers = []
    for activated in (True, False):
        network = graph.read(graphs.nanodet(tmp_path / f"{activated}.onnx", activated=activated))
        _, back = graph.cut(network, ["cut"])
        append(back, "nanodet", network.flow.shapes, SIZE, len(LABELS))
        cut = np.random.default_rng(0).normal(0, 1, network.flow.shapes["cut"]).astype(np.float32)
        answers.append(graph.session(back).run(["scores"], {"cut": cut})[0])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_does_not_fit_says_what_it_needs(head, tmp_path):
    for other, make in graphs.NETWORKS.items():
        network = graph.read(make(tmp_path / f"{other}.onnx"))
        labels = len(LABELS) if other != head else len(LABELS) + 1
        _, back = graph.cut(network, ["cut"])
        with pytest.raises(BundleError, match=f"head {head} does not fit.*needs.*the network gives.*--labels"):
            append(back, head, network.flow.shapes, SIZE, labels)


WAYS = [
    Preprocessing(),
    Preprocessing(order="bgr"),
    Preprocessing(top=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    HEADS["nanodet"].preprocessing,
]


@pytest.mark.parametrize("way", WAYS)
def test_preprocessing_is_its_arithmetic(way, tmp_path):
    network = graph.read(graphs.yolox(tmp_path / "net.onnx"))
    front, _ = graph.cut(network, ["cut"])
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    values = image[..., ::-1] if way.order == "bgr" else image
    values = (values / 255 * way.top - np.array(way.mean)) / np.array(way.std)
    expected = graph.session(front).run(["cut"], {"image": values.transpose(0, 3, 1, 2).astype(np.float32)})
    ours = prepend(front, way, SIZE)
    onnx.checker.check_model(ours, full_check=True)
    assert graph.difference(graph.session(ours).run(["cut"], {"image": image}), expected) <= 1e-5


@pytest.mark.parametrize("change", [{"std": (1.0, 0.0, 1.0)}, {"mean": (1.0,)}, {"top": 0.0}, {"mean": (np.nan, 0, 0)}])
def test_preprocessing_that_cannot_be_is_refused(change):
    with pytest.raises(BundleError, match=r"mean|std|range"):
        replace(Preprocessing(), **change).check()


def test_nanodet_m_finds_what_it_is_known_to_find():
    from bench.networks import NanoDet, _boxes

    try:
        path = data_root() / "weights" / "nanodet_m_320.onnx"
    except MissingDataError as absent:
        pytest.skip(str(absent))
    halves = from_onnx.halves(path, from_onnx.Wanted(("439",), "nanodet"))
    image = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    front, back = (graph.session(onnx.load_from_string(halves.files[n][1])) for n in ("front.onnx", "back.onnx"))
    scores, boxes = back.run(["scores", "boxes"], {"439": front.run(["439"], {"image": image[None]})[0]})
    known_scores, known_sides = NanoDet(path).raw(image)
    np.testing.assert_allclose(scores[0][:, NanoDet.CLASSES], known_scores, atol=1e-5)
    np.testing.assert_allclose(boxes[0], _boxes(known_sides.reshape(-1, 4, 8)), atol=1e-2)
    assert halves.cut["macs_front"] / (halves.cut["macs_front"] + halves.cut["macs_back"]) == pytest.approx(
        0.1, abs=0.001
    )


def nanodet_of_equal_widths(path, activated):
    """32 labels, 8 bins: scores and sides are [cells, 32]; the sides come first."""
    nodes, made = Nodes("net"), {}
    head = graphs.conv(nodes, graphs.stem(nodes), 6, 64)
    for kind, first in (("sides", 32), ("chances", 0)):
        part = graphs.slice_channels(nodes, head, first, first + 32)
        part = nodes("Sigmoid", part) if activated and kind == "chances" else part
        nodes("Transpose", nodes("Reshape", part, np.array([32, -1])), perm=[1, 0], called=kind)
        made[kind] = [64, 32]
    return graph.read(graphs.saved(path, nodes, SIZE, made))


def test_scores_and_sides_of_one_width_are_told_by_the_sigmoid(tmp_path):
    network = nanodet_of_equal_widths(tmp_path / "net.onnx", activated=True)
    _, back = graph.cut(network, ["cut"])
    back = append(back, "nanodet", network.flow.shapes, SIZE, 32)
    front, _ = graph.cut(network, ["cut"])
    image = np.random.default_rng(0).normal(0, 1, (1, 3, SIZE, SIZE)).astype(np.float32)
    (features,) = graph.session(front).run(["cut"], {"image": image})
    (scores,) = graph.session(back).run(["scores"], {"cut": features})
    (chances,) = graph.session(network.model).run(["chances"], {"image": image})
    np.testing.assert_allclose(scores[0], chances, atol=1e-5)
    network = nanodet_of_equal_widths(tmp_path / "net.onnx", activated=False)
    _, back = graph.cut(network, ["cut"])
    with pytest.raises(BundleError, match="with the sigmoid"):
        append(back, "nanodet", network.flow.shapes, SIZE, 32)

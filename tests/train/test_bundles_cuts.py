"""The list of cuts: whole, and the ones worth having are those that no other beats."""

import json

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("faster_coco_eval")

from common.errors import BundleError
from tests.train import graphs
from train.bundles.cuts import Asked, Measuring, Row, pareto, run


def row(name, macs, elements, size=None, agreement=None):
    return Row(name, (elements,), elements, macs, macs / 100, "ReLU", size, agreement)


def best(*rows):
    return [r.name for r in pareto(rows) if r.pareto]


def test_what_is_beaten_is_not_worth_having():
    assert best(row("a", 1, 10), row("b", 2, 10), row("c", 3, 5)) == ["a", "c"]
    assert best(row("a", 1, 10), row("same, reshaped", 1, 10)) == ["a"]
    assert best(row("a", 1, 9, 100, 0.5), row("b", 2, 9, 200, 0.9), row("c", 3, 9, 200, 0.8)) == ["a", "b"]


def test_where_some_are_measured_only_those_count():
    assert best(row("a", 1, 10), row("b", 2, 20, 100, 0.9)) == ["b"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return graphs.yolox(folder / "yolox.onnx"), graphs.labels_file(folder), graphs.pictures(folder / "pictures", 3)


def test_cuts_are_listed_measured_and_drawn(inputs, tmp_path):
    network, labels, pictures = inputs
    asked = Asked(str(network), head="yolox", labels=labels)
    plain = run(asked, None, tmp_path / "plain.json", tmp_path / "plain.png")
    rows = run(asked, Measuring(pictures, "lightweight", 3), tmp_path / "cuts.json", tmp_path / "cuts.png")
    assert [r.name for r in rows] == [r.name for r in plain]
    cut = next(r for r in rows if r.name == "cut")
    assert (cut.shape, cut.elements, cut.activation) == ((6, 8, 8), 384, "leaky ReLU 0.1")
    assert all(r.bytes > 0 and 0 <= r.agreement <= 1 for r in rows)
    assert any(r.pareto for r in rows)
    written = json.loads((tmp_path / "cuts.json").read_text())
    assert [w["name"] for w in written] == [r.name for r in rows]
    assert all((tmp_path / f"{n}.png").read_bytes()[:4] == b"\x89PNG" for n in ("plain", "cuts"))


def test_measuring_needs_a_head_and_pictures(inputs):
    network, labels, pictures = inputs
    with pytest.raises(BundleError, match="--head"):
        run(Asked(str(network), labels=labels), Measuring(pictures, "lightweight", 3), None, None)
    with pytest.raises(BundleError, match="--calibrate"):
        run(Asked(str(network), labels=labels, head="yolox"), Measuring(None, "lightweight", 3), None, None)

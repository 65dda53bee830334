"""The list of cuts: whole, and the ones worth having are those that no other beats."""

import io
import json
from dataclasses import replace

import onnx
import pytest
from onnx import helper
from rich.console import Console

pytest.importorskip("onnxruntime")
pytest.importorskip("faster_coco_eval")

from common.errors import BundleError, MidstreamError
from tests.train import graphs
from train.bundles.cuts import Asked, Measuring, Row, pareto, run, table


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


def test_names_are_never_cut_off(capsys):
    name = "/backbone/stages.3/" + "blocks/" * 20 + "LeakyRelu_output_0"
    for width in (80, 200):
        drawn = Console(width=width, file=io.StringIO())
        drawn.print(table("net", [replace(row("a", 1, 10), name=name)]))
        said = "".join(line.split("│")[1].strip() for line in drawn.file.getvalue().splitlines() if "│" in line)
        assert name in said


def test_what_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    absent = Asked(str(tmp_path / "absent.onnx"))
    for files, says in (((tmp_path, None), "is a folder"), ((None, tmp_path / "plot.xyz"), "must end in .png")):
        with pytest.raises(MidstreamError, match=says):
            run(absent, None, *files)


def test_a_cut_behind_an_operation_is_measured_anew(inputs, tmp_path):
    _, labels, pictures = inputs
    network = onnx.load(inputs[0])
    at = next(i for i, node in enumerate(network.graph.node) if "cut" in node.output)
    for node in network.graph.node:
        node.input[:] = ["shaken" if name == "cut" else name for name in node.input]
    pool = helper.make_node("MaxPool", ["cut"], ["pooled"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    network.graph.node.insert(at + 1, pool)
    network.graph.node.insert(at + 2, helper.make_node("Identity", ["pooled"], ["shaken"]))
    onnx.save(network, tmp_path / "pooled.onnx")
    asked = Asked(str(tmp_path / "pooled.onnx"), head="yolox", labels=labels)
    rows = {r.name: r for r in run(asked, Measuring(pictures, "lightweight", 3), None, None)}
    assert (rows["pooled"].macs, rows["pooled"].elements) == (rows["cut"].macs, rows["cut"].elements)
    assert rows["pooled"].bytes != rows["cut"].bytes
    assert rows["shaken"].bytes == rows["pooled"].bytes

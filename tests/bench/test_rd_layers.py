"""A bundle's picture layers measured as a codec: real bytes, the product's own decoder, times that add up."""

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from bench.rd import layered, run, sheet, timing
from bench.rd.layered import Layered, own
from common.bundle import load
from common.codec import unpack
from common.codec.latent import LatentCoder
from common.errors import BundleError, MidstreamError
from common.scalable import PictureLayers
from common.scalable.networks import Networks
from tests.bench import tiny as plain
from tests.scalable import tiny


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("three"), tiny.THREE)


@pytest.mark.parametrize("name", ["two", "three"])
def test_all_layers_below_are_in_the_bytes_that_count(name, request):
    bundle = request.getfixturevalue(name)
    picture, codec = tiny.picture(101, 67), own([bundle])["tiny-latent"]
    data = codec.encode(picture, 300)
    container = unpack(data)
    assert codec.counted(data) == len(data) > sum(len(layer.payload) for layer in container.layers)
    assert len(container.layers) == 1 + len(bundle.manifest.layers)
    assert container.bundle == bundle.prefix
    decoded = codec.decode(data)
    np.testing.assert_array_equal(decoded, PictureLayers.open(bundle).decode(container.layers, 101, 67))
    assert decoded.shape == picture.shape


def test_the_quality_is_that_of_the_whole_picture_and_the_base_layer_stays(two):
    picture, codec = tiny.picture(160, 120), own([two])["tiny-latent"]
    low, high = (unpack(codec.encode(picture, quality)).layers for quality in (100, 400))
    assert low[0] == high[0]
    assert len(low[1].payload) < len(high[1].payload)


def test_the_ladder_spans_what_the_layer_offers(two):
    ladder = own([two])["tiny-latent"].ladder
    assert (ladder[0], ladder[-1]) == (tiny.LOWEST, tiny.HIGHEST)
    assert len(ladder) == layered.RUNGS
    assert all(a < b for a, b in pairwise(ladder))


def test_the_preview_is_the_base_layers_and_costs_only_that(two):
    picture, every = tiny.picture(160, 120), own([two])
    data = every["tiny-latent/preview"].encode(picture, tiny.DEFAULT)
    assert [layer.kind for layer in unpack(data).layers] == [0]
    assert every["tiny-latent/preview"].decode(data).shape == picture.shape


def test_bundles_of_one_name_are_told_apart(two, three):
    every = own([two, three])
    assert f"tiny-latent@{three.digest[:8]}" in every
    assert "tiny-latent" in every


def test_a_bundle_without_picture_layers_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no picture layers"):
        own([plain.write(tmp_path)])
    masks = tiny.write(tmp_path, ("mask",))
    assert list(own([masks])) == ["tiny-latent/preview"]
    with pytest.raises(MidstreamError, match="cannot give whole pictures"):
        Layered(masks).all(tiny.picture(64, 64))
    with pytest.raises(MidstreamError, match="has no layer 'full' or 'clean'"):
        run.check_whole([masks])


def test_watching_finds_every_stage_and_leaves_no_trace(two):
    before = Networks.run_all, LatentCoder.payload, LatentCoder.decode
    ours, picture = Layered(two), tiny.picture(160, 120)
    spent = timing.stages(lambda: ours.all(picture))
    assert set(spent) == {"analysis", "entropy coding", "feature transform", "rest", "total"}
    assert all(ms > 0 for ms in spent.values())
    with pytest.raises(ZeroDivisionError):
        timing.stages(lambda: 1 / 0)
    assert (Networks.run_all, LatentCoder.payload, LatentCoder.decode) == before


def test_stages_are_told_by_the_files_names():
    networks = object.__new__(Networks)
    names = ("full_analysis.onnx", "full_hyper.onnx", "mask_lst.onnx", "full_synthesis.onnx", "preview.onnx", "x.onnx")
    found = [timing.stage_of(networks, name) for name in names]
    assert found == ["analysis", "analysis", "feature transform", "synthesis", "preview", "rest"]


def test_everything_at_once(three, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "REPEATS", 2)
    monkeypatch.setattr(timing, "SIZE", (160, 120))
    monkeypatch.setattr(timing, "BATCHES", (1, 2))
    pictures, figures = tmp_path / "pictures", tmp_path / "rd.json"
    pictures.mkdir()
    Image.fromarray(tiny.picture(190, 181)).save(pictures / "a.png")
    result = run.run(
        pictures,
        codecs=["tiny-latent"],
        bundle_dirs=[three.path],
        qualities=[100, 200, 300, 400],
        timed=True,
        json_path=figures,
        sheet_path=tmp_path / "sheet.png",
    )
    assert [row["quality"] for row in result["rows"]] == [100, 200, 300, 400]
    assert all(row["ms_ssim"] is not None for row in result["rows"])
    found = json.loads(figures.read_text())["timing"]["tiny-latent"]
    assert len(found["bytes"]) == 3
    assert found["ms"]["whole picture, decode"]["synthesis"] > 0
    assert found["edge_peak_mb"] > 50  # an interpreter, ONNX Runtime and the service
    assert set(found["per_second"]["features"]) == {"1", "2"}
    assert found["macs"]["kmac_per_pixel"]["synthesis"] > 0
    assert set(found["per_second"]["pictures"]) == {"1", "2"}
    assert result["timing"]["tiny-latent"]["size"] == (160, 120)
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.width > 6 * sheet.TILE[0]
    shown = capsys.readouterr().out
    assert "resident memory" in shown and "kMAC a pixel" in shown
    again = run.run(pictures, codecs=["jpeg"], qualities=[50], json_path=figures)
    assert again["timing"]["tiny-latent"] == found
    assert {row["codec"] for row in again["rows"]} == {"jpeg", "tiny-latent"}


def test_the_edge_has_all_it_needs_to_measure_its_memory(two):
    assert timing.edge_peak(load(two.path, "edge")) > 50

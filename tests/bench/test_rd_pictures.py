"""Codecs of pictures that need no base layer, measured: what counts, at which quality, what each stage takes."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from bench.rd import costs, document, run, sheet, timing
from bench.rd.layered import Layered, own
from common import bundle as bundles
from common.codec import unpack
from common.codec.latent import quality_of
from common.scalable import PictureLayers
from tests.scalable import tiny

NAME = "tiny-latent"


@pytest.fixture(scope="module")
def frequency(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("frequency"), tiny.FREQUENCY)


@pytest.fixture(scope="module")
def denoise(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("denoise"), tiny.DENOISE)


def test_the_low_frequencies_are_a_codec_of_their_own(frequency):
    picture, every = tiny.picture(101, 67), own([frequency])
    assert list(every) == [f"{NAME}-base", NAME]
    base, full = (every[name].encode(picture, 300) for name in every)
    low, both = unpack(base).layers, unpack(full).layers
    assert [layer.kind for layer in both] == [1, 2] and low == both[:1]
    assert every[NAME].counted(full) == len(full) > every[f"{NAME}-base"].counted(base) == len(base)
    pictures = PictureLayers.open(frequency)
    for name, layers, data in (("low", low, base), ("full", both, full)):
        decoded = every[NAME if name == "full" else f"{NAME}-base"].decode(data)
        np.testing.assert_array_equal(decoded, pictures.decode(layers, 101, 67, name))


def test_low_and_high_frequencies_are_of_the_quality_asked_for(frequency):
    picture, codec = tiny.picture(80, 64), own([frequency])[NAME]
    for quality in (40, 300):
        assert [quality_of(layer.payload) for layer in unpack(codec.encode(picture, quality)).layers] == [quality] * 2


def test_of_a_codec_that_denoises_the_clean_layer_counts(denoise):
    picture, every = tiny.picture(80, 64), own([denoise])
    assert list(every) == [NAME]
    data = every[NAME].encode(picture, 200)
    (layer,) = unpack(data).layers
    assert (layer.kind, quality_of(layer.payload)) == (1, 200)
    decoded = every[NAME].decode(data)
    np.testing.assert_array_equal(decoded, PictureLayers.open(denoise).decode([layer], 80, 64, "clean"))


def test_a_layer_has_those_that_it_needs_below_it(frequency, denoise):
    picture = tiny.picture(80, 64)
    for bundle, expected in ((frequency, {1: [], 2: [1]}), (denoise, {1: [], 2: [1]})):
        ours = Layered(bundle)
        for layer in ours.pictures.layers:
            assert [below.kind for below in ours.below(picture, layer)] == expected[layer.kind]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "REPEATS", 2)
    monkeypatch.setattr(timing, "SIZE", (160, 128))
    monkeypatch.setattr(timing, "BATCHES", (1, 2))


def test_each_stage_of_tiles_is_timed(frequency, quick):
    found = timing.measure(frequency, tiny.picture(190, 181))
    stages = found["ms"]
    for what in ("base picture, encode", "tiles above it, encode"):
        assert {"analysis", "entropy coding"} <= set(stages[what])
    for what in ("base picture, decode", "whole picture, decode", "whole picture, decode a tenth of it"):
        assert {"synthesis", "entropy coding"} <= set(stages[what])
        assert stages[what]["total"] > 0
    assert len(found["bytes"]) == 3 and set(found["per_second"]) == {"pictures"}
    assert set(found["per_second"]["pictures"]) == {1, 2}
    assert [what for what, _ in timing.timing_rows(found)].count("base picture, encode") == 1


def test_a_region_is_decoded_from_its_tiles_alone(frequency):
    ours, picture = Layered(frequency), tiny.picture(*timing.SIZE)
    layers = ours.all(picture)
    decoded = timing.region(ours, "full", layers)()
    base, full = (ours.pictures.decode(layers, *timing.SIZE, name) for name in ("low", "full"))
    assert (decoded != base).any() and (decoded == base).all(2).mean() > 1 - 2 * timing.TENTH
    middle = slice(220, 260), slice(300, 340)
    assert np.abs(decoded[middle].astype(int) - full[middle]).max() <= 1


def test_both_layers_of_noise_are_timed(denoise, quick):
    found = timing.measure(denoise, tiny.picture(190, 181))
    stages = set(found["ms"])
    assert {f"{what} picture, {way}" for what in ("clean", "noisy") for way in ("encode", "decode")} <= stages
    # What the edge codes of the noise, it codes above the clean picture, which it has to make first.
    assert found["ms"]["noisy picture, encode"]["synthesis"] > 0
    assert set(found["per_second"]["pictures"]) == {1, 2}


def test_what_two_layers_share_is_counted_once(frequency):
    size = (160, 120)
    found = costs.of_picture(frequency, size)
    both = {f"{name} {part}" for name in ("low", "full") for part in ("hyper-analysis", costs.HYPER_DECODER)}
    assert set(found) == {"analysis", "synthesis"} | both
    # 8 x 10 cells lie in 2 x 3 tiles.
    one = costs.network(frequency, "high_hyper.onnx", {"y": (tiny.TILE, tiny.TILE)})
    assert found["full hyper-analysis"] == 6 * one > 0
    assert found["analysis"] == costs.network(frequency, "frequency_analysis.onnx", {"x": (128, 160)})
    assert costs.of_frame(frequency) == {"front half": frequency.manifest.cut.macs_front}


def test_both_layers_of_noise_cost_something(denoise):
    found = costs.of_picture(denoise, (160, 120))
    assert all(found[f"{name} {part}"] > 0 for name in ("clean", "noisy") for part in ("analysis", "synthesis"))
    last = costs.synthesis(denoise, (160, 120))
    assert (last.file, last.result, last.taken["y"][1:]) == ("noisy_synthesis.onnx", "r", (8, 10))


def test_a_network_that_is_told_of_the_step_is_timed_in_batches(denoise, quick, tmp_path):
    manifest = denoise.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    manifest["layers"] = manifest["layers"][:1]
    files = {name: (about.side, denoise.file(name).read_bytes()) for name, about in denoise.manifest.files.items()}
    clean = bundles.write(tmp_path, manifest, files)
    rates = timing.picture_batches(SimpleNamespace(bundle=clean))
    assert list(rates) == list(timing.BATCHES) and min(rates.values()) > 0


@pytest.mark.parametrize("name", ["frequency", "denoise"])
def test_from_pictures_to_a_page_and_a_sheet(name, request, quick, tmp_path):
    bundle = request.getfixturevalue(name)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(tiny.picture(190, 181)).save(pictures / "a.png")
    names = list(own([bundle]))
    result = run.run(
        pictures,
        names,
        [bundle.path],
        [100, 200, 300, 400],
        timed=True,
        json_path=tmp_path / "rd.json",
        sheet_path=tmp_path / "sheet.png",
    )
    assert {row["codec"] for row in result["rows"]} == set(names)
    text = document.section("pictures", result, [run.as_row(row) for row in result["rows"]], "plot.png")
    assert "kMAC a pixel" in text and "picture, decode |" in text
    columns = {"frequency": 7, "denoise": 5}[name]  # the original, and pictures beside JPEG's
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.width == columns * (sheet.TILE[0] + sheet.GAP) + sheet.GAP

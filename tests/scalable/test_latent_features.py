"""Codec 5 has the face of every codec, and looks at the base layer alone."""

from pathlib import Path

import numpy as np
import pytest

from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec import BatchCodec, Codec, Layer, Lightweight, decode_many
from common.codec.elements import Cells
from common.errors import BitstreamError, BundleError
from common.scalable import LatentFeatures
from tests.scalable import nets, tiny
from tests.scalable.coded import SIZES, frame


def test_the_bundle_names_it(two: Bundle) -> None:
    codec: Codec = feature_codec.of(two, threads=2)
    assert isinstance(codec, LatentFeatures) and isinstance(codec, BatchCodec)
    assert (codec.name, codec.id) == ("latent", 5)
    assert (codec.qualities, codec.default_quality) == (range(tiny.LOWEST, tiny.HIGHEST + 1), tiny.DEFAULT)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_features_come_back(two: Bundle, width: int, height: int) -> None:
    """What the tiny transform keeps are the means of 2x2 cells; the step is half a unit, a 32nd of a feature."""
    coded = frame(two, width, height)
    (found,) = feature_codec.of(two).decode(coded.layers, coded.window)
    assert found.shape == tuple(nets.CUT) and found.dtype == np.float32
    left, top, right, bottom, _, _ = coded.window
    inside = np.s_[:, top // 32 * 2 : -(-bottom // 32) * 2, left // 32 * 2 : -(-right // 32) * 2]
    means = coded.features[0].reshape(4, 20, 2, 20, 2).mean((2, 4))
    assert np.abs(found.reshape(4, 20, 2, 20, 2).mean((2, 4)) - means)[inside].max() < 1 / 32 + 1e-3


def test_outside_the_window_is_nothing(two: Bundle) -> None:
    coded, codec = frame(two, 64, 16), feature_codec.of(two)
    assert isinstance(codec, LatentFeatures)
    assert codec.cells(coded.window) == Cells(3, 0, 7, 10)
    assert codec.cells(None) == Cells(0, 0, 10, 10)
    fixed = codec.latent(coded.layers, coded.window)
    assert fixed[:, 3:7].any() and not fixed[:, :3].any() and not fixed[:, 7:].any()
    (features,) = codec.decode(coded.layers, coded.window)
    assert (features[:, :12] == nets.BLANK).all() and (features[:, 28:] == nets.BLANK).all()
    assert features[:, 12:28].std() > 0


def test_more_quality_is_more_bytes_and_less_error(two: Bundle) -> None:
    sizes, errors = [], []
    for quality in (64, 192, 320, 448):
        coded = frame(two, 320, 240, quality=quality)
        sizes.append(len(coded.layers[0].payload))
        codec = feature_codec.of(two)
        assert isinstance(codec, LatentFeatures)
        (found,) = codec.decode(coded.layers, coded.window)
        means = np.repeat(np.repeat(coded.features[0].reshape(4, 20, 2, 20, 2).mean((2, 4)), 2, 1), 2, 2)
        errors.append(float(np.abs(found - means)[:, 8:32].mean()))
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)


def test_a_batch_gives_what_singles_give(two: Bundle) -> None:
    codec = feature_codec.of(two)
    frames = [frame(two, *size, seed=i) for i, size in enumerate(SIZES)]
    together = decode_many(codec, [(coded.layers, coded.window) for coded in frames])
    for coded, (found,) in zip(frames, together, strict=True):
        assert np.abs(found - codec.decode(coded.layers, coded.window)[0]).max() < 1e-5


def test_other_codecs_are_asked_one_by_one() -> None:
    codec = Lightweight.from_params({"shapes": [[2, 3, 3]], "clips": {"4": [0, 1]}, "default_levels": 4})
    values = [np.random.default_rng(i).random((2, 3, 3), np.float32) for i in range(3)]
    frames = [(codec.encode([value]), None) for value in values]
    assert not isinstance(codec, BatchCodec)
    for found, (layers, _) in zip(decode_many(codec, frames), frames, strict=True):
        assert np.array_equal(found[0], codec.decode(layers)[0])


@pytest.mark.parametrize("others", [[], [Layer(1, b"")], [Layer(1, b"\xff" * 999), Layer(128, b"no picture")]])
def test_no_other_layer_is_looked_at(three: Bundle, others: list[Layer]) -> None:
    coded, codec = frame(three, 64, 48), feature_codec.of(three)
    expected = codec.decode(coded.layers, coded.window)[0]
    assert np.array_equal(codec.decode([coded.layers[0], *others], coded.window)[0], expected)


def test_a_damaged_layer_is_refused(two: Bundle) -> None:
    coded, codec = frame(two, 64, 48), feature_codec.of(two)
    payload = coded.layers[0].payload
    wrong = [payload[:-1], payload + b"\0", b"", payload[:2], b"\xff\xff" + payload[2:]]
    for damaged in wrong:
        with pytest.raises(BitstreamError):
            codec.decode([Layer(0, damaged)], coded.window)
    for layers in ([], coded.layers[1:]):
        with pytest.raises(BitstreamError, match="layers: expected the base layer first"):
            codec.decode(layers, coded.window)


def test_what_does_not_fit_is_not_coded(two: Bundle) -> None:
    codec = feature_codec.of(two)
    with pytest.raises(ValueError, match="features: expected shapes"):
        codec.encode([np.zeros((4, 40, 41), np.float32)])
    with pytest.raises(ValueError, match=r"quality: expected 0\.\.511, got 512"):
        codec.encode([np.zeros(nets.CUT, np.float32)], 512)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "other"},
        {"prefix": None},
        {"grid": [5, 10]},
        {"grid": [10]},
        {"grid": "all"},
        {"patch": 5},
        {"unit": None},
        {"unit": 60_000},
        {"qualities": [9, 3]},
        {"default_quality": 600},
    ],
)
def test_a_bundle_that_does_not_fit_is_named(two: Bundle, tmp_path: Path, wrong: dict[str, object]) -> None:
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    manifest["codec"] = {k: v for k, v in {**manifest["codec"], **wrong}.items() if v is not None}
    files = {name: (about.side, two.file(name).read_bytes()) for name, about in two.manifest.files.items()}
    with pytest.raises(BundleError):
        feature_codec.of(bundles.write(tmp_path, manifest, files))


def test_a_base_layer_in_passes_is_refused(two: Bundle, tmp_path: Path) -> None:
    """Frames that are coded after another know no passes."""
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    files = {name: (about.side, two.file(name).read_bytes()) for name, about in two.manifest.files.items()}
    arrays = tiny.hyperprior("base", nets.BASE, halvings=1, seed=0, passes=tiny.order(nets.BASE))
    with pytest.raises(BundleError, match="base layer: expected a single pass, for frames after others, got 3"):
        feature_codec.of(bundles.write(tmp_path, manifest, {**files, "latent.npz": ("both", tiny.packed(arrays))}))


def test_a_network_that_is_not_there_or_none_is_named(two: Bundle, tmp_path: Path) -> None:
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    files = {name: (about.side, two.file(name).read_bytes()) for name, about in two.manifest.files.items()}
    coded = frame(two, 64, 48)
    for content in (b"no network", nets.mask_head()):
        codec = feature_codec.of(bundles.write(tmp_path, manifest, {**files, "base_lst.onnx": ("both", content)}))
        with pytest.raises(BundleError, match=r"base_lst\.onnx"):
            codec.decode(coded.layers, coded.window)
    del files["latent.npz"]
    with pytest.raises(BundleError, match=r"latent\.npz"):
        feature_codec.of(bundles.write(tmp_path, manifest, files))

"""Calibration of the transform codec: bases are bases, the metric is the network's, tables fit what they counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from bench.networks import Split
from common.codec import CODECS, coefficients
from common.codec.window import Window
from common.errors import BundleError
from tests.bench import tiny
from train.bundles.fit import FITS, fitted
from train.bundles.images import Sample
from train.calibration import basis, metric, tables
from train.calibration.fit import COUNTED, MEMORY, QUALITIES, countable, transform
from train.calibration.spectra import Spectra

RNG = np.random.default_rng(5)
SIZE = tiny.SIZE


def correlated(channels: int, blocks: int, frequencies: int = 16) -> list[np.ndarray]:
    """Spectra of three pictures; channels and frequencies have much in common."""
    mix = RNG.normal(size=(frequencies * channels, 6)).astype(np.float32)
    sources = [RNG.laplace(size=(6, blocks)).astype(np.float32) for _ in range(3)]
    noise = [0.05 * RNG.normal(size=(frequencies * channels, blocks)).astype(np.float32) for _ in range(3)]
    return [(mix @ s + n).reshape(frequencies, channels, blocks) for s, n in zip(sources, noise, strict=True)]


def learn(*args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
    learned = basis.learn(*args, **kwargs)
    return learned.arrays(basis.unit_of([learned]))


def test_both_stages_can_be_undone() -> None:
    learned = learn(correlated(5, 40), correlated(5, 40), turned=24, most=80)
    assert learned["turn"].shape == (24, 24)
    assert np.allclose(learned["turn"].astype(float) @ learned["unturn"], np.eye(24), atol=0.02)
    for f in range(16):
        of = learned["frequency"] == f
        assert of.sum() == 5
        product = learned["forward"][of].astype(float) @ learned["inverse"][of].astype(float).T
        assert np.allclose(product, np.eye(5), atol=0.02)


def test_planes_fall_in_scale_from_a_known_one() -> None:
    learned = learn(correlated(4, 60), correlated(4, 60), turned=10, most=30)
    assert len(learned["scale"]) == 30
    assert max(learned["scale"][0], learned["turned"][0]) == 256
    assert all((np.diff(learned[name].astype(int)) <= 0).all() for name in ("scale", "turned"))


def test_turning_gathers_what_frequencies_have_in_common() -> None:
    """Six sources make everything, so beyond six turned planes there is only noise."""
    flat = [np.full((16, 4, 50), 1.0, np.float32) * RNG.choice([-1, 1], (16, 4, 50)) for _ in range(20)]
    learned = learn(correlated(4, 200), flat, turned=40, most=64)
    assert learned["turned"][5] - learned["turned"][6] > 100
    assert learned["scale"][5] - learned["scale"][6] < 60


def test_what_the_network_does_not_look_at_is_coded_coarsely() -> None:
    spectra = [RNG.normal(size=(16, 3, 80)).astype(np.float32) for _ in range(4)]
    slopes = [np.stack([s[:, 0], 0.01 * s[:, 1], s[:, 2]], 1) for s in spectra]
    learned = learn(spectra, slopes, turned=0, most=48)
    looked_at = np.abs(learned["forward"].astype(float)).argmax(1) != 1
    assert learned["scale"][looked_at].min() > learned["scale"][~looked_at].max() + 100


def test_no_gradient_at_all_counts_every_direction_alike() -> None:
    spectra = correlated(3, 50)
    learned = learn(spectra, [np.zeros_like(s) for s in spectra], turned=8, most=48)
    assert np.isfinite(learned["forward"].astype(float)).all()
    assert np.allclose(learned["turn"].astype(float) @ learned["unturn"], np.eye(8), atol=0.02)


def test_all_tensors_share_a_unit() -> None:
    """Features ten times as large, looked at a tenth as much: the same scales."""
    spectra, slopes = correlated(3, 50), correlated(3, 50)
    both = [
        basis.learn(spectra, slopes, 8, 48),
        basis.learn([10 * s for s in spectra], [s / 10 for s in slopes], 8, 48),
    ]
    one, other = (each.arrays(basis.unit_of(both)) for each in both)
    assert np.abs(one["scale"].astype(int) - other["scale"]).max() <= 1
    less = basis.learn(spectra, [s / 4 for s in slopes], 8, 48)
    assert less.arrays(basis.unit_of(both))["turned"][0] == pytest.approx(one["turned"][0] - 128, abs=1)


def linear_half(cut: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x = cut[0][0]
    boxes = torch.tensor([[0.0, 0, 10, 20]]).expand(x.numel(), 4) + x.reshape(-1, 1)
    return torch.sigmoid(x.reshape(1, -1, 1)), boxes[None]


def test_gradients_are_those_of_finite_differences() -> None:
    features = [RNG.normal(size=(2, 3, 3)).astype(np.float32)]
    random = torch.Generator().manual_seed(3)
    (slope,) = (g[0] for g in metric.gradients(linear_half, features, [metric.mixture(random)]))

    def value(x: np.ndarray) -> float:
        known = linear_half([torch.tensor(features[0][None], dtype=torch.float64)])
        scores, boxes = linear_half([torch.tensor(x[None], dtype=torch.float64)])
        same = torch.Generator().manual_seed(3)
        of_scores, of_edges = (torch.randn(t[0].shape, generator=same).double() for t in known)
        weight = known[0][0] / torch.tensor([10.0, 20, 10, 20])
        return float((scores[0] * of_scores).sum() + (boxes[0] * weight * of_edges).sum())

    for place in ((0, 0, 0), (1, 2, 1)):
        step = np.zeros((2, 3, 3))
        step[place] = 1e-4
        expected = (value(features[0] + step) - value(features[0] - step)) / 2e-4
        assert slope[place] == pytest.approx(expected, rel=1e-3)


def test_a_network_that_finds_nothing_has_no_gradient() -> None:
    def blind(cut: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1, 0, 1), torch.zeros(1, 0, 4)

    found = list(metric.gradients(blind, [np.ones((1, 2, 2), np.float32)], [metric.mixture(torch.Generator())]))
    assert not found[0][0].any()


def test_the_loss_of_labels_pulls_towards_them() -> None:
    cut = torch.tensor(RNG.normal(size=(1, 1, 2, 2)).astype(np.float32), requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]])
    scores = torch.sigmoid(cut.reshape(-1, 1))
    value = metric.loss(np.array([[8.0, 0, 16, 8]]), np.array([0]), nearest=1)(scores, boxes)
    (slope,) = torch.autograd.grad(value, cut)
    assert (slope.flatten() < 0).tolist() == [False, True, False, False]


def laplacian(planes: int, blocks: int) -> tables.View:
    scale = np.linspace(200, -90, planes).astype(np.int16)
    active = np.exp(0.7 * RNG.normal(size=blocks))
    values = RNG.laplace(size=(planes, blocks)) * active * 2 ** (scale[:, None] / 64) / np.sqrt(2)
    return tables.View(256, scale, values.astype(np.float32))


def model(arrays: dict[str, np.ndarray]) -> coefficients.Model:
    return coefficients.Model(*(arrays[name] for name in ("expected", "frequencies", "offset", "thresholds")))


def coded(arrays: dict[str, np.ndarray], view: tables.View) -> tuple[int, float]:
    """Bytes, and the mean squared error in steps."""
    planes = [coefficients.Planes(view.values.shape[1], *coefficients.classes(view.scale, view.quality))]
    it = model(arrays)
    data = coefficients.encode(it, [view.values], planes)
    (back,) = coefficients.decode(it, data, planes)
    return len(data), float(((back - view.values) ** 2).mean())


def test_tables_are_legal_and_dead_zones_widen_where_values_are_rare() -> None:
    arrays = tables.learn([laplacian(120, 400)])
    assert (arrays["frequencies"].sum(1, dtype=int) == 1 << 14).all() and (arrays["frequencies"] > 0).all()
    assert (np.diff(arrays["thresholds"].astype(float), axis=1) >= 0).all()
    begin = arrays["thresholds"][:, 0].reshape(coefficients.CLASSES, coefficients.BINS)[4:12, 5]
    assert begin[0] > begin[-1] + 0.2
    assert arrays["expected"][2] < arrays["expected"][8] < arrays["expected"][14]


def test_tables_beat_plain_rounding_at_equal_error() -> None:
    train, test = laplacian(120, 600), laplacian(120, 600)
    learned = tables.learn([train])
    size, error = coded(learned, test)
    flat = np.tile((np.arange(coefficients.ESCAPE) + 0.5).astype(np.float16), (coefficients.TABLES, 1))
    # The same values in larger steps, rounded: more error and more bytes.
    larger = 1.15
    wide = tables.View(test.quality, test.scale, test.values / np.float32(larger))
    plain = {**learned, "thresholds": flat, "offset": np.zeros_like(learned["offset"])}
    plain_size, plain_error = coded(plain, wide)
    assert size < plain_size * 0.97 or error < plain_error * larger**2 * 0.97
    assert size < plain_size


def test_reconstruction_points_are_the_means_of_their_cells() -> None:
    view = laplacian(120, 600)
    arrays = tables.learn([view])
    _, error = coded(arrays, view)
    _, without = coded({**arrays, "offset": np.zeros_like(arrays["offset"])}, view)
    assert error < without


def test_a_view_is_what_the_codec_codes(split: Split) -> None:
    samples = pictures(6)
    params, arrays = transform(split, samples, Console(quiet=True))
    codec = CODECS["transform"].from_params(params, arrays)
    features = split.front.run(samples[0].image)
    window = Window(0, 0, SIZE, SIZE, SIZE, SIZE)
    errors, sizes = [], []
    for quality in (200, 300, 500, 900):
        layers = codec.encode(features, quality, window)
        back = codec.decode(layers, window)
        errors.append(float(np.abs(back[0] - features[0]).mean()))
        sizes.append(len(layers[0].payload))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01
    assert sizes == sorted(sizes)


def test_the_border_of_a_letterbox_is_no_content() -> None:
    shape = (2, 8, 8)
    spectra = Spectra(shape, 4, [Window(0, 16, 64, 48, 64, 64)])
    features = np.ones(shape, np.float32)
    features[:, :2] = features[:, 6:] = 100
    assert np.allclose(spectra.mean([features]), 1)
    assert spectra.of(0, features).shape == (16, 2, 2)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(tiny.write(tmp_path))


def pictures(count: int) -> list[Sample]:
    """Smooth random colours."""
    coarse = RNG.integers(0, 255, (count, 4, 4, 3)).astype(np.uint8)
    return [Sample(np.kron(c, np.ones((16, 16, 1), np.uint8)).astype(np.uint8), SIZE, SIZE, None) for c in coarse]


def test_bases_beyond_half_floats_are_refused() -> None:
    for factor in (1e-9, 1e9):
        spectra = [np.float32(factor) * s for s in correlated(3, 50)]
        with pytest.raises(ValueError, match="half floats"):
            learn(spectra, correlated(3, 50), turned=8, most=48)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e5, 1e15, 1e30])
def test_features_of_any_size_are_coded_or_refused(split: Split, factor: float) -> None:
    run = split.front.run
    split.front.run = lambda image: [np.float32(factor) * tensor for tensor in run(image)]  # type: ignore[method-assign]
    try:
        codec, _, arrays = fitted(FITS["transform"], split, pictures(6), Console(quiet=True))
    except BundleError as e:
        assert "cut elsewhere" in str(e)
    else:
        assert np.isfinite(arrays["0.blank"].astype(float)).all()
        codec.decode(codec.encode(split.front.run(pictures(1)[0].image)))


def test_of_a_large_cut_fewer_pictures_are_counted() -> None:
    assert countable([(116, 40, 40)]) == COUNTED
    large = (512, 160, 160)
    few = countable([large])
    assert 1 <= few < COUNTED
    assert few * 2048 * 40 * 40 * 4 * len(QUALITIES) <= MEMORY // 2
    assert countable([large] * 2) <= few / 2 + 1

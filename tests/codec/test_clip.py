"""The closed forms against the papers' numbers, against quadrature, and against samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec.clip import (
    CHOICES,
    Model,
    Sample,
    choose,
    error,
    fit,
    optimal_clip,
    probabilities,
    universal,
)
from common.codec.clip.choose import aciq
from common.codec.quantise import dequantise, quantise
from tests.codec.samples import RESNET50, YOLOV3, features

# N: c_max and error for c_min = 0, then the joint optimum and its error, then the entropy of the first.
TABLES = {
    "resnet50": (
        RESNET50,
        {
            2: (5.1836, 1.64472, 0.3605, 5.5441, 1.55486, 0.656),
            3: (7.5107, 0.83387, 0.1473, 7.6580, 0.82050, 0.941),
            4: (9.0361, 0.52551, 0.0527, 9.0888, 0.52388, 1.125),
            5: (10.1747, 0.37047, 0.0014, 10.1761, 0.37047, 1.265),
            6: (11.0843, 0.27982, -0.0299, 11.0544, 0.27932, 1.378),
            7: (11.8423, 0.22151, -0.0506, 11.7916, 0.22010, 1.473),
            8: (12.4923, 0.18143, -0.0652, 12.4272, 0.17912, 1.555),
        },
    ),
    "yolov3": (
        YOLOV3,
        {
            2: (1.6737, 0.20540, 0.1707, 1.8444, None, 0.729),
            3: (2.4250, 0.10374, 0.0866, 2.5116, None, 1.049),
            4: (2.9175, 0.06507, 0.0474, 2.9650, None, 1.256),
            5: (3.2852, 0.04563, 0.0255, 3.3107, None, 1.413),
            6: (3.5789, 0.03427, 0.0119, 3.5907, None, 1.540),
            7: (3.8236, 0.02696, 0.0027, 3.8263, None, 1.648),
            8: (4.0335, 0.02193, -0.0038, 4.0297, None, 1.741),
        },
    ),
}
ROWS = [(name, model, n, row) for name, (model, rows) in TABLES.items() for n, row in rows.items()]
IDS = [f"{name}-{n}" for name, _, n, _ in ROWS]

MODELS = [
    RESNET50,
    YOLOV3,
    Model(1.0, -0.5, slope=0.0),
    Model(0.8, -1.0, slope=0.01),
    Model(2.0, 0.7),
    Model(2.0, 0.7, slope=0.0),
    Model(1.3, -0.4, slope=0.2, kappa=0.8),
]


@pytest.mark.parametrize(
    ("mean", "variance", "lam", "mu"),
    [(1.1235656, 4.9280124, 0.77165949, -1.43506212), (0.4484323, 0.5742644, 2.38995152, -0.30887766)],
)
def test_fit_reproduces_the_papers(mean: float, variance: float, lam: float, mu: float) -> None:
    model = fit(mean, variance)
    assert model.lam == pytest.approx(lam, abs=1e-6)
    assert model.mu == pytest.approx(mu, abs=1e-6)


@given(st.floats(-50, 50), st.floats(1e-3, 1e3), st.sampled_from([0.0, 0.01, 0.1, 0.2]))
def test_fit_has_the_moments_it_was_given(mean: float, deviation: float, slope: float) -> None:
    if abs(mean) < 1e-3 * deviation or abs(mean) > 100 * deviation or (slope == 0 and mean < 0.01 * deviation):
        return
    m, v = fit(mean, deviation**2, slope).moments()
    assert m == pytest.approx(mean, rel=1e-6)
    assert v == pytest.approx(deviation**2, rel=1e-6)


@pytest.mark.parametrize(
    ("mean", "variance", "slope"), [(1.0, 0.0, 0.1), (0.0, 1.0, 0.1), (-1.0, 1.0, 0.0), (math.nan, 1.0, 0.1)]
)
def test_fit_refuses_what_no_model_has(mean: float, variance: float, slope: float) -> None:
    with pytest.raises(ValueError, match="no model has mean"):
        fit(mean, variance, slope)


@pytest.mark.parametrize(("name", "model", "n", "row"), ROWS, ids=IDS)
def test_tables(name: str, model: Model, n: int, row: tuple[float, ...]) -> None:
    c_max, e, joint_min, joint_max, joint_e, bits = row
    clip = optimal_clip(model, n)
    assert clip == pytest.approx((0, c_max), abs=1e-3)
    assert error(model, *clip, n) == pytest.approx(e, abs=1e-4)
    joint = optimal_clip(model, n, None)
    assert joint == pytest.approx((joint_min, joint_max), abs=1e-3)
    assert error(model, *joint, n) <= error(model, *clip, n)
    if joint_e is not None:
        assert error(model, *joint, n) == pytest.approx(joint_e, abs=1e-4)
    p = probabilities(model, *clip, n)
    assert -(p * np.log2(p)).sum() == pytest.approx(bits, abs=1e-3)


def test_universal_constants() -> None:
    table = {2: 2.0, 3: 2.89785, 4: 3.4864, 5: 3.9257, 6: 4.27665, 7: 4.56911, 8: 4.81992}
    table |= {16: 6.09804, 32: 7.35859, 256: 11.15555}
    for n, g in table.items():
        assert universal(n) == pytest.approx(g, abs=1e-5)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
@pytest.mark.parametrize("c_min", [0.0, 0.3, -0.1])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_error_is_the_integral_it_stands_for(model: Model, c_min: float, n: int) -> None:
    """Gauss-Legendre on pieces cut at every edge of the density and of the quantiser."""
    c_max = c_min + 6.0 / model.lam
    points = np.linspace(c_min, c_max, n)
    middles = (points[1:] + points[:-1]) / 2
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = mass = 0.0
    for low, high, height, rate in model.pieces():
        ends = [low if math.isfinite(low) else high - 60 / abs(rate), high if math.isfinite(high) else low + 60 / rate]
        inner = np.linspace(*ends, 30)
        cuts = np.unique(np.concatenate([inner, middles[(middles > ends[0]) & (middles < ends[1])]]))
        for a, b in itertools.pairwise(cuts):
            y = (a + b) / 2 + (b - a) / 2 * nodes
            density = (b - a) / 2 * weights * height * np.exp(-rate * (y - (low if rate > 0 else high)))
            total += (density * (y - points[np.searchsorted(middles, (a + b) / 2)]) ** 2).sum()
            mass += density.sum()
    total += model.zeros() * points[np.searchsorted(middles, 0.0, side="right")] ** 2
    assert mass + model.zeros() == pytest.approx(1.0, abs=1e-9)
    assert error(model, c_min, c_max, n) == pytest.approx(total, abs=1e-9)
    assert probabilities(model, c_min, c_max, n).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_samples_agree(model: Model) -> None:
    x = features(model, 400_000)
    m, v = model.moments()
    assert x.mean(dtype=np.float64) == pytest.approx(m, abs=0.001 * math.sqrt(v))
    assert x.var(dtype=np.float64) == pytest.approx(v, rel=0.01)
    for n in (2, 4, 7):
        clip = optimal_clip(model, n)
        q = quantise(x, *clip, n)
        squared = (x.astype(np.float64) - dequantise(q, *clip, n)) ** 2
        assert squared.mean() == pytest.approx(error(model, *clip, n), rel=0.01)
        occurring = np.bincount(q, minlength=n) / q.size
        assert occurring == pytest.approx(probabilities(model, *clip, n), abs=1e-3)


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("n", [2, 9])
def test_no_clip_nearby_is_better(model: Model, n: int) -> None:
    for c_min in (0.0, None):
        low, high = optimal_clip(model, n, c_min)
        best = error(model, low, high, n) + 1e-12
        for step in (0.99, 1.01):
            assert best <= error(model, low, low + (high - low) * step, n)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample(features(RESNET50, 400_000))


def on_sample(sample: Sample, clip: tuple[float, float], n: int) -> float:
    return sample.error(np.linspace(*clip, n))


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16])
def test_search_finds_what_the_model_says(sample: Sample, n: int) -> None:
    """On draws from the model: the same clips, and no clip has less error on the sample."""
    for model, search in (("model", "empirical"), ("model-joint", "empirical-joint")):
        derived, found = (CHOICES[name](sample, n, 0.1) for name in (model, search))
        assert found == pytest.approx(derived, abs=0.02 * derived[1])
        assert on_sample(sample, found, n) <= on_sample(sample, derived, n) + 1e-9
        assert on_sample(sample, derived, n) <= 1.001 * on_sample(sample, found, n)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 16])
def test_the_order_of_the_choices(sample: Sample, n: int) -> None:
    """Freedom never hurts; at few levels the model beats what assumes many, and no clip at all."""
    errors = {name: on_sample(sample, rule(sample, n, 0.1), n) for name, rule in CHOICES.items()}
    assert errors["empirical-joint"] <= errors["empirical"]
    assert errors["model-joint"] <= errors["model"]
    assert errors["model"] < min(errors["aciq"], errors["aciq-two-sided"], errors["minmax"])


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_every_choice_scales_with_the_features(name: str, slope: float) -> None:
    x = features(Model(0.8, -1.0, slope), 20_000)
    low, high = choose(name, x.reshape(2, 100, 100), 4, slope)
    assert low < high
    assert choose(name, 8 * x, 4, slope) == pytest.approx((8 * low, 8 * high), rel=1e-4, abs=1e-6)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.integers(2, 8))
def test_search_is_never_worse_than_what_clips_nothing(values: list[float], n: int) -> None:
    x = np.array(values)
    sample = Sample(x)
    if x.min() < x.max():
        best = on_sample(sample, choose("empirical-joint", x, n), n)
        assert best <= on_sample(sample, choose("minmax", x, n), n) * (1 + 1e-9) + 1e-9
    if x.max() > 0:
        low, high = choose("empirical", x, n)
        assert low == 0
        assert on_sample(sample, (low, high), n) <= on_sample(sample, (0.0, x.max()), n) * (1 + 1e-9) + 1e-9


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.integers(2, 8))
def test_a_sample_s_error_is_the_error(values: list[float], n: int) -> None:
    x, points = np.array(values), np.linspace(-3, 50, n)
    plain = (np.abs(x[:, None] - points).min(axis=1) ** 2).mean()
    assert Sample(x).error(points) == pytest.approx(plain, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "x", "n", "message"),
    [
        ("modal", [1.0, 2.0], 4, r"clip: expected one of \['aciq', .*\], got 'modal'"),
        ("model", [1.0, 2.0], 1, r"levels: expected 2\.\.256, got 1"),
        ("model", [1.0, 1.0], 4, "no model has mean 1.0 and variance 0.0"),
        ("minmax", [1.0, 1.0], 4, "clip: minmax finds no range"),
        ("aciq", [1.0, 1.0], 4, "clip: aciq finds no range"),
        ("empirical", [-1.0, -2.0], 4, "clip: empirical finds no range"),
        ("empirical-joint", [3.0], 4, "clip: empirical-joint finds no range"),
        ("minmax", [], 4, "sample: expected at least one feature, all of them finite"),
        ("minmax", [1.0, math.nan], 4, "sample: expected at least one feature, all of them finite"),
        ("minmax", [-math.inf, 1.0], 4, "sample: expected at least one feature, all of them finite"),
    ],
)
def test_features_without_a_clip_are_named(name: str, x: list[float], n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(name, np.array(x), n)


def test_aciq_minimisers() -> None:
    for bits, two_sided in ((1, 1.8628), (2, 2.8307), (3, 3.8972), (4, 5.0286)):
        assert aciq(1.0, 2**bits, one_sided=False) == pytest.approx(two_sided, abs=1e-4)
    for bits, one_sided in ((1, 2.8307), (2, 3.8972), (3, 5.0286), (4, 6.2048), (8, 11.1627)):
        assert aciq(1.0, 2**bits) == pytest.approx(one_sided, abs=1e-4)

"""The closed forms against the papers' numbers, against quadrature, and against samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec.clip import (
    Model,
    aciq,
    error,
    fit,
    minmax,
    optimal_clip,
    probabilities,
    universal,
)
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


def test_the_model_beats_aciq_and_minmax_at_few_levels() -> None:
    x = features(RESNET50, 100_000)
    deviation = float(np.abs(x - x.mean()).mean())
    for bits in (1, 2):
        ours = error(RESNET50, *optimal_clip(RESNET50, 2**bits), 2**bits)
        assert ours < error(RESNET50, 0.0, aciq(deviation, bits), 2**bits)
        assert ours < error(RESNET50, *minmax(x), 2**bits)


def test_aciq_minimisers() -> None:
    for bits, two_sided in ((1, 1.8628), (2, 2.8307), (3, 3.8972), (4, 5.0286)):
        assert aciq(1.0, bits, one_sided=False) == pytest.approx(two_sided, abs=1e-4)
    for bits, one_sided in ((1, 2.8307), (2, 3.8972), (3, 5.0286), (4, 6.2048), (8, 11.1627)):
        assert aciq(1.0, bits) == pytest.approx(one_sided, abs=1e-4)

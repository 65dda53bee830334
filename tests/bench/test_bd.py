"""Curves: the laws of the delta, and two other implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bd import Curve, bd_rate

FEW = settings(max_examples=25)
RATES = st.lists(st.integers(100, 10**6), min_size=4, max_size=9, unique=True).map(sorted)


def curve(rates, factor=1.0):
    qualities = 0.5 + 0.4 * np.sqrt(np.arange(len(rates)) / len(rates))
    return Curve(zip(np.array(rates) * factor, qualities, strict=True))


@FEW
@given(RATES, st.floats(0.1, 10))
def test_a_codec_that_needs_a_fixed_share_is_that_much_cheaper(rates, factor):
    delta = bd_rate(curve(rates), curve(rates, factor))
    assert delta.percent == pytest.approx((factor - 1) * 100, rel=1e-6, abs=1e-6)
    assert (delta.low, delta.high) == (curve(rates).qualities[0], curve(rates).qualities[-1])


@FEW
@given(RATES, RATES)
def test_the_other_way_round_undoes_it(a, b):
    there, back = bd_rate(curve(a), curve(b)), bd_rate(curve(b), curve(a))
    assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)


@FEW
@given(RATES)
def test_a_curve_passes_through_its_points_and_never_turns_back(rates):
    drawn = curve(rates)
    assert [drawn.rate_at(q) for q in drawn.qualities] == pytest.approx(drawn.rates)
    between = [drawn.rate_at(q) for q in np.linspace(drawn.qualities[0], drawn.qualities[-1], 200)]
    assert np.all(np.diff(between) >= -1e-6 * np.array(between[1:]))


def test_outside_the_measured_range_nothing_is_said():
    drawn = Curve([(10, 0.8), (20, 0.9)])
    assert drawn.rate_at(0.79) is drawn.rate_at(0.91) is None
    assert drawn.rate_at(0.85) == pytest.approx(np.sqrt(200))
    assert Curve([(10, 0.8)]).rate_at(0.8) == 10


def test_points_that_a_cheaper_one_beats_do_not_count():
    points = [(10.0, 0.8), (20.0, 0.9), (25.0, 0.85), (20.0, 0.7), (30.0, 0.95)]
    assert Curve(points).rates.tolist() == [10, 20, 30]


def test_no_overlap_and_too_few_points_give_no_delta():
    low, high = Curve([(1 + i, 0.1 + i / 100) for i in range(5)]), Curve([(1 + i, 0.8 + i / 100) for i in range(5)])
    assert bd_rate(low, high) is None
    assert bd_rate(high, Curve([(1, 0.8), (2, 0.9)])) is None
    with pytest.raises(ValueError, match="expected points"):
        Curve([])


@settings(FEW, deadline=None)  # scipy loads when it is asked for
@given(RATES, st.lists(st.floats(0.02, 0.2), min_size=9, max_size=9))
def test_scipy_draws_the_same_curve(rates, steps):
    interpolate = pytest.importorskip("scipy.interpolate")
    qualities = np.cumsum(steps)[: len(rates)]
    ours = Curve(zip(rates, qualities, strict=True))
    theirs = interpolate.PchipInterpolator(qualities, np.log(rates))
    at = np.linspace(qualities[0], qualities[-1], 50)
    np.testing.assert_allclose(np.log([ours.rate_at(q) for q in at]), theirs(at), atol=1e-9)
    assert ours.area(at[3], at[40]) == pytest.approx(theirs.integrate(at[3], at[40]))


def test_the_bjontegaard_package_finds_the_same_delta():
    package = pytest.importorskip("bjontegaard")
    rng = np.random.default_rng(3)
    for _ in range(20):
        rates = np.sort(rng.uniform(1e3, 3e4, (2, 6)))
        qualities = np.sort(rng.uniform(0.8, 0.99, (2, 6)))
        args = (rates[0], qualities[0], rates[1], qualities[1])
        theirs = package.bd_rate(*args, method="pchip", require_matching_points=False, min_overlap=0)
        ours = bd_rate(*(Curve(zip(r, q, strict=True)) for r, q in zip(rates, qualities, strict=True)))
        assert ours.percent == pytest.approx(theirs, rel=1e-6, abs=1e-6)

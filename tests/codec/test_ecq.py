"""The entropy-constrained design against the papers' table, and the laws of any design."""

import itertools
import tomllib

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from common.codec import Lightweight
from common.codec.clip import Sample, optimal_clip
from common.codec.ecq import design
from common.codec.quantise import Table, quantise_by, reconstruction
from tests.codec.samples import RESNET50, entropy, features

# N, Lambda: pinned points, error, entropy; un-pinned points, error, entropy. Errors are to the unclipped features.
TABLE = {
    (2, 0.0): ([0, 5.184], 1.646, 0.6545, [0.293, 3.889], 1.786, 0.731),
    (2, 0.3): ([0, 5.184], 1.648, 0.6442, [0.32, 3.993], 1.760, 0.708),
    (3, 0.0): ([0, 2.861, 7.511], 0.7651, 1.042, [0.164, 2.599, 6.209], 0.8685, 1.084),
    (3, 0.3): ([0, 3.036, 7.511], 0.7713, 1.001, [0.219, 2.908, 6.423], 0.8593, 1.009),
    (4, 0.0): ([0, 2.022, 4.759, 9.036], 0.4511, 1.299, [0.103, 1.933, 4.335, 7.861], 0.5164, 1.326),
    (4, 0.3): ([0, 2.354, 5.117, 9.036], 0.4646, 1.209, [0.175, 2.413, 4.892, 8.183], 0.5228, 1.190),
}
X = features(RESNET50, 400_000)
SAMPLE = Sample(X)


def designed(n: int, Lambda: float, pinned: bool) -> Table:
    return design(SAMPLE, *optimal_clip(RESNET50, n), n, Lambda, pinned)


def measured(table: Table) -> tuple[float, float]:
    """Error to the unclipped features, and entropy, by coding every one of them."""
    q = quantise_by(X, table.thresholds)
    return float(((X.astype(np.float64) - table.points[q]) ** 2).mean()), entropy(q)


@pytest.mark.parametrize(("n", "Lambda"), TABLE)
def test_table(n: int, Lambda: float) -> None:
    """The draws behind the table were others, so it is met to the noise of 400,000 of them."""
    pinned_points, pinned_d, pinned_h, free_points, free_d, free_h = TABLE[n, Lambda]
    rows = ((True, pinned_points, pinned_d, pinned_h), (False, free_points, free_d, free_h))
    for pinned, points, d, h in rows:
        table = designed(n, Lambda, pinned)
        assert table.points == pytest.approx(points, abs=0.025)
        assert measured(table) == (pytest.approx(d, rel=0.003), pytest.approx(h, abs=0.005))


def test_the_threshold_of_two_levels_moves() -> None:
    assert designed(2, 0.3, True).thresholds == pytest.approx([2.660], abs=0.005)


@pytest.mark.parametrize(("n", "Lambda"), [*itertools.product((2, 3), (0.0, 0.1, 0.3)), (4, 0.0), (4, 0.1)])
def test_pinned_ends_cost_no_bits_and_less_error(n: int, Lambda: float) -> None:
    pinned, free = (measured(designed(n, Lambda, ends)) for ends in (True, False))
    assert pinned[0] < free[0]
    assert pinned[1] <= free[1]


@pytest.mark.parametrize("n", [3, 4, 8, 16])
def test_it_beats_uniform_levels(n: int) -> None:
    """In what it minimises, the error plus the price of the bits; with ends where the uniform ones are."""
    low, high = optimal_clip(RESNET50, n)
    points = reconstruction(low, high, n)
    d, h = measured(Table((points[1:] + points[:-1]) / 2, points))
    for price in (0.0, 0.05, 0.2):
        table = designed(n, price, True)
        ours, bits = measured(table)
        assert ours + price * bits < d + price * h
        assert (table.points[0], table.points[-1]) == (np.float32(low), np.float32(high))


def test_a_higher_price_buys_fewer_bits() -> None:
    for pinned in (True, False):
        bits = [measured(designed(4, price, pinned))[1] for price in (0.0, 0.1, 0.3, 1.0, 3.0)]
        assert bits == sorted(bits, reverse=True)


def test_a_bundle_carries_it_exactly() -> None:
    tables = {n: designed(n, 0.1, True) for n in (2, 5, 16)}
    text = tomli_w.dumps({"tables": {str(n): table.params() for n, table in tables.items()}})
    codec = Lightweight.from_params({"shapes": [[1, 100, 100]], "default_levels": 5} | tomllib.loads(text))
    for n, table in tables.items():
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(table, codec.tables[n], strict=True))
        (back,) = codec.decode(codec.encode([X[:10_000].reshape(1, 100, 100)], n))
        assert np.array_equal(back.ravel(), table.points[quantise_by(X[:10_000], table.thresholds)])


VALUES = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=50)
PRICES = st.floats(0, 1e9) | st.just(0.0)


@given(VALUES, st.floats(-100, 99), st.integers(2, 20), PRICES, st.booleans())
def test_every_design_is_a_table(values: list[float], low: float, n: int, Lambda: float, pinned: bool) -> None:
    """Whatever the features and the price, also where levels are left with none."""
    table = design(Sample(values), low, 100.0, n, Lambda, pinned)
    assert (table.thresholds.shape, table.points.shape) == ((n - 1,), (n,))
    for numbers in table:
        assert numbers.dtype == np.float32
        assert (np.diff(numbers) >= 0).all()
        assert (numbers >= np.float32(low)).all() and (numbers <= 100).all()
    if pinned:
        assert (table.points[0], table.points[-1]) == (np.float32(low), 100)


@pytest.mark.parametrize(
    "arguments",
    [(1.0, 1.0, 4, 0.0), (0.0, np.inf, 4, 0.0), (0.0, 1.0, 1, 0.0), (0.0, 1.0, 257, 0.0), (0.0, 1.0, 4, -0.1)],
    ids=["empty", "infinite", "one level", "257 levels", "price"],
)
def test_what_cannot_be_designed_is_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="ecq: expected finite c_min < c_max"):
        design(Sample([0.5]), *arguments)

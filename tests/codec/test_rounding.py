"""What an encoder rounds up: the lesser cost, by what a stream really takes; kernel and reference agree to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import elements, rounding
from common.codec.elements import SCALES, Cells, Parameters
from common.codec.rounding import BIT, SIZES
from common.codec.values import MOST, Segment
from tests.codec.latent_samples import coder, rows

SCALES_OF = [2.0 ** ((row - 26) / 8) for row in range(SCALES)]
ROWS = rows(SCALES_OF)
STEP = 65536
"""Of one."""
NARROWEST = int(np.argmin(ROWS.silent))


def offsets(seed: int, levels: int = 3) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-100, 400, (levels, SCALES), np.int16)


def quantised(y: NDArray[np.float32], row: int, thresholds: NDArray[np.float32]) -> NDArray[np.int32]:
    """Of elements [n] whose mean is 0, by the reference."""
    known = Parameters(np.zeros((1, len(y)), np.int32), np.full((1, len(y)), row, np.uint16))
    return elements.quantise_reference(y[None, None], Cells(0, 0, 1, len(y)), known, thresholds, STEP)[0]


def costs(y: NDArray[np.float32], q: NDArray[np.int32], row: int, offset: int) -> NDArray[np.float64]:
    """What y [n] costs as q [n]: squared steps and bits, these as a stream takes them."""
    back = np.abs(q) - np.where(q != 0, offset / 1024, 0)
    bits = np.array([taken_bits(row, int(size)) for size in np.abs(q)])
    found: NDArray[np.float64] = np.square(np.abs(y) - back) + BIT * bits
    return found


TAKEN: dict[tuple[int, int], float] = {}


def taken_bits(row: int, size: int) -> float:
    """Bits of a value of this size, of both signs in turn, in a real stream."""
    if (row, size) not in TAKEN:
        count = 1 << 14
        values = np.resize(np.array([size, -size], np.int32), count)
        stream = ROWS.encode([Segment(values, np.full(count, row, np.uint16))])
        TAKEN[row, size] = 8 * len(stream) / count
    return TAKEN[row, size]


# ---- What it costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [NARROWEST, 12, 26, 40, 60, 87])
def test_prices_are_what_a_stream_takes(row: int) -> None:
    prices = rounding.prices(ROWS, SCALES)
    assert prices.shape == (SCALES, SIZES)
    for size in range(SIZES):
        assert prices[row, size] == pytest.approx(taken_bits(row, size), abs=0.02)


@pytest.mark.parametrize("row", [NARROWEST, 14, 22, 30, 45])
@pytest.mark.parametrize("level", [0, 2])
def test_nothing_costs_more_than_the_nearest_or_a_neighbour(row: int, level: int) -> None:
    offset = offsets(row)
    cheapest = rounding.cheapest(ROWS, offset)[level]
    y = np.linspace(-(SIZES - 1.01), SIZES - 1.01, 401, dtype=np.float32)
    q, o = quantised(y, row, cheapest), int(offset[level, row])
    below = (np.sign(y) * np.floor(np.abs(y))).astype(np.int32)
    above = (np.sign(y) * (np.floor(np.abs(y)) + 1)).astype(np.int32)
    mine, rounding_error = costs(y, q, row, o), 0.02 * BIT
    for other in (below, above, np.rint(y).astype(np.int32)):
        assert (mine <= costs(y, other, row, o) + rounding_error).all()


def test_fewer_bits_and_hardly_more_error() -> None:
    """Bells of their rows' widths: what it is for."""
    rng, flat = np.random.default_rng(7), np.zeros((1, SCALES), np.int16)
    for row in (12, 18, 26):
        y = rng.normal(scale=SCALES_OF[row], size=4000).clip(-6, 6).astype(np.float32)
        taken, near = (
            costs(y, quantised(y, row, thresholds[0]), row, 0)
            for thresholds in (rounding.cheapest(ROWS, flat), rounding.nearest(ROWS, 1, SCALES))
        )
        assert taken.sum() < near.sum()


def test_rare_sizes_begin_later_and_what_is_drawn_in_begins_earlier() -> None:
    flat = rounding.cheapest(ROWS, np.zeros((1, SCALES), np.int16))[0]
    alive = ~ROWS.silent
    assert (np.diff(flat[alive & (ROWS.bits == 0), 0]) <= 0).all()
    assert flat[NARROWEST, 0] > 0.7 and flat[-1, 0] == pytest.approx(0.5, abs=0.02)
    drawn = rounding.cheapest(ROWS, np.full((1, SCALES), 300, np.int16))[0]
    assert (drawn[alive, 1:-1] <= flat[alive, 1:-1]).all()


def test_silent_rows_have_nothing_and_large_sizes_are_rounded_to_the_nearest() -> None:
    thresholds = rounding.cheapest(ROWS, offsets(1))
    assert thresholds.shape == (3, SCALES, SIZES) and thresholds.dtype == np.float32
    assert (thresholds[:, ROWS.silent] > 1).all() and (thresholds[:, ~ROWS.silent] <= 1).all()
    assert (thresholds[:, ~ROWS.silent, -1] == 0.5).all()
    y = np.array([0, 7.4, 7.6, -7.6, 100.4, -100.5, 1e30, -np.inf, np.nan], np.float32)
    assert quantised(y, 50, thresholds[0]).tolist() == [0, 7, 8, -8, 100, -101, MOST, -MOST, 0]
    assert not quantised(y, 0, thresholds[0]).any()


def test_without_a_price_what_is_decoded_is_nearest() -> None:
    offset = offsets(5, 1)
    free = rounding.cheapest(ROWS, offset, bit=0)[0]
    for row in (20, 33):
        o = offset[0, row] / 1024
        assert free[row, :2] == pytest.approx([0.5 - o / 2, 0.5 - o])


# ---- The kernel ----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32),
    st.sampled_from([(1, 1, 1), (3, 2, 5), (2, 16, 16), (1, 1, 257), (5, 9, 31)]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60)
def test_the_kernel_is_the_reference(seed: int, shape: tuple[int, int, int], part: bool, wild: bool) -> None:
    """Whole planes and parts of them, rows of every kind, values near every threshold and far from all."""
    rng, (channels, height, width) = np.random.default_rng(seed), shape
    top, left = (int(rng.integers(size)) for size in (height, width)) if part else (0, 0)
    cells = Cells(top, left, height, width)
    count = (height - top) * (width - left)
    thresholds = rounding.cheapest(ROWS, offsets(seed))[int(rng.integers(3))]
    if wild:
        thresholds = rng.choice(np.array([0, 0.25, 0.5, 1, 2], np.float32), thresholds.shape)
    index = rng.integers(0, SCALES, (channels, count)).astype(np.uint16)
    known = Parameters(rng.integers(-3000, 3000, (channels, count), np.int32), index)
    y = rng.laplace(size=shape) * rng.choice(np.array([0, 0.1, 1, 10, 1e7, np.inf, np.nan]), shape)
    y = np.where(rng.random(shape) < 0.3, np.round(8 * y) / 8, y).astype(np.float32)
    step = int(rng.integers(1 << 12, 1 << 20))
    found = elements.quantise(y, cells, known, thresholds, step)
    assert found.dtype == np.int32
    assert np.array_equal(found, elements.quantise_reference(y, cells, known, thresholds, step))


def test_a_model_has_them_for_each_level() -> None:
    model = coder(2, 5, 3, 1).model
    expected = rounding.cheapest(model.rows, model.offset)
    assert model.thresholds.shape == (len(model.levels), SCALES, SIZES)
    assert np.array_equal(model.thresholds, expected)
    assert model.thresholds is model.thresholds

"""The reference quantiser's laws, and the kernel equal to it bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.codec import _kernel
from common.codec.lightweight import half_floats
from common.codec.quantise import dequantise, quantise, quantise_by, reconstruction

LEVELS = st.integers(2, 256)
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
CLIPS = st.tuples(HALVES, HALVES).filter(lambda c: c[0] != c[1]).map(lambda c: (min(c), max(c)))
ANY_FLOATS = arrays(np.float32, st.integers(0, 200), elements=st.floats(width=32))


def by_kernel(x: np.ndarray, c_min: float, c_max: float, levels: int) -> np.ndarray:
    q = np.empty(x.shape, np.uint8)
    _kernel.quantise(x, q, c_min, c_max, levels)
    return q


def back_by_kernel(q: np.ndarray, c_min: float, c_max: float, levels: int) -> np.ndarray:
    x = np.empty(q.shape, np.float32)
    _kernel.dequantise(q, x, reconstruction(c_min, c_max, levels))
    return x


@given(ANY_FLOATS, CLIPS, LEVELS)
def test_kernel_equals_reference_on_every_float(x: np.ndarray, clip: tuple[float, float], levels: int) -> None:
    q = quantise(x, *clip, levels)
    assert np.array_equal(by_kernel(x, *clip, levels), q)
    back = dequantise(q, *clip, levels)
    assert np.array_equal(back_by_kernel(q, *clip, levels).view(np.uint32), back.view(np.uint32))


def by_table_in_kernel(x: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    q = np.empty(x.shape, np.uint8)
    _kernel.quantise_by(x, q, thresholds)
    return q


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
THRESHOLDS = st.lists(FLOATS, min_size=1, max_size=40).map(lambda t: np.array(sorted(t), np.float32))


@given(ANY_FLOATS, THRESHOLDS)
def test_thresholds_in_the_kernel_equal_the_reference(x: np.ndarray, thresholds: np.ndarray) -> None:
    x = np.concatenate([x, thresholds, -thresholds])
    q = quantise_by(x, thresholds)
    assert np.array_equal(by_table_in_kernel(x, thresholds), q)
    known = np.where(np.isnan(x), 0, x)
    assert np.array_equal(q, (known[:, None] >= thresholds).sum(axis=1))


@pytest.mark.parametrize("levels", range(2, 257))
def test_thresholds_of_every_number(levels: int) -> None:
    """Each feature at the vector width's every offset, thresholds shared by some levels among them."""
    rng = np.random.default_rng(levels)
    thresholds = np.sort(rng.integers(-40, 40, levels - 1) / np.float32(8)).astype(np.float32)
    x = rng.normal(0, 3, 131).astype(np.float32)
    x[::5] = rng.choice(thresholds, x[::5].size)
    x[:4] = np.nan, np.inf, -np.inf, -0.0
    for start in range(0, 20, 5):
        assert np.array_equal(by_table_in_kernel(x[start:], thresholds), quantise_by(x[start:], thresholds))
    ends = by_table_in_kernel(x, thresholds)
    assert (ends[1], ends[2]) == (levels - 1, 0)
    assert ends[0] == ends[3] == (thresholds <= 0).sum()


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (np.zeros(0, np.float32), r"levels: expected 2\.\.256, got 1"),
        (np.zeros(256, np.float32), r"levels: expected 2\.\.256, got 257"),
        (np.zeros(5, np.uint8), "thresholds: expected 1 aligned float32, got 5 bytes"),
        (np.zeros(13, np.uint8)[1:], "thresholds: expected 3 aligned float32"),
    ],
    ids=["none", "too many", "length", "alignment"],
)
def test_kernel_refuses_what_are_no_thresholds(thresholds: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _kernel.quantise_by(np.zeros(4, np.float32), np.zeros(4, np.uint8), thresholds)
    with pytest.raises(ValueError, match="x: expected 5"):
        _kernel.quantise_by(np.zeros(4, np.float32), np.zeros(5, np.uint8), np.zeros(3, np.float32))


@given(CLIPS, LEVELS)
def test_a_reconstruction_returns_its_level(clip: tuple[float, float], levels: int) -> None:
    every = np.arange(levels, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(every, *clip, levels), *clip, levels), every)


@given(CLIPS, LEVELS)
def test_ends_are_pinned(clip: tuple[float, float], levels: int) -> None:
    points = reconstruction(*clip, levels)
    assert (points[0], points[-1]) == clip
    assert np.all(np.diff(points) > 0)


@given(CLIPS, LEVELS)
def test_what_is_not_a_number_is_zero_and_infinity_is_an_end(clip: tuple[float, float], levels: int) -> None:
    x = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf, -np.nan], np.float32)
    for f in (quantise, by_kernel):
        nan, zero, minus_zero, top, bottom, minus_nan = f(x, *clip, levels)
        assert nan == zero == minus_zero == minus_nan
        assert (bottom, top) == (0, levels - 1)


def test_a_value_halfway_goes_up() -> None:
    x = np.array([0.4999999, 0.5, 1.5, 2.5], np.float32)
    for f in (quantise, by_kernel):
        assert f(x, 0.0, 3.0, 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("levels", [3, 5, 6, 7, 100])
def test_levels_need_not_be_a_power_of_two(levels: int) -> None:
    x = np.linspace(-1, 2, 10_001, dtype=np.float32)
    q = by_kernel(x, 0.0, 1.0, levels)
    assert np.unique(q).tolist() == list(range(levels))
    assert np.abs(back_by_kernel(q, 0.0, 1.0, levels) - x.clip(0, 1)).max() <= 0.5 / (levels - 1) + 1e-6


def test_long_arrays_take_the_vector_path() -> None:
    """Every length near the vector width, at an offset that no vector register is aligned to."""
    x = np.random.default_rng(0).normal(1, 2, 1000).astype(np.float32)
    x[::7] = np.nan
    for n in range(130):
        assert np.array_equal(by_kernel(x[1 : 1 + n], 0.0, 3.0, 4), quantise(x[1 : 1 + n], 0.0, 3.0, 4))


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), 0.0, 1.0, 1),
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), 0.0, 1.0, 257),
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), 1.0, 1.0, 4),
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), np.nan, 1.0, 4),
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), 0.0, np.inf, 4),
        (np.zeros(4, np.float32), np.zeros(4, np.uint8), -3e38, 3e38, 4),
        (np.zeros(4, np.float32), np.zeros(5, np.uint8), 0.0, 1.0, 4),
        (np.zeros(17, np.uint8)[1:], np.zeros(4, np.uint8), 0.0, 1.0, 4),
    ],
    ids=["one level", "257 levels", "empty", "nan", "inf", "overflow", "length", "alignment"],
)
def test_kernel_refuses_what_the_reference_does_not_define(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="expected"):
        _kernel.quantise(*arguments)


def test_kernel_refuses_a_level_beyond_its_table() -> None:
    with pytest.raises(ValueError, match="below 4, got 4"):
        _kernel.dequantise(np.array([0, 4], np.uint8), np.empty(2, np.float32), reconstruction(0.0, 1.0, 4))


def test_kernel_refuses_a_buffer_that_is_not_contiguous() -> None:
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        _kernel.quantise(np.zeros(8, np.float32)[::2], np.zeros(4, np.uint8), 0.0, 1.0, 4)


@pytest.mark.parametrize("clip", [(0.0, 0.0), (1.0, 0.0), (0.0, 1e-9), (0.0, 70_000.0), (np.nan, 1.0), (0.0, np.inf)])
def test_clips_that_binary16_cannot_tell_apart_are_refused(clip: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="binary16"):
        half_floats(4, *clip)

"""Features through HEVC: nothing is lost but what HEVC loses, and nothing is counted but what has to be sent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

pytest.importorskip("av")

import av

from bench import mosaic as it

pytestmark = pytest.mark.skipif("libx265" not in av.codecs_available, reason="this PyAV was built without x265")

SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=40)


def smooth(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Features that a picture codec likes: neighbours alike, channels of different scale."""
    x = np.random.default_rng(seed).normal(0, 1, shape).cumsum(1).cumsum(2)
    return (x * np.linspace(0.1, 1, shape[0])[:, None, None]).astype(np.float32)


X = smooth((20, 24, 32))


@given(SHAPES)
def test_tiles_come_back(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    picture = it.tile(x)
    assert np.array_equal(it.untile(picture, shape), x)
    assert all(side % it.GRAIN == 0 and side >= it.LEAST for side in picture.shape)
    rows, columns = it.grid(shape)
    assert (rows - 1) * columns < shape[0] <= rows * columns  # no row of tiles is empty


@settings(max_examples=10)
@given(SHAPES, st.integers(0, 51))
def test_every_shape_goes_through(shape: tuple[int, ...], qp: int) -> None:
    x = smooth(shape)
    size, (back,) = it.mosaic([x], qp)
    assert (back.shape, back.dtype) == (x.shape, np.float32)
    assert np.abs(back - x).max() <= np.ptp(x) * 1.01
    assert size > it.RANGE_BYTES


def test_only_hevc_loses_anything() -> None:
    """What comes out of the decoder is what the encoder saw, and without loss that is the picture."""
    picture = it.tile(np.random.default_rng(0).integers(0, 256, (9, 24, 40)).astype(np.uint8))
    assert np.array_equal(it.decode(it.encode(picture, 0, ":lossless=1")), picture)
    stream = it.encode(picture, 30)
    seen = it.decode(stream)
    assert 0 < np.abs(seen.astype(int) - picture).mean() < 30
    with pytest.raises(av.error.InvalidDataError, match="Invalid data"):
        it.decode(stream[:-2] + bytes([stream[-2] ^ 1]) + stream[-1:])


def test_one_slice_is_counted_and_nothing_else() -> None:
    units = it.encode(it.tile(np.zeros((4, 40, 40), np.uint8)), 30).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    assert [unit[0] >> 1 for unit in units[1:]] == [32, 33, 34, 20, 40]  # parameter sets, a key frame's slice, the MD5
    size, _ = it.mosaic([np.zeros((4, 40, 40), np.float32)], 30)
    assert size == 4 + len(units[4]) + it.RANGE_BYTES


def test_a_lower_qp_costs_more_and_loses_less() -> None:
    points = [it.mosaic([X], qp) for qp in (4, 16, 28, 40)]
    sizes = [size for size, _ in points]
    errors = [float(((back - X) ** 2).mean()) for _, (back,) in points]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    step = float(np.ptp(X)) / 255
    assert errors[0] < step**2  # at QP 4 HEVC's own step is one of the 256


def test_tensors_are_coded_each_by_itself() -> None:
    other = smooth((3, 8, 8), seed=1)
    size, back = it.mosaic([X, other], 20)
    alone = [it.mosaic([x], 20) for x in (X, other)]
    assert size == sum(part for part, _ in alone)
    assert all(np.array_equal(a, b) for a, (_, (b,)) in zip(back, alone, strict=True))


def test_a_clip_of_calibration_is_not_sent() -> None:
    x = X.copy()
    x[0, 0, 0] = 1e6  # one outlier, and the range is of no use
    _, (ranged,) = it.mosaic([x], 10)
    size, (clipped,) = it.mosaic([x], 10, clips=[(float(X.min()), float(X.max()))])
    assert clipped.max() <= X.max() * (1 + 1e-6)
    assert np.abs(clipped - x)[1:].mean() < 0.01 * np.abs(ranged - x)[1:].mean()
    own, (back,) = it.mosaic([X], 10)
    same, (again,) = it.mosaic([X], 10, clips=[(float(X.min()), float(X.max()))])
    assert own == same + it.RANGE_BYTES
    assert np.array_equal(back, again)
    assert size > 0


def test_constants_come_back_exactly() -> None:
    for value in (0.0, -3.25, 1e30):
        _, (back,) = it.mosaic([np.full((5, 10, 10), value, np.float32)], 51)
        assert (back == np.float32(value)).all()


@pytest.mark.parametrize(
    ("x", "qp", "message"),
    [
        (X, 52, r"qp: expected 0\.\.51, got 52"),
        (X, -1, r"qp: expected 0\.\.51, got -1"),
        (X[0], 30, r"features: expected finite \[C, H, W\], got shape \(24, 32\)"),
        (X[:0], 30, r"features: expected finite \[C, H, W\], got shape \(0, 24, 32\)"),
        (np.full((1, 2, 2), np.nan, np.float32), 30, "features: expected finite"),
        (np.full((1, 2, 2), np.inf, np.float32), 30, "features: expected finite"),
    ],
    ids=["qp 52", "qp -1", "two axes", "empty", "nan", "inf"],
)
def test_what_makes_no_picture_is_refused(x: np.ndarray, qp: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        it.mosaic([x], qp)

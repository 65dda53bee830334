"""What lies on the network's grid is found again at the picture's cells: the same on both sides, and in its place."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.geometry import letterbox_geometry
from common.scalable.lattice import FINE, lattice, resample, resample_integers

SIZE, GRID, STRIDE = 320, (40, 40), 16
SIZES = [(640, 480), (481, 641), (16, 16), (17, 33), (1, 1), (4096, 16), (4096, 4096), (700, 500)]
sides = st.integers(1, 5000)


def cells(width: int, height: int) -> tuple[int, int]:
    return -(-height // STRIDE), -(-width // STRIDE)


@given(sides, sides)
def test_places_are_where_the_letterbox_puts_them(width: int, height: int) -> None:
    box = letterbox_geometry(width, height, SIZE)
    rows, columns = cells(width, height)
    where = lattice(box, SIZE, GRID, (rows, columns), STRIDE)
    for column in {0, columns // 2, columns - 1}:
        at = Fraction(2 * column + 1, 2) * STRIDE * box.width / width + box.left
        expected = min(max(at * 40 / SIZE - Fraction(1, 2), 0), 39)
        found = Fraction(int(where.across.low[column]) * FINE + int(where.across.part[column]), FINE)
        assert 0 <= expected - found < Fraction(1, FINE)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_slope_stays_a_slope(width: int, height: int) -> None:
    box = letterbox_geometry(width, height, SIZE)
    rows, columns = cells(width, height)
    down, across = np.meshgrid(np.arange(40.0), np.arange(40.0), indexing="ij")
    grid = np.stack([down, across]).astype(np.float32)
    found = resample(grid, lattice(box, SIZE, GRID, (rows, columns), STRIDE))
    assert found.shape == (2, rows, columns) and found.dtype == np.float32
    x = ((np.arange(columns) + 0.5) * STRIDE * box.width / width + box.left) / 8 - 0.5
    assert np.abs(found[1] - np.clip(x, 0, 39)).max() < 1 / FINE + 1e-4


@given(arrays(np.int32, (2, 5, 5), elements=st.integers(-(1 << 24), 1 << 24)), st.integers(1, 900), st.integers(1, 900))
def test_integers_are_exact_and_round_to_nearest(grid: np.ndarray, width: int, height: int) -> None:
    where = lattice(letterbox_geometry(width, height, SIZE), SIZE, (5, 5), cells(width, height), STRIDE)
    found = resample_integers(grid, where)
    row, column = found.shape[1] // 2, found.shape[2] // 2
    (y0, y1, fy), (x0, x1, fx) = (
        [int(part[i]) for part in axis] for axis, i in ((where.down, row), (where.across, column))
    )
    for channel in range(2):
        a, b, c, d = (int(grid[channel, y, x]) for y in (y0, y1) for x in (x0, x1))
        exact = Fraction((a * (FINE - fx) + b * fx) * (FINE - fy) + (c * (FINE - fx) + d * fx) * fy, FINE * FINE)
        assert abs(exact - int(found[channel, row, column])) <= Fraction(1, 2)
    assert found.dtype == np.int32


def test_beyond_the_grid_its_edge_goes_on() -> None:
    box = letterbox_geometry(640, 480, SIZE)
    grid = np.arange(1600, dtype=np.int32).reshape(1, 40, 40)
    found = resample_integers(grid, lattice(box, SIZE, GRID, (100, 100), STRIDE))
    assert found[0, -1, -1] == 1599

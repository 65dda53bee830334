"""Tiles cover the grid once, and with their halos give what the whole grid gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.scalable.tiles import scaled, spans, tiles, tiles_over

cells = st.integers(1, 40)


@given(cells, cells, st.integers(1, 20), st.integers(0, 5))
def test_each_cell_is_kept_once(rows: int, columns: int, size: int, halo: int) -> None:
    kept = np.zeros((rows, columns), int)
    for tile in tiles(rows, columns, size, halo):
        computed = np.arange(rows * columns).reshape(rows, columns)[tile.outer]
        assert (computed[tile.inner] == np.arange(rows * columns).reshape(rows, columns)[tile.core]).all()
        assert max(kept[tile.core].shape) <= size
        kept[tile.core] += 1
    assert (kept == 1).all()


@given(cells, cells, st.integers(1, 20), st.integers(0, 5))
def test_the_halo_is_whole_but_at_the_grids_edge(rows: int, columns: int, size: int, halo: int) -> None:
    for tile in tiles(rows, columns, size, halo):
        for outer, core, end in zip(tile.outer, tile.core, (rows, columns), strict=True):
            assert outer.start == max(0, core.start - halo)
            assert outer.stop == min(end, core.stop + halo)


@given(cells, cells, st.integers(1, 20), st.integers(0, 5), st.sets(st.tuples(st.integers(0, 39), st.integers(0, 39))))
def test_what_is_needed_is_kept_once_and_little_else(
    rows: int, columns: int, size: int, halo: int, places: set[tuple[int, int]]
) -> None:
    needed, kept = np.zeros((rows, columns), bool), np.zeros((rows, columns), int)
    for row, column in places:
        needed[row % rows, column % columns] = True
    for tile in tiles_over(needed, size, halo):
        core = needed[tile.core]
        assert max(core.shape) <= size
        assert all(edge.any() for edge in (core[0], core[-1], core[:, 0], core[:, -1]))
        computed = np.arange(rows * columns).reshape(rows, columns)[tile.outer]
        assert (computed[tile.inner] == np.arange(rows * columns).reshape(rows, columns)[tile.core]).all()
        assert tile.outer[0].start == max(0, tile.core[0].start - halo)
        kept[tile.core] += 1
    assert kept.max(initial=0) <= 1 and (kept[needed] == 1).all()


def test_of_a_whole_grid_the_tiles_are_the_same() -> None:
    assert list(tiles_over(np.ones((130, 67), bool), 48, 4)) == list(tiles(130, 67, 48, 4))


@given(cells, st.integers(1, 20))
def test_parts_are_as_equal_as_can_be(count: int, size: int) -> None:
    lengths = [end - begin for begin, end in spans(count, size)]
    assert sum(lengths) == count and max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-count // size)


@pytest.mark.parametrize("factor", [1, 4, 16])
def test_a_place_in_a_finer_grid(factor: int) -> None:
    coarse = np.arange(35).reshape(5, 7)
    fine = coarse.repeat(factor, 0).repeat(factor, 1)
    where = slice(1, 3), slice(2, 6)
    assert (fine[scaled(where, factor)] == coarse[where].repeat(factor, 0).repeat(factor, 1)).all()

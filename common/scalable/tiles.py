"""A large grid in tiles, so that what a network needs of memory does not grow with the picture.

A tile is computed with a halo around it as wide as the network looks, and only its core is kept: what comes out is what
the whole grid would have given. At the grid's own edge there is no halo: there the network pads as it always does.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tile(NamedTuple):
    """Indexes of [C, rows, columns]: what to compute, what to keep of that, and where it belongs in the grid."""

    outer: tuple[slice, slice]
    """In the grid: the core and its halo."""
    inner: tuple[slice, slice]
    """The core, in what was computed."""
    core: tuple[slice, slice]
    """The core, in the grid. The cores cover the grid, each cell once."""


def tiles(rows: int, columns: int, size: int, halo: int) -> Iterator[Tile]:
    """Tiles of at most size x size cells, as equal as can be, halo not counted."""
    for top, bottom in spans(rows, size):
        for left, right in spans(columns, size):
            down, across = _axis(top, bottom, rows, halo), _axis(left, right, columns, halo)
            yield Tile(*zip(down, across, strict=True))


def tiles_over(needed: NDArray[np.bool_], size: int, halo: int) -> Iterator[Tile]:
    """Such tiles of a grid [rows, columns] whose cores have in them all cells that are needed, and few others."""
    top, left, bottom, right = _bounds(needed)
    for above, below in spans(bottom - top, size):
        for before, after in spans(right - left, size):
            part = needed[top + above : top + below, left + before : left + after]
            first, start, last, end = _bounds(part)
            if last > first:
                down = _axis(top + above + first, top + above + last, needed.shape[0], halo)
                across = _axis(left + before + start, left + before + end, needed.shape[1], halo)
                yield Tile(*zip(down, across, strict=True))


def _bounds(needed: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of what is needed, ends exclusive; four zeros where nothing is."""
    rows, columns = (np.flatnonzero(needed.any(axis)) for axis in (1, 0))
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else (0, 0, 0, 0)


def spans(cells: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of 0..cells."""
    count = -(-cells // size)
    for part in range(count):
        yield cells * part // count, cells * (part + 1) // count


def scaled(where: tuple[slice, slice], factor: int) -> tuple[slice, slice]:
    """The same place in a grid that is `factor` times as fine."""
    down, across = where
    return slice(down.start * factor, down.stop * factor), slice(across.start * factor, across.stop * factor)


def _axis(begin: int, end: int, cells: int, halo: int) -> tuple[slice, slice, slice]:
    first, last = max(0, begin - halo), min(cells, end + halo)
    return slice(first, last), slice(begin - first, end - first), slice(begin, end)

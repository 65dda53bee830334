"""What is known on the network's grid, brought to the cells of a picture's latent, bilinearly.

The centre of a picture's cell lies at (i + 1/2) * stride of its pixels; the letterbox says where that is in the
network's input, and that where between the centres of the grid's cells. The place is rounded down to a 256th of a cell
and held at the grid's edge. All of that is integers: what conditions probabilities must be the same on both sides.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.geometry import Letterbox

FINE = 256
"""Places between two cells of the grid."""


class Axis(NamedTuple):
    """For each cell of the latent along one axis the two cells of the grid beside it, and how far it is on its way."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    part: NDArray[np.int64]
    """0..255, in 256ths of the way from low to high."""


class Lattice(NamedTuple):
    """Both axes."""

    down: Axis
    across: Axis


def lattice(box: Letterbox, size: int, grid: tuple[int, int], cells: tuple[int, int], stride: int) -> Lattice:
    """Where `cells` (rows, columns) of `stride` pixels lie on a `grid` (rows, columns) of a size x size input."""
    down = _axis(cells[0], stride, box.picture_h, box.height, box.top, size, grid[0])
    across = _axis(cells[1], stride, box.picture_w, box.width, box.left, size, grid[1])
    return Lattice(down, across)


def resample(values: NDArray[np.float32], where: Lattice) -> NDArray[np.float32]:
    """[C, grid rows, grid columns] to [C, rows, columns]: for networks, which need it to their own precision."""
    return _between(_between(values, where.across, 2), where.down, 1)


def resample_integers(values: NDArray[np.int32], where: Lattice) -> NDArray[np.int32]:
    """The same exactly, then rounded to the nearest integer: for probabilities."""
    wide = _weighed(_weighed(values.astype(np.int64), where.across, 2), where.down, 1)
    return ((wide + (FINE * FINE >> 1)) // (FINE * FINE)).astype(np.int32)


def _axis(count: int, stride: int, pixels: int, length: int, start: int, size: int, cells: int) -> Axis:
    """`pixels` of the picture are `length` of the input's `size`, from `start`; the grid has so many `cells`."""
    twice = 2 * np.arange(count, dtype=np.int64) + 1
    # ((i + 1/2) * stride * length / pixels + start) * cells / size - 1/2, in 256ths
    place = FINE * cells * (twice * stride * length + 2 * start * pixels) // (2 * pixels * size) - FINE // 2
    place = np.clip(place, 0, (cells - 1) * FINE)
    low = place // FINE
    return Axis(low, np.minimum(low + 1, cells - 1), place % FINE)


def _weighed(values: NDArray[np.int64], axis: Axis, along: int) -> NDArray[np.int64]:
    part = axis.part[:, None] if along == 1 else axis.part
    return values.take(axis.low, along) * (FINE - part) + values.take(axis.high, along) * part


def _between(values: NDArray[np.float32], axis: Axis, along: int) -> NDArray[np.float32]:
    part = (axis.part / FINE).astype(np.float32)
    part = part[:, None] if along == 1 else part
    low, between = values.take(axis.low, along), values.take(axis.high, along)
    between -= low  # and in place from here: a large picture has many cells
    between *= part
    between += low
    return between

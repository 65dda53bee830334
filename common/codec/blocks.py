"""The blocks of a cut tensor that see the picture, and their cosine transform: the reference for blocks.c.

Both sides derive from the picture's size which blocks are coded, in integers. The cosine transform is orthonormal, in
floats: these need not agree from machine to machine, since only integers travel (`coefficients`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec.window import Window

Features = NDArray[np.float32]

BLOCKS = (4, 8)
LARGEST = 65504.0
"""What larger features are taken for, infinities included; NaN is taken for 0."""


class Grid(NamedTuple):
    """`rows` x `columns` blocks of `block` x `block` places of a tensor, the first at (top, left).

    Blocks start inside the tensor; the last ones reach beyond its end if it is smaller than they are.
    """

    block: int
    top: int
    left: int
    rows: int
    columns: int

    @property
    def blocks(self) -> int:
        """How many they are, counted row by row."""
        return self.rows * self.columns


def content_blocks(window: Window | None, height: int, width: int, block: int) -> Grid:
    """Return the fewest blocks over the places of a `height` x `width` tensor that see the window; None is all."""
    if window is None:
        window = Window(0, 0, width, height, width, height)
    top, rows = _whole(window.top, window.bottom, window.height, height, block)
    left, columns = _whole(window.left, window.right, window.width, width, block)
    return Grid(block, top, left, rows, columns)


def _whole(low: int, high: int, pixels: int, places: int, block: int) -> tuple[int, int]:
    """First place and number of blocks over pixels [low, high), rounded outwards and grown evenly on both sides."""
    if not 0 <= low < high <= pixels:
        raise ValueError(f"window: expected 0 <= low < high <= {pixels}, got {low}, {high}")
    first, end = low * places // pixels, -(-high * places // pixels)
    count = -(-(end - first) // block)
    spare = count * block - (end - first)
    return max(0, min(first - spare // 2, places - count * block)), count


def cosines(block: int) -> Features:
    """[frequency, place] of the orthonormal cosine transform (DCT-II)."""
    frequency, place = np.arange(block)[:, None], np.arange(block)[None]
    waves = np.cos(np.pi * (2 * place + 1) * frequency / (2 * block)) * np.sqrt(2 / block)
    waves[0] /= np.sqrt(2)
    rounded: Features = waves.astype(np.float32)
    return rounded


def spectrum(features: Features, mean: Features, grid: Grid) -> Features:
    """[C, H, W] to [frequency, C, blocks], the mean [C] taken off; beyond the tensor's end the edge is repeated."""
    rows, columns = places(grid, *features.shape[1:])
    known = np.clip(np.where(np.isnan(features), np.float32(0), features), -LARGEST, LARGEST)
    content = known[:, rows[:, None], columns] - mean[:, None, None]
    split = content.reshape(-1, grid.rows, grid.block, grid.columns, grid.block)
    waves = cosines(grid.block)
    by_wave: Features = np.einsum("ui,cyixj,vj->uvcyx", waves, split, waves, optimize=True)
    return by_wave.reshape(grid.block**2, len(features), grid.blocks)


def from_spectrum(by_frequency: Features, mean: Features, grid: Grid, blank: NDArray[np.floating]) -> Features:
    """The way back, into a blank picture's features [C, H, W]; what lies beyond the tensor's end is dropped."""
    block, waves = grid.block, cosines(grid.block)
    split = by_frequency.reshape(block, block, -1, grid.rows, grid.columns)
    content = np.einsum("ui,uvcyx,vj->cyixj", waves, split, waves, optimize=True)
    content = content.reshape(-1, grid.rows * block, grid.columns * block) + mean[:, None, None]
    features = blank.astype(np.float32)
    inside = features[:, grid.top : grid.top + grid.rows * block, grid.left : grid.left + grid.columns * block]
    inside[:] = content[:, : inside.shape[1], : inside.shape[2]]
    return features


def places(grid: Grid, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a height x width tensor that the blocks cover."""
    rows = grid.top + np.arange(grid.rows * grid.block)
    columns = grid.left + np.arange(grid.columns * grid.block)
    return np.minimum(rows, height - 1), np.minimum(columns, width - 1)

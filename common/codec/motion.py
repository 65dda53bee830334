"""A reference's levels, moved: where the blocks of a frame were in the features of an earlier one.

    levels -> features in integers -> each block's, from where its vector points -> levels

A place of a cut sees some pixels, an object moves by a part of that, and what it looked like stands a little aside in
the features before. So a block may be predicted from another place of the reference. Vectors count quarters of a place
of the tensor; between places, four neighbours are mixed.

Features as the network takes them are floats, and no two machines add those alike. These are made of the bundle's bases
in integers of 14 binary digits; sums of products stay below 2^53, where a float64 is exact, so any order of adding
gives the same. A block that does not move keeps its levels as they are.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel
from common.codec.basis import Basis
from common.codec.blocks import Features, Grid, cosines, places

Doubles = NDArray[np.float64]
Index = NDArray[np.int32]
Levels = NDArray[np.int32]
Longs = NDArray[np.int64]
Vectors = NDArray[np.int8]

DIGITS = 14
"""Binary digits of the bases that are behind the point."""
FINE = 3
"""More of features than of levels."""
LARGEST = 1 << 17
"""Of a basis in integers: 8."""
MOST_FEATURE = 1 << 24
MOST_LEVEL = (1 << 22) - 1
MOST_RANKS = 1024
"""Of a basis, and features of a block: larger ones stay where they are."""
QUARTERS = 4
FARTHEST = 31
"""Quarters of a place that a vector has at most."""
BORDER = 4
"""Places around the features that the search may look at: the edge is repeated."""


class Motion:
    """Of the blocks of one tensor. Thread-safe: what is here does not change."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._inverses: dict[int, Doubles] = {}
        self.possible = max(basis.frequency.size, basis.shape[0] * basis.block**2) <= MOST_RANKS
        """Whether blocks of this tensor can be moved; else every vector is 0."""

    def moved(self, levels: Levels, grid: Grid, vectors: Vectors, field: Doubles | None = None) -> Levels:
        """Levels [planes, blocks] with each block from where its vector [blocks, 2], down and right, points.

        `field`: that of these levels, if it is at hand.
        """
        field = self.field(levels, grid) if field is None else field
        where = np.flatnonzero(vectors.any(axis=1))
        patches = self._mixed(field, grid, where, vectors[where].astype(np.int64))
        found = levels.copy()
        exact = rounded(product(self.forward[: len(levels)], patches), DIGITS + FINE)
        found[:, where] = np.clip(exact, -MOST_LEVEL, MOST_LEVEL)
        return found

    def search(self, features: Features, field: Doubles, active: NDArray[np.bool_], grid: Grid, step: float) -> Vectors:
        """Vectors [blocks, 2] for features [C, H, W], those of active blocks alone; the others stay."""
        vectors = np.zeros((grid.blocks, 2), np.int8)
        around = np.pad(field, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)), "edge") * (1 / (128 << FINE))
        rows, columns = places(grid, *features.shape[1:])
        seen = features[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if seen.shape[1:] != field.shape[1:]:
            seen = features[:, rows[:, None], columns]
        with np.errstate(over="ignore", invalid="ignore"):
            now = np.nan_to_num((seen - self._basis.mean[:, None, None]) / np.float32(step), posinf=0, neginf=0)
        shape = self._basis.shape[0], grid.rows, grid.columns, grid.block
        seen, around = np.ascontiguousarray(now), around.astype(np.float32)
        _kernel.motion_search(shape, around, seen, self.weights, active, vectors)
        return vectors

    def field(self, levels: Levels, grid: Grid) -> Doubles:
        """Features [C, rows, columns] of all blocks without their mean: integers, in 1/1024 of the step."""
        block, exact = grid.block, product(self._inverse(len(levels)), levels.astype(np.float64))
        features = np.clip(rounded(exact, DIGITS - FINE), -MOST_FEATURE, MOST_FEATURE)
        split = features.reshape(-1, block, block, grid.rows, grid.columns).transpose(0, 3, 1, 4, 2)
        return np.ascontiguousarray(split).reshape(-1, grid.rows * block, grid.columns * block)

    def _mixed(self, field: Doubles, grid: Grid, where: NDArray[np.intp], vectors: Longs) -> Doubles:
        """Features [C * block * block, n] from where the vectors [n, 2] of the blocks with these numbers point."""
        start = np.stack(np.divmod(where, grid.columns), axis=1) * grid.block
        first, part = start + (vectors >> 2), (vectors & 3).astype(np.float64)
        near = np.arange(grid.block + 1)
        rows = np.clip(first[:, :1] + near, 0, field.shape[1] - 1).T
        columns = np.clip(first[:, 1:] + near, 0, field.shape[2] - 1).T
        seen = field[:, rows[:, None], columns[None]]
        down, right = part.T
        across = seen[:, :, :-1] * (QUARTERS - right) + seen[:, :, 1:] * right
        mixed = rounded(across[:, :-1] * (QUARTERS - down) + across[:, 1:] * down, 4)
        return mixed.reshape(len(self.inverse), len(where))

    def _inverse(self, planes: int) -> Doubles:
        """Of so many planes, as the kernel takes it; the last one is kept."""
        kept = self._inverses.get(planes)
        if kept is None:
            kept = np.ascontiguousarray(self.inverse[:, :planes])
            self._inverses = {planes: kept}
        return kept

    @cached_property
    def weights(self) -> Features:
        """[C]: what a squared difference of a channel's features means for all coefficients, on average."""
        size = self._basis.block**2
        shares = np.square(self.forward).reshape(-1, self._basis.shape[0], size).sum(axis=(0, 2))
        weights: Features = (shares / (size * 4.0**DIGITS)).astype(np.float32)
        return weights

    @cached_property
    def inverse(self) -> Doubles:
        """[C * block * block, P]: what one unit of a coefficient adds to the features of its block. Integers."""
        basis, m = self._basis, self._basis.turned.size
        unturned = np.zeros((len(basis.order), len(basis.order)))
        unturned[:m, :m], unturned[m:, m:] = fixed(basis.unturn), np.eye(len(basis.order) - m) * (1 << DIGITS)
        unturned, channels = unturned[:, basis.order], basis.shape[0]
        by_frequency = np.zeros((basis.block**2, channels, len(basis.order)))
        for frequency in range(len(by_frequency)):
            of = basis.frequency == frequency
            by_frequency[frequency] = clipped(fixed(basis.inverse[of]).T @ unturned[of], DIGITS)
        exact = waves(basis.block).T @ by_frequency.reshape(len(by_frequency), -1)
        by_place = clipped(exact, 2 * DIGITS).reshape(len(by_frequency), channels, -1)
        return np.ascontiguousarray(by_place.swapaxes(0, 1)).reshape(-1, len(basis.order))

    @cached_property
    def forward(self) -> Doubles:
        """[P, C * block * block]: a coefficient is its product with the features of its block. Integers."""
        basis, m = self._basis, self._basis.turned.size
        by_wave = fixed(basis.forward)[:, :, None] * waves(basis.block)[basis.frequency][:, None]
        by_rank = clipped(by_wave, 2 * DIGITS).reshape(len(basis.frequency), -1)
        turned = clipped(fixed(basis.turn) @ by_rank[:m], DIGITS)
        return np.ascontiguousarray(np.concatenate([turned, by_rank[m:]])[basis.order])


def product(a: Doubles, b: Doubles) -> Doubles:
    """Of matrices of integers. NumPy's own would have all processors work on it, for less than a millisecond."""
    found = np.empty((len(a), b.shape[1]))
    _kernel.motion_multiply((*a.shape, b.shape[1]), a, np.ascontiguousarray(b), found)
    return found


def waves(block: int) -> Doubles:
    """[frequency, place] of the cosine transform of a block, both row by row: integers, 2^28 is 1."""
    one = np.rint(cosines(block).astype(np.float64) * (1 << DIGITS))
    products: Doubles = np.einsum("ui,vj->uvij", one, one).reshape(block**2, block**2)
    return products


def fixed(numbers: NDArray[np.floating]) -> Doubles:
    """As integers, 2^14 is 1."""
    return np.clip(np.rint(numbers.astype(np.float64) * (1 << DIGITS)), -LARGEST, LARGEST)


def clipped(exact: Doubles, digits: int) -> Doubles:
    """Integers without their last binary digits, as far as a basis may have them."""
    return np.clip(rounded(exact, digits), -LARGEST, LARGEST)


def rounded(exact: Doubles, digits: int) -> Doubles:
    """Integers without their last binary digits; halves go up. Exact as long as they are below 2^52."""
    found: Doubles = np.floor(exact * 2.0**-digits + 0.5)
    return found


# ---- How vectors are said ------------------------------------------------------------------------------------------


def differences(vectors: Vectors, columns: int) -> Index:
    """[2, blocks] of vectors [blocks, 2] less what their neighbours say: the middle of left, above, right above."""
    known = np.zeros((len(vectors) // columns + 1, columns + 2, 2), np.int32)
    known[1:, 1:-1] = vectors.reshape(-1, columns, 2)
    told = middle(known[1:, :-2], known[:-1, 1:-1], known[:-1, 2:])
    return np.ascontiguousarray((known[1:, 1:-1] - told).reshape(-1, 2).T)


def vectors_of(found: Index, columns: int) -> Index:
    """The vectors [blocks, 2] with these differences [2, blocks]. They may be longer than is legal."""
    parts: list[NDArray[np.int64]] = []
    for apart in found.tolist():
        above, part = [0] * (columns + 1), list[int]()
        for row in range(0, len(apart), columns):
            left, here = 0, []
            for a, b, difference in zip(above[:-1], above[1:], apart[row : row + columns], strict=True):
                left = difference + sorted((left, a, b))[1]
                here.append(left)
            above, part = [*here, 0], part + here
        parts.append(np.clip(part, -MOST_LEVEL, MOST_LEVEL))
    return np.stack(parts, axis=1).astype(np.int32)


def middle(a: Index, b: Index, c: Index) -> Index:
    """The middle one of three."""
    found: Index = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return found

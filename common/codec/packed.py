"""A basis in the forms that basis.c reads: `analyse` and `synthesise` of basis.py, fast.

All channels and planes are packed in groups of 16. Nothing depends on the quality: planes that are not coded are at the
end of whatever they are in. An edge never makes the cloud's half, nor the other way round.
"""

import math
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel
from common.codec.basis import Basis
from common.codec.blocks import Features, Grid

GROUP = 16
"""Planes and channels that the kernel works on side by side."""
CHUNK = 128
"""What it works on side by side when it turns planes back."""
NO_PLANE = np.iinfo(np.uint32).max

Part = NDArray[Any]
Places = NDArray[np.uint32]
Number = TypeVar("Number", np.float32, np.uint32)


class Packed:
    """One tensor's basis. Thread-safe: what is here does not change."""

    def __init__(self, basis: Basis) -> None:
        self.basis, self.turned = basis, basis.turned.size
        channels, frequencies = basis.shape[0], basis.block**2
        self.mean = np.zeros(rounded_up(channels, GROUP), np.float32)
        self.mean[:channels] = basis.mean * np.float32(basis.block)  # its share of the lowest frequency
        place = np.empty(len(basis.order), np.uint32)  # of each plane in the order of coding
        place[basis.order] = np.arange(len(place), dtype=np.uint32)
        self.column_ranks, self.column_frequency = pack(basis.frequency[: self.turned], frequencies)
        self.direct_ranks, self.direct_frequency = pack(basis.frequency[self.turned :], frequencies, self.turned)
        self.turned_place = place[: self.turned]
        self.direct_place = chosen(place, self.direct_ranks, NO_PLANE)
        self.columns = self.column_ranks[self.column_ranks != NO_PLANE]  # the rank in each

    def analyse(self, features: Features, grid: Grid, y: Features, step: float) -> None:
        """[C, H, W] to the first of the planes, as many as y [planes, blocks] has, in steps."""
        self._check(features, grid, y)
        _kernel.analyse(self.basis.shape, grid, features, y, self.mean, *self.forward, 1 / step)

    def synthesise(self, y: Features, grid: Grid, step: float) -> Features:
        """[planes, blocks] in steps to [C, H, W]."""
        features = np.empty(self.basis.shape, np.float32)
        self._check(features, grid, y)
        _kernel.synthesise(self.basis.shape, grid, y, features, self.mean, *self.inverse, step)
        return features

    def _check(self, features: Features, grid: Grid, y: Features) -> None:
        if features.shape != self.basis.shape:
            raise ValueError(f"features: expected shape {self.basis.shape}, got {features.shape}")
        if grid.block != self.basis.block:
            raise ValueError(f"grid: expected blocks of {self.basis.block}, got {grid.block}")
        if len(y) > len(self.basis.order) or y.shape[1:] != (grid.blocks,):
            most = len(self.basis.order)
            raise ValueError(f"y: expected [0..{most} planes, {grid.blocks} blocks], got {list(y.shape)}")

    @cached_property
    def forward(self) -> tuple[Part, Part, Part, Part, Part, Part, Part]:
        """For an edge: see basis.c, `analysis`."""
        turn = np.zeros((rounded_up(self.turned, GROUP), self.turned), np.float32)
        turn[: self.turned] = self.basis.turn[:, self.columns]
        place = np.full(len(turn), NO_PLANE, np.uint32)
        place[: self.turned] = self.turned_place
        return (
            by_lane(chosen(self.basis.forward, self.column_ranks)),
            self.column_frequency,
            (self.column_ranks != NO_PLANE).sum(axis=1).astype(np.uint8),
            by_lane(turn.reshape(len(turn) // GROUP, GROUP, self.turned)),
            by_lane(chosen(self.basis.forward, self.direct_ranks)),
            self.direct_frequency,
            np.concatenate([place.reshape(-1, GROUP), self.direct_place]),
        )

    @cached_property
    def inverse(self) -> tuple[Part, Part, Part, Part, Part, Part, Part, Part]:
        """For a cloud: see basis.c, `synthesis`."""
        channels = self.basis.shape[0]
        inverse = np.zeros((len(self.basis.inverse), rounded_up(channels, GROUP)), np.float32)
        inverse[:, :channels] = self.basis.inverse
        unturn = on_cache_lines((self.turned, rounded_up(self.turned, CHUNK)))
        unturn[:, : self.turned], unturn[:, self.turned :] = self.basis.unturn[self.columns].T, 0
        frequencies = self.basis.block**2
        terms = np.bincount(self.basis.frequency[: self.turned], minlength=frequencies).astype(np.uint32)
        by_frequency = np.split(inverse[self.columns], np.cumsum(terms)[:-1])
        columns = [part.reshape(len(part), len(self.mean) // GROUP, GROUP).swapaxes(0, 1) for part in by_frequency]
        direct = chosen(inverse, self.direct_ranks)
        return (
            self.basis.blank.astype(np.float32),
            self.turned_place,
            unturn,
            terms,
            aligned(np.concatenate([part.ravel() for part in columns])),
            self.direct_place,
            self.direct_frequency,
            aligned(direct),
        )


def rounded_up(size: int, unit: int) -> int:
    """To a multiple of the unit."""
    return -(-size // unit) * unit


def pack(frequency: NDArray[np.uint8], frequencies: int, first: int = 0) -> tuple[Places, NDArray[np.uint8]]:
    """Which ranks [group, GROUP] stand together, and the frequency [group] that they share; gaps are NO_PLANE.

    Ranks are numbered from `first`. Those of a frequency keep their order, so those that are coded come first.
    """
    parts, owners = [np.empty(0, np.uint32)], [np.empty(0, np.uint8)]
    for f in range(frequencies):
        ranks = np.flatnonzero(frequency == f).astype(np.uint32) + np.uint32(first)
        padded = np.full(rounded_up(ranks.size, GROUP), NO_PLANE, np.uint32)
        padded[: ranks.size] = ranks
        parts.append(padded)
        owners.append(np.full(padded.size // GROUP, f, np.uint8))
    return np.concatenate(parts).reshape(-1, GROUP), np.concatenate(owners)


def chosen(rows: NDArray[Number], ranks: Places, gap: int = 0) -> NDArray[Number]:
    """Return rows [P, ...] as [group, GROUP, ...], `gap` where there is no rank."""
    with_gap = np.concatenate([rows, np.full((1, *rows.shape[1:]), gap, rows.dtype)])
    return with_gap[np.minimum(ranks, len(rows))]


def by_lane(rows: Features) -> Features:
    """Return [group, GROUP, n] as [group, n, GROUP]."""
    return aligned(rows.swapaxes(1, 2))


def aligned(array: Features) -> Features:
    """Return a copy that begins where a cache line does: every load of 16 floats then needs one line."""
    copy = on_cache_lines(array.shape)
    copy[:] = array
    return copy


def on_cache_lines(shape: tuple[int, ...]) -> Features:
    """Uninitialised."""
    count, line = math.prod(shape), 64
    memory = np.empty(count * 4 + line, np.uint8)
    start = -memory.ctypes.data % line
    return memory[start : start + count * 4].view(np.float32).reshape(shape)

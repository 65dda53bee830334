"""What a latent's numbers are expected to be, by those of an earlier frame of its camera; `latent_after` codes so.

An element of y is expected where the y^ of the frame before lies, counted in steps from this frame's mean. How surely
is a matter of tables: by the row of its scale, by how far that is from the mean, and by how well the channels before
were told at this cell: well where nothing moves, badly where something does, and there hardly better than alone.

All of it is integers. docs/bitstream.md, "Latents after another", is the normative text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import rans
from common.codec.elements import Cells, Fixed
from common.codec.latent import LatentCoder
from common.codec.latent_model import Point
from common.codec.values import CENTRE, ESCAPE, LENGTH, Index, Rows, Values, highs, symbols

Levels = NDArray[np.int32]
"""What a latent leaves for others: z as its hyper-decoder was given it, in 1/64, then y^ in 1/256; of coded cells."""
Sums = NDArray[np.int64]

TABLES = Path(__file__).with_name("latent_temporal.npz")
"""Counted on videos with the bundles that ship; nothing in them is a bundle's own."""

PARTS = 4
"""Of a step: how finely expectations are told apart."""
EXACT = 3 * PARTS
"""Expectations this near to the mean have bins of their own; of others it counts where between two steps they lie."""
BINS = EXACT + PARTS
MOST_PARTS = 1 << 12
"""The furthest expectation."""
WIDTHS, NARROWEST, ROWS_A_WIDTH = 16, 8, 4
"""Classes of the rows of y: of four rows each, from row 8 on."""
TRUSTS, OPENINGS = 10, 3
"""Classes of how well a cell was told so far; before the first channel, of how many steps z has changed by there."""
EDGES = (20, 25, 32, 40, 51, 64, 81, 102, 128)
"""Between the former: what went wrong, in 1/64 of what was to be expected."""
ENDS = (2, 4, 8, 12, 18, 26, 36, 50, 70, 96, 130)
"""Channels are coded in groups that end here; the last group is all the rest."""
WORST = 4 * PARTS
"""No element counts as told worse than this."""
UNIT = 64
"""Of expected errors, in a part."""
NEAR, CHANCES = 3, (8192, 12288, 14746, 15892)
"""z has rows by how far from its centre it is expected, and by how often, of 2^14, it is 0 when coded alone."""
HYPER_ROWS = NEAR * (len(CHANCES) + 1)
PLACES = WIDTHS * BINS
ELEMENT_ROWS = (TRUSTS + OPENINGS) * PLACES
REACH = 15
"""Changes whose costs an encoder looks up."""


@dataclass(frozen=True, eq=False)
class Tables:
    """The rows that changes are coded under, and how far elements are from where they are expected."""

    rows: Rows
    """HYPER_ROWS of z, then of y for each trust, width and bin one."""
    expected: NDArray[np.uint16]
    """[PLACES], in 1/64 of a part."""

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Raises KeyError or ValueError."""
        rows, expected = Rows(arrays["bits"], arrays["frequencies"]), arrays["expected"]
        if len(rows.bits) != HYPER_ROWS + ELEMENT_ROWS or rows.silent.any():
            raise ValueError(f"frequencies: expected {HYPER_ROWS + ELEMENT_ROWS} rows, none of them silent")
        if expected.dtype != np.uint16 or expected.shape != (PLACES,) or not expected.all():
            raise ValueError(f"expected: expected uint16 [{PLACES}] above 0, got {expected.dtype} {expected.shape}")
        return cls(rows, expected)

    @cached_property
    def costs(self) -> NDArray[np.float32]:
        """Bits of the changes -REACH to REACH [rows, 2 REACH + 1], for encoders."""
        changes = np.arange(-REACH, REACH + 1, dtype=np.int32)
        found = np.empty((len(self.rows.bits), len(changes)), np.float32)
        for row, (bits, frequencies) in enumerate(zip(self.rows.bits, self.rows.tables.frequencies, strict=True)):
            low = np.full(len(changes), bits)
            said, beyond = symbols(changes, low), np.abs(highs(changes, low)) - CENTRE
            rest = np.where(said == ESCAPE, LENGTH + np.floor(np.log2(np.maximum(beyond, 1))), 0)
            found[row] = rans.BITS - np.log2(frequencies[said]) + bits + rest
        return found


@cache
def shipped() -> Tables:
    """The tables that ship."""
    with np.load(TABLES, allow_pickle=False) as arrays:
        return Tables.of(arrays)


class Before(NamedTuple):
    """What the reference left."""

    z: Values
    """[Z, its cells], in 1/64."""
    fixed: Fixed
    """[C, cells], in 1/256."""

    @classmethod
    def of(cls, levels: Levels, coder: LatentCoder, cells: Cells) -> Self:
        """Of as many levels as a latent of these cells leaves."""
        rows, columns = cells.halved(coder.halvings).shape
        end = coder.hyper * rows * columns
        return cls(levels[:end].reshape(coder.hyper, -1), levels[end:].reshape(coder.channels, -1))


class Told(NamedTuple):
    """Where numbers are expected: so far from the mean, to this side."""

    sign: Values
    """-1 or 1."""
    parts: Values
    """Of a step, 0 or more."""

    @property
    def whole(self) -> Values:
        """The distance in steps, to the nearest."""
        return (self.parts + PARTS // 2) // PARTS

    @property
    def bins(self) -> Values:
        """Which of BINS."""
        return np.where(self.parts < EXACT, self.parts, EXACT + self.parts % PARTS)


def told(before: Values, mean: Values, step: int, unit: int) -> Told:
    """By values of the reference. `step` is in 1/unit of what they and means are in."""
    away = before.astype(np.int64) - mean
    parts = (np.abs(away) * (unit * PARTS) + step // 2) // step
    return Told(np.where(away < 0, -1, 1).astype(np.int32), np.minimum(parts, MOST_PARTS).astype(np.int32))


class Hyper(NamedTuple):
    """What is expected of z, where it is coded at all."""

    whole: Values
    """[Z, cells], in steps from the centre."""
    alive: NDArray[np.bool_]
    """[Z, cells]."""
    sign: Values
    """Of those that are alive [n]."""
    rows: Index
    """[n]."""

    @classmethod
    def of(cls, coder: LatentCoder, before: Before, point: Point) -> Self:
        """By the reference's."""
        found = told(before.z, coder.model.centre[:, None], point.z_step, 1)
        own = coder.hyper_rows(point)
        sure = (coder.model.rows.tables.frequencies[own, CENTRE, None] >= np.array(CHANCES)).sum(1, np.int32)
        rows = np.minimum(found.whole, NEAR - 1) * (len(CHANCES) + 1) + sure[:, None]
        alive = np.broadcast_to(~coder.model.rows.silent[own, None], rows.shape)
        return cls(found.sign * found.whole, alive, found.sign[alive], rows[alive].astype(np.uint16))

    def moved(self, z: Values, cells: Cells, halvings: int) -> Values:
        """By how many steps z [Z, its cells], as it is, differs at each of the coded cells [cells], in all."""
        coarse = cells.halved(halvings)
        changed = np.abs(z - self.whole).sum(0, np.int32).reshape(coarse.shape)
        rows = (np.arange(cells.top, cells.bottom) >> halvings) - coarse.top
        columns = (np.arange(cells.left, cells.right) >> halvings) - coarse.left
        found: Values = changed[rows[:, None], columns].ravel()
        return found


class Group(NamedTuple):
    """Some channels of the coded cells, those of their elements that are not silent: they are coded together."""

    channels: slice
    alive: NDArray[np.bool_]
    """[channels, cells]."""
    sign: Values
    """Of those that are alive [n]."""
    whole: Values
    rows: Index


class Walk:
    """Elements of y, a group of channels at a time: iterating says what is expected of the next, `code` what came."""

    def __init__(self, tables: Tables, expected: Told, index: Index, silent: NDArray[np.bool_], moved: Values) -> None:
        """`expected` of all [C, cells], their rows and which of them are silent; `moved` [cells] as of `Hyper`."""
        self._told, self._alive = expected, ~silent
        widths = ((index.astype(np.int32) - NARROWEST) // ROWS_A_WIDTH).clip(0, WIDTHS - 1)
        self.places = widths * BINS + expected.bins
        """[C, cells]: those of a row, of one trust."""
        self._expected = tables.expected[self.places] * self._alive
        self._trust = TRUSTS + np.minimum(moved, OPENINGS - 1)
        self._wrong, self._usual = np.zeros((2, index.shape[1]), np.int64)

    def __iter__(self) -> Iterator[Group]:
        channels, whole = len(self._alive), self._told.whole
        for start, end in pairwise([0, *(end for end in ENDS if end < channels), channels]):
            group = slice(start, end)
            alive = self._alive[group]
            rows = HYPER_ROWS + self._trust * PLACES + self.places[group]
            yield Group(group, alive, self._told.sign[group][alive], whole[group][alive], rows[alive].astype(np.uint16))

    def code(self, group: Group, q: Values) -> None:
        """Go on, these [channels, cells] being known."""
        here = group.channels
        self._wrong += (self.errors(here, q) * group.alive).sum(0, np.int64)
        self._usual += self._expected[here].sum(0, np.int64)
        # A cell's own, a quarter of what is usual in the frame, and as much as one element that is off by a step.
        cells = len(self._wrong)
        wrong = UNIT * (4 * cells * (self._wrong + PARTS) + self._wrong.sum())
        usual = 4 * cells * (self._usual + UNIT * PARTS) + self._usual.sum()
        self._trust = (wrong * 64 >= np.array(EDGES)[:, None] * usual).sum(0, np.int32)

    def errors(self, here: slice, q: Values) -> Values:
        """How far these numbers [channels, cells] of some channels are from where they were expected, in parts."""
        parts: Values = np.abs(self._told.sign[here] * q * PARTS - self._told.parts[here])
        return np.minimum(parts, WORST)

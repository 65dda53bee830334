"""From coefficients to the tables of their coder: how often each symbol comes, where cells begin, what they mean.

Three things hang together: dead zones depend on what symbols cost, costs on how often they come, and that on the dead
zones. So pictures are coded, counted and coded again, a few rounds. A value is moved to the cell below if the error
that this adds is less than LAMBDA times the bits it saves: rate-distortion optimised quantisation, with one threshold
for each symbol of each table instead of a search for each picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import coefficients as coding

LAMBDA = 0.25
"""Squared steps that one bit is worth. Larger values, with smaller steps, lose what smaller values gain."""
ROUNDS = 3
PLAIN = 0.6
"""Where cells begin before anything is known, and beyond the tables: a little above the middle."""
ENOUGH = 50
"""Values that a mean must have been taken of to be trusted half."""
WIDEST = 0.8
"""A cell begins at most so far above the middle."""
TOTAL = 1 << 14

Array = NDArray[Any]


@dataclass(frozen=True)
class View:
    """The coefficients of all pictures at one quality."""

    quality: int
    scale: NDArray[np.int16]
    """[plane]."""
    values: NDArray[np.float32]
    """[plane, block of any picture], in steps."""


@dataclass
class Counts:
    """What coding all views met."""

    seen: Array
    """[table, symbol]."""
    whole: Array
    """[table, symbol]: those that are all there is of a coefficient, no low bits being coded beside them."""
    size: Array
    """[table, symbol]: the sum of |value| in steps of these."""
    activity: Array
    """[class, 2]: the sum of what a coefficient adds to the activity, and how many there were."""

    @classmethod
    def none(cls, classes: int = coding.CLASSES) -> "Counts":
        """Nothing yet."""
        shape = classes * coding.BINS, coding.SYMBOLS
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros((classes, 2)))

    def add(self, index: Array, symbols: Array, sizes: Array, klass: int, whole: bool) -> None:
        """The symbols [block] of a plane of this class, their tables, and their |value|; whole: they are all of it."""
        spot, shape = index * coding.SYMBOLS + symbols, self.seen.shape
        seen = np.bincount(spot, minlength=self.seen.size).reshape(shape)
        self.seen += seen
        if whole:
            self.whole += seen
            self.size += np.bincount(spot, sizes, self.seen.size).reshape(shape)
        self.activity[klass] += (np.minimum(symbols, coding.MOST) << coding.POINT).sum(), len(symbols)


def learn(views: Sequence[View]) -> dict[str, Array]:
    """The arrays `expected`, `frequencies`, `offset` and `thresholds`."""
    thresholds = np.tile(np.arange(coding.SYMBOLS - 1) + PLAIN, (coding.CLASSES * coding.BINS, 1)).astype(np.float16)
    expected = np.zeros(coding.CLASSES, np.uint16)
    counts = _count(views, expected, thresholds, contexts=False)
    for _ in range(ROUNDS):
        expected = expected_of(counts)
        counts = _count(views, expected, thresholds)
        thresholds = thresholds_of(bits_of(counts.seen))
    expected = expected_of(counts)
    counts = _count(views, expected, thresholds)
    return {
        "expected": expected,
        "frequencies": frequencies(counts.seen),
        "offset": offsets(counts),
        "thresholds": thresholds,
    }


def _count(views: Sequence[View], expected: Array, thresholds: Array, contexts: bool = True) -> Counts:
    """Code all views with these tables; without contexts, as if all blocks were as active as expected."""
    counts = Counts.none()
    for view in views:
        classes, shifts = coding.classes(view.scale, view.quality)
        activity, expectation = np.zeros(view.values.shape[1], np.int32), 0
        for plane, klass, shift in zip(np.abs(view.values), classes.tolist(), shifts.tolist(), strict=True):
            bins = coding.bins(activity, expectation) if contexts else np.full(len(plane), coding.BINS // 2)
            index = klass * coding.BINS + bins
            symbol = _symbols(plane, index, shift, thresholds)
            counts.add(index, symbol, plane, klass, whole=not shift)
            activity, expectation = coding.advance(activity, expectation, symbol, int(expected[klass]))
    return counts


def _symbols(plane: Array, index: Array, shift: int, thresholds: Array) -> Array:
    """Magnitudes [block] in steps to symbols."""
    if shift:
        return np.minimum((plane + 1 - PLAIN).astype(np.int64) >> shift, coding.SYMBOLS - 1)
    return (plane[:, None] >= thresholds[index].astype(np.float32)).sum(1)


def expected_of(counts: Counts) -> NDArray[np.uint16]:
    """What a coefficient of each class adds to the activity, on average."""
    mean = counts.activity[:, 0] / np.maximum(counts.activity[:, 1], 1)
    return np.round(mean).astype(np.uint16)


def smoothed(seen: Array) -> Array:
    """Probabilities [table, symbol]: what was seen, and a little of what the class and its neighbours saw."""
    by_class = seen.reshape(-1, coding.BINS, coding.SYMBOLS)
    falling = 0.5 ** np.arange(1, coding.SYMBOLS + 1)
    prior = by_class.sum(1) + 8 * falling
    prior = prior / prior.sum(1, keepdims=True)
    mixed = (by_class + 16 * prior[:, None]).reshape(seen.shape) + 1e-3
    probabilities: Array = mixed / mixed.sum(1, keepdims=True)
    return probabilities


def bits_of(seen: Array) -> Array:
    """What each symbol costs [table, symbol], its sign included."""
    bits = -np.log2(smoothed(seen))
    bits[:, 1:] += 1
    return bits


def thresholds_of(bits: Array) -> NDArray[np.float16]:
    """Where the cells of the symbols 1, 2, ... begin, in steps, [table, symbol - 1]: rising."""
    last = coding.SYMBOLS - 1
    middle = np.arange(last) + 0.5
    begin = middle + LAMBDA / 2 * (bits[:, 1:] - bits[:, :last])
    begin = np.clip(begin, middle, middle + WIDEST)
    return np.maximum.accumulate(begin, axis=1).astype(np.float16)


def frequencies(seen: Array) -> NDArray[np.uint16]:
    """Integers that sum to 2^14 in every row, none of them 0."""
    shares = smoothed(seen) * (TOTAL - coding.SYMBOLS)
    whole = np.floor(shares).astype(np.int64) + 1
    whole[np.arange(len(whole)), whole.argmax(1)] += TOTAL - whole.sum(1)
    return whole.astype(np.uint16)


def offsets(counts: Counts) -> NDArray[np.int8]:
    """How far the mean of a cell is from its number, in 1/128 steps."""
    mean = counts.size / np.maximum(counts.whole, 1) - np.arange(coding.SYMBOLS)
    trust = counts.whole / (counts.whole + ENOUGH)
    offset = np.where(counts.whole > 0, mean * trust, 0) * 128
    offset[:, 0] = offset[:, -1] = 0
    return np.clip(np.round(offset), -127, 127).astype(np.int8)

"""The elements of a latent: what both sides know of each beforehand, quantising, and the way back.

All of it in integers, but for quantising, which only an encoder does: values in 1/256, steps in 1/65536. Each function
is here twice, as a reference and by elements.c. docs/bitstream.md, "Codec 5", is the normative text.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, values
from common.codec.rounding import Thresholds
from common.codec.values import Index, Values

Features = NDArray[np.float32]
Fixed = NDArray[np.int32]
"""Values in 1/256."""

SCALES = 88
"""Rows of y: eight an octave, row 26 for a scale of one step."""
NARROW = 32767
"""What a hyper-decoder says is clamped to this."""
WIDEST = (1 << 24) - 1
"""The largest value, in 1/256: what float32 holds exactly."""


class Cells(NamedTuple):
    """The cells of a latent's grid that are coded: rows top to bottom and columns left to right, ends exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def within(self, grid: NDArray[Any]) -> NDArray[Any]:
        """Their part of [C, H, W]."""
        return grid[:, self.top : self.bottom, self.left : self.right]

    def halved(self, halvings: int) -> "Cells":
        """The cells of a grid 2^halvings times coarser that they lie in."""
        less = (1 << halvings) - 1
        ends = ((end + less) >> halvings for end in (self.bottom, self.right))
        return Cells(self.top >> halvings, self.left >> halvings, *ends)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What both sides know of the coded elements of y before they see them, each [C, cells]."""

    mean: Fixed
    index: Index
    """Of the row."""


def parameters_reference(said: Values, exponent: NDArray[np.int8], row: int, at: int, to: Parameters) -> None:
    """Of what the hyper-decoder says, [2 C, n], to cells at .. at + n of `to`."""
    means, scales = np.clip(said.astype(np.int64), -NARROW, NARROW).reshape(2, len(exponent), -1)
    up = exponent.astype(np.int64)[:, None] + 2
    half = np.int64(1) << np.maximum(-up, 0) >> 1
    fixed = ((means << np.maximum(up, 0)) + half) >> np.maximum(-up, 0)
    to.mean[:, at : at + means.shape[1]] = fixed.clip(-WIDEST, WIDEST)
    to.index[:, at : at + means.shape[1]] = (scales + row).clip(0, SCALES - 1)


def quantise_reference(y: Features, cells: Cells, known: Parameters, thresholds: Thresholds, step: int) -> Values:
    """Of y [C, H, W] the coded elements [C, cells], in steps; `thresholds` [SCALES, SIZES] say what is rounded up.

    NaN is 0.
    """
    part = cells.within(y).reshape(known.mean.shape)
    inverse = np.float32(65536 / step)
    with np.errstate(invalid="ignore", over="ignore"):
        v = (part - known.mean.astype(np.float32) * np.float32(2**-8)) * inverse
    v = np.nan_to_num(v, nan=0.0, posinf=np.inf, neginf=-np.inf).clip(-values.MOST, values.MOST)
    sizes = np.abs(v)
    whole = sizes.astype(np.int32)
    threshold = thresholds[known.index, np.minimum(whole, thresholds.shape[1] - 1)]
    taken = np.where(threshold > 1, 0, whole + (sizes - whole >= threshold))
    return np.where(v < 0, -taken, taken).astype(np.int32)


def dequantise_reference(q: Values, index: Index, offset: NDArray[np.int16], step: int, mean: Fixed) -> None:
    """What elements [n] stand for, in place of their means [n]: nothing is taken off where q is 0."""
    sizes = np.abs(q.astype(np.int64))
    moved = ((sizes << 10) - offset[index]) * step >> 18
    mean[:] = (mean + np.sign(q) * moved).clip(-WIDEST, WIDEST)


def parameters(said: Values, exponent: NDArray[np.int8], row: int, at: int, to: Parameters) -> None:
    """The same by the kernel."""
    _kernel.elements_parameters(said, exponent, row, at, to.mean, to.index)


def quantise(y: Features, cells: Cells, known: Parameters, thresholds: Thresholds, step: int) -> Values:
    """The same by the kernel."""
    q = np.empty(known.mean.shape, np.int32)
    _kernel.elements_quantise(y, y.shape, cells, known.mean, known.index, thresholds, 65536 / step, q)
    return q


def dequantise(q: Values, index: Index, offset: NDArray[np.int16], step: int, mean: Fixed) -> None:
    """The same by the kernel."""
    _kernel.elements_dequantise(q, index, offset, step, mean)

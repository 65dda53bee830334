"""Which whole number of steps an encoder takes for an element of a latent: the one that costs least, not the nearest.

    cost of q = bits of q under its row + squared distance from what q comes back as, in steps, / BIT

What a number costs and what it comes back as is known exactly, so where the better one of two neighbours changes is
worked out beforehand, for each level, row and size; quantising looks it up. No decoder knows of any of this.
"""

import numpy as np
from numpy.typing import NDArray

from common.codec import rans
from common.codec.values import CENTRE, Rows, symbols

Thresholds = NDArray[np.float32]
"""[levels, rows, SIZES]: from which part of a step on an element is rounded up, 0 to 1; NEVER in silent rows, where
all are 0. The last size stands for all larger ones, too."""

SIZES = CENTRE + 1
"""Those that no row has an escape for."""
NEVER = np.float32(2)
NEAREST = np.float32(0.5)
BIT = 0.06
"""Squared steps that a bit is worth: found on photos, a third of what training says."""


def nearest(rows: Rows, levels: int, count: int) -> Thresholds:
    """Those of rounding to the nearest whole number in the first `count` rows."""
    silent = rows.silent[:count, None]
    return np.ascontiguousarray(np.broadcast_to(np.where(silent, NEVER, NEAREST), (levels, count, SIZES)))


def cheapest(rows: Rows, offset: NDArray[np.int16], bit: float = BIT) -> Thresholds:
    """Those of the least cost, where values come back nearer to 0 by `offset` [levels, count], in 1/1024 of a step.

    Sizes from SIZES - 1 on are rounded to the nearest: each costs about as much as the next.
    """
    levels, count = offset.shape
    found = nearest(rows, levels, count)
    more = np.diff(prices(rows, count))
    sizes, drawn = np.arange(SIZES), offset[:, :, None] / 1024
    back = sizes - drawn * (sizes > 0)
    middle, apart = (back[:, :, 1:] + back[:, :, :-1]) / 2, np.diff(back)
    parts = middle + bit * more / (2 * apart) - sizes[:-1]
    inner = found[:, :, :-1]
    inner[:] = np.where(rows.silent[:count, None], inner, parts.clip(0, 1))
    return found


def prices(rows: Rows, count: int) -> NDArray[np.float64]:
    """Bits of the sizes 0 to SIZES - 1 under each of the first `count` rows; of both signs, the mean."""
    values = np.arange(1 - SIZES, SIZES, dtype=np.int32)[None]
    bits = rows.bits[:count, None]
    chances = rows.tables.frequencies[np.arange(count)[:, None], symbols(values, bits)]
    found = rans.BITS - np.log2(np.maximum(chances, 1).astype(np.float64)) + bits
    both: NDArray[np.float64] = (found[:, SIZES - 1 :] + found[:, SIZES - 1 :: -1]) / 2
    return both

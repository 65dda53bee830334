"""From how often values came to the rows a latent coder codes them with: low bits and sixteen frequencies.

A row codes a whole number v as a symbol, -7..7 of v's high part or an escape, and so many low bits as they are
(docs/bitstream.md, "Codec 5"). A row with few values behind it leans on a density that is known beforehand.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from common.codec import rans
from common.codec.rounding import BIT
from common.codec.values import CENTRE as MIDDLE
from common.codec.values import ESCAPE, SYMBOLS
from common.codec.values import LENGTH as ESCAPE_BITS

TOTAL = rans.TOTAL
MOST_BITS = 12
SILENT = np.where(np.arange(SYMBOLS) == MIDDLE, TOTAL, 0).astype(np.uint16)
TAIL = 1e-4
"""Of the prior: twice as wide, as densities of real values reach further than the bell."""

Floats = NDArray[np.float64]


def normal(scale: float, reach: int) -> Floats:
    """Chances of the whole numbers -reach..reach under a bell of this scale, with a little of a wider one."""
    narrow, wide = (torch.special.ndtr(_edges(reach) / s).diff() for s in (scale, max(4 * scale, 1.0)))
    return np.asarray((1 - TAIL) * narrow + TAIL * wide)


def logistic(scale: float, reach: int) -> Floats:
    """The same under a logistic density."""
    return np.asarray(torch.sigmoid(_edges(reach) / scale).diff())


def _edges(reach: int) -> torch.Tensor:
    return torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5


def leaning(counts: Floats, prior: Floats, weight: float) -> Floats:
    """Chances of values counted [R], where the prior stands for `weight` values."""
    mixed = counts + weight * prior / prior.sum()
    return np.asarray(mixed / mixed.sum())


def row(chances: Floats, dropped: float = np.inf) -> tuple[int, NDArray[np.uint16]]:
    """The cheapest low bits and the frequencies for values -R..R of these chances [2 R + 1].

    If dropping what is not 0 adds so little squared error, in steps, that the bits are not worth it: a silent row.
    """
    found = [(bits, frequencies(folded(chances, bits))) for bits in range(MOST_BITS + 1)]
    costs = [cost(chances, bits, each) for bits, each in found]
    best = int(np.argmin(costs))
    return (0, SILENT) if dropped < costs[best] * BIT else found[best]


def rows(
    chances: Sequence[Floats], dropped: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """`bits` [N] and `frequencies` [N,16] of many rows; `dropped` [N] as `row` takes it."""
    losses = np.full(len(chances), np.inf) if dropped is None else dropped
    found = [row(each, float(loss)) for each, loss in zip(chances, losses, strict=True)]
    return np.array([bits for bits, _ in found], np.uint8), np.stack([each for _, each in found])


@cache
def symbols(reach: int, bits: int) -> tuple[NDArray[np.int64], Floats]:
    """Symbols of the values -reach..reach, and what each of them costs beside its symbol."""
    high = (np.arange(-reach, reach + 1) + (1 << bits >> 1)) >> bits
    escapes = np.abs(high) > MIDDLE
    beyond = np.maximum(np.abs(high) - MIDDLE, 1)
    return np.where(escapes, ESCAPE, high + MIDDLE), bits + escapes * (ESCAPE_BITS + np.floor(np.log2(beyond)))


def folded(chances: Floats, bits: int) -> Floats:
    """Chances of the symbols [16], the same for a high part and its opposite."""
    found = np.bincount(symbols(len(chances) // 2, bits)[0], chances, SYMBOLS)
    found[:ESCAPE] = (found[:ESCAPE] + found[:ESCAPE][::-1]) / 2
    return found


def frequencies(chances: Floats) -> NDArray[np.uint16]:
    """Frequencies [16] that sum to 2^14, none of them 0."""
    found = np.maximum(np.round(chances * TOTAL), 1).astype(np.int64)
    found[found.argmax()] += TOTAL - found.sum()
    return found.astype(np.uint16)


def cost(chances: Floats, bits: int, frequency: NDArray[np.uint16]) -> float:
    """Mean bits of a value."""
    symbol, beside = symbols(len(chances) // 2, bits)
    prices = rans.BITS - np.log2(np.maximum(frequency, 1).astype(np.float64))
    return float(np.bincount(symbol, chances, SYMBOLS) @ prices + chances @ beside)

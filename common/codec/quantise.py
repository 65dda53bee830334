"""The uniform N-level quantiser with pinned ends: the reference that kernel.c must equal bit for bit.

Levels 0 and N-1 stand for exactly c_min and c_max, the others divide the range evenly, so the first and the last
cell are half as wide as the rest inside the range. Every operation below rounds to float32, in the order written.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Levels = NDArray[np.uint8]


def quantise(x: Features, c_min: float, c_max: float, levels: int) -> Levels:
    """NaN is taken for 0, the value a feature has when nothing is there; infinities go to the ends."""
    low, high = np.float32(c_min), np.float32(c_max)
    scale = np.float32(levels - 1) / (high - low)
    known = np.where(np.isnan(x), np.float32(0), x)
    scaled = (np.clip(known, low, high) - low) * scale
    q: Levels = np.floor(scaled + np.float32(0.5)).astype(np.uint8)
    return q


def dequantise(q: Levels, c_min: float, c_max: float, levels: int) -> Features:
    """Look each level up in `reconstruction`."""
    return reconstruction(c_min, c_max, levels)[q]


@lru_cache(maxsize=256)
def reconstruction(c_min: float, c_max: float, levels: int) -> Features:
    """The N values that levels stand for: c_min + i * step, and c_max itself at the end."""
    low, high = np.float32(c_min), np.float32(c_max)
    step = (high - low) / np.float32(levels - 1)
    values = low + np.arange(levels, dtype=np.float32) * step
    values[-1] = high
    values.flags.writeable = False
    return values

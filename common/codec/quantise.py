"""The N-level quantisers: the reference that kernel.c must equal bit for bit.

The uniform one has pinned ends: levels 0 and N-1 stand for exactly c_min and c_max, the others divide the range
evenly, so the first and the last cell are half as wide as the rest inside the range. Every operation rounds to
float32, in the order written. The other one looks thresholds and points up in a table that `ecq` designed.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Levels = NDArray[np.uint8]


class Table(NamedTuple):
    """A non-uniform quantiser: level i has the features from thresholds[i - 1] up to below thresholds[i]."""

    thresholds: Features  # [N - 1], finite, none less than the one before
    points: Features  # [N], likewise: what the levels stand for

    def params(self) -> dict[str, list[float]]:
        """What a bundle's [codec] table says of it; float32 survives TOML exactly."""
        return {"thresholds": self.thresholds.tolist(), "points": self.points.tolist()}


def quantise(x: Features, c_min: float, c_max: float, levels: int) -> Levels:
    """NaN is taken for 0, the value a feature has when nothing is there; infinities go to the ends."""
    low, high = np.float32(c_min), np.float32(c_max)
    scale = np.float32(levels - 1) / (high - low)
    known = np.where(np.isnan(x), np.float32(0), x)
    scaled = (np.clip(known, low, high) - low) * scale
    q: Levels = np.floor(scaled + np.float32(0.5)).astype(np.uint8)
    return q


def quantise_by(x: Features, thresholds: Features) -> Levels:
    """How many thresholds each feature reaches; NaN is taken for 0 here too."""
    known = np.where(np.isnan(x), np.float32(0), x)
    return np.searchsorted(thresholds, known, side="right").astype(np.uint8)


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

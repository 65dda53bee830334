"""Designs the non-uniform quantiser: entropy-constrained, its ends pinned to the clip. The papers' "modified ECQ".

The conventional design (Chou, Lookabaugh, Gray) moves every reconstruction point to the mean of its cell. On clipped
features that pulls both ends inwards, and the back half sees a smaller range than there was; pinning them to c_min
and c_max costs no bits and keeps the range. Designed once, at calibration: the table lives in the bundle.
`quantise` applies it.
"""

import numpy as np
from numpy.typing import NDArray

from common.codec.clip.model import Clip
from common.codec.clip.sample import Doubles, Sample
from common.codec.quantise import Table

ROUNDS = 1000
"""Some 50 settle it on the papers' data. Many levels that share few features take more, and what they have is good."""
SETTLED = 1e-9
"""Of the range of the clip. With two levels and pinned ends nothing but the threshold moves: both are watched."""


def design(sample: Sample, c_min: float, c_max: float, levels: int, Lambda: float = 0.0, pinned: bool = True) -> Table:
    """The table that minimises (mean squared error to the clipped sample) + Lambda * (entropy of the levels in bits).

    Lambda is in squared feature units per bit; 0 is least error for these ends. A large one may leave a level without
    features. Raises ValueError if an argument is out of range.
    """
    if not (np.isfinite([c_min, c_max, Lambda]).all() and c_min < c_max and 2 <= levels <= 256 and Lambda >= 0):
        raise ValueError(
            "ecq: expected finite c_min < c_max, 2..256 levels and a finite Lambda of 0 or more, "
            f"got {c_min}, {c_max}, {levels}, {Lambda}"
        )
    clipped, ends = Sample(np.clip(sample.values, c_min, c_max)), (c_min, c_max)
    points = np.linspace(c_min, c_max, levels)
    thresholds = (points[1:] + points[:-1]) / 2
    for _ in range(ROUNDS):
        before = np.concatenate([points, thresholds])
        thresholds = best_thresholds(clipped, points, thresholds, ends, Lambda)
        points = best_points(clipped, thresholds, ends, pinned)
        if np.abs(np.concatenate([points, thresholds]) - before).max() < SETTLED * (c_max - c_min):
            break
    return Table(thresholds.astype(np.float32), points.astype(np.float32))


def best_thresholds(sample: Sample, points: Doubles, thresholds: Doubles, ends: Clip, Lambda: float) -> Doubles:
    """[N - 1] least features that some level from i on codes at less cost than every level before i.

    Level j is cheaper than k > j below crossing[j, k] = (x_j + x_k) / 2 + Lambda (L_k - L_j) / (2 (x_k - x_j)), with
    code lengths L = -log2 p as they are now. Where all N levels pay, that is the crossing of i - 1 and i.
    """
    lengths = code_lengths(sample.cells(thresholds)[0])
    gaps = np.maximum(points - points[:, None], 1e-12 * (ends[1] - ends[0]))  # two levels may share a point
    crossing = (points + points[:, None]) / 2 + Lambda * (lengths - lengths[:, None]) / (2 * gaps)
    least = [crossing[:i, i:].min(axis=1).max() for i in range(1, points.size)]
    within: Doubles = np.clip(least, *ends)
    return within


def code_lengths(count: NDArray[np.int64]) -> Doubles:
    """[N] bits; a level that does not occur counts as half an occurrence."""
    lengths: Doubles = np.log2(count.sum()) - np.log2(np.maximum(count, 0.5))
    return lengths


def best_points(sample: Sample, thresholds: Doubles, ends: Clip, pinned: bool) -> Doubles:
    """The mean of each cell's features; empty cells share the way between their neighbours. Pinned ends stay."""
    count, total = sample.cells(thresholds)
    means, used = total / np.maximum(count, 1), count > 0
    for end in (0, -1):
        if pinned or not used[end]:
            means[end], used[end] = ends[end], True
    place = np.arange(count.size)
    return np.interp(place, place[used], means[used])

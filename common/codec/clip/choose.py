"""Ways to choose a clip from calibration features: the papers' and their rivals, all with one signature.

`model` is the codec's own and needs nothing but mean and variance; the others are there to be compared with it.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec.clip.model import Clip, Model, fit, levels_of, minimise, optimal_clip
from common.codec.clip.sample import Doubles, Sample

Choice = Callable[[Sample, int, float], Clip]
"""sample, number of levels N, slope of the activation for negatives (0 is ReLU) -> c_min, c_max"""

FRACTIONS = np.geomspace(0.5, 1e-6, 40)
"""Quantiles to look at first, nearer and nearer to an end: whatever the scale and the tail, some are about right."""
ROUNDS = 10
"""Each looks at a quarter of the interval before it: the clip is then known to 10^-6 of that."""


def choose(name: str, features: NDArray[Any], levels: int, slope: float = 0.1) -> Clip:
    """The clip that CHOICES[name] finds for these features, of any shape. Raises ValueError if there is none."""
    if name not in CHOICES:
        raise ValueError(f"clip: expected one of {sorted(CHOICES)}, got {name!r}")
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: expected 2..256, got {levels}")
    low, high = CHOICES[name](Sample(features), levels, slope)
    if not low < high:
        raise ValueError(f"clip: {name} finds no range above {low} in these features")
    return low, high


def by_model(sample: Sample, levels: int, slope: float) -> Clip:
    """The model's best c_max for c_min = 0."""
    return optimal_clip(model_of(sample, slope), levels)


def by_joint_model(sample: Sample, levels: int, slope: float) -> Clip:
    """The model's best c_min and c_max. A c_min above 0 is best in mean square only: zeros become a constant."""
    return optimal_clip(model_of(sample, slope), levels, None)


def model_of(sample: Sample, slope: float) -> Model:
    """The model with the sample's mean and variance."""
    return fit(sample.mean, sample.variance, slope)


def by_search(sample: Sample, levels: int, slope: float) -> Clip:
    """The c_max of least error on the sample for c_min = 0."""
    highs = sample.quantiles(1 - np.append(FRACTIONS, 0.0))
    return grid_search(sample, levels, np.zeros(1), highs[highs > 0])


def by_joint_search(sample: Sample, levels: int, slope: float) -> Clip:
    """The c_min and c_max of least error on the sample."""
    lows = sample.quantiles(np.concatenate([[0.0], FRACTIONS, 1 - FRACTIONS[:6]]))
    return grid_search(sample, levels, lows, sample.quantiles(1 - np.append(FRACTIONS, 0.0)))


def grid_search(sample: Sample, levels: int, lows: Doubles, highs: Doubles) -> Clip:
    """The best pair of a grid, then of a finer grid around it, and so on.

    The first grid is wide because there is a valley for each count of levels left below 0.
    """
    low = high = 0.0
    for _ in range(ROUNDS if lows.size and highs.size else 0):
        errors = np.array([[error_of(sample, a, b, levels) for b in highs] for a in lows])
        i, j = divmod(int(errors.argmin()), highs.size)
        low, high = float(lows[i]), float(highs[j])
        lows, highs = finer(lows, i), finer(highs, j)
    return low, high


def error_of(sample: Sample, c_min: float, c_max: float, levels: int) -> float:
    """Mean squared error on the sample, what is clipped included."""
    return sample.error(levels_of(c_min, c_max, levels)) if c_min < c_max else math.inf


def finer(grid: Doubles, i: int) -> Doubles:
    """Nine values around grid[i], as far as its neighbours, and itself. A grid of one stays as it is."""
    if grid.size == 1:
        return grid
    return np.union1d(np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)], 9), grid[i])


def by_one_sided_aciq(sample: Sample, levels: int, slope: float) -> Clip:
    """ACIQ for what is never below 0."""
    return 0.0, aciq(sample.deviation, levels)


def by_two_sided_aciq(sample: Sample, levels: int, slope: float) -> Clip:
    """ACIQ, symmetric about the mean."""
    reach = aciq(sample.deviation, levels, one_sided=False)
    return sample.mean - reach, sample.mean + reach


def aciq(deviation: float, levels: int, one_sided: bool = True) -> float:
    """The Laplace clip of Banner et al., "Post training 4-bit quantization"; `deviation` is E|X - E[X]|.

    Theirs has 2^M levels. Its density is constant within a cell, and its points lie at the centres of full-width
    cells: that is where it loses to the model when the cells are few.
    """
    spread, cell = (1.0, 24.0) if one_sided else (2.0, 3.0)

    def loss(alpha: float) -> float:
        return spread * math.exp(-alpha) + alpha * alpha / (cell * levels**2)

    return deviation * minimise(loss, 0.0, 4.0 + 2.0 * math.log2(levels))


def by_range(sample: Sample, levels: int, slope: float) -> Clip:
    """The clip that clips nothing."""
    return float(sample.values[0]), float(sample.values[-1])


CHOICES: dict[str, Choice] = {
    "model": by_model,
    "model-joint": by_joint_model,
    "empirical": by_search,
    "empirical-joint": by_joint_search,
    "aciq": by_one_sided_aciq,
    "aciq-two-sided": by_two_sided_aciq,
    "minmax": by_range,
}

"""Calibration features as the designs of quantisers see them: the error of any quantiser in a few look-ups."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


class Sample:
    """Features in rising order with their running sums. Takes 24 bytes a value: some millions are enough and quick.

    Raises ValueError if there are none, or one of them is not finite.
    """

    def __init__(self, features: ArrayLike) -> None:
        self.values: Doubles = np.sort(np.asarray(features, np.float64), axis=None)
        # NaN sorts to the end, so the two ends answer for all.
        if not self.values.size or not np.isfinite(self.values[[0, -1]]).all():
            raise ValueError("sample: expected at least one feature, all of them finite")
        self._sums = running(self.values)
        self._squares = running(self.values**2)

    @cached_property
    def mean(self) -> float:
        """Of the features, in double precision."""
        return float(self.values.mean())

    @cached_property
    def variance(self) -> float:
        """Of the features, in double precision."""
        return float(self.values.var())

    @cached_property
    def deviation(self) -> float:
        """E|X - E[X]|, the scale of a Laplace variable."""
        return float(np.abs(self.values - self.mean).mean())

    def quantiles(self, fractions: Doubles) -> Doubles:
        """The features below which these fractions of all lie, each of them once."""
        return np.unique(self.values[np.round(fractions * (self.values.size - 1)).astype(np.int64)])

    def edges(self, thresholds: Doubles) -> NDArray[np.int64]:
        """[N + 1] places that cut the features into N cells; a feature on a threshold belongs to the upper cell."""
        return np.concatenate([[0], np.searchsorted(self.values, thresholds), [self.values.size]])

    def cells(self, thresholds: Doubles) -> tuple[NDArray[np.int64], Doubles]:
        """[N] features in each cell between the N - 1 rising thresholds, and their sums."""
        edges = self.edges(thresholds)
        return np.diff(edges), np.diff(self._sums[edges])

    def error(self, points: Doubles, thresholds: Doubles | None = None) -> float:
        """Mean squared error of replacing every feature by its cell's point; without thresholds, by the nearest."""
        edges = self.edges((points[1:] + points[:-1]) / 2 if thresholds is None else thresholds)
        count, total, square = np.diff(edges), np.diff(self._sums[edges]), np.diff(self._squares[edges])
        return float((square - 2 * points * total + points**2 * count).sum() / self.values.size)


def running(values: Doubles) -> NDArray[Any]:
    """[n + 1] sums of the first 0, 1, ... n values."""
    return np.concatenate([[0.0], np.cumsum(values)])

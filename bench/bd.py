"""Comparing codecs by their curves: bytes at a quality, and the Bjontegaard delta of the rate.

A curve is the rows of one codec as (rate, quality), quality being whatever is compared at: here, agreement. Measured
curves wobble, so only the rows that no cheaper row beats count (the monotone hull). Between them log(rate) is a
monotone cubic of quality: PCHIP, by Fritsch and Carlson ("Monotone piecewise cubic interpolation", 1980), with the
slopes that are usual for the Bjontegaard delta (VCEG-M33, and the JVET's common test conditions since).
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]
LEAST_POINTS = 4
"""A delta from fewer says more of the interpolation than of the codecs."""


class Delta(NamedTuple):
    """How much rate one codec needs beside another: percent (-50: half), and the range of quality that says so."""

    percent: float
    low: float
    high: float


class Curve:
    """log(rate) over quality. `qualities` and `rates` are the hull, both rising."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        """Take points (rate, quality) in any order; rates above 0. Raises ValueError if there are none."""
        hull: list[tuple[float, float]] = []
        for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
            if not hull or quality > hull[-1][1]:
                hull.append((rate, quality))
        if not hull or hull[0][0] <= 0:
            raise ValueError(f"curve: expected points with rates above 0, got {hull[:1]}")
        self.rates, self.qualities = np.array(hull, np.float64).T
        self._logs = np.log(self.rates)
        self._slopes = slopes(self.qualities, self._logs)

    def rate_at(self, quality: float) -> float | None:
        """Rate at this quality; None outside the measured range."""
        x = self.qualities
        if not x[0] <= quality <= x[-1]:
            return None
        if len(x) == 1:
            return float(self.rates[0])
        return float(np.exp(hermite(x, self._logs, self._slopes, quality)))

    def area(self, low: float, high: float) -> float:
        """Integral of log(rate) over a part of the measured range of quality."""
        inner = self.qualities[(self.qualities > low) & (self.qualities < high)]
        edges = np.concatenate([[low], inner, [high]])
        # A cubic on each stretch: Simpson's rule is exact.
        values = [
            (b - a) / 6 * sum(w * self._at(x) for w, x in ((1, a), (4, (a + b) / 2), (1, b)))
            for a, b in pairwise(edges)
        ]
        return float(sum(values))

    def _at(self, quality: float) -> float:
        return hermite(self.qualities, self._logs, self._slopes, quality)


def bd_rate(anchor: Curve, other: Curve, ceiling: float = math.inf) -> Delta | None:
    """Mean difference of log(rate) of `other` to `anchor` over the qualities both reach, as percent of rate.

    Qualities above `ceiling` are left out. None if either hull has fewer than four points or they share no range.
    """
    low = max(anchor.qualities[0], other.qualities[0])
    high = min(anchor.qualities[-1], other.qualities[-1], ceiling)
    if min(len(anchor.qualities), len(other.qualities)) < LEAST_POINTS or low >= high:
        return None
    mean = (other.area(low, high) - anchor.area(low, high)) / (high - low)
    return Delta(float(np.expm1(mean) * 100), float(low), float(high))


def slopes(x: Doubles, y: Doubles) -> Doubles:
    """[n] derivatives of PCHIP at rising x: weighted harmonic means inside, three points at the ends."""
    if len(x) < 3:
        return np.full(len(x), (y[-1] - y[0]) / (x[-1] - x[0]) if len(x) == 2 else 0.0)
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    same = d[:-1] * d[1:] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(same, (w1 + w2) / (w1 / d[:-1] + w2 / d[1:]), 0.0)
    return np.concatenate([[_end(h[0], h[1], d[0], d[1])], inner, [_end(h[-1], h[-2], d[-1], d[-2])]])


def _end(h0: float, h1: float, d0: float, d1: float) -> float:
    """One-sided three-point derivative, kept from turning the curve back."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if slope * d0 <= 0:
        return 0.0
    return 3 * d0 if d0 * d1 <= 0 and abs(slope) > 3 * abs(d0) else slope


def hermite(x: ArrayLike, y: ArrayLike, m: ArrayLike, at: float) -> float:
    """The piecewise cubic with values y and derivatives m at rising x."""
    x, y, m = np.asarray(x), np.asarray(y), np.asarray(m)
    i = int(np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2))
    h = x[i + 1] - x[i]
    t = (at - x[i]) / h
    return float(
        y[i] * (1 + 2 * t) * (1 - t) ** 2
        + h * m[i] * t * (1 - t) ** 2
        + y[i + 1] * t * t * (3 - 2 * t)
        + h * m[i + 1] * t * t * (t - 1)
    )

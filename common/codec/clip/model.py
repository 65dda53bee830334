"""Where to clip: closed forms from a feature tensor's mean and variance, after Cohen, Choi and Bajic.

The pre-activation X is modelled as asymmetric Laplace, with C = lam / (kappa + 1/kappa):

    f_X(x) = C exp(-a (x - mu))   x >= mu,   a = lam * kappa
             C exp( b (x - mu))   x <  mu,   b = lam / kappa

and the feature is Y = X for X >= 0, slope * X below: leaky ReLU, or ReLU if slope = 0. f_Y is then made of
exponential pieces K exp(-alpha y), plus a point mass at 0 for ReLU, so that the error of clipping and quantising
is a sum of integrals with a primitive. It is measured against the unclipped feature.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Clip = tuple[float, float]
"""c_min and c_max."""
KAPPA = 0.5  # the papers fix it: activations fall off four times faster below mu than above


class Piece(NamedTuple):
    """The density height * exp(-rate * (y - start)) on [low, high); start is the end where it is largest."""

    low: float
    high: float
    height: float
    rate: float

    @property
    def start(self) -> float:
        return self.low if self.rate > 0 else self.high


@dataclass(frozen=True, slots=True)
class Model:
    """Asymmetric Laplace (lam, mu, kappa) seen through an activation with this slope for negatives."""

    lam: float
    mu: float
    slope: float = 0.1
    kappa: float = KAPPA

    @property
    def a(self) -> float:
        """Rate of the upper tail."""
        return self.lam * self.kappa

    @property
    def b(self) -> float:
        """Rate of the lower tail."""
        return self.lam / self.kappa

    def moments(self) -> tuple[float, float]:
        """Mean and variance of Y, from those of X and of its positive part."""
        k2 = self.kappa**2
        mean = self.mu + (1 - k2) / self.a
        square = mean**2 + (1 + k2 * k2) / self.a**2
        peak = self.lam * self.kappa / (1 + k2)
        if self.mu <= 0:
            tail = peak * math.exp(self.a * self.mu)
            first, second = tail / self.a**2, 2 * tail / self.a**3
        else:
            tail = peak * math.exp(-self.b * self.mu)
            first, second = mean + tail / self.b**2, square - 2 * tail / self.b**3
        s = self.slope
        m = s * mean + (1 - s) * first
        return m, s * s * square + (1 - s * s) * second - m * m

    def pieces(self) -> list[Piece]:
        """f_Y without the point mass, from left to right."""
        peak = self.lam * self.kappa / (1 + self.kappa**2)
        s, mu = self.slope, self.mu
        inf = math.inf
        if mu <= 0:
            at_zero = peak * math.exp(self.a * mu)
            upper = [Piece(0.0, inf, at_zero, self.a)]
            lower = [(-inf, s * mu, peak, -self.b), (s * mu, 0.0, peak, self.a)]
        else:
            at_zero = peak * math.exp(-self.b * mu)
            upper = [Piece(0.0, mu, peak, -self.b), Piece(mu, inf, peak, self.a)]
            lower = [(-inf, 0.0, at_zero, -self.b)]
        if s == 0:
            return upper
        return [Piece(low, high, height / s, rate / s) for low, high, height, rate in lower] + upper

    def zeros(self) -> float:
        """The point mass at 0: P(X < 0) for ReLU, nothing for a leaky one."""
        if self.slope:
            return 0.0
        k2 = self.kappa**2
        if self.mu <= 0:
            return 1 - math.exp(self.a * self.mu) / (1 + k2)
        return math.exp(-self.b * self.mu) * k2 / (1 + k2)


def fit(mean: float, variance: float, slope: float = 0.1, kappa: float = KAPPA) -> Model:
    """The model with this mean and variance.

    With u = lam * mu, mean = M(u) / lam and variance = V(u) / lam^2: bisection on u solves V/M^2 = variance/mean^2.
    M(u) has the sign of the mean on one side of its root (leaky) and is positive everywhere for ReLU.
    """
    known = math.isfinite(mean) and math.isfinite(variance)
    if not known or variance <= 0 or mean == 0 or (slope == 0 and mean < 0):
        raise ValueError(f"clip: no model has mean {mean} and variance {variance} with slope {slope}")
    ratio = variance / mean**2

    def too_spread(u: float) -> bool:
        m, v = Model(1.0, u, slope, kappa).moments()
        if (m > 0) != (mean > 0) or m == 0:
            return True  # beyond the root, where the ratio is infinite
        return v / m**2 > ratio

    # The ratio falls as |u| grows away from the root, whichever side it is.
    u = bisect(too_spread, -60.0, 4096.0) if mean > 0 else bisect(too_spread, 60.0, -4096.0)
    lam = Model(1.0, u, slope, kappa).moments()[0] / mean
    return Model(lam, u / lam, slope, kappa)


def bisect(before: Callable[[float], bool], low: float, high: float) -> float:
    """The point where `before` turns false on the way from low to high, to the last bit that matters."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if before(middle) else (low, middle)
    return (low + high) / 2


def levels_of(c_min: float, c_max: float, levels: int) -> NDArray[np.float64]:
    """The N reconstruction points, in double precision."""
    return np.linspace(c_min, c_max, levels)


def cells(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """N + 1 edges around N points. The outer cells reach to infinity: what is clipped is an error there."""
    return np.concatenate([[-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]])


def integral(piece: Piece, low: NDArray[np.float64], high: NDArray[np.float64], to: NDArray[np.float64]) -> float:
    """Sum over cells of the integral of (y - to)^2 f(y)."""
    low = np.clip(low, piece.low, piece.high)
    high = np.clip(high, piece.low, piece.high)
    return float(np.sum(primitive(piece, high, to) - primitive(piece, low, to)))


def primitive(piece: Piece, y: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """-f(y) [(y - to)^2 / rate + 2 (y - to) / rate^2 + 2 / rate^3], and 0 at an infinite end of a piece."""
    finite = np.where(np.isinf(y), piece.start, y)
    z, r = finite - to, piece.rate
    value = -piece.height * np.exp(-r * (finite - piece.start)) * (z * z / r + 2 * z / r**2 + 2 / r**3)
    return np.where(np.isinf(y), 0.0, value)


def error(model: Model, c_min: float, c_max: float, levels: int) -> float:
    """Mean squared error of clipping and N-level quantisation with pinned ends, e_clip + e_quant in one sum."""
    points = levels_of(c_min, c_max, levels)
    edges = cells(points)
    total = sum(integral(piece, edges[:-1], edges[1:], points) for piece in model.pieces())
    zero = points[np.searchsorted(edges, 0.0, side="right") - 1]
    return total + model.zeros() * float(zero) ** 2


def probabilities(model: Model, c_min: float, c_max: float, levels: int) -> NDArray[np.float64]:
    """How often each level occurs; its entropy is what memoryless coding of the levels would cost."""
    edges = cells(levels_of(c_min, c_max, levels))
    total = np.zeros(levels)
    for piece in model.pieces():
        inside = np.clip(edges, piece.low, piece.high)
        at = np.where(np.isinf(inside), 0.0, inside - piece.start)
        tail = np.where(np.isinf(inside), 0.0, np.exp(-piece.rate * at))
        total += -piece.height / piece.rate * np.diff(tail)
    total[np.searchsorted(edges, 0.0, side="right") - 1] += model.zeros()
    return total


@lru_cache(maxsize=256)
def universal(levels: int) -> float:
    """g_N: with c_min = 0 and mu <= 0 the best c_max is g_N / (lam * kappa), whatever the rest of the model.

    There Y > 0 is exponential, and only the scale of an exponential can matter.
    """
    unit = Piece(0.0, math.inf, 1.0, 1.0)

    def loss(c_max: float) -> float:
        points = levels_of(0.0, c_max, levels)
        edges = cells(points)
        return integral(unit, edges[:-1], edges[1:], points)

    return minimise(loss, 0.5, 4 + 2 * math.log2(levels))


def optimal_clip(model: Model, levels: int, c_min: float | None = 0.0) -> Clip:
    """The clip of least error: with this c_min, or with the best one if it is None."""
    if c_min == 0 and model.mu <= 0:
        return 0.0, universal(levels) / model.a
    reach = max(model.mu, 0.0) + 40 / model.a

    def best_max(low: float, precision: float = 1e-8) -> float:
        return minimise(lambda high: error(model, low, high, levels), low + reach * 1e-6, low + reach, precision)

    if c_min is not None:
        return c_min, best_max(c_min)
    # One valley for each count of levels left below 0, so look everywhere first, and roughly: near the best c_max
    # the error hardly changes.
    grid = np.linspace(-model.slope * reach / 4, max(model.mu, 0.0) + 5 / model.a, 41)
    best = float(min(grid, key=lambda low: error(model, low, best_max(low, 1e-3), levels)))
    step = float(grid[1] - grid[0])
    low = minimise(lambda low: error(model, low, best_max(low, 1e-5), levels), best - step, best + step, 1e-6)
    return low, best_max(low)


def minimise(loss: Callable[[float], float], low: float, high: float, precision: float = 1e-8) -> float:
    """Golden section: a minimum of a loss with one valley.

    The precision is relative, and by default about the square root of the machine's: no loss shows more.
    """
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > precision * (abs(low) + abs(high)) + 1e-12:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    return (low + high) / 2

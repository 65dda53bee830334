"""Data with known statistics for the codec's tests."""

import numpy as np
from numpy.typing import NDArray

from common.codec.clip import Model

RESNET50 = Model(lam=0.7716595, mu=-1.4350621)  # layer 21, slope 0.1
YOLOV3 = Model(lam=2.3899515, mu=-0.3088777)  # layer 12, slope 0.1


def features(model: Model, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Draws in random order, one from each of `count` equally likely parts, so that a mean needs few of them."""
    rng = np.random.default_rng(seed)
    u = (rng.permutation(count) + rng.random(count)) / count
    below = model.kappa**2 / (1 + model.kappa**2)
    x = model.mu + np.where(u < below, np.log(u / below) / model.b, -np.log((1 - u) / (1 - below)) / model.a)
    return np.where(x >= 0, x, model.slope * x).astype(np.float32)


def entropy(q: NDArray[np.uint8]) -> float:
    """Order-0 entropy of the levels, in bits per element."""
    p = np.bincount(q.ravel())
    p = p[p > 0] / q.size
    return float(-(p * np.log2(p)).sum())

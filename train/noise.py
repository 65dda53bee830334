"""Noise as cameras add it: white Gaussian, or growing with the light; then clipped and rounded to 8 bits."""

import numpy as np
from numpy.typing import NDArray

SIGMAS = (15.0, 25.0, 50.0)
"""Standard deviations of the literature's tests, of 0..255."""
MOST = 55.0
GAIN = 4.0
"""The most that a camera's gain makes of a photon, in 255ths; its variance at white is 255 times that."""
READ = 12.0
"""The most of a sensor's own noise, a standard deviation."""

Pixels = NDArray[np.uint8]


def noisy(pixels: Pixels, sigma: float, rng: np.random.Generator, gain: float = 0.0) -> Pixels:
    """`pixels` uint8 of any shape and noise of variance sigma^2 + gain * value, clipped and rounded to uint8.

    Clipping takes noise away where the picture is nearly black or white: at sigma 50 some of it everywhere.
    """
    x = pixels.astype(np.float32)
    wide = np.sqrt(np.float32(sigma**2) + np.float32(gain) * x)
    x += rng.standard_normal(x.shape, np.float32) * wide
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def drawn(rng: np.random.Generator) -> tuple[float, float]:
    """A sigma and a gain for training: those of the tests, anything between, and light's own noise."""
    kind = rng.random()
    if kind < 0.6:
        return SIGMAS[rng.integers(len(SIGMAS))], 0.0
    if kind < 0.8:
        return rng.uniform(0, MOST), 0.0
    return rng.uniform(0, READ), rng.uniform(0, GAIN)

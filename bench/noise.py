"""Noise as cameras add it: white Gaussian, or growing with the light; then clipped and rounded to 8 bits."""

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIGMAS = (15.0, 25.0, 50.0)
"""Standard deviations of the literature's tests, of 0..255."""

Pixels = NDArray[np.uint8]


class Noise(NamedTuple):
    """A level v of 0..255 gets noise of variance sigma^2 + gain * v, the same in all three colours."""

    sigma: float
    gain: float = 0.0

    @property
    def title(self) -> str:
        """For people."""
        return f"sigma {self.sigma:g}" + (f", gain {self.gain:g}" if self.gain else "")

    def on(self, picture: Pixels, name: str) -> Pixels:
        """The noisy picture; the same for the same name on every machine with this NumPy's generator."""
        rng = np.random.default_rng((zlib.crc32(name.encode()), round(1000 * self.sigma), round(1000 * self.gain)))
        return noisy(picture, self.sigma, rng, self.gain)


REALISTIC = Noise(6.0, 2.0)
"""As of a sensor at high gain: a standard deviation of 6 in the black, 23 in the white."""


def noisy(pixels: Pixels, sigma: float, rng: np.random.Generator, gain: float = 0.0) -> Pixels:
    """`pixels` uint8 of any shape and noise of variance sigma^2 + gain * value, clipped and rounded to uint8.

    Clipping takes noise away where the picture is nearly black or white: at sigma 50 some of it everywhere.
    """
    x = pixels.astype(np.float32)
    wide = np.sqrt(np.float32(sigma**2) + np.float32(gain) * x)
    x += rng.standard_normal(x.shape, np.float32) * wide
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
